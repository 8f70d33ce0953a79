"""Copies that are frozen while nobody calls, on a driver that freezes well, badly, slowly or not at all."""

from __future__ import annotations

import asyncio
import logging
from typing import Any

import pytest

from hotfn_core import ConfigError, Exit, Manager, Reply
from hotfn_core.testing import Behaviour, FakeContainer, FakeDriver, fake_spec, simulate

from .world import Recorder, in_world, managed, now

FOR_EVER = 1e9


def frozen_spec(**fields: Any) -> Any:
    return fake_spec(**{"freeze_after": 1.0, "idle_timeout": 100.0} | fields)


async def freeze_one(manager: Manager, driver: FakeDriver, **fields: Any) -> FakeContainer:
    """Call a function once and wait until it should be frozen."""
    await manager.call(frozen_spec(**fields), b"first")
    await asyncio.sleep(1.0 + 1e-3)
    (copy,) = driver.alive
    return copy


def ops(driver: FakeDriver) -> list[tuple[float, str]]:
    return [(round(when, 2), what) for when, what, _ in driver.events if what in ("freeze", "thaw", "stop")]


class TestThatGoWell:
    def test_frozen_when_idle_and_thawed_for_the_next_call(self) -> None:
        async def test(manager: Manager) -> None:
            copy = await freeze_one(manager, driver)
            assert copy.frozen
            stats = manager.stats()["default/f"]
            assert (stats.idle, stats.frozen) == (0, 1)
            await asyncio.sleep(1.0)
            reply = await manager.call(frozen_spec(), b"second")
            assert reply.body == b"second"
            assert (reply.cold, reply.instance, reply.started) == (False, copy.id, 0.0)
            assert reply.queued == pytest.approx(0.25)  # the thaw
            assert not copy.frozen
            assert manager.stats()["default/f"].launched == 1

        driver = FakeDriver(Behaviour(thaw=0.25))
        in_world(driver, test)
        assert ops(driver)[:2] == [(1.0, "freeze"), (2.0, "thaw")]

    def test_off_by_default(self) -> None:
        async def test(manager: Manager) -> None:
            await manager.call(fake_spec())
            await asyncio.sleep(20.0)

        driver = FakeDriver()
        in_world(driver, test)
        assert [what for _, what in ops(driver)] == ["stop"]

    @pytest.mark.parametrize("freeze_after", [None, 1.0])
    def test_a_call_takes_no_task(self, freeze_after: float | None) -> None:
        async def test(manager: Manager) -> None:
            await manager.call(frozen_spec(freeze_after=freeze_after))
            made: list[str] = []
            monkeypatch.setattr(manager, "spawn", lambda work, name: made.append(name))
            for _ in range(10):
                await manager.call(frozen_spec(freeze_after=freeze_after))
            monkeypatch.undo()
            assert not made

        with pytest.MonkeyPatch.context() as monkeypatch:
            in_world(FakeDriver(Behaviour(answer=0.5)), test)

    def test_a_thaw_waits_for_the_freeze_that_still_goes_on(self) -> None:
        async def test(manager: Manager) -> None:
            await manager.call(frozen_spec())
            await asyncio.sleep(1.5)
            reply = await manager.call(frozen_spec())
            assert now() == pytest.approx(3.25)
            assert not reply.cold

        driver = FakeDriver(Behaviour(freeze=2.0, thaw=0.25))
        in_world(driver, test)
        assert ops(driver)[:2] == [(1.0, "freeze"), (3.0, "thaw")]

    def test_observers_are_told(self) -> None:
        async def test(manager: Manager) -> None:
            for _ in range(2):
                await manager.call(frozen_spec(idle_timeout=5.0))
                await asyncio.sleep(2.0)
            await asyncio.sleep(10.0)

        recorder = Recorder()
        in_world(FakeDriver(), test, recorder)
        assert [(one.state, one.reason) for one in recorder.changes] == [
            ("starting", "first"),
            ("idle", ""),
            ("busy", "first"),
            ("frozen", ""),
            ("idle", "thawed"),
            ("frozen", ""),
            ("stopping", "idle"),
            ("gone", "idle"),
        ]


