"""The drivers reach their engines over tcp and over TLS, and find them as docker's and podman's own clients do."""

from __future__ import annotations

import asyncio
import hashlib
import json
import shutil
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest
import uvloop

from hotfn_containers.drivers import DockerDriver, PodmanDriver
from hotfn_core.driver import Driver
from hotfn_core.errors import DriverUnavailable
from hotfn_core.testing.check_driver import Guest, check_driver

from .calling import GUEST
from .conftest import lead_to
from .setup import DockerEngine, Engine, EngineSet, images
from .setup.daemon import Daemon

DRIVERS: dict[str, Callable[[], Driver]] = {"docker": DockerDriver, "podman": PodmanDriver}

STREAMS = (
    "bytes",
    "holding",
    "deaf_copy",
    "pausing_bounds_memory",
    "end_of_stdin",
    "exit_at_once",
    "stop_closes_stdin",
)
"""The checks of the kit that depend on what the streams go over."""


@dataclass
class Remote:
    """An engine that listens on a port as well. `environment` leads a client there."""

    engine: Engine
    port: int
    environment: dict[str, str] = field(default_factory=dict)
    pid: int | None = None

    @property
    def url(self) -> str:
        return f"tcp://127.0.0.1:{self.port}"

    @property
    def guest(self) -> Guest:
        return Guest(image=self.engine.image_python, command=GUEST, options={"memory": "unlimited"})

    def driver(self) -> Driver:
        return DRIVERS[self.engine.name]()


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as sock:
        return int(sock.getsockname()[1])


@contextmanager
def docker(engines: EngineSet, *tls: str) -> Iterator[Remote]:
    """Start a docker that listens on a port, with these options of TLS."""
    one = engines.new_engine("docker", (images.PYTHON,))
    try:
        assert isinstance(one, DockerEngine)
        remote = Remote(one, free_port())
        one.more_options = ["--host", remote.url, *tls]
        one.restart()
        yield remote
    finally:
        one.remove()


@contextmanager
def podman(engines: EngineSet) -> Iterator[Remote]:
    """Start one more service of podman beside the one on a socket; both have the same containers."""
    one = engines.engines["podman"]
    remote = Remote(one, free_port())
    daemon = Daemon(one.directory, "podman-tcp")
    daemon.start([one.executable, "system", "service", "--time=0", remote.url], one.environment())
    try:
        deadline = time.monotonic() + 60
        while not listens(remote.port):
            assert daemon.alive, daemon.tail()
            assert time.monotonic() < deadline, daemon.tail()
            time.sleep(0.05)  # nothing tells that somebody listens
        assert daemon.process is not None
        remote.pid = daemon.process.pid
        yield remote
    finally:
        daemon.end(10)


def listens(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), 5).close()
    except OSError:
        return False
    return True


@pytest.fixture(scope="module")
def secured(engines: EngineSet, certificates: Path) -> Iterator[Remote]:
    """A docker that asks every client for a certificate."""
    files = {"ca": "ca.pem", "cert": "server.pem", "key": "server-key.pem"}
    options = [f"--tls{'cacert' if kind == 'ca' else kind}={certificates / file}" for kind, file in files.items()]
    with docker(engines, "--tlsverify", *options) as remote:
        remote.environment |= {"DOCKER_HOST": remote.url, "DOCKER_TLS_VERIFY": "1"}
        remote.environment["DOCKER_CERT_PATH"] = str(certificates)
        yield remote


@pytest.fixture(scope="module")
def plain(request: pytest.FixtureRequest, engines: EngineSet) -> Iterator[Remote]:
    """An engine that listens on a port without TLS."""
    with docker(engines, "--tls=false") if request.param == "docker" else podman(engines) as remote:
        remote.environment[remote.engine.variable] = remote.url
        yield remote


def lead(remote: Remote, monkeypatch: pytest.MonkeyPatch, **environment: str) -> None:
    """Make the environment lead to a remote engine, or to what `environment` says."""
    lead_to(remote.engine, monkeypatch)
    monkeypatch.delenv(remote.engine.variable)
    for name, value in (environment or remote.environment).items():
        monkeypatch.setenv(name, value)


def opened(remote: Remote) -> str:
    """Return what an open driver says of itself."""

    async def main() -> str:
        driver = remote.driver()
        await driver.open()
        try:
            return driver.describe()
        finally:
            await driver.aclose()

    return asyncio.run(main())


def refused(remote: Remote) -> str:
    """Return why a driver cannot be opened."""
    with pytest.raises(DriverUnavailable) as caught:
        opened(remote)
    return caught.value.message


# ---- without TLS


