"""Many functions and many copies: what each costs, and whether the others' number is felt by a call."""

from __future__ import annotations

import asyncio
import gc
import itertools
import resource
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import uvloop
from contenders import BODY

from hotfn_core import FunctionSpec, Manager
from hotfn_core.testing import Behaviour, FakeDriver, FakePlugin, fake_spec

REST = 3.0
"""Seconds for which nobody calls anything."""


class Functions:
    """So many functions on the fake driver, each with a supervisor and a copy that is idle.

    `turns`: they are called in turn, so that each call finds a supervisor that nobody has touched for a while;
    otherwise it is always the same one that is called, among all the others.
    """

    def __init__(self, count: int, *, turns: bool) -> None:
        self._loop = uvloop.new_event_loop()
        self._manager, specs = self._loop.run_until_complete(_called_once(count))
        self._next: Iterator[FunctionSpec] = itertools.cycle(specs if turns else specs[:1])

    def calls(self, count: int) -> float:
        return self._loop.run_until_complete(self._calls(count))

    async def _calls(self, count: int) -> float:
        call, specs = self._manager.call, list(itertools.islice(self._next, count))
        begin = time.perf_counter()
        for spec in specs:
            await call(spec, BODY)
        return (time.perf_counter() - begin) / count

    def close(self) -> None:
        self._loop.run_until_complete(self._manager.aclose(kill=True))
        self._loop.close()


def _specs(count: int, **fields: object) -> list[FunctionSpec]:
    return [fake_spec(f"f{number}", **({"idle_timeout": 600} | fields)) for number in range(count)]


async def _called_once(count: int) -> tuple[Manager, list[FunctionSpec]]:
    manager = await _manager()
    specs = _specs(count)
    for spec in specs:
        manager.register(spec)
        await manager.call(spec, BODY)
    return manager, specs


async def _manager() -> Manager:
    return await Manager(plugins=[FakePlugin(FakeDriver(Behaviour(sync=True)))], entry_points=False).__aenter__()


def functions(guest: Path, rounds: int, most: int) -> dict[str, list[float]]:
    """Return the memory that functions take, and what the process does while nobody calls any of them."""
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(_functions(most))


async def _functions(count: int) -> dict[str, list[float]]:
    await (await _called_once(100))[0].aclose(kill=True)  # what the first ones load is not a cost of each
    manager, before = await _manager(), memory()
    specs = _specs(count)
    for spec in specs:
        manager.register(spec)
    registered = memory()
    for spec in specs:
        await manager.call(spec, BODY)
    called = memory()
    cpu, wakeups = await _rest()
    driver = manager.registry.driver("fake")
    assert isinstance(driver, FakeDriver)
    fakes, kept = _fakes(driver, count)
    gone = await _without_copies(count)
    del kept  # not before: what was freed would be used again, and would cost nothing
    await manager.aclose(kill=True)
    return {
        "a registered spec [bytes]": [(registered - before) / count],
        "a supervisor with its idle copy [bytes]": [(called - registered) / count],
        "of it the fake copy's own [bytes]": [fakes],
        "a supervisor with its idle copy, without the fake's own [bytes]": [(called - registered) / count - fakes],
        "a supervisor whose copy is gone [bytes]": [gone],
        f"cpu in {REST:g} s of rest": [cpu],
        f"wake-ups in {REST:g} s of rest [times]": [wakeups],
    }


def _fakes(driver: FakeDriver, count: int) -> tuple[float, object]:
    """Return the bytes that a copy of the fake driver takes by itself, and the copies that showed it."""
    spec, before = driver.launched[-1], memory()
    receiver = next(iter(driver.alive))._receiver
    copies = [driver.make_copy(spec, receiver, driver.draw_copy()) for _ in range(count)]
    return (memory() - before) / len(copies), copies


async def _without_copies(count: int) -> float:
    """Return the bytes of a supervisor whose copy was stopped when it had answered; it stays for a minute."""
    manager, specs = await _manager(), _specs(count, idle_timeout=0)
    for spec in specs:
        manager.register(spec)
    before = memory()
    for spec in specs:
        await manager.call(spec, BODY)
    while any(one.idle + one.stopping for one in manager.stats().values()):  # noqa: ASYNC110 -- nobody tells of the last
        await asyncio.sleep(0.05)
    grown = memory() - before
    await manager.aclose(kill=True)
    return grown / count


async def _rest() -> tuple[float, float]:
    """Do nothing, and return the seconds of cpu that it took and how often the process was woken beyond its end."""
    gc.collect()
    await asyncio.sleep(0.2)
    cpu, wakeups = time.process_time(), resource.getrusage(resource.RUSAGE_SELF).ru_nvcsw
    await asyncio.sleep(REST)
    woken = resource.getrusage(resource.RUSAGE_SELF).ru_nvcsw - wakeups
    return time.process_time() - cpu, max(woken - 1, 0)


class Crowd:
    """So many copies of one function that are hot, on the driver `local`. One caller, or one for each copy."""

    def __init__(
        self, guest: Path, new_loop: Callable[[], asyncio.AbstractEventLoop], copies: int, *, callers: int = 1
    ) -> None:
        self._loop = new_loop()
        self._callers = callers
        self._manager = self._loop.run_until_complete(Manager().__aenter__())
        self._spec = crowd_spec(guest, copies)
        self._loop.run_until_complete(fill(self._manager, self._spec))

    def calls(self, count: int) -> float:
        return self._loop.run_until_complete(self._calls(count))

    async def _calls(self, count: int) -> float:
        begin = time.perf_counter()
        each = max(count // self._callers, 1)
        await asyncio.gather(*(self._caller(each) for _ in range(self._callers)))
        return (time.perf_counter() - begin) / (each * self._callers)

    async def _caller(self, count: int) -> None:
        call, spec = self._manager.call, self._spec
        for _ in range(count):
            assert (await call(spec, BODY)).body == BODY

    def close(self) -> None:
        self._loop.run_until_complete(self._manager.aclose(kill=True))
        self._loop.close()


def copies(guest: Path, rounds: int, most: int) -> dict[str, list[float]]:
    """Return the memory that hotfn takes for each hot copy."""
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(_copies(guest, most))


async def _copies(guest: Path, count: int) -> dict[str, list[float]]:
    async with Manager() as manager:
        await fill(manager, crowd_spec(guest, 10, name="few"))
        before, descriptors = memory(), psutil.Process().num_fds()
        begin = time.perf_counter()
        await fill(manager, crowd_spec(guest, count))
        started = time.perf_counter() - begin
        grown, opened = memory() - before, psutil.Process().num_fds() - descriptors
        await manager.aclose(kill=True)
    return {
        "a hot copy [bytes]": [grown / count],
        "a hot copy [descriptors]": [opened / count],
        "the start of a copy, all at once": [started / count],
    }


def crowd_spec(guest: Path, copies: int, name: str = "many") -> FunctionSpec:
    return FunctionSpec(
        name=name,
        command=(str(guest),),
        format="http",
        max_concurrency=copies,
        min_instances=copies,
        max_queue=max(copies, 1024),
        start_timeout=300,
        queue_timeout=300,
        idle_timeout=600,
        stop_grace=0,
    )


async def fill(manager: Manager, spec: FunctionSpec) -> None:
    """Wait until all copies are hot."""
    manager.register(spec)
    while manager.stats()[spec.full_name].idle < spec.max_concurrency:  # noqa: ASYNC110 -- nobody tells of the last
        await asyncio.sleep(0.02)


def memory() -> int:
    """Return the bytes of this process that are in memory."""
    gc.collect()
    return int(psutil.Process().memory_info().rss)
