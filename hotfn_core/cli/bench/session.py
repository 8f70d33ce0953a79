"""One `hotfn bench` on the event loop: managers, the warm-up, turns, signals and what is shown meanwhile."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import signal
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any

from hotfn_core.cli.common import EXIT_FAILED, EXIT_UNAVAILABLE
from hotfn_core.cli.histogram import Histogram
from hotfn_core.cli.hosting import DRAIN_LIMIT, STDERR, handling_signals, run_on_loop
from hotfn_core.cli.messages import FunctionStderr, Messages
from hotfn_core.cli.pipeline import CannotStart
from hotfn_core.cli.spec import Found
from hotfn_core.cli.texts import calls_text, span_text
from hotfn_core.manager import Manager

from . import progress
from .contender import Contender, Load
from .schedule import turn_calls, turn_seconds, turns

_LOOKS = 8  # at the copies' memory in one run, besides those between turns


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What `hotfn bench` was asked to do: the functions with their labels, and how they are loaded."""

    contenders: list[tuple[str, Found]]
    load: Load
    stderr: str = "hide"
    # What Manager.call gets besides the body; headers may hold secrets.
    call: dict[str, Any] = field(default_factory=dict, repr=False)


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """How it went. Without contenders there is nothing to report; `interrupted`: it was ended by a signal."""

    status: int
    contenders: list[Contender] = field(default_factory=list)
    interrupted: bool = False


def execute(plan: Plan) -> Outcome:
    """Load the functions on an event loop of its own. Raises the HotfnError for which nothing could be loaded."""
    return run_on_loop(_Session(plan).run)


