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


async def build(argv: Sequence[str], directory: Path) -> None:
    """Run to the end; stdin is empty. Raises BuildFailed. Cancelled, it kills the build and its children."""
    null, pipe, both = asyncio.subprocess.DEVNULL, asyncio.subprocess.PIPE, asyncio.subprocess.STDOUT
    try:
        process = await asyncio.create_subprocess_exec(
            *argv, cwd=directory, stdin=null, stdout=pipe, stderr=both, start_new_session=True
        )
    except OSError as error:
        raise BuildFailed(f"{argv[0]} could not be started: {error.strerror}") from None
    output = bytearray()
    reading = asyncio.create_task(_read(process, output))
    try:
        status = await process.wait()
        await asyncio.wait([reading], timeout=_LATE)
    finally:
        reading.cancel()
        await _end(process)
    if status:
        how = f"exited with status {status}" if status > 0 else f"was killed by signal {-status}"
        raise BuildFailed(f"{argv[0]} {how}", output.decode(errors="replace").splitlines()[-_LINES:])


async def _read(process: asyncio.subprocess.Process, output: bytearray) -> None:
    assert process.stdout is not None
    while data := await process.stdout.read(_KEPT):
        output += data
        del output[:-_KEPT]


async def _end(process: asyncio.subprocess.Process) -> None:
    if process.returncode is None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)  # it leads a session of its own
        await process.wait()
