"""The protocol `json`: a call is one line of JSON on stdin, a reply one JSON object on stdout, one at a time.

A reply ends where its object ends, whatever lines it is spread over; blanks between objects mean nothing. Bodies are
text: what is not UTF-8 is refused, not damaged.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from hotfn_core.errors import RemoteProtocolError, ReplyTooLarge
from hotfn_core.model import Call, Exit
from hotfn_core.protocol import Connection, Event, IOProtocol, Limits, ReplyBody, ReplyEnd

from .json_encode import Encoder
from .json_reply import parse
from .json_scan import ObjectEnd
from .stray import Blanks, not_a_reply, unasked

_BLANK = b" \t\r\n"
_END = ReplyEnd()

# A byte of the body takes at most six on the wire, as in \u0000.
ESCAPED = 6


class JsonProtocol(IOProtocol):
    """See the module."""

    name: ClassVar[str] = "json"

    def connect(self, limits: Limits) -> Connection:
        return JsonConnection(limits)


class JsonConnection(Connection):
    """`_calling` while a call runs; `_chunks` hold an object that has begun, `_scan` where it stands."""

    __slots__ = ("_blanks", "_calling", "_chunks", "_encoder", "_limits", "_room", "_scan")

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._encoder = Encoder(limits.max_head)
        self._blanks = Blanks(limits.max_head)
        self._calling = False
        self._clear()

    def encode(self, call: Call, expires: float) -> bytes:
        assert not self._calling, "one call at a time"
        data = self._encoder.encode(call, expires)
        self._calling = True
        return data

    def receive(self, data: bytes) -> Sequence[Event]:
        if not self._chunks:
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
        if self._chunks and exit.code == 0:
            raise RemoteProtocolError("the function exited in the middle of its JSON reply")
        return ()

    def _read_object(self, data: bytes) -> Sequence[Event]:
        end = self._scan.feed(data)
        self._chunks.append(data if end < 0 else data[:end])
        self._room -= len(self._chunks[-1])
        if self._room < 0:
            raise ReplyTooLarge(f"the function's JSON reply is too large for a body of {self._limits.max_body} bytes")
        return () if end < 0 else self._finish(data[end:])

    def _finish(self, rest: bytes) -> Sequence[Event]:
        head, body = parse(b"".join(self._chunks))
        if len(body) > self._limits.max_body:
            raise ReplyTooLarge(
                f"the body of the function's reply has {len(body)} bytes, over the limit of {self._limits.max_body}"
            )
        self._calling = False
        self._clear()
        self._blanks.reset()
        excess = self._blanks.excess(rest, _BLANK)
        end = ReplyEnd(reusable=False, excess=excess) if excess else _END
        return [head, ReplyBody(body), end] if body else [head, end]

    def _clear(self) -> None:
        self._chunks: list[bytes] = []
        self._scan = ObjectEnd()
        self._room = self._limits.max_body * ESCAPED + self._limits.max_head
