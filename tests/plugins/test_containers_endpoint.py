"""Where an engine is: addresses, what the environment and the files of docker and podman say, and errors that help."""

from __future__ import annotations

import asyncio
import errno
import hashlib
import json
import os
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from hotfn_containers.addresses import docker_endpoint, podman_endpoint
from hotfn_containers.docker_engine import DockerEngine
from hotfn_containers.endpoint import SOCKET, Endpoint
from hotfn_containers.podman_engine import PodmanEngine
from hotfn_containers.tls import Tls
from hotfn_core.errors import DriverUnavailable

from .loops import LOOPS

# ---- addresses


@pytest.mark.parametrize(
    ("engine", "url", "wanted"),
    [
        ("docker", "unix:///run/my.sock", "unix:///run/my.sock"),
        ("docker", "unix://run/my.sock", "unix:///run/my.sock"),
        ("docker", " unix:///run/my.sock\n", "unix:///run/my.sock"),
        ("docker", "UNIX:///run/My.sock", "unix:///run/My.sock"),
        ("docker", "http+unix:///run/my.sock", "unix:///run/my.sock"),
        ("docker", "unix://", "unix:///var/run/docker.sock"),
        ("podman", "http+unix://%2Frun%2Fmy.sock", "unix:///run/my.sock"),
        ("docker", "tcp://host:1234", "tcp://host:1234"),
        ("docker", "tcp://host:1234/", "tcp://host:1234"),
        ("docker", "http://host:1234", "tcp://host:1234"),
        ("docker", "host:1234", "tcp://host:1234"),
        ("docker", "host", "tcp://host:2375"),
        ("docker", "tcp://host", "tcp://host:2375"),
        ("docker", "https://host", "tcp://host:2376"),
        ("docker", "tcp://[::1]:1234", "tcp://[::1]:1234"),
        ("docker", "127.0.0.1:1234", "tcp://127.0.0.1:1234"),
        ("podman", "tcp://host:1234", "tcp://host:1234"),
    ],
)
def test_addresses(engine: str, url: str, wanted: str) -> None:
    endpoint = Endpoint.parse(engine, url, "the test")
    assert endpoint.url == wanted
    assert bool(endpoint.unix) != bool(endpoint.host)
    assert endpoint.unix in ("", wanted.removeprefix("unix://"))


@pytest.mark.parametrize(
    ("engine", "url", "why"),
    [
        ("docker", "/var/run/docker.sock", "name unix:///var/run/docker.sock"),
        ("docker", "fd://", "that is where an engine listens"),
        ("docker", "npipe:////./pipe/docker_engine", "that is for Windows"),
        ("docker", "ftp://host", "begins with unix:// or tcp://"),
        ("docker", "tcp://", "tcp://host:port and no more"),
        ("docker", "tcp://host:1/path", "tcp://host:port and no more"),
        ("docker", "tcp://me@host:1", "tcp://host:port and no more"),
        ("docker", "tcp://host:1?x=y", "tcp://host:port and no more"),
        ("docker", "tcp://host:99999", "Port out of range"),
        ("docker", "tcp://host:many", "many"),
        ("docker", "tcp://[::1:1", "IPv6"),
        ("docker", "unix:///run/what?.sock", r"may not have \? # ; in it"),
        ("podman", "tcp://host", "names no port"),
        ("podman", "https://host:1", "does not speak TLS with podman"),
        (
            "docker",
            "ssh://me@host",
            r"-L /tmp/docker\.sock:/var/run/docker\.sock me@host\) and name unix:///tmp/docker",
        ),
        ("docker", "ssh://me@host:2222", r"ssh -NT -p 2222 .* me@host\)"),
        (
            "podman",
            "ssh://me@host:22/run/user/7/podman/podman.sock",
            r"-p 22 .*:/run/user/7/podman/podman\.sock me@host\)",
        ),
        ("docker", "ssh://host:many", "forward the engine's socket"),
    ],
)
def test_addresses_that_cannot_be_used(engine: str, url: str, why: str) -> None:
    with pytest.raises(DriverUnavailable, match=why) as caught:
        Endpoint.parse(engine, url, "DOCKER_HOST")
    assert caught.value.message.startswith(f"DOCKER_HOST says {url!r}, which hotfn cannot use for {engine}: ")


