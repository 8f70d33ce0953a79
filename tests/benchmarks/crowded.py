"""Calls of one function while others are in trouble: starts by the hundred, a queue that is full, a crash loop."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Coroutine
from pathlib import Path
from typing import Any

import uvloop
from contenders import BODY
from many import crowd_spec

from hotfn_core import FunctionSpec, HotfnError, Manager

WINDOW = 0.4
"""Seconds of calls from which one p50 and one p99 come."""
WAITING = 1000
SLOW = 2000
"""Microseconds that the saturated function takes for a call: it waits, and leaves the cpu to others."""


def starts(guest: Path, rounds: int, most: int) -> dict[str, list[float]]:
    """Return p50 and p99 of a function's calls in quiet, and while so many copies of another one are started."""
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(_starts(guest, max(rounds // 7, 3), most))


async def _starts(guest: Path, rounds: int, count: int) -> dict[str, list[float]]:
    found: dict[str, list[float]] = {}
    for _ in range(rounds):
        async with Manager() as manager:
            calm = FunctionSpec(name="calm", command=(str(guest),), format="http")
            await _latencies(manager, calm, WINDOW / 4)
            _add(found, "quiet", await _latencies(manager, calm, WINDOW))
            many = crowd_spec(guest, count)
            manager.register(many)
            during = []
            while manager.stats()[many.full_name].idle < count:
                during += await _latencies(manager, calm, 0.02)
            _add(found, "while copies start", during)
            await manager.aclose(kill=True)
    return found


def fairness(guest: Path, rounds: int, most: int) -> dict[str, list[float]]:
    """Return p50 and p99 of a function's calls alone, beside a full queue, and beside a crash loop, too."""
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(_fairness(guest, max(rounds // 3, 5)))


async def _fairness(guest: Path, rounds: int) -> dict[str, list[float]]:
    found: dict[str, list[float]] = {}
    async with Manager() as manager:
        calm = FunctionSpec(name="b", command=(str(guest),), format="http")
        await _latencies(manager, calm, WINDOW / 4)
        for _ in range(rounds):
            _add(found, "alone", await _latencies(manager, calm, WINDOW))
            async with _saturated(manager, guest):
                await asyncio.sleep(0.05)  # until all of them wait
                _add(found, "beside a queue", await _latencies(manager, calm, WINDOW))
                async with _crashing(manager):
                    _add(found, "beside a queue and a crash loop", await _latencies(manager, calm, WINDOW))
    return found


async def _latencies(manager: Manager, spec: FunctionSpec, seconds: float) -> list[float]:
    """Make calls one after another for so long and return how long each took."""
    call, clock, found = manager.call, time.perf_counter, []
    begin = before = clock()
    while before < begin + seconds:
        await call(spec, BODY)
        now = clock()
        found.append(now - before)
        before = now
    return found


def _add(found: dict[str, list[float]], name: str, latencies: list[float]) -> None:
    for percent in (50, 99):
        found.setdefault(f"p{percent}, {name}", []).append(percentile(latencies, percent))


def percentile(values: list[float], percent: int) -> float:
    """Return the smallest value that so many percent are not above."""
    return sorted(values)[-(-len(values) * percent // 100) - 1]


@contextlib.asynccontextmanager
async def _saturated(manager: Manager, guest: Path) -> AsyncIterator[None]:
    """Have a thousand calls wait for one copy, which is slow, all the time."""
    spec = FunctionSpec(name="a", command=(str(guest),), format="http", stop_grace=0)

    async def caller() -> None:
        while True:
            await manager.call(spec, BODY, url=f"/wait?{SLOW}")

    async with _background([caller() for _ in range(WAITING)]):
        yield


@contextlib.asynccontextmanager
async def _crashing(manager: Manager) -> AsyncIterator[None]:
    """Have ten callers call a function that ends as soon as it is started, each again as soon as it may."""
    spec = FunctionSpec(name="c", command=("false",), format="http")

    async def caller() -> None:
        while True:
            try:
                await manager.call(spec, BODY)
            except HotfnError as error:
                await asyncio.sleep(min(error.retry_after or 0.0, 0.1))

    async with _background([caller() for _ in range(10)]):
        yield


@contextlib.asynccontextmanager
async def _background(work: list[Coroutine[Any, Any, None]]) -> AsyncIterator[None]:
    tasks = [asyncio.ensure_future(one) for one in work]
    try:
        yield
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
