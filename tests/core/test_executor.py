"""The places of an executor: as many as there are copies, none lost by an interrupt, and a bound for what waits.

The manager is one that keeps what it is given; real copies are in tests/e2e.
"""

from __future__ import annotations

import linecache
import pickle
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import contextmanager, suppress
from functools import partial
from types import FrameType
from typing import Any

import pytest

from hotfn_core import ConfigError, FunctionSpec, Headers, Reply
from hotfn_core import executor as module
from hotfn_core.blocking import Manager
from hotfn_core.executor import Executor
from hotfn_core.work import Told

from .test_turns import interrupts

LIMIT_SECONDS = 10


class Kept:
    """A manager whose calls go on until they are answered."""

    def __init__(self) -> None:
        self.calls: list[tuple[bytes, Told]] = []
        self.own_thread = False

    def begin(self, _function: FunctionSpec | str, body: bytes, told: Told, /) -> Callable[[], None]:
        self.calls.append((body, told))
        return partial(self.cancel, told)

    def cancel(self, told: Told) -> None: ...

    def new_future(self) -> Future[Any]:
        return Future()

    def is_own_thread(self) -> bool:
        return self.own_thread

    def answer(self) -> None:
        """End the oldest call."""
        body, told = self.calls.pop(0)
        size, _, rest = body.partition(b"\n")
        function, args, kwargs = pickle.loads(rest[int(size) :])
        told(Reply(200, Headers(), pickle.dumps((True, function(*args, **kwargs)))), None)


def made(kept: Kept, copies: int = 1, most: int | None = None) -> Executor:
    return Executor(kept, FunctionSpec(name="f", command=("x",), format="http", max_concurrency=copies), most)


def answer_all(kept: Kept) -> None:
    while kept.calls:
        kept.answer()


@contextmanager
def struck(number: int) -> Iterator[list[str]]:
    """Raise KeyboardInterrupt at the `number`th line, entry or end of the executor's own functions. Yields where.

    Not at a `with`: its line comes again at its end, where Python itself looks at no signal before the lock is free.
    """
    left, where = number, list[str]()

    def trace(frame: FrameType, event: str, _argument: object) -> Any:
        nonlocal left
        if frame.f_code.co_filename != module.__file__ or event == "exception":
            return None if event == "call" else trace
        left -= not linecache.getline(module.__file__, frame.f_lineno).lstrip().startswith("with ")
        if left == 0:
            where.append(f"{frame.f_code.co_name}:{frame.f_lineno} {event}")
            raise KeyboardInterrupt
        return trace

    before = sys.gettrace()
    sys.settrace(trace)
    try:
        yield where
    finally:
        sys.settrace(before)


class TestAnInterruptAtAnyPoint:
    @pytest.mark.parametrize("waiting", [0, 2])
    def test_of_a_submit_loses_no_place(self, waiting: int) -> None:
        points = set()
        for number in range(1, 1000):
            kept = Kept()
            pool = made(kept, copies=2)
            before = [pool.submit(pow, one, 2) for one in range(waiting)]
            with struck(number) as where, suppress(KeyboardInterrupt):
                pool.submit(pow, 9, 2)
            if not where:
                break
            points.add(where[0].partition(":")[0])
            self._is_well(pool, kept, before)
        assert {"submit", "_go_on", "_next"} <= points

    def _is_well(self, pool: Executor, kept: Kept, before: list[Future[Any]]) -> None:
        """Everything begun is answered, and there are as many places as there were."""
        answer_all(kept)
        assert [one.result(0) for one in before] == [number * number for number in range(len(before))]
        for _ in range(3):
            pool.submit(pow, 3, 2)
        assert len(kept.calls) == 2
        for _ in range(10):
            answer_all(kept)
        pool.shutdown(cancel_futures=True)

    def test_who_waits_goes_on_when_somebody_else_is_struck(self) -> None:
        """The second call gets the place that the first one could not take."""
        kept = Kept()
        pool = made(kept)
        running = pool.submit(pow, 1, 2)
        futures = [pool.submit(pow, number, 2) for number in (2, 3)]
        strikes = iter([KeyboardInterrupt()])
        begin = kept.begin

        def interrupted(*arguments: Any) -> Any:
            for strike in strikes:
                raise strike
            return begin(*arguments)

        kept.begin = interrupted  # type: ignore[method-assign]
        with pytest.raises(KeyboardInterrupt):
            kept.answer()
        assert running.result(0) == 1
        assert isinstance(futures[0].exception(0), KeyboardInterrupt)
        kept.answer()
        assert futures[1].result(0) == 9

    def test_one_between_taking_and_running_does_not_hang_the_shutdown(self) -> None:
        kept = Kept()
        pool = made(kept)
        go_on, strikes = pool._go_on, iter([KeyboardInterrupt()])

        def interrupted() -> None:
            for strike in strikes:
                raise strike
            go_on()

        pool._go_on = interrupted  # type: ignore[method-assign]
        with pytest.raises(KeyboardInterrupt):
            pool.submit(pow, 3, 2)
        assert not kept.calls
        with ThreadPoolExecutor(1) as threads:
            ending = threads.submit(pool.shutdown)
            until_called(kept)
            kept.answer()
            ending.result(LIMIT_SECONDS)


