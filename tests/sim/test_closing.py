"""Drain and close, at any point and by anybody: every caller is told, every copy ends, nothing is left."""

from __future__ import annotations

import asyncio

import pytest

from hotfn_core import (
    CallAborted,
    Container,
    ContainerSpec,
    DriverError,
    Exit,
    Manager,
    Receiver,
    ShuttingDown,
)
from hotfn_core.testing import Behaviour, FakeDriver, fake_spec, simulate

from .world import codes, make_manager, managed, nothing_left, now, outcome, simulated


async def busy(manager: Manager, calls: int = 3) -> list[asyncio.Task[object]]:
    """One call runs and the others wait."""
    tasks = [asyncio.create_task(outcome(manager.call(fake_spec(), str(n).encode()))) for n in range(calls)]
    await asyncio.sleep(0.5)
    return tasks  # type: ignore[return-value]


class TestDrain:
    def test_waiting_and_running_calls_are_served_and_new_ones_refused(self) -> None:
        async def main() -> None:
            driver = FakeDriver(Behaviour(answer=1.0))
            async with managed(driver) as manager:
                manager.register(fake_spec("idle"))
                await manager.call("idle")
                begun = now()
                tasks = await busy(manager)
                draining = asyncio.create_task(manager.drain())
                await asyncio.sleep(0.1)
                for refused in (fake_spec(), "idle", fake_spec("new")):
                    with pytest.raises(ShuttingDown) as caught:
                        await manager.call(refused)
                    assert caught.value.status == 503
                    assert caught.value.function.startswith("default/")
                await draining
                assert now() - begun == pytest.approx(3.0)
                assert [task.done() for task in tasks] == [True] * 3
                assert codes([task.result() for task in tasks]) == ["ok"] * 3  # type: ignore[misc]
                assert not driver.alive
                assert manager.stats()["default/idle"].stopped == {"drained": 1}

        simulate(main)

    def test_waiting_calls_are_failed_at_once_if_so_asked(self) -> None:
        async def main() -> None:
            async with managed(FakeDriver(Behaviour(answer=1.0))) as manager:
                tasks = await busy(manager)
                draining = asyncio.create_task(manager.drain(serve_waiting=False))
                await asyncio.sleep(0.1)
                assert [task.done() for task in tasks] == [False, True, True]
                await draining
                assert codes(await asyncio.gather(*tasks)) == ["ok", "shutting_down", "shutting_down"]  # type: ignore[arg-type]

        simulate(main)

    def test_after_the_limit_running_ones_end_too(self) -> None:
        async def main() -> None:
            driver = FakeDriver(Behaviour(answer=100.0, deaf=True))
            async with managed(driver) as manager:
                tasks = await busy(manager)
                await manager.drain(2.0)
                assert now() == pytest.approx(2.5)
                ended = await asyncio.gather(*tasks)
                assert [type(one) for one in ended] == [CallAborted, ShuttingDown, ShuttingDown]
                assert ended[0].status == 503  # type: ignore[attr-defined]

        simulate(main)

    def test_a_limit_that_comes_later_makes_an_endless_drain_end(self) -> None:
        async def main() -> None:
            async with managed(FakeDriver(Behaviour(never=True))) as manager:
                task = asyncio.create_task(outcome(manager.call(fake_spec(timeout=1000.0))))
                await asyncio.sleep(0.5)
                endless = asyncio.create_task(manager.drain())
                await asyncio.sleep(1.0)
                await manager.drain(1.0)
                await endless
                assert now() == pytest.approx(2.5)
                assert isinstance(await task, CallAborted)

        simulate(main)

    def test_cancelling_a_drain_leaves_the_manager_draining(self) -> None:
        async def main() -> None:
            async with managed(FakeDriver(Behaviour(answer=1.0))) as manager:
                tasks = await busy(manager, 1)
                draining = asyncio.create_task(manager.drain())
                await asyncio.sleep(0.1)
                draining.cancel()
                with pytest.raises(ShuttingDown):
                    await manager.call(fake_spec())
                assert codes([await tasks[0]]) == ["ok"]  # type: ignore[list-item]

        simulate(main)

    def test_an_older_version_that_still_runs_is_waited_for(self) -> None:
        async def main() -> None:
            driver = FakeDriver(Behaviour(answer=1.0))
            async with managed(driver) as manager:
                manager.register(fake_spec(env={"V": "1"}))
                old = asyncio.create_task(manager.call("f"))
                await asyncio.sleep(0.5)
                manager.register(fake_spec(env={"V": "2"}))
                await manager.drain()
                assert old.done()
                assert not driver.alive

        simulate(main)


