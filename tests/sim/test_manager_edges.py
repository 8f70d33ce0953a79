"""What few callers do: wrong types, opening and closing at odd moments, an id that is used again at once."""

from __future__ import annotations

import asyncio
from http import HTTPMethod
from typing import Any

import pytest

from hotfn_core import CallReport, FunctionSpec, Manager, PluginError, ShuttingDown, hookimpl
from hotfn_core.testing import Behaviour, FakeDriver, fake_spec, simulate

from .world import in_world, make_manager, managed, now


class TestTexts:
    @pytest.mark.parametrize("argument", ["method", "url", "content_type"])
    @pytest.mark.parametrize("value", [None, 5, b"GET"])
    def test_a_wrong_type_is_a_type_error_and_costs_no_copy(self, argument: str, value: object) -> None:
        async def test(manager: Manager) -> None:
            first = await manager.call(fake_spec(), b"x")
            with pytest.raises(TypeError, match=f"{argument} is a string, not {value!r}"):
                await manager.call(fake_spec(), b"x", **{argument: value})  # type: ignore[arg-type]
            assert (await manager.call(fake_spec(), b"x")).instance == first.instance

        in_world(FakeDriver(), test)

    def test_a_subclass_of_str_will_do(self) -> None:
        async def test(manager: Manager) -> None:
            assert (await manager.call(fake_spec(), b"x", method=HTTPMethod.PUT)).body == b"x"

        in_world(FakeDriver(), test)


def test_a_driver_that_fails_at_validating_is_named() -> None:
    class Odd(FakeDriver):
        def validate(self, spec: FunctionSpec) -> None:
            raise ZeroDivisionError("odd")

    async def test(manager: Manager) -> None:
        for use in (manager.call(fake_spec()), manager.open(fake_spec())):
            with pytest.raises(
                PluginError, match=r'f: the driver "fake" failed in validate\(\): ZeroDivisionError: odd'
            ):
                await use

    in_world(Odd(), test)


class TestOpeningLate:
    def test_a_closed_manager_opens_no_driver(self) -> None:
        async def main() -> None:
            driver = FakeDriver()
            async with managed(driver) as manager:
                pass
            with pytest.raises(ShuttingDown):
                await manager.open(fake_spec())
            manager.register(fake_spec(min_instances=1))
            await asyncio.sleep(1.0)
            assert driver.opened == 0

        simulate(main)

    def test_who_waits_for_a_driver_while_the_manager_closes_is_told(self, caplog: pytest.LogCaptureFixture) -> None:
        class Slow(FakeDriver):
            async def open(self) -> None:
                await asyncio.sleep(1000.0)

        async def main() -> None:
            async with managed(Slow()) as manager:
                manager.register(fake_spec("hot", min_instances=1))
                opening = asyncio.create_task(manager.open(fake_spec()))
                await asyncio.sleep(1.0)
            with pytest.raises(ShuttingDown):
                await opening

        simulate(main)
        assert not caplog.records  # it is no failure


def test_the_second_to_close_waits_for_the_first() -> None:
    class Slow(FakeDriver):
        async def aclose(self) -> None:
            await asyncio.sleep(5.0)
            await super().aclose()

    async def main() -> None:
        driver = Slow()
        async with managed(driver) as manager:
            await manager.call(fake_spec())
            first = asyncio.create_task(manager.aclose())
            await asyncio.sleep(1.0)
        assert (now(), driver.closed) == (5.0, True)
        await first

    simulate(main)


@pytest.mark.parametrize("seed", range(20))
def test_a_call_whose_caller_leaves_at_its_end_takes_no_namesake_along(seed: int) -> None:
    """The id is free as soon as the reply is there, a turn of the loop before its caller wakes."""
    manager: Manager
    first: asyncio.Task[Any]

    class Hasty:
        """Cancels the first call in the moment of its reply, and makes another one with its id."""

        second: asyncio.Task[Any] | None = None

        @hookimpl
        def hotfn_call_finished(self, report: CallReport) -> None:
            if self.second is None:
                self.second = asyncio.create_task(manager.call(fake_spec(), b"second", call_id="x"))
                first.cancel()

    async def main() -> None:
        nonlocal manager, first
        hasty = Hasty()
        async with make_manager(FakeDriver(Behaviour(answer=1.0)), hasty) as manager:
            first = asyncio.create_task(manager.call(fake_spec(), b"first", call_id="x"))
            with pytest.raises(asyncio.CancelledError):
                await first
            assert hasty.second is not None
            assert (await hasty.second).body == b"second"

    simulate(main, seed)
