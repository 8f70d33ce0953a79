"""What went wrong in the systems before this one, as tests of the real manager: functions, copies and their streams."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Mapping, Sequence
from typing import ClassVar

import pytest

from hotfn_core import (
    BadReply,
    CallTimeout,
    Connection,
    Event,
    Exit,
    InstanceExited,
    IOProtocol,
    LaunchFailed,
    Limits,
    QueueTimeout,
    RemoteProtocolError,
    ReplyBody,
    ReplyEnd,
    ReplyHead,
    Saturated,
    hookimpl,
)
from hotfn_core.testing import Behaviour, FakeContainer, FakeDriver, FakeProtocol, fake_spec, simulate
from hotfn_core.testing.fake_protocol import FakeConnection

from .world import codes, managed, now, outcome


class Blind(FakeProtocol):
    """Lines without a name, as on the wires of real functions: nothing tells whose answer a line is."""

    name: ClassVar[str] = "blind"

    def connect(self, limits: Limits) -> Connection:
        return _BlindConnection(limits)


class _BlindConnection(FakeConnection):
    def receive(self, data: bytes) -> Sequence[Event]:
        self._buffer += data
        line, end, rest = self._buffer.partition(b"\n")
        if not end:
            return []
        if self._asked is None or not line.startswith(b"="):
            raise RemoteProtocolError(f"{line!r} is no reply")
        self._asked, self._buffer = None, b""
        body = bytes.fromhex(line.partition(b" ")[2].decode())
        return [ReplyHead(200, []), ReplyBody(body), ReplyEnd(excess=len(rest))]


class BlindPlugin:
    @hookimpl
    def hotfn_register_protocols(self) -> Mapping[str, Callable[[], IOProtocol]]:
        return {"blind": Blind}


def answers(*behaviours: Behaviour) -> Callable[[random.Random], Behaviour]:
    """Answer each call in its own way, the last way for ever."""
    script = list(behaviours)
    return lambda _: script.pop(0) if len(script) > 1 else script[0]


def only(driver: FakeDriver) -> FakeContainer:
    (copy,) = driver.alive
    return copy


class TestSlowFunctionsAndTheOthers:
    def test_w01_a_saturated_function_delays_no_other(self) -> None:
        async def main() -> None:
            driver = FakeDriver(Behaviour(), lambda _: Behaviour(answer=next(takes)))
            async with managed(driver) as manager:
                slow, quick = fake_spec("slow", max_queue=5, timeout=1000.0), fake_spec("quick")
                for _ in range(6):
                    asyncio.create_task(outcome(manager.call(slow))).add_done_callback(lambda _: None)
                await asyncio.sleep(1.0)
                with pytest.raises(Saturated):
                    await manager.call(slow)
                reply = await manager.call(quick, b"x")
                assert (reply.body, now()) == (b"x", 1.0)
                await manager.aclose()

        takes = iter([500.0] + [0.0] * 10)
        simulate(main)

    def test_w02_fifty_waiting_calls_block_nobody_from_coming(self) -> None:
        async def main() -> None:
            driver = FakeDriver(Behaviour(answer=1.0))
            async with managed(driver) as manager:
                slow = fake_spec("a", queue_timeout=100.0)
                calls = [asyncio.create_task(manager.call(slow, bytes([n]))) for n in range(50)]
                await asyncio.sleep(0.5)
                assert manager.stats()["default/a"].waiting + manager.stats()["default/a"].busy == 50
                assert (await manager.call(fake_spec("b"), b"b")).body == b"b"
                assert now() == 1.5  # its own time, and nothing else
                assert [(await call).body for call in calls] == [bytes([n]) for n in range(50)]

        simulate(main)

    def test_w03_calls_one_after_another_use_one_copy_and_n_at_once_use_n(self) -> None:
        async def main() -> None:
            driver = FakeDriver(Behaviour(start=0.1, answer=0.2))
            async with managed(driver) as manager:
                spec = fake_spec(max_concurrency=10)
                used = {(await manager.call(spec)).instance for _ in range(20)}
                assert (len(used), driver.launches) == (1, 1)
                for crowd in range(1, 11):
                    await asyncio.gather(*[manager.call(spec) for _ in range(crowd)])
                    assert driver.launches == crowd

        for seed in range(10):
            simulate(main, seed)

    def test_w40_of_a_hundred_first_calls_no_more_start_than_the_cap_allows(self) -> None:
        async def main() -> None:
            driver = FakeDriver(Behaviour(start=1.0, answer=0.01))
            async with managed(driver) as manager:
                for protocol in ("fake", "fake-cold"):
                    spec = fake_spec(format=protocol, max_concurrency=4)
                    calls = [asyncio.create_task(manager.call(spec)) for _ in range(100)]
                    await asyncio.sleep(0.5)
                    assert driver.starting == 4
                    await asyncio.gather(*calls)
            assert driver.most_alive == 4 + 4  # the hot ones were idle when the cold ones ran

        simulate(main)

    def test_b02_a_call_that_finds_a_free_copy_starts_no_other(self) -> None:
        async def main() -> None:
            driver = FakeDriver(Behaviour(answer=0.01))
            async with managed(driver) as manager:
                for _ in range(1000):
                    await manager.call(fake_spec(max_concurrency=100))
                assert driver.launches == 1

        simulate(main, 1)

    def test_b27_a_copy_that_starts_is_not_taken_for_one_that_is_free(self) -> None:
        async def main() -> None:
            driver = FakeDriver(Behaviour(start=1.0, answer=1.0))
            async with managed(driver) as manager:
                spec = fake_spec(max_concurrency=2)
                first = asyncio.create_task(manager.call(spec))
                await asyncio.sleep(0.1)
                stats = manager.stats()["default/f"]
                assert (stats.starting, stats.idle) == (1, 0)
                second = asyncio.create_task(manager.call(spec))
                await asyncio.sleep(0.1)
                assert driver.starting == 2
                await asyncio.gather(first, second)

        simulate(main)


class TestCopiesThatEnd:
    def test_w06_an_exit_in_mid_call_is_told_at_once(self) -> None:
        async def main() -> None:
            async with managed(FakeDriver(Behaviour(exit=3, answer=0.5))) as manager:
                with pytest.raises(InstanceExited, match="exited with code 3") as caught:
                    await manager.call(fake_spec())
                assert (now(), caught.value.status) == (0.5, 502)

        simulate(main)

    def test_w07_a_copy_that_died_between_calls_gets_none_and_costs_none(self) -> None:
        async def main() -> None:
            driver = FakeDriver(Behaviour(answer=0.1))
            async with managed(driver) as manager:
                for _ in range(3):
                    await manager.call(fake_spec())
                    only(driver).die(Exit(signal=9))
                    begun = now()
                    assert (await manager.call(fake_spec(), b"x")).body == b"x"
                    assert now() - begun == pytest.approx(0.1)
                assert manager.stats()["default/f"].calls == {"ok": 6}

        simulate(main)

    def test_w08_a_start_that_fails_is_told_at_once_with_its_own_words(self) -> None:
        async def main() -> None:
            async with managed(FakeDriver(Behaviour(start=0.2, start_error="no such image: x"))) as manager:
                with pytest.raises(LaunchFailed, match="no such image: x") as caught:
                    await manager.call(fake_spec())
                assert (now(), caught.value.status) == (0.2, 502)

        simulate(main)

    def test_b05_a_copy_that_timed_out_or_exited_is_never_offered_again(self) -> None:
        async def main() -> None:
            driver = FakeDriver(
                Behaviour(stop=5.0), answers(Behaviour(never=True), Behaviour(exit=1), Behaviour(answer=0.1))
            )
            async with managed(driver) as manager:
                spec = fake_spec(timeout=1.0, max_concurrency=3)
                assert codes([await outcome(manager.call(spec)) for _ in range(2)]) == [
                    "call_timeout",
                    "instance_exited",
                ]
                timed_out = only(driver)  # still on its way out
                for _ in range(10):
                    reply = await manager.call(spec)
                    assert reply.instance != timed_out.id
                assert timed_out.calls == 1

        simulate(main)

    def test_b10_and_b19_a_start_is_bounded_and_can_be_called_back(self) -> None:
        async def main() -> None:
            driver = FakeDriver(Behaviour(start=1e6))
            async with managed(driver) as manager:
                with pytest.raises(LaunchFailed):
                    await manager.call(fake_spec(start_timeout=3.0))
                await asyncio.sleep(0.001)
                assert (round(now()), driver.starting) == (3, 0)

        simulate(main)

    def test_b18_a_copy_that_dies_before_it_is_ready_fails_the_call_at_once(self) -> None:
        async def main() -> None:
            async with managed(FakeDriver(Behaviour(start=0.5, early_exit=1))) as manager:
                with pytest.raises(LaunchFailed, match="exited with code 1 at once"):
                    await manager.call(fake_spec())
                assert now() == 0.5

        simulate(main)

    def test_b30_a_failed_start_is_not_blamed_for_what_happens_much_later(self) -> None:
        async def main() -> None:
            copies = answers(Behaviour(start_error="out of disk"), Behaviour())
            async with managed(FakeDriver(copies, Behaviour(never=True))) as manager:
                spec = fake_spec(queue_timeout=2.0, timeout=100.0)
                assert codes([await outcome(manager.call(spec))]) == ["launch_failed"]
                await asyncio.sleep(1.0)
                running = asyncio.create_task(outcome(manager.call(spec)))
                await asyncio.sleep(1.0)
                with pytest.raises(QueueTimeout) as caught:
                    await manager.call(spec)
                assert "out of disk" not in caught.value.message
                running.cancel()

        simulate(main)

    def test_b30_a_failed_start_of_one_function_is_not_told_to_another_nor_to_a_call_that_can_be_served(self) -> None:
        async def main() -> None:
            copies = answers(Behaviour(), Behaviour(start=0.1, start_error="boom"), Behaviour())
            driver = FakeDriver(copies, Behaviour(answer=1.0))
            async with managed(driver) as manager:
                spec = fake_spec(max_concurrency=2)
                calls = [asyncio.create_task(outcome(manager.call(spec))) for _ in range(2)]
                other = asyncio.create_task(outcome(manager.call(fake_spec("other"))))
                assert codes(await asyncio.gather(*calls, other)) == ["ok", "ok", "ok"]

        simulate(main)


class TestStreamsOutOfStep:
    def test_w09_a_late_answer_never_becomes_the_next_callers(self) -> None:
        async def main() -> None:
            # it answers late, while it is being stopped, and is given all the time for it
            driver = FakeDriver(Behaviour(stop=10.0), answers(Behaviour(answer=1.5), Behaviour(answer=0.2)))
            async with managed(driver, BlindPlugin()) as manager:
                spec = fake_spec(format="blind", timeout=1.0, stop_grace=60.0, max_concurrency=2)
                with pytest.raises(CallTimeout):
                    await manager.call(spec, b"mine")
                for n in range(10):
                    assert (await manager.call(spec, bytes([n]))).body == bytes([n])

        simulate(main)

    def test_w09_nor_when_the_first_caller_left(self) -> None:
        async def main() -> None:
            driver = FakeDriver(Behaviour(stop=10.0), Behaviour(answer=0.5))
            async with managed(driver, BlindPlugin()) as manager:
                spec = fake_spec(format="blind", stop_grace=60.0)
                first = asyncio.create_task(manager.call(spec, b"mine"))
                await asyncio.sleep(0.3)
                first.cancel()
                assert (await manager.call(spec, b"other")).body == b"other"

        simulate(main)

    def test_w10_and_w11_garbage_is_told_at_once_and_ends_its_copy(self) -> None:
        async def main() -> None:
            driver = FakeDriver(Behaviour(), answers(Behaviour(garbage=True, answer=0.01), Behaviour()))
            async with managed(driver) as manager:
                with pytest.raises(BadReply) as caught:
                    await manager.call(fake_spec())
                assert (now(), caught.value.status) == (0.01, 502)
                assert (await manager.call(fake_spec(), b"x")).body == b"x"
                assert driver.launches == 2

        simulate(main)

    def test_w13_a_copy_whose_caller_left_is_not_used_again(self) -> None:
        async def main() -> None:
            driver = FakeDriver(Behaviour(), Behaviour(answer=1.0))
            async with managed(driver) as manager:
                first = asyncio.create_task(manager.call(fake_spec(), bytes(10_000_000)))
                await asyncio.sleep(0.5)
                used = only(driver)
                first.cancel()
                reply = await manager.call(fake_spec(), b"x")
                assert (reply.body, used.calls, used.exited) == (b"x", 1, True)
                assert reply.instance != used.id

        simulate(main)

    def test_w14_an_answer_with_more_behind_it_counts_and_its_copy_is_retired(self) -> None:
        async def main() -> None:
            driver = FakeDriver(Behaviour(), answers(Behaviour(excess=True), Behaviour()))
            async with managed(driver, BlindPlugin()) as manager:
                spec = fake_spec(format="blind")
                first = await manager.call(spec, b"1")
                second = await manager.call(spec, b"2")
                assert (first.body, second.body) == (b"1", b"2")
                assert first.instance != second.instance
                assert manager.stats()["default/f"].stopped["excess_output"] == 1

        simulate(main)

    def test_b06_what_a_broken_reply_left_behind_does_not_leak_into_the_next(self) -> None:
        async def main() -> None:
            driver = FakeDriver(Behaviour(), answers(Behaviour(pieces=3, gap=0.6), Behaviour(pieces=3)))
            async with managed(driver, BlindPlugin()) as manager:
                spec = fake_spec(format="blind", timeout=1.0, stop_grace=0.0)
                with pytest.raises(CallTimeout):
                    await manager.call(spec, b"partly there")
                for n in range(5):
                    assert (await manager.call(spec, bytes([n]))).body == bytes([n])

        simulate(main)

    def test_b11_half_a_reply_reaches_nobody(self) -> None:
        async def main() -> None:
            driver = FakeDriver(Behaviour())
            driver.draw_answer = lambda: Behaviour(pieces=4, gap=1.0)  # type: ignore[method-assign]
            async with managed(driver) as manager:
                call = asyncio.create_task(outcome(manager.call(fake_spec(), b"x" * 100)))
                await asyncio.sleep(2.5)
                assert not call.done()
                only(driver).die(Exit(code=1))
                assert isinstance(await call, InstanceExited)

        simulate(main)
