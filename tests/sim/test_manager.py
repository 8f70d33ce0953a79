"""The manager as its callers see it: functions and their names, versions, copies kept hot."""

from __future__ import annotations

import asyncio

import pytest

from hotfn_core import (
    ConfigError,
    DriverUnavailable,
    Exit,
    FunctionSpec,
    Manager,
    UnknownFunction,
)
from hotfn_core.testing import Behaviour, FakeDriver, fake_spec

from .world import MoodyDriver, in_world, now


class TestNames:
    def test_a_registered_function_is_called_by_app_and_name_or_by_its_name_in_the_default_app(self) -> None:
        async def test(manager: Manager) -> None:
            manager.register(fake_spec("f"))
            manager.register(fake_spec("g", app="shop"))
            assert (await manager.call("f", b"1")).body == b"1"
            assert (await manager.call("default/f", b"2")).body == b"2"
            assert (await manager.call("shop/g", b"3")).body == b"3"
            assert set(manager.stats()) == {"default/f", "shop/g"}
            assert driver.launches == 2

        driver = FakeDriver()
        in_world(driver, test)

    def test_an_unknown_name_is_refused_with_the_nearest_one(self) -> None:
        async def test(manager: Manager) -> None:
            manager.register(fake_spec("thumbnails"))
            with pytest.raises(
                UnknownFunction, match='no function "default/thumbnail".*"default/thumbnails"'
            ) as caught:
                await manager.call("thumbnail")
            assert (caught.value.status, caught.value.function) == (404, "default/thumbnail")

        in_world(FakeDriver(), test)

    def test_what_is_neither_a_name_nor_a_spec_is_a_type_error(self) -> None:
        async def test(manager: Manager) -> None:
            with pytest.raises(TypeError, match="a function is a FunctionSpec or a name, not 7"):
                await manager.call(7)  # type: ignore[arg-type]

        in_world(FakeDriver(), test)

    def test_equal_specs_are_one_function_and_any_difference_is_another(self) -> None:
        async def test(manager: Manager) -> None:
            first = await manager.call(fake_spec(env={"A": "1", "B": "2"}))
            same = await manager.call(fake_spec(env={"B": "2", "A": "1"}))
            other = await manager.call(fake_spec(env={"A": "1", "B": "3"}))
            assert first.instance == same.instance != other.instance
            assert (first.cold, same.cold, other.cold) == (True, False, True)

        in_world(FakeDriver(), test)


class TestVersions:
    def test_the_old_version_serves_what_it_has_and_goes(self) -> None:
        async def test(manager: Manager) -> None:
            old, new = fake_spec(env={"V": "1"}), fake_spec(env={"V": "2"})
            manager.register(old)
            calls = [asyncio.create_task(manager.call("f")) for _ in range(3)]
            await asyncio.sleep(0.5)
            manager.register(new)
            later = await manager.call("f")
            assert now() == pytest.approx(1.5)  # not behind the three of the old version
            served = [(await call).instance[:12] for call in calls]
            assert served == [old.identity[:12]] * 3
            assert later.instance.startswith(new.identity[:12])
            await asyncio.sleep(0.1)
            assert [copy.spec.env["V"] for copy in driver.alive] == ["2"]
            assert manager.stats()["default/f"].calls == {"ok": 4}
            assert manager.stats()["default/f"].stopped == {"drained": 1}

        driver = FakeDriver(Behaviour(answer=1.0))
        in_world(driver, test)

    def test_the_same_version_again_changes_nothing(self) -> None:
        async def test(manager: Manager) -> None:
            manager.register(fake_spec())
            first = await manager.call("f")
            manager.register(fake_spec())
            assert (await manager.call("f")).instance == first.instance

        in_world(FakeDriver(), test)

    def test_an_old_version_that_comes_back_while_it_still_runs_has_copies_of_other_names(self) -> None:
        async def test(manager: Manager) -> None:
            one, two = fake_spec(env={"V": "1"}), fake_spec(env={"V": "2"})
            manager.register(one)
            running = asyncio.create_task(manager.call("f"))
            await asyncio.sleep(0.1)
            manager.register(two)
            manager.register(one)
            again = await manager.call("f")
            first = await running
            assert first.instance[:12] == again.instance[:12]
            assert first.instance != again.instance

        in_world(FakeDriver(Behaviour(answer=1.0)), test)

    def test_a_version_that_is_refused_leaves_the_old_one_in_its_place(self) -> None:
        async def test(manager: Manager) -> None:
            manager.register(fake_spec())
            with pytest.raises(ConfigError, match="none-such"):
                manager.register(fake_spec(driver="none-such"))
            assert (await manager.call("f", b"x")).body == b"x"

        in_world(FakeDriver(), test)


