"""An idle copy lives for `idle_timeout` to the instant, and a call that comes in that instant is served."""

from __future__ import annotations

import asyncio
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hotfn_core import Call, FunctionSpec, Manager, Reply
from hotfn_core.state import SupervisorState
from hotfn_core.testing import Behaviour, FakeDriver, fake_spec, simulate

from .workload import Life, LoadDriver, random_jobs, run_jobs
from .world import make_manager, managed, nothing_left, now, simulated

SEEDS = st.integers(0, 2**32 - 1)
EXPIRIES = 10_000
SEEDS_OF_EXPIRY = 50


@st.composite
def specs(draw: st.DrawFn) -> FunctionSpec:
    cap = draw(st.integers(1, 5))
    return fake_spec(
        max_concurrency=cap,
        max_queue=1000,
        queue_timeout=1000.0,
        idle_timeout=draw(st.one_of(st.just(0.0), st.floats(0.001, 5.0))),
        freeze_after=draw(st.one_of(st.none(), st.just(0.0), st.floats(0.001, 5.0))),
        min_instances=draw(st.sampled_from([0, 0, 0, cap, 1])),
    )


def check_idle_spans(spec: FunctionSpec, lives: list[Life], end: float) -> None:
    """No copy idled longer than allowed, and none was stopped before its time had come."""
    for life in lives:
        for since, until in life.idle_spans:
            assert until - since <= spec.idle_timeout + 1e-6, life
        if life.stopped is not None and life.stopped < end:
            since, until = life.idle_spans[-1]
            assert until == life.stopped
            assert until - since == pytest.approx(spec.idle_timeout, abs=1e-6), life


@given(spec=specs(), seed=SEEDS, count=st.integers(1, 40), start=st.sampled_from([0.0, 0.4]), stop=st.floats(0, 1))
def test_no_copy_idles_longer_and_none_stops_earlier(
    spec: FunctionSpec, seed: int, count: int, start: float, stop: float
) -> None:
    jobs = random_jobs(random.Random(seed), count, span=20.0, longest=1.5)
    driver = LoadDriver(jobs, start=start, stop=stop)

    async def main() -> None:
        async with managed(driver) as manager:
            manager.register(spec)
            ended = await run_jobs(manager, spec, jobs)
            assert {one.code for one in ended.values()} == {"ok"}
            await asyncio.sleep(start + spec.idle_timeout + stop + 1e-3)  # a start may still be under way
            assert len(driver.alive) == spec.min_instances
            end = now()
            if spec.min_instances == 0:
                check_idle_spans(spec, list(driver.lives.values()), end)

    simulate(main, seed)


@given(spec=specs(), seed=SEEDS, count=st.integers(1, 40))
def test_no_more_than_min_instances_idle_longer(spec: FunctionSpec, seed: int, count: int) -> None:
    jobs = random_jobs(random.Random(seed), count, span=20.0, longest=1.5)
    driver = LoadDriver(jobs)

    async def main() -> None:
        loop = simulated()

        def watch() -> None:
            since = [now() - one.idle_since for one in driver.idle() if one.idle_since is not None]
            assert sum(span > spec.idle_timeout + 1e-6 for span in since) <= spec.min_instances

        async with managed(driver) as manager:
            loop.watch = watch
            manager.register(spec)
            await run_jobs(manager, spec, jobs)
            await asyncio.sleep(2 * spec.idle_timeout + 10.0)
            assert len(driver.alive) == spec.min_instances
            loop.watch = None

    simulate(main, seed)


def test_the_last_used_is_used_again_so_that_the_surplus_goes() -> None:
    async def main() -> None:
        driver = FakeDriver(Behaviour(answer=0.01))
        async with managed(driver) as manager:
            spec = fake_spec(max_concurrency=5, idle_timeout=10.0)
            await asyncio.gather(*[manager.call(spec) for _ in range(5)])
            assert len(driver.alive) == 5
            used = set()
            for _ in range(20):
                used.add((await manager.call(spec)).instance)
                await asyncio.sleep(0.6)
            assert len(used) == 1
            assert [copy.id for copy in driver.alive] == list(used)
            assert manager.stats()["default/f"].stopped == {"idle": 4}

    simulate(main)


def call_at(manager: Manager, spec: FunctionSpec, when: float, body: bytes) -> asyncio.Future[Reply]:
    """Hand a call to the supervisor from a timer of its own. `Manager.call` runs in a task, which would always wake one
    step of the loop after the timer of the supervisor, and so always lose the race."""
    loop = asyncio.get_running_loop()
    ended: asyncio.Future[Reply] = loop.create_future()

    def fire() -> None:
        supervisor = manager._supervisors[spec.identity]
        supervisor.submit(Call(body.decode(), body)).add_done_callback(lambda one: ended.set_result(one.result()))

    loop.call_at(when, fire)
    return ended


