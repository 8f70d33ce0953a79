"""Observers are told everything in order, and whatever they do harms nobody."""

from __future__ import annotations

import asyncio

import pytest

from hotfn_core import (
    CallReport,
    Exit,
    InstanceChange,
    Manager,
    Reply,
    StderrLine,
    hookimpl,
)
from hotfn_core.testing import Behaviour, FakeDriver, fake_spec, simulate

from .world import Recorder, managed, nothing_left, outcome


class Hostile:
    """An observer that raises whatever it is told, and looks at the manager while it is told."""

    def __init__(self) -> None:
        self.told = 0
        self.manager: Manager | None = None

    def fail(self) -> None:
        self.told += 1
        if self.manager is not None:
            self.manager.stats()
        raise RuntimeError("I do not like it")

    @hookimpl
    def hotfn_call_finished(self, report: CallReport) -> None:
        self.fail()

    @hookimpl
    def hotfn_instance_changed(self, change: InstanceChange) -> None:
        self.fail()

    @hookimpl
    def hotfn_stderr_line(self, line: StderrLine) -> None:
        self.fail()


class TestObservers:
    def test_one_that_raises_is_logged_and_harms_nobody(self, caplog: pytest.LogCaptureFixture) -> None:
        async def main() -> None:
            driver = FakeDriver(Behaviour(stderr=b"line\n"))
            async with managed(driver, hostile) as hostile.manager:
                for _ in range(3):
                    assert (await hostile.manager.call(fake_spec(), b"x")).body == b"x"
            assert hostile.told == 3 + 3 + len(["starting", "idle", "busy", "stopping", "gone"])

        hostile = Hostile()
        simulate(main)
        assert caplog.text.count("a plugin failed in hotfn_call_finished") == 3
        assert "I do not like it" in caplog.text

    def test_reports_are_complete_and_in_order(self) -> None:
        async def main() -> None:
            driver = FakeDriver(Behaviour(start=0.5, stop=0.25))
            async with managed(driver, recorder) as manager:
                await manager.call(fake_spec(idle_timeout=1.0), call_id="one")
                await manager.call(fake_spec(idle_timeout=1.0), call_id="two")
                await asyncio.sleep(2.0)
            (first, second) = recorder.reports
            assert (first.call_id, second.call_id) == ("one", "two")
            assert (first.function, first.status, first.error) == ("default/f", 200, "")
            assert (first.cold_reason, second.cold_reason) == ("first", "")
            copy = first.instance
            assert second.instance == copy
            assert recorder.changes == [
                InstanceChange("default/f", copy, "", "starting", "first"),
                InstanceChange("default/f", copy, copy, "idle", ""),
                InstanceChange("default/f", copy, copy, "busy", "first"),
                InstanceChange("default/f", copy, copy, "stopping", "idle"),
                InstanceChange("default/f", copy, copy, "gone", "idle"),
            ]

        recorder = Recorder()
        simulate(main)

    @pytest.mark.parametrize(
        ("how", "reason"),
        [
            (Behaviour(garbage=True), "protocol_error"),
            (Behaviour(excess=True), "excess_output"),
            (Behaviour(late=0.5), "excess_output"),
            (Behaviour(eof=True), "protocol_error"),
            (Behaviour(never=True), "timeout"),
        ],
    )
    def test_of_a_copy_that_misbehaves_it_is_told_that_it_is_being_stopped_and_why(
        self, how: Behaviour, reason: str
    ) -> None:
        async def main() -> None:
            async with managed(FakeDriver(Behaviour(stop=0.1), how), recorder) as manager:
                await outcome(manager.call(fake_spec(timeout=1.0)))
                await asyncio.sleep(1.0)
            assert [(one.state, one.reason) for one in recorder.changes][3:] == [("stopping", reason), ("gone", reason)]

        recorder = Recorder()
        simulate(main)

    def test_of_a_copy_that_goes_by_itself_or_cannot_start_the_reason_is_told(self) -> None:
        async def main() -> None:
            copies = iter([Behaviour(start_error="boom"), Behaviour(dies_idle=1.0), Behaviour()])
            driver = FakeDriver(lambda _: next(copies), Behaviour())
            async with managed(driver, recorder) as manager:
                await outcome(manager.call(fake_spec()))
                await asyncio.sleep(1.0)
                await manager.call(fake_spec())
                await asyncio.sleep(2.0)
            assert [one.reason for one in recorder.changes if one.state == "gone"] == ["start_failed", "exited"]

        recorder = Recorder()
        simulate(main)

    def test_no_more_copies_are_ever_reported_than_there_may_be(self) -> None:
        class Counting(Recorder):
            alive = most = 0

            @hookimpl
            def hotfn_instance_changed(self, change: InstanceChange) -> None:
                self.alive += {"starting": 1, "gone": -1}.get(change.state, 0)
                self.most = max(self.most, self.alive)

        async def main() -> None:
            async with managed(FakeDriver(Behaviour(stop=0.1), Behaviour(exit=1)), counting) as manager:
                spec = fake_spec(max_concurrency=3)
                await asyncio.gather(*[outcome(manager.call(spec)) for _ in range(30)])
            assert (counting.most, counting.alive) == (3, 0)

        counting = Counting()
        simulate(main)

    def test_where_nobody_listens_nothing_is_made(self) -> None:
        async def main() -> None:
            async with managed(FakeDriver()) as manager:
                observers = manager.observers
                assert (observers.call_finished, observers.instance_changed, observers.stderr_line) == (None,) * 3
                await manager.call(fake_spec())

        simulate(main)

    def test_an_observer_may_call_the_manager_from_a_task(self) -> None:
        class Again:
            manager: Manager

            def __init__(self) -> None:
                self.tasks: list[asyncio.Task[Reply]] = []

            @hookimpl
            def hotfn_call_finished(self, report: CallReport) -> None:
                if len(self.tasks) < 3:
                    self.tasks.append(asyncio.create_task(self.manager.call(fake_spec(), b"again")))

        async def main() -> None:
            async with managed(FakeDriver(), again) as again.manager:
                await again.manager.call(fake_spec())
                await asyncio.sleep(1.0)
                assert [(await task).body for task in again.tasks] == [b"again"] * 3

        again = Again()
        simulate(main)

    def test_an_observer_may_end_what_it_is_told_of(self) -> None:
        """The worst case of re-entrance: a copy is killed while the call is on its way to it."""

        class Killer:
            @hookimpl
            def hotfn_instance_changed(self, change: InstanceChange) -> None:
                if change.state == "idle" and len(driver.alive) == 2:
                    for copy in list(driver.alive):
                        copy.die(Exit(signal=9))

        async def main() -> None:
            async with managed(driver, Killer()) as manager:
                spec = fake_spec(max_concurrency=2, max_queue=10)
                ended = await asyncio.gather(*[outcome(manager.call(spec, bytes([n]))) for n in range(6)])
                assert len(ended) == 6
                stats = manager.stats()["default/f"]
                assert (stats.waiting, stats.starting, stats.busy) == (0, 0, 0)
            nothing_left(driver)

        driver = FakeDriver(Behaviour(answer=0.1))
        for seed in range(20):
            simulate(main, seed)
