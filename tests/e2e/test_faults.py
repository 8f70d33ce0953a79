"""What goes wrong with real programs, and that only the caller it belongs to notices."""

from __future__ import annotations

import asyncio
import gc
import json
import os
import signal
import time
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest

from hotfn_core import (
    BadReply,
    CallTimeout,
    FunctionSpec,
    InstanceExited,
    LaunchFailed,
    Manager,
    StderrLine,
    TooLarge,
    hookimpl,
)

from .conftest import Run, alive, open_files, script, scripted

HOT = ["http", "json", "cloudevent"]


async def pid_of(manager: Manager, spec: FunctionSpec) -> int:
    pid: int = json.loads((await manager.call(spec, script())).body)["pid"]
    return pid


@pytest.mark.parametrize("wire", HOT)
def test_w06_an_exit_in_mid_call_is_told_at_once(run: Run, wire: str) -> None:
    async def main() -> None:
        async with Manager() as manager:
            began = time.monotonic()
            with pytest.raises(InstanceExited, match="exited with code 3") as caught:
                await manager.call(scripted(wire), script(stderr="about to go\n", exit=3))
            assert time.monotonic() - began < 10  # the timeout is 30
            assert "about to go" in caught.value.message
            assert (caught.value.code, caught.value.status) == ("instance_exited", 502)
            assert (await manager.call(scripted(wire), script())).cold_reason == "after_failure"

    run(main())


def test_exit_0_in_mid_call_is_no_reply_either(run: Run) -> None:
    async def main() -> None:
        async with Manager() as manager:
            with pytest.raises(InstanceExited, match="exited with code 0"):
                await manager.call(scripted(), script(exit=0))
            with pytest.raises(InstanceExited, match="signal 11"):
                await manager.call(scripted(), script(signal=11))

    run(main())


def test_w07_a_copy_killed_between_calls_is_replaced(run: Run) -> None:
    async def main() -> None:
        async with Manager() as manager:
            spec = scripted()
            for _ in range(5):
                os.kill(await pid_of(manager, spec), signal.SIGKILL)
                await until(lambda: manager.stats()["default/guest"].idle == 0)
                assert (await manager.call(spec, script())).status == 200

    run(main())


async def until(condition: Callable[[], bool], limit: float = 20.0) -> None:
    """Wait for something that no event tells: what the kernel does to a process."""
    async with asyncio.timeout(limit):
        while not condition():  # noqa: ASYNC110  # the kernel sets no event for us
            await asyncio.sleep(0.005)


def test_w08_what_cannot_start_says_so_in_less_than_a_second(run: Run, tmp_path: Path) -> None:
    plain = tmp_path / "not-executable"
    plain.write_text("#!/bin/sh\n")
    dangling = tmp_path / "bad-interpreter"
    dangling.write_text("#!/no/such/interpreter\n")
    dangling.chmod(0o755)

    async def main() -> None:
        async with Manager() as manager:
            for path, word in (("/no/such/program", "not found"), (plain, "executable"), (dangling, "interpreter")):
                began = time.monotonic()
                with pytest.raises(LaunchFailed, match=word) as caught:
                    await manager.call(FunctionSpec(name="broken", format="http", command=(str(path),)))
                assert time.monotonic() - began < 1
                assert caught.value.function == "default/broken"

    run(main())


@pytest.mark.parametrize("wire", HOT)
def test_w09_a_late_answer_is_nobodys(run: Run, wire: str) -> None:
    async def main() -> None:
        async with Manager() as manager:
            # It minds neither the end of stdin nor SIGTERM, so it lives to say its answer.
            spec = scripted(wire, timeout=1.0, stop_grace=0.5, max_concurrency=2)
            first = await manager.call(spec, script(body="early"))
            with pytest.raises(CallTimeout) as caught:
                await manager.call(spec, script(term="ignore", eof="ignore", sleep=1.2, body="late"))
            assert caught.value.status == 504
            assert manager.stats()["default/guest"].stopping == 1
            while manager.stats()["default/guest"].stopping:
                reply = await manager.call(spec, script(sleep=0.05, body="mine"))
                assert reply.body == b"mine"
                assert reply.instance != first.instance
            assert manager.stats()["default/guest"].launched == 2

    run(main())


