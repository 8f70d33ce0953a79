"""The bound holds, saturation is exact, and nobody waits while a copy is free: on the real manager, in virtual time."""

from __future__ import annotations

import asyncio
import random
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from hotfn_core import FunctionSpec, Manager, Saturated
from hotfn_core.supervisor import Supervisor
from hotfn_core.testing import Behaviour, FakeDriver, fake_spec, simulate

from .workload import Job, LoadDriver, forecast, random_jobs, run_jobs
from .world import codes, managed, now, outcome

FORMATS = st.sampled_from(["fake", "fake-cold"])
SEEDS = st.integers(0, 2**32 - 1)


@st.composite
def specs(draw: st.DrawFn) -> FunctionSpec:
    return fake_spec(
        format=draw(FORMATS),
        max_concurrency=draw(st.integers(1, 6)),
        max_queue=draw(st.integers(0, 8)),
        queue_timeout=draw(st.sampled_from([0.5, 3.0, 1000.0])),
        timeout=draw(st.sampled_from([0.8, 1000.0])),
        idle_timeout=draw(st.sampled_from([0.0, 0.1, 1.0, 1000.0])),
    )


@st.composite
def hot_specs(draw: st.DrawFn) -> FunctionSpec:
    spec = draw(specs())
    return spec.replace(format="fake", min_instances=draw(st.integers(0, spec.max_concurrency)))


class Watch:
    """Looks at driver and manager after every step of the loop."""

    def __init__(self, spec: FunctionSpec, driver: FakeDriver) -> None:
        self.spec = spec
        self.driver = driver
        self.manager: Manager | None = None
        self.steps = 0
        self.most = 0

    def __call__(self) -> None:
        self.steps += 1
        there = self.driver.starting + len(self.driver.alive)
        self.most = max(self.most, there)
        assert there <= self.spec.max_concurrency, f"{there} copies at {self.driver.events[-1]}"
        if isinstance(self.driver, LoadDriver) and self.manager is not None and self.spec.format == "fake":
            waiting = sum(stats.waiting for stats in self.manager.stats().values())
            assert not (waiting and self.driver.idle()), f"{waiting} calls wait for {self.driver.idle()}"


@given(
    hot=st.booleans(),
    cap=st.integers(1, 8),
    room=st.integers(0, 10),
    burst=st.integers(1, 40),
    warm=st.integers(0, 8),
    start=st.sampled_from([0.0, 0.3]),
    idle_timeout=st.sampled_from([0.0, 5.0]),
    seed=SEEDS,
)
@example(hot=True, cap=1, room=0, burst=2, warm=0, start=0.0, idle_timeout=0.0, seed=0)
def test_of_a_burst_exactly_cap_and_queue_are_served_and_the_rest_is_told_at_once(
    hot: bool, cap: int, room: int, burst: int, warm: int, start: float, idle_timeout: float, seed: int
) -> None:
    spec = fake_spec(
        format="fake" if hot else "fake-cold", max_concurrency=cap, max_queue=room, idle_timeout=idle_timeout
    )
    driver = FakeDriver(Behaviour(start=start, answer=0.5))
    watch = Watch(spec, driver)

    async def main() -> None:
        async with managed(driver) as manager:
            await asyncio.gather(*[manager.call(spec) for _ in range(min(warm, cap))])
            begun = now()

            async def timed() -> tuple[str, float]:
                (code,) = codes([await outcome(manager.call(spec, b"x"))])
                return code, now() - begun

            ended = await asyncio.gather(*[timed() for _ in range(burst)])
            served = [when for code, when in ended if code == "ok"]
            assert len(served) == min(burst, cap + room)
            assert [one for one in ended if one[0] != "ok"] == [("saturated", 0.0)] * max(burst - cap - room, 0)
            assert watch.most <= cap
            assert sum(manager.stats()["default/f"].calls.values()) == burst + min(warm, cap)

    simulate(main, seed, watch=watch)


@given(spec=specs(), seed=SEEDS, count=st.integers(1, 60), crowd=st.sampled_from([0.5, 5.0, 30.0]))
def test_every_call_fares_as_the_textbook_queue_foretells(
    spec: FunctionSpec, seed: int, count: int, crowd: float
) -> None:
    jobs = random_jobs(random.Random(seed), count, span=crowd, longest=1.0)
    driver = LoadDriver(jobs)
    watch = Watch(spec, driver)
    expected = forecast(spec, jobs)

    async def main() -> None:
        async with managed(driver) as watch.manager:
            ended = await run_jobs(watch.manager, spec, jobs)
        assert {name: one.code for name, one in ended.items()} == {name: one.code for name, one in expected.items()}
        for name, one in ended.items():
            assert one.at == pytest.approx(expected[name].ends, abs=1e-6), name
        begun = [(name, one.begins) for name, one in expected.items() if one.begins is not None]
        assert [name for name, _ in driver.begun] == [name for name, _ in sorted(begun, key=lambda one: one[1])]
        assert dict(driver.begun) == pytest.approx(dict(begun), abs=1e-6)

    simulate(main, seed, watch=watch)


