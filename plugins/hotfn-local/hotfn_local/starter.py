"""Starting plain processes, so that calls of the copies that are there wait for little of it.

Of several in a row a thread does all that is not the event loop's: pipes, the process, its pidfd. Measured beside the
same done by the loop, in one step or in several, with no more than the process made by the thread: this way calls wait
for less of it, and the starts are over sooner.
"""

from __future__ import annotations

import asyncio
import time
from concurrent.futures import ThreadPoolExecutor

from .guardian import Entry
from .spawn import Child, Order, Start

CALM = 0.02
"""Seconds since the last start was over, after which one is by itself. The loop does all else between two in a row."""

AT_ONCE = 2
"""One that the thread starts and one that waits for it: more are not faster, and disturb hot copies more."""


class Starter:
    """Starts one process after another.

    One that is by itself, or beside no copy that could have a call, is started on the loop, as nobody waits for long
    and a thread would double the time. Of several in a row the thread starts all.
    """

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
        if calm:
            child, cancelled = _started(order, entry.marker), False
        else:
            child, cancelled = await self._in_thread(order, entry)
        entry.started(child.pid)
        return child, cancelled

    async def _in_thread(self, order: Order, entry: Entry) -> tuple[Child, bool]:
        run = _Run(order, entry.marker)
        try:
            self._threads.submit(run)
        except RuntimeError:  # there can be no thread now; the pool keeps what it was given all the same
            run.drop()
            return _started(order, entry.marker), False
        cancelled = await run.over()
        return run.result(), cancelled

    def close(self) -> None:
        """Nothing is under way any more."""
        self._threads.shutdown(wait=False)  # they end by themselves


def _started(order: Order, marker: tuple[str, str]) -> Child:
    start = Start(order, marker)
    try:
        return start.child(start.run())
    finally:
        start.close()


class _Run:
    """One start in the thread. It cannot be stopped."""

    def __init__(self, order: Order, marker: tuple[str, str]) -> None:
        self._what = order, marker
        self._loop = asyncio.get_running_loop()
        self._waiter: asyncio.Future[None] = self._loop.create_future()
        self._done = self._dropped = False
        self._child: Child | None = None
        self._error: BaseException | None = None

    def drop(self) -> None:
        """Do nothing when its turn comes."""
        self._dropped = True

    def __call__(self) -> None:
        if self._dropped:
            return
        try:
            self._child = _started(*self._what)
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

    def result(self) -> Child:
        if self._child is None:
            assert self._error is not None
            raise self._error
        return self._child
