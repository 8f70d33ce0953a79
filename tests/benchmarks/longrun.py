"""Millions of hot calls in one process: memory, descriptors, tasks and latency, from the first to the last."""

from __future__ import annotations

import asyncio
import statistics
import time
from pathlib import Path

import psutil
import uvloop
from contenders import BODY, PingPong
from many import memory

from hotfn_core import FunctionSpec, Manager

SAMPLES = 100
PINGS = 300


def long_run(guest: Path, rounds: int, most: int) -> dict[str, list[float]]:
    """Make `most` calls one after another, look a hundred times, and return what was seen.

    Between two looks a ping-pong takes its turn, so that a latency is one of this process and not of the machine.
    """
    ping = PingPong(guest)
    try:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            samples = runner.run(_long_run(guest, ping, most))
    finally:
        ping.close()
    return samples | _growth(samples)


async def _long_run(guest: Path, ping: PingPong, calls: int) -> dict[str, list[float]]:
    me, found = psutil.Process(), _empty()
    async with Manager() as manager:
        spec = FunctionSpec(name="echo", command=(str(guest),), format="http")
        await _calls(manager, spec, 1000)
        for number in range(SAMPLES):
            hot, floor = await _calls(manager, spec, calls // SAMPLES), ping.calls(PINGS)
            found["calls made [calls]"].append((number + 1) * (calls // SAMPLES))
            found["hotfn"].append(hot)
            found["ping-pong"].append(floor)
            found["memory [bytes]"].append(memory())
            found["descriptors [open]"].append(me.num_fds())
            found["tasks [alive]"].append(len(asyncio.all_tasks()))
    return found


def _empty() -> dict[str, list[float]]:
    names = ("calls made [calls]", "hotfn", "ping-pong", "memory [bytes]", "descriptors [open]", "tasks [alive]")
    return {name: [] for name in names}


async def _calls(manager: Manager, spec: FunctionSpec, count: int) -> float:
    call = manager.call
    begin = time.perf_counter()
    for _ in range(count):
        await call(spec, BODY)
    return (time.perf_counter() - begin) / count


def _growth(samples: dict[str, list[float]]) -> dict[str, list[float]]:
    """Compare the last fourth with the second; the first one has what is loaded and kept once."""
    fourth = SAMPLES // 4
    ratios = [hot / ping for hot, ping in zip(samples["hotfn"], samples["ping-pong"], strict=True)]
    found = {"latency, last fourth": ratios[-fourth:], "latency, second fourth": ratios[fourth : 2 * fourth]}
    for name in ("memory [bytes]", "descriptors [open]", "tasks [alive]"):
        values = samples[name]
        grown = statistics.median(values[-fourth:]) - statistics.median(values[fourth : 2 * fourth])
        found[f"growth of {name}"] = [max(grown, 0.0)]
    return found
