"""The parts of `hotfn run`, one at a time: what they promise for any input."""

from __future__ import annotations

import asyncio
import json
import os
import random
from collections.abc import Awaitable, Callable, Sequence
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hotfn_core import CallError, CallTimeout, ConfigError, Headers, LaunchFailed, Reply, TooLarge
from hotfn_core.cli.formats import LineBody, json_line, raw_body
from hotfn_core.cli.messages import Messages
from hotfn_core.cli.output import HIGH_WATER, Output
from hotfn_core.cli.pipeline import CannotStart, Pipeline
from hotfn_core.cli.source import InputError, Lines, Repeated, read_body
from hotfn_core.cli.spec import driver_options, headers
from hotfn_core.cli.tally import Tally


def reply(body: bytes = b"", status: int = 200, **fields: Any) -> Reply:
    return Reply(status, Headers(), body, **fields)


class Wire:
    """A pipe whose writing side is fed in pieces, to read from as hotfn does."""

    def __init__(self, pieces: Sequence[bytes]) -> None:
        self.fd, self._end = os.pipe()
        self._pieces = pieces

    async def __aenter__(self) -> int:
        self._task = asyncio.create_task(asyncio.to_thread(self._feed))
        return self.fd

    def _feed(self) -> None:
        for piece in self._pieces:
            os.write(self._end, piece)
        os.close(self._end)

    async def __aexit__(self, *_: object) -> None:
        await self._task
        os.close(self.fd)


async def all_lines(pieces: Sequence[bytes], limit: int = 1 << 20) -> list[bytes | TooLarge]:
    async with Wire(pieces) as fd:
        lines = Lines(fd, limit)
        arrived = asyncio.Event()
        lines.start(lambda _: arrived.set())
        found = []
        while not lines.ended:
            body = lines.take()
            if body is None:
                await arrived.wait()
                arrived.clear()
            else:
                found.append(body)
        return found


class TestLines:
    @settings(max_examples=50)
    @given(st.lists(st.sampled_from([b"\n", b"a", b"bc\n", b"\r\n", b"", b"x" * 50, b"\0\xff"]), max_size=20))
    def test_cut_anywhere_they_are_the_same(self, pieces: list[bytes]) -> None:
        text = b"".join(pieces)
        expected = text.split(b"\n")
        if not expected[-1]:
            expected.pop()
        assert asyncio.run(all_lines(pieces)) == expected

    @settings(max_examples=50)
    @given(st.lists(st.integers(0, 200_000), min_size=1, max_size=4), st.integers(70_000, 150_000), st.booleans())
    def test_those_over_the_limit_are_skipped(self, sizes: list[int], limit: int, ends: bool) -> None:
        text = b"\n".join(b"x" * size for size in sizes) + b"\n" * ends
        if not sizes[-1] and not ends:
            sizes = sizes[:-1]
        pieces = [text[at : at + 30_000] for at in range(0, len(text), 30_000)]
        found = asyncio.run(all_lines(pieces, limit))
        assert [len(one) if isinstance(one, bytes) else one.code for one in found] == [
            size if size <= limit else "too_large" for size in sizes
        ]

    def test_one_chunk_is_not_measured_here(self) -> None:
        """A short line over the limit is left to the manager, which refuses every body over max_request."""
        assert asyncio.run(all_lines([b"abc\n"], limit=1)) == [b"abc"]

    def test_what_cannot_be_read_is_an_error_behind_what_could(self) -> None:
        async def scenario() -> None:
            lines = Lines(os.open("/", os.O_RDONLY), 10)
            arrived = asyncio.Event()
            lines.start(lambda _: arrived.set())
            await arrived.wait()
            assert lines.ended
            assert str(lines.error) == "the input cannot be read: Is a directory"

        asyncio.run(scenario())


class TestReadBody:
    def test_to_the_limit_and_over_it(self) -> None:
        async def scenario(limit: int) -> bytes | TooLarge:
            async with Wire([b"abc", b"def"]) as fd:
                return await read_body(fd, limit)

        assert asyncio.run(scenario(6)) == b"abcdef"
        assert isinstance(asyncio.run(scenario(5)), TooLarge)

    def test_what_cannot_be_read(self) -> None:
        with pytest.raises(InputError, match="Is a directory"):
            asyncio.run(read_body(os.open("/", os.O_RDONLY), 10))


