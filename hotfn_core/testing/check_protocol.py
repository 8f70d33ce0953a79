r"""Holds an IO protocol to its contract, whatever its bytes look like.

    check_protocol(MyProtocol(), [ReplySample(wire=b"4:pong", body=b"pong"), ...], bad=[b"4;pong"], blanks=[b"\n"])

A few replies as they are on the wire, with what they mean, are enough: the kit cuts, glues, breaks and mixes them.
It raises ConformanceError, which says in words what was done and what was wrong with the answer. It does not end a
`receive` that never returns: run it under a timeout.
"""

from __future__ import annotations

import random
import tracemalloc
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial

from hotfn_core.errors import LocalProtocolError, ReplyTooLarge
from hotfn_core.model import Call, Exit, FunctionSpec
from hotfn_core.protocol import Connection, IOProtocol, Limits, ReplyEnd

from .check_listening import check_listening
from .reply_samples import (
    CALL,
    ConformanceError,
    Outcome,
    ReplySample,
    bytewise,
    cuts,
    damaged,
    end,
    play,
    positions,
    receive,
    short,
)

__all__ = ["ConformanceError", "Outcome", "ReplySample", "check_protocol", "play"]

EXPIRES = 1_517_331_159.786
EXITS = (Exit(code=0), Exit(code=3), Exit(signal=9), Exit(code=137, oom=True), Exit())

_LIMITS = Limits()
_TIGHT = Limits(max_body=4096, max_head=4096)
_FLOOD = 64 * 1024, 16  # an endless stream: pieces of this size, so many
_HELD = 256 * 1024  # what may be held of it under tight limits
_FILLERS = (b"\0", b" ", b"\n", b"a", b"1", b"{", b'"', b"\\")
_DAMAGES = 200  # of each sample, at most


def check_protocol(
    protocol: IOProtocol,
    samples: Sequence[ReplySample],
    *,
    bad: Sequence[bytes] = (),
    refused: Sequence[Call] = (),
    blanks: Sequence[bytes] = (),
    spec: FunctionSpec | None = None,
    seed: int = 0,
) -> None:
    """Check everything the contract asks of `protocol`. Raises ConformanceError.

    `bad`: bytes that are no reply and must be refused as soon as they are there. `refused`: calls that the protocol
    cannot carry. `blanks`: bytes it allows between replies. `seed` decides the random cuts and damages.
    """
    if not samples:
        raise ConformanceError("give at least one sample of a reply")
    spec = spec or FunctionSpec(name="sample", command=("sample",), format=protocol.name)
    kit = _Kit(protocol, samples, bad, refused, blanks, spec, random.Random(seed))
    for check in _CHECKS:
        check(kit)


