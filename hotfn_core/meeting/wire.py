"""One connection of hotfn's to the socket of a copy."""

from __future__ import annotations

import fcntl
import os
import termios
from asyncio import AbstractEventLoop
from collections import deque
from collections.abc import Callable

CHUNK = 65536
MOST_LEFT = 64
"""Chunks that are read from a copy that is gone: more than a socket holds, so somebody goes on writing."""
_NUMBER = bytes(4)


class Wire:
    """Passes bytes both ways over a descriptor that does not block, which it owns.

    `received` gets what the copy writes. `closed` is called once when the copy has closed it, with whether it has read
    all that was sent; not for `close`, and never from inside of `write`.
    """

    __slots__ = ("_closed", "_fd", "_loop", "_lost", "_queue", "_reading", "_received", "held")

    def __init__(
        self, loop: AbstractEventLoop, fd: int, received: Callable[[bytes], None], closed: Callable[[bool], None]
    ) -> None:
        self.held = 0
        """Bytes that the copy has not taken."""
        self._loop = loop
        self._fd = fd
        self._received = received
        self._closed = closed
        self._queue: deque[memoryview] = deque()
        self._reading = False
        self._lost = False  # some of what was written can never have been read
        self.resume()

    def write(self, data: bytes) -> None:
        """Send, and hold what is not taken at once. Never blocks and never raises."""
        if self._fd < 0:
            return
        try:
            done = 0 if self._queue else os.write(self._fd, data)
        except OSError as error:
            done = self._not_taken(error, data)
        if done < len(data):
            self._hold(data, done)

    @property
    def unread(self) -> bool:
        """Say whether the copy has not read all that was written."""
        return self.held > 0 or fcntl.ioctl(self._fd, termios.TIOCOUTQ, _NUMBER) != _NUMBER

    def resume(self) -> None:
        """Take what the copy writes."""
        if not self._reading and self._fd >= 0:
            self._loop.add_reader(self._fd, self._readable)
            self._reading = True

    def pause(self) -> None:
        """Leave what the copy writes where it is, until `resume`."""
        if self._reading:
            self._loop.remove_reader(self._fd)
            self._reading = False

    def finish(self) -> None:
        """The copy is gone: pass on what it had written, and close."""
        for _ in range(MOST_LEFT):
            if self._fd < 0:
                return
            try:
                data = os.read(self._fd, CHUNK)
            except OSError:  # nothing more, though a child of the copy's may still hold the other end
                data = b""
            if not data:
                break
            self._received(data)
        self.close()

    def close(self) -> None:
        """Close it now and drop what is held. Idempotent."""
        if self._fd < 0:
            return
        self.pause()
        if self._queue:
            self._loop.remove_writer(self._fd)
            self._queue.clear()
            self.held = 0
        os.close(self._fd)
        self._fd = -1

    def _readable(self) -> None:
        try:
            data = os.read(self._fd, CHUNK)
        except BlockingIOError:
            return
        except OSError:  # ECONNRESET: it was closed before all that was sent had been read
            self._end(read_all=False)
            return
        if data:
            self._received(data)
        else:
            self._end(read_all=not (self._lost or self._queue))

    def _end(self, *, read_all: bool) -> None:
        if self._fd >= 0:
            self.close()
            self._closed(read_all)

    def _not_taken(self, error: OSError, data: bytes | memoryview) -> int:
        """Return how much of the data needs no further thought."""
        if isinstance(error, BlockingIOError):
            return 0
        # EPIPE: it was closed already. What the copy wrote before that is read first.
        self._lost = True
        self._loop.call_soon(self._broken)
        return len(data)

    def _broken(self) -> None:
        """It takes nothing any more: pass on what the copy had written before, and tell."""
        while self._fd >= 0:
            try:
                data = os.read(self._fd, CHUNK)
            except OSError:
                data = b""
            if data:
                self._received(data)
            else:
                self._end(read_all=False)

    def _hold(self, data: bytes, done: int) -> None:
        if not self._queue:
            self._loop.add_writer(self._fd, self._writable)
        rest = memoryview(bytes(data))[done:]  # bytes() copies what a caller could change under us, and only that
        self._queue.append(rest)
        self.held += len(rest)

    def _writable(self) -> None:
        first = self._queue[0]
        try:
            done = os.write(self._fd, first)
        except OSError as error:
            done = self._not_taken(error, first)
        self.held -= done
        if done < len(first):
            self._queue[0] = first[done:]
            return
        self._queue.popleft()
        if not self._queue:
            self._loop.remove_writer(self._fd)