class Sink:
    """The reading side of what a pipeline writes."""

    def __init__(self) -> None:
        self.fd, self.write_fd = os.pipe()

    def read(self) -> bytes:
        os.close(self.write_fd)
        with os.fdopen(self.fd, "rb") as file:
            return file.read()


def piped(
    bodies: int, call: Callable[[bytes], Awaitable[Reply]], parallel: int
) -> tuple[bytes, list[Reply | CallError], Exception | None]:
    """Run `bodies` calls through a pipeline. Returns the output, the outcomes as they came, and what it raised."""
    sink = Sink()
    outcomes: list[Reply | CallError] = []
    raised: Exception | None = None

    async def scenario() -> None:
        source = Repeated(b"body", bodies)
        record = lambda index, outcome: outcomes.append(outcome)  # noqa: E731
        await Pipeline(source, call, record, LineBody(), sink.write_fd, parallel).run()

    try:
        asyncio.run(scenario())
    except CannotStart as error:
        raised = error
    return sink.read(), outcomes, raised


class TestPipeline:
    @settings(max_examples=30)
    @given(st.integers(0, 60), st.integers(1, 8), st.randoms(use_true_random=False))
    def test_the_order_is_that_of_the_bodies(self, count: int, parallel: int, luck: random.Random) -> None:
        begun = 0
        flying: set[int] = set()

        async def call(_body: bytes) -> Reply:
            nonlocal begun
            number, begun = begun, begun + 1
            flying.add(number)
            assert len(flying) <= parallel
            for _ in range(luck.randrange(6)):
                await asyncio.sleep(0)
            flying.remove(number)
            if luck.random() < 0.2:
                raise CallTimeout("late")
            return reply(b"%d" % number)

        output, outcomes, _ = piped(count, call, parallel)
        failed = [one for one in outcomes if isinstance(one, CallTimeout)]
        assert len(outcomes) == count
        assert output.count(b"\n") == count
        numbers = [int(line) for line in output.split()]
        assert numbers == sorted(numbers)
        assert len(numbers) == count - len(failed)

    def test_nobody_runs_far_ahead_of_a_slow_call(self) -> None:
        begun = 0

        async def scenario() -> int:
            first = asyncio.get_running_loop().create_future()

            async def call(_body: bytes) -> Reply:
                nonlocal begun
                begun += 1
                if begun == 1:
                    await first
                return reply(b"x")

            sink = Sink()
            pipeline = Pipeline(Repeated(b"", 10_000), call, lambda *_: None, raw_body, sink.write_fd, 4)
            task = asyncio.create_task(pipeline.run())
            for _ in range(1000):
                await asyncio.sleep(0)
            ahead = begun
            first.set_result(None)
            await task
            assert sink.read() == b"x" * 10_000
            return ahead

        assert asyncio.run(scenario()) == 64

    def test_a_call_that_raises_anything_else_ends_the_run(self) -> None:
        async def call(_body: bytes) -> Reply:
            raise ConfigError("wrong")

        with pytest.raises(ConfigError, match="wrong"):
            piped(10, call, 3)

    def test_a_function_that_never_started_is_not_tried_again(self) -> None:
        calls = 0

        async def call(_body: bytes) -> Reply:
            nonlocal calls
            calls += 1
            raise LaunchFailed("no such program", retry_after=100)

        output, outcomes, raised = piped(1000, call, 1)
        assert (calls, len(outcomes), output) == (1, 1, b"\n")
        assert str(raised) == "no such program"

    def test_one_that_has_run_is_tried_again_and_no_input_is_lost(self) -> None:
        calls = 0

        async def call(_body: bytes) -> Reply:
            nonlocal calls
            calls += 1
            if calls in {2, 3, 4}:
                raise LaunchFailed("not now", retry_after=0.001)
            return reply(b"x")

        output, outcomes, raised = piped(5, call, 1)
        assert (output, raised, calls) == (b"x\n" * 5, None, 8)
        assert all(isinstance(one, Reply) for one in outcomes)

    def test_trying_again_ends(self) -> None:
        calls = 0

        async def call(_body: bytes) -> Reply:
            nonlocal calls
            calls += 1
            if calls > 1:
                raise LaunchFailed("not any more", retry_after=0.001)
            return reply(b"x")

        output, outcomes, raised = piped(1000, call, 1)
        assert (output, len(outcomes), calls) == (b"x\n\n", 2, 7)
        assert str(raised) == "not any more"

    def test_another_error_while_trying_again_is_that_calls(self) -> None:
        errors = iter([None, LaunchFailed("not now", retry_after=0.001), CallTimeout("late"), None])

        async def call(_body: bytes) -> Reply:
            if error := next(errors):
                raise error
            return reply(b"x")

        output, outcomes, raised = piped(3, call, 1)
        assert (output, raised) == (b"x\n\nx\n", None)
        assert isinstance(outcomes[1], CallTimeout)

    def test_stop_takes_no_more_and_finishes_what_is_begun(self) -> None:
        async def scenario() -> bytes:
            sink = Sink()
            go, three = asyncio.Event(), asyncio.Event()
            begun = 0

            async def call(_body: bytes) -> Reply:
                nonlocal begun
                begun += 1
                if begun == 3:
                    three.set()
                await go.wait()
                return reply(b"x")

            pipeline = Pipeline(Repeated(b"", 100), call, lambda *_: None, raw_body, sink.write_fd, 3)
            task = asyncio.create_task(pipeline.run())
            await three.wait()
            assert pipeline.in_flight == 3
            pipeline.stop()
            go.set()
            await task
            return sink.read()

        assert asyncio.run(scenario()) == b"xxx"