class TestMinInstances:
    def test_they_are_started_by_registering_and_kept_hot(self) -> None:
        async def test(manager: Manager) -> None:
            manager.register(fake_spec(max_concurrency=3, min_instances=2, idle_timeout=1.0))
            await asyncio.sleep(100.0)
            assert len(driver.alive) == 2
            reply = await manager.call("f")
            assert (reply.cold, now()) == (False, 100.0)
            for copy in list(driver.alive):
                copy.die(Exit(code=1))
            await asyncio.sleep(1.0)
            assert len(driver.alive) == 2

        driver = FakeDriver(Behaviour(start=0.1))
        in_world(driver, test)

    def test_a_cold_protocol_cannot_have_them(self) -> None:
        async def test(manager: Manager) -> None:
            with pytest.raises(ConfigError, match='"fake-cold" is cold') as caught:
                manager.register(fake_spec(format="fake-cold", min_instances=1))
            assert caught.value.field == "min_instances"

        in_world(FakeDriver(), test)

    def test_a_driver_that_is_down_is_met_again_by_the_next_call(self) -> None:
        async def test(manager: Manager) -> None:
            driver.troubles = [DriverUnavailable("start the engine")]
            manager.register(fake_spec(min_instances=1))
            await asyncio.sleep(1.0)
            assert not driver.alive
            assert (await manager.call("f")).status == 200
            assert len(driver.alive) == 1

        driver = MoodyDriver()
        in_world(driver, test)

    def test_a_version_replaced_before_its_driver_is_open_is_not_kept_hot(self) -> None:
        async def test(manager: Manager) -> None:
            driver.takes = 1.0
            manager.register(fake_spec(min_instances=1, env={"V": "1"}))
            manager.register(fake_spec(min_instances=1, env={"V": "2"}))
            await asyncio.sleep(10.0)
            assert [copy.spec.env["V"] for copy in driver.alive] == ["2"]
            assert driver.launches == 1

        driver = MoodyDriver()
        in_world(driver, test)


class TestLimits:
    def test_a_limit_that_the_driver_does_not_enforce_is_refused_unless_best_effort(self) -> None:
        class Weak(FakeDriver):
            enforces = frozenset({"memory"})

        async def test(manager: Manager) -> None:
            await manager.call(fake_spec(memory=64))
            with pytest.raises(ConfigError, match='the driver "fake" does not enforce cpus.*best_effort') as caught:
                await manager.call(fake_spec(memory=64, cpus=0.5))
            assert caught.value.field == "cpus"
            assert (await manager.call(fake_spec(cpus=0.5, best_effort=True))).status == 200
            assert driver.launched[-1].cpus == 0.5
            assert driver.launched[-1].best_effort is True

        driver = Weak()
        in_world(driver, test)

    def test_what_the_driver_says_of_a_function_counts(self) -> None:
        class Picky(FakeDriver):
            def validate(self, spec: FunctionSpec) -> None:
                if spec.driver_options:
                    raise ConfigError('the driver "fake" has no option "colour"', field="driver_options")

        async def test(manager: Manager) -> None:
            with pytest.raises(ConfigError, match="colour"):
                manager.register(fake_spec(driver_options={"colour": "red"}))
            with pytest.raises(ConfigError, match="colour"):
                await manager.call(fake_spec(driver_options={"colour": "red"}))

        in_world(Picky(), test)
