"""A `concurrent.futures.Executor` whose workers are copies of a function."""

from __future__ import annotations

import os
import pickle
import sys
import threading
from asyncio import CancelledError
from collections import deque
from collections.abc import Callable
from concurrent.futures import Executor as StandardExecutor
from concurrent.futures import Future, InvalidStateError
from functools import partial
from pathlib import Path
from typing import Any, ParamSpec, Protocol, TypeVar

from . import worker
from .errors import ConfigError
from .model import FunctionSpec, Reply
from .work import Told

PYTHON = (sys.executable, str(Path(worker.__file__)))
"""The command of a function whose copies run Python calls: this very Python."""

OWN_THREAD = "this is the manager's own thread, which would wait for itself: {}"

LOOK_AGAIN = 0.05
"""Seconds until a submit that waits for room looks whether a waiting call was cancelled. Whoever cancels cannot be
asked to tell: that may be a signal's handler, on a thread that holds the lock just then."""

P = ParamSpec("P")
T = TypeVar("T")


class Caller(Protocol):
    """The manager, as far as an Executor needs it."""

    def begin(self, function: FunctionSpec | str, body: bytes, told: Told, /) -> Callable[[], None]: ...

    def new_future(self) -> Future[Any]: ...

    def is_own_thread(self) -> bool: ...


class RemoteTraceback(Exception):
    """The cause of an error that a call raised in a copy: its traceback there, as text."""

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self.text = text

    def __str__(self) -> str:
        return f"\n\n{self.text}"


class Hold:
    """What a future has of its call: enough to end it. It knows no future, or each would keep the other alive."""

    def __init__(self) -> None:
        self.cancel: Callable[[], None] | None = None

    def let_go(self, future: Future[Any]) -> None:
        """The future has ended; when it was cancelled its call ends as well."""
        if future.cancelled():
            future.set_running_or_notify_cancel()  # else who waits for several futures is not told
            if self.cancel is not None:
                self.cancel()


class Task:
    """One call of an executor: what waits for a copy, and then whom the outcome is told."""

    def __init__(self, body: bytes, future: Future[Any]) -> None:
        self.future = future
        self.body = body
        self.hold = Hold()
        self.future.add_done_callback(self.hold.let_go)

    def begun(self, cancel: Callable[[], None]) -> None:
        """A copy has it, or will: the body is not needed here any more."""
        self.body = b""
        self.hold.cancel = cancel
        if self.future.cancelled():  # just now
            cancel()
        if self.future.done():  # it has ended before this was said
            self.hold.cancel = None

    def end(self, outcome: Any, error: BaseException | None) -> None:
        """Tell the outcome, if anybody still wants it."""
        self.hold.cancel = None
        try:
            if error is None:
                self.future.set_result(outcome)
            else:
                self.future.set_exception(error)
        except InvalidStateError:  # it was cancelled
            return