@pytest.mark.parametrize("wire", HOT)
@pytest.mark.parametrize("broken", [{"garbage": "nonsense\n"}, {"garbage_before": "nonsense\n"}])
def test_w10_w11_garbage_fails_its_call_in_milliseconds_and_ends_the_copy(
    run: Run, wire: str, broken: dict[str, str]
) -> None:
    async def main() -> None:
        async with Manager() as manager:
            spec = scripted(wire)
            pid = await pid_of(manager, spec)
            began = time.monotonic()
            with pytest.raises(BadReply) as caught:
                await manager.call(spec, script(**broken))
            assert time.monotonic() - began < 5
            assert caught.value.status == 502
            assert (await manager.call(spec, script(body="fine"))).body == b"fine"
            await until(lambda: not alive(pid))

    run(main())


@pytest.mark.parametrize("wire", HOT)
def test_w14_bytes_glued_to_a_reply_end_the_copy_but_not_the_call(run: Run, wire: str) -> None:
    async def main() -> None:
        async with Manager() as manager:
            spec = scripted(wire)
            first = await manager.call(spec, script(body="good", garbage_after="more"))
            second = await manager.call(spec, script(body="good"))
            assert (first.body, second.body) == (b"good", b"good")
            assert first.instance != second.instance
            assert manager.stats()["default/guest"].stopped["excess_output"] == 1

    run(main())


def test_bytes_that_nobody_asked_for_end_an_idle_copy(run: Run) -> None:
    async def main() -> None:
        async with Manager() as manager:
            spec = scripted()
            first = await manager.call(spec, script(late="HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil"))
            await until(lambda: manager.stats()["default/guest"].idle == 0)
            second = await manager.call(spec, script(body="mine"))
            assert second.body == b"mine"
            assert first.instance != second.instance

    run(main())


def test_w13_a_cancelled_caller_leaves_no_copy_in_an_unknown_state(run: Run) -> None:
    async def main() -> None:
        async with Manager() as manager:
            spec = scripted(stop_grace=0.2)
            pid = await pid_of(manager, spec)
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0.3):
                    await manager.call(spec, script(hang=True) + b" " * 10_000_000)
            reply = await manager.call(spec, script(body="mine"))
            assert reply.body == b"mine"
            assert not alive(pid)
            assert manager.stats()["default/guest"].stopped["cancelled"] == 1

    run(main())


def test_a_function_that_never_reads_its_stdin_times_out_within_bounded_memory(run: Run) -> None:
    async def main() -> None:
        async with Manager() as manager:
            spec = FunctionSpec(name="deaf", format="http", command=("sleep", "60"), timeout=1, stop_grace=0.2)
            before = psutil.Process().memory_info().rss
            for _ in range(3):
                with pytest.raises(CallTimeout):
                    await manager.call(spec, bytes(50_000_000))
            gc.collect()
            assert psutil.Process().memory_info().rss - before < 120_000_000

    run(main())


def test_w17_limits_on_both_sides(run: Run) -> None:
    async def main() -> None:
        async with Manager() as manager:
            spec = scripted(max_request=1000, max_response=1000)
            with pytest.raises(TooLarge) as caught:
                await manager.call(spec, b"x" * 1001)
            assert caught.value.status == 413
            for _ in range(2):
                assert len((await manager.call(spec, script(size=1000))).body) == 1000
                with pytest.raises(BadReply, match="1000"):
                    await manager.call(spec, script(size=1001))

    run(main())


class Log:
    """Keeps the stderr lines of functions."""

    def __init__(self) -> None:
        self.lines: list[StderrLine] = []

    @hookimpl
    def hotfn_stderr_line(self, line: StderrLine) -> None:
        self.lines.append(line)


def test_w29_a_line_of_a_megabyte_on_stderr_hurts_nobody(run: Run) -> None:
    async def main() -> None:
        log = Log()
        async with Manager(plugins=[log]) as manager:
            reply = await manager.call(scripted(), script(stderr_bytes=1_048_576, body="here"))
            assert reply.body == b"here"
        assert log.lines[0].truncated
        assert len(log.lines[0].text) <= 8192

    run(main())


