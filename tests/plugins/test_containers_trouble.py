"""What is told of an engine that is in trouble, or that is none. Stand-ins listen where the engine should."""

from __future__ import annotations

import asyncio
import json
import os
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from hotfn_containers import engine
from hotfn_containers.drivers import DockerDriver, PodmanDriver
from hotfn_containers.trouble import Refused, caused_by, explain
from hotfn_core.errors import DriverUnavailable

DRIVERS = {"docker": DockerDriver, "podman": PodmanDriver}
QUICK = 6.0
"""Seconds in which `open` has to tell."""

Talk = Callable[[socket.socket], None]


@contextmanager
def listening(path: Path, talk: Talk | None) -> Iterator[str]:
    """Listen where an engine should, and have `talk` answer each connection; None never accepts one."""
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(os.fspath(path))
        server.listen(8)
        threads = [threading.Thread(target=serve, args=(server, talk))] if talk is not None else []
        for thread in threads:
            thread.start()
        try:
            yield f"unix://{path}"
        finally:
            server.shutdown(socket.SHUT_RDWR)
            for thread in threads:
                thread.join(10)


def serve(server: socket.socket, talk: Talk) -> None:
    while True:
        try:
            connection, _ = server.accept()
        except OSError:  # it was shut down
            return
        with connection:
            connection.settimeout(10)
            if connection.recv(65536):  # else it only looked whether somebody listens
                talk(connection)


def says(status: int, body: object, *, raw: bytes = b"") -> Talk:
    """Answer every request like this."""

    def talk(connection: socket.socket) -> None:
        data = raw or json.dumps(body).encode()
        head = f"HTTP/1.1 {status} Whatever\r\nContent-Type: application/json\r\nContent-Length: {len(data)}\r\n"
        connection.sendall(f"{head}Connection: close\r\n\r\n".encode() + data)

    return talk


def hangs(connection: socket.socket) -> None:
    connection.recv(1)  # until the other side has lost its patience


def garbage(connection: socket.socket) -> None:
    connection.sendall(b"SSH-2.0-OpenSSH_9.2\r\n")


def hangs_up(connection: socket.socket) -> None:
    """Say nothing."""


async def told(driver: str, host: str) -> tuple[str, float]:
    """Return what `open` raises and how long that took."""
    began = time.monotonic()
    with pytest.raises(DriverUnavailable) as caught:
        await DRIVERS[driver](host).open()
    assert caught.value.status == 503
    return caught.value.message, time.monotonic() - began


@pytest.mark.parametrize("driver", list(DRIVERS))
class TestOpen:
    def test_there_is_no_socket(self, driver: str, tmp_path: Path) -> None:
        text, took = asyncio.run(told(driver, f"unix://{tmp_path}/sock"))
        assert "no such socket" in text
        assert "start it (systemctl" in text
        assert took < 1

    def test_there_is_a_socket_that_nobody_listens_at(self, driver: str, tmp_path: Path) -> None:
        with socket.socket(socket.AF_UNIX) as stale:
            stale.bind(os.fspath(tmp_path / "sock"))
        text, took = asyncio.run(told(driver, f"unix://{tmp_path}/sock"))
        assert "nobody listens" in text
        assert "start it (systemctl" in text
        assert took < 1

    def test_there_is_something_that_is_no_socket(self, driver: str, tmp_path: Path) -> None:
        (tmp_path / "sock").touch()
        text, took = asyncio.run(told(driver, f"unix://{tmp_path}/sock"))
        assert "is not a socket" in text
        assert took < 1

    @pytest.mark.parametrize(
        ("talk", "word"),
        [
            (garbage, "does not answer as"),
            (hangs_up, "closed the connection"),
            (says(500, {"message": "it is broken inside"}), "it is broken inside"),
            (says(404, {"message": "page not found"}), "page not found"),
            (says(200, None, raw=b"<html>a web server</html>"), "does not answer as"),
            (says(200, None, raw=b"[1, 2]"), "does not answer as"),
            (says(200, {}), "is version ?"),
        ],
    )
    def test_what_listens_there_is_no_engine(self, driver: str, tmp_path: Path, talk: Talk, word: str) -> None:
        with listening(tmp_path / "sock", talk) as host:
            text, took = asyncio.run(told(driver, host))
        assert word in text
        assert host in text
        assert took < QUICK

    @pytest.mark.parametrize("talk", [hangs, None])
    def test_what_listens_there_hangs(
        self, driver: str, tmp_path: Path, talk: Talk | None, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        assert engine.OPEN_SECONDS < QUICK
        monkeypatch.setattr(engine, "OPEN_SECONDS", 0.2)
        with listening(tmp_path / "sock", talk) as host:
            text, took = asyncio.run(told(driver, host))
        assert "does not answer" in text
        assert "restart it" in text
        assert took < QUICK - engine.OPEN_SECONDS

    def test_scenario_40_an_engine_that_is_too_old_is_refused(self, driver: str, tmp_path: Path) -> None:
        old = {"Version": "3.4.4", "ApiVersion": "1.39"}
        with listening(tmp_path / "sock", says(200, old)) as host:
            text, took = asyncio.run(told(driver, host))
        assert "is version 3.4.4" in text
        assert "hotfn needs" in text
        assert "or newer" in text
        assert took < QUICK

    def test_it_may_be_tried_again(self, driver: str, tmp_path: Path) -> None:
        async def main() -> None:
            one = DRIVERS[driver](f"unix://{tmp_path}/sock")
            for _ in range(2):
                with pytest.raises(DriverUnavailable):
                    await one.open()
            with pytest.raises(DriverUnavailable, match="is not open"):
                one.describe()
            await one.aclose()

        asyncio.run(main())


class TestWords:
    @pytest.mark.parametrize(
        ("text", "hint"),
        [
            ("write /var/lib: No space left on device", "`docker system prune`"),
            ("exec: docker-init: not found", "init = false"),
            ("runtime error: invalid memory address or nil pointer dereference", "docker itself failed"),
            ("network mine not found", "create the network"),
            ('workdir "/x" does not exist', "correct driver_options cwd"),
            ("Cannot mkdir: /etc/passwd is not a directory", "correct driver_options cwd"),
        ],
    )
    def test_what_is_known_is_told_with_what_to_do(self, text: str, hint: str) -> None:
        explained = explain("docker", text)
        assert explained.startswith(f"{text}; ")
        assert hint in explained

    def test_what_is_not_known_is_told_as_it_is(self) -> None:
        assert explain("docker", " something else \n") == "something else"

    @pytest.mark.parametrize(
        ("text", "status"), [("No space left on device", 502), ('workdir "/x" does not exist', 400)]
    )
    def test_whose_fault_it_is(self, text: str, status: int) -> None:
        assert Refused(text, 500).status == status

    def test_causes(self) -> None:
        try:
            try:
                raise ConnectionResetError
            except OSError as error:
                raise ValueError("outer") from error
        except ValueError as error:
            outer = error
        assert caused_by(outer, ConnectionError)
        assert not caused_by(outer, TimeoutError)
        outer.__cause__ = outer  # two errors may name each other
        assert not caused_by(outer, TimeoutError)
        assert not caused_by(None, TimeoutError)
