"""What a function needs is made ready once before its first copy, whoever asks, outside of every start_timeout."""

from __future__ import annotations

import asyncio

import pytest

from hotfn_core import DriverError, LaunchFailed, Manager, QueueTimeout, ShuttingDown
from hotfn_core.driver import ContainerSpec
from hotfn_core.testing import FakeDriver, fake_spec, simulate

from .world import codes, in_world, managed, now, outcome


class PreparingDriver(FakeDriver):
    """Takes its time to make a function ready, and fails for each of its `troubles`."""

    def __init__(self) -> None:
        super().__init__()
        self.prepared: list[ContainerSpec] = []
        self.troubles: list[Exception] = []
        self.takes = 100.0  # longer than any start_timeout
        self.under_way = 0

    async def prepare(self, spec: ContainerSpec) -> None:
        self.prepared.append(spec)
        self.under_way += 1
        try:
            await asyncio.sleep(self.takes)
            if self.troubles:
                raise self.troubles.pop(0)
        finally:
            self.under_way -= 1


def test_it_is_done_once_for_all_who_call_and_no_time_limit_of_a_call_counts_meanwhile() -> None:
    async def test(manager: Manager) -> None:
        spec = fake_spec(env={"A": "b"}, start_timeout=1.0, queue_timeout=1.0, timeout=1.0, max_concurrency=5)
        replies = await asyncio.gather(*[manager.call(spec, b"x") for _ in range(5)])
        assert [reply.body for reply in replies] == [b"x"] * 5
        assert len(driver.prepared) == 1
        assert now() == pytest.approx(100.0, abs=1.0)
        described = driver.prepared[0]
        assert (described.function, described.instance, described.identity) == ("default/f", "", spec.identity)
        assert described.env["A"] == "b"
        assert described.env["FN_PATH"] == "/f"
        await manager.call(spec)
        assert len(driver.prepared) == 1

    driver = PreparingDriver()
    in_world(driver, test)


def test_all_who_wait_are_told_of_a_failure_and_the_next_call_tries_again() -> None:
    async def test(manager: Manager) -> None:
        driver.troubles = [DriverError("no such image", status=404)]
        ended = await asyncio.gather(*[outcome(manager.call(fake_spec())) for _ in range(3)])
        assert codes(ended) == ["launch_failed"] * 3
        assert isinstance(ended[0], LaunchFailed)
        assert ended[0].status == 404
        assert "no such image" in ended[0].message
        assert len(driver.prepared) == 1
        assert (await manager.call(fake_spec(), b"x")).body == b"x"
        assert len(driver.prepared) == 2

    driver = PreparingDriver()
    in_world(driver, test)


def test_open_and_min_instances_make_ready_as_well() -> None:
    async def test(manager: Manager) -> None:
        await manager.open(fake_spec("a"))
        assert now() == 100.0
        manager.register(fake_spec("b", min_instances=1))
        await asyncio.sleep(102)
        assert manager.stats()["default/b"].idle == 1
        driver.troubles = [DriverError("broken")]
        with pytest.raises(DriverError, match="broken"):
            await manager.open(fake_spec("c"))

    driver = PreparingDriver()
    in_world(driver, test)


def test_a_call_is_told_when_its_own_deadline_passes_and_the_others_wait_on() -> None:
    async def test(manager: Manager) -> None:
        patient = asyncio.ensure_future(manager.call(fake_spec(), b"x"))
        with pytest.raises(QueueTimeout, match="made ready") as caught:
            await manager.call(fake_spec(), deadline=now() + 10)
        assert now() == 10.0
        assert caught.value.function == "default/f"
        assert (await patient).body == b"x"
        assert len(driver.prepared) == 1

    driver = PreparingDriver()
    in_world(driver, test)


def test_who_gives_up_waiting_leaves_it_to_the_others_and_to_whoever_comes_next() -> None:
    async def test(manager: Manager) -> None:
        hasty = asyncio.ensure_future(manager.call(fake_spec()))
        await asyncio.sleep(60)
        hasty.cancel()
        await asyncio.wait([hasty])
        assert hasty.cancelled()
        assert (await manager.call(fake_spec(), b"x")).body == b"x"
        assert now() == pytest.approx(100.0, abs=1.0)

    driver = PreparingDriver()
    in_world(driver, test)


def test_closing_ends_it_and_tells_who_waits() -> None:
    async def main() -> None:
        async with managed(driver) as manager:
            waiting = asyncio.ensure_future(manager.call(fake_spec()))
            await asyncio.sleep(1)
            assert driver.under_way == 1
        with pytest.raises(ShuttingDown):
            await waiting
        assert driver.under_way == 0
        assert now() == 1.0

    driver = PreparingDriver()
    simulate(main)


def test_functions_are_made_ready_side_by_side() -> None:
    async def test(manager: Manager) -> None:
        await asyncio.gather(*[manager.open(fake_spec(f"f{number}")) for number in range(10)])
        assert now() == 100.0
        assert len(driver.prepared) == 10

    driver = PreparingDriver()
    in_world(driver, test)


def test_it_is_done_again_when_the_function_was_forgotten_meanwhile() -> None:
    async def test(manager: Manager) -> None:
        await manager.call(fake_spec(idle_timeout=0))
        await asyncio.sleep(61)  # without copies and calls the function is dropped
        assert manager.stats() == {}
        await manager.call(fake_spec(idle_timeout=0))
        assert len(driver.prepared) == 2

    driver = PreparingDriver()
    in_world(driver, test)


def test_functions_that_are_opened_and_never_called_do_not_pile_up(monkeypatch: pytest.MonkeyPatch) -> None:
    async def test(manager: Manager) -> None:
        for name in "abc":
            await manager.open(fake_spec(name))
        await manager.open(fake_spec("c"))
        assert len(driver.prepared) == 3
        await manager.open(fake_spec("a"))
        assert len(driver.prepared) == 4

    monkeypatch.setattr("hotfn_core.preparing.MOST_READY", 2)
    driver = PreparingDriver()
    driver.takes = 0.0
    in_world(driver, test)
