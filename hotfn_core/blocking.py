"""hotfn for programs without an event loop: the Manager on a loop and a thread of its own.

with hotfn_core.blocking.Manager() as manager:
    reply = manager.call(FunctionSpec(name="echo", command=("cat",)), b"hello")
"""

from __future__ import annotations

import atexit
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import Future
from types import TracebackType
from typing import Any, Self, TypedDict, TypeVar, Unpack

from . import manager as on_a_loop
from .executor import PYTHON, Executor
from .model import FunctionSpec, HeadersLike, Reply
from .sharedloop import OWN_THREAD, Closed, SharedLoop
from .stats import FunctionStats
from .work import Told

__all__ = ["PYTHON", "Closed", "Executor", "Manager"]

T = TypeVar("T")


class CallOptions(TypedDict, total=False):
    """The keyword arguments of a call, as `hotfn_core.Manager.call` has them."""

    headers: HeadersLike | None
    method: str
    url: str
    content_type: str
    deadline: float | None
    call_id: str | None


class Manager:
    """Calls functions and keeps them hot, as `hotfn_core.Manager` does, for callers that wait.

    Every method may be called from any thread, but not from an observer's hook, which would wait for itself
    (RuntimeError). A Manager belongs to the process that entered it: a forked child makes its
    own (RuntimeError). A program that ends without closing it closes it at its end. Arguments and errors are those
    of `hotfn_core.Manager`; behind its end Closed, which is a ShuttingDown (so a CallRejected) and a RuntimeError too.
    """

    def __init__(
        self,
        *,
        plugins: Iterable[object] = (),
        entry_points: bool = True,
        max_starting: Mapping[str, int] | None = None,
    ) -> None:
        self._manager = on_a_loop.Manager(plugins=plugins, entry_points=entry_points, max_starting=max_starting)
        self._shared = SharedLoop()

    def __enter__(self) -> Self:
        """Start the loop and its thread. Once: a closed manager is not opened again."""
        self._shared.start()
        try:
            atexit.register(self.close)
            self._shared.run(self._manager.__aenter__())
        except BaseException:  # an interrupt: nobody leaves a `with` that was never entered
            self.close(kill=True)
            raise
        return self

    def __exit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close(kill=exc_type is not None and not issubclass(exc_type, Exception))

    def close(self, *, kill: bool = False) -> None:
        """End everything, as `hotfn_core.Manager.aclose`, and the thread with it. Idempotent.

        Another thread may ask for `kill` while one closes. Leaving the `with` by KeyboardInterrupt or SystemExit kills.
        """
        if not self._shared.is_ours():
            return
        if self.is_own_thread():
            raise RuntimeError(OWN_THREAD)
        try:
            if self._shared.opened:
                self._shared.run(self._manager.aclose(kill=kill))
        except Closed:  # somebody else was faster
            pass
        finally:
            self._shared.stop()
            atexit.unregister(self.close)

    # ---- calls

    def call(
        self, function: FunctionSpec | str, body: bytes | bytearray | memoryview = b"", **options: Unpack[CallOptions]
    ) -> Reply:
        """Call a function, wait, and return its reply, whatever its status.

        An exception that comes in between, as KeyboardInterrupt, cancels the call: it leaves the queue, or its copy is
        stopped.
        """
        work = self._manager.call(function, body, **options)
        return self._shared.run(work, lambda: self._manager.is_served(function))

    def submit(
        self, function: FunctionSpec | str, body: bytes | bytearray | memoryview = b"", **options: Unpack[CallOptions]
    ) -> Future[Reply]:
        """Call a function and return the reply's future at once; `max_queue` bounds how many calls wait.

        `cancel` of the future cancels the call also when it runs: its copy is stopped then. Its callbacks run on the
        manager's thread, so they may not wait for another call.
        """
        return self._shared.submit(
            self._manager.call(function, body, **options), lambda: self._manager.is_served(function)
        )

    def begin(self, function: FunctionSpec | str, body: bytes, told: Told) -> Callable[[], None]:
        """Call a function and have its end told on the manager's loop, perhaps before this returns: the reply and None,
        or None and the error. Returns what cancels the call."""
        return self._shared.begin(self._manager.call(function, body), told, lambda: self._manager.is_served(function))

    def new_future(self) -> Future[Any]:
        """Return a future for somebody who waits for what this manager does."""
        return self._shared.new_future()

    def executor(self, spec: FunctionSpec, *, max_pending: int | None = None) -> Executor:
        """Return an Executor that runs Python calls in copies of a function whose command is `PYTHON`.

        `max_pending`: `submit` waits while so many of its calls have not ended; None: it takes any number.

        For the driver `local`. In a container the command is that image's Python with a copy of `hotfn_core/worker.py`.
        Raises ConfigError for a function of another format than `http`, and for a bound that is none.
        """
        return Executor(self, spec, max_pending)

    # ---- functions

    def register(self, spec: FunctionSpec) -> None:
        """Make a function callable by its name and launch its `min_instances`."""
        self._shared.run(_now(lambda: self._manager.register(spec)))

    def open(self, function: FunctionSpec | str) -> None:
        """Check a function, open its driver and make ready what it needs now instead of at the first call."""
        self._shared.run(self._manager.open(function))

    def drain(self, limit: float | None = None, *, serve_waiting: bool = True) -> None:
        """Take no more calls and return when every copy is gone."""
        self._shared.run(self._manager.drain(limit, serve_waiting=serve_waiting))

    def stats(self) -> dict[str, FunctionStats]:
        """Return counters and gauges by "app/name"."""
        return self._shared.run(_now(self._manager.stats))

    def time(self) -> float:
        """Return the manager's clock in seconds: what the deadline of a call is measured by."""
        if not self._shared.is_ours():
            raise RuntimeError("a Manager must be entered first, and in this process")
        return self._manager.time()

    def is_own_thread(self) -> bool:
        """Say whether this thread runs the manager's loop just now, so that nobody on it may wait for it."""
        return self._shared.is_running_here()


async def _now(step: Callable[[], T]) -> T:
    return step()