def expiry_run(seed: int, calls: int, idle_timeout: float) -> tuple[int, int]:
    """Make each call in the very instant in which the copy's idle time is over. Returns (served hot, served cold)."""
    driver = FakeDriver(Behaviour(answer=0.25, stop=0.125))

    async def main() -> tuple[int, int]:
        async with managed(driver) as manager:
            spec = fake_spec(idle_timeout=idle_timeout)
            await manager.call(spec)
            cold = 0
            for number in range(1, calls):
                due = now() + idle_timeout
                body = str(number).encode()
                reply = await call_at(manager, spec, due, body)
                assert reply.body == body
                assert now() - due <= 0.25 + 0.125 + 1e-6  # at worst it waits for the end of the one that goes
                cold += reply.cold
            stats = manager.stats()["default/f"]
            assert stats.calls == {"ok": calls}
            return calls - 1 - cold, cold

    return simulate(main, seed)


def test_w04_a_call_at_the_very_end_of_the_idle_time_is_served_in_time() -> None:
    calls = EXPIRIES // SEEDS_OF_EXPIRY + 1
    runs = [expiry_run(seed, calls, idle_timeout=0.5) for seed in range(SEEDS_OF_EXPIRY)]
    hot, cold = map(sum, zip(*runs, strict=True))
    assert hot + cold == EXPIRIES
    assert min(hot, cold) > EXPIRIES // 10  # both sides of the race were really run


def test_w05_crowds_at_the_very_end_of_the_idle_time_see_no_error() -> None:
    async def main() -> None:
        driver = FakeDriver(Behaviour(answer=0.25))
        async with managed(driver) as manager:
            spec = fake_spec(max_concurrency=3, idle_timeout=0.5)
            for _ in range(50):
                replies = await asyncio.gather(*[manager.call(spec, bytes([n])) for n in range(6)])
                assert [one.body for one in replies] == [bytes([n]) for n in range(6)]
                await asyncio.sleep(0.5)
            assert manager.stats()["default/f"].calls == {"ok": 300}
            assert driver.most_alive == 3

    for seed in range(20):
        simulate(main, seed)


def test_at_rest_there_is_nothing_and_after_a_while_not_even_a_timer() -> None:
    async def main() -> None:
        driver = FakeDriver(Behaviour(answer=0.01))
        async with make_manager(driver) as manager:
            await asyncio.gather(*[manager.call(fake_spec(max_concurrency=3)) for _ in range(9)])
            await asyncio.sleep(30.1)
            assert not driver.alive
            assert simulated().timers == 1  # the function is remembered for a minute
            await asyncio.sleep(61.0)
            assert manager.stats() == {}
            nothing_left(driver)

    simulate(main)


def test_w28_idle_timeout_zero_serves_every_call_and_stops_as_soon_as_nothing_waits() -> None:
    async def main() -> None:
        driver = FakeDriver(Behaviour(start=0.5, answer=1.0))
        async with managed(driver) as manager:
            spec = fake_spec(idle_timeout=0)
            replies = await asyncio.gather(*[manager.call(spec, bytes([n])) for n in range(5)])
            assert [one.body for one in replies] == [bytes([n]) for n in range(5)]
            assert driver.launches == 1  # while calls wait the copy goes on
            await asyncio.sleep(0)
            assert not driver.alive
            assert now() == pytest.approx(5.5)
            assert (await manager.call(spec)).cold_reason == "first"
        default = FunctionSpec(name="f", command=("x",))
        assert default.idle_timeout == 30.0  # and a missing value is not zero

    simulate(main)


class TestThePropertiesCanFail:
    def test_a_copy_that_is_stopped_too_early_is_found(self, monkeypatch: pytest.MonkeyPatch) -> None:
        original = SupervisorState.__init__

        def hasty(self: SupervisorState, spec: FunctionSpec, *, hot: bool = True) -> None:
            original(self, spec.replace(idle_timeout=spec.idle_timeout * 0.9), hot=hot)

        monkeypatch.setattr(SupervisorState, "__init__", hasty)
        exact = test_no_copy_idles_longer_and_none_stops_earlier.hypothesis.inner_test  # type: ignore[attr-defined]
        with pytest.raises(AssertionError):
            exact(fake_spec(idle_timeout=1.0), seed=1, count=10, start=0.0, stop=0.0)

    def test_a_copy_that_is_stopped_too_late_is_found(self, monkeypatch: pytest.MonkeyPatch) -> None:
        original = SupervisorState.__init__

        def slow(self: SupervisorState, spec: FunctionSpec, *, hot: bool = True) -> None:
            original(self, spec.replace(idle_timeout=spec.idle_timeout + 0.5), hot=hot)

        monkeypatch.setattr(SupervisorState, "__init__", slow)
        bounded = test_no_more_than_min_instances_idle_longer.hypothesis.inner_test  # type: ignore[attr-defined]
        with pytest.raises(AssertionError):
            bounded(fake_spec(idle_timeout=1.0), seed=1, count=10)
