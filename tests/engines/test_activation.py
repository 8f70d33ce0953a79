"""A service behind a listener that outlives it, as systemd's sockets do: who listens does not tell of its next run."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Awaitable, Iterator
from pathlib import Path

import pytest

from hotfn_core import HotfnError, InstanceExited, Manager, Reply

from .calling import echo, run, shell, until
from .conftest import NewEngine
from .setup import Engine

ACTIVATED = """
import os, sys
os.dup2(int(sys.argv[1]), 3)
os.environ |= {"LISTEN_FDS": "1", "LISTEN_PID": str(os.getpid())}
os.execv(sys.argv[2], sys.argv[2:])
"""
"""What systemd does for a service: the listening socket is descriptor 3."""


class Activated:
    """A podman service that is handed its socket and can be killed and started anew without anybody hanging up."""

    def __init__(self, engine: Engine, path: Path) -> None:
        self._engine = engine
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(os.fspath(path))
        self._listener.listen(64)
        self._service = self._start()

    def _start(self) -> subprocess.Popen[bytes]:
        number = self._listener.fileno()
        service = [self._engine.executable, "system", "service", "--time=0"]
        argv = [sys.executable, "-I", "-S", "-c", ACTIVATED, str(number), *service]
        environment = self._engine.environment()
        return subprocess.Popen(argv, env=environment, pass_fds=[number], cwd=self._engine.directory)

    def restart(self) -> None:
        """Kill the service and start another one."""
        self.end()
        self._service = self._start()

    def end(self) -> None:
        """Kill the service."""
        self._service.send_signal(signal.SIGKILL)
        self._service.wait(10)

    def close(self) -> None:
        """Take everything down."""
        self.end()
        self._listener.close()


@pytest.fixture
def activated(
    new_engine: NewEngine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[tuple[Engine, Activated]]:
    engine = new_engine("podman")
    path = Path(os.path.relpath(tmp_path / "s", "/tmp"))
    path = Path("/tmp") / path
    service = Activated(engine, path)
    monkeypatch.setenv("CONTAINER_HOST", f"unix://{path}")
    yield engine, service
    service.close()


def test_a_restart_in_the_middle_makes_no_half_reply_whole(activated: tuple[Engine, Activated], tmp_path: Path) -> None:
    """The program says its second half, and exits with 0, at once behind the restart: nobody heard it."""
    engine, service = activated
    gate = tmp_path / "gate"
    gate.mkdir()
    os.mkfifo(gate / "fifo")
    for path in (tmp_path, gate, gate / "fifo"):
        path.chmod(0o777)
    line = "echo first half; cat /gate/fifo; echo second half"

    async def test() -> None:
        async with Manager() as manager:
            calling = asyncio.create_task(
                manager.call(shell(engine, line, "default", driver_options={"mounts": [f"{gate}:/gate"]}))
            )
            with await asyncio.to_thread((gate / "fifo").open, "w"):  # it is opened when the program waits there
                await until(lambda: manager.stats()["default/shell"].busy == 1)  # the service has said that it runs
                await asyncio.to_thread(service.restart)
            with pytest.raises(InstanceExited, match="the connection to podman was lost"):
                await calling

    run(test())


def test_a_hot_function_is_not_blamed_and_the_next_call_is_answered(activated: tuple[Engine, Activated]) -> None:
    engine, service = activated

    async def test() -> None:
        async with Manager() as manager:
            spec = echo(engine)
            assert (await manager.call(spec, b"one")).body == b"one"
            service.restart()
            told = []
            while isinstance(reply := await outcome(manager.call(spec, b"two")), HotfnError):
                told.append(reply)
                await asyncio.sleep(0.1)
            assert reply.body == b"two"
            assert all("connection to podman was lost" in str(one) for one in told), told

    run(test())


async def outcome(call: Awaitable[Reply]) -> Reply | HotfnError:
    """Return how a call ended, instead of raising."""
    try:
        return await call
    except HotfnError as error:
        return error