class TestClose:
    def test_w23_all_callers_return_at_once_whatever_they_wait_for(self) -> None:
        async def main() -> None:
            driver = FakeDriver(lambda _: Behaviour(start=next(starts), answer=100.0), Behaviour(answer=100.0))
            async with make_manager(driver) as manager:
                calls = [manager.call(fake_spec(name)) for name in ("running", "running", "starting", "starting")]
                tasks = [asyncio.create_task(outcome(call)) for call in calls]
                await asyncio.sleep(0.5)
                await manager.aclose()
                assert now() == 0.5
                assert codes(await asyncio.gather(*tasks)) == ["aborted"] + ["shutting_down"] * 3
            nothing_left(driver)

        starts = iter([0.0, 50.0])
        simulate(main)

    def test_w23_those_who_wait_for_the_driver_return_too(self) -> None:
        class Slow(FakeDriver):
            async def open(self) -> None:
                await asyncio.sleep(1000.0)

        async def main() -> None:
            driver = Slow()
            async with managed(driver) as manager:
                manager.register(fake_spec("hot", min_instances=1))
                tasks = [asyncio.create_task(outcome(manager.call(fake_spec()))) for _ in range(3)]
                await asyncio.sleep(1.0)
                await manager.aclose()
                assert now() == 1.0
                assert codes(await asyncio.gather(*tasks)) == ["shutting_down"] * 3
                assert manager.stats()["default/hot"].launched == 0

        simulate(main)

    @pytest.mark.parametrize("steps", range(12))
    def test_a_close_after_any_number_of_steps_leaves_nothing(self, steps: int) -> None:
        async def main() -> None:
            driver = FakeDriver(Behaviour(start=0.0))
            async with managed(driver) as manager:
                tasks = [
                    asyncio.create_task(outcome(manager.call(fake_spec(format=protocol, max_concurrency=2))))
                    for protocol in ("fake", "fake", "fake-cold", "fake-cold", "fake-cold")
                ]
                for _ in range(steps):
                    await asyncio.sleep(0)
                await manager.aclose()
                assert set(codes(await asyncio.gather(*tasks))) <= {"ok", "aborted", "shutting_down"}

        for seed in range(10):
            simulate(main, seed)

    def test_it_may_be_said_twice_and_at_once_and_by_the_way_out(self) -> None:
        async def main() -> None:
            driver = FakeDriver(Behaviour(answer=1.0, stop=1.0, deaf=True))
            async with managed(driver) as manager:
                await busy(manager)
                await asyncio.gather(manager.aclose(), manager.aclose())
                await manager.aclose()
                assert driver.closed
                with pytest.raises(ShuttingDown):
                    await manager.call(fake_spec())

        simulate(main)

    def test_only_drivers_that_were_used_are_closed(self) -> None:
        async def main() -> None:
            driver = FakeDriver()
            async with managed(driver) as manager:
                manager.register(fake_spec())  # which makes the driver and does not open it
            assert not driver.closed

        simulate(main)

    def test_a_driver_that_cannot_be_closed_does_not_keep_the_manager_open(
        self, caplog: pytest.LogCaptureFixture
    ) -> None:
        class Stuck(FakeDriver):
            async def aclose(self) -> None:
                raise OSError("it will not let go")

        class Hanging(FakeDriver):
            async def aclose(self) -> None:
                await asyncio.sleep(1e6)

        async def main(driver: FakeDriver) -> float:
            async with managed(driver) as manager:
                await manager.call(fake_spec())
                await manager.aclose()
                return now()

        assert simulate(lambda: main(Stuck())) == 0.0
        assert "it will not let go" in caplog.text
        assert simulate(lambda: main(Hanging())) == 30.0

    def test_an_engine_that_refuses_is_tried_again_and_given_up_in_the_end(self) -> None:
        async def main() -> None:
            driver = FakeDriver(Behaviour(refusals=1000))
            manager = make_manager(driver)
            async with manager:
                await manager.call(fake_spec(stop_grace=2.0))
                with pytest.raises(DriverError, match=r"copies of default/f could not be stopped within 32 s"):
                    await manager.aclose()
                assert now() == 32.0
                assert len([one for one in driver.events if one[1] == "stop"]) > 3
            assert driver.closed
            assert simulated().timers == 0  # nothing tries again
            (copy,) = driver.alive
            copy.die(Exit(signal=9))  # an end that is of no interest any more
            nothing_left(driver)  # not even a timer that would try again

        simulate(main)

    def test_the_patience_is_that_of_the_longest_grace_also_of_an_older_version(self) -> None:
        async def main() -> None:
            driver = FakeDriver(Behaviour(answer=1.0, refusals=1000))
            async with make_manager(driver) as manager:
                manager.register(fake_spec(stop_grace=100.0))
                old = asyncio.create_task(manager.call("f"))
                await asyncio.sleep(0.5)
                manager.register(fake_spec(stop_grace=1.0))
                await old
                with pytest.raises(DriverError, match="within 130 s"):
                    await manager.aclose()

        simulate(main)

    def test_an_engine_that_refuses_a_few_times_is_no_error(self) -> None:
        async def main() -> None:
            driver = FakeDriver(Behaviour(refusals=3))
            async with managed(driver) as manager:
                await manager.call(fake_spec())

        simulate(main)

    def test_a_stop_that_never_returns_is_given_up(self) -> None:
        class Forgetful(FakeDriver):
            async def launch(self, spec: ContainerSpec, receiver: Receiver) -> Container:
                container = await super().launch(spec, receiver)
                stop = container.stop

                async def never(grace: float) -> None:
                    await stop(grace)
                    await asyncio.sleep(1e6)

                container.stop = never  # type: ignore[method-assign]
                return container

        async def main() -> None:
            driver = Forgetful()
            async with managed(driver) as manager:
                await manager.call(fake_spec())
                await manager.aclose()
                assert now() == 30.0

        simulate(main)

    def test_a_start_that_cannot_be_called_back_is_stopped_when_it_returns(self) -> None:
        async def main() -> None:
            driver = FakeDriver(Behaviour(start=10.0, uncancellable=True, deaf=True))
            async with managed(driver) as manager:
                task = asyncio.create_task(outcome(manager.call(fake_spec())))
                await asyncio.sleep(1.0)
                closing = asyncio.create_task(manager.aclose())
                await asyncio.sleep(0.1)
                assert codes([await task]) == ["shutting_down"]
                await closing
                assert now() == 10.0

        simulate(main)

    def test_the_way_out_of_a_failing_block_closes_as_well(self) -> None:
        async def main() -> None:
            driver = FakeDriver()
            async with managed(driver) as manager:
                await manager.call(fake_spec())
                raise ZeroDivisionError

        with pytest.raises(ZeroDivisionError):
            simulate(main)


