"""A function whose copies die under their first call costs the others little: its launches are paced."""

from __future__ import annotations

import asyncio
import itertools

import pytest

from hotfn_core import CallError, Manager
from hotfn_core.testing import Behaviour, FakeDriver, fake_spec, simulate

from .world import codes, managed, now, outcome

LIFE = 0.002  # seconds in which a copy starts, and in which it dies


class Sick(FakeDriver):
    """Copies die of every call until it is cured."""

    def __init__(self, sickness: Behaviour) -> None:
        self.ill = True
        super().__init__(lambda _: sickness if self.ill else Behaviour(start=LIFE))


DEADLY = [Behaviour(start=LIFE, answer=LIFE, exit=1), Behaviour(start=LIFE, answer=LIFE, garbage=True)]


@pytest.mark.parametrize("sickness", DEADLY, ids=["exits", "babbles"])
def test_eager_callers_cause_a_start_a_second(sickness: Behaviour) -> None:
    async def caller(manager: Manager) -> None:
        while now() < 60.0:
            await outcome(manager.call(fake_spec(max_concurrency=4), b""))

    async def main() -> None:
        async with managed(Sick(sickness)) as manager:
            await asyncio.gather(*(caller(manager) for _ in range(10)))
            assert 60 <= manager.stats()["default/f"].launched < 60 + 3 * 4 + 20

    simulate(main)


def test_whoever_waits_is_served_as_soon_as_it_works_again() -> None:
    async def main() -> None:
        async with managed(driver := Sick(DEADLY[0])) as manager:
            spec = fake_spec()
            for _ in range(8):
                await outcome(manager.call(spec, b""))
            driver.ill = False
            begin = now()
            results = await asyncio.gather(*(outcome(manager.call(spec, b"")) for _ in range(50)))
            assert codes(results) == ["ok"] * 50
            assert now() - begin <= 1.0 + 3 * LIFE

    simulate(main)


def test_the_pause_is_named_to_whoever_could_not_wait() -> None:
    async def main() -> None:
        async with managed(Sick(DEADLY[0])) as manager:
            spec = fake_spec(queue_timeout=0.5)  # the eighth would have to wait for 0.8
            for _ in range(7):
                await outcome(manager.call(spec, b""))
            late = await outcome(manager.call(spec, b""))
            assert isinstance(late, CallError)
            assert late.code == "queue_timeout"
            assert "the last 7 copies ended under their first call" in str(late)

    simulate(main)


def test_draining_serves_those_who_wait_in_a_pause() -> None:
    async def main() -> None:
        async with managed(driver := Sick(DEADLY[0])) as manager:
            spec = fake_spec()
            for _ in range(8):
                await outcome(manager.call(spec, b""))
            driver.ill = False
            waiting = asyncio.ensure_future(outcome(manager.call(spec, b"")))
            await asyncio.sleep(0)
            await manager.drain()
            assert codes([await waiting]) == ["ok"]

    simulate(main)


def test_calls_that_cannot_be_said_do_not_end_the_pauses() -> None:
    """Every second one is refused by the protocol, which says nothing of the copies."""

    async def caller(manager: Manager) -> None:
        for number in itertools.count():
            if now() >= 30.0:
                return
            method = "UNSAYABLE" if number % 2 else "POST"
            await outcome(manager.call(fake_spec(max_concurrency=2), b"", method=method))

    async def main() -> None:
        async with managed(Sick(DEADLY[0])) as manager:
            await asyncio.gather(*(caller(manager) for _ in range(4)))
            assert manager.stats()["default/f"].launched < 30 + 20

    simulate(main)
