"""Writing replies to stdout: in batches while there is more to come, at once when nothing else is ready."""

from __future__ import annotations

import asyncio
import errno
import os
from collections.abc import Callable

from .threads import CHUNK, Watcher, Writer

HIGH_WATER = 1 << 20
_BATCH_SECONDS = 0.02


class Output:
    """A descriptor that takes bytes without blocking.

    Bytes are written when a chunk is full, 20 ms after they came, or at once while `eager`: the caller sets that when
    it has nothing else to do, so that the program behind the pipe gets an answer before it asks the next question.
    `full`: the reader is slow, come back when `room` is called. `error`: the OSError that ended it; what is put
    then is dropped, and `room` is called.
    """

    def __init__(self, fd: int, room: Callable[[], None]) -> None:
        self._loop = asyncio.get_running_loop()
        self._room = room
        self._fd = fd
        self._writer = Writer(fd, self._written)
        self._watcher: Watcher | None = None
        self._parts: list[bytes] = []
        self._size = 0
        self._writing = 0
        self._timer: asyncio.TimerHandle | None = None
        self._idle: asyncio.Future[None] | None = None
        self.eager = False
        self.error: OSError | None = None

    @property
    def full(self) -> bool:
        """Whether so much is held that the producer must wait."""
        return self._size + self._writing >= HIGH_WATER

    def put(self, data: bytes) -> None:
        """Have `data` written behind what was put before."""
        if not data or self.error:
            return
        self._parts.append(data)
        self._size += len(data)
        self._schedule()

    def flush(self) -> None:
        """Hand everything to the writer, unless it is writing: then it goes as soon as that is done."""
        if self._parts and not self._writing:
            data = b"".join(self._parts) if len(self._parts) > 1 else self._parts[0]
            self._parts.clear()
            self._size, self._writing = 0, len(data)
            self._writer.write(data)

    def watch(self) -> None:
        """Notice at once when the reader goes, even while there is nothing to write."""
        error = BrokenPipeError(errno.EPIPE, os.strerror(errno.EPIPE))
        self._watcher = Watcher(self._fd, lambda: self._failed(error))

    async def drained(self) -> None:
        """Return when everything is written, or nothing can be."""
        self.eager = True
        self.flush()
        if self._writing:
            self._idle = self._loop.create_future()
            await self._idle

    def close(self) -> None:
        """Let go of the threads; once. What is not written yet may be lost: await `drained` first."""
        if self._timer:
            self._timer.cancel()
        if self._watcher:
            self._watcher.close()
        self._writer.close()

    def _schedule(self) -> None:
        if self._writing:
            return
        if self.eager or self._size >= CHUNK:
            self.flush()
        elif self._timer is None:
            self._timer = self._loop.call_later(_BATCH_SECONDS, self._due)

    def _due(self) -> None:
        self._timer = None
        self.flush()

    def _written(self, error: OSError | None) -> None:
        was_full = self.full
        self._writing = 0
        if error:
            self._failed(error)
        elif self._parts:
            self._schedule()
        if was_full and not self.full:
            self._room()
        if self._idle and not self._writing and not self._idle.done():
            self._idle.set_result(None)

    def _failed(self, error: OSError) -> None:
        if self.error:
            return
        self.error = error
        self._parts.clear()
        self._size = 0
        self._room()
