"""Callers that run the loop themselves: who does when, and what comes in between."""

from __future__ import annotations

import asyncio
import os
import random
import resource
import signal
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial

import pytest

from hotfn_core import CallReport, Reply, hookimpl, steppedloop
from hotfn_core.blocking import Manager
from hotfn_core.sharedloop import SharedLoop
from hotfn_core.testing import Behaviour, FakeDriver, FakePlugin, fake_spec

pytestmark = pytest.mark.timeout(method="thread")  # by a signal, its handler keeps the main thread from leading

SLOW = Behaviour(answer=60)


def slow_after(count: int) -> FakeDriver:
    """Return a driver whose call number `count`, from 0, takes for ever."""
    answers = iter([*[Behaviour()] * count, SLOW])
    return FakeDriver(answers=lambda _: next(answers, Behaviour()))


class Threads:
    """Notes on which thread each call ended."""

    def __init__(self, then: Callable[[], object] = bool) -> None:
        self.seen: list[int] = []
        self._then = then

    @hookimpl
    def hotfn_call_finished(self, report: CallReport) -> None:
        self.seen.append(threading.get_ident())
        self._then()


@contextmanager
def managed(driver: FakeDriver | None = None, *plugins: object) -> Iterator[Manager]:
    with Manager(plugins=[FakePlugin(driver or FakeDriver()), *plugins], entry_points=False) as manager:
        yield manager


@contextmanager
def interrupts(handler: Callable[..., object] = signal.default_int_handler) -> Iterator[None]:
    """SIGINT is handled like this; it is ignored where the tests run in the background."""
    before = signal.signal(signal.SIGINT, handler)
    try:
        yield
        assert signal.getsignal(signal.SIGINT) is handler
    finally:
        signal.signal(signal.SIGINT, before)


def until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 10
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.005)


def busy(manager: Manager, count: int = 1) -> bool:
    return sum(stats.busy for stats in manager.stats().values()) >= count


def lead(manager: Manager, threads: Threads) -> None:
    """Call until this thread runs the loop."""

    def leading() -> bool:
        manager.call(fake_spec("lead"))
        return threads.seen[-1] == threading.get_ident()

    with interrupts():
        until(leading)


class TestWhoRunsTheLoop:
    def test_one_caller_runs_it(self) -> None:
        threads = Threads()
        with managed(None, threads) as manager:
            lead(manager, threads)
            with interrupts():
                for _ in range(50):
                    manager.call(fake_spec("lead"))
        assert threads.seen.count(threading.get_ident()) > 25  # a busy machine may keep it from coming back in time

    def test_so_does_one_who_waits_for_a_future(self) -> None:
        threads = Threads()
        with managed(None, threads) as manager, interrupts():
            manager.call(fake_spec())
            until(lambda: bool(manager.submit(fake_spec()).result()) and threads.seen[-1] == threading.get_ident())
            until(lambda: not manager.submit(fake_spec()).exception() and threads.seen[-1] == threading.get_ident())

    def test_nobody_waits_and_it_runs_all_the_same(self) -> None:
        driver, threads = FakeDriver(), Threads()
        with managed(driver, threads) as manager:
            lead(manager, threads)
            called = threading.Event()
            manager.submit(fake_spec("g")).add_done_callback(lambda _: called.set())
            assert called.wait(5)
            lead(manager, threads)
            with interrupts():
                manager.call(fake_spec(idle_timeout=0.01))
            left = len(driver.alive)
            until(lambda: len(driver.alive) < left)

    def test_a_caller_is_answered_while_another_waits_for_long(self) -> None:
        with managed(slow_after(1)) as manager, ThreadPoolExecutor(1) as pool:
            manager.call(fake_spec("slow"))
            waiting = pool.submit(manager.call, fake_spec("slow"))
            until(lambda: busy(manager))
            for number in range(20):
                assert manager.call(fake_spec("fast"), b"%d" % number).body == b"%d" % number
            assert not waiting.done()
            manager.close()
            assert waiting.exception(5) is not None

    def test_a_long_turn_costs_no_ticks(self) -> None:
        with managed(slow_after(5)) as manager, ThreadPoolExecutor(1) as pool:
            waiting = pool.submit(lambda: [manager.call(fake_spec()) for _ in range(6)])
            until(lambda: busy(manager))
            time.sleep(0.2)  # whoever was woken is asleep again
            before = resource.getrusage(resource.RUSAGE_SELF).ru_nvcsw
            time.sleep(0.5)
            assert resource.getrusage(resource.RUSAGE_SELF).ru_nvcsw - before < 50
            manager.close()
            assert waiting.exception(5) is not None

    def test_callers_of_all_kinds_get_their_own_answers(self) -> None:
        dice = random.Random(7)
        pauses = [dice.choice([0, 0, 0, 0.001, 0.004]) for _ in range(400)]

        def caller(number: int) -> int:
            for count, pause in enumerate(pauses[number * 100 :][:100]):
                body = b"%d.%d" % (number, count)
                kind = (number + count) % 3
                reply = manager.call(spec, body) if kind else manager.submit(spec, body).result(10)
                assert reply.body == body
                time.sleep(pause)
            return number

        spec = fake_spec(max_concurrency=2)
        with managed(FakeDriver(Behaviour(answer=0.0005))) as manager, ThreadPoolExecutor(4) as pool:
            assert [*pool.map(caller, range(4), timeout=60)] == [0, 1, 2, 3]
            assert manager.stats()[spec.full_name].calls == {"ok": 400}


