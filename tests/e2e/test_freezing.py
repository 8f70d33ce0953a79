"""A real process that is frozen takes no time of a cpu, and answers the next call."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable

import psutil
import pytest

from hotfn_core import Manager

from .conftest import Run, alive, script, scripted

FOREVER = 3600.0


async def until(condition: Callable[[], bool]) -> None:
    """Wait for something that no event tells: what the kernel does to a process."""
    async with asyncio.timeout(10):
        while not condition():  # noqa: ASYNC110  # the kernel sets no event for us
            await asyncio.sleep(0.005)


async def stands_still(pid: int) -> None:
    await until(lambda: psutil.Process(pid).status() == psutil.STATUS_STOPPED)


@pytest.mark.parametrize("wire", ["http", "json"])
def test_frozen_it_takes_no_cpu_and_answers_the_next_call(run: Run, wire: str) -> None:
    async def main() -> None:
        async with Manager() as manager:
            spec = scripted(wire, freeze_after=0.05, idle_timeout=FOREVER)
            first = await manager.call(spec, script())
            pid = json.loads(first.body)["pid"]
            await stands_still(pid)
            assert manager.stats()["default/guest"].frozen == 1
            for number in range(2, 5):
                reply = await manager.call(spec, script())
                assert json.loads(reply.body) == {**json.loads(first.body), "calls": number}
                assert (reply.cold, reply.instance) == (False, first.instance)
                await stands_still(pid)

    run(main())


def test_what_a_function_does_behind_its_reply_stands_still(run: Run) -> None:
    """A thread that spins, say: it has the cpu to itself until the copy is frozen."""

    async def main() -> None:
        async with Manager() as manager:
            code = (
                "import sys, json, threading\n"
                "def spin():\n"
                "    while True: pass\n"
                "threading.Thread(target=spin, daemon=True).start()\n"
                "for line in sys.stdin:\n"
                "    print(json.dumps({'body': json.loads(line)['body']}), flush=True)\n"
            )
            spec = scripted("json", command=("python3", "-c", code), freeze_after=0.05, idle_timeout=FOREVER)
            assert (await manager.call(spec, b"one")).body == b"one"
            (child,) = [one for one in psutil.Process().children(recursive=True) if code in one.cmdline()]
            await stands_still(child.pid)
            before = child.cpu_times()
            await asyncio.sleep(0.5)
            after = child.cpu_times()
            assert (after.user, after.system) == (before.user, before.system)
            assert (await manager.call(spec, b"two")).body == b"two"
            assert manager.stats()["default/guest"].launched == 1

    run(main())


def test_a_frozen_copy_is_asked_to_end_and_can_mind_it(run: Run) -> None:
    async def main() -> None:
        async with Manager() as manager:
            spec = scripted("json", freeze_after=0.05, idle_timeout=0.5, stop_grace=60.0)
            pid = json.loads((await manager.call(spec, script())).body)["pid"]
            await stands_still(pid)
            await until(lambda: not alive(pid))  # which takes far less than its grace
            assert manager.stats()["default/guest"].stopped == {"idle": 1}

    run(main())


def test_one_that_is_killed_while_it_is_frozen_is_replaced(run: Run) -> None:
    async def main() -> None:
        async with Manager() as manager:
            spec = scripted("json", freeze_after=0.05, idle_timeout=FOREVER)
            pid = json.loads((await manager.call(spec, script())).body)["pid"]
            await stands_still(pid)
            psutil.Process(pid).kill()
            await until(lambda: not manager.stats()["default/guest"].frozen)
            reply = await manager.call(spec, script())
            assert json.loads(reply.body)["pid"] != pid
            assert reply.cold_reason == "after_failure"

    run(main())
