"""The ends of a copy's three pipes, on the event loop's own readiness callbacks.

Bare descriptors and not asyncio's pipe transports: measured, a call costs the same, a start costs less, and what is
left in a pipe when its writer has exited can be read to the last byte and no further.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import struct
import termios
from asyncio import AbstractEventLoop
from collections import deque
from collections.abc import Callable

CHUNK = 65536
"""What a pipe of Linux holds unless it is told otherwise."""

LARGE = 4 * CHUNK
"""What a pipe is made to hold when a call or a reply was too large for it: fewer turns between the two processes. More
is slower again, by the processor's caches."""

MUCH = 2 * CHUNK - 4096
"""What is read at once of a large reply: memory for more than 128 KiB comes from the kernel anew each time."""

SMALL = CHUNK // 16
"""Two reads in a row that are smaller than this say that the large replies are over."""

HIGH_WATER = 65536
"""Bytes held for a copy that does not take them, above which a producer should wait."""


class PipeReader:
    """Passes on what is written to a pipe. Reads when told to, and to the end in `finish`."""

    __slots__ = ("_deliver", "_ended", "_fd", "_loop", "_reading", "_size", "_small")

    def __init__(
        self, loop: AbstractEventLoop, fd: int, deliver: Callable[[bytes], None], ended: Callable[[], None]
    ) -> None:
        self._loop = loop
        self._fd = fd
        self._deliver = deliver
        self._ended = ended
        self._reading = False
        self._size = CHUNK  # of a read: memory is taken for all of it, so it is large only for a while
        self._small = 0  # reads in a row, of a copy whose replies were large

    def resume(self) -> None:
        if not self._reading and self._fd >= 0:
            self._loop.add_reader(self._fd, self._ready)
            self._reading = True

    def pause(self) -> None:
        if self._reading:
            self._loop.remove_reader(self._fd)
            self._reading = False

    def drain(self) -> None:
        """Deliver what is in the pipe now, not what somebody may go on writing to it."""
        left = _filled(self._fd) if self._fd >= 0 else 0
        while left > 0 and (data := os.read(self._fd, min(left, CHUNK))):
            left -= len(data)
            self._deliver(data)

    def finish(self) -> None:
        """Deliver what is in the pipe now, and close it."""
        if self._fd < 0:
            return
        try:
            self.drain()
        finally:
            self._close()

    def _ready(self) -> None:
        try:
            data = os.read(self._fd, self._size)
        except BlockingIOError:
            return
        if data:
            if len(data) >= CHUNK or self._size != CHUNK:
                self._adapt(len(data))
            self._deliver(data)
        else:
            self._close()
            self._ended()

    def _adapt(self, size: int) -> None:
        """Read more at once from now on, or as usual again."""
        if self._size == CHUNK:
            _enlarge(self._fd)
            self._size = MUCH
        self._small = self._small + 1 if size < SMALL else 0
        if self._small > 1:
            self._size = CHUNK

    def _close(self) -> None:
        self.pause()
        os.close(self._fd)
        self._fd = -1


class PipeWriter:
    """Writes to a pipe what it takes at once and holds the rest, in order and without copying it."""

    __slots__ = ("_ending", "_fd", "_large", "_loop", "_queue", "held")

    def __init__(self, loop: AbstractEventLoop, fd: int) -> None:
        self._loop = loop
        self._fd = fd
        self._queue: deque[memoryview] = deque()
        self._ending = False
        self._large = False
        self.held = 0
        """Bytes that the other side has not taken."""

    def write(self, data: bytes) -> None:
        """Never blocks and never raises; data for a pipe that nobody reads any more is dropped."""
        if self._ending:
            return
        done = 0 if self._queue else self._push(data)
        if done < len(data):
            if not (self._large or self._queue):
                self._large = True
                _enlarge(self._fd)
                done += self._push(memoryview(data)[done:])
            if done < len(data):
                self._hold(data, done)

    def end(self) -> None:
        """Close the pipe behind what was written."""
        self._ending = True
        if not self._queue:
            self.close()

    def close(self) -> None:
        """Close the pipe now and drop what is held."""
        self._ending = True
        if self._fd < 0:
            return
        if self._queue:
            self._loop.remove_writer(self._fd)
            self._queue.clear()
            self.held = 0
        os.close(self._fd)
        self._fd = -1

    def _push(self, data: bytes | memoryview) -> int:
        try:
            return os.write(self._fd, data)
        except BlockingIOError:
            return 0
        except OSError:  # EPIPE: the copy closed its stdin or is gone; its exit is what tells
            self.close()
            return len(data)

    def _hold(self, data: bytes, done: int) -> None:
        if not self._queue:
            self._loop.add_writer(self._fd, self._ready)
        rest = memoryview(bytes(data))[done:]  # bytes() copies what a caller could change under us, and only that
        self._queue.append(rest)
        self.held += len(rest)

    def _ready(self) -> None:
        first = self._queue[0]
        done = self._push(first)
        if not self._queue:  # it was closed
            return
        self.held -= done
        if done < len(first):
            self._queue[0] = first[done:]
            return
        self._queue.popleft()
        if not self._queue:
            self._loop.remove_writer(self._fd)
            if self._ending:
                self.close()


def _enlarge(fd: int) -> None:
    """Have a pipe hold more. Whoever is not root may do that to some pipes only, and the rest work as before."""
    with contextlib.suppress(OSError):
        fcntl.fcntl(fd, fcntl.F_SETPIPE_SZ, LARGE)


def _filled(fd: int) -> int:
    """Return how many bytes a pipe holds."""
    (size,) = struct.unpack("i", fcntl.ioctl(fd, termios.FIONREAD, bytes(4)))
    return int(size)
