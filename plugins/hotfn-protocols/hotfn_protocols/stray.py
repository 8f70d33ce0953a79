"""Bytes where no reply can be: what a newline too many is forgiven and what the message about the rest says."""

from __future__ import annotations

from hotfn_core.errors import RemoteProtocolError, ReplyTooLarge

_SHOWN = 60


class Blanks:
    """Bounds what a function writes around a reply that is not in it: blank lines, heads, interim heads.

    Some functions end each reply with a newline that nobody asked for. It is skipped; endless ones are not.
    """

    __slots__ = ("_left", "_limit")

    def __init__(self, limit: int) -> None:
        self._limit = self._left = limit

    def check(self, size: int) -> None:
        """Raise ReplyTooLarge when `size` more bytes would be over the limit."""
        if size > self._left:
            raise ReplyTooLarge(f"the head of the function's reply, with blanks, is larger than {self._limit} bytes")

    def count(self, size: int) -> None:
        """Count `size` more bytes since the last `reset`. Raises ReplyTooLarge when they are over the limit."""
        self.check(size)
        self._left -= size

    def reset(self) -> None:
        """A reply has ended."""
        self._left = self._limit

    def excess(self, rest: bytes, blank: bytes) -> int:
        """Return how many bytes of what came behind a reply nobody can forgive; the blanks before them are counted."""
        stray = len(rest.lstrip(blank))
        if len(rest) > self._left:
            return len(rest)
        self._left -= len(rest) - stray
        return stray


def unasked(data: bytes, where: str = "stdout") -> RemoteProtocolError:
    """Return the error for bytes that came while no call was running."""
    return RemoteProtocolError(f"the function wrote {shown(data)} to {where} while no call was running")


def not_a_reply(data: bytes | bytearray, wanted: str, where: str = "stdout") -> RemoteProtocolError:
    """Return the error for bytes that came in place of a reply."""
    hint = "; what is no reply belongs on stderr" if where == "stdout" else ""
    return RemoteProtocolError(f"the function wrote {shown(data)} to {where} where {wanted} was expected{hint}")


def shown(data: bytes | bytearray) -> str:
    """Return the beginning of the bytes for a message, on one line."""
    dots = "..." if len(data) > _SHOWN else ""
    return f"{bytes(data[:_SHOWN])!r}{dots}"