@given(
    spec=hot_specs(),
    seed=SEEDS,
    count=st.integers(1, 50),
    start=st.floats(0.01, 2.0),
    stop=st.floats(0.0, 2.0),
)
def test_with_slow_starts_and_stops_nobody_waits_for_nothing(
    spec: FunctionSpec, seed: int, count: int, start: float, stop: float
) -> None:
    jobs = random_jobs(random.Random(seed), count, span=10.0, longest=1.0)
    driver = LoadDriver(jobs, start=start, stop=stop)
    watch = Watch(spec, driver)

    async def main() -> None:
        async with managed(driver) as watch.manager:
            ended = await run_jobs(watch.manager, spec, jobs)
            assert watch.manager.stats()["default/f"].waiting == 0
        assert set(ended) == {job.id for job in jobs}
        # served in order of arrival
        order = [name for name, _ in driver.begun]
        assert order == sorted(order, key=lambda name: int(name[1:]))
        for job in jobs:  # nobody waits longer than allowed, nor runs longer
            assert ended[job.id].at - job.arrives <= spec.queue_timeout + spec.timeout + 1e-6

    simulate(main, seed, watch=watch)
    assert watch.steps > count


@given(seed=SEEDS, cap=st.integers(1, 4), count=st.integers(1, 20), start=st.floats(0.0, 1.0))
def test_cold_copies_are_started_in_the_order_of_the_calls(seed: int, cap: int, count: int, start: float) -> None:
    spec = fake_spec(format="fake-cold", max_concurrency=cap, queue_timeout=1000.0)
    jobs = random_jobs(random.Random(seed), count, span=3.0, longest=1.0)
    driver = LoadDriver(jobs, start=start)

    async def main() -> None:
        async with managed(driver) as manager:
            ended = await run_jobs(manager, spec, jobs)
        assert {one.code for one in ended.values()} == {"ok"}
        assert driver.asked_for == [job.id for job in jobs]

    simulate(main, seed, watch=Watch(spec, driver))


def test_a_saturated_call_says_when_to_come_back() -> None:
    async def main() -> None:
        driver = FakeDriver(Behaviour(answer=1.0))
        async with managed(driver) as manager:
            spec = fake_spec(max_queue=0)
            first = asyncio.create_task(manager.call(spec))
            await asyncio.sleep(0.5)
            with pytest.raises(Saturated, match=r"max_concurrency \(1\).*max_queue \(0\)") as caught:
                await manager.call(spec)
            assert (caught.value.status, caught.value.retry_after, caught.value.function) == (503, 1.0, "default/f")
            assert (await first).status == 200

    simulate(main)


class TestThePropertiesCanFail:
    """Each property is run against a manager with a fault planted in it, and must find it."""

    def test_an_unbounded_cap_is_found(self, monkeypatch: pytest.MonkeyPatch) -> None:
        spec = fake_spec(max_concurrency=2)
        driver = FakeDriver(Behaviour(answer=1.0))

        async def main() -> None:
            async with managed(driver) as manager:
                await asyncio.gather(*[manager.call(spec) for _ in range(3)])

        original = Supervisor.__init__

        def lavish(self: Supervisor, host: object, spec: FunctionSpec, *rest: object) -> None:
            original(self, host, spec.replace(max_concurrency=3), *rest)  # type: ignore[arg-type]

        monkeypatch.setattr(Supervisor, "__init__", lavish)
        with pytest.raises(AssertionError, match="3 copies"):
            simulate(main, watch=Watch(spec, driver))

    def test_a_copy_that_idles_while_a_call_waits_is_found(self, monkeypatch: pytest.MonkeyPatch) -> None:
        jobs = [Job("c0", 0.0, 1.0), Job("c1", 0.1, 1.0)]
        spec, driver = fake_spec(), LoadDriver(jobs)
        watch = Watch(spec, driver)
        original = Supervisor.reply_received

        def slow(self: Supervisor, *arguments: Any) -> None:
            self._host.loop.call_later(0.01, original, self, *arguments)

        monkeypatch.setattr(Supervisor, "reply_received", slow)

        async def main() -> None:
            async with managed(driver) as watch.manager:
                await run_jobs(watch.manager, spec, jobs)

        with pytest.raises(AssertionError, match="1 calls wait for"):
            simulate(main, watch=watch)
