"""What went wrong in the systems before this one, as tests of the real manager: time, callers that leave, ends."""

from __future__ import annotations

import asyncio
import random
from typing import Any

import pytest

from hotfn_core import (
    CallRejected,
    CallTimeout,
    Manager,
    QueueTimeout,
    Reply,
)
from hotfn_core.testing import Behaviour, FakeContainer, FakeDriver, fake_spec, simulate

from .world import Recorder, codes, managed, now, outcome


class TestLimitsOfTime:
    def test_w32_a_timeout_is_504_hot_and_cold(self) -> None:
        async def main() -> None:
            async with managed(FakeDriver(Behaviour(never=True))) as manager:
                for protocol in ("fake", "fake-cold"):
                    error = await outcome(manager.call(fake_spec(format=protocol, timeout=1.0)))
                    assert isinstance(error, CallTimeout)
                    assert error.status == 504

        simulate(main)

    def test_w33_the_answer_to_a_timeout_does_not_wait_for_the_copy_to_end(self) -> None:
        async def main() -> None:
            driver = FakeDriver(Behaviour(never=True, deaf=True))
            async with managed(driver) as manager:
                for protocol in ("fake", "fake-cold"):
                    begun = now()
                    await outcome(manager.call(fake_spec(format=protocol, timeout=1.0, stop_grace=30.0)))
                    assert now() - begun == pytest.approx(1.0)
                assert len(driver.alive) == 2

        simulate(main)

    def test_w34_the_first_call_is_not_charged_for_the_start_and_waiting_is_bounded_all_the_same(self) -> None:
        async def main() -> None:
            async with managed(FakeDriver(Behaviour(start=10.0, answer=0.5))) as manager:
                reply = await manager.call(fake_spec(timeout=1.0))
                assert (round(reply.started, 9), round(reply.ran, 9)) == (10.0, 0.5)
                with pytest.raises(QueueTimeout):
                    await manager.call(fake_spec("other", queue_timeout=5.0))

        simulate(main)

    def test_b34_no_span_is_ever_negative(self) -> None:
        async def main() -> None:
            dice = random.Random(1)
            driver = FakeDriver(lambda _: Behaviour(start=dice.random(), answer=dice.random()))
            async with managed(driver) as manager:
                spec = fake_spec(max_concurrency=3, idle_timeout=0.0)

                async def one() -> Reply:
                    await asyncio.sleep(dice.uniform(0, 50))
                    return await manager.call(spec)

                for reply in await asyncio.gather(*[one() for _ in range(300)]):
                    assert min(reply.queued, reply.started, reply.ran) >= 0.0

        simulate(main, 1)


class TestCallersThatLeave:
    def test_b01_when_all_who_waited_have_left_the_next_one_is_served(self) -> None:
        async def main() -> None:
            driver = FakeDriver(Behaviour(start=1.0))
            async with managed(driver) as manager:
                calls = [asyncio.create_task(outcome(manager.call(fake_spec(max_concurrency=3)))) for _ in range(5)]
                await asyncio.sleep(0.5)
                for call in calls:
                    call.cancel()
                reply = await manager.call(fake_spec(max_concurrency=3), b"x")
                assert (reply.body, now()) == (b"x", 1.0)
                await asyncio.sleep(31.0)
                assert not driver.alive

        simulate(main)

    def test_b03_one_that_leaves_makes_room_at_once(self) -> None:
        async def main() -> None:
            driver = FakeDriver(Behaviour(answer=10.0))
            async with managed(driver) as manager:
                spec = fake_spec(max_queue=1)
                calls = [asyncio.create_task(outcome(manager.call(spec))) for _ in range(2)]
                await asyncio.sleep(1.0)
                for _ in range(20):
                    calls[-1].cancel()
                    await asyncio.sleep(0)
                    calls.append(asyncio.create_task(outcome(manager.call(spec))))
                    await asyncio.sleep(0)
                assert codes([await calls[0], await calls[-1]]) == ["ok", "ok"]

        simulate(main)

    def test_b04_a_copy_freed_for_one_that_leaves_in_that_instant_is_not_lost(self) -> None:
        async def main() -> None:
            driver = FakeDriver(Behaviour(answer=1.0))
            async with managed(driver) as manager:
                spec = fake_spec()
                first = asyncio.create_task(manager.call(spec, b"1"))
                await asyncio.sleep(0.1)
                second = asyncio.create_task(manager.call(spec, b"2"))
                third = asyncio.create_task(manager.call(spec, b"3"))
                asyncio.get_running_loop().call_at(1.0, second.cancel)
                assert (await first).body == b"1"
                assert (await third).body == b"3"
                # at best the third is next, at worst the second had begun, and its copy is replaced
                assert now() == pytest.approx(2.0)
                await asyncio.wait([second])

        for seed in range(30):
            simulate(main, seed)

    def test_b40_one_that_leaves_is_no_failure_of_the_function(self) -> None:
        async def main() -> None:
            recorder = Recorder()
            async with managed(FakeDriver(Behaviour(answer=10.0)), recorder) as manager:
                call = asyncio.create_task(manager.call(fake_spec()))
                await asyncio.sleep(1.0)
                call.cancel()
                await asyncio.wait([call])
                assert manager.stats()["default/f"].calls == {"cancelled": 1}
                assert [(one.error, one.status) for one in recorder.reports] == [("cancelled", 499)]

        simulate(main)

    def test_b42_what_is_rejected_never_reached_a_copy(self) -> None:
        """`CallRejected` promises that calling again is safe."""

        async def main() -> None:
            reached: set[bytes] = set()
            driver = FakeDriver(Behaviour(start=0.2), Behaviour(answer=0.3))
            asked = FakeContainer.write

            class Noting(FakeContainer):
                def write(self, data: bytes) -> None:
                    reached.add(data.split(b" ")[0])
                    asked(self, data)

            driver.make_copy = lambda *arguments: Noting(driver, *arguments)  # type: ignore[method-assign]
            async with managed(driver) as manager:
                spec = fake_spec(max_queue=3, queue_timeout=0.6, max_request=5, timeout=0.25)
                dice = random.Random(2)

                async def one(n: int) -> tuple[str, Any]:
                    await asyncio.sleep(dice.uniform(0, 5))
                    method, body = dice.choice(["POST", "POST", "UNSAYABLE"]), bytes(dice.randrange(7))
                    return f"c{n}", await outcome(manager.call(spec, body, method=method, call_id=f"c{n}"))

                ended = dict(await asyncio.gather(*[one(n) for n in range(100)]))
                seen = {error.code for error in ended.values() if isinstance(error, CallRejected)}
                assert seen == {"saturated", "queue_timeout", "too_large", "invalid_call"}
                for name, end in ended.items():
                    assert (name.encode() in reached) == (not isinstance(end, CallRejected))

        simulate(main, 3)


