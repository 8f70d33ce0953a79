"""What went wrong in the systems before this one, as tests of the real manager: callers, time, growth and secrets."""

from __future__ import annotations

import asyncio
import gc
import random
from typing import Any

import pytest

from hotfn_core import (
    CallError,
    CallRejected,
    CallTimeout,
    Manager,
    QueueTimeout,
    Reply,
    TooLarge,
)
from hotfn_core.testing import Behaviour, FakeContainer, FakeDriver, fake_spec, simulate

from .world import Recorder, codes, managed, now, outcome, simulated


def only(driver: FakeDriver) -> FakeContainer:
    (copy,) = driver.alive
    return copy


class TestLimitsOfTime:
    def test_w32_a_timeout_is_504_hot_and_cold(self) -> None:
        async def main() -> None:
            async with managed(FakeDriver(Behaviour(never=True))) as manager:
                for protocol in ("fake", "fake-cold"):
                    error = await outcome(manager.call(fake_spec(format=protocol, timeout=1.0)))
                    assert isinstance(error, CallTimeout)
                    assert error.status == 504

        simulate(main)

    def test_w33_the_answer_to_a_timeout_does_not_wait_for_the_copy_to_end(self) -> None:
        async def main() -> None:
            driver = FakeDriver(Behaviour(never=True, deaf=True))
            async with managed(driver) as manager:
                for protocol in ("fake", "fake-cold"):
                    begun = now()
                    await outcome(manager.call(fake_spec(format=protocol, timeout=1.0, stop_grace=30.0)))
                    assert now() - begun == pytest.approx(1.0)
                assert len(driver.alive) == 2

        simulate(main)

    def test_w34_the_first_call_is_not_charged_for_the_start_and_waiting_is_bounded_all_the_same(self) -> None:
        async def main() -> None:
            async with managed(FakeDriver(Behaviour(start=10.0, answer=0.5))) as manager:
                reply = await manager.call(fake_spec(timeout=1.0))
                assert (round(reply.started, 9), round(reply.ran, 9)) == (10.0, 0.5)
                with pytest.raises(QueueTimeout):
                    await manager.call(fake_spec("other", queue_timeout=5.0))

        simulate(main)

    def test_b34_no_span_is_ever_negative(self) -> None:
        async def main() -> None:
            dice = random.Random(1)
            driver = FakeDriver(lambda _: Behaviour(start=dice.random(), answer=dice.random()))
            async with managed(driver) as manager:
                spec = fake_spec(max_concurrency=3, idle_timeout=0.0)

                async def one() -> Reply:
                    await asyncio.sleep(dice.uniform(0, 50))
                    return await manager.call(spec)

                for reply in await asyncio.gather(*[one() for _ in range(300)]):
                    assert min(reply.queued, reply.started, reply.ran) >= 0.0

        simulate(main, 1)


