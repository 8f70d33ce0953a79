"""The parts of `hotfn bench` one at a time: what is counted, how a turn goes, how it is drawn and shown."""

from __future__ import annotations

import asyncio
import math
import os
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable, Iterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hotfn_core import CallTimeout, ConfigError, Headers, InstanceChange, LaunchFailed, Reply, Saturated
from hotfn_core.cli.bench.drawing import draw, edges, shares
from hotfn_core.cli.bench.memory import Copies, own_memory
from hotfn_core.cli.bench.pacer import Pacer
from hotfn_core.cli.bench.record import OTHERS, Record
from hotfn_core.cli.bench.turn import Turn
from hotfn_core.cli.histogram import Histogram
from hotfn_core.cli.messages import Messages
from hotfn_core.cli.pipeline import CannotStart
from hotfn_core.cli.texts import size_text

SPANS = st.lists(st.floats(1e-8, 1e5), min_size=1, max_size=100)


def reply(status: int = 200, **fields: Any) -> Reply:
    return Reply(status, Headers(), b"body", **fields)


def counted(spans: list[float]) -> Histogram:
    histogram = Histogram()
    for span in spans:
        histogram.add(span)
    return histogram


class TestRecord:
    def test_what_is_counted_where(self) -> None:
        record = Record()
        record.reply(reply(queued=0.1, ran=0.2), 0.3)
        record.reply(reply(404, cold=True, started=0.5), 0.6)
        record.reply(reply(503, cold=True), 0.01)
        record.error(CallTimeout("late\nvery"), 30.0)
        assert (record.calls, record.failures, record.received) == (4, 2, 12)
        assert (record.latency.count, record.latency.max) == (2, 0.6)
        assert (record.cold_calls, record.cold.count, record.started.count) == (2, 1, 1)
        assert record.statuses == {404: 1, 503: 1}
        assert record.failed["call_timeout"].message == "late | very"
        assert record.failed["call_timeout"].spans.max == 30.0
        assert record.failed["status_503"].message == "the function answered body"

    def test_kinds_of_failures_are_bounded(self) -> None:
        record = Record()
        for status in range(500, 1500):
            record.reply(reply(status), 0.1)
        assert len(record.failed) == 51
        assert record.failed[OTHERS].spans.count == 950
        assert record.failures == 1000

    def test_merging_is_counting_both(self) -> None:
        one, other, both = Record(), Record(), Record()
        for records in ((one, both), (other, both)):
            for record in records:
                record.reply(reply(), 0.1)
                record.reply(reply(500), 0.2)
                record.error(Saturated("full"), 0.3)
        one.merge(other)
        assert (one.calls, one.failures, one.received) == (both.calls, both.failures, both.received)
        assert one.latency.buckets() == both.latency.buckets()
        assert {code: kind.spans.count for code, kind in one.failed.items()} == {"status_500": 2, "saturated": 2}


def turned(
    call: Callable[[], Awaitable[Reply]],
    *,
    seconds: float = 60.0,
    calls: float = 10,
    rate: float = 0,
    has_run: bool = True,
) -> Turn:
    async def scenario() -> Turn:
        turn = Turn(call, Record(), seconds=seconds, calls=calls, has_run=has_run)
        await (turn.at_rate(rate) if rate else turn.by_callers(3))
        return turn

    return asyncio.run(scenario())


async def answered() -> Reply:
    await asyncio.sleep(0)
    return reply()