class TestFutures:
    def test_a_time_limit_ends_the_waiting_and_not_the_call(self) -> None:
        with managed(FakeDriver(Behaviour(answer=0.2))) as manager, interrupts():
            manager.call(fake_spec())
            for _ in range(2):
                future: Future[Reply] = manager.submit(fake_spec(), b"x")
                with pytest.raises(TimeoutError):
                    future.result(0.01)
                with pytest.raises(TimeoutError):
                    future.exception(0)
                assert future.result(10).body == b"x"


class TestTheEnd:
    def test_what_would_never_end_is_cancelled_and_told(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(steppedloop, "END_SECONDS", 0.1)
        told: list[BaseException | None] = []
        shared = SharedLoop()
        shared.start()

        async def forever() -> None:
            await asyncio.get_running_loop().create_future()

        for is_bare in (True, False):
            shared.begin(forever(), lambda _, error: told.append(error), partial(bool, is_bare))
        with ThreadPoolExecutor(1) as pool:
            waiting = pool.submit(shared.run, forever())
            stopping = pool.submit(shared.stop)
            shared.stop()
            stopping.result(20)
        assert [type(one) for one in [*told, waiting.exception()]] == [asyncio.CancelledError] * 3


class TestInterrupts:
    def test_one_in_the_middle_of_a_step_waits_for_its_end(self) -> None:
        strike = iter([False] * 3 + [True])
        main = threading.main_thread().ident
        assert main is not None

        def strikes() -> None:
            if next(strike, False):
                signal.pthread_kill(main, signal.SIGINT)

        threads = Threads(strikes)
        with managed(None, threads) as manager, interrupts():
            for _ in range(3):
                manager.call(fake_spec())
            with pytest.raises(KeyboardInterrupt):
                manager.call(fake_spec())
            assert manager.call(fake_spec(), b"x").body == b"x"
            assert manager.stats()["default/f"].calls == {"ok": 5}

    def test_one_that_comes_while_it_waits_ends_the_call(self) -> None:
        with managed(slow_after(1)) as manager, interrupts():
            manager.call(fake_spec())
            timer = threading.Timer(0.2, signal.pthread_kill, (threading.get_ident(), signal.SIGINT))
            timer.start()
            with pytest.raises(KeyboardInterrupt):
                manager.call(fake_spec(), b"x")
            timer.join()
            assert manager.call(fake_spec()).status == 200
            assert manager.stats()["default/f"].calls == {"ok": 2, "cancelled": 1}

    def test_a_program_that_handles_them_itself_is_never_interrupted_in_a_step(self) -> None:
        threads = Threads()

        def handler(*_: object) -> None: ...

        with managed(None, threads) as manager, interrupts(handler):
            for _ in range(10):
                manager.call(fake_spec())
        assert threading.get_ident() not in threads.seen

    @pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGALRM, signal.SIGUSR1])
    def test_what_the_handler_of_another_signal_raises_reaches_the_caller(self, number: signal.Signals) -> None:
        def handler(*_: object) -> None:
            raise SystemExit(7)

        before = signal.signal(number, handler)
        try:
            with managed(slow_after(1)) as manager:
                manager.call(fake_spec())
                timer = threading.Timer(0.2, signal.pthread_kill, (threading.get_ident(), number))
                timer.start()
                with pytest.raises(SystemExit):
                    manager.submit(fake_spec(timeout=5)).result(5)
                timer.join()
                assert manager.call(fake_spec()).status == 200
        finally:
            signal.signal(number, before)

    def test_on_another_thread_there_are_none(self) -> None:
        threads = Threads()
        with managed(None, threads) as manager, ThreadPoolExecutor(1) as pool, interrupts(lambda *_: None):
            ident = pool.submit(threading.get_ident).result()
            until(lambda: bool(pool.submit(manager.call, fake_spec()).result()) and threads.seen[-1] == ident)

    def test_a_fork_in_between_does_no_harm(self) -> None:
        threads = Threads()
        with managed(None, threads) as manager:
            lead(manager, threads)
            if not (pid := os.fork()):
                try:
                    manager.call(fake_spec())
                except RuntimeError as error:
                    os._exit(7 if "forked" in str(error) else 1)
                os._exit(2)
            assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 7
            lead(manager, threads)
