"""kill -9, at random moments, of functions under load and of hotfn itself."""

from __future__ import annotations

import asyncio
import os
import random
import signal
import subprocess
import sys
import time
from collections import Counter

import psutil

from hotfn_core import CallError, FunctionSpec, InstanceExited, Manager

from .conftest import alive

SEED = 20170325


def test_functions_killed_under_load_cost_only_the_calls_they_had(echo: str) -> None:
    """Every call ends exactly once: with its own body, or with the error of the copy that was killed under it."""
    dice = random.Random(SEED)
    outcomes: Counter[str] = Counter()

    async def caller(manager: Manager, spec: FunctionSpec, number: int, stop: asyncio.Event) -> None:
        count = 0
        while not stop.is_set():
            count += 1
            body = b"%d.%d." % (number, count) * dice.choice([1, 10, 5000])
            try:
                reply = await manager.call(spec, body)
            except InstanceExited as error:
                outcomes["killed" if "signal 9" in error.message else error.message] += 1
            else:
                assert reply.body == body
                outcomes["ok"] += 1

    async def killer(stop: asyncio.Event) -> None:
        for _ in range(150):
            await asyncio.sleep(dice.random() * 0.03)
            victims = [child for child in psutil.Process().children() if name_of(child) == "echo"]
            if victims:
                dice.choice(victims).kill()
                outcomes["kills"] += 1
        stop.set()

    async def main() -> None:
        stop = asyncio.Event()
        async with Manager() as manager:
            spec = FunctionSpec(name="echo", format="http", command=(echo,), max_concurrency=3)
            await asyncio.gather(killer(stop), *[caller(manager, spec, number, stop) for number in range(8)])
            stats = manager.stats()["default/echo"]
            assert stats.calls == {"ok": outcomes["ok"], "instance_exited": outcomes["killed"]}
            assert (stats.waiting, stats.busy) == (0, 0)

    asyncio.run(main())
    assert min(outcomes["kills"], outcomes["killed"] * 5, outcomes["ok"] // 10) > 50, outcomes


def name_of(process: psutil.Process) -> str:
    try:
        return process.name()
    except psutil.NoSuchProcess:
        return ""


HOTFN = """
import asyncio, sys
from hotfn_core import FunctionSpec, Manager
async def main():
    async with Manager() as manager:
        print("up", flush=True)
        specs = [
            FunctionSpec(name="echo", format="http", command=(sys.argv[1],), max_concurrency=3),
            FunctionSpec(name="deaf", format="http", command=("sh", "-c", "trap '' TERM; sleep 987 & wait"),
                         max_concurrency=2, timeout=60),
        ]
        async def forever(spec):
            while True:
                await manager.call(spec, b"x")
        await asyncio.gather(*[forever(spec) for spec in specs for _ in range(3)])
asyncio.run(main())
"""


def test_w46_when_hotfn_is_killed_its_functions_die(echo: str) -> None:
    """At random moments after its start, also while copies start, also those that ignore stdin and SIGTERM."""
    dice = random.Random(SEED)
    seen = 0
    for _ in range(12):
        argv = [sys.executable, "-c", HOTFN, echo]
        runtime = subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE)
        assert runtime.stdout is not None
        with runtime.stdout:
            assert runtime.stdout.readline()
        time.sleep(dice.random() * 0.5)  # the random moment
        family = psutil.Process(runtime.pid).children(recursive=True)
        os.kill(runtime.pid, signal.SIGKILL)
        runtime.wait()
        seen += len(family)
        gone_by = time.monotonic() + 10
        while left := [one for one in family if alive(one.pid)]:
            assert time.monotonic() < gone_by, [one.cmdline() for one in left]
            time.sleep(0.01)
    assert seen > 12, "it was always killed before it had started anything"


def test_calls_fired_exactly_at_idle_expiry_are_all_served(echo: str) -> None:
    """W04 and W05 with real processes: ten thousand calls, each when the copy that would serve it is about to go."""
    idle = 0.006
    dice = random.Random(SEED)

    async def one_function(manager: Manager, number: int, calls: int) -> Counter[bool]:
        spec = FunctionSpec(name=f"echo{number}", format="http", command=(echo,), idle_timeout=idle)
        colds: Counter[bool] = Counter()
        pause = idle * dice.uniform(0.5, 1.1)
        for count in range(calls):
            body = b"%d" % count
            reply = await manager.call(spec, body)
            assert reply.body == body
            colds[reply.cold] += 1
            # A sleep ends late, on a busy machine by more than the timeout: what came too late comes sooner next time.
            pause = pause * 0.8 if reply.cold else min(pause * 1.25, idle * 1.1)
            await asyncio.sleep(pause)
        return colds

    async def main() -> None:
        async with Manager() as manager:
            try:
                results = await asyncio.gather(*[one_function(manager, number, 1250) for number in range(8)])
            except CallError as error:
                raise AssertionError(f"a call at idle expiry failed: {error}") from error
        total = sum(results, Counter())
        assert total[True] + total[False] == 10_000
        assert min(total[True], total[False]) > 500, f"expiry and reuse did not meet: {total}"

    asyncio.run(main())
