"""The framing of an attached container's output, which Docker and Podman share. Sans-IO.

Without a terminal the engine sends frames: one byte that names the stream (1 stdout, 2 stderr), three zero bytes, the
payload's length as four bytes big-endian, the payload. stdin, the other way, is not framed.
"""

from __future__ import annotations

from struct import unpack_from
from typing import Final

STDOUT: Final = 1
STDERR: Final = 2
HEADER: Final = 8


class FramingError(Exception):
    """What came is no frame: the engine has reported something in its place, or the stream is out of step."""


class FrameDecoder:
    """Takes bytes as they come and returns the payload in pieces; it holds back nothing but an unfinished header.

    However the bytes are cut, the pieces of each stream make up the same whole. After a FramingError it is of no use.
    """

    __slots__ = ("_header", "_left", "_stream")

    def __init__(self) -> None:
        self._header = b""  # of a frame whose header is not whole
        self._stream = 0
        self._left = 0  # bytes of the payload that are still to come

    @property
    def clean(self) -> bool:
        """Whether the stream may end here: no frame has begun."""
        return not self._header and not self._left

    def feed(self, data: bytes) -> list[tuple[int, bytes]]:
        """Return (stream, payload) pieces, none of them empty. Raises FramingError.

        The pieces before a fault are lost with it: a stream that is out of step says nothing that can be relied on.
        """
        if not self.clean:
            return self._resume(data)
        return self._frames(data, 0, [])

    def _resume(self, data: bytes) -> list[tuple[int, bytes]]:
        """Go on with the frame that has begun."""
        if self._header:
            return self._frames(self._header + data, 0, [])
        piece = data[: self._left]
        self._left -= len(piece)
        pieces = [(self._stream, piece)] if piece else []
        return self._frames(data, len(piece), pieces)

    def _frames(self, data: bytes, at: int, pieces: list[tuple[int, bytes]]) -> list[tuple[int, bytes]]:
        """Take whole headers from `at` on, each with as much of its payload as is there."""
        size = len(data)
        self._header = b""
        while at + HEADER <= size:
            self._stream, self._left = _header(data, at)
            at += HEADER
            piece = data[at : at + self._left]
            if piece:
                pieces.append((self._stream, piece))
            self._left -= len(piece)
            at += len(piece)
        if at < size:
            self._header = data[at:]
        return pieces


def _header(data: bytes, at: int) -> tuple[int, int]:
    """Return the stream and the length of the frame at `at`."""
    word, length = unpack_from(">II", data, at)
    stream = word >> 24
    if word & 0xFFFFFF or stream not in (STDOUT, STDERR):
        raise FramingError(f"not a frame: {data[at : at + 200]!r}")
    return stream, length
