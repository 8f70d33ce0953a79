"""Checks of the three streams: bytes, back-pressure, ends."""

from __future__ import annotations

import asyncio
import random
import time

from .kit import Copy, Kit, Unsupported
from .registry import check

MB = 1 << 20
INSTANT = 0.25
"""Seconds that a `write` that does not block may take on a busy machine."""


def noise(size: int) -> bytes:
    """Return bytes of every value, always the same, that no shift or loss leaves alike."""
    return random.Random(size).randbytes(size)


async def _echoed(copy: Copy, data: bytes) -> None:
    out = copy.recorder.out
    await copy.until(lambda: len(out) >= len(data) or copy.recorder.exit is not None, f"{len(data)} echoed bytes")
    assert bytes(out) == data, f"of {len(data)} bytes {_difference(data, bytes(out))}"


def _difference(sent: bytes, got: bytes) -> str:
    if len(sent) != len(got):
        return f"{len(got)} came back"
    return f"the one at {next(index for index in range(len(sent)) if sent[index] != got[index])} was changed"


@check
async def check_bytes(kit: Kit) -> None:
    """12 MB of every byte value go in and come out unchanged."""
    copy = await kit.launch(wire="raw")
    data = noise(12 * MB)
    copy.write(data)
    await _echoed(copy, data)


@check
async def check_many_writes(kit: Kit) -> None:
    """Thousands of writes of all sizes arrive in order."""
    copy = await kit.launch(wire="raw")
    data, at = noise(2 * MB), 0
    sizes = random.Random(1)
    while at < len(data):
        size = sizes.choice((1, 2, 100, 5000, 70_000))
        copy.write(data[at : at + size])
        at += size
        if sizes.random() < 0.1:
            await asyncio.sleep(0)
    await _echoed(copy, data)


@check
async def check_holding(kit: Kit) -> None:
    """`write` never blocks: what a copy does not take is held, `writable` says so, and all of it arrives in the end."""
    copy = await kit.launch({"sleep": 1.0}, wire="raw")
    assert copy.container.writable, "a new container is not writable"
    data = noise(16 * MB)
    slowest = 0.0
    for at in range(0, len(data), MB):
        began = time.monotonic()
        copy.write(data[at : at + MB])
        slowest = max(slowest, time.monotonic() - began)
    assert slowest < INSTANT, f"a write blocked for {slowest:.2f} s"
    assert not copy.container.writable, "16 MB that nobody reads are held and the container says it is writable"
    await _echoed(copy, data)
    assert copy.container.writable, "all was taken and the container says it is not writable"


@check
async def check_deaf_copy(kit: Kit) -> None:
    """A copy that never reads its stdin can be stopped while 16 MB wait for it."""
    copy = await kit.launch({"hang": True}, wire="raw")
    copy.write(noise(16 * MB))
    assert await kit.stopped(copy, 1) < 1 + kit.patience / 2


@check
async def check_pausing(kit: Kit) -> None:
    """While reading is paused no stdout arrives but stderr does; afterwards all of it comes, unchanged."""
    copy = await kit.ready()
    copy.container.pause_reading()
    copy.container.pause_reading()
    before = len(copy.recorder.out)
    copy.send({"stderr_bytes": 1000, "size": 4 * MB})
    await copy.until(lambda: len(copy.recorder.err) >= 1000, "stderr of a paused copy")
    await asyncio.sleep(0.3)
    assert len(copy.recorder.out) == before, "stdout arrived while reading was paused"
    copy.container.resume_reading()
    copy.container.resume_reading()
    assert await copy.reply() == "x" * 4 * MB, "the reply of a paused copy was damaged"


@check
async def check_pausing_bounds_memory(kit: Kit) -> None:
    """A paused copy is held back: it cannot write 64 MB that nobody reads."""
    copy = await kit.ready()
    copy.container.pause_reading()
    copy.send({"stdout": "", "size": 64 * MB, "late": "", "late_after": 0})
    copy.send({"stderr": "got through"})
    await asyncio.sleep(1.5)
    assert b"got through" not in copy.recorder.err, (
        "the copy wrote 64 MB although nobody reads: they are held somewhere"
    )
    await kit.stopped(copy, 0.2)


@check
async def check_stderr(kit: Kit) -> None:
    """8 MB of stderr in one line, and 20,000 short lines, arrive whole and hold up no call."""
    copy = await kit.ready()
    await copy.call({"stderr_bytes": 8 * MB, "body": "done"})
    await copy.until(lambda: len(copy.recorder.err) >= 8 * MB, "8 MB of stderr")
    assert bytes(copy.recorder.err) == b"e" * 8 * MB, "stderr was damaged"
    copy.recorder.err.clear()
    await copy.call({"stderr_lines": 20_000, "body": "done"})
    lines = b"".join(b"line %d\n" % number for number in range(20_000))
    await copy.until(lambda: len(copy.recorder.err) >= len(lines), "20,000 lines of stderr")
    assert bytes(copy.recorder.err) == lines, "lines of stderr were lost or mixed"


@check
async def check_streams_apart(kit: Kit) -> None:
    """The two outputs are not mixed."""
    copy = await kit.launch()
    for number in range(50):
        assert await copy.call({"stderr": f"err {number}\n", "body": f"out {number}"}) == f"out {number}"
    await copy.until(lambda: b"err 49\n" in copy.recorder.err, "stderr")
    assert b"out" not in copy.recorder.err, "stdout arrives as stderr"
    assert b"err" not in copy.recorder.out, "stderr arrives as stdout"


@check
async def check_end_of_stdin(kit: Kit) -> None:
    """`write_eof` closes stdin behind everything that was written, and may be called again."""
    copy = await kit.launch({"sleep": 0.3}, wire="raw")
    data = noise(3 * MB)
    copy.write(data)
    copy.container.write_eof()
    copy.container.write_eof()
    await copy.exited()
    await _echoed(copy, data)
    assert copy.recorder.exit is not None
    assert copy.recorder.exit.code == 0, f"after the end of stdin it {copy.recorder.exit}"


@check
async def check_closed_stdout(kit: Kit) -> None:
    """A copy that closes its stdout and lives on is reported by `stdout_eof` (if the driver can see it)."""
    copy = await kit.ready()
    copy.send({"close_stdout": True, "hang": True})
    for _ in range(60):
        if copy.recorder.eofs or copy.recorder.exit:
            break
        await asyncio.sleep(0.05)
    assert copy.recorder.exit is None, f"a copy that closed stdout {copy.recorder.exit}"
    if not copy.recorder.eofs:
        raise Unsupported("this driver cannot see that stdout was closed")


@check
async def check_exit_is_no_eof(kit: Kit) -> None:
    """An exit is not reported as a closed stdout as well."""
    copies = [await kit.launch({"exit": 0}) for _ in range(5)]
    for copy in copies:
        await copy.exited()
        assert not copy.recorder.eofs, "stdout_eof was called for a copy that exited"


@check
async def check_closed_stdin(kit: Kit) -> None:
    """Writing to a copy that has closed its stdin raises nothing and does not end it."""
    copy = await kit.ready()
    copy.send({"close_stdin": True, "stderr": "closed", "hang": True})
    await copy.until(lambda: b"closed" in copy.recorder.err, "stderr")
    for _ in range(20):
        copy.write(noise(100_000))
        await asyncio.sleep(0.01)
    assert copy.recorder.exit is None, f"it {copy.recorder.exit}"
