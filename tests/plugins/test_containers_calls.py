"""Requests in threads: an engine that hangs, and the end of it all."""

from __future__ import annotations

import asyncio
import logging
import subprocess
import sys
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from typing import cast

import pytest

from hotfn_containers import calls as module
from hotfn_containers.calls import Calls
from hotfn_containers.engine import Engine
from hotfn_containers.lanes import THREADS, Lane
from hotfn_core.errors import DriverError, DriverUnavailable

from .puppet import ID, Puppet, until


@pytest.fixture
def gate() -> Iterator[threading.Event]:
    """What requests that hang wait for; the end of the test sets it."""
    event = threading.Event()
    yield event
    event.set()


class TestLane:
    def test_requests_run_side_by_side_and_no_more_than_there_are_threads(self, gate: threading.Event) -> None:
        lane = Lane("docker", "test", threads=3)
        running = [lane.submit(lambda: gate.wait(10)) for _ in range(5)]
        poll(lambda: sum(one.running() for one in running) == 3)
        assert not any(one.done() for one in running)
        gate.set()
        assert [one.result(5) for one in running] == [True] * 5
        lane.close()

    def test_a_request_whose_caller_left_before_its_turn_is_not_made(self, gate: threading.Event) -> None:
        lane = Lane("docker", "test", threads=1)
        first = lane.submit(lambda: gate.wait(10))
        made: list[str] = []
        second, third = lane.submit(lambda: made.append("second")), lane.submit(lambda: made.append("third"))
        assert second.cancel()
        gate.set()
        third.result(5)
        assert first.result(5)
        assert made == ["third"]
        lane.close()

    def test_what_a_request_raises_is_its_callers(self) -> None:
        lane = Lane("docker", "test", threads=1)

        def broken() -> None:
            raise ValueError("mine")

        with pytest.raises(ValueError, match="mine"):
            lane.submit(broken).result(5)
        assert lane.submit(lambda: 1).result(5) == 1  # and the thread goes on
        lane.close()

    def test_an_engine_that_answers_nobody_is_asked_nothing_more(self, gate: threading.Event) -> None:
        lane = Lane("docker", "test", threads=2, stalled=0.05)
        hanging = [lane.submit(lambda: gate.wait(10)) for _ in range(3)]
        poll(lambda: refused(lane))
        with pytest.raises(DriverUnavailable, match=r"docker hangs: 2 requests are under way and \d+ wait.*restart it"):
            lane.submit(lambda: None)
        gate.set()
        for one in hanging:
            one.result(5)
        assert lane.submit(lambda: 1).result(5) == 1  # it answers again
        lane.close()

    def test_one_that_was_asked_nothing_for_long_does_not_hang(self) -> None:
        lane = Lane("docker", "test", threads=1, stalled=0.0)
        for number in range(3):
            assert lane.submit(lambda number=number: number).result(5) == number  # type: ignore[misc]
            poll(lambda: not refused(lane))
        lane.close()

    def test_no_more_wait_than_may(self, gate: threading.Event) -> None:
        lane = Lane("docker", "test", threads=1, most=2)
        poll_running = lane.submit(lambda: gate.wait(10))
        poll(poll_running.running)
        waiting = [lane.submit(lambda: None) for _ in range(2)]
        with pytest.raises(DriverUnavailable):
            lane.submit(lambda: None)
        gate.set()
        for one in waiting:
            one.result(5)
        lane.close()

    def test_what_waits_when_it_is_closed_is_dropped(self, gate: threading.Event) -> None:
        lane = Lane("docker", "test", threads=1)
        first = lane.submit(lambda: gate.wait(10))
        poll(first.running)
        second = lane.submit(lambda: None)
        lane.close()
        assert second.cancelled()
        with pytest.raises(DriverUnavailable, match="closed"):
            lane.submit(lambda: None)
        gate.set()
        assert first.result(5)

    def test_threads_end_with_it(self) -> None:
        lane = Lane("docker", "ending", threads=2)
        for _ in range(2):
            lane.submit(lambda: None).result(5)
        lane.close()
        poll(lambda: not any(thread.name.startswith("hotfn-docker-ending") for thread in threading.enumerate()))

    def test_a_request_that_hangs_keeps_no_process_from_ending(self) -> None:
        code = (
            "import threading\n"
            "from hotfn_containers.lanes import Lane\n"
            "future = Lane('docker', 'test').submit(lambda: threading.Event().wait(60))\n"
            "while not future.running(): pass\n"
        )
        subprocess.run([sys.executable, "-c", code], check=True, timeout=20)


def refused(lane: Lane) -> bool:
    try:
        lane.submit(lambda: None).cancel()
    except DriverUnavailable:
        return True
    return False


def poll(condition: Callable[[], bool]) -> None:
    """Wait for what a thread does."""
    asyncio.run(until(condition))


