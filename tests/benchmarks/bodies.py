"""Bodies of all sizes, both ways: how fast they pass, and how many copies of one hotfn holds at most."""

from __future__ import annotations

import asyncio
import os
import time
import tracemalloc
from collections.abc import Callable
from pathlib import Path

import uvloop
from contenders import Hot, end, reply_of, request_of, start

from hotfn_core import FunctionSpec, Manager

SIZES = {"1 KiB": 1 << 10, "64 KiB": 1 << 16, "1 MiB": 1 << 20, "16 MiB": 1 << 24}
LARGE = SIZES["16 MiB"]
ROOM = LARGE + 1024
MANY, COPIES = 16, 4
"""Calls of 1 MiB both ways at once, and the copies that take them."""


class BarePipe:
    """The floor: one request written, one reply read into memory that is there, over blocking pipes.

    The guest answers when it has the whole body, so nobody has to read and write at the same time. `kept`: the caller
    gets the body as an object of its own, as callers of hotfn do; otherwise the next reply overwrites it.
    """

    def __init__(self, guest: Path, size: int, *, kept: bool) -> None:
        self._process = start(guest)
        body = bytes(size)
        self._request, self._reply = request_of("http", body), len(reply_of("http", body))
        self._size = size
        self._kept = kept
        self._room = bytearray(self._reply)
        self._body = b""

    def calls(self, count: int) -> float:
        begin = time.perf_counter()
        for _ in range(count):
            self._call()
        return (time.perf_counter() - begin) / count

    def _call(self) -> None:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        stdin, stdout = self._process.stdin.fileno(), self._process.stdout.fileno()
        done, left = 0, memoryview(self._request)
        while done < len(left):
            done += os.write(stdin, left[done:])
        got, room = 0, memoryview(self._room)
        while got < self._reply:
            got += os.readv(stdout, [room[got:]])
        if self._kept:
            self._body = bytes(room[-self._size :])

    def close(self) -> None:
        end(self._process)


class HotBody(Hot):
    """`Manager.call` with a body of some size, on a copy that is hot."""

    def __init__(self, guest: Path, new_loop: Callable[[], asyncio.AbstractEventLoop], size: int) -> None:
        super().__init__(guest, new_loop)
        self._body = bytes(size)

    async def _caller(self, count: int) -> None:
        call, spec, body = self._manager.call, self._spec, self._body
        for _ in range(count):
            reply = await call(spec, body)
            assert len(reply.body) == len(body)


def copies(guest: Path, rounds: int, most: int) -> dict[str, list[float]]:
    """Return how much memory a call of 16 MiB takes at its peak, in bodies, one way and the other, and many of 1 MiB.

    The request's body is the caller's and is there before; the reply's body is what the caller gets and counts.
    """
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(_copies(guest, min(rounds, 5)))


async def _copies(guest: Path, rounds: int) -> dict[str, list[float]]:
    spec = FunctionSpec(name="echo", command=(str(guest),), format="http")
    large = bytes(LARGE)
    ways = {"request": ("/take", large), "reply": (f"/give?{LARGE}", b""), "both": ("/", large)}
    found: dict[str, list[float]] = {}
    async with Manager() as manager:
        for way, (url, body) in ways.items():
            await manager.call(spec, body, url=url)
            found[f"{way} [bodies]"] = [await _peak(manager, spec, url, body) for _ in range(rounds)]
        await manager.call(spec, b"")
        found["both, kept behind the call [bodies]"] = [await _kept(manager, spec, large) for _ in range(rounds)]
        crowd = spec.replace(name="crowd", max_concurrency=COPIES)
        await asyncio.gather(*(manager.call(crowd, b"", url="/wait?100000") for _ in range(COPIES)))
        found["many at once, for a copy [bodies]"] = [await _crowded(manager, crowd) for _ in range(rounds)]
    return found


async def _crowded(manager: Manager, spec: FunctionSpec) -> float:
    """Return the most memory that many calls at once took, in bodies for each copy.

    Callers bring bodies that are there before and drop their replies. So what waits takes nothing, nor does what has
    ended, and each copy has one call.
    """
    size = SIZES["1 MiB"]
    given = [bytes([number]) * size for number in range(MANY)]

    async def call(body: bytes) -> None:
        assert len((await manager.call(spec, body)).body) == size

    tracemalloc.start()
    try:
        await asyncio.gather(*map(call, given))
        _, peak = tracemalloc.get_traced_memory()
        return peak / size / COPIES
    finally:
        tracemalloc.stop()


async def _peak(manager: Manager, spec: FunctionSpec, url: str, body: bytes) -> float:
    """Return the most memory that a call took beyond what there was, in bodies."""
    tracemalloc.start()
    try:
        reply = await manager.call(spec, body, url=url)
        _, peak = tracemalloc.get_traced_memory()
        assert reply.status == 200
        return peak / LARGE
    finally:
        tracemalloc.stop()


async def _kept(manager: Manager, spec: FunctionSpec, body: bytes) -> float:
    """Return what hotfn still holds when the caller has dropped the reply, in bodies."""
    tracemalloc.start()
    try:
        reply = await manager.call(spec, body)
        del reply
        for _ in range(3):  # the step of the loop that woke this task holds the reply until it ends
            await asyncio.sleep(0)
        held, _ = tracemalloc.get_traced_memory()
        return held / LARGE
    finally:
        tracemalloc.stop()
