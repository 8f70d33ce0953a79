"""Replies as they are on the wire, what a connection makes of them, and the ways in which they arrive cut or damaged.

The pieces of `check_protocol`; `play` is handy in a protocol's own tests, too.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

from hotfn_core.errors import RemoteProtocolError
from hotfn_core.model import Call, Exit
from hotfn_core.protocol import Connection, Event, ReplyBody, ReplyEnd, ReplyHead

CALL = Call("01C5CTJ6QR0000000000000000", b"sample body", (("X-Sample", "one"),), "POST", "/sample?a=b", "text/plain")

_CUTS = 300  # positions at which a sample is cut in two, at most
_MIXED = 40  # random cuts of each sample


class ConformanceError(AssertionError):
    """The protocol breaks its contract."""


@dataclass(frozen=True, kw_only=True)
class ReplySample:
    """One reply as the function writes it, and what it means.

    `headers` are compared when they are not None. `call` is what it answers. `exit` is the end of the copy that
    completes the reply, for protocols (and replies) that need one; None when the bytes are complete by themselves.
    `reusable`: whether the copy may have another call after it. `wire` has no blanks behind the reply.
    """

    wire: bytes
    status: int = 200
    headers: Sequence[tuple[str, str]] | None = None
    body: bytes = b""
    call: Call = CALL
    exit: Exit | None = None
    reusable: bool = True

    def __str__(self) -> str:
        return f"the reply {short(self.wire)}"


@dataclass
class Outcome:
    """What a connection made of some bytes: a reply when `end` is set, and the error that ended the feeding."""

    status: int = 0
    headers: tuple[tuple[str, str], ...] = ()
    body: bytes = b""
    end: ReplyEnd | None = None
    error: RemoteProtocolError | None = None
    begun: bool = False

    @property
    def stray(self) -> bool:
        """Whether bytes that nobody asked for were seen behind the reply, at once or later."""
        return self.end is not None and (self.end.excess > 0 or self.error is not None)

    @property
    def essence(self) -> tuple[object, ...]:
        """What must not depend on how the bytes are cut."""
        if self.end is None:
            return ("no reply",)
        lives = self.end.reusable and self.error is None
        return (self.status, self.headers, self.body, "the copy lives on" if lives else "the copy ends")

    def take(self, events: object, what: str) -> None:
        """Add events, which must be the next ones of one reply."""
        if not isinstance(events, Sequence) or isinstance(events, bytes | str):
            raise ConformanceError(f"{what} must return a sequence of events, not {events!r}")
        for event in events:
            if self.end is not None:
                raise ConformanceError(f"{what} returned {event!r} behind the ReplyEnd")
            self._take(event, what)

    def _take(self, event: object, what: str) -> None:
        if isinstance(event, ReplyHead) and not self.begun:
            self.begun = True
            self.status, self.headers = _checked_head(event, what)
        elif isinstance(event, ReplyBody) and self.begun:
            if not isinstance(event.data, bytes):
                raise ConformanceError(f"{what} returned a ReplyBody with {type(event.data).__name__}, not bytes")
            self.body += event.data
        elif isinstance(event, ReplyEnd) and self.begun:
            self.end = event
        else:
            raise ConformanceError(f"{what} returned {event!r} where {'a body' if self.begun else 'a head'} must come")


def play(connection: Connection, chunks: Iterable[bytes], exit: Exit | None = None) -> Outcome:
    """Feed the chunks, up to an error or to the end of a reply that the copy does not survive, then the exit.

    Raises ConformanceError for events out of order and for any exception but RemoteProtocolError.
    """
    seen = Outcome()
    for chunk in chunks:
        receive(seen, connection, chunk)
        if seen.error is not None or (seen.end is not None and not seen.end.reusable):
            return seen
    if exit is not None and seen.end is None:
        end(seen, connection, exit)
    return seen


def receive(seen: Outcome, connection: Connection, chunk: bytes) -> None:
    """Feed one chunk and add what comes of it to `seen`."""
    _step(seen, lambda: connection.receive(chunk), f"receive({short(chunk)})")


def end(seen: Outcome, connection: Connection, exit: Exit) -> None:
    """Tell the connection that the copy has ended and add what comes of it to `seen`."""
    _step(seen, lambda: connection.receive_eof(exit), f"receive_eof({exit!r})")


def _step(seen: Outcome, step: Callable[[], Sequence[Event]], what: str) -> None:
    try:
        events = step()
    except RemoteProtocolError as error:
        seen.error = error
    except Exception as error:  # whatever else a stranger's code raises is what we look for
        raise ConformanceError(f"{what} raised {error!r}; it may raise nothing but RemoteProtocolError") from error
    else:
        seen.take(events, what)


def _checked_head(head: ReplyHead, what: str) -> tuple[int, tuple[tuple[str, str], ...]]:
    headers = tuple((name, value) for name, value in head.headers)
    if type(head.status) is not int or not 100 <= head.status <= 999:
        raise ConformanceError(f"{what} returned the status {head.status!r}")
    if not all(isinstance(text, str) for pair in headers for text in pair):
        raise ConformanceError(f"{what} returned headers that are not pairs of strings: {headers!r}")
    return head.status, headers


def short(data: bytes) -> str:
    """Return the bytes for a message, cut in the middle when they are many."""
    return repr(data) if len(data) <= 100 else f"{data[:60]!r}...{data[-30:]!r} ({len(data)} bytes)"


def bytewise(wire: bytes) -> list[bytes]:
    """Return every byte on its own."""
    return [wire[at : at + 1] for at in range(len(wire))]


def positions(size: int, rng: random.Random) -> list[int]:
    """Return where to cut: everywhere, or at some hundred places of a long sample."""
    return list(range(size)) if size <= _CUTS else sorted(rng.sample(range(size), _CUTS))


def cuts(wire: bytes, rng: random.Random) -> Iterator[tuple[str, list[bytes]]]:
    """Yield ways in which the bytes can arrive, each with its description."""
    yield "whole", [wire]
    yield "byte by byte", bytewise(wire)
    yield "byte by byte between empty pieces", [piece for byte in bytewise(wire) for piece in (b"", byte)]
    for at in positions(len(wire), rng):
        yield f"cut at {at}", [wire[:at], wire[at:]]
    for _ in range(_MIXED):
        places = sorted(rng.choices(range(len(wire) + 1), k=rng.randint(2, 9)))
        yield f"cut at {places}", [wire[a:b] for a, b in pairwise([0, *places, len(wire)])]


def damaged(wire: bytes, rng: random.Random) -> bytes:
    """Return the bytes with one to three random damages."""
    for _ in range(rng.randint(1, 3)):
        at, to = sorted(rng.choices(range(len(wire) + 1), k=2))
        noise = rng.choice([b"\0", b"\n", b"\r\n", b" ", b"-1", b"9" * 30, b"\xff", b'"', b"}", rng.randbytes(3)])
        wire = rng.choice([
            wire[:at] + noise + wire[at:],
            wire[:at] + noise + wire[at + 1 :],
            wire[:at] + wire[to:],
            wire[:to] + wire[at:],
        ])  # fmt: skip
    return wire
