"""Chaos: callers that ask for everything at once, and a monkey that takes away whatever it finds in the engine."""

from __future__ import annotations

import asyncio
import random
import time
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

from hotfn_core import CallError, CallReport, FunctionSpec, Manager, hookimpl

from .calling import echo, script, scripted
from .setup import Engine
from .setup.engine import EngineFailed

DEADLINE = 20.0  # seconds that a call may take in all
CALM = 60.0  # seconds for a function to answer again; its back-off may last for half of them
SLACK = 15.0  # seconds beyond that, on a machine that does everything at once
MARK = "hotfn.runtime"


class Reports:
    """A plugin that counts how often each call was reported to have ended."""

    def __init__(self) -> None:
        self.ends: Counter[str] = Counter()

    @hookimpl
    def hotfn_call_finished(self, report: CallReport) -> None:
        self.ends[report.call_id] += 1


@dataclass
class Tally:
    """What happened. `wrong` is what may not happen."""

    calls: Counter[str] = field(default_factory=Counter)
    deeds: Counter[str] = field(default_factory=Counter)
    wrong: list[str] = field(default_factory=list)
    longest: float = 0.0

    def __str__(self) -> str:
        calls = ", ".join(f"{what} {count}" for what, count in self.calls.most_common())
        deeds = ", ".join(f"{what} {count}" for what, count in self.deeds.most_common())
        return f"{self.calls.total()} calls: {calls}; the longest took {self.longest:.1f} s; the monkey: {deeds}"


def functions(engine: Engine) -> list[FunctionSpec]:
    """Return one of each kind: hot and frozen when idle, with copies ready ahead, cold."""
    shape: dict[str, Any] = {"timeout": 4.0, "idle_timeout": 1.0, "stop_grace": 0.5, "max_queue": 20}
    return [
        scripted(engine, name="resting", max_concurrency=3, freeze_after=0.1, **shape),
        scripted(engine, "json", name="ready", max_concurrency=2, driver_options={"prepared": 2}, **shape),
        echo(engine, "default", name="cold", max_concurrency=2, **shape),
        echo(engine, name="fast", max_concurrency=2, max_calls=50, **shape),
    ]


class Caller:
    """Calls a function again and again. Each call carries a word of its own, which its answer must be made of."""

    def __init__(self, manager: Manager, spec: FunctionSpec, number: int, dice: random.Random, tally: Tally) -> None:
        self._manager = manager
        self._spec = spec
        self._name = f"{spec.name}.{number}"
        self._dice = dice
        self._tally = tally
        self.ids: list[str] = []

    async def until(self, stop: asyncio.Event) -> None:
        while not stop.is_set():
            await self._one()
            await asyncio.sleep(self._dice.choice([0.0, 0.01, 0.3]) * self._dice.random())

    async def _one(self) -> None:
        word = f"<{self._name}.{len(self.ids)}>"
        self.ids.append(word)
        body, answer = self._order(word)
        begun = time.monotonic()
        outcome = await self._ended(word, body, answer)
        took = time.monotonic() - begun
        self._tally.calls[outcome] += 1
        self._tally.longest = max(self._tally.longest, took)
        if took > DEADLINE + SLACK:
            self._tally.wrong.append(f"{word} took {took:.1f} s and was {outcome}")

    def _order(self, word: str) -> tuple[bytes, bytes | None]:
        """Return what to send and what has to come back, None when no answer is right."""
        plain = word.encode() * self._dice.choice([1, 1, 10, 1000, 50_000])
        if self._spec.image.endswith("echo"):
            return plain, plain
        orders: list[tuple[bytes, bytes | None]] = [
            (plain, plain),
            (script(body=word, sleep=self._dice.random()), word.encode()),
            (script(body=word, stderr_lines=200), word.encode()),
            (script(body=word, late=f"late {word}", late_after=0.01), word.encode()),
            (script(garbage=f"\x00garbage {word}\n\n"), None),
            (script(body=word, partial=12, exit_after=0), None),
            (script(exit=3), None),
            (script(signal=9), None),
        ]
        return self._dice.choices(orders, weights=[12, 4, 2, 1, 1, 1, 1, 1])[0]

    async def _ended(self, word: str, body: bytes, answer: bytes | None) -> str:
        patience = self._dice.random() * 2 if self._dice.random() < 0.1 else None
        try:
            async with asyncio.timeout(patience):
                reply = await self._manager.call(
                    self._spec, body, call_id=word, deadline=self._manager.time() + DEADLINE
                )
        except TimeoutError:
            return "cancelled"
        except CallError as error:
            return error.code
        except Exception as error:  # whatever is no CallError may not reach a caller
            self._tally.wrong.append(f"{word} ended with {error!r}")
            return "wrong"
        if reply.body != answer:
            self._tally.wrong.append(f"{word} got {reply.body[:100]!r} in place of {(answer or b'none')[:100]!r}")
        return "ok"


