"""The pipes of the driver `local` under programs that do not behave."""

from __future__ import annotations

import asyncio
import os
import resource
import time
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from hotfn_core.model import Exit
from hotfn_core.testing.check_driver import Kit
from hotfn_local.pipes import HIGH_WATER, PipeReader, PipeWriter

from .conftest import Local

MB = 1 << 20


def resident() -> int:
    """Return the memory of this process in bytes."""
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * resource.getpagesize()


@contextmanager
def memory_bounded(limit: int) -> Iterator[None]:
    before = resident()
    yield
    grown = resident() - before
    assert grown < limit, f"{grown / MB:.0f} MB more"


def test_w29_a_line_of_one_megabyte_on_stderr_blocks_nothing(local: Local) -> None:
    async def body(kit: Kit) -> None:
        copy = await kit.ready()
        assert await copy.call({"stderr_bytes": MB, "body": "answer"}) == "answer"
        await copy.until(lambda: len(copy.recorder.err) == MB, "all of stderr")

    local(body)


def test_a_hundred_megabytes_of_stderr_are_passed_on_and_not_kept(local: Local) -> None:
    async def body(kit: Kit) -> None:
        copy = await kit.ready()
        seen = 0

        def count(data: bytes) -> None:
            nonlocal seen
            seen += len(data)

        copy.container._stderr._deliver = count  # type: ignore[attr-defined]
        with memory_bounded(20 * MB):
            assert await copy.call({"stderr_bytes": 100 * MB, "body": "answer"}) == "answer"
            copy.send({"exit": 0})
            await copy.exited()
        assert seen == 100 * MB

    local(body)


def test_fifty_megabytes_that_nobody_reads_are_held_once(local: Local) -> None:
    """The call times out elsewhere; here memory stays bounded, the copy can be stopped, and nothing blocks."""

    async def body(kit: Kit) -> None:
        copy = await kit.ready({})
        copy.send({"hang": True})
        data = bytes(50 * MB)
        with memory_bounded(20 * MB):
            began = time.monotonic()
            copy.container.write(b"head")
            copy.container.write(data)
            assert time.monotonic() - began < 0.5
            assert not copy.container.writable
            await kit.stopped(copy, 0.5)
        assert copy.container.writable  # nothing is held for a copy that is gone

    local(body)


def test_b13_a_broken_pipe_is_no_error_and_the_exit_is_told(local: Local) -> None:
    async def body(kit: Kit) -> None:
        for _ in range(20):
            copy = await kit.launch({"exit": 3})
            while copy.recorder.exit is None:
                copy.write(bytes(100_000))
                await asyncio.sleep(0)
            assert copy.recorder.exit.code == 3

    local(body)


def test_b16_a_buffer_that_its_owner_uses_again_is_not_sent_twice(local: Local) -> None:
    async def body(kit: Kit) -> None:
        copy = await kit.launch({"sleep": 0.2}, wire="raw")
        buffer = bytearray(b"1" * 300_000)
        copy.container.write(buffer)  # type: ignore[arg-type] # more than the contract asks for
        buffer[:] = b"2" * 300_000
        copy.container.write(memoryview(buffer))  # type: ignore[arg-type]
        buffer[:] = b"3" * 300_000
        await copy.until(lambda: len(copy.recorder.out) == 600_000, "an echo")
        assert copy.recorder.out == b"1" * 300_000 + b"2" * 300_000

    local(body)


def test_b23_the_first_words_are_not_lost_and_launching_does_not_wait_for_them(local: Local) -> None:
    async def body(kit: Kit) -> None:
        for number in range(30):
            copy = await kit.launch(command=("sh", "-c", f"echo {number}; echo {number} >&2"), wire="raw")
            await copy.exited()
            assert copy.recorder.out == copy.recorder.err == f"{number}\n".encode()
        began = time.monotonic()
        await kit.launch({"sleep": 5})
        assert time.monotonic() - began < 1

    local(body)


def test_last_words_come_before_the_exit_however_they_race(local: Local) -> None:
    """The pidfd and the pipes become ready together, and the event loop may look at them in any order."""

    async def body(kit: Kit) -> None:
        for size in (1, 4096, 65536):
            for _ in range(20):
                copy = await kit.launch(command=("head", "-c", str(size), "/dev/zero"))
                time.sleep(0.01)  # noqa: ASYNC251 - the loop must find all of it ready at once
                await copy.exited()
                assert len(copy.recorder.out) == size

    local(body)


def test_a_stranger_who_writes_on_does_not_delay_the_exit(local: Local) -> None:
    """One that left the group holds the pipe and fills it for ever: what is there at the exit is passed on, once."""

    async def body(kit: Kit) -> None:
        command = ("sh", "-c", "setsid yes & sleep 0.2")
        copy = await kit.launch(command=command)
        copy.container.pause_reading()
        await copy.exited()
        assert len(copy.recorder.out) <= 65536

    local(body)


def test_stdout_closed_is_told_after_a_moment_and_the_exit_is_still_told(local: Local) -> None:
    async def body(kit: Kit) -> None:
        copy = await kit.ready()
        loop = asyncio.get_running_loop()
        began = loop.time()  # the clock of its timers, which goes by whole milliseconds in some loops
        copy.send({"close_stdout": True, "hang": True})
        await copy.until(lambda: copy.recorder.eofs == 1, "stdout_eof")
        assert round(loop.time() - began, 6) >= 0.25
        await kit.stopped(copy, 1)
        assert copy.recorder.exit is not None

    local(body)


def test_stdout_closed_just_before_the_exit_is_an_exit(local: Local) -> None:
    async def body(kit: Kit) -> None:
        copy = await kit.launch(command=("sh", "-c", "exec >&-; sleep 0.1; exit 4"))
        await copy.exited()
        await asyncio.sleep(0.4)
        assert (copy.recorder.eofs, copy.recorder.exit) == (0, Exit(code=4))

    local(body)


def test_writable_turns_at_the_mark(local: Local) -> None:
    async def body(kit: Kit) -> None:
        copy = await kit.launch({"hang": True}, wire="raw")
        written = 0
        while copy.container.writable:
            copy.write(b"x" * 1000)
            written += 1000
        held = copy.container._stdin.held  # type: ignore[attr-defined]
        assert HIGH_WATER <= held < HIGH_WATER + 1000
        assert 0 < written - held <= 4 * 65536  # what the pipe itself has taken

    local(body)


def test_a_pipe_end_may_be_closed_again() -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        reading, writing = os.pipe()
        os.set_blocking(writing, False)
        writer = PipeWriter(loop, writing)
        reader = PipeReader(loop, reading, lambda data: None, lambda: None)
        reader.resume()
        for _ in range(2):
            writer.write(b"x" * 100_000)
            writer.close()
            writer.end()
            reader.finish()
            reader.pause()
            reader.resume()
        with pytest.raises(OSError, match="Bad file descriptor"):
            os.fstat(reading)

    asyncio.run(main())


def test_readiness_that_was_a_mistake_is_ignored() -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        reading, writing = os.pipe()
        os.set_blocking(reading, False)
        heard: list[bytes] = []
        reader = PipeReader(loop, reading, heard.append, lambda: heard.append(b"end"))
        reader._ready()
        assert heard == []
        os.close(writing)
        reader._ready()
        assert heard == [b"end"]

    asyncio.run(main())
