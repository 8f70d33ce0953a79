"""Where the bodies of the calls come from: every line of a file, or one body any number of times."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from typing import Protocol

from hotfn_core.errors import TooLarge

from .threads import CHUNK, Reader

Body = bytes | TooLarge
"""What is to be sent, or why it cannot be."""


class InputError(Exception):
    """The input cannot be read. The text says why."""


class Source(Protocol):
    """A supply of bodies that never blocks. `error` is why it ended early, or None."""

    error: InputError | None

    @property
    def ready(self) -> bool:
        """Whether `take` would return a body now."""

    @property
    def ended(self) -> bool:
        """Whether there will never be another body."""

    @property
    def progress(self) -> tuple[int, int]:
        """How much of how much is taken; of 0 when that is not known."""

    def start(self, arrived: Callable[[int], None]) -> None:
        """Begin. `arrived` is called whenever bodies have become ready, with their number, or at the end, with 0."""

    def take(self) -> Body | None:
        """Return the next body, or None when there is none now."""


class Repeated:
    """One body, `times` times."""

    error: InputError | None = None

    def __init__(self, body: Body, times: int) -> None:
        self._body = body
        self._times = times
        self._left = times

    @property
    def ready(self) -> bool:
        return self._left > 0

    @property
    def ended(self) -> bool:
        return self._left == 0

    @property
    def progress(self) -> tuple[int, int]:
        return self._times - self._left, self._times

    def start(self, arrived: Callable[[int], None]) -> None:
        arrived(self._left)

    def take(self) -> Body | None:
        if not self._left:
            return None
        self._left -= 1
        return self._body


class Lines:
    r"""Every line of a descriptor, without its `\n`; what follows the last `\n` is a line too, unless it is empty.

    Holds at most about two chunks of short lines, or one line of at most `limit` bytes and the beginning of the
    next: a longer line becomes a TooLarge and is skipped as it is read. `size` is the file's, 0 if not known.
    """

    def __init__(self, fd: int, limit: int, size: int = 0) -> None:
        self._fd = fd
        self._limit = limit
        self._size = size
        self._lines: deque[Body] = deque()
        self._held = 0
        self._partial: list[bytes] = []
        self._partial_size = 0
        self._taken = 0
        self._asked = False
        self._eof = False
        self.error: InputError | None = None

    @property
    def ready(self) -> bool:
        return bool(self._lines)

    @property
    def ended(self) -> bool:
        return self._eof and not self._lines

    @property
    def progress(self) -> tuple[int, int]:
        return self._taken, self._size

    def start(self, arrived: Callable[[int], None]) -> None:
        self._arrived = arrived
        self._reader = Reader(self._fd, self._received)
        self._ask()

    def take(self) -> Body | None:
        if not self._lines:
            return None
        line = self._lines.popleft()
        if line.__class__ is bytes:
            self._held -= len(line) + 1
            self._taken += len(line) + 1
        if self._held < CHUNK and not self._asked and not self._eof:
            self._ask()
        return line

    def _ask(self) -> None:
        self._asked = True
        self._reader.ask()

    def _received(self, data: bytes | OSError) -> None:
        self._asked = False
        before = len(self._lines)
        if isinstance(data, OSError):
            self.error = InputError(f"the input cannot be read: {data.strerror}")
            self._end()
        elif data:
            self._split(data)
        else:
            self._end()
        if self._held < CHUNK and not self._eof:
            self._ask()
        if self._eof or len(self._lines) > before:
            self._arrived(len(self._lines) - before)

    def _split(self, data: bytes) -> None:
        first, *others = data.split(b"\n")
        if not others:
            self._keep(first)
            return
        tail = others.pop()
        self._add(self._complete(first))
        self._lines.extend(others)
        self._held += sum(map(len, others)) + len(others)
        if tail:
            self._keep(tail)

    def _keep(self, piece: bytes) -> None:
        """Hold the beginning of a line, or only its length when it is too long already."""
        self._partial_size += len(piece)
        if self._partial_size <= self._limit:
            self._partial.append(piece)
        else:
            self._partial.clear()

    def _complete(self, piece: bytes) -> Body:
        if not self._partial_size:
            return piece
        self._keep(piece)
        if self._partial_size > self._limit:
            line: Body = TooLarge(f"a line of {self._partial_size} bytes, more than max_request, {self._limit}")
            self._taken += self._partial_size + 1
        else:
            line = b"".join(self._partial)
        self._partial.clear()
        self._partial_size = 0
        return line

    def _add(self, line: Body) -> None:
        self._lines.append(line)
        if isinstance(line, bytes):
            self._held += len(line) + 1

    def _end(self) -> None:
        self._eof = True
        self._reader.close()
        if self._partial_size:
            self._add(self._complete(b""))


async def read_body(fd: int, limit: int) -> Body:
    """Read a descriptor to its end. What is more than `limit` bytes is a TooLarge, and is not read on."""
    chunks: list[bytes] = []
    size = 0
    loop = asyncio.get_running_loop()
    arrived: asyncio.Future[bytes | OSError] = loop.create_future()
    reader = Reader(fd, lambda data: None if arrived.done() else arrived.set_result(data))
    try:
        while True:
            arrived = loop.create_future()
            reader.ask()
            data = await arrived
            if isinstance(data, OSError):
                raise InputError(f"the input cannot be read: {data.strerror}")
            if not data:
                return b"".join(chunks)
            size += len(data)
            if size > limit:
                return TooLarge(f"the body is larger than max_request, {limit} bytes")
            chunks.append(data)
    finally:
        reader.close()