class Executor(StandardExecutor):
    """Runs Python calls in copies of one function; made by `Manager.executor`.

    As with `ProcessPoolExecutor` functions are found by import, and arguments and results are pickled. Otherwise: a
    call that takes longer than the function's `timeout` fails with CallTimeout, and its copy alone is killed;
    `Future.cancel` also ends a call that runs; a copy that dies fails its own call (InstanceExited) and no other;
    copies are recycled by `max_calls` and `max_age`, and end when they are idle. What is submitted waits here until a
    copy may take it, with its pickled arguments: any number of calls, as with every executor of the standard library,
    unless `max_pending` bounds those that have not ended. `submit` waits then until there is room, and so does `map`.
    A call waits in the function's own queue, where `max_queue` and `queue_timeout` count, only when
    others call the function as well, or when a copy takes long to stop. Results are unpickled in this process: the
    copies have to run your own code, and nobody else's. The methods may be called from any thread;
    `shutdown` that waits, and `submit` that has to, not from a future's callback, which would wait for itself
    (RuntimeError). A forked child makes an executor of its own.
    """

    def __init__(self, caller: Caller, spec: FunctionSpec, max_pending: int | None = None) -> None:
        if spec.format != "http":
            raise ConfigError(f'an executor needs a function of format "http", not "{spec.format}"', field="format")
        if max_pending is not None and (max_pending.__class__ is not int or max_pending < 1):
            text = f"max_pending must be a whole number, at least 1, or None, not {max_pending!r}"
            raise ConfigError(text, field="max_pending")
        self._caller = caller
        self._spec = spec
        self._place = pickle.dumps(tuple(_place()))
        self._most = max_pending
        # A bare lock: a signal's handler may raise within a Condition's own `__enter__`, and nobody would let go of it.
        self._gate = threading.Lock()
        self._changed = threading.Condition(self._gate)
        self._waiting: deque[Task] = deque()
        self._running: set[Task] = set()  # those that have one of the places
        self._shut = False
        self._pid = os.getpid()

    def submit(self, fn: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> Future[T]:
        """Run a call in a copy. What cannot be pickled is the future's error. Raises RuntimeError after `shutdown`."""
        self._check_process()
        task, error = Task(b"", self._caller.new_future()), None
        try:
            task.body = worker.pack_call(self._place, fn, args, kwargs)
        except Exception as fault:  # whatever an object's own way of being pickled raises
            error = fault
        with self._gate:
            self._wait_for_room()
            if self._shut:
                raise RuntimeError("cannot schedule new futures after shutdown")
            if error is None:
                self._waiting.append(task)
        if error is None:
            self._go_on()
        else:
            task.end(None, error)
        return task.future

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """Take no more calls, and wait for those that were taken. Copies end when they are idle, or with the manager.

        `cancel_futures` cancels what no copy has taken yet.
        """
        self._check_process()
        if wait and self._caller.is_own_thread():
            raise RuntimeError(OWN_THREAD.format("shutdown(wait=False)"))
        with self._gate:
            self._shut = True
            unwanted = [*self._waiting] if cancel_futures else []
            if cancel_futures:
                self._waiting.clear()
            self._changed.notify_all()
        for task in unwanted:
            task.future.cancel()
        self._go_on()  # an interrupted submit may have left something behind
        with self._gate:
            while wait and (self._running or self._waiting):
                self._changed.wait()

    def _wait_for_room(self) -> None:
        """Wait until another call may be taken, or none ever."""
        while self._most is not None and not self._shut and len(self._running) + len(self._waiting) >= self._most:
            wanted = deque(task for task in self._waiting if not task.future.cancelled())
            if len(wanted) < len(self._waiting):
                self._waiting = wanted
            elif self._caller.is_own_thread():
                raise RuntimeError(OWN_THREAD.format("a larger max_pending"))
            else:
                self._changed.wait(LOOK_AGAIN)

    def _go_on(self) -> None:
        """Hand over what waits, as much as there may be copies for. An interrupt, at whatever point, fails a call at
        most and loses no place: the others go on before it is raised."""
        fault: BaseException | None = None
        more = True
        while more:
            taken: list[Task] = []
            try:
                more = self._next(taken)
                for task in taken:
                    self._begin(task)
            except BaseException as error:  # KeyboardInterrupt and its like: whoever submits is told
                fault = error
                for task in taken:
                    self._give_up(task, error)
        if fault is not None:
            try:
                raise fault
            finally:
                del fault  # or the error, its traceback and this frame would hold each other

    def _next(self, taken: list[Task]) -> bool:
        """Take the next call that somebody wants and that there may be a copy for, and say whether there was one. It is
        in `taken` before anything else is changed, so that whoever is interrupted knows of it."""
        with self._gate:
            while self._waiting and len(self._running) < self._spec.max_concurrency:
                task = self._waiting[0]
                if not task.future.cancelled():
                    taken.append(task)
                    self._running.add(task)
                self._waiting.popleft()
                if taken:
                    return True
            self._changed.notify_all()
        return False

    def _begin(self, task: Task) -> None:
        try:
            cancel = self._caller.begin(self._spec, task.body, partial(self._called, task))
        except RuntimeError as error:  # the manager is closed
            self._done(task, None, error)
        else:
            task.begun(cancel)

    def _give_up(self, task: Task, error: BaseException) -> None:
        """A call was interrupted on its way to a copy. If it is known to have begun it goes on."""
        with self._gate:
            if task in self._waiting:
                self._waiting.remove(task)
        if task.hold.cancel is None:
            self._done(task, None, error)

    def _called(self, task: Task, reply: Reply | None, error: BaseException | None) -> None:
        """A call has ended: tell who waits for it, and let the next one begin. Runs on the manager's loop."""
        if reply is not None:
            self._done(task, *_outcome(reply))
        elif isinstance(error, CancelledError):
            task.future.cancel()
            self._done(task, None, None)
        else:
            self._done(task, None, error)
        self._go_on()

    def _done(self, task: Task, outcome: Any, error: BaseException | None) -> None:
        """Tell the outcome, and free the place of the call."""
        try:
            task.end(outcome, error)
        finally:
            with self._gate:
                self._running.discard(task)  # an interrupted submit frees it, and then the end of the call
                self._changed.notify_all()

    def _check_process(self) -> None:
        if os.getpid() != self._pid:
            raise RuntimeError("this executor belongs to the process that this one was forked of: make another one")


def _outcome(reply: Reply) -> tuple[Any, BaseException | None]:
    """Return a call's result and None, or None and its error."""
    try:
        ok, value = pickle.loads(reply.body)  # noqa: S301 -- see the class
        if ok:
            return value, None
        error, text = value
        if not isinstance(error, BaseException):
            raise TypeError(f"a call's error is no exception but {error!r}")
    except BaseException as fault:  # a class that is not here, one that raises anything, a function that is no worker
        return None, fault
    error.__cause__ = RemoteTraceback(text)
    return None, error


def _place() -> worker.Place:
    """Say where this program's functions are found."""
    main = sys.modules["__main__"]
    sys.modules.setdefault(worker.MAIN, main)  # what a copy has of it is known by that name when it comes back
    spec = getattr(main, "__spec__", None)
    name = "" if spec is None or spec.name.endswith("__main__") else spec.name
    file = "" if spec is not None else getattr(main, "__file__", None) or ""
    path = [one or str(Path.cwd()) for one in sys.path]
    return worker.Place(path, name, str(Path(file).absolute()) if file else "")
