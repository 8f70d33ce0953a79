"""Two IO protocols for fake copies, one hot and one cold, in which every reply names its call."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import ClassVar

from ..errors import LocalProtocolError, RemoteProtocolError
from ..model import Call, Exit
from ..protocol import Connection, Event, IOProtocol, Limits, ReplyBody, ReplyEnd, ReplyHead


class FakeConnection(Connection):
    """Lines: a call is "id hex-of-body", its reply "=" and the same line. Every reply names its call, so a late answer
    to another call is a protocol error here (in `http` and `json` nothing on the wire could tell)."""

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._buffer = b""
        self._asked: bytes | None = None

    def encode(self, call: Call, expires: float) -> bytes:
        if call.method == "UNSAYABLE":
            raise LocalProtocolError("the fake protocol cannot say UNSAYABLE")
        self._asked = f"{call.id} {call.body.hex()}".encode()
        return self._asked + b"\n"

    def receive(self, data: bytes) -> Sequence[Event]:
        self._buffer += data
        if self._asked is None:
            raise RemoteProtocolError(f"nobody asked for {self._buffer[:40]!r}")
        if len(self._buffer) > 2 * self._limits.max_body + self._limits.max_head:
            raise RemoteProtocolError("the line is too long")
        if b"\n" not in self._buffer:
            return []
        line, rest = self._buffer.split(b"\n", 1)
        self._buffer = b""
        return [*self._reply(line), ReplyEnd(reusable=not rest, excess=len(rest))]

    def _reply(self, line: bytes) -> tuple[ReplyHead, ReplyBody]:
        if not line.startswith(b"="):
            raise RemoteProtocolError(f"{line[:40]!r} is no reply")
        if line[1:] != self._asked:
            raise RemoteProtocolError(f"{line[:40]!r} answers another call")
        self._asked = None
        call_id, _, body = line[1:].partition(b" ")
        return ReplyHead(200, [("X-Call", call_id.decode())]), ReplyBody(bytes.fromhex(body.decode()))

    def receive_eof(self, exit: Exit) -> Sequence[Event]:
        return []


class FakeColdConnection(FakeConnection):
    """The same for a copy with one call: its reply is whole when it exits with 0, and then only."""

    def receive(self, data: bytes) -> Sequence[Event]:
        self._buffer += data
        if len(self._buffer) > 2 * self._limits.max_body + self._limits.max_head:
            raise RemoteProtocolError("the line is too long")
        return []

    def receive_eof(self, exit: Exit) -> Sequence[Event]:
        if exit.code != 0:
            return []
        line, end, rest = self._buffer.partition(b"\n")
        if not end or rest:
            raise RemoteProtocolError(f"{self._buffer[:40]!r} is not one line")
        return [*self._reply(line), ReplyEnd(reusable=False)]


class FakeProtocol(IOProtocol):
    """The protocol of the fake copies, hot."""

    name: ClassVar[str] = "fake"

    def connect(self, limits: Limits) -> Connection:
        return FakeConnection(limits)


class FakeColdProtocol(IOProtocol):
    """The same for one call per copy, which its environment names as well."""

    name: ClassVar[str] = "fake-cold"
    hot: ClassVar[bool] = False

    def connect(self, limits: Limits) -> Connection:
        return FakeColdConnection(limits)

    def call_environment(self, call: Call, expires: float) -> Mapping[str, str]:
        if call.method == "UNSAYABLE":
            raise LocalProtocolError("the fake protocol cannot say UNSAYABLE")
        return {"FAKE_CALL_ID": call.id}
