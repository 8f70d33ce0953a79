"""How an HTTP reply's body is framed: by a length, in chunks, or by the function's exit.

Each reader takes the bytes behind the head and returns the body's part of them, with what follows the body, or None
for that while the body is incomplete. None holds more than one line.
"""

from __future__ import annotations

import re
from abc import ABC, abstractmethod

from hotfn_core.errors import RemoteProtocolError, ReplyTooLarge
from hotfn_core.protocol import Limits

from .stray import shown

# The longest line of chunked framing: a size with its extensions, or one trailer field.
MAX_LINE = 4096

# The lines of chunked framing, also while their end is still to come: a chunk's size with extensions, the line end
# behind the chunk, and a field, or the empty line, behind the last chunk.
_SIZE = re.compile(rb"[0-9A-Fa-f]{0,16}|[0-9A-Fa-f]{1,16}[ \t]*(;[^\r\n]*)?(\r\n?)?")
_GAP = re.compile(rb"(\r\n?)?")
_TRAILER = re.compile(rb"[^\r\n]*(\r\n?)?")


class BodyReader(ABC):
    """Reads one body. `missing` says, for a message, what the function still owes; "" when its exit completes it."""

    @abstractmethod
    def feed(self, data: bytes) -> tuple[bytes, bytes | None]:
        """Take the next bytes. Raises RemoteProtocolError when they break the framing."""

    @property
    @abstractmethod
    def missing(self) -> str: ...


def too_large(limit: int, what: str) -> ReplyTooLarge:
    """Return the error for a body over the limit."""
    return ReplyTooLarge(f"the function {what}, over the limit of {limit} bytes")


class Sized(BodyReader):
    """A body of a known length."""

    __slots__ = ("_left", "_length")

    def __init__(self, length: int, limits: Limits) -> None:
        if length > limits.max_body:
            raise too_large(limits.max_body, f"announced a reply of {length} bytes")
        self._length = self._left = length

    def feed(self, data: bytes) -> tuple[bytes, bytes | None]:
        left = self._left
        if len(data) < left:
            self._left = left - len(data)
            return data, None
        return data[:left], data[left:]

    @property
    def missing(self) -> str:
        return f"{self._left} of the {self._length} bytes of its reply"


class UntilExit(BodyReader):
    """A body without a length from a function that said it closes: its exit is the end."""

    __slots__ = ("_left", "_max_body")

    def __init__(self, limits: Limits) -> None:
        self._left = self._max_body = limits.max_body

    def feed(self, data: bytes) -> tuple[bytes, bytes | None]:
        self._left -= len(data)
        if self._left < 0:
            raise too_large(self._max_body, "went on with its reply")
        return data, None

    @property
    def missing(self) -> str:
        return ""


class Chunked(BodyReader):
    """A body in chunks. Extensions and trailer fields are read over; together they are bounded by `max_head`."""

    __slots__ = ("_due", "_left", "_line", "_max_body", "_max_head", "_room", "_spare")

    def __init__(self, limits: Limits) -> None:
        self._max_body = self._room = limits.max_body
        self._max_head = self._spare = limits.max_head
        self._left = 0  # of the chunk that is being read
        self._line = b""  # one that has begun
        self._due = _SIZE  # what the next line is

    def feed(self, data: bytes) -> tuple[bytes, bytes | None]:
        pieces: list[bytes] = []
        data, self._line = self._line + data, b""
        at = 0
        while at < len(data):
            if self._left:
                pieces.append(data[at : at + self._left])
                self._left -= len(pieces[-1])
                at += len(pieces[-1])
                continue
            end = data.find(b"\n", at) + 1
            self._check_line(data[at : end or len(data)])
            if not end:
                self._line = data[at:]
                break
            line, at = data[at:end], end
            if self._take(line):
                return b"".join(pieces), data[at:]
        return b"".join(pieces), None

    @property
    def missing(self) -> str:
        return "the end of its chunked reply"

    def _check_line(self, line: bytes) -> None:
        """Refuse what cannot become a line of the kind that is due, before its end has come."""
        if not self._due.fullmatch(line[:MAX_LINE]):
            raise RemoteProtocolError(f"the function's chunked reply is broken at {shown(line)}")
        if len(line) > MAX_LINE:
            raise ReplyTooLarge(f"a line of the function's chunked reply is longer than {MAX_LINE} bytes")

    def _take(self, line: bytes) -> bool:
        """Take a complete line of the kind that is due; say whether it is the last."""
        if self._due is _SIZE:
            self._begin_chunk(line)
        elif self._due is _GAP:
            self._due = _SIZE
        elif line == b"\r\n":
            return True
        else:
            self._spend(len(line))
        return False

    def _begin_chunk(self, line: bytes) -> None:
        digits, _, extension = line.rstrip().partition(b";")
        self._spend(len(extension))
        self._left = int(digits, 16)
        self._room -= self._left
        if self._room < 0:
            raise too_large(self._max_body, f"went on with a chunk of {self._left} bytes")
        self._due = _GAP if self._left else _TRAILER

    def _spend(self, size: int) -> None:
        self._spare -= size
        if self._spare < 0:
            raise ReplyTooLarge(
                f"extensions and trailers of the function's reply take more than {self._max_head} bytes"
            )
