"""An instance by itself: what it tells its owner, and once only, whatever copy and protocol make of it."""

from __future__ import annotations

import pytest

from hotfn_core import Call, CallError, Exit, ReplyHead
from hotfn_core.actions import StopReason
from hotfn_core.instance import Instance
from hotfn_core.protocol import Event, Limits, ReplyBody, ReplyEnd
from hotfn_core.stderr import StderrReader
from hotfn_core.testing import fake_spec
from hotfn_core.testing.fake_protocol import FakeConnection


class Owner:
    """Writes down what it is told, and does nothing about it: not even stop the copy."""

    def __init__(self) -> None:
        self.told: list[tuple[object, ...]] = []

    def reply_received(
        self, instance: Instance, call_id: str, head: ReplyHead, body: bytes, retire: StopReason | None
    ) -> None:
        self.told.append(("reply", call_id, body, retire))

    def call_broke(self, instance: Instance, call_id: str, error: CallError, retire: StopReason) -> None:
        self.told.append(("broke", call_id, error.code, retire))

    def disturbed(self, instance: Instance, reason: StopReason) -> None:
        self.told.append(("disturbed", instance.trouble, reason))

    def exited(self, instance: Instance) -> None:
        self.told.append(("exited", str(instance.exit)))


class Pipe:
    """As much of a container as an instance needs."""

    def __init__(self) -> None:
        self.written = b""

    def write(self, data: bytes) -> None:
        self.written += data


@pytest.fixture
def owner() -> Owner:
    return Owner()


@pytest.fixture
def instance(owner: Owner) -> Instance:
    made = Instance(
        owner,
        fake_spec(max_response=3),
        1,
        "copy-1",
        FakeConnection(Limits()),
        StderrReader(None, lambda: 0.0),
        hot=True,
    )
    made.container = Pipe()  # type: ignore[assignment]
    return made


def test_a_call_is_written_and_its_reply_handed_over(owner: Owner, instance: Instance) -> None:
    instance.begin(Call("a", b"x"), 0.0)
    assert instance.container.written == b"a 78\n"  # type: ignore[union-attr]
    instance.stdout_received(b"=a 7")
    assert owner.told == []
    instance.stdout_received(b"8\n")
    assert owner.told == [("reply", "a", b"x", None)]
    assert instance.call is None


def test_once_it_is_broken_it_tells_nothing_more_but_its_end(owner: Owner, instance: Instance) -> None:
    instance.begin(Call("a", b"x"), 0.0)
    instance.stdout_received(b"garbage\n")
    instance.stdout_received(b"=a 78\n")
    instance.stdout_eof()
    instance.exited(Exit(code=1))
    assert owner.told == [("broke", "a", "bad_reply", "protocol_error"), ("exited", "exited with code 1")]


def test_the_same_when_it_had_no_call(owner: Owner, instance: Instance) -> None:
    instance.stdout_received(b"hello\n")
    instance.stdout_received(b"hello\n")
    instance.exited(Exit(signal=9))
    assert owner.told == [
        ("disturbed", "nobody asked for b'hello\\n'", "excess_output"),
        ("exited", "was killed by signal 9"),
    ]


def test_a_body_over_the_limit_is_excess_and_one_of_the_limit_is_not(owner: Owner, instance: Instance) -> None:
    instance.begin(Call("a", b"123"), 0.0)
    instance.stdout_received(b"=a 313233\n")
    instance.begin(Call("b", b"1234"), 0.0)
    instance.stdout_received(b"=b 31323334\n")
    assert owner.told == [("reply", "a", b"123", None), ("broke", "b", "bad_reply", "excess_output")]


def test_what_a_call_left_unfinished_is_dropped_with_it(owner: Owner, instance: Instance) -> None:
    instance.begin(Call("a", b"x"), 0.0)
    instance.stdout_received(b"=a ")
    instance.end_call()
    instance.exited(Exit(code=0))
    assert owner.told == [("exited", "exited with code 0")]


def test_a_copy_that_is_being_closed_is_not_listened_to(owner: Owner, instance: Instance) -> None:
    instance.begin(Call("a", b"x"), 0.0)
    instance.closing = True
    instance.stdout_received(b"=a 78\n")
    instance.stdout_eof()
    assert owner.told == []


class LastWords(FakeConnection):
    """A stranger's: the exit completes a reply, and it says that the copy may be used again."""

    def receive_eof(self, exit: Exit) -> list[Event]:
        return [ReplyHead(200, ()), ReplyBody(b"y"), ReplyEnd()]


def test_a_copy_that_is_gone_is_never_reusable_whatever_the_protocol_says(owner: Owner) -> None:
    stderr = StderrReader(None, lambda: 0.0)
    instance = Instance(owner, fake_spec(), 1, "copy-1", LastWords(Limits()), stderr, hot=True)
    instance.container = Pipe()  # type: ignore[assignment]
    instance.begin(Call("a", b"x"), 0.0)
    instance.exited(Exit(code=0))
    assert owner.told == [("reply", "a", b"y", "recycled"), ("exited", "exited with code 0")]


class OfAConnection(FakeConnection):
    """One whose end completes a reply, or does not, or ends nothing."""

    said: list[Event] | None = None

    def stream_closed(self) -> list[Event]:
        return super().stream_closed() if self.said is None else self.said  # type: ignore[return-value]


WHOLE: list[Event] = [ReplyHead(200, ()), ReplyBody(b"y"), ReplyEnd(hangup=True)]
BROKEN = ("broke", "a", "bad_reply", "protocol_error")
REPLY = ("reply", "a", b"y", None)


@pytest.mark.parametrize(
    ("said", "ended", "asked", "told"),
    [
        (WHOLE, True, True, REPLY),
        (WHOLE, False, None, REPLY),
        ([], True, False, BROKEN),
        ([], False, None, BROKEN),
        (None, True, False, BROKEN),
        (None, False, None, BROKEN),
    ],
)
def test_the_end_of_a_connection(
    owner: Owner, said: list[Event] | None, ended: bool, asked: bool | None, told: tuple[object, ...]
) -> None:
    """`stream_ended` asks and lets things be where it is no end of a reply; `stdout_eof` is the last word."""
    connection = OfAConnection(Limits())
    connection.said = said
    stderr = StderrReader(None, lambda: 0.0)
    made = Instance(owner, fake_spec(max_response=3), 1, "copy-1", connection, stderr, hot=True)
    made.container = pipe = HungUp()  # type: ignore[assignment]
    made.begin(Call("a", b"x"), 0.0)
    if ended:
        assert made.stream_ended() is asked
        assert owner.told == ([REPLY] if asked else [])
    if made.call is not None:
        made.stdout_eof()
    assert owner.told == [told]
    assert pipe.hung_up is (told == REPLY)


class HungUp(Pipe):
    """A connection that can be closed."""

    hung_up = False

    def write_eof(self) -> None:
        self.hung_up = True
