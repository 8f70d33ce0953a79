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
from .work import Told, Work

__all__ = ["OWN_THREAD", "Closed", "SharedLoop"]

T = TypeVar("T")


def _never() -> bool:
    return False


class SharedLoop(Turns):
    """Runs work on a loop. Every method may be called from any thread.

    `is_bare` is said of work as in `Work`. Each method raises Closed, and RuntimeError before `start` and in a
    forked child.
    """

    def __init__(self) -> None:
        super().__init__()
        self._going: set[Work] = set()

    def run(self, coroutine: Coroutine[Any, Any, T], is_bare: Callable[[], bool] = _never) -> T:
        """Run work and wait for its end. What interrupts the waiting cancels it.

        Raises RuntimeError on the thread that runs the loop.
        """
        try:
            leads = self._lead()
        except BaseException:
            coroutine.close()
            raise
        if not leads:
            return self._follow(coroutine, is_bare)
        try:
            return self._run_bare(coroutine) if is_bare() else self._run_task(coroutine)
        finally:
            self._leave()

    def begin(
        self, coroutine: Coroutine[Any, Any, Any], told: Told, is_bare: Callable[[], bool] = _never
    ) -> Callable[[], None]:
        """Run work, and have its end told on the loop, perhaps before this returns. Returns what cancels it."""

        def end(result: Any, error: BaseException | None) -> None:
            with self._gate:
                self._submitted -= 1
            told(result, error)

        work = Work(coroutine, end, is_bare, self._going)
        try:
            leads = not self.is_running_here() and self._lead(ask=False)
        except BaseException:
            coroutine.close()
            raise
        if leads:
            self._begin_here(work)
        else:
            self._hand_over(work)
        return partial(self._soon, work.cancel)

    def submit(self, coroutine: Coroutine[Any, Any, T], is_bare: Callable[[], bool] = _never) -> Future[T]:
        """Run work. The future's `cancel` cancels it also when it has begun."""
        future: Future[T] = self.new_future()
        cancel = self.begin(coroutine, partial(settle, future), is_bare)
        if not future.done():
            future.add_done_callback(lambda future: cancel() if future.cancelled() else None)
        return future

    def new_future(self) -> Future[Any]:
        """Return a future whose waiters run the loop."""
        return _SharedFuture(self)

    def wait_for(self, future: Future[Any], timeout: float | None) -> bool:
        """Run the loop until the future is done or so many seconds have passed. Returns False, and has not waited, when
        somebody else runs it."""
        try:
            if self.is_running_here() or not self.opened or not self._lead(mine=1):
                return False
        except Closed:  # just now: what is left is told by the loop's end
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

    # ---- leading

    def _begin_here(self, work: Work) -> None:
        try:
            with self._gate:
                self._submitted += 1
            work.begin(self.loop)
        finally:
            try:
                self._leave()
            except KeyboardInterrupt:
                self._soon(work.cancel)
                raise

    def _run_bare(self, coroutine: Coroutine[Any, Any, T]) -> T:
        # As Work does it, without being told: this is the hot path.
        try:
            while True:
                future = coroutine.send(None)
                try:
                    while not future.done():
                        self._round()
                except BaseException:
                    with contextlib.suppress(asyncio.CancelledError):
                        coroutine.throw(asyncio.CancelledError())
                    raise
        except StopIteration as end:
            return end.value  # type: ignore[no-any-return]

    def _run_task(self, coroutine: Coroutine[Any, Any, T]) -> T:
        task = self.loop.create_task(coroutine)
        try:
            while not task.done():
                self._round()
            return task.result()
        finally:
            task.cancel()  # if it has not ended
            del task  # or an error, its traceback and this frame would hold each other

    # ---- following

    def _follow(self, coroutine: Coroutine[Any, Any, T], is_bare: Callable[[], bool]) -> T:
        """Have another thread run work, and wait."""
        # A bare lock instead of a Future: half of what handing over costs is a Future's condition.
        done = threading.Lock()
        done.acquire()
        outcome: list[Any] = []

        def told(*end: Any) -> None:
            outcome.extend(end)
            done.release()

        work = Work(coroutine, told, is_bare, self._going)
        try:
            self._hand_over(work, done)
            done.acquire()
        except BaseException:
            self._soon(work.cancel)
            raise
        finally:
            with self._gate:
                self._followers.discard(done)
        result: T
        result, error = outcome
        if error is None:
            return result
        try:
            raise error
        finally:
            outcome.clear()  # or the error, its traceback and this frame would hold each other
            del error

    def _finish(self) -> None:
        self.loop.finish(self._going)

    def _hand_over(self, work: Work, follower: threading.Lock | None = None) -> None:
        """Have work begun by whoever runs the loop."""
        try:
            self._post(partial(work.begin, self.loop), follower)
        except RuntimeError:  # it was not taken
            work.abandon()
            raise
        except BaseException:  # an interrupt: the loop may have it, so only the loop may touch it
            self._soon(work.cancel)
            raise


def settle(future: Future[Any], result: Any, error: BaseException | None) -> None:
    """Tell a future how its work has ended."""
    if isinstance(error, asyncio.CancelledError):
        future.cancel()
    if not future.set_running_or_notify_cancel():
        return
    if error is None:
        future.set_result(result)
    else:
        future.set_exception(error)


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