@pytest.mark.parametrize("plain", list(DRIVERS), indirect=True)
def test_streams_over_tcp(plain: Remote, monkeypatch: pytest.MonkeyPatch) -> None:
    lead(plain, monkeypatch)
    for name in ("http_proxy", "all_proxy"):  # which is for what is behind the engine
        monkeypatch.setenv(name, "http://proxy.invalid:1")
    check_driver(plain.driver, guest=plain.guest, only=STREAMS, loop_factory=uvloop.Loop)


@pytest.mark.parametrize("plain", ["podman"], indirect=True)
def test_docker_is_led_to_podman(plain: Remote, monkeypatch: pytest.MonkeyPatch) -> None:
    lead(plain, monkeypatch, DOCKER_HOST=plain.url)
    with pytest.raises(DriverUnavailable, match="take the driver podman, with CONTAINER_HOST=tcp://"):
        asyncio.run(DockerDriver().open())


@pytest.mark.parametrize("plain", ["docker"], indirect=True)
def test_tls_with_an_engine_that_has_none(plain: Remote, certificates: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    lead(plain, monkeypatch, DOCKER_HOST=plain.url, DOCKER_TLS_VERIFY="1", DOCKER_CERT_PATH=str(certificates))
    assert "does not speak TLS; unset DOCKER_TLS_VERIFY" in refused(plain)


# ---- with TLS


@pytest.mark.parametrize("loop", [uvloop.Loop, asyncio.SelectorEventLoop])
def test_streams_over_tls(
    secured: Remote, loop: type[asyncio.AbstractEventLoop], monkeypatch: pytest.MonkeyPatch
) -> None:
    lead(secured, monkeypatch)
    check_driver(secured.driver, guest=secured.guest, only=(*STREAMS, "closing"), loop_factory=loop)


def test_an_engine_with_tls_by_a_context(
    secured: Remote, certificates: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    key = hashlib.sha256(b"far").hexdigest()
    meta, tls = tmp_path / "contexts" / "meta" / key, tmp_path / "contexts" / "tls" / key / "docker"
    meta.mkdir(parents=True)
    tls.mkdir(parents=True)
    endpoints = {"docker": {"Host": secured.url, "SkipTLSVerify": False}}
    (meta / "meta.json").write_text(json.dumps({"Name": "far", "Metadata": {}, "Endpoints": endpoints}))
    for name in ("ca.pem", "cert.pem", "key.pem"):
        shutil.copy(certificates / name, tls)
    (tmp_path / "config.json").write_text(json.dumps({"currentContext": "far"}))
    lead(secured, monkeypatch, DOCKER_CONFIG=str(tmp_path))
    assert secured.url in opened(secured)
    check_driver(secured.driver, guest=secured.guest, only=["end_of_stdin"])


def test_an_engine_with_tls_by_a_client_without(secured: Remote, monkeypatch: pytest.MonkeyPatch) -> None:
    lead(secured, monkeypatch, DOCKER_HOST=secured.url)
    assert "DOCKER_TLS_VERIFY" in refused(secured)


def test_an_engine_that_somebody_else_vouches_for(
    secured: Remote, certificates: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("cert.pem", "key.pem"):
        shutil.copy(certificates / name, tmp_path)
    shutil.copy(certificates / "other-ca.pem", tmp_path / "ca.pem")
    lead(secured, monkeypatch, **secured.environment | {"DOCKER_CERT_PATH": str(tmp_path)})
    assert f"must be signed by {tmp_path}/ca.pem and name 127.0.0.1" in refused(secured)


def test_a_certificate_that_the_engine_does_not_know(
    secured: Remote, certificates: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copy(certificates / "ca.pem", tmp_path)
    shutil.copy(certificates / "other-ca.pem", tmp_path / "cert.pem")
    shutil.copy(certificates / "other-ca-key.pem", tmp_path / "key.pem")
    lead(secured, monkeypatch, **secured.environment | {"DOCKER_CERT_PATH": str(tmp_path)})
    message = refused(secured)
    assert "does not accept" in message
    assert f"{tmp_path}/cert.pem" in message


# ---- by name


def test_a_connection_of_podman(engines: EngineSet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    remote = Remote(engines.engines["podman"], 0)
    path = tmp_path / "containers" / "podman-connections.json"
    path.parent.mkdir()
    path.write_text(json.dumps({"Connection": {"Connections": {"near": {"URI": remote.engine.host}}}}))
    lead(remote, monkeypatch, XDG_CONFIG_HOME=str(tmp_path), CONTAINER_CONNECTION="near")
    assert remote.engine.host in opened(remote)
