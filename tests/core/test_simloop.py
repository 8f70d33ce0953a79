"""The simulated loop: time that jumps, order that a seed decides, and an end of everything that hangs."""

from __future__ import annotations

import asyncio
import time

import pytest

from hotfn_core.testing import Deadlock, RunawayLoop, SimulatedLoop, simulate


async def clock_after(*sleeps: float) -> float:
    for seconds in sleeps:
        await asyncio.sleep(seconds)
    return asyncio.get_running_loop().time()


@pytest.mark.parametrize("seed", [None, 0, 1])
def test_time_is_a_number_and_a_year_takes_no_time(seed: int | None) -> None:
    begun = time.monotonic()
    assert simulate(lambda: clock_after(1.5, 86400.0 * 365, 0.25), seed) == 86400.0 * 365 + 1.75
    assert time.monotonic() - begun < 5.0


async def shuffled(timers: bool) -> list[int]:
    loop = asyncio.get_running_loop()
    order: list[int] = []
    for number in range(8):
        if timers:
            loop.call_later(1.0, order.append, number)
        else:
            loop.call_soon(order.append, number)
    await asyncio.sleep(2.0)
    return order


@pytest.mark.parametrize("timers", [False, True])
def test_one_seed_is_one_order_and_many_seeds_are_many(timers: bool) -> None:
    orders = [tuple(simulate(lambda: shuffled(timers), seed)) for seed in range(50)]
    assert orders == [tuple(simulate(lambda: shuffled(timers), seed)) for seed in range(50)]
    assert len(set(orders)) > 45
    assert {tuple(sorted(order)) for order in orders} == {tuple(range(8))}


def test_without_a_seed_the_order_is_asyncios_own() -> None:
    assert simulate(lambda: shuffled(timers=False)) == list(range(8))


def test_a_timer_and_what_is_ready_at_its_time_come_in_both_orders() -> None:
    async def race() -> str:
        loop = asyncio.get_running_loop()
        order: list[str] = []

        def first() -> None:
            loop.call_soon(order.append, "soon")
            loop.call_at(loop.time(), order.append, "timer")

        loop.call_later(1.0, first)
        await asyncio.sleep(2.0)
        return " ".join(order)

    assert {simulate(race, seed) for seed in range(20)} == {"soon timer", "timer soon"}


def test_a_cancelled_timer_does_not_ring_nor_let_time_pass() -> None:
    async def main() -> tuple[float, int]:
        loop = asyncio.get_running_loop()
        assert isinstance(loop, SimulatedLoop)
        timer = loop.call_later(50.0, pytest.fail, "it rang")
        loop.call_later(1.0, timer.cancel)
        before = loop.timers
        await asyncio.sleep(2.0)
        return loop.time(), before - loop.timers

    for seed in (None, 0, 1):
        assert simulate(main, seed) == (2.0, 2)


def test_dice_come_from_the_seed() -> None:
    async def main() -> list[float]:
        loop = asyncio.get_running_loop()
        assert isinstance(loop, SimulatedLoop)
        return [loop.dice() for _ in range(3)]

    assert simulate(main, 1) == simulate(main, 1) != simulate(main, 2)
    assert all(0.0 <= one < 1.0 for one in simulate(main, 3))


@pytest.mark.parametrize("seed", [None, 0])
def test_waiting_for_what_can_never_happen_is_a_deadlock(seed: int | None) -> None:
    async def main() -> None:
        await asyncio.get_running_loop().create_future()

    with pytest.raises(Deadlock, match="nothing is ready, no timer is set") as caught:
        simulate(main, seed)
    assert caught.value.__notes__ == [f"simulated with seed {seed}, at 0.000000 s of virtual time"]


def test_spinning_without_end_is_found() -> None:
    async def main() -> None:
        while True:  # noqa: ASYNC110 - it is not meant to end
            await asyncio.sleep(0)

    with pytest.raises(RunawayLoop, match="1000 steps"):
        simulate(main, max_steps=1000)


def test_tasks_that_are_left_behind_are_named_and_ended() -> None:
    ended = []

    async def forgotten() -> None:
        try:
            await asyncio.sleep(1.0)
        finally:
            ended.append(True)

    async def main() -> None:
        asyncio.create_task(forgotten(), name="forgotten").add_done_callback(lambda _: None)
        await asyncio.sleep(0)

    with pytest.raises(AssertionError, match="tasks are left behind: .*forgotten"):
        simulate(main)
    assert ended == [True]


def test_an_error_in_a_callback_is_raised_in_the_end() -> None:
    async def main() -> None:
        asyncio.get_running_loop().call_soon(lambda: 1 // 0)
        await asyncio.sleep(1.0)

    with pytest.raises(ZeroDivisionError):
        simulate(main)


def test_so_is_one_of_a_task_that_nobody_asked() -> None:
    async def fail() -> None:
        raise ZeroDivisionError

    async def main() -> None:
        asyncio.create_task(fail())  # noqa: RUF006 - to be lost is what it is for
        await asyncio.sleep(1.0)

    with pytest.raises(ZeroDivisionError):
        simulate(main)


def test_a_watch_looks_after_every_step() -> None:
    seen: list[float] = []

    async def main() -> float:
        loop = asyncio.get_running_loop()
        assert isinstance(loop, SimulatedLoop)
        loop.watch = lambda: seen.append(loop.time())
        return await clock_after(1.0, 1.0)

    simulate(main, 1)
    assert {0.0, 1.0} <= set(seen)

    def fail() -> None:
        raise AssertionError("seen")

    with pytest.raises(AssertionError, match="seen"):
        simulate(lambda: clock_after(1.0), watch=fail)


def test_there_is_no_io() -> None:
    async def main() -> None:
        with pytest.raises(NotImplementedError):
            asyncio.get_running_loop().add_reader(0, print)

    simulate(main)
