"""The protocol `http-stream`: the function is an HTTP server on a unix socket, and each call is a POST to /call.

The status of the exchange says how the function did: 200 that it answered, 502 that it failed, 504 that it took too
long. Any other is no reply: the copy ends. What the function means for its caller is in fields of their own.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import ClassVar

from hotfn_core.errors import RemoteProtocolError
from hotfn_core.model import Call
from hotfn_core.protocol import Connection, Event, IOProtocol, Limits, Listening, ReplyEnd
from hotfn_protocols.http import HttpConnection
from hotfn_protocols.http_body import BodyReader
from hotfn_protocols.http_head import Head

from .encode import Encoder
from .head import parse_reply


class HttpStreamProtocol(IOProtocol):
    """See the module."""

    name: ClassVar[str] = "http-stream"
    listening: ClassVar[Listening | None] = Listening()

    def connect(self, limits: Limits) -> Connection:
        return HttpStreamConnection(limits)

    def listener_environment(self, path: str) -> Mapping[str, str]:
        return {"FN_LISTENER": f"unix:{path}"}


class HttpStreamConnection(HttpConnection):
    """Reads replies as `http` does, from the socket."""

    __slots__ = ("_requests",)
    _where: ClassVar[str] = "its socket"

    def __init__(self, limits: Limits) -> None:
        super().__init__(limits)
        self._requests = Encoder(limits.max_head)

    def encode(self, call: Call, expires: float) -> bytes | Sequence[bytes]:
        assert not self._method, "one call at a time"
        data = self._requests.encode(call, expires)
        self._method = "POST"
        return data

    def stream_closed(self) -> Sequence[Event]:
        if self._reader is not None and not self._reader.missing:
            return [self._end(b"")]
        raise RemoteProtocolError(f"it closed its connection and still owed {self._owed()}")

    def _owed(self) -> str:
        if self._reader is not None:
            return self._reader.missing
        return "the rest of the head of its reply" if self._pending else "its reply"

    def _reader_for(self, head: Head) -> BodyReader:
        return self._framed(head)  # whatever status the function means: that of the exchange has a body

    def _end(self, rest: bytes) -> ReplyEnd:
        assert self._head is not None
        closes = self._head.closes
        end = super()._end(rest)
        # That a connection closes is not the end of the copy.
        return ReplyEnd(reusable=not end.excess, excess=end.excess, hangup=True) if closes else end

    def _parse(self, raw: bytes) -> Head:
        return parse_reply(raw)
