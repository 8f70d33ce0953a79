"""The kit for IO protocols passes a right protocol and finds each bug that is planted in it.

The protocol here is nobody's: a call is `id size\\n` and the body, a reply `status size\\n` and the body, and newlines
between replies mean nothing.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import pytest

from hotfn_core import Call, Connection, Exit, FunctionSpec, IOProtocol, Limits, LocalProtocolError, RemoteProtocolError
from hotfn_core.errors import ReplyTooLarge
from hotfn_core.protocol import Event, ReplyBody, ReplyEnd, ReplyHead
from hotfn_core.testing.check_protocol import ConformanceError, ReplySample, check_protocol, play

CALL = Call("1", b"body")
SAMPLES = [
    ReplySample(wire=b"200 5\nhello", headers=[], body=b"hello"),
    ReplySample(wire=b"404 0\n", status=404),
    ReplySample(wire=b"200 12\n\n200 5\nother", body=b"\n200 5\nother"),
]
BAD = [b"x", b"200 x\n", b"99 1\n"]
REFUSED = [CALL._replace(id="a b")]
BLANKS = [b"\n", b"\n\n"]


class Frames(Connection):
    """The right protocol, in steps that a bug can replace."""

    head = re.compile(rb"([1-9][0-9]{2}) ([0-9]{1,9})\n")
    begun = re.compile(rb"[1-9]?[0-9]{0,2}|[1-9][0-9]{2} [0-9]{0,9}")

    def __init__(self, limits: Limits) -> None:
        self.limits = limits
        self.calling = False
        self.held = b""
        self.left = -1  # of the body; -1 before its head

    def encode(self, call: Call, expires: float) -> bytes | Sequence[bytes]:
        self.check(call)
        self.calling = True
        return [b"%s %d\n" % (call.id.encode(), len(call.body)), call.body]

    def check(self, call: Call) -> None:
        if not call.id.isalnum():
            raise LocalProtocolError("the id must be letters and digits")

    def receive(self, data: bytes) -> Sequence[Event]:
        if not self.calling:
            return self.between(data)
        return self.read_head(data) if self.left < 0 else self.read_body(data, [])

    def between(self, data: bytes) -> Sequence[Event]:
        if data.strip(b"\n"):
            raise RemoteProtocolError("nobody asked")
        return ()

    def read_head(self, data: bytes) -> Sequence[Event]:
        self.held = (self.held + data).lstrip(b"\n")
        found = self.head.match(self.held)
        if found is None:
            self.check_begun()
            return ()
        rest, self.held = self.held[found.end() :], b""
        self.left = int(found[2])
        self.check_size(self.left)
        return self.read_body(rest, [ReplyHead(int(found[1]), ())])

    def check_begun(self) -> None:
        if not self.begun.fullmatch(self.held):
            raise RemoteProtocolError("not a head")

    def check_size(self, size: int) -> None:
        if size > self.limits.max_body:
            raise ReplyTooLarge("too large")

    def read_body(self, data: bytes, events: list[Event]) -> Sequence[Event]:
        body, rest = data[: self.left], data[self.left :]
        self.left -= len(body)
        if body:
            events.append(ReplyBody(body))
        if not self.left:
            events.append(self.finish(rest))
        return events

    def finish(self, rest: bytes) -> ReplyEnd:
        self.calling = False
        self.left = -1
        excess = len(rest.lstrip(b"\n"))
        return ReplyEnd(reusable=not excess, excess=excess)

    def receive_eof(self, exit: Exit) -> Sequence[Event]:
        return ()


class Protocol(IOProtocol):
    name: ClassVar[str] = "frames"

    def __init__(self, connection: type[Frames] = Frames) -> None:
        self.connection = connection

    def connect(self, limits: Limits) -> Connection:
        return self.connection(limits)


def check(protocol: IOProtocol, **changes: Any) -> None:
    given: dict[str, Any] = {"samples": SAMPLES, "bad": BAD, "refused": REFUSED, "blanks": BLANKS}
    check_protocol(protocol, **(given | changes))


def test_a_right_protocol_passes() -> None:
    for seed in range(3):
        check(Protocol(), seed=seed)


def test_a_protocol_may_refuse_a_body_that_the_kit_makes_up() -> None:
    class CarriesWordsOnly(Frames):
        def check(self, call: Call) -> None:
            super().check(call)
            if call.body.isdigit():
                raise LocalProtocolError("a body must be words")

    check(Protocol(CarriesWordsOnly))


# -- bugs of a connection


class ForgetsABegunHead(Frames):
    def read_head(self, data: bytes) -> Sequence[Event]:
        self.held = b""
        return super().read_head(data)


class WantsTheBodyInOnePiece(Frames):
    def read_body(self, data: bytes, events: list[Event]) -> Sequence[Event]:
        return super().read_body(data.ljust(self.left), events)


class DropsTheExcess(Frames):
    def finish(self, rest: bytes) -> ReplyEnd:
        return super().finish(b"")


class ReusesACopyWithExcess(Frames):
    def finish(self, rest: bytes) -> ReplyEnd:
        return super().finish(rest)._replace(reusable=True)


class KeepsTheExcessForTheNextCall(Frames):
    def finish(self, rest: bytes) -> ReplyEnd:
        self.held = rest
        return super().finish(b"")


class IgnoresWhatNobodyAskedFor(Frames):
    def between(self, data: bytes) -> Sequence[Event]:
        return ()


class KeepsWhatNobodyAskedFor(Frames):
    def between(self, data: bytes) -> Sequence[Event]:
        self.held += data
        return ()


class TakesAnyReplyAtAnyTime(Frames):
    def between(self, data: bytes) -> Sequence[Event]:
        return self.read_head(data)


class MindsANewline(Frames):
    def finish(self, rest: bytes) -> ReplyEnd:
        return super().finish(rest and b"x" + rest)


class MindsALateNewline(Frames):
    def between(self, data: bytes) -> Sequence[Event]:
        if data:
            raise RemoteProtocolError("nobody asked")
        return ()


class RefusesExactlyTheLimit(Frames):
    def check_size(self, size: int) -> None:
        super().check_size(size + 1)


class HasNoLimit(Frames):
    def check_size(self, size: int) -> None:
        pass


class CallsALimitAnythingElse(Frames):
    def check_size(self, size: int) -> None:
        if size > self.limits.max_body:
            raise RemoteProtocolError("too large")


class HoldsAHeadWithoutEnd(Frames):
    def check_begun(self) -> None:
        pass


class WaitsForTheEndOfGarbage(Frames):
    def check_begun(self) -> None:
        if b"\n" in self.held or len(self.held) > 30:
            super().check_begun()


class RaisesAnythingElse(Frames):
    def check_begun(self) -> None:
        int(self.held or b"0")


class RaisesAnythingElseWhenItEnds(Frames):
    def receive_eof(self, exit: Exit) -> Sequence[Event]:
        assert exit.code is not None
        return ()


class AnEndCompletesAnything(Frames):
    def receive_eof(self, exit: Exit) -> Sequence[Event]:
        return [ReplyEnd(reusable=False)] if self.left > 0 else ()


class MindsTheEndOfAnIdleCopy(Frames):
    def receive_eof(self, exit: Exit) -> Sequence[Event]:
        if not self.calling:
            raise RemoteProtocolError("gone")
        return ()


class ARefusedCallIsRunning(Frames):
    def check(self, call: Call) -> None:
        self.calling = True
        super().check(call)


class ARefusedCallIsWrittenLater(Frames):
    def encode(self, call: Call, expires: float) -> bytes | Sequence[bytes]:
        self.name = getattr(self, "name", call.id)
        return [self.name.encode(), *super().encode(call, expires)]


class RefusesWithAnythingElse(Frames):
    def check(self, call: Call) -> None:
        if not call.id.isalnum():
            raise ValueError(call.id)


class RefusesNothing(Frames):
    def check(self, call: Call) -> None:
        pass


class RefusesAGoodCall(Frames):
    def check(self, call: Call) -> None:
        raise LocalProtocolError("no")


class WritesTheCallsBeforeToo(Frames):
    count: ClassVar[int] = 0

    def encode(self, call: Call, expires: float) -> bytes | Sequence[bytes]:
        WritesTheCallsBeforeToo.count += 1
        return [b"%d" % self.count, *super().encode(call, expires)]


class WritesTheCountOfCalls(Frames):
    count = 0

    def encode(self, call: Call, expires: float) -> bytes | Sequence[bytes]:
        self.count += 1
        return [b"%d" % self.count, *super().encode(call, expires)]


class LeavesTheBodyOut(Frames):
    def encode(self, call: Call, expires: float) -> bytes | Sequence[bytes]:
        return super().encode(call, expires)[:1]


class NeverEnds(Frames):
    def read_body(self, data: bytes, events: list[Event]) -> Sequence[Event]:
        return [event for event in super().read_body(data, events) if not isinstance(event, ReplyEnd)]


class ForgivesInALargePieceOnly(Frames):
    def read_head(self, data: bytes) -> Sequence[Event]:
        return super().read_head(data.replace(b"\xff", b"") if len(data) > 3 else data)


class RemembersEveryNewline(Frames):
    def __init__(self, limits: Limits) -> None:
        super().__init__(limits)
        self.newlines: list[bytes] = []

    def between(self, data: bytes) -> Sequence[Event]:
        self.newlines.append(data)
        return super().between(data)

    def read_head(self, data: bytes) -> Sequence[Event]:
        self.newlines.append(data[: len(data) - len(data.lstrip(b"\n"))])
        return super().read_head(data)


class WritesText(Frames):
    def encode(self, call: Call, expires: float) -> Any:
        super().encode(call, expires)
        return "text"


class SharesWhatItHolds(Frames):
    shared: ClassVar[list[bytes]] = [b""]

    def read_head(self, data: bytes) -> Sequence[Event]:
        self.held = self.shared[0]
        try:
            return super().read_head(data)
        finally:
            self.shared[0] = self.held


class ServesOneCallOnly(Frames):
    def finish(self, rest: bytes) -> ReplyEnd:
        end = super().finish(rest)
        self.head = re.compile(b"never")
        return end


class SaysTheBodyFirst(Frames):
    def read_body(self, data: bytes, events: list[Event]) -> Sequence[Event]:
        return list(reversed(super().read_body(data, events)))


class SaysTwoHeads(Frames):
    def read_body(self, data: bytes, events: list[Event]) -> Sequence[Event]:
        return [*events, *super().read_body(data, events)]


class SaysTheEndTwice(Frames):
    def read_body(self, data: bytes, events: list[Event]) -> Sequence[Event]:
        events = list(super().read_body(data, events))
        return [*events, *events[-1:]] if isinstance(events[-1], ReplyEnd) else events


class AnswersWithAGenerator(Frames):
    def receive(self, data: bytes) -> Any:
        return (event for event in super().receive(data))


class AnswersWithNothing(Frames):
    def receive(self, data: bytes) -> Any:
        return super().receive(data) or None


class StatusIsText(Frames):
    def read_body(self, data: bytes, events: list[Any]) -> Sequence[Event]:
        return super().read_body(data, [ReplyHead("200", ())] if events else [])  # type: ignore[arg-type]


class HeadersAreBytes(Frames):
    def read_body(self, data: bytes, events: list[Any]) -> Sequence[Event]:
        return super().read_body(data, [ReplyHead(200, ((b"a", b"b"),))] if events else [])  # type: ignore[arg-type]


class BodiesAreViews(Frames):
    def read_body(self, data: bytes, events: list[Event]) -> Sequence[Event]:
        found = super().read_body(data, events)
        return [ReplyBody(memoryview(e.data)) if isinstance(e, ReplyBody) else e for e in found]  # type: ignore[arg-type]


class TheStatusIsAlways200(Frames):
    def read_body(self, data: bytes, events: list[Event]) -> Sequence[Event]:
        return super().read_body(data, [ReplyHead(200, ())] if events else [])


BUGS = [
    bug for bug in dict(globals()).values() if isinstance(bug, type) and issubclass(bug, Frames) and bug is not Frames
]


@pytest.mark.parametrize("bug", BUGS, ids=lambda bug: bug.__name__)
def test_a_bug_of_a_connection_is_found(bug: type[Frames]) -> None:
    with pytest.raises(ConformanceError):
        check(Protocol(bug))


def test_there_are_enough_bugs() -> None:
    assert len(BUGS) > 30


# -- bugs of a protocol


class GivesOneConnectionToAll(Protocol):
    def connect(self, limits: Limits) -> Connection:
        self.only = getattr(self, "only", None) or super().connect(limits)
        return self.only


class HasNoName(Protocol):
    name = None  # type: ignore[assignment]


class EnvironmentIsNumbers(Protocol):
    def environment(self, spec: FunctionSpec) -> Mapping[str, Any]:
        return {"FRAMES": 1}


class EnvironmentIsPairs(Protocol):
    def environment(self, spec: FunctionSpec) -> Any:
        return [("FRAMES", "1")]


class EnvironmentHoldsANul(Protocol):
    def environment(self, spec: FunctionSpec) -> Mapping[str, str]:
        return {"FRAMES": "a\0b"}


@pytest.mark.parametrize(
    "bug", [GivesOneConnectionToAll, HasNoName, EnvironmentIsNumbers, EnvironmentIsPairs, EnvironmentHoldsANul]
)
def test_a_bug_of_a_protocol_is_found(bug: type[Protocol]) -> None:
    spec = FunctionSpec(name="x", command=("x",))
    with pytest.raises(ConformanceError):
        check(bug(), spec=spec)


# -- cold protocols


class Whole(Frames):
    """All of stdout, up to exit code 0."""

    def receive(self, data: bytes) -> Sequence[Event]:
        self.check_size(len(self.held) + len(data))
        self.held += data
        return ()

    def receive_eof(self, exit: Exit) -> Sequence[Event]:
        return [ReplyHead(200, ()), ReplyBody(self.held), self.end()] if exit == Exit(code=0) else ()

    def end(self) -> ReplyEnd:
        return ReplyEnd(reusable=False)


class ColdButReusable(Whole):
    def end(self) -> ReplyEnd:
        return ReplyEnd()


class WholeWithoutLimit(Whole):
    def check_size(self, size: int) -> None:
        pass


class Cold(Protocol):
    name: ClassVar[str] = "whole"
    hot: ClassVar[bool] = False

    def call_environment(self, call: Call, expires: float) -> Mapping[str, str]:
        if not call.id.isalnum():
            raise LocalProtocolError("the id must be letters and digits")
        return {"ID": call.id}


COLD = [ReplySample(wire=b"hello", body=b"hello", exit=Exit(code=0)), ReplySample(wire=b"", exit=Exit(code=0))]


def test_a_right_cold_protocol_passes() -> None:
    check(Cold(Whole), samples=COLD, bad=[], blanks=[])


@pytest.mark.parametrize("bug", [ColdButReusable, WholeWithoutLimit])
def test_a_bug_of_a_cold_connection_is_found(bug: type[Frames]) -> None:
    with pytest.raises(ConformanceError):
        check(Cold(bug), samples=COLD, bad=[], blanks=[])


def test_a_cold_protocol_refuses_in_its_environment() -> None:
    class RefusesNothing(Cold):
        def call_environment(self, call: Call, expires: float) -> Mapping[str, str]:
            return {"ID": call.id}

    with pytest.raises(ConformanceError, match="was not refused"):
        check(RefusesNothing(Whole), samples=COLD, bad=[], blanks=[])


# -- the kit itself


def test_it_says_what_it_needs() -> None:
    with pytest.raises(ConformanceError, match="at least one sample"):
        check(Protocol(), samples=[])
    with pytest.raises(ConformanceError, match="complete by itself and reusable"):
        check(Protocol(), samples=[ReplySample(wire=b"200 0\n", reusable=False)])


def test_its_messages_say_what_was_done_and_what_came() -> None:
    with pytest.raises(ConformanceError) as caught:
        check(Protocol(ForgetsABegunHead))
    assert str(caught.value).startswith("the reply b'200 5\\nhello', byte by byte, was refused: not a head")
    wrong = [ReplySample(wire=b"200 5\nhello", body=b"hullo")]
    with pytest.raises(ConformanceError, match=r"whole, became \(200, \(\), b'hello'\), not \(200, \(\), b'hullo'\)"):
        check(Protocol(), samples=wrong)
    long = [ReplySample(wire=b"200 500\n" + b"x" * 500, body=b"")]
    with pytest.raises(ConformanceError, match=r"'\.\.\.b'x{30}' \(508 bytes\)"):
        check(Protocol(), samples=long)


def test_one_seed_is_one_run() -> None:
    """A bug that only some damage shows is shown again by the same seed."""

    class Rare(Frames):
        def check_begun(self) -> None:
            if b"9" * 4 in self.held:
                raise KeyError(self.held)
            super().check_begun()

    def text(seed: int) -> str:
        with pytest.raises(ConformanceError) as caught:
            check(Protocol(Rare), seed=seed)
        return str(caught.value)

    assert text(1) == text(1)
    assert "KeyError" in text(2)


def test_play_is_handy_by_itself() -> None:
    connection = Frames(Limits())
    connection.encode(CALL, 0.0)
    seen = play(connection, [b"404 ", b"2\nno", b"\n"])
    assert (seen.status, seen.body, seen.end, seen.error, seen.stray) == (404, b"no", ReplyEnd(), None, False)
