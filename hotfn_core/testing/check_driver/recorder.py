"""A Receiver that keeps all it is told, waits for it, and watches the order of the contract."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from hotfn_core.model import Exit


class Recorder:
    """What one copy did: `out`, `err`, `eofs`, `exit`. `violations` says where the order was broken.

    `writing` is set by whoever calls `Container.write`, from inside which no callback may come.
    """

    def __init__(self) -> None:
        self.out = bytearray()
        self.err = bytearray()
        self.eofs = 0
        self.exit: Exit | None = None
        self.violations: list[str] = []
        self.writing = False
        self._changed = asyncio.Event()

    def stdout_received(self, data: bytes) -> None:
        self._seen("stdout_received", data)
        if self.eofs:
            self.violations.append("stdout_received was called after stdout_eof")
        self.out += data

    def stderr_received(self, data: bytes) -> None:
        self._seen("stderr_received", data)
        self.err += data

    def stdout_eof(self) -> None:
        self._seen("stdout_eof")
        self.eofs += 1
        if self.eofs > 1:
            self.violations.append("stdout_eof was called more than once")

    def exited(self, exit: Exit) -> None:
        self._seen("exited")
        if not isinstance(exit, Exit):
            self.violations.append(f"exited was called with {exit!r}, not with an Exit")
        self.exit = exit

    async def until(self, happened: Callable[[], bool], what: str, limit: float) -> None:
        """Wait until `happened()`. Raises AssertionError that says `what` did not happen within `limit` seconds."""
        try:
            async with asyncio.timeout(limit):
                while not happened():
                    self._changed.clear()
                    await self._changed.wait()
        except TimeoutError:
            raise AssertionError(f"{what} did not come within {limit:g} s; {self}") from None

    def __str__(self) -> str:
        text = f"{len(self.out)} bytes of stdout, {len(self.err)} of stderr"
        if self.err:
            text += f" (ending in {bytes(self.err[-300:])!r})"
        return f"{text}, {self.exit or 'still running'}"

    def _seen(self, what: str, data: object = b"x") -> None:
        if self.exit is not None:
            self.violations.append(f"{what} was called after exited")
        if self.writing:
            self.violations.append(f"{what} was called from inside write")
        if not isinstance(data, bytes) or not data:
            self.violations.append(f"{what} was called with {data!r}, not with some bytes")
        self._changed.set()