class TestOutput:
    def test_full_and_room_again(self) -> None:
        async def scenario() -> None:
            sink = Sink()
            room = asyncio.Event()
            output = Output(sink.write_fd, room.set)
            output.put(b"x" * HIGH_WATER)
            assert output.full
            reading = asyncio.create_task(asyncio.to_thread(os.read, sink.fd, 4096))
            await reading
            assert output.full  # the pipe took a part: a write is done when all of it is
            rest = asyncio.create_task(asyncio.to_thread(drain, sink.fd, HIGH_WATER - len(reading.result())))
            await room.wait()
            assert not output.full
            await asyncio.gather(output.drained(), rest)
            output.close()

        asyncio.run(scenario())

    def test_what_comes_within_a_moment_is_one_write(self) -> None:
        async def scenario() -> bytes:
            sink = Sink()
            output = Output(sink.write_fd, lambda: None)
            for _ in range(10):
                output.put(b"x")
            data = await asyncio.to_thread(os.read, sink.fd, 100)
            output.close()
            return data

        assert asyncio.run(scenario()) == b"x" * 10

    def test_after_an_error_nothing_is_kept(self) -> None:
        async def scenario() -> None:
            sink = Sink()
            os.close(sink.fd)
            gone = asyncio.Event()
            output = Output(sink.write_fd, gone.set)
            output.watch()
            await gone.wait()
            assert isinstance(output.error, BrokenPipeError)
            output.put(b"x" * HIGH_WATER * 2)
            assert not output.full
            await output.drained()
            output.close()

        asyncio.run(scenario())


def drain(fd: int, size: int) -> None:
    while size:
        size -= len(os.read(fd, size))