class TestCallersThatLeave:
    def test_b01_when_all_who_waited_have_left_the_next_one_is_served(self) -> None:
        async def main() -> None:
            driver = FakeDriver(Behaviour(start=1.0))
            async with managed(driver) as manager:
                calls = [asyncio.create_task(outcome(manager.call(fake_spec(max_concurrency=3)))) for _ in range(5)]
                await asyncio.sleep(0.5)
                for call in calls:
                    call.cancel()
                reply = await manager.call(fake_spec(max_concurrency=3), b"x")
                assert (reply.body, now()) == (b"x", 1.0)
                await asyncio.sleep(31.0)
                assert not driver.alive

        simulate(main)

    def test_b03_one_that_leaves_makes_room_at_once(self) -> None:
        async def main() -> None:
            driver = FakeDriver(Behaviour(answer=10.0))
            async with managed(driver) as manager:
                spec = fake_spec(max_queue=1)
                calls = [asyncio.create_task(outcome(manager.call(spec))) for _ in range(2)]
                await asyncio.sleep(1.0)
                for _ in range(20):
                    calls[-1].cancel()
                    await asyncio.sleep(0)
                    calls.append(asyncio.create_task(outcome(manager.call(spec))))
                    await asyncio.sleep(0)
                assert codes([await calls[0], await calls[-1]]) == ["ok", "ok"]

        simulate(main)

    def test_b04_a_copy_freed_for_one_that_leaves_in_that_instant_is_not_lost(self) -> None:
        async def main() -> None:
            driver = FakeDriver(Behaviour(answer=1.0))
            async with managed(driver) as manager:
                spec = fake_spec()
                first = asyncio.create_task(manager.call(spec, b"1"))
                await asyncio.sleep(0.1)
                second = asyncio.create_task(manager.call(spec, b"2"))
                third = asyncio.create_task(manager.call(spec, b"3"))
                asyncio.get_running_loop().call_at(1.0, second.cancel)
                assert (await first).body == b"1"
                assert (await third).body == b"3"
                # at best the third is next, at worst the second had begun, and its copy is replaced
                assert now() == pytest.approx(2.0)
                await asyncio.wait([second])

        for seed in range(30):
            simulate(main, seed)

    def test_b40_one_that_leaves_is_no_failure_of_the_function(self) -> None:
        async def main() -> None:
            recorder = Recorder()
            async with managed(FakeDriver(Behaviour(answer=10.0)), recorder) as manager:
                call = asyncio.create_task(manager.call(fake_spec()))
                await asyncio.sleep(1.0)
                call.cancel()
                await asyncio.wait([call])
                assert manager.stats()["default/f"].calls == {"cancelled": 1}
                assert [(one.error, one.status) for one in recorder.reports] == [("cancelled", 499)]

        simulate(main)

    def test_b42_what_is_rejected_never_reached_a_copy(self) -> None:
        """`CallRejected` promises that calling again is safe."""

        async def main() -> None:
            reached: set[bytes] = set()
            driver = FakeDriver(Behaviour(start=0.2), Behaviour(answer=0.3))
            asked = FakeContainer.write

            class Noting(FakeContainer):
                def write(self, data: bytes) -> None:
                    reached.add(data.split(b" ")[0])
                    asked(self, data)

            driver.make_copy = lambda *arguments: Noting(driver, *arguments)  # type: ignore[method-assign]
            async with managed(driver) as manager:
                spec = fake_spec(max_queue=3, queue_timeout=0.6, max_request=5, timeout=0.25)
                dice = random.Random(2)

                async def one(n: int) -> tuple[str, Any]:
                    await asyncio.sleep(dice.uniform(0, 5))
                    method, body = dice.choice(["POST", "POST", "UNSAYABLE"]), bytes(dice.randrange(7))
                    return f"c{n}", await outcome(manager.call(spec, body, method=method, call_id=f"c{n}"))

                ended = dict(await asyncio.gather(*[one(n) for n in range(100)]))
                seen = {error.code for error in ended.values() if isinstance(error, CallRejected)}
                assert seen == {"saturated", "queue_timeout", "too_large", "invalid_call"}
                for name, end in ended.items():
                    assert (name.encode() in reached) == (not isinstance(end, CallRejected))

        simulate(main, 3)