@asynccontextmanager
async def opened() -> AsyncIterator[tuple[Puppet, Calls]]:
    engine = Puppet()
    calls = Calls(cast("Engine", engine))
    try:
        yield engine, calls
    finally:
        await calls.aclose(5)
        assert engine.closed
        assert asyncio.all_tasks() == {asyncio.current_task()}


class TestCalls:
    def test_containers_are_ended_while_all_that_makes_them_hangs(self) -> None:
        async def main() -> None:
            async with opened() as (engine, calls):
                gate = engine.hold("start")
                starts = [asyncio.create_task(calls(engine.start, ID)) for _ in range(2 * THREADS)]
                await until(lambda: len(engine.did) == THREADS)
                await asyncio.wait_for(calls(engine.kill, ID, "SIGKILL"), 5)
                await asyncio.wait_for(calls(engine.remove, ID), 5)
                assert (await asyncio.wait_for(calls(engine.state, ID), 5)).running
                gate.set()
                await asyncio.gather(*starts)

        asyncio.run(main())

    def test_cancelling_stops_the_waiting_and_not_the_request(self) -> None:
        async def main() -> None:
            async with opened() as (engine, calls):
                gate = engine.hold("start")
                done: list[str] = []

                def begin() -> None:
                    engine.start(ID)
                    done.append("start")

                start = asyncio.create_task(calls(begin))
                await until(lambda: engine.did == ["start"])
                start.cancel()
                await asyncio.wait([start])
                assert start.cancelled()
                gate.set()
                await until(lambda: done == ["start"])

        asyncio.run(main())

    def test_closing_waits_for_what_is_under_way_and_no_longer_than_it_is_told(self) -> None:
        async def main() -> None:
            engine = Puppet()
            calls = Calls(cast("Engine", engine))
            quick, slow = engine.hold("kill SIGTERM"), engine.hold("start")
            first = calls.work(calls(engine.kill, ID, "SIGTERM"), "quick")
            second = calls.work(calls(engine.start, ID), "slow")
            await until(lambda: len(engine.did) == 2)
            closing = asyncio.create_task(calls.aclose(0.2))
            await asyncio.sleep(0)
            quick.set()
            await asyncio.wait_for(closing, 5)
            assert first.done()
            assert not first.cancelled()
            assert second.cancelled()
            slow.set()
            with pytest.raises(DriverUnavailable, match="closed"):
                await calls(engine.start, ID)

        asyncio.run(main())

    @pytest.mark.parametrize("hangs", [False, True])
    def test_connections_are_let_go_of_behind_the_last_request(
        self, monkeypatch: pytest.MonkeyPatch, *, hangs: bool
    ) -> None:
        """One that nobody waits for any more may open another connection: nobody would ever close that."""
        monkeypatch.setattr(module, "LAST_SECONDS", 0.05 if hangs else 20.0)

        async def main() -> None:
            engine = Puppet()
            calls = Calls(cast("Engine", engine))
            order: list[str] = []
            monkeypatch.setattr(engine, "close", lambda: order.append("close"))
            gate = engine.hold("start")

            def request() -> None:
                engine.start(ID)
                order.append("request")

            watcher = calls.watch(calls(request), "watcher")
            await until(lambda: engine.did == ["start"])
            closing = asyncio.create_task(calls.aclose(5))
            if not hangs:
                await until(watcher.done)
                gate.set()
            await asyncio.wait_for(closing, 5)
            gate.set()
            await until(lambda: order[-2:] == ["request", "close"])
            await calls.aclose(5)

        asyncio.run(main())

    def test_what_may_go_on_for_ever_ends_with_closing_also_when_it_begins_then(self) -> None:
        async def main() -> None:
            calls = Calls(cast("Engine", Puppet()))
            late: list[asyncio.Task[None]] = []

            async def work() -> None:
                await asyncio.sleep(0.01)
                late.append(calls.watch(for_ever(), "late"))

            early = calls.watch(for_ever(), "early")
            calls.work(work(), "work")
            await asyncio.sleep(0)
            await asyncio.wait_for(calls.aclose(20), 5)
            assert early.cancelled()
            assert late[0].cancelled()

        asyncio.run(main())

    def test_a_fault_of_our_own_in_the_background_is_seen(self, caplog: pytest.LogCaptureFixture) -> None:
        async def main() -> None:
            async with opened() as (_, calls):

                async def fail(error: Exception) -> None:
                    raise error

                await asyncio.wait([calls.work(fail(DriverError("of the engine")), "one")])
                await asyncio.wait([calls.work(fail(KeyError("ours")), "two")])

        with caplog.at_level(logging.INFO, "hotfn"):
            asyncio.run(main())
        assert [record.levelname for record in caplog.records] == ["ERROR"]
        assert "two failed, which is a fault of hotfn" in caplog.text


async def for_ever() -> None:
    await asyncio.get_running_loop().create_future()