def test_tls_is_for_tcp() -> None:
    tls = Tls(ca="/ca.pem")
    assert Endpoint.parse("docker", "tcp://host:1", "the test", tls).tls is tls
    assert Endpoint.parse("docker", "https://host:1", "the test", tls).tls is tls
    assert Endpoint.parse("docker", "https://host:1", "the test").tls == Tls()
    assert Endpoint.parse("docker", "http://host:1", "the test", tls).tls is None
    assert Endpoint.parse("docker", "unix:///sock", "the test", tls).tls is None


# ---- what is found


class Home:
    """The files of a user, and an environment that leads nowhere else."""

    def __init__(self, path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.path = path
        self.set = monkeypatch.setenv
        for name in list(os.environ):
            if name.startswith(("DOCKER_", "CONTAINER", "XDG_", "PODMAN_")):
                monkeypatch.delenv(name)
        self.set("HOME", str(path))
        self.runtime = path / "runtime"
        self.runtime.mkdir()
        self.set("XDG_RUNTIME_DIR", str(self.runtime))
        for engine in SOCKET:
            monkeypatch.setitem(SOCKET, engine, str(path / f"root-{engine}.sock"))

    def write(self, name: str, content: str | dict[str, Any]) -> Path:
        path = self.path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content if isinstance(content, str) else json.dumps(content))
        return path

    def context(self, name: str, host: str | None, *, folder: str = ".docker", skip: bool = False) -> Path:
        """Make a context of docker. Returns where its certificates belong."""
        key = hashlib.sha256(name.encode()).hexdigest()
        target = {"SkipTLSVerify": skip} | ({"Host": host} if host is not None else {})
        meta = {"Name": name, "Metadata": {}, "Endpoints": {"docker": target}}
        self.write(f"{folder}/contexts/meta/{key}/meta.json", meta)
        tls = self.path / folder / "contexts" / "tls" / key / "docker"
        tls.mkdir(parents=True)
        return tls

    def use(self, name: str, folder: str = ".docker") -> None:
        self.write(f"{folder}/config.json", {"currentContext": name})


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Home:
    return Home(tmp_path, monkeypatch)


def put(folder: Path, certificates: Path, *names: str) -> None:
    for name in names:
        (folder / name).write_bytes((certificates / name).read_bytes())


def files_of(folder: Path) -> Tls:
    return Tls(str(folder / "ca.pem"), str(folder / "cert.pem"), str(folder / "key.pem"))


def test_docker_by_default(home: Home) -> None:
    endpoint = docker_endpoint()
    assert (endpoint.unix, endpoint.source) == (SOCKET["docker"], "the default")


def test_docker_of_a_user_where_there_is_none_of_root(home: Home) -> None:
    own = home.runtime / "docker.sock"
    own.touch()
    endpoint = docker_endpoint()
    assert (endpoint.unix, endpoint.source) == (str(own), "the default without root")
    Path(SOCKET["docker"]).touch()
    assert docker_endpoint().unix == SOCKET["docker"]


def test_docker_host_is_before_everything(home: Home) -> None:
    home.context("other", "tcp://other:1")
    home.set("DOCKER_CONTEXT", "other")
    home.set("DOCKER_HOST", "unix:///run/mine.sock")
    endpoint = docker_endpoint()
    assert (endpoint.unix, endpoint.source) == ("/run/mine.sock", "DOCKER_HOST")


def test_an_empty_docker_host_is_none(home: Home) -> None:
    home.set("DOCKER_HOST", "")
    home.set("DOCKER_CONTEXT", "")
    assert docker_endpoint().source == "the default"


