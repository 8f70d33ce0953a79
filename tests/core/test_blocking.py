"""The Manager for callers that wait: its thread, its end, and what may not be."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import CancelledError, ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import pytest

from hotfn_core import CallAborted, CallReport, CallTimeout, ShuttingDown, UnknownFunction, hookimpl
from hotfn_core import manager as on_a_loop
from hotfn_core.blocking import Closed, Manager
from hotfn_core.testing import Behaviour, FakeDriver, FakePlugin, fake_spec

SLOW = Behaviour(answer=60)


@contextmanager
def managed(driver: FakeDriver | None = None, *plugins: object) -> Iterator[Manager]:
    with Manager(plugins=[FakePlugin(driver or FakeDriver()), *plugins], entry_points=False) as manager:
        yield manager


def until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 10
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.005)


def busy(manager: Manager) -> bool:
    return any(stats.busy for stats in manager.stats().values())


def open_descriptors() -> set[str]:
    return {one.name for one in Path("/proc/self/fd").iterdir()}


class TestCalls:
    def test_a_call_is_answered_and_the_next_one_is_hot(self) -> None:
        with managed() as manager:
            assert manager.call(fake_spec(), b"one").cold
            reply = manager.call(fake_spec(), b"two", headers={"a": "b"})
            assert (reply.body, reply.cold) == (b"two", False)

    def test_an_error_is_raised_where_the_call_was_made(self) -> None:
        with managed(FakeDriver(SLOW)) as manager:
            with pytest.raises(CallTimeout):
                manager.call(fake_spec(timeout=0.05))
            with pytest.raises(UnknownFunction):
                manager.call("nobody")
            with pytest.raises(TypeError):
                manager.call(fake_spec(), "text")  # type: ignore[arg-type]

    def test_callers_of_many_threads_get_their_own_answers(self) -> None:
        driver = FakeDriver(Behaviour(answer=0.001))
        spec = fake_spec(max_concurrency=4)
        with managed(driver) as manager, ThreadPoolExecutor(8) as pool:
            bodies = [b"%d" % number for number in range(200)]
            assert [reply.body for reply in pool.map(lambda body: manager.call(spec, body), bodies)] == bodies
            assert driver.launches <= 4
            assert manager.stats()[spec.full_name].calls == {"ok": 200}

    def test_functions_by_name(self) -> None:
        driver = FakeDriver()
        with managed(driver) as manager:
            manager.register(fake_spec("f", min_instances=1))
            until(lambda: manager.stats()["default/f"].idle == 1)
            manager.open("f")
            assert not manager.call("f", deadline=manager.time() + 5).cold


class TestFutures:
    def test_a_future_has_the_reply_or_the_error(self) -> None:
        with managed() as manager:
            futures = [manager.submit(fake_spec(), b"%d" % number) for number in range(5)]
            assert [one.result(5).body for one in futures] == [b"0", b"1", b"2", b"3", b"4"]
            assert isinstance(manager.submit("nobody").exception(5), UnknownFunction)

    def test_cancelling_stops_the_copy_and_serves_the_next_call(self) -> None:
        answers = iter([SLOW, Behaviour()])
        driver = FakeDriver(answers=lambda _: next(answers))
        with managed(driver) as manager:
            first = manager.submit(fake_spec(), b"1")
            until(lambda: busy(manager))
            second = manager.submit(fake_spec(), b"2")
            assert first.cancel()
            assert second.result(5).body == b"2"
            with pytest.raises(CancelledError):
                first.result(5)
            assert manager.stats()["default/f"].calls == {"cancelled": 1, "ok": 1}
            assert driver.launches == 2


class TestTheEnd:
    def test_nothing_is_left(self) -> None:
        threads, driver = set(threading.enumerate()), FakeDriver()
        with managed(driver) as manager:
            manager.call(fake_spec())
        assert not driver.alive
        assert set(threading.enumerate()) == threads
        manager.close()

    def test_a_call_that_runs_is_aborted_and_its_caller_told(self) -> None:
        with ThreadPoolExecutor(1) as pool:
            with managed(FakeDriver(SLOW)) as manager:
                waiting = pool.submit(manager.call, fake_spec())
                until(lambda: busy(manager))
                future = manager.submit(fake_spec())
            assert isinstance(waiting.exception(5), CallAborted)
            assert isinstance(future.exception(5), ShuttingDown)

    def test_two_may_close_at_once_and_one_may_lose_patience(self) -> None:
        driver = FakeDriver(Behaviour(deaf=True))
        with managed(driver) as manager, ThreadPoolExecutor(2) as pool:
            manager.call(fake_spec(stop_grace=60))
            began = time.monotonic()
            first = pool.submit(manager.close)
            until(lambda: manager.stats()["default/f"].stopping == 1)
            pool.submit(manager.close, kill=True).result(5)
            first.result(5)
            assert time.monotonic() - began < 5
        assert not driver.alive

    def test_draining_serves_what_waits(self) -> None:
        with managed(FakeDriver(Behaviour(answer=0.02))) as manager:
            futures = [manager.submit(fake_spec(max_concurrency=1)) for _ in range(3)]
            until(lambda: busy(manager))
            manager.drain()
            assert all(one.result(0) for one in futures)
            with pytest.raises(ShuttingDown):
                manager.call(fake_spec())

    def test_calls_that_race_with_the_end_are_all_told(self) -> None:
        for _ in range(20):
            with ThreadPoolExecutor(4) as pool:
                with managed() as manager:
                    calling = [pool.submit(_outcomes, manager) for _ in range(4)]
                    until(lambda: any(stats.calls["ok"] > 3 for stats in manager.stats().values()))
                for one in calling:
                    assert one.result(10) == "Closed"  # which is a CallRejected, as ShuttingDown is

    def test_a_program_that_ends_without_closing_ends(self) -> None:
        program = (
            "from hotfn_core.blocking import Manager\n"
            "from hotfn_core.testing import FakeDriver, FakePlugin, fake_spec\n"
            "driver = FakeDriver()\n"
            "import atexit; atexit.register(lambda: print(len(driver.alive)))\n"
            "manager = Manager(plugins=[FakePlugin(driver)], entry_points=False).__enter__()\n"
            "print(manager.call(fake_spec(), b'x').body, len(driver.alive))\n"
        )
        done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=30, check=True)
        assert done.stdout == "b'x' 1\n0\n"
        assert done.stderr == ""


def _outcomes(manager: Manager) -> str:
    """Call until nobody answers any more, and say what was raised last."""
    while True:
        try:
            manager.call(fake_spec())
        except Closed as error:
            return type(error).__name__
        except (ShuttingDown, CallAborted):
            continue


class TestWhatMayNotBe:
    def test_outside_of_its_life(self) -> None:
        manager = Manager(entry_points=False)
        manager.close()
        for call in (manager.call, manager.submit):
            with pytest.raises(RuntimeError, match="must be entered first") as misused:
                call(fake_spec())
            assert type(misused.value) is RuntimeError
        with manager:
            pass
        for call in (manager.call, manager.submit):
            with pytest.raises(ShuttingDown, match="the manager is closed") as caught:
                call(fake_spec())
            assert isinstance(caught.value, Closed)
            assert isinstance(caught.value, RuntimeError)
            assert (caught.value.code, caught.value.status) == ("shutting_down", 503)
        with pytest.raises(RuntimeError, match="entered only once"):
            manager.__enter__()

    def test_waiting_on_its_own_thread(self) -> None:
        class Observer:
            told = ""

            @hookimpl
            def hotfn_call_finished(self, report: CallReport) -> None:
                try:
                    manager.stats()
                except RuntimeError as error:
                    self.told = str(error)

        observer = Observer()
        with managed(None, observer) as manager:
            manager.call(fake_spec())
        assert "the manager's own thread" in observer.told

    def test_in_a_forked_child(self) -> None:
        with managed() as manager:
            manager.call(fake_spec())
            pid = os.fork()
            if not pid:
                try:
                    manager.close()
                    manager.call(fake_spec())
                except RuntimeError as error:
                    os._exit(7 if "forked" in str(error) else 1)
                os._exit(2)
            assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 7
            assert manager.call(fake_spec(), b"x").body == b"x"

    def test_an_interrupt_cancels_the_call(self) -> None:
        with managed(FakeDriver(SLOW)) as manager:
            main = threading.main_thread().ident
            assert main is not None

            def interrupt() -> None:
                until(lambda: busy(manager))
                signal.pthread_kill(main, signal.SIGINT)

            before = signal.signal(signal.SIGINT, signal.default_int_handler)  # it is ignored in the background
            try:
                threading.Thread(target=interrupt).start()
                with pytest.raises(KeyboardInterrupt):
                    manager.call(fake_spec())
            finally:
                signal.signal(signal.SIGINT, before)
            assert manager.stats()["default/f"].calls == {"cancelled": 1}

    def test_closing_on_its_own_thread(self) -> None:
        told: list[str] = []
        with managed() as manager:
            future = manager.submit(fake_spec())

            def close(_: object) -> None:
                try:
                    manager.close()
                except RuntimeError as error:
                    told.append(str(error))

            future.add_done_callback(close)
            future.result(5)
            assert manager.call(fake_spec(), b"x").body == b"x"
        assert "the manager's own thread" in told[0]

    def test_a_callback_that_raises_what_ends_a_thread(self, caplog: pytest.LogCaptureFixture) -> None:
        with managed() as manager:
            future = manager.submit(fake_spec())
            future.add_done_callback(lambda _: sys.exit(1))
            future.result(5)
            assert manager.call(fake_spec(), b"x").body == b"x"
        assert "the manager's loop has to raise nothing" in caplog.text

    def test_no_thread_is_left_for_its_loop(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """The caller gets Python's own error, nothing is half made, and with a thread it may be entered again."""
        threads, descriptors = set(threading.enumerate()), open_descriptors()
        manager = Manager(plugins=[FakePlugin(FakeDriver())], entry_points=False)

        def full(_: threading.Thread) -> None:
            raise RuntimeError("can't start new thread")

        with monkeypatch.context() as patched:
            patched.setattr(threading.Thread, "start", full)
            with pytest.raises(RuntimeError, match="can't start new thread"):
                manager.__enter__()
        assert set(threading.enumerate()) == threads
        assert open_descriptors() == descriptors
        with pytest.raises(RuntimeError, match="must be entered first"):
            manager.call(fake_spec())
        manager.close()
        with manager:
            assert manager.call(fake_spec(), b"x").body == b"x"

    def test_an_interrupt_right_behind_the_thread_s_start(self, monkeypatch: pytest.MonkeyPatch) -> None:
        threads, descriptors = set(threading.enumerate()), open_descriptors()
        start = threading.Thread.start

        def interrupted(thread: threading.Thread) -> None:
            start(thread)
            raise KeyboardInterrupt

        with monkeypatch.context() as patched:
            patched.setattr(threading.Thread, "start", interrupted)
            with pytest.raises(KeyboardInterrupt):
                Manager(entry_points=False).__enter__()
        assert set(threading.enumerate()) == threads
        assert open_descriptors() == descriptors

    def test_an_interrupt_while_it_is_entered(self, monkeypatch: pytest.MonkeyPatch) -> None:
        threads = set(threading.enumerate())

        async def interrupted(_: object) -> None:
            raise KeyboardInterrupt

        monkeypatch.setattr(on_a_loop.Manager, "__aenter__", interrupted)
        with pytest.raises(KeyboardInterrupt):
            Manager(entry_points=False).__enter__()
        assert set(threading.enumerate()) == threads

    def test_its_clock_before_it_runs(self) -> None:
        with pytest.raises(RuntimeError, match="entered first"):
            Manager(entry_points=False).time()
