"""Storms of starts: so many at a time, functions in turn, and what is not needed any more is never started."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from hotfn_core import ConfigError, Manager, Reply, blocking, hookimpl
from hotfn_core.testing import Behaviour, FakeDriver, FakePlugin, fake_spec, simulate

from .world import Recorder, codes, nothing_left, now, outcome


class Narrow(FakeDriver):
    """A driver that looks how many starts are under way."""

    max_starting = 4
    most_starting = 0

    async def _starting(self, how: Behaviour) -> None:
        self.most_starting = max(self.most_starting, self.starting)
        await super()._starting(how)


def in_storm(driver: FakeDriver, test: Any, *plugins: object, seed: int | None = None, **arguments: Any) -> None:
    async def main() -> None:
        async with Manager(plugins=[FakePlugin(driver), *plugins], entry_points=False, **arguments) as manager:
            await test(manager)
        nothing_left(driver)

    simulate(main, seed)


def crowd(manager: Manager, count: int, name: str = "a", **fields: Any) -> list[asyncio.Task[Any]]:
    spec = fake_spec(name, **{"max_concurrency": count, "queue_timeout": 1000.0} | fields)
    return [asyncio.create_task(outcome(manager.call(spec, b"x"))) for _ in range(count)]


def test_never_more_than_max_starting_over_all_functions() -> None:
    driver = Narrow(Behaviour(start=1.0, answer=50.0))

    async def storm(manager: Manager) -> None:
        calls = [*crowd(manager, 20, timeout=100.0), *crowd(manager, 20, "b", timeout=100.0)]
        assert codes(await asyncio.gather(*calls)) == ["ok"] * 40
        assert driver.most_starting == 4
        assert driver.launches == 40
        assert 60.0 <= now() <= 64.0 + 1e-6  # the place that is kept for a third function costs a little

    in_storm(driver, storm)


@pytest.mark.parametrize("seed", [None, *range(10)])
def test_a_storm_never_delays_the_first_copy_of_another_function(seed: int | None) -> None:
    driver = Narrow(Behaviour(start=5.0, answer=0.5))

    async def storm(manager: Manager) -> None:
        waiting = crowd(manager, 1000)
        await asyncio.sleep(1.0)
        begun = now()
        reply = await manager.call(fake_spec("b"), b"x")
        assert now() - begun == pytest.approx(5.5)
        assert reply.queued == pytest.approx(0.0)
        assert reply.started == pytest.approx(5.0)
        for one in waiting:
            one.cancel()
        await asyncio.gather(*waiting, return_exceptions=True)

    in_storm(driver, storm, seed=seed)


@pytest.mark.parametrize("seed", range(10))
def test_a_storm_and_a_crash_loop_never_delay_a_hot_function(seed: int) -> None:
    """In virtual time a delay can only come of a rule: B is answered in exactly the time that it takes alone."""
    driver = Narrow(lambda dice: Behaviour(start=0.3, answer=0.01))

    async def storm(manager: Manager) -> None:
        hot = fake_spec("b")
        await manager.call(hot, b"x")
        waiting = crowd(manager, 1000)
        broken = asyncio.create_task(crash_loop(manager))
        for _ in range(200):
            begun = now()
            await manager.call(hot, b"x")
            assert now() - begun == pytest.approx(0.01)
        broken.cancel()
        await asyncio.gather(*waiting, broken, return_exceptions=True)

    async def crash_loop(manager: Manager) -> None:
        while True:
            await outcome(manager.call(fake_spec("c", format="fake-cold"), b"x", deadline=now() + 0.1))

    in_storm(driver, storm, seed=seed)


def test_functions_take_turns_and_each_brings_its_oldest() -> None:
    driver = Narrow(Behaviour(start=1.0, answer=100.0))

    async def storm(manager: Manager) -> None:
        calls = [call for name in "abc" for call in crowd(manager, 5, name, timeout=1000.0)]
        await asyncio.sleep(4.5)
        order = [spec.function.removeprefix("default/") for spec in driver.launched]
        assert order[:3] == ["a"] * 3  # the last place is for a function that has none
        assert [order[3:].count(name) for name in "abc"] == [2, 5, 5] or sorted(order[3:9]) == sorted("abcabc")
        await asyncio.gather(*calls)

    in_storm(driver, storm)


def test_start_timeout_counts_from_the_turn() -> None:
    driver = Narrow(Behaviour(start=2.0, answer=100.0))

    async def storm(manager: Manager) -> None:
        calls = crowd(manager, 13, start_timeout=2.5, timeout=1000.0)
        replies = await asyncio.gather(*calls)
        assert codes(replies) == ["ok"] * 13
        assert sorted({round(one.queued, 6) for one in replies}) == [0.0, 2.0, 4.0, 6.0, 8.0]
        assert {round(one.started, 6) for one in replies} == {2.0}
        assert all(one.cold for one in replies)

    in_storm(driver, storm)


def test_what_no_call_needs_any_more_is_never_started() -> None:
    """The first copies answer all calls while the others still wait for their turn. Nobody hears of those."""
    driver, recorder = Narrow(Behaviour(start=1.0, answer=0.01)), Recorder()

    async def storm(manager: Manager) -> None:
        assert codes(await asyncio.gather(*crowd(manager, 90))) == ["ok"] * 90
        stats = manager.stats()["default/a"]
        assert driver.launches <= 6
        assert stats.starting <= 3
        assert stats.stopped["not_needed"] == 90 - driver.launches
        assert {change.reason for change in recorder.changes} <= {"first", "all_busy", ""}

    in_storm(driver, storm, recorder)


def test_cancelled_calls_leave_the_line() -> None:
    driver = Narrow(Behaviour(start=1.0, answer=1.0))

    async def storm(manager: Manager) -> None:
        calls = crowd(manager, 50, format="fake-cold")
        await asyncio.sleep(0.5)
        for one in calls[3:]:
            one.cancel()
        await asyncio.sleep(0)
        assert codes(await asyncio.gather(*calls[:3])) == ["ok"] * 3
        assert driver.launches == 3

    in_storm(driver, storm)


def test_min_instances_stay_in_line() -> None:
    driver = Narrow(Behaviour(start=1.0, answer=0.01))

    async def storm(manager: Manager) -> None:
        manager.register(fake_spec("a", min_instances=10, max_concurrency=10))
        await asyncio.sleep(0.1)
        await manager.call("a", b"x")
        await asyncio.sleep(10.0)
        assert manager.stats()["default/a"].idle == driver.launches == 10

    in_storm(driver, storm)


def test_in_a_back_off_nothing_of_the_function_is_started() -> None:
    driver = Narrow(Behaviour(start=0.01, start_error="it is broken"))

    async def storm(manager: Manager) -> None:
        calls = crowd(manager, 30)
        await asyncio.sleep(0.04)
        assert driver.launches == 3
        for one in calls:
            one.cancel()
        await asyncio.gather(*calls, return_exceptions=True)

    in_storm(driver, storm)


@pytest.mark.parametrize("uncancellable", [False, True])
def test_starts_that_hang_give_their_places_back(uncancellable: bool) -> None:
    """Also when the driver does not mind being called back: then after a second."""
    driver = Narrow(
        lambda _dice: Behaviour(start=30.0, uncancellable=uncancellable) if driver.launches < 1 else Behaviour()
    )
    driver.max_starting = 1

    async def storm(manager: Manager) -> None:
        hung = asyncio.create_task(outcome(manager.call(fake_spec("a", start_timeout=10.0), b"x")))
        await asyncio.sleep(1.0)
        reply = await manager.call(fake_spec("b"), b"x")
        assert isinstance(reply, Reply)
        assert reply.queued == pytest.approx(10.0 if uncancellable else 9.0)
        assert codes([await hung]) == ["launch_failed"]

    in_storm(driver, storm)


def test_the_user_has_the_last_word() -> None:
    driver = Narrow(Behaviour(start=1.0, answer=50.0))

    async def storm(manager: Manager) -> None:
        await asyncio.gather(*crowd(manager, 10, timeout=100.0))
        assert driver.most_starting == 2

    in_storm(driver, storm, max_starting={"fake": 3})


@pytest.mark.parametrize("wrong", [0, -1, True, 1.5, "4"])
def test_a_number_that_is_none_is_refused(wrong: Any) -> None:
    with pytest.raises(ConfigError, match="max_starting") as caught:
        Manager(entry_points=False, max_starting={"local": wrong})
    assert caught.value.field == "max_starting"


class Broken:
    """A plugin whose driver is not there."""

    @hookimpl
    def hotfn_register_drivers(self) -> dict[str, Any]:
        raise OSError("no library")


class TestADriverThatIsNotThere:
    @pytest.mark.parametrize("kind", [Manager, blocking.Manager])
    def test_is_refused_with_the_nearest_one(self, kind: Any) -> None:
        with pytest.raises(
            ConfigError, match=r'^max_starting: there is no driver "fkae" \(did you mean "fake"'
        ) as caught:
            kind(plugins=[FakePlugin(Narrow())], entry_points=False, max_starting={"fake": 1, "fkae": 2})
        assert caught.value.field == "max_starting"

    def test_may_be_a_broken_plugin_s_which_stops_no_other(self, caplog: pytest.LogCaptureFixture) -> None:
        Manager(plugins=[FakePlugin(Narrow()), Broken()], entry_points=False, max_starting={"lost": 2})
        assert 'max_starting: there is no driver "lost"' in caplog.text
        assert "no library" in caplog.text

    def test_and_no_name_at_all(self) -> None:
        with pytest.raises(ConfigError, match='there is no driver "7"; '):
            Manager(plugins=[FakePlugin(Narrow())], entry_points=False, max_starting={7: 2})  # type: ignore[dict-item]


@pytest.mark.parametrize("end", ["drain", "aclose", "kill"])
def test_the_line_is_empty_at_the_end(end: str) -> None:
    driver = Narrow(Behaviour(start=1.0, answer=1.0))

    async def storm(manager: Manager) -> None:
        calls = crowd(manager, 30)
        await asyncio.sleep(1.5)
        if end == "drain":
            await manager.drain(serve_waiting=False)
        else:
            await manager.aclose(kill=end == "kill")
        await asyncio.gather(*calls)
        assert manager.turns("fake").waiting == manager.turns("fake").under_way == 0

    in_storm(driver, storm)


def test_a_number_alone_is_no_mapping() -> None:
    with pytest.raises(ConfigError, match=r"mapping of drivers to numbers, .*, not 4") as caught:
        Manager(max_starting=4, entry_points=False)  # type: ignore[arg-type]
    assert caught.value.field == "max_starting"
