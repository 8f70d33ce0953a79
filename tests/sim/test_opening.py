"""A driver is opened once, whoever asks, and swept once behind that; who asks is told when it cannot be."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping

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
from hotfn_core.testing import FakeDriver, fake_spec, simulate

from .world import MoodyDriver, in_world, managed, now, outcome, simulated


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


class SweptDriver(MoodyDriver):
    """Notes what becomes of its sweeps, each of which takes `sweeping` seconds and finds `found`."""

    def __init__(self) -> None:
        super().__init__()
        self.sweeping = 0.0
        self.found: int | Exception = 0
        self.stubborn = False
        self.sweeps: list[str] = []

    async def sweep(self) -> int:
        self.sweeps.append("began")
        try:
            await asyncio.sleep(self.sweeping)
        except asyncio.CancelledError:
            self.sweeps.append("cancelled")
            if self.stubborn:
                await asyncio.sleep(10)
            raise
        self.sweeps.append("ended")
        if isinstance(self.found, Exception):
            raise self.found
        return self.found

    async def aclose(self) -> None:
        await super().aclose()
        self.sweeps.append("closed")


def swept(test: Callable[[Manager, SweptDriver], Awaitable[None]]) -> list[str]:
    """Run `test(manager, driver)` in virtual time, close the manager, and return what became of the sweeps."""
    driver = SweptDriver()

    async def main(manager: Manager) -> None:
        await test(manager, driver)

    in_world(driver, main)
    return driver.sweeps


class TestSweeping:
    def test_a_driver_is_swept_once_and_no_call_waits_for_it(self) -> None:
        async def test(manager: Manager, driver: SweptDriver) -> None:
            driver.sweeping = 100.0
            for spec in (fake_spec(), fake_spec("g"), fake_spec()):
                assert (await manager.call(spec, b"x")).body == b"x"
            assert (now(), driver.sweeps) == (0.0, ["began"])
            await asyncio.sleep(101)
            await manager.call(fake_spec("h"))
            assert driver.sweeps == ["began", "ended"]

        assert swept(test) == ["began", "ended", "closed"]

    @pytest.mark.parametrize("way", ["open", "call", "min_instances"])
    def test_every_way_to_a_driver(self, way: str) -> None:
        async def test(manager: Manager, driver: SweptDriver) -> None:
            if way == "open":
                await manager.open(fake_spec())
            elif way == "call":
                await manager.call(fake_spec())
            else:
                manager.register(fake_spec(min_instances=1))
            await asyncio.sleep(1)

        assert swept(test) == ["began", "ended", "closed"]

    def test_a_driver_that_nobody_uses_is_not_swept(self) -> None:
        async def test(manager: Manager, driver: SweptDriver) -> None:
            manager.register(fake_spec())
            await asyncio.sleep(1)

        assert swept(test) == []

    def test_one_that_could_not_be_opened_is_swept_when_it_could(self) -> None:
        async def test(manager: Manager, driver: SweptDriver) -> None:
            driver.troubles = [DriverUnavailable("down"), OSError("odd")]
            for _ in range(2):
                assert isinstance(await outcome(manager.call(fake_spec())), LaunchFailed)
                await asyncio.sleep(1)
            assert driver.sweeps == []
            await manager.call(fake_spec())
            await asyncio.sleep(1)

        assert swept(test) == ["began", "ended", "closed"]

    def test_closing_does_not_wait_for_it(self) -> None:
        async def test(manager: Manager, driver: SweptDriver) -> None:
            driver.sweeping = 100.0
            await manager.call(fake_spec())
            await asyncio.sleep(1)
            await manager.aclose()
            assert now() == 1.0

        assert swept(test) == ["began", "cancelled", "closed"]

    def test_closing_waits_until_it_has_let_go(self) -> None:
        async def test(manager: Manager, driver: SweptDriver) -> None:
            driver.sweeping, driver.stubborn = 100.0, True
            await manager.call(fake_spec())
            await asyncio.sleep(1)
            await manager.aclose()
            assert (now(), driver.sweeps[-1]) == (11.0, "closed")

        assert swept(test) == ["began", "cancelled", "closed"]

    @pytest.mark.parametrize("seed", range(40))
    def test_closing_at_any_moment_of_the_opening(self, seed: int) -> None:
        driver = SweptDriver()

        async def main() -> None:
            async with managed(driver) as manager:
                driver.sweeping = 1.0
                opening = asyncio.create_task(manager.open(fake_spec()))
                for _ in range(seed % 8):
                    await asyncio.sleep(0)
                await manager.aclose()
                await asyncio.gather(opening, return_exceptions=True)
                await asyncio.sleep(2)
                assert driver.sweeps in ([], ["closed"], ["began", "cancelled", "closed"])
                assert simulated().timers == 0

        simulate(main, seed)

    def test_what_it_removed_is_logged(self, caplog: pytest.LogCaptureFixture) -> None:
        async def test(manager: Manager, driver: SweptDriver) -> None:
            driver.found = 3
            await manager.call(fake_spec())
            await asyncio.sleep(1)

        with caplog.at_level(logging.INFO, "hotfn"):
            swept(test)
        assert [(one.levelname, one.message) for one in caplog.records] == [
            ("INFO", 'the driver "fake" removed what a hotfn that is dead had left behind: 3')
        ]

    @pytest.mark.parametrize(
        ("error", "said"), [(DriverError("the engine is gone"), "the engine is gone"), (OSError("odd"), "OSError: odd")]
    )
    def test_one_that_fails_is_a_warning_and_harms_nobody(
        self, caplog: pytest.LogCaptureFixture, error: Exception, said: str
    ) -> None:
        async def test(manager: Manager, driver: SweptDriver) -> None:
            driver.found = error
            await manager.call(fake_spec())
            await asyncio.sleep(1)
            assert (await manager.call(fake_spec(), b"x")).body == b"x"

        assert swept(test) == ["began", "ended", "closed"]
        [record] = caplog.records
        assert (record.levelname, record.name) == ("WARNING", "hotfn")
        assert f'the driver "fake" could not remove what a hotfn that is dead has left behind: {said}' in record.message
        assert "`hotfn gc --driver fake`" in record.message
