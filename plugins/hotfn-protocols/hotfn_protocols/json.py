"""The protocol `json`: a call is one line of JSON on stdin, a reply one JSON object on stdout, one at a time.

Bodies are text: what is not UTF-8 is refused, not damaged.
"""

from __future__ import annotations

from typing import ClassVar

from hotfn_core.model import Call
from hotfn_core.protocol import Connection, IOProtocol, Limits, ReplyHead

from .json_encode import Encoder
from .json_reply import parse
from .object_stream import ObjectConnection


class JsonProtocol(IOProtocol):
    """See the module."""

    name: ClassVar[str] = "json"

    def connect(self, limits: Limits) -> Connection:
        return JsonConnection(limits)


class JsonConnection(ObjectConnection):
    """Calls as `json_encode` writes them, replies as `json_reply` reads them."""

    __slots__ = ("_encoder",)

    def __init__(self, limits: Limits) -> None:
        super().__init__(limits)
        self._encoder = Encoder(limits.max_head)

    def _write(self, call: Call, expires: float) -> bytes:
        return self._encoder.encode(call, expires)

    def _parse(self, raw: bytes | bytearray) -> tuple[ReplyHead, bytes]:
        return parse(raw, self._limits)
