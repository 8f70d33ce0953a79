"""hotfn for programs without an event loop: the Manager on a loop and a thread of its own.

with hotfn_core.blocking.Manager() as manager:
    reply = manager.call(FunctionSpec(name="echo", command=("cat",)), b"hello")
"""

from __future__ import annotations

import asyncio
import atexit
import contextlib
import logging
import os
import threading
from collections.abc import Callable, Coroutine, Iterable
from concurrent.futures import Future
from functools import partial
from types import TracebackType
from typing import Any, Self, TypedDict, TypeVar, Unpack

from . import manager as on_a_loop
from .executor import PYTHON, Executor
from .loops import new_event_loop
from .model import FunctionSpec, HeadersLike, Reply
from .stats import FunctionStats

__all__ = ["PYTHON", "Executor", "Manager"]

log = logging.getLogger("hotfn")

OWN_THREAD = "this is the manager's own thread, which would wait for itself: use submit"

CLOSE_SECONDS = 5.0
"""How long what is left on the loop behind the manager's end may take."""

T = TypeVar("T")
R = TypeVar("R")


class CallOptions(TypedDict, total=False):
    """The keyword arguments of a call, as `hotfn_core.Manager.call` has them."""

    headers: HeadersLike | None
    method: str
    url: str
    content_type: str
    deadline: float | None
    call_id: str | None


class Closed(RuntimeError):
    """The manager takes nothing: it is not open yet, or not any more."""