class TestNothingGrows:
    def test_w12_a_thousand_timeouts_leave_nothing_behind(self) -> None:
        async def main() -> None:
            driver = FakeDriver(Behaviour(never=True, stop=0.5))
            async with managed(driver) as manager:
                counts = []
                for n in range(1000):
                    with pytest.raises(CallTimeout):
                        await manager.call(fake_spec(timeout=0.1, max_concurrency=2))
                    if n % 100 == 50:
                        counts.append((len(asyncio.all_tasks()), simulated().timers, len(driver.alive)))
                assert len(set(counts)) == 1
                supervisor = next(iter(manager._supervisors.values()))
                assert len(supervisor._pending) == 0
                assert len(supervisor._copies._work) <= 2

        simulate(main)

    def test_w27_a_hundred_thousand_quick_calls_with_a_long_idle_timeout_set_no_timers(self) -> None:
        async def main() -> None:
            driver = FakeDriver(Behaviour(sync=True))
            async with managed(driver) as manager:
                spec = fake_spec(idle_timeout=3600.0)
                most = 0
                for n in range(100_000):
                    await manager.call(spec)
                    if n % 1000 == 0:
                        most = max(most, len(simulated()._scheduled))  # type: ignore[attr-defined]
                assert most <= 2
                assert driver.launches == 1

        simulate(main)

    def test_w30_logs_of_hot_calls_are_captured_and_no_task_reads_them(self) -> None:
        async def main() -> None:
            recorder = Recorder()
            async with managed(FakeDriver(Behaviour(answer=0.1, stderr=b"line\n")), recorder) as manager:
                for _ in range(100):
                    await manager.call(fake_spec())
                assert len(recorder.lines) == 100
                assert asyncio.all_tasks() == {asyncio.current_task()}

        simulate(main)

    def test_w41_ids_are_unique_also_over_managers(self) -> None:
        async def main() -> None:
            ids = set()
            for _ in range(4):
                async with managed(FakeDriver(Behaviour(sync=True))) as manager:
                    ids |= {(await manager.call(fake_spec())).call_id for _ in range(2500)}
            assert len(ids) == 10_000

        simulate(main)

    def test_w45_and_b33_gauges_return_to_zero_after_every_mixture_of_ends(self) -> None:
        async def main(seed: int) -> None:
            dice = random.Random(seed)
            kinds = [
                Behaviour(answer=0.1),
                Behaviour(exit=1),
                Behaviour(garbage=True),
                Behaviour(never=True),
                Behaviour(excess=True),
            ]
            driver = FakeDriver(
                lambda _: Behaviour(start_error="boom" if dice.random() < 0.3 else "", start=0.1),
                lambda _: dice.choice(kinds),
            )
            async with managed(driver) as manager:
                spec = fake_spec(max_concurrency=2, max_queue=3, timeout=0.5, queue_timeout=1.0, idle_timeout=1.0)
                manager.register(spec)
                await asyncio.gather(*[outcome(manager.call(spec)) for _ in range(20)])
                await asyncio.sleep(20.0)
                stats = manager.stats()["default/f"]
                assert (stats.waiting, stats.starting, stats.idle, stats.busy, stats.stopping) == (0,) * 5
                assert sum(stats.calls.values()) == 20
                assert stats.launched == sum(stats.stopped.values())

        for seed in range(30):
            simulate(lambda seed=seed: main(seed), seed)  # type: ignore[misc]

    def test_calls_and_copies_are_garbage_when_they_have_ended(self) -> None:
        async def main() -> None:
            async with managed(FakeDriver(Behaviour(answer=0.01))) as manager:
                spec = fake_spec(max_concurrency=4, max_calls=5)
                await asyncio.gather(*[manager.call(spec) for _ in range(100)])
                gc.collect()
                before = len(gc.get_objects())
                for _ in range(5):
                    await asyncio.gather(*[manager.call(spec) for _ in range(100)])
                gc.collect()
                # what the driver and the loop keep of 500 calls and 100 copies: its own notes
                assert len(gc.get_objects()) - before < 2500

        simulate(main)


class TestWhatOneCallerMaySeeOfAnother:
    def test_w19_nothing_of_a_call_is_in_the_environment_of_a_hot_copy(self) -> None:
        async def main() -> None:
            driver = FakeDriver()
            async with managed(driver) as manager:
                spec = fake_spec(env={"MINE": "1"})
                await manager.call(spec, b"body", headers={"Authorization": "secret"}, method="PUT", url="/x?y=secret")
                env = dict(driver.launched[0].env)
                assert "secret" not in repr(env)
                assert {name for name in env if not name.startswith("FN_")} == {"MINE"}
                assert set(env) - {"MINE"} == {"FN_FORMAT", "FN_APP_NAME", "FN_PATH", "FN_FN_ID", "FN_TYPE"}

        simulate(main)

    def test_a_header_does_not_leak_into_the_reserved_variables(self) -> None:
        async def main() -> None:
            driver = FakeDriver()
            async with managed(driver) as manager:
                for protocol in ("fake", "fake-cold"):
                    await manager.call(fake_spec(format=protocol), headers={"FN_PATH": "/evil", "Fn-Path": "/evil"})
                    assert driver.launched[-1].env["FN_PATH"] == "/f"

        simulate(main)

    def test_o6_every_start_has_the_call_that_it_is_for_and_not_the_first_one(self) -> None:
        async def main() -> None:
            driver = FakeDriver(Behaviour(answer=0.1))
            async with managed(driver) as manager:
                spec = fake_spec(format="fake-cold", max_concurrency=2)
                await asyncio.gather(*[manager.call(spec, call_id=f"c{n}") for n in range(6)])
                assert [one.env["FAKE_CALL_ID"] for one in driver.launched] == [f"c{n}" for n in range(6)]

        simulate(main)

    def test_b31_what_a_caller_or_a_driver_changes_later_changes_nothing(self) -> None:
        class Scribbler(FakeDriver):
            async def launch(self, spec: Any, receiver: Any) -> Any:
                container = await super().launch(spec, receiver)
                spec.env["A"] = "scribbled"
                return container

        async def main() -> None:
            driver = Scribbler()
            async with managed(driver) as manager:
                env = {"A": "1"}
                spec = fake_spec(env=env, max_calls=1)
                env["A"] = "2"
                seen = []
                for _ in range(3):
                    await manager.call(spec)
                    seen.append(manager._spec(spec).env["A"])
                assert seen == ["1", "1", "1"]

        simulate(main)


