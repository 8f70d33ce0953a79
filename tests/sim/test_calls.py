"""How one call fares: its spans, why it was cold, its deadlines, its cancellation."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest

from hotfn_core import (
    CallTimeout,
    InstanceExited,
    Manager,
    QueueTimeout,
    Reply,
    Saturated,
)
from hotfn_core.testing import Behaviour, FakeDriver, fake_spec, simulate

from .world import Recorder, codes, managed, now, outcome


def spans(reply: Reply) -> tuple[float, float, float]:
    return (round(reply.queued, 9), round(reply.started, 9), round(reply.ran, 9))


class TestSpans:
    def test_they_add_up_to_the_time_of_the_call(self) -> None:
        async def main() -> None:
            driver = FakeDriver(Behaviour(start=0.3, answer=1.0))
            async with managed(driver) as manager:

                async def timed() -> tuple[Reply, float]:
                    begun = now()
                    return await manager.call(fake_spec(max_concurrency=2)), now() - begun

                results = []
                for _ in range(3):
                    results.append(asyncio.create_task(timed()))
                    await asyncio.sleep(0.1)
                ended = [await one for one in results]
                for reply, took in ended:
                    assert reply.queued + reply.started + reply.ran == pytest.approx(took, abs=1e-9)
                assert [spans(reply) for reply, _ in ended] == [(0.0, 0.3, 1.0), (0.0, 0.3, 1.0), (1.1, 0.0, 1.0)]

        simulate(main)

    def test_a_call_that_waits_for_a_start_already_under_way_is_charged_for_its_part_of_it(self) -> None:
        async def main() -> None:
            async with managed(FakeDriver(Behaviour(start=1.0, answer=0.5))) as manager:
                first = asyncio.create_task(outcome(manager.call(fake_spec(format="fake"))))
                await asyncio.sleep(0.4)
                first.cancel()  # its copy goes on starting
                reply = await manager.call(fake_spec())
                assert spans(reply) == (0.0, 0.6, 0.5)
                assert reply.cold

        simulate(main)

    @pytest.mark.parametrize("protocol", ["fake", "fake-cold"])
    def test_they_are_the_same_in_the_report(self, protocol: str) -> None:
        async def main() -> None:
            recorder = Recorder()
            async with managed(FakeDriver(Behaviour(start=0.25, answer=0.5)), recorder) as manager:
                reply = await manager.call(fake_spec(format=protocol))
                (report,) = recorder.reports
                assert (report.queued, report.started, report.ran) == (reply.queued, reply.started, reply.ran)
                assert spans(reply) == (0.0, 0.25, 0.5)
                assert (report.cold_reason, report.instance) == ("first", reply.instance)

        simulate(main)

    def test_a_failed_call_has_them_too(self) -> None:
        async def main() -> None:
            recorder = Recorder()
            async with managed(FakeDriver(Behaviour(start=0.25, never=True)), recorder) as manager:
                await outcome(manager.call(fake_spec(timeout=2.0, max_queue=0)))
                (report,) = recorder.reports
                assert (report.queued, report.started, report.ran) == (0.0, 0.25, 2.0)
                assert (report.error, report.status) == ("call_timeout", 504)

        simulate(main)


class TestCold:
    def reasons(self, driver: FakeDriver, story: Callable[[Manager], object]) -> dict[str, int]:
        async def main() -> dict[str, int]:
            async with managed(driver) as manager:
                await story(manager)  # type: ignore[misc]
                return dict(manager.stats()["default/f"].cold)

        return simulate(main)

    def test_first_then_hot_then_first_again_after_idling(self) -> None:
        async def story(manager: Manager) -> None:
            first, hot = await manager.call(fake_spec()), await manager.call(fake_spec())
            assert (first.cold, first.cold_reason) == (True, "first")
            assert (hot.cold, hot.cold_reason, hot.started) == (False, "", 0.0)
            await asyncio.sleep(30.5)
            assert (await manager.call(fake_spec())).cold_reason == "first"

        assert self.reasons(FakeDriver(), story) == {"first": 2}

    def test_all_busy(self) -> None:
        async def story(manager: Manager) -> None:
            spec = fake_spec(max_concurrency=2)
            replies = await asyncio.gather(*[manager.call(spec) for _ in range(2)])
            assert [reply.cold_reason for reply in replies] == ["first", "all_busy"]

        assert self.reasons(FakeDriver(Behaviour(start=0.1, answer=1.0)), story) == {"first": 1, "all_busy": 1}

    def test_recycled(self) -> None:
        async def story(manager: Manager) -> None:
            spec = fake_spec(max_calls=2)
            assert [(await manager.call(spec)).cold_reason for _ in range(4)] == ["first", "", "recycled", ""]

        assert self.reasons(FakeDriver(), story) == {"first": 1, "recycled": 1}

    def test_after_failure(self) -> None:
        async def story(manager: Manager) -> None:
            assert isinstance(await outcome(manager.call(fake_spec())), InstanceExited)
            assert (await manager.call(fake_spec())).cold_reason == "after_failure"

        answers = iter([Behaviour(exit=3), Behaviour()])
        driver = FakeDriver(Behaviour(), lambda _: next(answers))
        assert self.reasons(driver, story) == {"first": 1, "after_failure": 1}

    def test_every_call_of_a_cold_protocol_is(self) -> None:
        async def main() -> None:
            driver = FakeDriver(Behaviour(start=0.5))
            async with managed(driver) as manager:
                for _ in range(3):
                    assert (await manager.call(fake_spec(format="fake-cold"), b"x")).body == b"x"
                await asyncio.sleep(0)
                assert not driver.alive
                stats = manager.stats()["default/f"]
                assert (stats.launched, stats.stopped, sum(stats.cold.values())) == (3, {"recycled": 3}, 3)

        simulate(main)


class TestDeadlines:
    def test_the_own_deadline_ends_a_running_call(self) -> None:
        async def main() -> None:
            async with managed(FakeDriver(Behaviour(never=True))) as manager:
                with pytest.raises(CallTimeout, match="or the call's own deadline"):
                    await manager.call(fake_spec(timeout=30.0), deadline=manager.time() + 2.0)
                assert now() == 2.0

        simulate(main)

    def test_it_ends_a_waiting_one(self) -> None:
        async def main() -> None:
            async with managed(FakeDriver(Behaviour(never=True))) as manager:
                running = asyncio.create_task(outcome(manager.call(fake_spec())))
                await asyncio.sleep(1.0)
                with pytest.raises(QueueTimeout):
                    await manager.call(fake_spec(), deadline=manager.time() + 2.0)
                assert now() == 3.0
                running.cancel()

        simulate(main)

    def test_one_that_is_over_already_never_reaches_the_function(self) -> None:
        async def main() -> None:
            driver = FakeDriver()
            async with managed(driver) as manager:
                await manager.call(fake_spec())
                with pytest.raises(QueueTimeout):
                    await manager.call(fake_spec(), deadline=manager.time())
                assert [copy.calls for copy in driver.alive] == [1]

        simulate(main)

    def test_a_start_does_not_count_against_the_timeout_but_against_the_deadline(self) -> None:
        async def main() -> None:
            async with managed(FakeDriver(Behaviour(start=5.0, answer=0.5))) as manager:
                reply = await manager.call(fake_spec("a", timeout=1.0))
                assert spans(reply) == (0.0, 5.0, 0.5)
                with pytest.raises(QueueTimeout):
                    await manager.call(fake_spec("b", timeout=1.0), deadline=manager.time() + 4.0)

        simulate(main)


class TestCancelling:
    def test_a_waiting_call_leaves_the_queue_at_once(self) -> None:
        async def main() -> None:
            driver = FakeDriver(Behaviour(answer=1.0))
            async with managed(driver) as manager:
                spec = fake_spec(max_queue=1)
                running = asyncio.create_task(manager.call(spec, b"running"))
                await asyncio.sleep(0.1)
                waiting = asyncio.create_task(manager.call(spec, b"waiting"))
                await asyncio.sleep(0.1)
                with pytest.raises(Saturated):
                    await manager.call(spec)
                waiting.cancel()
                await asyncio.sleep(0)
                assert manager.stats()["default/f"].waiting == 0
                next_one = asyncio.create_task(manager.call(spec, b"next"))
                assert ((await running).body, (await next_one).body) == (b"running", b"next")
                assert waiting.cancelled()
                assert [copy.calls for copy in driver.alive] == [2]
                assert manager.stats()["default/f"].calls == {"ok": 2, "saturated": 1, "cancelled": 1}

        simulate(main)

    def test_a_running_call_takes_its_copy_with_it(self) -> None:
        async def main() -> None:
            recorder = Recorder()
            driver = FakeDriver(Behaviour(stop=0.5), Behaviour(answer=10.0))
            async with managed(driver, recorder) as manager:
                call = asyncio.create_task(manager.call(fake_spec()))
                await asyncio.sleep(1.0)
                call.cancel()
                await asyncio.sleep(0)
                assert call.cancelled()
                assert manager.stats()["default/f"].stopping == 1
                reply = await manager.call(fake_spec(), b"next")
                assert (reply.body, reply.cold_reason, reply.queued) == (b"next", "after_failure", 0.5)
                assert manager.stats()["default/f"].stopped == {"cancelled": 1}
                assert [(one.error, one.status) for one in recorder.reports] == [("cancelled", 499), ("", 200)]

        simulate(main)

    def test_a_call_that_waits_for_a_start_leaves_the_hot_copy_to_the_next_one(self) -> None:
        async def main() -> None:
            driver = FakeDriver(Behaviour(start=1.0))
            async with managed(driver) as manager:
                call = asyncio.create_task(manager.call(fake_spec()))
                await asyncio.sleep(0.5)
                call.cancel()
                await asyncio.sleep(1.0)
                assert not (await manager.call(fake_spec())).cold
                assert driver.launches == 1

        simulate(main)

    @pytest.mark.parametrize("steps", range(6))
    def test_a_cold_copy_started_for_it_is_called_back_however_early(self, steps: int) -> None:
        """Also before the task that starts it has had its first step."""

        async def main() -> None:
            driver = FakeDriver(Behaviour(start=1.0))
            async with managed(driver) as manager:
                call = asyncio.create_task(manager.call(fake_spec(format="fake-cold")))
                for _ in range(steps):
                    await asyncio.sleep(0)
                call.cancel()
                await asyncio.sleep(0.1)
                assert (driver.starting, len(driver.alive)) == (0, 0)
                stats = manager.stats().get("default/f")
                assert stats is None or (stats.starting, stats.stopping, stats.waiting) == (0, 0, 0)
                assert (await manager.call(fake_spec(format="fake-cold"), b"x")).body == b"x"

        for seed in range(20):
            simulate(main, seed)

    def test_it_is_never_wrapped(self) -> None:
        async def main() -> None:
            async with managed(FakeDriver(Behaviour(answer=10.0))) as manager:
                with pytest.raises(TimeoutError):
                    async with asyncio.timeout(1.0):
                        await manager.call(fake_spec())

        simulate(main)

    def test_one_that_crosses_the_answer_harms_nobody(self) -> None:
        async def main() -> None:
            driver = FakeDriver(Behaviour(answer=1.0))
            async with managed(driver) as manager:
                spec = fake_spec()
                for _ in range(20):
                    call = asyncio.create_task(manager.call(spec, b"a"))
                    asyncio.get_running_loop().call_later(1.0, call.cancel)
                    await asyncio.wait([call])
                    assert (await manager.call(spec, b"b")).body == b"b"
                counted = manager.stats()["default/f"].calls
                assert counted["ok"] + counted["cancelled"] == 40

        for seed in range(10):
            simulate(main, seed)


def test_static_headers_stand_in_front_of_the_functions_own() -> None:
    async def main() -> None:
        async with managed(FakeDriver()) as manager:
            reply = await manager.call(fake_spec(headers={"X-Static": "1", "X-Call": "static"}), call_id="id")
            assert reply.headers.items_all() == (("X-Static", "1"), ("X-Call", "static"), ("X-Call", "id"))
            assert reply.headers.get_all("x-call") == ["static", "id"]

    simulate(main)


def test_a_mixture_of_outcomes_is_counted_and_the_gauges_return_to_zero() -> None:
    async def main() -> None:
        answers = iter([Behaviour(), Behaviour(exit=3), Behaviour(garbage=True), Behaviour(never=True), Behaviour()])
        driver = FakeDriver(Behaviour(start=0.1), lambda _: next(answers))
        async with managed(driver) as manager:
            manager.register(fake_spec(timeout=1.0, max_queue=10))
            ended = await asyncio.gather(*[outcome(manager.call("f")) for _ in range(5)])
            assert codes(ended) == ["ok", "instance_exited", "bad_reply", "call_timeout", "ok"]
            await asyncio.sleep(31.0)
            stats = manager.stats()["default/f"]
            assert stats.as_dict() == {
                "calls": {"ok": 2, "instance_exited": 1, "bad_reply": 1, "call_timeout": 1},
                "cold": {"first": 1, "after_failure": 3},
                "stopped": {"exited": 1, "protocol_error": 1, "timeout": 1, "idle": 1},
                "launched": 4,
                "waiting": 0,
                "starting": 0,
                "idle": 0,
                "frozen": 0,
                "busy": 0,
                "stopping": 0,
            }

    simulate(main)
