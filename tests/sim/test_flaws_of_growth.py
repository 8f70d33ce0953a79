"""What went wrong in the systems before this one, as tests of the real manager: what grew, and what leaked."""

from __future__ import annotations

import asyncio
import gc
import random
from typing import Any

import pytest

from hotfn_core import (
    CallError,
    CallTimeout,
    TooLarge,
)
from hotfn_core.testing import Behaviour, FakeDriver, fake_spec, simulate

from .world import Recorder, codes, managed, outcome, simulated


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