class Manager:
    """Calls functions and keeps them hot, as `hotfn_core.Manager` does, for callers that wait.

    Every method may be called from any thread, but not from an observer's hook, which runs on the manager's own thread
    and would wait for itself (RuntimeError). A Manager belongs to the process that entered it: a forked child makes its
    own (RuntimeError). A program that ends without closing it closes it at its end. Arguments and errors are those
    of `hotfn_core.Manager`.
    """

    def __init__(self, *, plugins: Iterable[object] = (), entry_points: bool = True) -> None:
        self._manager = on_a_loop.Manager(plugins=plugins, entry_points=entry_points)
        self._gate = threading.Lock()  # nothing is handed to the loop behind its end
        self._open = False
        self._pid = 0

    def __enter__(self) -> Self:
        """Start the thread. Once: a closed manager is not opened again."""
        with self._gate:
            if self._pid:
                raise RuntimeError("a Manager is entered only once")
            self._pid = os.getpid()
            self._loop = new_event_loop()
            self._thread = threading.Thread(target=self._run, name="hotfn", daemon=True)
            self._open = True
            self._thread.start()
        atexit.register(self.close)
        self._wait(self._manager.__aenter__())
        return self

    def __exit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close(kill=exc_type is not None and not issubclass(exc_type, Exception))

    def close(self, *, kill: bool = False) -> None:
        """End everything, as `hotfn_core.Manager.aclose`, and the thread with it. Idempotent.

        Another thread may ask for `kill` while one closes. Leaving the `with` by KeyboardInterrupt or SystemExit kills.
        """
        if not self._pid or os.getpid() != self._pid:
            return
        if self.is_own_thread():
            raise RuntimeError(OWN_THREAD)
        try:
            if self._open:
                self._wait(self._manager.aclose(kill=kill))
        except Closed:  # somebody else was faster
            pass
        finally:
            self._stop()

    # ---- calls

    def call(
        self, function: FunctionSpec | str, body: bytes | bytearray | memoryview = b"", **options: Unpack[CallOptions]
    ) -> Reply:
        """Call a function, wait, and return its reply, whatever its status.

        An exception that comes in between, as KeyboardInterrupt, cancels the call: it leaves the queue, or its copy is
        stopped.
        """
        return self._wait(self._manager.call(function, body, **options))

    def submit(
        self, function: FunctionSpec | str, body: bytes | bytearray | memoryview = b"", **options: Unpack[CallOptions]
    ) -> Future[Reply]:
        """Call a function and return the reply's future at once; `max_queue` bounds how many calls wait.

        `cancel` of the future cancels the call also when it runs: its copy is stopped then. Its callbacks run on the
        manager's thread, so they may not wait for another call.
        """
        call = self._manager.call(function, body, **options)
        return self._post(call, lambda: asyncio.run_coroutine_threadsafe(call, self._loop))

    def executor(self, spec: FunctionSpec) -> Executor:
        """Return an Executor that runs Python calls in copies of a function whose command is `PYTHON`.

        For the driver `local`. In a container the command is that image's Python with a copy of `hotfn_core/worker.py`.
        Raises ConfigError for a function of another format than `http`.
        """
        return Executor(self, spec)

    # ---- functions

    def register(self, spec: FunctionSpec) -> None:
        """Make a function callable by its name and launch its `min_instances`."""
        self._wait(_now(lambda: self._manager.register(spec)))

    def open(self, function: FunctionSpec | str) -> None:
        """Check a function, open its driver and make ready what it needs now instead of at the first call."""
        self._wait(self._manager.open(function))

    def drain(self, limit: float | None = None, *, serve_waiting: bool = True) -> None:
        """Take no more calls and return when every copy is gone."""
        self._wait(self._manager.drain(limit, serve_waiting=serve_waiting))

    def stats(self) -> dict[str, FunctionStats]:
        """Return counters and gauges by "app/name"."""
        return self._wait(_now(self._manager.stats))

    def time(self) -> float:
        """Return the manager's clock in seconds: what the deadline of a call is measured by."""
        if not self._pid:
            raise RuntimeError("a Manager must be entered first")
        return self._manager.time()

    # ---- the thread

    def is_own_thread(self) -> bool:
        """Say whether this is the manager's own thread, on which nobody may wait for it."""
        return self._open and threading.get_ident() == self._thread.ident

    def _run(self) -> None:
        """Run the loop until `_stop`, and what is left on it to its end: those who wait are told."""
        loop = self._loop
        asyncio.set_event_loop(loop)
        while self._open:
            self._survive(loop.run_forever)
        for patience in (CLOSE_SECONDS, 1.0):
            if tasks := asyncio.all_tasks(loop):  # of plugins as well: those that go on for ever are cancelled
                self._survive(partial(loop.run_until_complete, asyncio.wait(tasks, timeout=patience)))
                for task in asyncio.all_tasks(loop):
                    task.cancel()
        self._survive(lambda: loop.run_until_complete(loop.shutdown_asyncgens()))
        loop.close()

    @staticmethod
    def _survive(step: Callable[[], object]) -> None:
        try:
            step()
        except BaseException:  # SystemExit and its like, of an observer or of a future's callback
            log.exception("what runs on the manager's thread has to raise nothing that ends a thread")

    def _stop(self) -> None:
        with self._gate:
            if self._open:
                self._open = False
                self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        atexit.unregister(self.close)

    def _post(self, work: Coroutine[Any, Any, T], hand_over: Callable[[], R]) -> R:
        """Hand work to the loop, if that is there to take it."""
        try:
            if self._pid != os.getpid() and self._pid:
                raise RuntimeError("this Manager belongs to the process that this one was forked of: make another one")
            with self._gate:
                if not self._open:
                    raise Closed("a Manager must be entered first, and is not open when it has been closed")
                return hand_over()
        except BaseException:
            work.close()
            raise

    def _wait(self, work: Coroutine[Any, Any, T]) -> T:
        """Run work on the loop and wait for its end. What interrupts the waiting cancels it."""
        # A bare lock instead of a Future: half of what handing over costs is a Future's condition.
        done = threading.Lock()
        done.acquire()
        tasks: list[asyncio.Task[T]] = []

        def begin() -> None:
            task = self._loop.create_task(work)
            tasks.append(task)
            task.add_done_callback(lambda _: done.release())

        def cancel() -> None:
            tasks[0].cancel()

        if self.is_own_thread():
            work.close()
            raise RuntimeError(OWN_THREAD)
        self._post(work, lambda: self._loop.call_soon_threadsafe(begin))
        try:
            done.acquire()
        except BaseException:
            with contextlib.suppress(RuntimeError):  # the loop has ended, and the work with it
                self._loop.call_soon_threadsafe(cancel)
            raise
        try:
            return tasks[0].result()
        finally:
            tasks.clear()  # or an error, its traceback and this frame would hold each other


async def _now(step: Callable[[], T]) -> T:
    return step()