@dataclass
class _Kit:
    """One method for each clause of the contract."""

    protocol: IOProtocol
    samples: Sequence[ReplySample]
    bad: Sequence[bytes]
    refused: Sequence[Call]
    blanks: Sequence[bytes]
    spec: FunctionSpec
    rng: random.Random
    clean: list[ReplySample] = field(init=False)  # those after which a copy lives on

    def __post_init__(self) -> None:
        self.clean = [sample for sample in self.samples if sample.reusable and sample.exit is None]
        if self.protocol.hot and not self.clean:
            raise ConformanceError("the protocol is hot: give a sample that is complete by itself and reusable")

    # -- the pieces

    def calling(self, call: Call = CALL, limits: Limits = _LIMITS) -> Connection:
        """Return a connection with a call running."""
        connection = self.protocol.connect(limits)
        _encoded(connection, call)
        return connection

    def expect(self, seen: Outcome, sample: ReplySample, how: str) -> None:
        """Hold what was seen against what the sample means."""
        if seen.error is not None:
            raise ConformanceError(f"{sample}, {how}, was refused: {seen.error}")
        if seen.end is None:
            raise ConformanceError(f"{sample}, {how}, did not end")
        wanted = (sample.status, seen.headers if sample.headers is None else tuple(sample.headers), sample.body)
        if (seen.status, seen.headers, seen.body) != wanted:
            raise ConformanceError(
                f"{sample}, {how}, became {(seen.status, seen.headers, seen.body)!r}, not {wanted!r}"
            )
        reusable = sample.reusable and sample.exit is None and self.protocol.hot
        if seen.end.hangup and self.protocol.listening is None:
            raise ConformanceError(f"{sample}, {how}, ended with hangup, which is for protocols whose copies listen")
        if seen.end._replace(hangup=False) != ReplyEnd(reusable=reusable):
            raise ConformanceError(f"{sample}, {how}, ended with {seen.end!r}, not with reusable={reusable}")

    def expect_stray(self, seen: Outcome, sample: ReplySample, how: str) -> None:
        """Hold what was seen against the sample followed by bytes that nobody asked for."""
        self.expect(Outcome(seen.status, seen.headers, seen.body, seen.end and ReplyEnd(), begun=True), sample, how)
        if not seen.stray or (seen.end and seen.end.excess and seen.end.reusable):
            raise ConformanceError(
                f"{sample}, {how}: the bytes behind it must make it not reusable, with their number as `excess`, or"
                f" be refused when they come later; it ended with {seen.end!r} and no error"
            )

    # -- the clauses

    def check_description(self) -> None:
        """A protocol has a name; what it adds to the environment is text."""
        described: tuple[object, object] = (self.protocol.name, self.protocol.hot)
        if not isinstance(described[0], str) or not isinstance(described[1], bool):
            raise ConformanceError("`name` must be a string and `hot` a bool")
        _check_environment(self.protocol.environment(self.spec), "environment")
        if not self.protocol.hot:
            for sample in self.samples:
                _check_environment(self.protocol.call_environment(sample.call, EXPIRES), "call_environment")
        if self.protocol.connect(_LIMITS) is self.protocol.connect(_LIMITS):
            raise ConformanceError("connect must return a fresh connection each time")

    def check_encode(self) -> None:
        """What is written for a call depends on the call only, and its body is in it."""
        for sample in self.samples:
            first, second = (_encoded(self.protocol.connect(_LIMITS), sample.call) for _ in range(2))
            if first != second:
                raise ConformanceError(f"encode wrote {first!r} and then {second!r} for the same call")
        one, two = (self._carried(CALL._replace(body=body)) for body in (b"1", b"2"))
        if one == two is not None:
            raise ConformanceError(f"encode wrote {one!r} for a call with the body b'1' and for one with b'2'")

    def check_cuts(self) -> None:
        """A reply is the same however its bytes are cut."""
        for sample in self.samples:
            for how, chunks in cuts(sample.wire, self.rng):
                self.expect(play(self.calling(sample.call), chunks, sample.exit), sample, how)

    def check_many_calls(self) -> None:
        """A copy serves one call after the other, and every reply is for its own call."""
        connection = self.protocol.connect(_LIMITS)
        for sample in [*self.clean, *reversed(self.clean)] if self.protocol.hot else []:
            for blank in (b"", *self.blanks):
                if _encoded(connection, sample.call) != _encoded(self.protocol.connect(_LIMITS), sample.call):
                    raise ConformanceError("encode writes something else on a connection that had a call before")
                self.expect(play(connection, [sample.wire + blank]), sample, f"followed by {blank!r}")
                self._expect_nothing(connection, [blank, b""])

    def check_unasked(self) -> None:
        """Bytes that come while no call is running are never anybody's reply."""
        for sample in self.clean if self.protocol.hot else []:
            for stray in self.clean:
                glued = play(self.calling(sample.call), [sample.wire + stray.wire])
                self.expect_stray(glued, sample, f"glued to {stray}")
            for how, chunks in cuts(sample.wire + self.clean[0].wire, self.rng):
                self.expect_stray(play(self.calling(sample.call), chunks), sample, f"before another, {how}")
            self._expect_refusal(self.protocol.connect(_LIMITS), sample)
            used = self.calling(sample.call)
            play(used, [sample.wire])
            self._expect_refusal(used, sample)

    def check_limits(self) -> None:
        """A body of exactly `max_body` passes; one byte more is ReplyTooLarge."""
        for sample in self.samples:
            for how, chunks in [("whole", [sample.wire]), ("byte by byte", bytewise(sample.wire))]:
                exact = self.calling(sample.call, Limits(max_body=len(sample.body)))
                self.expect(play(exact, chunks, sample.exit), sample, f"{how}, with exactly its size as the limit")
                if sample.body:
                    short = self.calling(sample.call, Limits(max_body=len(sample.body) - 1))
                    seen = play(short, chunks, sample.exit)
                    if seen.end is not None or not isinstance(seen.error, ReplyTooLarge):
                        raise ConformanceError(f"{sample}, {how}, is one byte over the limit: no ReplyTooLarge")

    def check_bad(self) -> None:
        """What is no reply is refused as soon as it is there."""
        for wire in self.bad:
            for how, chunks in cuts(wire, self.rng):
                seen = play(self.calling(), chunks)
                if seen.error is None or seen.end is not None:
                    raise ConformanceError(f"{short(wire)}, {how}, is bad and was not refused")

    def check_truncated(self) -> None:
        """A reply that is cut short never becomes a reply, and the end of an idle copy is no error."""
        for sample in self.clean if self.protocol.hot else []:
            for ending in EXITS:
                self._expect_quiet_end(ending)
                for at in positions(len(sample.wire), self.rng):
                    seen = play(self.calling(sample.call), [sample.wire[:at]], ending)
                    if seen.end is not None:
                        raise ConformanceError(f"{at} bytes of {sample}, then {ending!r}, became a complete reply")

    def check_exits(self) -> None:
        """Any end of the copy, at any moment, is taken without another exception than RemoteProtocolError."""
        for sample in self.samples:
            for ending in EXITS:
                play(self.calling(sample.call), [sample.wire[: self.rng.randint(0, len(sample.wire))]], ending)

    def check_refused_calls(self) -> None:
        """A call that cannot be written is refused, and the connection is as it was."""
        sample = (self.clean or self.samples)[0]
        for call in self.refused:
            if not self.protocol.hot:
                _refuse(partial(self.protocol.call_environment, call, EXPIRES), call)
                continue
            idle, connection = self.protocol.connect(_LIMITS), self.protocol.connect(_LIMITS)
            _refuse(partial(idle.encode, call, EXPIRES), call)
            self._expect_refusal(idle, sample)
            _refuse(partial(connection.encode, call, EXPIRES), call)
            if _encoded(connection, sample.call) != _encoded(self.protocol.connect(_LIMITS), sample.call):
                raise ConformanceError(f"after {call!r} was refused, the next call is written differently")
            self.expect(play(connection, [sample.wire], sample.exit), sample, "after a refused call")

    def check_connections_are_apart(self) -> None:
        """Two copies of one function know nothing of each other."""
        for one in self.samples:
            for two in self.samples:
                left, right = self.calling(one.call), self.calling(two.call)
                seen = Outcome(), Outcome()
                for at in range(max(len(one.wire), len(two.wire))):
                    for connection, sample, outcome in ((left, one, seen[0]), (right, two, seen[1])):
                        receive(outcome, connection, sample.wire[at : at + 1])
                for connection, sample, outcome in ((left, one, seen[0]), (right, two, seen[1])):
                    if sample.exit is not None:
                        end(outcome, connection, sample.exit)
                    self.expect(outcome, sample, "interleaved with another connection's")

    def check_damaged(self) -> None:
        """Damaged bytes give events or RemoteProtocolError, and the same whole and byte by byte."""
        for sample in self.samples:
            for _ in range(min(_DAMAGES, 50_000 // (len(sample.wire) + 1))):  # a long one is read byte by byte, too
                wire = damaged(sample.wire, self.rng)
                whole = play(self.calling(sample.call), [wire], sample.exit)
                slowly = play(self.calling(sample.call), bytewise(wire), sample.exit)
                if whole.essence != slowly.essence:
                    raise ConformanceError(
                        f"{wire!r} is {whole.essence!r} when it comes whole, {slowly.essence!r} byte by byte"
                    )

    def check_memory(self) -> None:
        """An endless stream is refused or read over; it is neither kept nor passed on beyond the limits."""
        tracemalloc.start()
        try:
            for sample in self.samples:
                if len(sample.body) <= _TIGHT.max_body:
                    for at in {0, *self.rng.choices(range(len(sample.wire) + 1), k=4)}:
                        for filler in (*_FILLERS, *filter(None, (sample.wire[at : at + 2], sample.wire[at:]))):
                            self._flood(sample, at, filler)
        finally:
            tracemalloc.stop()

    def _carried(self, call: Call) -> bytes | None:
        """Return what is written for a call of our own making, None when the protocol cannot carry it."""
        try:
            return _encoded(self.protocol.connect(_LIMITS), call)
        except ConformanceError as error:
            if isinstance(error.__cause__, LocalProtocolError):
                return None
            raise

    def _flood(self, sample: ReplySample, at: int, filler: bytes) -> None:
        connection = self.calling(sample.call, _TIGHT)
        seen = play(connection, [sample.wire[:at]])
        before, _ = tracemalloc.get_traced_memory()
        for _ in range(_FLOOD[1]):
            if seen.error is not None or (seen.end is not None and not seen.end.reusable):
                break
            receive(seen, connection, filler * (_FLOOD[0] // len(filler)))  # never the same object twice
        held = tracemalloc.get_traced_memory()[0] - before
        if len(seen.body) > _TIGHT.max_body or held > _HELD:
            raise ConformanceError(
                f"{at} bytes of {sample} and then {short(filler)} without end: {len(seen.body)} bytes of body"
                f" were passed on and {held} bytes are held, with {_TIGHT}"
            )

    def check_copies_that_listen(self) -> None:
        if self.protocol.listening is not None:
            check_listening(self.protocol, self.samples, EXPIRES, self.rng)

    def _expect_nothing(self, connection: Connection, chunks: Sequence[bytes]) -> None:
        seen = play(connection, chunks)
        if seen.begun or seen.error is not None:
            raise ConformanceError(f"{list(chunks)!r} are allowed between replies; they gave {seen!r}")

    def _expect_refusal(self, connection: Connection, stray: ReplySample) -> None:
        seen = play(connection, [stray.wire])
        if seen.begun or seen.error is None:
            raise ConformanceError(f"{stray} came while no call was running and was not refused")

    def _expect_quiet_end(self, exit: Exit) -> None:
        seen = play(self.protocol.connect(_LIMITS), [], exit)
        if seen.begun or seen.error is not None:
            raise ConformanceError(f"an idle copy ended, {exit!r}: that is normal and no event; it gave {seen!r}")


_CHECKS: list[Callable[[_Kit], None]] = [check for name, check in vars(_Kit).items() if name.startswith("check_")]


def _encoded(connection: Connection, call: Call) -> bytes:
    """Write the call and return all of its bytes as one."""
    try:
        data = connection.encode(call, EXPIRES)
    except Exception as error:  # whatever a stranger's code raises is what we look for
        raise ConformanceError(f"encode({call!r}) raised {error!r}") from error
    pieces: object = [data] if isinstance(data, bytes) else data
    if not isinstance(pieces, Sequence) or not all(isinstance(piece, bytes) for piece in pieces):
        raise ConformanceError(f"encode must return bytes or a sequence of bytes, not {data!r}")
    return b"".join(pieces)


def _refuse(what: Callable[[], object], call: Call) -> None:
    """Expect LocalProtocolError and nothing else."""
    try:
        what()
    except LocalProtocolError:
        return
    except Exception as error:  # whatever else a stranger's code raises is what we look for
        raise ConformanceError(f"{call!r} raised {error!r}; it may raise nothing but LocalProtocolError") from error
    raise ConformanceError(f"{call!r} cannot be carried and was not refused")


def _check_environment(env: object, what: str) -> None:
    if not isinstance(env, Mapping):
        raise ConformanceError(f"{what} must return a mapping, not {env!r}")
    for name, value in env.items():
        texts = isinstance(name, str) and isinstance(value, str)
        if not texts or not name or "=" in name or "\0" in name + value:
            raise ConformanceError(f"{what} returned {name!r}: {value!r}, which no environment can hold")
