"""One timer for all: `Timekeeper` rings each sleeper at its time, and never leaves a timer behind."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hotfn_core.deadlines import NEVER
from hotfn_core.testing import SimulatedLoop, simulate
from hotfn_core.timekeeper import AT_ONCE, Timekeeper


class Sleeper:
    """Notes when it is rung, and does what it was told to do then."""

    def __init__(self, then: Callable[[], None] = lambda: None) -> None:
        self.due = self.armed = NEVER
        self.entry = 0
        self.rung: list[float] = []
        self.then = then

    def ring(self) -> None:
        self.rung.append(asyncio.get_running_loop().time())
        self.then()


def fail() -> None:
    raise ZeroDivisionError


def make() -> Timekeeper:
    loop = asyncio.get_running_loop()
    return Timekeeper(loop, loop.time)


def timers() -> int:
    loop = asyncio.get_running_loop()
    assert isinstance(loop, SimulatedLoop)
    return loop.timers


@given(times=st.lists(st.sampled_from([0.0, 0.5, 1.0, 1.25, 7.0]), max_size=200))
def test_everybody_is_rung_once_at_the_time_that_was_asked_for(times: list[float]) -> None:
    async def main() -> None:
        keeper, sleepers = make(), [Sleeper() for _ in times]
        for sleeper, when in zip(sleepers, times, strict=True):
            keeper.wake(sleeper, when)
        assert timers() == bool(times)
        await asyncio.sleep(10)
        assert [one.rung for one in sleepers] == [[when] for when in times]
        assert timers() == 0

    simulate(main)


@pytest.mark.parametrize("later", [0.5, 2.0, NEVER])
def test_the_last_word_counts(later: float) -> None:
    async def main() -> None:
        keeper, sleeper = make(), Sleeper()
        keeper.wake(sleeper, 1.0)
        keeper.wake(sleeper, later)
        await asyncio.sleep(10)
        assert sleeper.rung == ([] if later == NEVER else [later])

    simulate(main)


def test_who_is_forgotten_is_not_rung() -> None:
    async def main() -> None:
        keeper, gone, stays = make(), Sleeper(), Sleeper()
        keeper.wake(gone, 1.0)
        keeper.wake(stays, 2.0)
        keeper.forget(gone)
        await asyncio.sleep(10)
        assert (gone.rung, stays.rung) == ([], [2.0])

    simulate(main)


def test_one_may_ask_again_while_it_is_rung() -> None:
    async def main() -> None:
        keeper = make()
        sleeper = Sleeper(lambda: keeper.wake(sleeper, asyncio.get_running_loop().time() + 1.0))
        keeper.wake(sleeper, 1.0)
        await asyncio.sleep(3.5)
        assert sleeper.rung == [1.0, 2.0, 3.0]
        keeper.close()

    simulate(main)


def test_one_that_fails_keeps_nobody_else_from_being_rung() -> None:
    async def main() -> None:
        told: list[BaseException] = []
        asyncio.get_running_loop().set_exception_handler(lambda _, context: told.append(context["exception"]))
        keeper, bad, good, late = make(), Sleeper(fail), Sleeper(), Sleeper()
        for sleeper, when in ((bad, 1.0), (good, 1.0), (late, 2.0)):
            keeper.wake(sleeper, when)
        await asyncio.sleep(5)
        assert (good.rung, late.rung) == ([1.0], [2.0])
        assert [type(one) for one in told] == [ZeroDivisionError]

    simulate(main)


def test_many_that_are_due_together_leave_room_for_others() -> None:
    async def main() -> None:
        loop, keeper, between = asyncio.get_running_loop(), make(), 0

        def other() -> None:
            nonlocal between
            between += sum(bool(one.rung) for one in sleepers) < len(sleepers)
            if not all(one.rung for one in sleepers):
                loop.call_soon(other)

        sleepers = [Sleeper() for _ in range(10 * AT_ONCE)]
        for sleeper in sleepers:
            keeper.wake(sleeper, 1.0)
        loop.call_at(1.0, other)
        await asyncio.sleep(5)
        assert all(one.rung == [1.0] for one in sleepers)
        assert between >= 5

    simulate(main)


def test_closed_it_rings_nobody_and_takes_nobody() -> None:
    async def main() -> None:
        keeper, before, behind = make(), Sleeper(), Sleeper()
        keeper.wake(before, 1.0)
        keeper.close()
        keeper.close()
        keeper.wake(behind, 1.0)
        assert timers() == 0
        await asyncio.sleep(10)
        assert not before.rung
        assert not behind.rung

    simulate(main)
