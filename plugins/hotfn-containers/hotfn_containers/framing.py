"""The framing of an attached container's output, which Docker and Podman share. Sans-IO.

Without a terminal the engine sends frames: one byte that names the stream (1 stdout, 2 stderr), three zero bytes, the
payload's length as four bytes big-endian, the payload. stdin, the other way, is not framed.
"""

from __future__ import annotations

from struct import Struct
from typing import Final

STDOUT: Final = 1
STDERR: Final = 2
HEADER: Final = 8

_word = Struct(">Q").unpack_from
_WHOLE: Final = (STDOUT << 56) - HEADER  # a header as a number, less the size of frame that has it
_ENGINE_ERROR: Final = 3
_SHOWN: Final = 300
"""Bytes of what is no frame that an error shows."""


class FramingError(Exception):
    """What came is no frame: the engine has reported something in its place, or the stream is out of step."""


class FrameDecoder:
    """Takes bytes as they come and returns the payload in pieces; it holds back nothing but an unfinished header.

    However the bytes are cut, the pieces of each stream make up the same whole. A frame may be as long as it says: what
    is there of it is passed on, so that the decoder never holds more than seven bytes. After a FramingError it is of no
    use.
    """

    __slots__ = ("_header", "_left", "_stream", "clean")

    def __init__(self) -> None:
        self.clean = True
        """Whether the stream may end here: no frame has begun. To be read only."""
        self._header = b""  # of a frame whose header is not whole
        self._stream = 0
        self._left = 0  # bytes of the payload that are still to come

    def whole(self, data: bytes) -> bytes | None:
        """Return the payload if `data` is one frame of stdout and nothing else, and None if `feed` has to look at it.

        That is how nearly every reply comes, and it costs a quarter of `feed`.
        """
        size = len(data)
        if self.clean and size > HEADER and _word(data)[0] - size == _WHOLE:
            return data[HEADER:]
        return None

    def feed(self, data: bytes) -> list[tuple[int, bytes]]:
        """Return (stream, payload) pieces, none of them empty. Raises FramingError.

        The pieces before a fault are lost with it: a stream that is out of step says nothing that can be relied on.
        """
        pieces = []
        at, size = 0, len(data)
        while at < size:
            if not self._left:
                at = self._begin(data, at)
                continue
            piece = data[at : at + self._left]
            pieces.append((self._stream, piece))
            self._left -= len(piece)
            at += len(piece)
        self.clean = not self._left and not self._header
        return pieces

    def _begin(self, data: bytes, at: int) -> int:
        """Take the header at `at`, or what is there of it. Returns where it ends."""
        end = at + HEADER - len(self._header)
        header = self._header + data[at:end]
        if len(header) < HEADER:
            self._header = header
            return len(data)
        word: int = _word(header)[0]
        self._header = b""
        self._stream, self._left = word >> 56, word & 0xFFFFFFFF
        if word >> 32 not in (STDOUT << 24, STDERR << 24):
            raise _fault(header, data[end : end + _SHOWN])
        return end


def _fault(header: bytes, rest: bytes) -> FramingError:
    """Return the error for a header that is none. Engines report some errors as text in place of a frame."""
    if header[0] == _ENGINE_ERROR and not any(header[1:4]):
        return FramingError(f"the engine reports: {rest.decode('utf-8', 'replace').strip()}")
    return FramingError(f"not a frame: {header + rest!r}")
