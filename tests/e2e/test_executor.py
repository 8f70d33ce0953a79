"""Python calls in real copies: what an executor is good for, and what goes wrong in one call only."""

from __future__ import annotations

import gc
import os
import shutil
import subprocess
import sys
import threading
import time
import weakref
from collections.abc import Iterator
from concurrent.futures import CancelledError, Future, as_completed, wait
from itertools import repeat
from pathlib import Path
from typing import Any

import pytest

from hotfn_core import CallTimeout, ConfigError, FunctionSpec, InstanceExited, LaunchFailed
from hotfn_core.blocking import PYTHON, Manager

pid = os.getpid  # what is called has to be found by import, which these tests themselves are not


def spec(**fields: Any) -> FunctionSpec:
    given: dict[str, Any] = {"name": "work", "command": PYTHON, "format": "http", "stop_grace": 0}
    return FunctionSpec(**(given | fields))


@pytest.fixture
def manager() -> Iterator[Manager]:
    with Manager() as manager:
        yield manager


def printed(folder: Path, *argv: str) -> str:
    """Return what a Python program in that folder prints; it complains of nothing."""
    done = subprocess.run([sys.executable, *argv], cwd=folder, capture_output=True, text=True, timeout=60, check=False)
    assert done.stderr == ""
    return done.stdout


def until_busy(manager: Manager) -> None:
    deadline = time.monotonic() + 10
    while not (stats := manager.stats().get("default/work")) or not stats.busy:
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_map_and_submit(manager: Manager) -> None:
    with manager.executor(spec(max_concurrency=2)) as pool:
        assert list(pool.map(pow, range(100), repeat(2))) == [number * number for number in range(100)]
        futures = [pool.submit(pow, number, 2) for number in range(5)]
        assert sorted(one.result() for one in as_completed(futures, 20)) == [0, 1, 4, 9, 16]
        assert len({pool.submit(pid).result() for _ in range(10)}) == 1
    assert manager.stats()["default/work"].launched <= 2
    with pytest.raises(RuntimeError, match="after shutdown"):
        pool.submit(pow, 1, 2)


def test_more_waits_than_any_queue_of_the_function_holds(manager: Manager) -> None:
    with manager.executor(spec(max_queue=1, queue_timeout=0.3)) as pool:
        futures = [pool.submit(time.sleep, 0.01) for _ in range(60)]
        assert all(one.result(20) is None for one in futures)


def test_an_error_has_the_traceback_of_the_copy(manager: Manager) -> None:
    with manager.executor(spec()) as pool, pytest.raises(FileNotFoundError) as caught:
        pool.submit(shutil.copyfile, "/no/where", "/no/where/else").result(20)
    assert "in copyfile" in str(caught.value.__cause__)


def test_a_call_that_takes_too_long_or_dies_ends_alone(manager: Manager) -> None:
    with manager.executor(spec(max_concurrency=3, timeout=0.5)) as pool:
        late, dead, good = pool.submit(time.sleep, 60), pool.submit(os._exit, 3), pool.submit(pow, 2, 2)
        assert isinstance(late.exception(20), CallTimeout)
        assert isinstance(dead.exception(20), InstanceExited)
        assert good.result(20) == 4
        assert pool.submit(pow, 3, 2).result(20) == 9


def test_cancel_ends_what_waits_and_what_runs(manager: Manager) -> None:
    pool = manager.executor(spec())
    running, waiting, last = pool.submit(time.sleep, 60), pool.submit(time.sleep, 60), pool.submit(pow, 2, 2)
    until_busy(manager)
    assert waiting.cancel()
    assert running.cancel()
    assert last.result(20) == 4
    with pytest.raises(CancelledError):
        running.result()
    assert manager.stats()["default/work"].calls == {"cancelled": 1, "ok": 1}
    pool.shutdown()


def test_shutdown_may_cancel_what_waits(manager: Manager) -> None:
    pool = manager.executor(spec())
    futures = [pool.submit(time.sleep, 0.3) for _ in range(3)]
    pool.shutdown(cancel_futures=True)
    assert [one.cancelled() for one in futures] == [False, True, True]
    assert futures[0].done()
    pool.shutdown()


def test_copies_are_recycled(manager: Manager) -> None:
    with manager.executor(spec(max_calls=2)) as pool:
        assert len({pool.submit(pid).result(20) for _ in range(6)}) == 3


def test_many_threads_submit(manager: Manager) -> None:
    found: list[int] = []
    with manager.executor(spec(max_concurrency=2)) as pool:

        def submit() -> None:
            found.extend(pool.submit(pow, number, 2).result(20) for number in range(50))

        threads = [threading.Thread(target=submit) for _ in range(4)]
        for one in threads:
            one.start()
        for one in threads:
            one.join(30)
    assert sorted(found) == sorted([number * number for number in range(50)] * 4)


def test_what_cannot_be(manager: Manager) -> None:
    with pytest.raises(ConfigError, match='of format "http"'):
        manager.executor(spec(format="json"))
    with manager.executor(spec()) as pool:
        assert "pickle" in str(pool.submit(lambda: 1).exception(5))
    with manager.executor(spec(command=("/nowhere",), name="none")) as pool:
        futures = [pool.submit(pow, 1, 2) for _ in range(3)]
        assert all(isinstance(one.exception(20), LaunchFailed) for one in futures)