class Monkey:
    """Does something bad to a container, or to the engine, every now and then. One thread at a time."""

    def __init__(self, engine: Engine, dice: random.Random, tally: Tally, every: float) -> None:
        self._engine = engine
        self._dice = dice
        self._tally = tally
        self._every = every  # seconds between restarts of the service

    async def until(self, stop: asyncio.Event) -> None:
        restart = time.monotonic() + self._every * 0.5
        while not stop.is_set():
            await asyncio.sleep(self._dice.random() * 0.4)
            if time.monotonic() > restart:
                await asyncio.to_thread(self._restart)
                restart = time.monotonic() + self._every
            else:
                await asyncio.to_thread(self._bother)

    def _bother(self) -> None:
        deeds: list[Callable[[str], None]] = [self._kill, self._term, self._remove, self._pause, self._pause_for_good]
        try:
            there = self._engine.ps(label=MARK)
            victims = [one for one in there if one.state == "running" or self._dice.random() < 0.2]
            if victims:
                self._dice.choice(deeds)(self._dice.choice(victims).id)
        except (OSError, EngineFailed) as error:  # the engine is busy with what it was made to do
            self._tally.deeds[f"engine: {type(error).__name__}"] += 1

    def _post(self, deed: str, path: str, method: str = "POST") -> None:
        status, _ = self._engine.api(method, f"/containers/{path}")
        self._tally.deeds[deed if status < 300 else f"{deed} refused"] += 1

    def _kill(self, id: str) -> None:
        self._post("kill", f"{id}/kill?signal=SIGKILL")

    def _term(self, id: str) -> None:
        self._post("term", f"{id}/kill?signal=SIGTERM")

    def _remove(self, id: str) -> None:
        self._post("remove", f"{id}?force=true&v=true", "DELETE")

    def _pause(self, id: str) -> None:
        self._post("pause", f"{id}/pause")
        time.sleep(self._dice.random())
        self._post("unpause", f"{id}/unpause")

    def _pause_for_good(self, id: str) -> None:
        self._post("pause for good", f"{id}/pause")

    def _restart(self) -> None:
        if self._dice.random() < 0.5:
            self._engine.restart()
            self._tally.deeds["restart"] += 1
        else:
            self._engine.kill()
            time.sleep(self._dice.random())
            self._engine.start()
            self._tally.deeds["kill of the service"] += 1


async def chaos(engine: Engine, seed: int, seconds: float, tally: Tally) -> None:
    """Let it all loose for so long; afterwards the manager is closed."""
    dice = random.Random(seed)
    reports = Reports()
    async with Manager(plugins=[reports]) as manager:
        specs = functions(engine)
        callers = [Caller(manager, spec, n, random.Random(dice.random()), tally) for spec in specs for n in range(3)]
        await asyncio.gather(*(manager.open(spec) for spec in specs))  # a call cancelled before that is never reported
        monkey = Monkey(engine, random.Random(dice.random()), tally, every=min(15.0, seconds / 2))
        stop = asyncio.Event()
        work = asyncio.gather(monkey.until(stop), *(caller.until(stop) for caller in callers))
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await asyncio.shield(work)  # which ends by itself only when something of the test is broken
        stop.set()
        await work
        await calm(manager, specs, tally)
    for word in [word for caller in callers for word in caller.ids]:
        if reports.ends[word] != 1:
            tally.wrong.append(f"{word} was reported {reports.ends[word]} times")


async def calm(manager: Manager, specs: list[FunctionSpec], tally: Tally) -> None:
    """When the monkey has gone, every function answers again, as soon as its back-off is over."""
    for spec in specs:
        last = ""
        try:
            async with asyncio.timeout(CALM):
                while last := await trouble(manager, spec):  # noqa: ASYNC110  # nothing tells that a back-off is over
                    await asyncio.sleep(0.2)
        except TimeoutError:
            tally.wrong.append(f"{spec.name} does not answer any more: {last or 'nothing'}; {manager.stats()}")


async def trouble(manager: Manager, spec: FunctionSpec) -> str:
    """Call a function, and say why it does not answer; "" when it does."""
    try:
        reply = await manager.call(spec, b"calm")
    except CallError as error:
        return str(error)
    return "" if reply.body == b"calm" else repr(reply)