class TestSizes:
    def test_w17_bodies_have_limits_both_ways_and_a_log_cannot_fail_a_call(self) -> None:
        async def main() -> None:
            driver = FakeDriver(Behaviour(), Behaviour(answer=0.1, stderr=b"x" * 5_000_000))
            async with managed(driver) as manager:
                spec = fake_spec(max_request=10, max_response=5)
                errors = [await outcome(manager.call(spec, bytes(size))) for size in (5, 11, 10)]
                assert codes(errors) == ["ok", "too_large", "bad_reply"]
                assert isinstance(errors[1], TooLarge)
                assert [error.status for error in errors if isinstance(error, CallError)] == [413, 502]
                assert (await manager.call(spec, bytes(5))).status == 200

        simulate(main)


class TestWhatWasMissing:
    def test_o11_a_copy_has_a_most_of_calls_and_is_replaced_before_it_is_missed(self) -> None:
        async def main() -> None:
            driver = FakeDriver(Behaviour(start=1.0, answer=2.0))
            async with managed(driver) as manager:
                spec = fake_spec(max_calls=3, max_concurrency=2)
                replies = [await manager.call(spec) for _ in range(7)]
                assert [reply.cold for reply in replies] == [True] + [False] * 6
                assert len({reply.instance for reply in replies}) == 3
                assert manager.stats()["default/f"].stopped["recycled"] == 2

        simulate(main)

    def test_o11_a_copy_has_an_age(self) -> None:
        async def main() -> None:
            driver = FakeDriver(Behaviour(start=0.5, answer=0.1))
            async with managed(driver) as manager:
                spec = fake_spec(max_age=10.0, max_concurrency=2, idle_timeout=100.0)
                for _ in range(50):
                    await manager.call(spec)
                    await asyncio.sleep(0.9)
                assert 4 <= driver.launches <= 5
                assert manager.stats()["default/f"].cold == {"first": 1}

        simulate(main)

    def test_o11_a_drain_has_an_end(self) -> None:
        async def main() -> None:
            async with managed(FakeDriver(Behaviour(never=True))) as manager:
                call = asyncio.create_task(outcome(manager.call(fake_spec(timeout=1000.0))))
                await asyncio.sleep(1.0)
                await manager.drain(5.0)
                assert (now(), codes([await call])) == (6.0, ["aborted"])

        simulate(main)

    def test_o1_a_burst_into_room_for_five_yields_exactly_five(self) -> None:
        async def main() -> None:
            driver = FakeDriver(Behaviour(answer=1.0))
            async with managed(driver) as manager:
                spec = fake_spec(max_concurrency=5, max_queue=0)
                ended = await asyncio.gather(*[outcome(manager.call(spec)) for _ in range(20)])
                assert sorted(codes(ended)) == ["ok"] * 5 + ["saturated"] * 15

        for seed in range(20):
            simulate(main, seed)


def test_b17_when_the_caller_has_its_reply_all_is_counted_and_reported() -> None:
    async def main() -> None:
        recorder = Recorder()

        async def one(manager: Manager) -> None:
            reply = await manager.call(fake_spec(max_concurrency=3))
            assert reply.call_id in {report.call_id for report in recorder.reports}
            assert manager.stats()["default/f"].calls["ok"] >= 1

        async with managed(FakeDriver(Behaviour(answer=0.1)), recorder) as manager:
            await asyncio.gather(*[one(manager) for _ in range(30)])

    for seed in range(10):
        simulate(main, seed)
