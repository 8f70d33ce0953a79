"""A driver is opened once, whoever asks; who asks is told when it cannot be."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping

import pytest

from hotfn_core import (
    Driver,
    DriverError,
    DriverUnavailable,
    LaunchFailed,
    Manager,
    PluginError,
    hookimpl,
)
from hotfn_core.testing import FakeDriver, fake_spec

from .world import MoodyDriver, in_world, now, outcome


class TestOpening:
    def test_a_driver_is_opened_once_whoever_asks_and_however_many(self) -> None:
        async def test(manager: Manager) -> None:
            driver.takes = 1.0
            specs = [fake_spec(f"f{n}") for n in range(5)]
            await asyncio.gather(manager.open(specs[0]), *[manager.call(spec) for spec in specs])
            assert (driver.opened, now()) == (1, 1.0)

        driver = MoodyDriver()
        in_world(driver, test)

    def test_one_that_is_unavailable_is_a_failed_launch_that_says_what_to_do_and_the_next_call_tries_again(
        self,
    ) -> None:
        async def test(manager: Manager) -> None:
            driver.troubles = [DriverUnavailable("the engine is not running: start it with `engine up`")]
            with pytest.raises(LaunchFailed, match="default/f could not be started: .*engine up") as caught:
                await manager.call(fake_spec())
            assert caught.value.status == 503
            assert caught.value.function == "default/f"
            assert isinstance(caught.value.__cause__, DriverUnavailable)
            assert (await manager.call(fake_spec(), b"x")).body == b"x"
            assert driver.opened == 2

        driver = MoodyDriver()
        in_world(driver, test)

    def test_all_who_wait_for_it_are_told(self) -> None:
        async def test(manager: Manager) -> None:
            driver.takes, driver.troubles = 1.0, [DriverUnavailable("down")]
            ended = await asyncio.gather(*[outcome(manager.call(fake_spec())) for _ in range(3)])
            assert [type(one) for one in ended] == [LaunchFailed] * 3
            assert driver.opened == 1

        driver = MoodyDriver()
        in_world(driver, test)

    def test_the_one_who_gives_up_does_not_take_it_away_from_the_others(self) -> None:
        async def test(manager: Manager) -> None:
            driver.takes = 1.0
            first = asyncio.create_task(manager.call(fake_spec()))
            await asyncio.sleep(0.5)
            second = asyncio.create_task(manager.call(fake_spec(), b"x"))
            await asyncio.sleep(0.1)
            first.cancel()
            assert (await second).body == b"x"
            assert first.cancelled()
            assert driver.opened == 1

        driver = MoodyDriver()
        in_world(driver, test)

    def test_open_says_what_is_wrong_as_it_is(self) -> None:
        async def test(manager: Manager) -> None:
            driver.troubles = [DriverUnavailable("down"), OSError("odd")]
            with pytest.raises(DriverUnavailable, match="down"):
                await manager.open(fake_spec())
            with pytest.raises(DriverError, match='the driver "fake" could not be opened: OSError: odd'):
                await manager.open(fake_spec())
            manager.register(fake_spec())
            await manager.open("f")
            await manager.open("f")
            assert driver.opened == 3

        driver = MoodyDriver()
        in_world(driver, test)

    def test_a_driver_that_fails_in_its_own_way_is_a_failed_launch_too(self) -> None:
        async def test(manager: Manager) -> None:
            driver.troubles = [OSError("odd")]
            with pytest.raises(LaunchFailed, match="the driver failed: OSError: odd"):
                await manager.call(fake_spec())

        driver = MoodyDriver()
        in_world(driver, test)

    def test_a_broken_plugin_is_named(self) -> None:
        class Broken:
            @hookimpl
            def hotfn_register_drivers(self) -> Mapping[str, Callable[[], Driver]]:
                def make() -> Driver:
                    raise RuntimeError("no client library")

                return {"broken": make}

        async def test(manager: Manager) -> None:
            with pytest.raises(PluginError, match="no client library"):
                await manager.call(fake_spec(driver="broken"))

        in_world(FakeDriver(), test, Broken())