def test_after_the_manager_s_end(manager: Manager) -> None:
    pool = manager.executor(spec())
    assert pool.submit(pow, 2, 2).result(20) == 4
    manager.close()
    assert isinstance(pool.submit(pow, 2, 2).exception(5), RuntimeError)
    pool.shutdown()


def test_functions_of_the_main_module(tmp_path: Path) -> None:
    program = tmp_path / "program.py"
    program.write_text(
        "from hotfn_core import FunctionSpec\n"
        "from hotfn_core.blocking import PYTHON, Manager\n"
        "class Mine(int):\n"
        "    pass\n"
        "def mine(x):\n"
        "    return Mine(x + 1)\n"
        "if __name__ == '__main__':\n"
        "    spec = FunctionSpec(name='work', command=PYTHON, format='http')\n"
        "    with Manager() as manager, manager.executor(spec) as pool:\n"
        "        print(found := list(pool.map(mine, range(3))), isinstance(found[0], Mine))\n"
    )
    for argv in ([str(program)], ["-m", "program"]):
        assert printed(tmp_path, *argv) == "[1, 2, 3] True\n"


def test_who_waits_for_several_is_told_of_those_that_were_cancelled(manager: Manager) -> None:
    pool = manager.executor(spec())
    futures = [pool.submit(time.sleep, 60) for _ in range(3)]
    until_busy(manager)
    assert [one.cancel() for one in reversed(futures)] == [True, True, True]
    done, left = wait(futures, timeout=20)
    assert (len(done), len(left)) == (3, 0)
    pool.shutdown()


def test_shutdown_waits_until_all_is_told(manager: Manager) -> None:
    pool = manager.executor(spec())
    future = pool.submit(time.sleep, 0.3)
    pool.shutdown()
    assert future.done()


def test_a_forked_child_of_a_call_takes_and_answers_nothing(manager: Manager, tmp_path: Path) -> None:
    fork = "import os\ndef fork():\n    if os.fork() == 0:\n        raise SystemExit\n    return 'parent'\n"
    (tmp_path / "forking.py").write_text(fork)
    code = (
        "import sys\n"
        "from hotfn_core import FunctionSpec\n"
        "from hotfn_core.blocking import PYTHON, Manager\n"
        "import forking\n"
        "spec = FunctionSpec(name='work', command=PYTHON, format='http')\n"
        "with Manager() as manager, manager.executor(spec) as pool:\n"
        "    for number in range(30):\n"
        "        assert pool.submit(forking.fork).result() == 'parent'\n"
        "        assert pool.submit(pow, number, 2).result() == number * number\n"
        "print('fine')\n"
    )
    assert printed(tmp_path, "-c", code) == "fine\n"


def test_results_that_do_harm_are_errors_of_their_own_call(manager: Manager, tmp_path: Path) -> None:
    module = tmp_path / "harm.py"
    module.write_text(
        "import sys\n"
        "class Leaves:\n    def __reduce__(self):\n        return sys.exit, (3,)\n"
        "class Text(Exception):\n    def __reduce__(self):\n        return str, ('x',)\n"
        "class Mute(Exception):\n    def __str__(self):\n        raise KeyError\n"
        "def leaves():\n    return Leaves()\n"
        "def text():\n    raise Text\n"
        "def mute():\n    raise Mute(lambda: 1)\n"
    )
    code = (
        "import harm\n"
        "from hotfn_core import FunctionSpec\n"
        "from hotfn_core.blocking import PYTHON, Manager\n"
        "spec = FunctionSpec(name='work', command=PYTHON, format='http')\n"
        "with Manager() as manager, manager.executor(spec) as pool:\n"
        "    for one in (harm.leaves, harm.text, harm.mute):\n"
        "        print(type(pool.submit(one).exception(10)).__name__)\n"
        "    print(pool.submit(pow, 2, 2).result(10))\n"
    )
    assert printed(tmp_path, "-c", code) == "SystemExit\nRuntimeError\nRuntimeError\n4\n"


def test_what_may_not_be_done_on_the_manager_s_thread(manager: Manager) -> None:
    pool = manager.executor(spec())
    told: list[str] = []

    def callback(_: Future[None]) -> None:
        for what in (pool.shutdown, manager.close):
            try:
                what()
            except RuntimeError as error:
                told.append(str(error))

    future = pool.submit(time.sleep, 0.1)
    future.add_done_callback(callback)
    assert pool.submit(pow, 2, 2).result(20) == 4
    assert len(told) == 2
    assert all("the manager's own thread" in one for one in told)


def test_nothing_of_a_call_is_kept_when_its_future_is_gone(manager: Manager) -> None:
    pool = manager.executor(spec())
    gc.collect()
    gc.disable()
    try:
        future = pool.submit(bytes, 100_000)
        kept = weakref.ref(future)
        assert len(future.result(20)) == 100_000
        pool.shutdown()
        del future
        assert kept() is None
    finally:
        gc.enable()