def until_called(kept: Kept) -> None:
    given = threading.Event()
    for _ in range(1000):
        if kept.calls:
            return
        given.wait(0.01)
    raise AssertionError("nothing was handed over")


class TestABound:
    def test_submit_waits_for_a_place(self) -> None:
        kept = Kept()
        pool = made(kept, most=2)
        first, second = pool.submit(pow, 1, 2), pool.submit(pow, 2, 2)
        with ThreadPoolExecutor(1) as threads:
            third = threads.submit(lambda: pool.submit(pow, 3, 2))
            assert not wait([third], 0.05).done
            kept.answer()
            assert first.result(0) == 1
            future = third.result(LIMIT_SECONDS)
        answer_all(kept)
        assert (second.result(0), future.result(0)) == (4, 9)

    def test_shutdown_ends_the_waiting(self) -> None:
        kept = Kept()
        pool = made(kept, most=1)
        pool.submit(pow, 1, 2)
        with ThreadPoolExecutor(1) as threads:
            second = threads.submit(lambda: pool.submit(pow, 2, 2))
            assert not wait([second], 0.05).done
            pool.shutdown(wait=False)
            with pytest.raises(RuntimeError, match="after shutdown"):
                second.result(LIMIT_SECONDS)
        assert len(kept.calls) == 1

    def test_a_cancelled_call_frees_its_place_when_somebody_wants_it(self) -> None:
        kept = Kept()
        pool = made(kept, most=3)
        running, *waiting = (pool.submit(pow, number, 2) for number in range(3))
        for one in waiting:
            assert one.cancel()
        with ThreadPoolExecutor(1) as threads:
            last = [threads.submit(partial(pool.submit, pow, number, 2)).result(LIMIT_SECONDS) for number in (3, 4)]
        answer_all(kept)
        assert [one.result(0) for one in (running, *last)] == [0, 9, 16]

    def test_who_waits_already_gets_the_place_of_a_cancelled_call(self) -> None:
        kept = Kept()
        pool = made(kept, most=2)
        running, waiting = pool.submit(pow, 1, 2), pool.submit(pow, 2, 2)
        with ThreadPoolExecutor(1) as threads:
            third = threads.submit(lambda: pool.submit(pow, 3, 2))
            assert not wait([third], 0.05).done
            assert waiting.cancel()
            future = third.result(LIMIT_SECONDS)
        assert not running.done()
        answer_all(kept)
        assert future.result(0) == 9

    def test_the_manager_s_own_thread_does_not_wait_for_itself(self) -> None:
        kept = Kept()
        pool = made(kept, most=1)
        pool.submit(pow, 1, 2)
        kept.own_thread = True
        with pytest.raises(RuntimeError, match="the manager's own thread"):
            pool.submit(pow, 2, 2)
        kept.answer()
        pool.submit(pow, 2, 2)
        assert len(kept.calls) == 1

    @pytest.mark.parametrize("wrong", [0, -1, 1.5, True, "4"])
    def test_what_is_none(self, wrong: Any) -> None:
        with Manager(entry_points=False) as manager, pytest.raises(ConfigError, match="max_pending must be") as caught:
            manager.executor(FunctionSpec(name="f", command=("x",), format="http"), max_pending=wrong)
        assert caught.value.field == "max_pending"

    def test_an_interrupt_ends_the_waiting_and_nothing_else(self) -> None:
        kept = Kept()
        pool = made(kept, most=1)
        running = pool.submit(pow, 1, 2)
        main = threading.main_thread().ident
        assert main is not None

        timer = threading.Timer(0.2, signal.pthread_kill, (main, signal.SIGINT))
        with interrupts():
            timer.start()
            with pytest.raises(KeyboardInterrupt):
                pool.submit(pow, 2, 2)
        timer.join()
        kept.answer()
        assert running.result(0) == 1
        assert len(kept.calls) == 0
        pool.shutdown()