class TestTheEndOfAFunction:
    def test_w26_the_state_of_a_thousand_versions_goes_with_them(self) -> None:
        async def main() -> None:
            driver = FakeDriver()
            async with managed(driver) as manager:
                for version in range(1000):
                    await manager.call(fake_spec(env={"V": str(version)}, idle_timeout=1.0))
                assert len(manager._supervisors) == 1000
                await asyncio.sleep(62.0)
                assert not driver.alive
                assert manager.stats() == {}
                assert not manager._supervisors
                nothing_left(driver)
                for version in range(1000):
                    manager.register(fake_spec(env={"V": str(version)}))
                    await manager.call("f")
                await asyncio.sleep(1.0)
                assert len(manager._supervisors) == 1
                assert not manager._leaving
                assert manager.stats()["default/f"].calls == {"ok": 1000}

        simulate(main)

    def test_numbers_of_a_registered_function_outlive_its_rest(self) -> None:
        async def main() -> None:
            async with managed(FakeDriver()) as manager:
                manager.register(fake_spec(idle_timeout=1.0))
                await manager.call("f")
                await asyncio.sleep(100.0)
                assert not manager._supervisors
                await manager.call("f")
                stats = manager.stats()["default/f"]
                assert (stats.calls, stats.launched, stats.idle, stats.stopped) == ({"ok": 2}, 2, 1, {"idle": 1})
                assert stats.cold == {"first": 2}

        simulate(main)


def test_a_copy_without_a_call_has_its_grace_to_end_in() -> None:
    async def main() -> None:
        driver = FakeDriver(Behaviour(stop=3.0))
        async with managed(driver) as manager:
            await manager.call(fake_spec(stop_grace=5.0), b"x")
            await manager.aclose()
            assert asyncio.get_running_loop().time() == 3.0

    simulate(main)


def test_kill_gives_nobody_any_time_also_while_a_drain_goes_on() -> None:
    async def main() -> None:
        driver = FakeDriver(Behaviour(deaf=True, answer=10.0))
        async with managed(driver) as manager:
            call = asyncio.create_task(manager.call(fake_spec(stop_grace=60.0), b"x"))
            await asyncio.sleep(1.0)
            drain = asyncio.create_task(manager.drain())
            await asyncio.sleep(1.0)
            await manager.aclose(kill=True)
            assert asyncio.get_running_loop().time() == 2.0
            assert not driver.alive
            with pytest.raises(CallAborted):
                await call
            await drain

    simulate(main)