class _Session:
    """The state of one run."""

    def __init__(self, plan: Plan) -> None:
        self._plan = plan
        self._contenders = [Contender(label, found, plan.load) for label, found in plan.contenders]
        self._current = self._contenders[0]
        self._stage = "opening"
        self._signals: list[signal.Signals] = []
        self._measured = self._finished = False

    async def run(self) -> Outcome:
        """Return how it went; what went wrong beyond calls has been said on stderr."""
        self._task = asyncio.current_task()
        self._messages = Messages(STDERR)
        try:
            with handling_signals(self._signalled):
                return await self._guarded()
        finally:
            await self._messages.aclose()

    async def _guarded(self) -> Outcome:
        try:
            await self._run()
        except CannotStart as error:
            self._messages.line(f"Error: {error}")
            return Outcome(status=EXIT_UNAVAILABLE)
        except asyncio.CancelledError:
            if not self._signals:
                raise
            if not self._finished:  # else it was in a hurry while the copies were stopped: there is all to report
                self._messages.line("left before the end: there is no report" if self._measured else self._nothing())
                return Outcome(status=128 + self._signals[0])
        failed = any(one.record.failures or one.record.unmade for one in self._contenders)
        status = 128 + self._signals[0] if self._signals else EXIT_FAILED if failed else 0
        found = self._contenders if self._measured else []
        if not found:
            self._messages.line(self._nothing())
        return Outcome(status=status, contenders=found, interrupted=bool(self._signals))

    def _nothing(self) -> str:
        """Say that nothing was measured, and what can be said all the same."""
        text = f"ended in the {self._stage}: there is nothing to report"
        one = self._current.warm
        if not one.calls:
            return text
        p50 = f", p50 {span_text(one.latency.percentile(50))}" if one.latency.count else ""
        return f"{text} but {calls_text(one.calls)} before it counts, {one.failures:,} failed{p50}"

    async def _run(self) -> None:
        async with contextlib.AsyncExitStack() as stack:
            for one in self._contenders:
                await self._open(stack, one)
            await stack.enter_async_context(progress.shown(self._now, self._messages))
            await stack.enter_async_context(self._looking())
            for one in self._contenders:
                await self._warm_up(one)
            await self._turns()
            for one in self._contenders:
                one.close()
            self._finished = True

    def _now(self) -> str:
        return progress.text(self._stage, self._current, several=len(self._contenders) > 1)

    async def _open(self, stack: contextlib.AsyncExitStack, one: Contender) -> None:
        """Give a contender a manager of its own, so that neither has anything to do with the other's copies."""
        plugins: list[object] = [one.copies]
        if self._plan.stderr != "hide":
            tag = self._plan.stderr == "tag"
            plugins.append(FunctionStderr(self._messages, tag=tag, several=one.spec.max_concurrency > 1))
        manager = await stack.enter_async_context(Manager(plugins=plugins, max_starting=one.max_starting))
        stack.push_async_exit(functools.partial(_killing, manager))
        await one.open(manager, functools.partial(manager.call, one.spec, self._plan.load.body, **self._plan.call))

    async def _warm_up(self, one: Contender) -> None:
        self._current, self._stage = one, "warm-up"
        if not self._signals:
            await one.warm_up()

    async def _turns(self) -> None:
        """Let the contenders take turns until each has had its time or its calls. One alone has a single turn."""
        load, several = self._plan.load, len(self._contenders)
        seconds, calls = load.duration, load.calls
        if several > 1 and seconds is not None:
            idle = min(one.spec.idle_timeout for one in self._contenders)
            seconds = turn_seconds(seconds, several - 1, idle)
        if several > 1 and calls is not None:
            calls = turn_calls(calls, load.concurrency)
        had: dict[int, dict[str, float]] = {}
        for turn in turns(several):
            one = self._current = self._contenders[turn]
            if self._signals or (len(had) % several == 0 and self._done()):
                break
            self._stage, self._measured = "load", True
            left = None if load.calls is None else max(load.calls - one.record.calls, 0)
            limit = calls if left is None or calls is None else min(calls, left)
            had[turn] = await one.play(seconds, limit)
            if len(had) == several:
                self._compare(had)
                had = {}

    def _done(self) -> bool:
        """Say whether everybody has had its time, or its calls."""
        load = self._plan.load
        timed = load.duration is not None and min(one.seconds for one in self._contenders) >= load.duration * 0.99
        counted = load.calls is not None and min(one.record.calls for one in self._contenders) >= load.calls
        return timed or counted

    def _compare(self, had: dict[int, dict[str, float]]) -> None:
        """Note the ratios of one round: two turns next to each other, to which the machine did the same."""
        first = had[0]
        for turn, figures in had.items():
            for name in figures.keys() & first.keys() if turn else ():
                self._contenders[turn].ratios.setdefault(name, Histogram()).add(figures[name] / first[name])

    @contextlib.asynccontextmanager
    async def _looking(self) -> AsyncIterator[None]:
        """Look at the copies' memory now and then while the block runs."""
        pause = max((self._plan.load.duration or 1.0) / _LOOKS, 0.05)

        async def look() -> None:
            while True:
                await asyncio.sleep(pause)
                self._current.copies.look()

        task = asyncio.create_task(look())
        try:
            yield
        finally:
            task.cancel()

    def _signalled(self, number: signal.Signals) -> None:
        """The first signal lets the calls in flight finish, and then there is a report; the second leaves."""
        self._signals.append(number)
        turn = self._current.turn
        if turn is None or len(self._signals) > 1:
            self._leave()
            return
        turn.stop()
        if turn.in_flight:
            self._messages.line(f"{number.name}: finishing {calls_text(turn.in_flight)}; once more leaves at once")
        asyncio.get_running_loop().call_later(DRAIN_LIMIT, self._leave)

    def _leave(self) -> None:
        if self._task is not None:
            self._task.cancel()


async def _killing(manager: Manager, kind: type[BaseException] | None, *_rest: object) -> None:
    """End a manager without any grace when somebody is in a hurry."""
    if kind is not None and issubclass(kind, asyncio.CancelledError):
        await manager.aclose(kill=True)
