"""One function under load: its manager, its turns, and what they amount to."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from hotfn_core.cli.histogram import Histogram
from hotfn_core.cli.spec import Found
from hotfn_core.manager import Manager
from hotfn_core.model import Reply

from .memory import Copies, own_memory
from .record import Record
from .turn import Turn


@dataclass(frozen=True, kw_only=True)
class Load:
    """How a function is loaded: by `concurrency` callers, or at `rate` calls a second. One of `duration`, in seconds,
    and `calls` may be None; with both, what comes first ends it."""

    concurrency: int = 1
    rate: float | None = None
    duration: float | None = None
    calls: int | None = None
    warmup: float = 0.0
    body: bytes = b""


class Contender:
    """A function, the calls that are counted (`record`) and those of the warm-up before (`warm`).

    `seconds` and `cpu` are what the turns took, and what they took of hotfn's processor time. `ratios` are those of the
    turns to the turns of the contender that it is compared with, by what is compared.
    """

    def __init__(self, label: str, found: Found, load: Load) -> None:
        self.label = label
        self.spec, self.max_starting = found
        self.load = load
        self.record, self.warm = Record(), Record()
        self.copies = Copies()
        self.seconds = self.cpu = 0.0
        self.launched = 0
        self.memory_before = self.memory_after = 0
        self.ratios: dict[str, Histogram] = {}
        self.turn: Turn | None = None
        self._has_run = False
        self._call: Callable[[], Awaitable[Reply]] | None = None
        self._manager: Manager | None = None

    async def open(self, manager: Manager, call: Callable[[], Awaitable[Reply]]) -> None:
        """Take the manager that `call` calls the function by, and see that it can be called."""
        self._manager, self._call = manager, call
        manager.register(self.spec)
        await manager.open(self.spec)

    async def warm_up(self) -> None:
        """Make calls that do not count."""
        if self.load.warmup:
            turn = await self._turn(self.load.warmup, None)
            self.warm.merge(turn.record)
        self.memory_before = own_memory()

    async def play(self, seconds: float | None, calls: int | None) -> dict[str, float]:
        """Make the calls of one turn, and return what turns are compared by."""
        cpu = time.process_time()
        turn = await self._turn(seconds, calls)
        self.cpu += time.process_time() - cpu
        self.seconds += turn.elapsed
        self.record.merge(turn.record)
        self.copies.look()
        return figures(turn.record, turn.elapsed)

    async def _turn(self, seconds: float | None, calls: int | None) -> Turn:
        assert self._call is not None
        self.turn = turn = Turn(
            self._call,
            Record(),
            seconds=float("inf") if seconds is None else seconds,
            calls=float("inf") if calls is None else calls,
            has_run=self._has_run,
        )
        if self.load.rate:
            await turn.at_rate(self.load.rate)
        else:
            await turn.by_callers(self.load.concurrency)
        self._has_run, self.turn = turn.has_run, None
        return turn

    def close(self) -> None:
        """Write down what is known only while there are copies."""
        self.memory_after = own_memory()
        stats = self._manager.stats().get(self.spec.full_name) if self._manager else None
        self.launched = stats.launched if stats else 0


NEEDED = {50: 2, 90: 10, 99: 100}
"""By percentile, how many calls of a turn it needs: of fewer it is that of a single call."""


def figures(record: Record, seconds: float) -> dict[str, float]:
    """Return what contenders are compared by, by name; without what is not known or is nothing."""
    answered = record.latency.count
    values = {"calls_per_second": answered / seconds if seconds else 0.0}
    values |= {f"p{one}": record.latency.percentile(one) for one, least in NEEDED.items() if answered >= least}
    return {name: value for name, value in values.items() if value > 0}