class TestTurn:
    @pytest.mark.parametrize("seconds", [3600, math.inf])
    @pytest.mark.parametrize("rate", [0, 5000])
    def test_it_makes_just_so_many_calls(self, rate: float, seconds: float) -> None:
        turn = turned(answered, seconds=seconds, calls=100, rate=rate)
        assert (turn.record.calls, turn.in_flight, turn.record.failures, turn.record.unmade) == (100, 0, 0, 0)
        assert turn.elapsed >= (100 / rate if rate else 0)

    @pytest.mark.parametrize("rate", [0, 1000])
    def test_it_ends_with_its_time(self, rate: float) -> None:
        turn = turned(answered, seconds=0.1, calls=10**9, rate=rate)
        assert turn.record.calls > 3
        assert turn.elapsed >= 0.099
        if rate:
            assert turn.record.calls == 100

    def test_callers_that_are_refused_wait_and_the_loop_goes_on(self) -> None:
        """A refusal is raised without a wait: a caller in a bare loop would never let anything else run."""

        async def refused() -> Reply:
            raise Saturated("full")

        turn = turned(refused, seconds=0.1, calls=10**9)
        assert 3 <= turn.record.calls <= 33
        assert turn.record.failures == turn.record.calls

    def test_latency_counts_from_when_a_call_was_due(self) -> None:
        """One call at a time takes 20 ms and ten are due at once: the last one's user waits for all of them."""
        one_at_a_time: asyncio.Lock | None = None

        async def slow() -> Reply:
            nonlocal one_at_a_time
            one_at_a_time = one_at_a_time or asyncio.Lock()
            async with one_at_a_time:
                await asyncio.sleep(0.02)
            return reply()

        record = turned(slow, calls=10, rate=1e6).record
        assert record.latency.max >= 0.19
        assert record.latency.percentile(50) >= 0.09

    def test_a_loop_that_is_held_up_makes_calls_late_and_says_so(self) -> None:
        async def blocking() -> Reply:
            time.sleep(0.01)  # noqa: ASYNC251  # holds up the loop on purpose
            return reply()

        record = turned(blocking, calls=10, rate=1e6).record
        assert record.late.count == 10
        assert record.late.max >= 0.08
        assert record.latency.max >= 0.09

    def test_what_cannot_be_made_at_all_is_counted_and_not_waited_for(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("hotfn_core.cli.bench.turn._BEHIND", 0.05)
        record = turned(answered, seconds=0.05, calls=math.inf, rate=1e9).record
        assert record.calls + record.unmade == pytest.approx(50_000_000)
        assert record.unmade > record.calls > 0

    @pytest.mark.parametrize("rate", [0, 1000])
    def test_a_function_that_never_started_ends_it(self, rate: float) -> None:
        async def never() -> Reply:
            raise LaunchFailed("no such program", retry_after=100)

        with pytest.raises(CannotStart, match="no such program"):
            turned(never, has_run=False, rate=rate)

    def test_one_that_has_run_fails_those_calls(self) -> None:
        async def not_now() -> Reply:
            raise LaunchFailed("not now", retry_after=0.001)

        assert turned(not_now).record.failed["launch_failed"].spans.count == 10

    @pytest.mark.parametrize("rate", [0, 1000])
    def test_what_is_wrong_with_the_call_itself_is_raised(self, rate: float) -> None:
        async def wrong() -> Reply:
            raise ConfigError("wrong")

        with pytest.raises(ConfigError, match="wrong"):
            turned(wrong, rate=rate)

    @pytest.mark.parametrize("rate", [0, 0.01, 1000])
    def test_stopping_lets_calls_finish(self, rate: float) -> None:
        async def scenario() -> Turn:
            begun, go = asyncio.Event(), asyncio.Event()

            async def held() -> Reply:
                begun.set()
                await go.wait()
                return reply()

            turn = Turn(held, Record(), seconds=3600, calls=10**9, has_run=True)
            task = asyncio.create_task(turn.at_rate(rate) if rate else turn.by_callers(3))
            await begun.wait()
            turn.stop()
            assert turn.in_flight >= 1
            go.set()
            await task
            return turn

        turn = asyncio.run(scenario())
        assert (turn.in_flight, turn.record.failures) == (0, 0)
        assert turn.record.calls >= 1

    def test_stopping_ends_a_callers_pause(self) -> None:
        async def scenario() -> None:
            refused = asyncio.Event()

            async def call() -> Reply:
                refused.set()
                raise Saturated("full", retry_after=3600)

            turn = Turn(call, Record(), seconds=7200, calls=10**9, has_run=True)
            task = asyncio.create_task(turn.by_callers(1))
            await refused.wait()
            turn.stop()
            await task

        asyncio.run(scenario())


class TestPacer:
    @pytest.fixture(params=["timerfd", "timers of the loop"])
    def pacer(self, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Callable[[], Pacer]:
        if request.param != "timerfd":
            monkeypatch.setattr("hotfn_core.cli.bench.pacer._timerfd", lambda: (-1, None))
        return Pacer

    def test_it_wakes_when_asked_to(self, pacer: Callable[[], Pacer]) -> None:
        async def scenario() -> float:
            one, when = pacer(), 0.0
            for pause in (0.01, -1.0, 0.0, 0.01):
                when = time.monotonic() + pause
                await one.until(when)
            one.close()
            one.close()
            return time.monotonic() - when

        assert asyncio.run(scenario()) > -0.002

    def test_it_can_be_woken(self, pacer: Callable[[], Pacer]) -> None:
        async def scenario() -> None:
            one = pacer()
            waiting = asyncio.create_task(one.until(time.monotonic() + 3600))
            await asyncio.sleep(0)
            one.wake()
            one.wake()
            await waiting
            one.wake()
            one.close()

        asyncio.run(scenario())


class TestDrawing:
    @given(SPANS)
    def test_the_edges_hold_everything_and_fit_on_a_screen(self, spans: list[float]) -> None:
        rows = edges(min(spans), max(spans))
        assert rows == sorted(set(rows))
        assert rows[0] <= min(spans)
        assert rows[-1] >= max(spans)
        assert 2 <= len(rows) <= 21

    @given(SPANS)
    def test_the_shares_are_all_there_is(self, spans: list[float]) -> None:
        histogram = counted(spans)
        assert sum(shares(histogram, edges(min(spans), max(spans)))) == pytest.approx(1)

    @given(st.lists(SPANS | st.just([]), min_size=1, max_size=4))
    def test_a_drawing_is_not_wider_than_a_terminal(self, columns: list[list[float]]) -> None:
        lines = list(draw([counted(spans) for spans in columns]))
        assert bool(lines) == any(columns)
        assert all(len(line) <= 100 for line in lines)
        assert len(lines) <= 20

    def test_it_looks_so(self) -> None:
        assert list(draw([counted([1.05e-3] * 3 + [1.15e-3])])) == [
            "    1.1 ms  75.0 % ################################################",
            "    1.2 ms  25.0 % ################",
        ]

    @pytest.mark.parametrize(
        ("size", "text"), [(0, "0 B"), (999, "999 B"), (1000, "1 kB"), (12_345_678, "12.3 MB"), (5e12, "5000 GB")]
    )
    def test_sizes(self, size: float, text: str) -> None:
        assert size_text(size) == text


class TestMemory:
    @pytest.fixture
    def child(self) -> Iterator[subprocess.Popen[bytes]]:
        script = "import sys; block = b'x' * 50_000_000; print(flush=True); sys.stdin.read()"
        argv = [sys.executable, "-c", script]
        with subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
            assert process.stdout is not None
            process.stdout.readline()
            yield process

    def changed(self, copies: Copies, container: str, state: str = "idle") -> None:
        copies.hotfn_instance_changed(InstanceChange("default/f", "f-1", container, state, ""))

    def test_a_process_of_ours_is_seen_while_it_is_there(self, child: subprocess.Popen[bytes]) -> None:
        copies = Copies()
        self.changed(copies, str(child.pid))
        copies.look()
        assert (copies.samples, copies.strange) == (1, False)
        assert copies.most >= 50_000_000
        self.changed(copies, str(child.pid), "gone")
        copies.look()
        assert copies.samples == 1

    def test_what_a_copy_has_started_is_a_part_of_it(self) -> None:
        script = "import subprocess, sys; subprocess.run([sys.executable, '-c', sys.argv[1]])"
        inner = "block = b'x' * 50_000_000; print(flush=True); input()"
        argv = [sys.executable, "-c", script, inner]
        with subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
            assert process.stdout is not None
            process.stdout.readline()
            copies = Copies()
            self.changed(copies, str(process.pid))
            copies.look()
            process.communicate(b"\n")
        assert copies.most >= 50_000_000

    @pytest.mark.parametrize("name", ["1", "self", "999999999", "0f3c", "123456789012", "²"])
    def test_what_is_no_process_below_us_is_not_looked_at(self, name: str) -> None:
        copies = Copies()
        self.changed(copies, str(os.getpid()) if name == "self" else name)
        copies.look()
        assert (copies.mean, copies.strange) == (None, True)

    def test_our_own(self) -> None:
        assert own_memory() > 5_000_000


class TestLiveLine:
    def test_it_stands_below_the_messages(self) -> None:
        async def scenario() -> bytes:
            reading, writing = os.pipe()
            messages = Messages(writing)
            messages.live("one")
            messages.live("one")
            messages.line("said")
            messages.live("")
            messages.line("plain")
            await messages.aclose()
            os.close(writing)
            with os.fdopen(reading, "rb") as stream:
                return stream.read()

        erase = b"\r\x1b[K"
        assert asyncio.run(scenario()) == erase + b"one" + erase + b"said\none" + erase + b"plain\n"
