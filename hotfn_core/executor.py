"""A `concurrent.futures.Executor` whose workers are copies of a function."""

from __future__ import annotations

import pickle
import sys
import threading
from collections import deque
from collections.abc import Callable
from concurrent.futures import Executor as StandardExecutor
from concurrent.futures import Future
from functools import partial
from pathlib import Path
from typing import Any, ParamSpec, Protocol, TypeVar

from . import worker
from .errors import ConfigError
from .model import FunctionSpec, Reply

PYTHON = (sys.executable, str(Path(worker.__file__)))
"""The command of a function whose copies run Python calls: this very Python."""

P = ParamSpec("P")
T = TypeVar("T")


class Caller(Protocol):
    """The manager, as far as an Executor needs it."""

    def submit(self, function: FunctionSpec | str, body: bytes, /) -> Future[Reply]: ...


class RemoteTraceback(Exception):
    """The cause of an error that a call raised in a copy: its traceback there, as text."""

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self.text = text

    def __str__(self) -> str:
        return f"\n\n{self.text}"


class Executor(StandardExecutor):
    """Runs Python calls in copies of one function; made by `Manager.executor`.

    As with `ProcessPoolExecutor` functions are found by import, and arguments and results are pickled. Otherwise: a
    call that takes longer than the function's `timeout` fails with CallTimeout, and its copy alone is killed;
    `Future.cancel` also ends a call that runs; a copy that dies fails its own call (InstanceExited) and no other;
    copies are recycled by `max_calls` and `max_age`, and end when they are idle. What is submitted waits here until a
    copy may take it, so `queue_timeout` and `max_queue` count for other callers of the function only. Results are
    unpickled in this process, on the manager's thread: the copies have to run your own code, and nobody else's. The
    methods may be called from any thread.
    """

    def __init__(self, caller: Caller, spec: FunctionSpec) -> None:
        if spec.format != "http":
            raise ConfigError(f'an executor needs a function of format "http", not "{spec.format}"', field="format")
        self._caller = caller
        self._spec = spec
        self._place = pickle.dumps(tuple(_place()))
        self._lock = threading.Condition(threading.RLock())
        self._waiting: deque[tuple[Future[Any], bytes]] = deque()
        self._running = 0
        self._shut = False

    def submit(self, fn: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> Future[T]:
        """Run a call in a copy. What cannot be pickled is the future's error. Raises RuntimeError after `shutdown`."""
        future: Future[T] = Future()
        try:
            body = worker.pack_call(self._place, fn, args, kwargs)
        except Exception as error:  # whatever an object's own way of being pickled raises
            future.set_exception(error)
            body = b""
        with self._lock:
            if self._shut:
                raise RuntimeError("cannot schedule new futures after shutdown")
            if body:
                self._waiting.append((future, body))
                self._go_on()
        return future

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """Take no more calls, and wait for those that were taken. Copies end when they are idle, or with the manager.

        `cancel_futures` cancels what no copy has taken yet.
        """
        with self._lock:
            self._shut = True
            while cancel_futures and self._waiting:
                self._waiting.popleft()[0].cancel()
            while wait and (self._running or self._waiting):
                self._lock.wait()

    def _go_on(self) -> None:
        """Hand over what waits, as much as there may be copies for. The lock is held."""
        while self._waiting and self._running < self._spec.max_concurrency:
            future, body = self._waiting.popleft()
            if future.cancelled():
                continue
            self._running += 1
            try:
                call = self._caller.submit(self._spec, body)
            except BaseException as error:  # the manager is closed
                self._running -= 1
                _end(future, error)
                continue
            future.add_done_callback(partial(_cancelled, call))
            call.add_done_callback(partial(self._called, future))

    def _called(self, future: Future[Any], call: Future[Reply]) -> None:
        """A call has ended: tell who waits for it, and let the next one begin."""
        with self._lock:
            self._running -= 1
            self._go_on()
            self._lock.notify_all()
        if call.cancelled():
            future.cancel()
        elif (error := call.exception()) is not None:
            _end(future, error)
        else:
            _settle(future, call.result())


def _settle(future: Future[Any], reply: Reply) -> None:
    """Give a future what its call came to."""
    try:
        ok, value = pickle.loads(reply.body)  # noqa: S301 -- see the class
    except Exception as error:  # a class that is not here, or a function that is no worker
        _end(future, error)
        return
    if ok:
        if future.set_running_or_notify_cancel():
            future.set_result(value)
        return
    raised, text = value
    raised.__cause__ = RemoteTraceback(text)
    _end(future, raised)


def _cancelled(call: Future[Reply], future: Future[Any]) -> None:
    """A future has ended; if nobody wants it any more its call ends too."""
    if future.cancelled():
        call.cancel()


def _end(future: Future[Any], error: BaseException) -> None:
    if future.set_running_or_notify_cancel():
        future.set_exception(error)


def _place() -> worker.Place:
    """Say where this program's functions are found."""
    main = sys.modules["__main__"]
    spec = getattr(main, "__spec__", None)
    name = "" if spec is None or spec.name.endswith("__main__") else spec.name
    file = "" if spec is not None else getattr(main, "__file__", None) or ""
    path = [one or str(Path.cwd()) for one in sys.path]
    return worker.Place(path, name, str(Path(file).absolute()) if file else "")
