"""The kit finds what is wrong with a protocol whose copies listen."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import pytest

from hotfn_core import Connection, Event, IOProtocol, Limits, Listening, RemoteProtocolError, ReplyEnd
from hotfn_core.testing import FakeProtocol
from hotfn_core.testing.check_listening import check_listening
from hotfn_core.testing.check_protocol import ConformanceError, ReplySample
from hotfn_core.testing.fake_protocol import FakeConnection
from hotfn_core.testing.reply_samples import CALL

SAMPLES = [ReplySample(wire=b"=%s %s\n" % (CALL.id.encode(), CALL.body.hex().encode()), body=CALL.body)]


def check(protocol: IOProtocol) -> None:
    check_listening(protocol, SAMPLES, 0.0, random.Random(1))


class Tolerant(FakeConnection):
    def receive(self, data: bytes) -> Sequence[Event]:
        return super().receive(data) if data else ()


class Good(FakeProtocol):
    name: ClassVar[str] = "good"
    listening: ClassVar[Listening | None] = Listening("door")

    def listener_environment(self, path: str) -> Mapping[str, str]:
        return {"DOOR": f"unix:{path}"}

    def connect(self, limits: Limits) -> Connection:
        return Tolerant(limits)


def test_what_keeps_the_contract_passes() -> None:
    check(Good())


class Returns(Tolerant):
    what: ClassVar[Sequence[Event]] = ()

    def stream_closed(self) -> Sequence[Event]:
        return self.what


class Raises(Tolerant):
    def stream_closed(self) -> Sequence[Event]:
        raise ValueError("oh")


class Completes(Tolerant):
    def stream_closed(self) -> Sequence[Event]:
        if self._buffer.endswith(b"\n"):
            return [ReplyEnd()]
        raise RemoteProtocolError("not yet")


@pytest.mark.parametrize(
    ("changed", "why"),
    [
        ({"listening": ("door", 1.0, 1.0)}, "must be a Listening"),
        ({"hot": False}, "must be hot"),
        ({"listening": Listening("")}, "without a path"),
        ({"listening": Listening("../door")}, "without a path"),
        ({"listening": Listening("..")}, "without a path"),
        ({"listening": Listening(within=0)}, "more than 0 seconds"),
        ({"listening": Listening(idle=-1)}, "more than 0 seconds"),
        ({"listener_environment": lambda self, path: None}, "mapping of strings"),
        ({"listener_environment": lambda self, path: {"DOOR": 1}}, "mapping of strings"),
        ({"listener_environment": lambda self, path: {"DOOR": "somewhere"}}, "does not tell the copy to listen"),
        ({"connect": lambda self, limits: Returns(limits)}, "after 0 bytes .* must complete the reply or raise"),
        ({"connect": lambda self, limits: Raises(limits)}, "may raise RemoteProtocolError only"),
    ],
)
def test_what_breaks_it_is_found(changed: dict[str, Any], why: str) -> None:
    broken: type[IOProtocol] = type("Broken", (Good,), changed)
    with pytest.raises(ConformanceError, match=why):
        check(broken())


def test_a_close_may_complete_a_reply() -> None:
    class Closing(Good):
        def connect(self, limits: Limits) -> Connection:
            return Completes(limits)

    check(Closing())