class TestThatGoWrong:
    @pytest.fixture(autouse=True)
    def quiet(self, caplog: pytest.LogCaptureFixture) -> None:
        caplog.set_level(logging.WARNING, "hotfn")

    def test_o2_a_copy_that_could_not_be_frozen_gets_no_call(self, caplog: pytest.LogCaptureFixture) -> None:
        async def test(manager: Manager) -> None:
            first = await manager.call(frozen_spec())
            await asyncio.sleep(1.0 + 1e-3)
            assert manager.stats()["default/f"].stopped == {"freeze_failed": 1}
            second = await manager.call(frozen_spec())
            assert second.instance != first.instance
            assert second.cold_reason == "after_failure"

        in_world(FakeDriver(Behaviour(freeze_error="no freezer", stop=0.5)), test)
        assert "could not be frozen: no freezer" in caplog.text

    @pytest.mark.parametrize("slow", [0.0, 0.5])
    def test_o2_nor_the_call_that_came_while_it_was_tried(self, slow: float) -> None:
        async def test(manager: Manager) -> None:
            first = await manager.call(frozen_spec())
            await asyncio.sleep(1.0)
            second = await manager.call(frozen_spec())
            assert second.instance != first.instance

        in_world(FakeDriver(Behaviour(freeze=slow, freeze_error="no freezer")), test)

    @pytest.mark.parametrize("cap", [1, 2])
    @pytest.mark.parametrize(
        ("how", "takes", "reason"),
        [
            (Behaviour(thaw_error="no fire"), 0.0, "thaw_failed"),
            (Behaviour(thaw=FOR_EVER), 5.0, "thaw_failed"),
            (Behaviour(thaw=0.5, thaw_exit=3), 0.5, "exited"),
            (Behaviour(freeze=FOR_EVER), 5.0, "thaw_failed"),
        ],
        ids=["refused", "hangs", "exits", "freeze hangs"],
    )
    def test_o3_a_call_whose_copy_does_not_thaw_gets_another(
        self, how: Behaviour, takes: float, reason: str, cap: int
    ) -> None:
        async def test(manager: Manager) -> None:
            copy = await freeze_one(manager, driver, max_concurrency=cap)
            begun = now()
            reply = await manager.call(frozen_spec(max_concurrency=cap), b"second")
            assert reply.body == b"second"
            assert reply.instance != copy.id
            assert (reply.cold_reason, reply.started) == ("after_failure", 0.0)
            assert now() - begun == pytest.approx(takes)  # no grace is waited for
            stats = manager.stats()["default/f"]
            assert stats.calls == {"ok": 2}
            assert stats.stopped == {reason: 1}

        driver = FakeDriver(how)
        in_world(driver, test)

    @pytest.mark.parametrize(
        "error", [ZeroDivisionError("odd"), NotImplementedError()], ids=lambda error: type(error).__name__
    )
    def test_a_driver_that_fails_in_its_own_way(self, error: Exception, caplog: pytest.LogCaptureFixture) -> None:
        class OddCopy(FakeContainer):
            async def freeze(self) -> None:
                raise error

        class Odd(FakeDriver):
            def make_copy(self, *made: Any) -> FakeContainer:
                return OddCopy(self, *made)

        async def test(manager: Manager) -> None:
            await manager.call(frozen_spec())
            await asyncio.sleep(2.0)
            assert manager.stats()["default/f"].stopped == {"freeze_failed": 1}

        in_world(Odd(), test)
        assert f"could not be frozen: {type(error).__name__}" in caplog.text

    def test_it_is_not_tried_again_for_a_minute(self) -> None:
        async def test(manager: Manager) -> None:
            manager.register(frozen_spec(min_instances=1))
            await asyncio.sleep(300.0)

        driver = FakeDriver(Behaviour(freeze_error="no freezer"))
        in_world(driver, test)
        assert [when for when, what in ops(driver) if what == "freeze"] == [1.0, 61.0, 121.0, 181.0, 241.0]


class TestThatEnd:
    def test_idle_timeout_goes_on(self) -> None:
        async def test(manager: Manager) -> None:
            await freeze_one(manager, driver, idle_timeout=3.0)
            await asyncio.sleep(2.5)
            assert not driver.alive

        driver = FakeDriver(Behaviour(stop=0.25))
        in_world(driver, test)
        assert ops(driver) == [(1.0, "freeze"), (3.0, "stop")]

    @pytest.mark.parametrize(
        "how", [Behaviour(), Behaviour(freeze=FOR_EVER), Behaviour(freeze=0.5)], ids=["", "hangs", "slow"]
    )
    def test_an_exit_at_any_moment_is_taken_as_it_comes(self, how: Behaviour) -> None:
        async def test(manager: Manager) -> None:
            copy = await freeze_one(manager, driver)
            copy.die(Exit(code=1))
            reply = await manager.call(frozen_spec(), b"second")
            assert (reply.body, reply.cold_reason) == (b"second", "after_failure")

        driver = FakeDriver(how)
        in_world(driver, test)

    @pytest.mark.parametrize("kill", [False, True])
    @pytest.mark.parametrize(
        "how", [Behaviour(freeze=FOR_EVER), Behaviour(thaw=FOR_EVER), Behaviour(thaw=FOR_EVER, stop=1.0)]
    )
    def test_a_close_at_any_moment_leaves_nothing(self, how: Behaviour, kill: bool) -> None:
        async def main() -> None:
            driver = FakeDriver(how)
            async with managed(driver) as manager:  # which looks at what is left
                await freeze_one(manager, driver)
                call = asyncio.ensure_future(manager.call(frozen_spec()))
                await asyncio.sleep(1.0)
                await manager.aclose(kill=kill)
                assert now() <= 3.1
                assert isinstance(call.exception(), Exception)

        simulate(main)

    def test_a_call_that_leaves_does_not_keep_it_awake_for_ever(self) -> None:
        async def test(manager: Manager) -> None:
            copy = await freeze_one(manager, driver)
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(manager.call(frozen_spec()), 0.25)
            await asyncio.sleep(0.5)
            assert not copy.frozen
            await asyncio.sleep(1.0)
            assert copy.frozen

        driver = FakeDriver(Behaviour(thaw=0.5))
        in_world(driver, test)


class TestDriversThatCannot:
    def test_it_is_refused_unless_best_effort(self) -> None:
        class Warm(FakeDriver):
            freezes = False

        async def test(manager: Manager) -> None:
            with pytest.raises(ConfigError, match='the driver "fake" cannot freeze copies.*best_effort') as caught:
                await manager.call(frozen_spec())
            assert caught.value.field == "freeze_after"
            reply = await manager.call(frozen_spec(best_effort=True))
            assert isinstance(reply, Reply)
            await asyncio.sleep(50.0)
            assert manager.stats()["default/f"].idle == 1

        driver = Warm()
        in_world(driver, test)
        assert "freeze" not in [what for _, what in ops(driver)]
