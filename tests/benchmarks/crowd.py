"""Many hot containers of one engine at once, with many calls in flight: does it hold, and what does it cost?"""

from __future__ import annotations

import asyncio
import gc
import os
import time

import psutil
import uvloop
from contenders import BODY
from engine_contenders import Where

from hotfn_core import FunctionSpec, HotfnError, Manager

IN_FLIGHT = 128
ROUNDS = 40
"""Calls that each of those in flight makes one after the other."""


def crowd(where: Where, containers: int) -> dict[str, float]:
    """Start so many containers, call them, and return what was seen."""
    os.environ["DOCKER_HOST" if where.engine == "docker" else "CONTAINER_HOST"] = f"unix://{where.socket}"
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(_crowd(where, containers))


async def _crowd(where: Where, containers: int) -> dict[str, float]:
    async with Manager() as manager:
        few = _spec(where, "few", 8)
        await _fill(manager, few, 8)  # what the first containers load and keep is not a cost of each
        before = _memory()
        many = _spec(where, "many", containers)
        await _fill(manager, many, containers)
        grown = _memory() - before
        assert manager.stats()[many.full_name].idle == containers
        begin = time.perf_counter()
        failed = sum(await asyncio.gather(*(_caller(manager, many) for _ in range(IN_FLIGHT))))
        spent = time.perf_counter() - begin
        calls = IN_FLIGHT * ROUNDS
    return {
        "containers": containers,
        "calls": calls,
        "failed": failed,
        "calls per second": calls / spent,
        "bytes per container": grown / containers,
    }


def _spec(where: Where, name: str, containers: int) -> FunctionSpec:
    return FunctionSpec(
        name=name,
        driver=where.engine,
        image=where.image,
        format="http",
        max_concurrency=containers,
        min_instances=containers,
        start_timeout=300,
        queue_timeout=300,
        idle_timeout=600,
        stop_grace=0,
    )


async def _fill(manager: Manager, spec: FunctionSpec, containers: int) -> None:
    manager.register(spec)
    while manager.stats()[spec.full_name].idle < containers:  # noqa: ASYNC110 -- nobody tells when the last is ready
        await asyncio.sleep(0.2)


async def _caller(manager: Manager, spec: FunctionSpec) -> int:
    """Make calls one after the other and return how many failed."""
    failed = 0
    for _ in range(ROUNDS):
        try:
            failed += (await manager.call(spec, BODY)).body != BODY
        except HotfnError:
            failed += 1
    return failed


def _memory() -> int:
    gc.collect()
    return int(psutil.Process().memory_info().rss)