def test_the_current_context(home: Home) -> None:
    home.context("mine", "tcp://mine:1")
    home.use("mine")
    endpoint = docker_endpoint()
    assert endpoint.url == "tcp://mine:1"
    assert endpoint.tls is None
    assert endpoint.source == f"the context 'mine' of {home.path}/.docker/config.json"


def test_docker_context_is_before_the_current_one(home: Home) -> None:
    home.context("mine", "tcp://mine:1")
    home.context("other", "unix:///run/other.sock")
    home.use("mine")
    home.set("DOCKER_CONTEXT", "other")
    endpoint = docker_endpoint()
    assert (endpoint.unix, endpoint.source) == ("/run/other.sock", "the context 'other' of DOCKER_CONTEXT")
    home.set("DOCKER_CONTEXT", "default")
    assert docker_endpoint().source == "the default"


def test_contexts_are_in_docker_config(home: Home) -> None:
    home.context("mine", "tcp://elsewhere:1", folder="conf")
    home.use("mine", folder="conf")
    home.set("DOCKER_CONFIG", str(home.path / "conf"))
    assert docker_endpoint().url == "tcp://elsewhere:1"


def test_a_context_that_there_is_not(home: Home) -> None:
    home.set("DOCKER_CONTEXT", "gone")
    with pytest.raises(
        DriverUnavailable, match=r"^DOCKER_CONTEXT names the context 'gone', which .* `docker context ls`"
    ):
        docker_endpoint()


def test_a_context_without_a_host(home: Home) -> None:
    home.context("mine", None)
    home.set("DOCKER_CONTEXT", "mine")
    with pytest.raises(DriverUnavailable, match="the context 'mine' .* names no host of docker"):
        docker_endpoint()


@pytest.mark.parametrize("content", ["{", '{"Endpoints": ', "\x00", "[" * 100_000])
def test_a_context_whose_file_is_broken(home: Home, content: str) -> None:
    home.context("mine", "tcp://mine:1")
    (meta,) = home.path.glob(".docker/contexts/meta/*/meta.json")
    meta.write_text(content)
    home.set("DOCKER_CONTEXT", "mine")
    with pytest.raises(DriverUnavailable, match=f"{meta}, which tells where the engine is, cannot be read"):
        docker_endpoint()


@pytest.mark.parametrize("content", ["[]", '{"Endpoints": []}', '{"Endpoints": {"docker": 1}}'])
def test_a_context_that_is_none(home: Home, content: str) -> None:
    home.context("mine", "tcp://mine:1")
    (meta,) = home.path.glob(".docker/contexts/meta/*/meta.json")
    meta.write_text(content)
    home.set("DOCKER_CONTEXT", "mine")
    with pytest.raises(DriverUnavailable, match="the context 'mine'"):
        docker_endpoint()


def test_a_configuration_that_is_broken(home: Home) -> None:
    path = home.write(".docker/config.json", "{")
    with pytest.raises(DriverUnavailable, match=f"{path}, .* correct or remove it"):
        docker_endpoint()


def test_a_context_with_certificates(home: Home, certificates: Path) -> None:
    folder = home.context("mine", "tcp://mine")
    put(folder, certificates, "ca.pem", "cert.pem", "key.pem")
    home.use("mine")
    endpoint = docker_endpoint()
    assert endpoint.url == "tcp://mine:2376"
    assert endpoint.tls == files_of(folder)


def test_a_context_that_trusts_everybody(home: Home, certificates: Path) -> None:
    home.context("mine", "tcp://mine", skip=True)
    home.use("mine")
    assert docker_endpoint().tls == Tls(verify=False)


def test_docker_tls_verify(home: Home, certificates: Path) -> None:
    home.set("DOCKER_HOST", "tcp://mine")
    home.set("DOCKER_TLS_VERIFY", "1")
    home.set("DOCKER_CERT_PATH", str(certificates))
    endpoint = docker_endpoint()
    assert endpoint.url == "tcp://mine:2376"
    assert endpoint.tls == files_of(certificates)
    assert endpoint.tls.context.check_hostname


