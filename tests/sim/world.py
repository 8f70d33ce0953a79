"""What the simulated tests share: a manager on the fake driver, an observer of everything, a look at what is left."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

from hotfn_core import CallError, CallReport, InstanceChange, Manager, Reply, StderrLine, hookimpl
from hotfn_core.testing import Behaviour, FakeDriver, FakePlugin, SimulatedLoop, fake_spec, simulate


class Recorder:
    """A plugin that listens to everything."""

    def __init__(self) -> None:
        self.reports: list[CallReport] = []
        self.changes: list[InstanceChange] = []
        self.lines: list[StderrLine] = []

    @hookimpl
    def hotfn_call_finished(self, report: CallReport) -> None:
        self.reports.append(report)

    @hookimpl
    def hotfn_instance_changed(self, change: InstanceChange) -> None:
        self.changes.append(change)

    @hookimpl
    def hotfn_stderr_line(self, line: StderrLine) -> None:
        self.lines.append(line)


def make_manager(driver: FakeDriver, *plugins: object) -> Manager:
    return Manager(plugins=[FakePlugin(driver), *plugins], entry_points=False)


@asynccontextmanager
async def managed(driver: FakeDriver, *plugins: object) -> AsyncIterator[Manager]:
    """A manager of which nothing is left behind."""
    manager = make_manager(driver, *plugins)
    try:
        async with manager:
            yield manager
    finally:
        nothing_left(driver)


def nothing_left(driver: FakeDriver) -> None:
    """No copy is alive, no timer rings any more, and the only task is the one that asks."""
    assert not driver.alive
    assert driver.starting == 0
    assert simulated().timers == 0
    assert asyncio.all_tasks() == {asyncio.current_task()}


def simulated() -> SimulatedLoop:
    loop = asyncio.get_running_loop()
    assert isinstance(loop, SimulatedLoop)
    return loop


def now() -> float:
    return asyncio.get_running_loop().time()


async def outcome(call: Awaitable[Reply]) -> Reply | CallError:
    """Return how a call ended, instead of raising."""
    try:
        return await call
    except CallError as error:
        return error


def codes(results: list[Reply | CallError]) -> list[str]:
    """Return "ok" or the error's code for each."""
    return ["ok" if isinstance(one, Reply) else one.code for one in results]


def in_world(driver: FakeDriver, test: Callable[[Manager], Any], *plugins: object) -> None:
    """Run `test(manager)` in virtual time."""

    async def main() -> None:
        async with managed(driver, *plugins) as manager:
            await test(manager)

    simulate(main)


def ended(behaviour: Behaviour, *plugins: object, **fields: Any) -> CallError:
    """Return the error of the first call to a function, with the time at which it came in a note."""

    async def main() -> CallError:
        async with managed(FakeDriver(behaviour), *plugins) as manager:
            error = await outcome(manager.call(fake_spec(**fields), b"x", call_id="the-call"))
            assert isinstance(error, CallError)
            assert (error.call_id, error.function) == ("the-call", "default/f")
            error.add_note(f"{now():g}")
            return error

    return simulate(main)


class MoodyDriver(FakeDriver):
    """Fails to open for each of its `troubles`, and takes its time."""

    def __init__(self, behaviour: Behaviour | None = None) -> None:
        super().__init__(behaviour)
        self.troubles: list[Exception] = []
        self.takes = 0.0

    async def open(self) -> None:
        await super().open()
        await asyncio.sleep(self.takes)
        if self.troubles:
            raise self.troubles.pop(0)
