"""A copy that is talked to over its socket: the driver's container, and a connection in place of stdin and stdout."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Literal, Protocol

from ..driver import Container, Receiver
from ..errors import DriverError
from ..model import Call, Exit
from .door import Door
from .lines import Lines
from .rounds import Rounds
from .wire import Wire

EXIT_PAUSE = 0.25
"""Seconds that a copy has for its exit after it closed a connection under a call, before that counts as its answer."""


class Talker(Receiver, Protocol):
    """Who receives; `call` is the one that the copy has, `served` how many there were with it. `stream_ended` takes the
    end of a connection for the end of the reply, and says whether it can be."""

    call: Call | None
    served: int

    def stream_ended(self) -> bool: ...


class SocketContainer(Container):
    """A copy of a function that listens. It is the receiver of the driver's container, `inner`, as well.

    One connection carries one call after another; when the copy closes it in between, or `Rounds` does, the next call
    gets a new one. A call that the copy cannot have read whole, because it closed the connection at that moment, is
    sent again on a new one, once. Both stdout and stderr are the copy's log.
    """

    def __init__(self, talker: Talker, door: Door, rounds: Rounds, gone: Callable[[], None]) -> None:
        self.inner: Container | None = None
        self.exit: Exit | None = None
        self.news = asyncio.Event()  # while it starts: something has come to its directory, or it is gone
        self.refusal = ""  # why the last attempt to connect while it starts failed
        self._talker = talker
        self._door = door
        self._rounds = rounds
        self._gone = gone
        self._loop = asyncio.get_running_loop()
        self._log = Lines(talker.stderr_received)
        self._wire: Wire | None = None
        self._listens = False
        self._sent: list[bytes] = []  # of the call whose reply has not begun
        self._resent = False
        self._early = False  # the reply began before all of its call was read
        self._late: asyncio.TimerHandle | None = None

    @property
    def id(self) -> str:  # type: ignore[override]  # it is the driver's to know
        """Return the driver's own name for the copy."""
        return self._inner.id

    @property
    def _inner(self) -> Container:
        assert self.inner is not None
        return self.inner

    # ---- the start

    def listen(self) -> Literal["listens", "absent", "refuses"]:
        """Connect, and say what became of that: once it listens calls may come. Raises DriverError as `Door` does."""
        try:
            self._connect()
        except FileNotFoundError:
            return "absent"
        except (ConnectionRefusedError, PermissionError, BlockingIOError) as error:  # there, and not open to us yet
            self.refusal = error.strerror or ""
            return "refuses"
        except OSError as error:
            raise DriverError(f"its socket cannot be connected to: {error.strerror}") from error
        self._listens = True
        return "listens"

    def _connect(self) -> Wire:
        if self._wire is None:
            self._wire = Wire(self._loop, self._door.knock(), self._received, self._closed)
            self._rounds.add(self)
        return self._wire

    # ---- Container

    def write(self, data: bytes) -> None:
        """Send a piece of the call that the talker has."""
        wire = self._wire
        if not self._sent:
            wire = self._begin(wire)
        self._sent.append(data)
        if wire is not None:
            wire.write(data)

    def _begin(self, wire: Wire | None) -> Wire | None:
        """Return a connection for a new call: one in which nothing of the last is left that could pass for this one."""
        self._resent = False
        if self._early:
            self._hang_up()
            wire = self._wire
        return wire or self._again()

    def _again(self) -> Wire | None:
        try:
            return self._connect()
        except (DriverError, OSError):  # the copy is about to go, or does not listen any more
            self._loop.call_soon(self._lost)
            return None

    @property
    def writable(self) -> bool:
        return self._wire is None or not self._wire.held

    def write_eof(self) -> None:
        """Close the connection; the next call gets another."""
        self._hang_up()

    def pause_reading(self) -> None:
        if self._wire is not None:
            self._wire.pause()

    def resume_reading(self) -> None:
        if self._wire is not None:
            self._wire.resume()

    async def stop(self, grace: float) -> None:
        self._hang_up()
        await self._inner.stop(grace)

    async def freeze(self) -> None:
        await self._inner.freeze()

    async def thaw(self) -> None:
        await self._inner.thaw()

    @property
    def served(self) -> int:
        """Return how many calls the copy was given."""
        return self._talker.served

    def rest(self) -> bool:
        """Close the connection, before the copy does so in its own way. False when there is a call on it."""
        if self._talker.call is not None:
            return False
        self._hang_up()
        return True

    # ---- what the connection says

    def _received(self, data: bytes) -> None:
        if self._sent:
            self._sent = []
            # Looked at now and not when the next call comes: by then it may be read, and about to be answered.
            self._early = self._wire is not None and self._wire.unread
        self._talker.stdout_received(data)

    def _closed(self, read_all: bool) -> None:
        sent = self._sent
        self._hang_up()
        if self._talker.call is None or (not sent and self._talker.stream_ended()):
            return
        if not sent or read_all or self._resent:
            self._lost()
            return
        self._resent = True
        fresh = self._again()
        if fresh is not None:
            for piece in sent:
                fresh.write(piece)

    def _hang_up(self) -> None:
        wire, self._wire = self._wire, None
        self._early = False
        if wire is not None:
            wire.close()
            self._rounds.discard(self)

    def _lost(self) -> None:
        """No reply comes any more. If that is because the copy ends, its exit says so better."""
        if self._late is None and self.exit is None:
            self._late = self._loop.call_later(EXIT_PAUSE, self._tell_lost, self._talker.call)

    def _tell_lost(self, call: Call | None) -> None:
        self._late = None
        if call is not None and self._talker.call is call:
            self._sent = []
            self._talker.stdout_eof()

    # ---- Receiver

    def stdout_received(self, data: bytes) -> None:
        """Take what was printed: no reply, so it is for the log, by whole lines as stderr has a say there too."""
        self._log.feed(data)

    def stderr_received(self, data: bytes) -> None:
        """Pass on what is for the log."""
        self._talker.stderr_received(data)

    def stdout_eof(self) -> None:
        """Nothing: a copy that is talked to over a socket may do without."""

    def exited(self, exit: Exit) -> None:
        """Pass on what the copy had said, and that it is gone, unless it never listened: then its start tells."""
        self.exit = exit
        self._log.finish()
        if self._late is not None:
            self._late.cancel()
        wire = self._wire
        if wire is not None and self._listens:
            wire.finish()
        self._hang_up()
        if self._listens:
            self._gone()
            self._talker.exited(exit)
        self.news.set()