def test_docker_cert_path_alone_trusts_everybody(home: Home, certificates: Path) -> None:
    home.set("DOCKER_HOST", "tcp://mine:1")
    home.set("DOCKER_TLS_VERIFY", "")
    home.set("DOCKER_CERT_PATH", str(certificates))
    tls = docker_endpoint().tls
    assert tls == Tls("", str(certificates / "cert.pem"), str(certificates / "key.pem"), verify=False)
    assert not tls.context.check_hostname


def test_certificates_are_in_the_configuration_by_default(home: Home, certificates: Path) -> None:
    (home.path / ".docker").mkdir()
    put(home.path / ".docker", certificates, "ca.pem", "cert.pem", "key.pem")
    home.set("DOCKER_HOST", "tcp://mine:1")
    home.set("DOCKER_TLS_VERIFY", "1")
    tls = docker_endpoint().tls
    assert tls is not None
    assert tls.ca == f"{home.path}/.docker/ca.pem"


@pytest.mark.parametrize("host", ["unix:///run/my.sock", "http://mine:1"])
def test_tls_is_not_for_every_address(home: Home, host: str) -> None:
    home.set("DOCKER_HOST", host)
    home.set("DOCKER_TLS_VERIFY", "1")  # and there are no certificates
    assert docker_endpoint().tls is None


def test_certificates_that_there_are_not(home: Home) -> None:
    home.set("DOCKER_HOST", "tcp://mine:1")
    home.set("DOCKER_TLS_VERIFY", "1")
    home.set("DOCKER_CERT_PATH", "/nowhere")
    with pytest.raises(
        DriverUnavailable,
        match=r"DOCKER_CERT_PATH \(/nowhere\) asks for TLS, and /nowhere/ca.pem cannot be read: No such file",
    ):
        docker_endpoint()


@pytest.mark.parametrize(("broken", "content"), [("ca.pem", "no certificate"), ("key.pem", None), ("cert.pem", "")])
def test_certificates_of_no_use(home: Home, certificates: Path, broken: str, content: str | None) -> None:
    folder = home.path / "certificates"
    folder.mkdir()
    put(folder, certificates, "ca.pem", "cert.pem", "key.pem")
    other = (certificates / "server-key.pem").read_text()
    (folder / broken).write_text(other if content is None else content)
    home.set("DOCKER_HOST", "tcp://mine:1")
    home.set("DOCKER_TLS_VERIFY", "1")
    home.set("DOCKER_CERT_PATH", str(folder))
    with pytest.raises(DriverUnavailable, match="its files cannot be used"):
        docker_endpoint()


