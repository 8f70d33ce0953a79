"""The protocol `cloudevent`: a call is one event (CloudEvents 0.1) on one line of stdin, a reply one event on stdout.

Who calls with an event gets an event; who calls with anything else gets what the reply's event has as its data.
"""

from __future__ import annotations

from typing import ClassVar

from hotfn_core.model import Call
from hotfn_core.protocol import Connection, IOProtocol, Limits, ReplyHead

from .cloudevent_encode import Encoder
from .cloudevent_reply import parse
from .object_stream import ObjectConnection


class CloudEventProtocol(IOProtocol):
    """See the module."""

    name: ClassVar[str] = "cloudevent"

    def connect(self, limits: Limits) -> Connection:
        return CloudEventConnection(limits)


class CloudEventConnection(ObjectConnection):
    """`_whole`: the body of the call that runs, or ran last, was an event."""

    __slots__ = ("_encoder", "_whole")

    def __init__(self, limits: Limits) -> None:
        super().__init__(limits)
        self._encoder = Encoder(limits.max_head)
        self._whole = False

    def _write(self, call: Call, expires: float) -> bytes:
        line, self._whole = self._encoder.encode(call, expires)
        return line

    def _parse(self, raw: bytes | bytearray) -> tuple[ReplyHead, bytes]:
        return parse(raw, self._limits, whole=self._whole)
