"""The protocol `http`: calls are HTTP/1.1 requests on stdin, replies HTTP/1.1 responses on stdout, one at a time.

Be tolerant of what real functions write: a newline behind each body, bare newlines, a reply without a length (it is
empty), chunks, interim replies. Never take one call's bytes for another call's reply: what is not part of the reply
ends the copy.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from hotfn_core.errors import RemoteProtocolError
from hotfn_core.model import Call, Exit
from hotfn_core.protocol import Connection, Event, IOProtocol, Limits, ReplyBody, ReplyEnd

from .http_body import BodyReader, Chunked, Sized, UntilExit
from .http_encode import Encoder
from .http_head import PREFIX, Head, begun, find_end, parse
from .stray import Blanks, not_a_reply, unasked

_BLANK = b"\r\n"
_END = ReplyEnd()
_EMPTY = frozenset({204, 304})  # statuses without a body
_NO_BODY = frozenset({"", "HEAD"})  # no call is running, or its reply is a head alone


class HttpProtocol(IOProtocol):
    """See the module."""

    name: ClassVar[str] = "http"

    def connect(self, limits: Limits) -> Connection:
        return HttpConnection(limits)


class HttpConnection(Connection):
    """Between calls `_method` is empty; with a call it is the method, and `_reader` is set once the head has come."""

    _where: ClassVar[str] = "stdout"

    __slots__ = ("_blanks", "_encoder", "_head", "_limits", "_method", "_pending", "_raw", "_reader", "_usual")

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._encoder = Encoder(limits.max_head)
        self._blanks = Blanks(limits.max_head)
        self._method = ""
        self._pending = bytearray()  # of a head that has begun
        self._reader: BodyReader | None = None
        self._raw = b""  # the last head and what it means: functions repeat themselves
        self._head: Head | None = None
        self._usual = -1  # the length of a whole reply with that head, when it has nothing special about it

    def encode(self, call: Call, expires: float) -> bytes | Sequence[bytes]:
        assert not self._method, "one call at a time"
        data = self._encoder.encode(call, expires)
        self._method = call.method
        return data

    def receive(self, data: bytes) -> Sequence[Event]:
        if len(data) == self._usual and data.startswith(self._raw):
            # The hot path: the whole reply, and nothing else, behind the head that the last reply had.
            head = self._head
            if head is not None and self._reader is None and not self._pending and self._method not in _NO_BODY:
                self._method = ""
                self._blanks.reset()
                return head.event, ReplyBody(data[len(self._raw) :]), _END
        if self._reader is not None:
            return self._read_body(self._reader, data, [])
        if self._method:
            return self._read_heads(data)
        if data.strip(_BLANK):
            raise unasked(data.lstrip(_BLANK), self._where)
        self._blanks.count(len(data))
        return ()

    def receive_eof(self, exit: Exit) -> Sequence[Event]:
        # Another exit than 0 explains itself, with what the function wrote to stderr.
        if exit.code != 0:
            return ()
        missing = self._reader.missing if self._reader else "the rest of the head of its reply" if self._pending else ""
        if missing:
            raise RemoteProtocolError(f"the function exited and still owed {missing}")
        return [self._end(b"")] if self._reader else ()

    def _read_heads(self, data: bytes) -> Sequence[Event]:
        """Read over interim replies (1xx) to the head that counts, and into its body."""
        while (found := self._find_head(data)) is not None:
            raw, data = found
            head = self._understand(raw)
            if head.event.status >= 200:
                self._reader = self._reader_for(head)
                return self._read_body(self._reader, data, [head.event])
        return ()

    def _find_head(self, data: bytes) -> tuple[bytes, bytes] | None:
        """Return the complete head and what follows it, or keep what has come of it and return None."""
        held: bytes | bytearray = data.lstrip(_BLANK)
        start = 0
        if self._pending:
            start = len(self._pending) - 2
            self._pending += data
            held = self._pending
        else:
            self._blanks.count(len(data) - len(held))
        if not held.startswith(PREFIX) and not PREFIX.startswith(held):
            self._blanks.check(begun(held))  # what is over the limit counts before what is behind it
            raise not_a_reply(held, "an HTTP reply", self._where)
        end = find_end(held, max(start, 0))
        if end < 0:
            self._blanks.check(len(held))
            self._pending = bytearray(held) if held is not self._pending else self._pending
            return None
        self._blanks.count(end)
        raw, rest = bytes(held[:end]), bytes(held[end:])
        self._pending = bytearray()
        return raw, rest

    def _understand(self, raw: bytes) -> Head:
        if self._head is None or raw != self._raw:
            self._head = head = self._parse(raw)
            self._raw = raw
            plain = head.event.status >= 200 and head.event.status not in _EMPTY and not (head.chunked or head.closes)
            self._usual = len(raw) + head.length if plain and head.length else -1
        return self._head

    def _parse(self, raw: bytes) -> Head:
        """Read a complete head. Raises RemoteProtocolError."""
        return parse(raw)

    def _reader_for(self, head: Head) -> BodyReader:
        if self._method == "HEAD" or head.event.status in _EMPTY:
            return Sized(0, self._limits)
        return self._framed(head)

    def _framed(self, head: Head) -> BodyReader:
        """Choose by what the head says of the body's end."""
        if head.chunked:
            return Chunked(self._limits)
        if head.length is None and head.closes:
            return UntilExit(self._limits)
        # Without a length, and nothing said about closing: the function means an empty body. There is no end of the
        # stream to read to.
        return Sized(head.length or 0, self._limits)

    def _read_body(self, reader: BodyReader, data: bytes, events: list[Event]) -> Sequence[Event]:
        body, rest = reader.feed(data)
        if body:
            events.append(ReplyBody(body))
        if rest is not None:
            events.append(self._end(rest))
        return events

    def _end(self, rest: bytes) -> ReplyEnd:
        assert self._head is not None
        self._method = ""
        self._reader = None
        self._blanks.reset()
        if not rest:
            return ReplyEnd(reusable=False) if self._head.closes else _END
        excess = self._blanks.excess(rest, _BLANK)
        return ReplyEnd(reusable=not (excess or self._head.closes), excess=excess)