def test_a_user_without_a_home(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    def nowhere() -> Path:
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.setattr(Path, "home", nowhere)
    assert docker_endpoint().source == "the default"
    assert podman_endpoint().source == "the default"


@pytest.mark.parametrize(
    ("uid", "there", "wanted"),
    [
        (0, {"root", "own"}, "root"),
        (0, {"own"}, "own"),
        (0, set(), "root"),
        (1000, {"root", "own"}, "own"),
        (1000, {"root"}, "root"),
        (1000, set(), "own"),
    ],
)
def test_podman_by_default(home: Home, monkeypatch: pytest.MonkeyPatch, uid: int, there: set[str], wanted: str) -> None:
    monkeypatch.setattr(os, "getuid", lambda: uid)
    paths = {"root": Path(SOCKET["podman"]), "own": home.runtime / "podman" / "podman.sock"}
    paths["own"].parent.mkdir()
    for name in there:
        paths[name].touch()
    endpoint = podman_endpoint()
    assert (endpoint.unix, endpoint.source) == (str(paths[wanted]), "the default")


def test_podman_without_a_runtime_directory(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "getuid", lambda: 4711)
    monkeypatch.delenv("XDG_RUNTIME_DIR")
    assert podman_endpoint().unix == "/run/user/4711/podman/podman.sock"


def test_container_host(home: Home) -> None:
    home.set("CONTAINER_CONNECTION", "other")
    home.set("CONTAINER_HOST", "tcp://mine:1")
    endpoint = podman_endpoint()
    assert (endpoint.url, endpoint.source) == ("tcp://mine:1", "CONTAINER_HOST")


NEW = {
    "Connection": {"Default": "far", "Connections": {"far": {"URI": "ssh://x/y"}, "mine": {"URI": "unix:///new.sock"}}}
}
OLD = """
[engine]
active_service = "far"
[engine.service_destinations.mine]
uri = "unix:///old.sock"
[engine.service_destinations.older]
uri = "tcp://older:1"
[engine.service_destinations.far]
uri = "ssh://x/y"
"""


def test_podmans_connections(home: Home) -> None:
    new = home.write(".config/containers/podman-connections.json", NEW)
    home.write(".config/containers/containers.conf", OLD)
    home.set("CONTAINER_CONNECTION", "mine")
    endpoint = podman_endpoint()
    assert (endpoint.unix, endpoint.source) == ("/new.sock", f"podman's connection 'mine' ({new})")
    home.set("CONTAINER_CONNECTION", "older")
    assert podman_endpoint().url == "tcp://older:1"


@pytest.mark.parametrize(
    ("variable", "name", "content", "wanted"),
    [
        ("XDG_CONFIG_HOME", "containers/podman-connections.json", NEW, "/new.sock"),
        ("XDG_CONFIG_HOME", "containers/containers.conf", OLD, "/old.sock"),
    ],
)
def test_where_connections_are_kept(
    home: Home, variable: str, name: str, content: str | dict[str, Any], wanted: str
) -> None:
    home.write(f"conf/{name}", content)
    home.set(variable, str(home.path / "conf"))
    home.set("CONTAINER_CONNECTION", "mine")
    assert podman_endpoint().unix == wanted


def test_files_of_connections_by_name(home: Home) -> None:
    home.write(".config/containers/containers.conf", "[engine]\n")
    home.set("CONTAINERS_CONF", str(home.write("mine.conf", OLD)))
    home.set("CONTAINER_CONNECTION", "mine")
    assert podman_endpoint().unix == "/old.sock"
    home.set("PODMAN_CONNECTIONS_CONF", str(home.write("mine.json", NEW)))
    assert podman_endpoint().unix == "/new.sock"


def test_a_connection_that_there_is_not(home: Home) -> None:
    home.set("CONTAINER_CONNECTION", "gone")
    with pytest.raises(DriverUnavailable, match="CONTAINER_CONNECTION names the connection 'gone'.* it has: none"):
        podman_endpoint()
    home.write(".config/containers/containers.conf", OLD)
    with pytest.raises(DriverUnavailable, match="it has: far, mine, older"):
        podman_endpoint()


def test_the_default_connection_counts_where_it_is_a_machine(home: Home) -> None:
    """That is how podman's own package sees it; another one is for `podman --remote`."""
    new = home.write(".config/containers/podman-connections.json", NEW)
    assert podman_endpoint().source == "the default"
    machine = {"URI": "ssh://core@127.0.0.1:2222/run/user/1/podman/podman.sock", "IsMachine": True}
    new.write_text(json.dumps({"Connection": {"Default": "far", "Connections": {"far": machine}}}))
    with pytest.raises(DriverUnavailable, match="podman's default connection 'far' .*ssh -NT -p 2222"):
        podman_endpoint()


@pytest.mark.parametrize("name", ["podman-connections.json", "containers.conf"])
def test_a_file_of_podman_that_is_broken(home: Home, name: str) -> None:
    path = home.write(f".config/containers/{name}", "{[")
    with pytest.raises(DriverUnavailable, match=f"{path}, which tells where the engine is, cannot be read"):
        podman_endpoint()


@pytest.mark.parametrize("content", ["[engine]\n", "engine = 1\n", "[engine]\nservice_destinations = 1\n", ""])
def test_a_configuration_of_podman_without_connections(home: Home, content: str) -> None:
    home.write(".config/containers/containers.conf", content)
    assert podman_endpoint().source == "the default"


# ---- reaching it


def reached(endpoint: Endpoint) -> list[str]:
    """Try it in both ways. Returns what went wrong."""

    async def connect() -> None:
        transport = await endpoint.connect(asyncio.Protocol)
        raise AssertionError(transport)

    messages = []
    for way in (endpoint.probe, lambda: asyncio.run(connect())):
        with pytest.raises(DriverUnavailable) as caught:
            way()
        messages.append(caught.value.message)
    return messages


def test_no_socket(tmp_path: Path) -> None:
    for message in reached(Endpoint.parse("docker", f"unix://{tmp_path}/sock", "DOCKER_HOST")):
        assert message == (
            f"there is no docker at unix://{tmp_path}/sock (DOCKER_HOST): no such socket; start it (systemctl start "
            "docker) or name another with DOCKER_HOST"
        )


def test_no_socket_of_a_user(home: Home) -> None:
    path = home.runtime / "podman.sock"
    for message in reached(Endpoint.parse("podman", f"unix://{path}", "the default")):
        assert "start it (systemctl --user start podman.socket) or name another with CONTAINER_HOST" in message


def test_nobody_listens(tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as sock:
        sock.bind(str(tmp_path / "sock"))
        for message in reached(Endpoint.parse("podman", f"unix://{tmp_path}/sock", "the default")):
            assert message.startswith(f"nobody listens for podman at unix://{tmp_path}/sock (the default); start it")


def test_nobody_listens_at_a_port() -> None:
    with socket.create_server(("127.0.0.1", 0)) as sock:
        port = sock.getsockname()[1]
    for message in reached(Endpoint.parse("docker", f"tcp://127.0.0.1:{port}", "DOCKER_HOST")):
        assert "nobody listens" in message
        assert "with this address to listen on" in message


def test_no_such_host() -> None:
    for message in reached(Endpoint.parse("docker", "tcp://no-such-host.invalid:1", "DOCKER_HOST")):
        assert "cannot find the host of docker at tcp://no-such-host.invalid:1" in message


def test_a_path_that_is_too_long(tmp_path: Path) -> None:
    for message in reached(Endpoint.parse("docker", f"unix://{tmp_path}/{'x' * 200}", "DOCKER_HOST")):
        assert message.endswith("path too long")


@pytest.mark.parametrize(
    ("error", "engine", "text"),
    [
        (PermissionError(errno.EACCES, "Permission denied"), "docker", "group `docker`"),
        (PermissionError(errno.EACCES, "Permission denied"), "podman", "own user's socket"),
        (TimeoutError(), "docker", "is it overloaded or stopped"),
        (OSError(errno.EHOSTUNREACH, "No route to host"), "docker", "No route to host"),
    ],
)
def test_what_is_said_of_an_error(error: OSError, engine: str, text: str) -> None:
    message = Endpoint.parse(engine, "unix:///run/sock", "the test").unavailable(error).message
    assert f"{engine} at unix:///run/sock (the test)" in message
    assert text in message


def full(path: Path) -> list[socket.socket]:
    """Listen, and fill the queue of those who wait to be accepted. The first socket is the listener."""
    listener, waiting = socket.socket(socket.AF_UNIX), socket.socket(socket.AF_UNIX)
    listener.bind(str(path))
    listener.listen(0)
    waiting.connect(str(path))
    return [listener, waiting]


def test_an_engine_that_accepts_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("hotfn_containers.endpoint.CONNECT_SECONDS", 0.05)
    sockets = full(tmp_path / "sock")
    for message in reached(Endpoint.parse("docker", f"unix://{tmp_path}/sock", "the test")):
        assert message.endswith("does not accept connections within 0.05 s; is it overloaded or stopped?")
    for one in sockets:
        one.close()


@pytest.mark.parametrize("loop", list(LOOPS))
def test_an_engine_that_accepts_late(tmp_path: Path, loop: str) -> None:
    """To asyncio a socket that could not be connected looks like one that is."""

    async def main(endpoint: Endpoint) -> bytes:
        connecting = asyncio.create_task(endpoint.connect(Sends))
        await asyncio.sleep(0)
        listener.accept()[0].close()  # who waited before
        (client,) = await asyncio.gather(connecting)
        with listener.accept()[0] as accepted:
            accepted.settimeout(10)
            data = await asyncio.to_thread(accepted.recv, 100)
        await client.lost.wait()
        return data

    class Sends(asyncio.Protocol):
        def __init__(self) -> None:
            self.lost = asyncio.Event()

        def connection_made(self, transport: Any) -> None:
            transport.write(b"here I am")

        def connection_lost(self, exc: Exception | None) -> None:
            self.lost.set()

    listener, waiting = full(tmp_path / "sock")
    with asyncio.Runner(loop_factory=LOOPS[loop]) as runner, listener, waiting:
        assert runner.run(main(Endpoint.parse("docker", f"unix://{tmp_path}/sock", "the test"))) == b"here I am"


def test_the_pid_of_who_listens(tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(tmp_path / "sock"))
        listener.listen()
        assert Endpoint.parse("docker", f"unix://{tmp_path}/sock", "the test").probe() == os.getpid()


def test_tcp_tells_no_pid_and_is_kept_alive() -> None:
    async def connect(endpoint: Endpoint) -> bool:
        class Client(asyncio.Protocol):
            def connection_made(self, transport: Any) -> None:
                self.transport = transport

        client = await endpoint.connect(Client)
        alive = client.transport.get_extra_info("socket").getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE)
        client.transport.abort()
        await asyncio.sleep(0)
        return bool(alive)

    with socket.create_server(("127.0.0.1", 0)) as listener:
        endpoint = Endpoint.parse("docker", f"tcp://127.0.0.1:{listener.getsockname()[1]}", "the test")
        assert endpoint.probe() is None
        assert asyncio.run(connect(endpoint))


# ---- clients


def client_of(make: Callable[[Endpoint], Any], endpoint: Endpoint) -> Any:
    engine = make(endpoint)
    client = engine.client
    engine.close()
    return client


@pytest.mark.parametrize("make", [DockerEngine, PodmanEngine])
@pytest.mark.parametrize("url", ["unix:///run/sock", "tcp://127.0.0.1:1", "tcp://[::1]:1"])
def test_no_proxy_stands_before_an_engine(home: Home, make: Callable[[Endpoint], Any], url: str) -> None:
    for name in ("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY", "all_proxy", "ALL_PROXY"):
        home.set(name, "http://proxy.invalid:1")
    client = client_of(make, Endpoint.parse(make.name, url, "the test"))  # type: ignore[attr-defined]
    assert client.merge_environment_settings("http://127.0.0.1:1", {}, None, None, None)["proxies"] == {}


@pytest.mark.parametrize("verify", [True, False])
def test_the_package_speaks_tls_with_the_same_files(home: Home, certificates: Path, verify: bool) -> None:
    home.set("REQUESTS_CA_BUNDLE", "/nowhere")
    home.set("DOCKER_HOST", "tcp://127.0.0.1:1")
    home.set("DOCKER_TLS_VERIFY", "1" if verify else "")
    home.set("DOCKER_CERT_PATH", str(certificates))
    client = client_of(DockerEngine, docker_endpoint())
    assert client.base_url == "https://127.0.0.1:1"
    settings = client.merge_environment_settings(client.base_url, {}, None, None, None)
    assert settings["verify"] == (str(certificates / "ca.pem") if verify else False)
    assert settings["cert"] == (str(certificates / "cert.pem"), str(certificates / "key.pem"))


def test_https_without_files_trusts_the_systems_certificates(home: Home) -> None:
    client = client_of(DockerEngine, Endpoint.parse("docker", "https://127.0.0.1:1", "the test"))
    assert (client.base_url, client.verify, client.cert) == ("https://127.0.0.1:1", True, None)