class TestMessages:
    def test_a_reader_that_is_too_slow_loses_lines_and_is_told(self) -> None:
        async def scenario() -> bytes:
            sink = Sink()
            messages = Messages(sink.write_fd)
            for _ in range(3 * HIGH_WATER // 1000):
                messages.line("x" * 999)
            reading = asyncio.create_task(asyncio.to_thread(read_until, sink.fd, b"last\n"))
            await messages._output.drained()
            messages.line("last")
            text = await reading
            await messages.aclose()
            return text

        text = asyncio.run(scenario())
        kept = text.count(b"x" * 999)
        assert HIGH_WATER // 1000 <= kept <= HIGH_WATER // 1000 + 2
        assert f"[hotfn: {3 * HIGH_WATER // 1000 - kept} lines dropped".encode() in text

    def test_a_reader_that_never_reads_does_not_keep_us(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("hotfn_core.cli.messages._DRAIN_SECONDS", 0.01)

        async def scenario() -> None:
            messages = Messages(Sink().write_fd)
            messages.line("x" * HIGH_WATER)
            await messages.aclose()

        asyncio.run(scenario())


def read_until(fd: int, end: bytes) -> bytes:
    text = b""
    while not text.endswith(end):
        text += os.read(fd, 65536)
    return text


class TestFormats:
    @pytest.mark.parametrize(("body", "line"), [(b"", b"\n"), (b"a", b"a\n"), (b"a\n", b"a\n"), (b"\n", b"\n")])
    def test_a_body_is_a_line(self, body: bytes, line: bytes) -> None:
        form = LineBody()
        assert form(0, reply(body)) == line
        assert form.longer == 0

    @pytest.mark.parametrize("body", [b"a\nb", b"a\n\n", b"\n\n", b"\na"])
    def test_bodies_of_several_lines_are_counted(self, body: bytes) -> None:
        form = LineBody()
        assert form(0, reply(body)).startswith(body)
        assert form.longer == 1

    @given(st.text(), st.binary(), st.text())
    def test_json_is_one_line_of_valid_json(self, text: str, body: bytes, message: str) -> None:
        headers = Headers([("X", text), ("x", "again")])
        line = json_line(3, Reply(200, headers, body, instance=text))
        assert line.count(b"\n") == 1
        assert json.loads(line)["headers"] == {"x": [text, "again"]}
        failed = json.loads(json_line(3, CallTimeout(message + "\udcff")))
        assert failed["error"] == {"code": "call_timeout", "message": message + "\udcff"}


class TestTally:
    def test_it_counts_by_kind_and_says_the_first_ten(self) -> None:
        said: list[str] = []
        tally = Tally(said.append, lines=True)
        for index in range(12):
            tally.record(index, CallTimeout("late\nlast words:\n  a\n  b"))
        tally.record(12, reply(b"broken", status=503))
        tally.record(13, reply(cold=True))
        assert said[0] == "call 0 (line 1): call_timeout: late | last words:   a |   b"
        assert said[-1] == "call 12 (line 13): status_503: the function answered broken"
        assert len(said) == 11
        assert list(tally.rest()) == ["... and 2 more of call_timeout"]
        assert tally.failed == {"call_timeout": 12, "status_503": 1}
        assert (tally.calls, tally.cold) == (14, 1)

    def test_the_rate_is_that_of_the_calls_and_not_of_what_comes_after(self, monkeypatch: pytest.MonkeyPatch) -> None:
        times = iter([100.0, 101.0, 102.0, 150.0])
        monkeypatch.setattr("hotfn_core.cli.tally.time", SimpleNamespace(monotonic=lambda: next(times)))
        tally = Tally(lambda _: None, lines=True)
        for index in range(2):
            tally.record(index, reply())
        assert next(tally.summary(1)) == "calls      2 in 2 s, 1 calls/s"

    def test_a_message_without_end_is_cut(self) -> None:
        said: list[str] = []
        Tally(said.append, lines=False).record(0, CallTimeout("x" * 100_000))
        assert len(said[0]) < 1100


class TestOptions:
    @pytest.mark.parametrize(
        ("text", "value"),
        [
            ("4", 4),
            ("0.5", 0.5),
            ("true", True),
            ('"4"', "4"),
            ("[1, 2]", [1, 2]),
            ("{ a = 1 }", {"a": 1}),
            ("/srv/x", "/srv/x"),
            ("", ""),
            ("2026-01-01", "2026-01-01"),
            ("1\nevil = 2", "1\nevil = 2"),
        ],
    )
    def test_values_are_toml_or_text(self, text: str, value: object) -> None:
        assert driver_options([f"key={text}"]) == {"key": value}

    def test_tables(self) -> None:
        assert driver_options(["a.b=1", "a.c=x=y"]) == {"a": {"b": 1, "c": "x=y"}}

    @pytest.mark.parametrize("pairs", [["x"], ["=x"], ["a..b=1"], ["a=1", "a.b=2"]])
    def test_what_is_no_option(self, pairs: list[str]) -> None:
        with pytest.raises(ConfigError, match="--driver-option"):
            driver_options(pairs)

    def test_headers(self) -> None:
        assert headers(["A: b: c", "D:", "A: again"]) == [("A", "b: c"), ("D", ""), ("A", "again")]
        with pytest.raises(ConfigError, match="--header"):
            headers(["no colon"])
