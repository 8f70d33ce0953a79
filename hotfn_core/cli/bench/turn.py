"""Making the calls of one turn: by some callers, each after its own last reply, or as they arrive at a rate."""

from __future__ import annotations

import asyncio
import contextlib
import math
import time
from collections.abc import Awaitable, Callable

from hotfn_core.cli.pipeline import CannotStart
from hotfn_core.errors import CallError, CallRejected, LaunchFailed
from hotfn_core.model import Reply

from .pacer import Pacer
from .record import Record
from .schedule import Arrivals

_AT_ONCE = 20  # arrivals that are begun before those begun earlier, and copies, have their chance to go on
_BEHIND = 1.0  # seconds after the end in which calls that were due before it are still made
_PAUSE = 0.01  # seconds that a caller waits who was refused and not told for how long

clock = time.monotonic


class Turn:
    """Calls until `seconds` are over or `calls` are made, and until all of them have ended. Goes once.

    What becomes of them is told to `record`, which is this turn's own. `has_run`: a copy of the function has answered
    before; until one has, a launch that fails ends the turn with CannotStart. `elapsed` is from the beginning to the
    last call's end, in seconds.
    """

    def __init__(
        self, call: Callable[[], Awaitable[Reply]], record: Record, *, seconds: float, calls: float, has_run: bool
    ) -> None:
        self._call = call
        self.record = record
        self._has_run = has_run
        self._begun = clock()
        self._until = self._begun + seconds
        self._most = calls
        self._made = 0
        self._halted = asyncio.Event()
        self._arrivals: Arrivals | None = None
        self._pacer: Pacer | None = None
        self.elapsed = 0.0

    @property
    def in_flight(self) -> int:
        """How many calls have not ended."""
        return self._made - self.record.calls

    @property
    def has_run(self) -> bool:
        """Whether a copy of the function is known to have answered."""
        return self._has_run or self.record.latency.max > 0 or bool(self.record.statuses)

    def stop(self) -> None:
        """Begin no more calls."""
        self._until = -math.inf
        self._halted.set()
        if self._arrivals is not None:
            self._arrivals.end()
        if self._pacer is not None:
            self._pacer.wake()

    async def by_callers(self, number: int) -> None:
        """Let so many callers call, each again when it has its reply."""
        try:
            async with asyncio.TaskGroup() as group:
                for _ in range(number):
                    group.create_task(self._caller())
        except BaseExceptionGroup as errors:  # what no call should raise, or CannotStart: one is enough to tell
            raise errors.exceptions[0] from None
        self.elapsed = clock() - self._begun

    async def _caller(self) -> None:
        call, replied = self._call, self.record.reply
        began = clock()
        while began < self._until and self._made < self._most:
            self._made += 1
            try:
                reply = await call()
            except CallError as error:
                self._failed(error, clock() - began)
                if isinstance(error, CallRejected):
                    await self._pause(error.retry_after or _PAUSE)
                began = clock()
                continue
            now = clock()
            replied(reply, now - began)
            began = clock()

    async def _pause(self, seconds: float) -> None:
        """Wait before calling again, but not beyond the end of the turn. A refusal itself takes no time at all."""
        left = self._until - clock()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(max(min(seconds, left), 0)):
                await self._halted.wait()

    async def at_rate(self, rate: float) -> None:
        """Make calls as they arrive, however long earlier ones take. Their latency counts from when they were due."""
        self._arrivals = arrivals = Arrivals(rate, self._begun, self._until, self._most)
        self._pacer = pacer = Pacer()
        try:
            async with asyncio.TaskGroup() as group:
                while (moment := arrivals.next) is not None and clock() < self._until + _BEHIND:
                    if moment > clock():
                        await pacer.until(moment)
                    for due in arrivals.due(clock(), _AT_ONCE):
                        self._made += 1
                        group.create_task(self._arrival(due))
                    await asyncio.sleep(0)
        except BaseExceptionGroup as errors:  # as above
            raise errors.exceptions[0] from None
        finally:
            pacer.close()
        self.record.unmade = arrivals.left
        self.elapsed = max(clock() - self._begun, self._made / rate)  # nothing is due between the last call and the end

    async def _arrival(self, due: float) -> None:
        self.record.late.add(clock() - due)
        try:
            reply = await self._call()
        except CallError as error:
            self._failed(error, clock() - due)
            return
        self.record.reply(reply, clock() - due)

    def _failed(self, error: CallError, seconds: float) -> None:
        self.record.error(error, seconds)
        if isinstance(error, LaunchFailed) and not self.has_run:
            raise CannotStart(error.message) from error
