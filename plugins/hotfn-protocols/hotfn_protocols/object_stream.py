"""One JSON object for a reply, on one line or on many: what the protocols share whose replies are objects.

A reply ends where its object ends; blanks between objects mean nothing. What the objects mean is for the subclass.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence

from hotfn_core.errors import RemoteProtocolError, ReplyTooLarge
from hotfn_core.model import Call, Exit
from hotfn_core.protocol import Connection, Event, Limits, ReplyBody, ReplyEnd, ReplyHead

from .json_scan import MAX_DEPTH, ObjectEnd
from .stray import Blanks, not_a_reply, unasked

_BLANK = b" \t\r\n"
_END = ReplyEnd()
_CLOSED = (b"}\n", b"}")

# A byte of the body takes at most six on the wire, as in \u0000.
ESCAPED = 6


class ObjectConnection(Connection):
    """`_calling` while a call runs; `_scan` knows where in its reply's object `_held` ends. A subclass that finds in a
    reply that the copy may be out of step sets `_in_step` to False: it serves no other call."""

    __slots__ = ("_blanks", "_calling", "_held", "_in_step", "_limits", "_scan")

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._blanks = Blanks(limits.max_head)
        self._calling = False
        self._held = bytearray()  # of an object that has begun
        self._scan = ObjectEnd()
        self._in_step = True

    def encode(self, call: Call, expires: float) -> bytes:
        assert not self._calling, "one call at a time"
        data = self._write(call, expires)
        self._calling = True
        return data

    @abstractmethod
    def _write(self, call: Call, expires: float) -> bytes:
        """Return the line of the call. Raises LocalProtocolError, and has changed nothing, when there is none."""

    @abstractmethod
    def _parse(self, raw: bytes | bytearray) -> tuple[ReplyHead, bytes]:
        """Return head and body of the reply in a complete object, with blanks around it perhaps.

        Raises RemoteProtocolError when it is no reply, ReplyTooLarge when it is over the limits.
        """

    def receive(self, data: bytes) -> Sequence[Event]:
        if not self._held:
            stripped = data.lstrip(_BLANK)
            self._blanks.count(len(data) - len(stripped))
            data = stripped
            if not data:
                return ()
            if not self._calling:
                raise unasked(data)
            if not data.startswith(b"{"):
                raise not_a_reply(data, "a JSON object")
        return self._read_object(data)

    def receive_eof(self, exit: Exit) -> Sequence[Event]:
        # Another exit than 0 explains itself, with what the function wrote to stderr.
        if self._held and exit.code == 0:
            raise RemoteProtocolError("the function exited in the middle of its JSON reply")
        return ()

    def _read_object(self, data: bytes) -> Sequence[Event]:
        if not self._held and data.endswith(_CLOSED) and (events := self._read_whole(data)):
            return events
        room = self._limits.max_body * ESCAPED + self._limits.max_head - len(self._held)
        end = self._scan.feed(data[: room + 1])  # what is behind the limit is not looked at
        if (len(data) if end < 0 else end) > room:
            raise ReplyTooLarge(f"the function's JSON reply is too large for a body of {self._limits.max_body} bytes")
        if end < 0:
            self._held += data
            return ()
        raw: bytes | bytearray = data[:end]
        if self._held:
            self._held += raw
            raw = self._held
        head, body = self._parse(raw)
        return [head, ReplyBody(body), self._end(data[end:])] if body else [head, self._end(data[end:])]

    def _read_whole(self, data: bytes) -> Sequence[Event]:
        """Read a chunk that is one whole reply, as most are: the parser alone can tell. Returns nothing when it is not,
        or when what is wrong with it is to be said in the same words as for a reply in pieces."""
        deep = data.count(b"{") + data.count(b"[") > MAX_DEPTH  # perhaps
        if deep or len(data) > self._limits.max_body:
            return ()
        try:
            head, body = self._parse(data)
        except RemoteProtocolError:
            return ()
        end = self._end(data[len(data.rstrip(_BLANK)) :])
        return [head, ReplyBody(body), end] if body else [head, end]

    def _end(self, rest: bytes) -> ReplyEnd:
        self._calling = False
        if self._held:
            self._scan = ObjectEnd()
            self._held = bytearray()
        self._blanks.reset()
        excess = self._blanks.excess(rest, _BLANK)
        return _END if self._in_step and not excess else ReplyEnd(reusable=False, excess=excess)
