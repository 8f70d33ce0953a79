"""Threads that requests to an engine run in, and the end of patience with one that answers nobody."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any, TypeVar

from hotfn_core.errors import DriverUnavailable

THREADS = 16
"""Requests of one lane that are under way at the same time; more wait their turn."""

MOST = 4096
"""Requests of one lane that wait."""

STALLED = 30.0
"""Seconds without any answer, with all threads waiting for one, after which an engine is asked nothing more."""

T = TypeVar("T")


class Lane:
    """Some threads of its own. They are daemons: one that hangs keeps no process from ending.

    `submit` may be called from any thread. `threads`, `most` and `stalled` are as the constants say.
    """

    def __init__(
        self, engine: str, name: str, threads: int = THREADS, most: int = MOST, stalled: float = STALLED
    ) -> None:
        self._engine = engine
        self._name = f"hotfn-{engine}-{name}"
        self._threads = threads
        self._most = most
        self._stalled = stalled
        self._jobs: deque[tuple[Future[Any], Callable[[], Any]]] = deque()
        self._changed = threading.Condition()
        self._running = 0
        self._free = 0
        self._moved = time.monotonic()  # when a request began or ended the last time
        self._closed = False
        self._ended: Future[None] = Future()

    def submit(self, job: Callable[[], T]) -> Future[T]:
        """Run a job as soon as a thread is free. A future that is cancelled before that is not run.

        Raises DriverUnavailable at once when the engine answers nobody any more, and when the lane is closed.
        """
        future: Future[T] = Future()
        with self._changed:
            self._check()
            self._jobs.append((future, job))
            if len(self._jobs) > self._free and self._running < self._threads:
                self._start()
            self._changed.notify()
        return future

    def close(self) -> Future[None]:
        """Let the threads end; what waits for one is dropped. Does not wait for a request that is under way.

        The future is done when the last thread has ended; it cannot be cancelled. Idempotent.
        """
        with self._changed:
            if self._closed:
                return self._ended
            self._closed = self._ended.set_running_or_notify_cancel()
            dropped, self._jobs = self._jobs, deque()
            self._changed.notify_all()
            left = self._running
        for future, _ in dropped:
            future.cancel()
        if not left:
            self._ended.set_result(None)
        return self._ended

    def _check(self) -> None:
        if self._closed:
            raise DriverUnavailable(f"the driver of {self._engine} is closed")
        silent = time.monotonic() - self._moved
        busy = self._running >= self._threads and not self._free
        if (busy and silent > self._stalled) or len(self._jobs) >= self._most:
            raise DriverUnavailable(
                f"{self._engine} hangs: {self._running} requests are under way and {len(self._jobs)} wait, and for "
                f"{silent:.0f} s it has answered none; look at its log, or restart it"
            )

    def _start(self) -> None:
        """Start one more thread. It counts from now on, so that the next job does not start another for this one."""
        self._running += 1
        threading.Thread(target=self._serve, name=f"{self._name}-{self._running}", daemon=True).start()

    def _serve(self) -> None:
        while (work := self._next()) is not None:
            _run(*work)
            del work  # it holds the answer, which nobody needs while this thread waits
            with self._changed:
                self._moved = time.monotonic()
        with self._changed:
            self._running -= 1
            last = not self._running
        if last:
            self._ended.set_result(None)

    def _next(self) -> tuple[Future[Any], Callable[[], Any]] | None:
        """Wait for a job; None when there will be none."""
        with self._changed:
            self._free += 1
            while not self._jobs and not self._closed:
                self._changed.wait()
            self._free -= 1
            self._moved = time.monotonic()
            return None if self._closed else self._jobs.popleft()


def _run(future: Future[Any], job: Callable[[], Any]) -> None:
    if not future.set_running_or_notify_cancel():
        return
    try:
        result = job()
    except BaseException as error:  # whatever it is, who waits is told
        future.set_exception(error)
    else:
        future.set_result(result)
