"""Running the build of a function: argv, never a shell, with its last words for when it fails."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
from collections.abc import Sequence
from pathlib import Path

_KEPT = 16 * 1024  # bytes of its output
_LINES = 20
_LATE = 1.0  # seconds for output that comes after its end: a program that it left running may hold the pipe


class BuildFailed(Exception):
    """The build did not do what it should. The text says how it ended; `lines` are its last ones."""

    def __init__(self, text: str, lines: Sequence[str] = ()) -> None:
        super().__init__(text)
        self.lines = lines


class _Output(asyncio.SubprocessProtocol):
    """Keeps the end of what a program says; `exited` and `silent` are done when it has ended, and when its pipe has."""

    def __init__(self) -> None:
        loop = asyncio.get_running_loop()
        self.kept = bytearray()
        self.exited: asyncio.Future[None] = loop.create_future()
        self.silent: asyncio.Future[None] = loop.create_future()

    def pipe_data_received(self, fd: int, data: bytes | str) -> None:
        assert isinstance(data, bytes)
        self.kept += data
        del self.kept[:-_KEPT]

    def pipe_connection_lost(self, fd: int, exc: Exception | None) -> None:
        if not self.silent.done():
            self.silent.set_result(None)

    def process_exited(self) -> None:
        if not self.exited.done():
            self.exited.set_result(None)


async def build(argv: Sequence[str], directory: Path) -> None:
    """Run to the end; stdin is empty. Raises BuildFailed. Cancelled, it kills the build and its children."""
    loop, null, pipe = asyncio.get_running_loop(), asyncio.subprocess.DEVNULL, asyncio.subprocess.PIPE
    try:
        transport, output = await loop.subprocess_exec(
            _Output,
            *argv,
            cwd=directory,
            stdin=null,
            stdout=pipe,
            stderr=asyncio.subprocess.STDOUT,
            start_new_session=True,
        )
    except OSError as error:
        raise BuildFailed(f"{argv[0]} could not be started: {error.strerror}") from None
    try:
        await asyncio.wait([output.exited])  # whose cancellation leaves the future alone
        await asyncio.wait([output.silent], timeout=_LATE)
    finally:
        await _end(transport, output)
    if status := transport.get_returncode():
        how = f"exited with status {status}" if status > 0 else f"was killed by signal {-status}"
        raise BuildFailed(f"{argv[0]} {how}", output.kept.decode(errors="replace").splitlines()[-_LINES:])


async def _end(transport: asyncio.SubprocessTransport, output: _Output) -> None:
    if transport.get_returncode() is None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(transport.get_pid(), signal.SIGKILL)  # it leads a session of its own
        await asyncio.wait([output.exited])
    transport.close()
