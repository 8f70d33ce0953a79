"""A loop for callers that wait: they run it themselves, in turns."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import Callable, Coroutine
from concurrent.futures import Future
from functools import partial
from typing import Any, TypeVar

from .turns import OWN_THREAD, Closed, Turns

__all__ = ["OWN_THREAD", "Closed", "SharedLoop"]

T = TypeVar("T")


class SharedLoop(Turns):
    """Runs work on a loop. Every method may be called from any thread."""

    def run(self, work: Coroutine[Any, Any, T], is_bare: Callable[[], bool] | None = None) -> T:
        """Run work on the loop and wait for its end. What interrupts the waiting cancels it.

        `is_bare` says, on the loop, whether the work awaits one future at the most and needs no task to be run in.
        Raises Closed, or RuntimeError on the thread that runs the loop and in a forked child.
        """
        try:
            leads = self._lead()
        except BaseException:
            work.close()
            raise
        if not leads:
            return self._follow(work)
        try:
            return self._run_bare(work) if is_bare is not None and is_bare() else self._run_task(work)
        finally:
            self._leave()

    def submit(self, work: Coroutine[Any, Any, T]) -> Future[T]:
        """Run work on the loop. The future's `cancel` cancels it also when it has begun."""
        future: Future[T] = self.new_future()

        def begin() -> None:
            task = self.loop.create_task(work)
            task.add_done_callback(partial(self._end, future))
            future.add_done_callback(partial(self._give_up, task))

        self._post(work, begin)
        return future

    def new_future(self) -> Future[Any]:
        """Return a future whose waiters run the loop."""
        return _SharedFuture(self)

    def wait_for(self, future: Future[Any], timeout: float | None) -> bool:
        """Run the loop until the future is done or so many seconds have passed. Returns False, and has not waited, when
        somebody else runs it."""
        if self.is_running_here() or not self.opened or not self._lead(mine=1):
            return False
        late: list[bool] = []
        timer = None if timeout is None else self.loop.call_later(timeout, late.append, True)
        try:
            while not (late or future.done()):
                self._round()
        finally:
            if timer is not None:
                timer.cancel()
            self._leave()
        return True

    def _run_bare(self, work: Coroutine[Any, Any, T]) -> T:
        try:
            future = work.send(None)
            try:
                while not future.done():
                    self._round()
            except BaseException:
                with contextlib.suppress(asyncio.CancelledError):
                    work.throw(asyncio.CancelledError())
                raise
            work.send(None)
        except StopIteration as end:
            return end.value  # type: ignore[no-any-return]
        raise AssertionError("it awaits more than one future")

    def _run_task(self, work: Coroutine[Any, Any, T]) -> T:
        task = self.loop.create_task(work)
        try:
            while not task.done():
                self._round()
            return task.result()
        finally:
            task.cancel()  # if it has not ended
            del task  # or an error, its traceback and this frame would hold each other

    # ---- following

    def _follow(self, work: Coroutine[Any, Any, T]) -> T:
        """Have another thread run work, and wait."""
        # A bare lock instead of a Future: half of what handing over costs is a Future's condition.
        done = threading.Lock()
        done.acquire()
        tasks: list[asyncio.Task[T]] = []

        def begin() -> None:
            task = self.loop.create_task(work)
            tasks.append(task)
            task.add_done_callback(lambda _: done.release())

        try:
            self._post(work, begin, follower=done)
            done.acquire()
        except BaseException:
            self._soon(lambda: [task.cancel() for task in tasks])
            raise
        finally:
            with self._gate:
                self._followers.discard(done)
        try:
            return tasks[0].result()
        finally:
            tasks.clear()  # as in _run_task

    def _end(self, future: Future[T], task: asyncio.Task[T]) -> None:
        """Tell a future how its work ended."""
        with self._gate:
            self._submitted -= 1
        if task.cancelled():
            future.cancel()
        if not future.set_running_or_notify_cancel():
            return
        if (error := task.exception()) is not None:
            future.set_exception(error)
        else:
            future.set_result(task.result())

    def _give_up(self, task: asyncio.Task[Any], future: Future[Any]) -> None:
        if future.cancelled():
            self._soon(task.cancel)


class _SharedFuture(Future[T]):
    """A future whose waiters run the loop."""

    def __init__(self, shared: SharedLoop) -> None:
        super().__init__()
        self._shared = shared

    def result(self, timeout: float | None = None) -> T:
        """As in `Future`."""
        return super().result(self._left(timeout))

    def exception(self, timeout: float | None = None) -> BaseException | None:
        """As in `Future`."""
        return super().exception(self._left(timeout))

    def _left(self, timeout: float | None) -> float | None:
        """Wait, if this is the thread to do it, and return how long is left to wait for another."""
        if not self.done() and self._shared.wait_for(self, timeout) and timeout is not None:
            return 0.0
        return timeout
