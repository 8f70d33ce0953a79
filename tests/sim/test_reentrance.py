"""Observers that act while they are told. No sane plugin does this; nothing may break all the same."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest

from hotfn_core import CallReport, Exit, InstanceChange, InstanceExited, Manager, Reply, hookimpl
from hotfn_core.supervisor import Supervisor
from hotfn_core.testing import Behaviour, FakeDriver, fake_spec, simulate

from .world import codes, managed, outcome


class Meddler:
    """Does something when a call of that id has ended, or a copy comes to that state."""

    def __init__(self, when: str, what: Callable[[], None]) -> None:
        self.when = when
        self.what = what

    @hookimpl
    def hotfn_call_finished(self, report: CallReport) -> None:
        if report.call_id == self.when:
            self.what()

    @hookimpl
    def hotfn_instance_changed(self, change: InstanceChange) -> None:
        if change.state == self.when:
            self.what()


def test_a_copy_that_answers_and_dies_while_the_end_of_another_call_is_told() -> None:
    """By the rules the freed copy has the next call, and it is gone before that could be written to it."""
    driver = FakeDriver(Behaviour(), Behaviour(answer=10.0))
    spec = fake_spec(max_concurrency=2, timeout=0.5)

    def meddle() -> None:
        second = list(driver.alive)[1]
        second.say(b"=b \n")
        second.die(Exit(code=5))

    async def main() -> None:
        async with managed(driver, Meddler("a", meddle)) as manager:
            calls = []
            for name in "abc":
                calls.append(asyncio.create_task(outcome(manager.call(spec, call_id=name))))
                await asyncio.sleep(0.1)
            ended = await asyncio.gather(*calls)
            assert codes(ended) == ["call_timeout", "ok", "instance_exited"]
            assert isinstance(ended[2], InstanceExited)
            assert "ended just as it was given the call" in ended[2].message
            assert manager.stats()["default/f"].busy == 0

    simulate(main)


def leave(supervisor: Supervisor, call_id: str) -> None:
    """As if the caller's task had been cancelled and had noticed at once."""
    supervisor.cancel(supervisor._pending[call_id].call)


def test_a_caller_that_leaves_just_before_it_is_told() -> None:
    driver = FakeDriver(Behaviour(), Behaviour(answer=1.0))
    spec = fake_spec()
    supervisors: list[Supervisor] = []

    async def main() -> None:
        async with managed(driver, Meddler("b", lambda: leave(supervisors[0], "c"))) as manager:
            calls = [asyncio.create_task(outcome(manager.call(spec, call_id=name))) for name in "abc"]
            await asyncio.sleep(0.5)
            supervisors[:] = manager._supervisors.values()
            await manager.drain(serve_waiting=False)
            calls[2].cancel()
            await asyncio.wait(calls)
            assert codes([calls[0].result(), calls[1].result()]) == ["ok", "shutting_down"]
            assert calls[2].cancelled()
            assert driver.launches == 1
            assert supervisors[0].stats().calls == {"ok": 1, "shutting_down": 1, "cancelled": 1}

    simulate(main)


def test_a_copy_that_answers_just_after_its_caller_left_is_not_listened_to(caplog: pytest.LogCaptureFixture) -> None:
    driver = FakeDriver(Behaviour(), Behaviour(answer=10.0))
    spec = fake_spec(max_concurrency=2, timeout=0.5)
    supervisors: list[Supervisor] = []

    def meddle() -> None:
        leave(supervisors[0], "b")
        list(driver.alive)[1].say(b"=b \n")

    async def main() -> None:
        async with managed(driver, Meddler("a", meddle)) as manager:
            first = asyncio.create_task(outcome(manager.call(spec, call_id="a")))
            await asyncio.sleep(0.1)
            second = asyncio.create_task(outcome(manager.call(spec, call_id="b")))
            await asyncio.sleep(0.1)
            supervisors[:] = manager._supervisors.values()
            assert codes([await first]) == ["call_timeout"]
            second.cancel()
            await asyncio.wait([second])
            assert supervisors[0].stats().calls == {"call_timeout": 1, "cancelled": 1}
            assert "a plugin failed" not in caplog.text  # an error of ours would be taken for the observer's

    simulate(main)


def test_a_copy_that_is_killed_while_another_is_being_stopped_is_not_stopped_again() -> None:
    driver = FakeDriver(Behaviour(answer=0.5))

    def meddle() -> None:
        for copy in list(driver.alive)[1:]:
            copy.die(Exit(signal=9))

    async def main() -> None:
        async with managed(driver, Meddler("stopping", meddle)) as manager:
            spec = fake_spec(max_concurrency=3)
            await asyncio.gather(*[manager.call(spec) for _ in range(3)])
            await manager.drain()
            assert len([one for one in driver.events if one[1] == "stop"]) == 1

    simulate(main)


def test_calls_made_by_an_observer_are_served() -> None:
    driver = FakeDriver(Behaviour(answer=0.5))
    tasks: list[asyncio.Task[Reply]] = []
    managers: list[Manager] = []

    def meddle() -> None:
        tasks.append(asyncio.create_task(managers[0].call(fake_spec(), b"again")))

    async def main() -> None:
        async with managed(driver, Meddler("a", meddle)) as manager:
            managers.append(manager)
            await manager.call(fake_spec(), call_id="a")
            await asyncio.sleep(0)
            assert (await tasks[0]).body == b"again"

    simulate(main)