@pytest.mark.parametrize("wire", HOT)
def test_w30_w31_lines_carry_the_call_that_they_belong_to(run: Run, wire: str) -> None:
    async def main() -> None:
        log = Log()
        async with Manager(plugins=[log]) as manager:
            spec = scripted(wire)
            replies = [await manager.call(spec, script(stderr=f"line {n}\n", sleep=0.05)) for n in range(5)]
            await until(lambda: len(log.lines) == 5)
        assert [(line.call_id, line.text) for line in log.lines] == [
            (reply.call_id, f"line {n}") for n, reply in enumerate(replies)
        ]
        assert {line.instance for line in log.lines} == {replies[0].instance}

    run(main())


def test_a_hundred_megabytes_on_stderr_hurt_nobody(run: Run) -> None:
    async def main() -> None:
        async with Manager() as manager:
            before = psutil.Process().memory_info().rss
            reply = await manager.call(scripted(), script(stderr_bytes=100_000_000, body="here"))
            assert reply.body == b"here"
            assert psutil.Process().memory_info().rss - before < 50_000_000

    run(main())


def test_closing_stdout_is_told_long_before_the_timeout(run: Run) -> None:
    async def main() -> None:
        async with Manager() as manager:
            began = time.monotonic()
            with pytest.raises(BadReply, match="closed its stdout"):
                await manager.call(scripted(stop_grace=0.2), script(close_stdout=True, hang=True))
            assert time.monotonic() - began < 10

    run(main())


def test_w33_a_timeout_is_told_without_waiting_for_the_copy_to_end(run: Run) -> None:
    async def main() -> None:
        async with Manager() as manager:
            for wire in ("default", "http"):
                spec = scripted(wire, timeout=0.5, stop_grace=2)
                began = time.monotonic()
                with pytest.raises(CallTimeout):
                    await manager.call(spec, script(term="ignore", eof="ignore", hang=True))
                assert time.monotonic() - began < 1.5  # within a second of the deadline

    run(main())


def test_w34_a_call_is_not_charged_for_the_calls_before_it(run: Run) -> None:
    """Three calls on one copy take longer than one may, and the last of them is answered all the same."""

    async def main() -> None:
        async with Manager() as manager:
            spec = scripted(timeout=1.5)
            replies = await asyncio.gather(*[manager.call(spec, script(sleep=0.7)) for _ in range(3)])
            assert len({reply.instance for reply in replies}) == 1
            assert max(reply.queued + reply.started + reply.ran for reply in replies) > spec.timeout
            assert all(0.7 <= reply.ran < spec.timeout for reply in replies)

    run(main())


def test_grandchildren_die_with_the_copy(run: Run) -> None:
    async def main() -> None:
        async with Manager() as manager:
            reply = await manager.call(scripted(stop_grace=0.2), script(spawn={"count": 3, "seconds": 600}))
            pids = json.loads(reply.body)["spawned"]
            assert [alive(pid) for pid in pids] == [True] * 3
        assert not any(alive(pid) for pid in pids)

    run(main())


@pytest.mark.timeout(300)
def test_w12_a_thousand_timeouts_leave_descriptors_tasks_and_memory_flat(echo: str) -> None:
    """Every call times out on a copy that never answers, so every call also costs a copy."""

    async def main() -> None:
        async with Manager() as manager:
            spec = FunctionSpec(
                name="mute", format="http", command=("sleep", "60"), timeout=0.02, stop_grace=1, max_concurrency=8
            )

            async def one() -> None:
                with pytest.raises(CallTimeout):
                    await manager.call(spec, b"x" * 1000)

            marks = []
            for _ in range(10):
                for _ in range(13):
                    await asyncio.gather(*[one() for _ in range(8)])
                await until(lambda: manager.stats()["default/mute"].stopping == 0)
                gc.collect()
                marks.append((open_files(), len(asyncio.all_tasks()), psutil.Process().memory_info().rss))
            assert manager.stats()["default/mute"].calls["call_timeout"] == 1040
            descriptors, tasks, memory = zip(*marks[1:], strict=True)
            assert max(descriptors) == min(descriptors)
            assert max(tasks) <= 2
            assert memory[-1] - memory[0] < 4_000_000

    asyncio.run(main())
