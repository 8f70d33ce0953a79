"""Starting plain processes, so that calls of the copies that are there wait for as little of it as can be."""

from __future__ import annotations

import asyncio
import time
from concurrent.futures import ThreadPoolExecutor

from .guardian import Entry
from .spawn import Child, Order, Start

CALM = 0.02
"""Seconds since the last start was over, after which one is by itself. The loop does all else between two in a row."""

AT_ONCE = 2
"""One that the thread starts and one that is made ready for it: more are not faster and disturb hot copies more."""


class Starter:
    """Starts one process after another. What one takes of the event loop comes in pieces when others are around."""

    def __init__(self) -> None:
        self._threads = ThreadPoolExecutor(1, "hotfn-local")  # runs when it is first needed
        self._places = asyncio.Semaphore(AT_ONCE)
        self._starting = 0
        self._over_at = 0.0

    async def start(self, order: Order, entry: Entry, *, alone: bool) -> tuple[Child, bool]:
        """Start the process. Returns whether that was cancelled, which comes too late, with it. Raises OSError or
        ValueError. `alone`: there is no copy that could have a call."""
        async with self._places:
            calm = not self._starting and (alone or time.monotonic() - self._over_at > CALM)
            self._starting += 1
            try:
                return await self._start(order, entry, calm)
            finally:
                self._starting -= 1
                self._over_at = time.monotonic()

    async def _start(self, order: Order, entry: Entry, calm: bool) -> tuple[Child, bool]:
        start, cancelled = Start(order, entry.marker), False
        try:
            if calm:
                pid = start.run()
            else:
                await asyncio.sleep(0)
                pid, cancelled = await self._in_thread(start)
            child = start.child(pid)
        finally:
            start.close()
        entry.started(child.pid)
        return child, cancelled if calm else await _pause() or cancelled

    async def _in_thread(self, start: Start) -> tuple[int, bool]:
        run = _Run(start)
        self._threads.submit(run)
        cancelled = await run.over()
        return run.result(), cancelled

    def close(self) -> None:
        """Nothing is under way any more."""
        self._threads.shutdown(wait=False)  # they end by themselves


async def _pause() -> bool:
    """Let others go first. Returns whether that was cancelled."""
    try:
        await asyncio.sleep(0)
    except asyncio.CancelledError:
        return True
    return False


class _Run:
    """One start in the thread. It cannot be stopped."""

    def __init__(self, start: Start) -> None:
        self._start = start
        self._loop = asyncio.get_running_loop()
        self._waiter: asyncio.Future[None] = self._loop.create_future()
        self._done = False
        self._pid = 0
        self._error: BaseException | None = None

    def __call__(self) -> None:
        try:
            self._pid = self._start.run()
        except BaseException as error:  # whatever it is, it is for who waits
            self._error = error
        self._loop.call_soon_threadsafe(self._tell)

    def _tell(self) -> None:
        self._done = True
        if not self._waiter.done():
            self._waiter.set_result(None)

    async def over(self) -> bool:
        """Wait until it is over, well or badly. Returns whether somebody wanted to stop that."""
        cancelled = False
        while not self._done:
            try:
                await self._waiter
            except asyncio.CancelledError:
                cancelled = True
                self._waiter = self._loop.create_future()
        return cancelled

    def result(self) -> int:
        if self._error is not None:
            raise self._error
        return self._pid