class TestWhatWasMissing:
    def test_o11_a_copy_has_a_most_of_calls_and_is_replaced_before_it_is_missed(self) -> None:
        async def main() -> None:
            driver = FakeDriver(Behaviour(start=1.0, answer=2.0))
            async with managed(driver) as manager:
                spec = fake_spec(max_calls=3, max_concurrency=2)
                replies = [await manager.call(spec) for _ in range(7)]
                assert [reply.cold for reply in replies] == [True] + [False] * 6
                assert len({reply.instance for reply in replies}) == 3
                assert manager.stats()["default/f"].stopped["recycled"] == 2

        simulate(main)

    def test_o11_a_copy_has_an_age(self) -> None:
        async def main() -> None:
            driver = FakeDriver(Behaviour(start=0.5, answer=0.1))
            async with managed(driver) as manager:
                spec = fake_spec(max_age=10.0, max_concurrency=2, idle_timeout=100.0)
                for _ in range(50):
                    await manager.call(spec)
                    await asyncio.sleep(0.9)
                assert 4 <= driver.launches <= 5
                assert manager.stats()["default/f"].cold == {"first": 1}

        simulate(main)

    def test_o11_a_drain_has_an_end(self) -> None:
        async def main() -> None:
            async with managed(FakeDriver(Behaviour(never=True))) as manager:
                call = asyncio.create_task(outcome(manager.call(fake_spec(timeout=1000.0))))
                await asyncio.sleep(1.0)
                await manager.drain(5.0)
                assert (now(), codes([await call])) == (6.0, ["aborted"])

        simulate(main)

    def test_o1_a_burst_into_room_for_five_yields_exactly_five(self) -> None:
        async def main() -> None:
            driver = FakeDriver(Behaviour(answer=1.0))
            async with managed(driver) as manager:
                spec = fake_spec(max_concurrency=5, max_queue=0)
                ended = await asyncio.gather(*[outcome(manager.call(spec)) for _ in range(20)])
                assert sorted(codes(ended)) == ["ok"] * 5 + ["saturated"] * 15

        for seed in range(20):
            simulate(main, seed)


def test_b17_when_the_caller_has_its_reply_all_is_counted_and_reported() -> None:
    async def main() -> None:
        recorder = Recorder()

        async def one(manager: Manager) -> None:
            reply = await manager.call(fake_spec(max_concurrency=3))
            assert reply.call_id in {report.call_id for report in recorder.reports}
            assert manager.stats()["default/f"].calls["ok"] >= 1

        async with managed(FakeDriver(Behaviour(answer=0.1)), recorder) as manager:
            await asyncio.gather(*[one(manager) for _ in range(30)])

    for seed in range(10):
        simulate(main, seed)
