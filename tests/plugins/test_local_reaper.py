"""What a sweep and a guardian look at, piece by piece."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator

import pytest

from hotfn_core import FunctionSpec, Manager
from hotfn_core.runtime import Runtime
from hotfn_core.testing.check_driver import Kit
from hotfn_local import guardian, reaper
from hotfn_local.driver import LocalDriver

from .conftest import Local


def eventually(happened: Callable[[], object], what: str, limit: float = 15.0) -> None:
    end = time.monotonic() + limit
    while not happened():
        assert time.monotonic() < end, what
        time.sleep(0.01)


@pytest.fixture
def marked() -> Iterator[Callable[[str], subprocess.Popen[bytes]]]:
    """Start a process with a marker, and end it in any case."""
    started: list[subprocess.Popen[bytes]] = []

    def start(marker: str) -> subprocess.Popen[bytes]:
        process = subprocess.Popen(["sleep", "100"], env={"PATH": os.environ["PATH"], reaper.MARKER: marker})
        started.append(process)
        return process

    yield start
    for process in started:
        process.kill()
        process.wait()


def dead_runtime() -> str:
    """Return the name of a runtime of this machine whose process has ended."""
    code = "from hotfn_local.guardian import new_runtime; print(new_runtime())"
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip()


Start = Callable[[str], subprocess.Popen[bytes]]


def test_w46_sweep_removes_what_a_dead_runtime_left_and_nothing_else(local_once: Local, marked: Start) -> None:
    dead = dead_runtime()
    namespace, pid, started, _ = dead.split(":")
    orphans = [marked(f"{dead}:{number}") for number in (1, 2)]
    spared = [
        marked(f"{guardian.new_runtime()}:1"),  # a living runtime
        marked(f"1{namespace}:{pid}:{started}:x:1"),  # of a container, where that pid is another process
        marked(f"{dead}:x"),  # nonsense
        marked("nonsense"),
        marked(f"{namespace}:x:y:z:1"),
        subprocess.Popen(["sleep", "100"]),
    ]

    async def body(kit: Kit) -> None:
        copy = await kit.ready()
        await kit.driver.sweep()  # or that of another hotfn on this machine, if it comes first
        assert await copy.call("alive?") == "alive?"

    try:
        local_once(body)
        assert [orphan.wait(5) for orphan in orphans] == [-signal.SIGKILL] * 2
        assert [process.poll() for process in spared] == [None] * len(spared)
    finally:
        spared[-1].kill()
        spared[-1].wait()


def test_w46_a_manager_that_uses_the_driver_has_it_swept(marked: Start) -> None:
    orphan = marked(f"{dead_runtime()}:1")

    async def main() -> None:
        async with Manager() as manager:
            await manager.open(FunctionSpec(name="f", command=("cat",)))
            assert await asyncio.to_thread(orphan.wait, 15) == -signal.SIGKILL

    asyncio.run(main())


def test_a_sweep_does_not_keep_the_event_loop(local_once: Local, monkeypatch: pytest.MonkeyPatch) -> None:
    looked, go_on = threading.Event(), threading.Event()

    def look(choose: object) -> int:
        looked.set()
        assert go_on.wait(15)
        return 7

    async def body(kit: Kit) -> None:
        copy = await kit.ready()
        with monkeypatch.context() as patch:
            patch.setattr(reaper, "kill_marked", look)
            sweep = asyncio.create_task(kit.driver.sweep())
            assert await asyncio.to_thread(looked.wait, 15)
            assert await copy.call("alive?") == "alive?"
            assert not sweep.done()
            go_on.set()
            assert await sweep == 7

    local_once(body)


def test_a_sweep_says_how_many_processes_it_killed(
    local_once: Local, marked: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    runtime = guardian.new_runtime()  # alive, so that no other hotfn on this machine takes them first
    processes = [marked(f"{runtime}:{number}") for number in (1, 2)]
    for process in processes:
        eventually(lambda pid=process.pid: reaper.read_marker(pid), "no marker")  # type: ignore[misc]
    monkeypatch.setattr(reaper, "is_dead", lambda found: found == runtime)

    async def body(kit: Kit) -> None:
        assert await kit.driver.sweep() == 2
        assert [process.wait(5) for process in processes] == [-signal.SIGKILL] * 2
        assert await kit.driver.sweep() == 0

    local_once(body)


def test_its_names_of_a_runtime_are_made_of_what_the_core_knows_of_it() -> None:
    # The guardian can import nothing of ours, so both look for themselves.
    me = Runtime.current()
    namespace, pid, started, _ = guardian.new_runtime().split(":")
    assert (namespace, pid, started) == (me.pidns, str(me.pid), str(me.started))


def test_a_zombie_runtime_is_dead() -> None:
    process = subprocess.Popen(["sleep", "100"])
    started = reaper.start_time(process.pid)
    runtime = f"{reaper.pid_namespace()}:{process.pid}:{started}:x"
    assert started is not None
    assert not reaper.is_dead(runtime)
    process.kill()
    eventually(lambda: reaper.start_time(process.pid) is None, "no zombie")
    assert reaper.is_dead(runtime)
    process.wait()


def test_a_pid_that_was_reused_is_not_killed(marked: Start) -> None:
    process = marked(f"{guardian.new_runtime()}:1")
    eventually(lambda: reaper.read_marker(process.pid), "no marker")
    found = reaper.read_marker(process.pid)
    assert found
    assert not reaper.kill(found._replace(copy=2))
    assert not reaper.kill(found._replace(pid=2**22 - 1))
    assert process.poll() is None
    assert reaper.kill(found)
    assert process.wait(5) == -signal.SIGKILL


def test_groups_in_the_table_are_killed_and_strangers_with_their_number_are_not() -> None:
    table = guardian.Table()
    since = reaper.ticks()
    ours, stranger = (subprocess.Popen(["sleep", "100"], start_new_session=True) for _ in range(2))
    table.started(table.enter(7), 7, ours.pid, since)
    table._write(table.enter(8), 8, stranger.pid, since - 1000, since - 900)
    table.enter(9)  # about to be started
    gone = table.enter(10)
    table.started(gone, 10, stranger.pid, since)
    table.leave(gone)
    assert [entry[0] for entry in reaper.read_table(table.fd)] == [7, 8, 9]
    assert table.enter(11) == gone  # lines are used again
    reaper.kill_groups(table.fd)
    assert ours.wait(5) == -signal.SIGKILL
    assert stranger.poll() is None
    stranger.kill()
    stranger.wait()
    table.close()


def test_a_copy_in_the_table_carries_the_time_of_its_start(local: Local) -> None:
    async def body(kit: Kit) -> None:
        assert isinstance(kit.driver, LocalDriver)
        copies = [await kit.ready() for _ in range(3)]
        assert kit.driver._guardian
        table = reaper.read_table(kit.driver._guardian.table.fd)
        assert {str(pid) for _, pid, _, _ in table} == {copy.container.id for copy in copies}
        for _, pid, since, until in table:
            assert since <= (reaper.start_time(pid) or 0) <= until
        for copy in copies:
            await kit.stopped(copy, 5)
        assert reaper.read_table(kit.driver._guardian.table.fd) == []

    local(body)


class InThread:
    """A guardian in a thread of this process, with a pipe of its own."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, runtime: str) -> None:
        reading, self.pipe = os.pipe()
        monkeypatch.setattr(reaper, "PIPE", reading)
        self.table = guardian.Table()
        self.answer: bool | None = None
        self.guardian = reaper.Guardian(self.table.fd, runtime)
        self.thread = threading.Thread(target=self._run, daemon=True)
        self.thread.start()

    def _run(self) -> None:
        self.guardian.run()

    def ended(self, limit: float = 10.0) -> float:
        """Wait for its end and return how long that took."""
        began = time.monotonic()
        self.thread.join(limit)
        assert not self.thread.is_alive()
        return time.monotonic() - began


def test_a_goodbye_is_quick_and_takes_what_is_left(monkeypatch: pytest.MonkeyPatch, marked: Start) -> None:
    runtime = guardian.new_runtime()
    left = marked(f"{runtime}:1")
    other = marked(f"{guardian.new_runtime()}:1")
    guard = InThread(monkeypatch, runtime)
    os.write(guard.pipe, reaper.GOODBYE)
    assert guard.ended() < reaper.CHASE
    assert left.wait(5) == -signal.SIGKILL
    assert other.poll() is None


def test_an_end_without_goodbye_is_followed_by_a_chase(monkeypatch: pytest.MonkeyPatch, marked: Start) -> None:
    runtime = guardian.new_runtime()
    guard = InThread(monkeypatch, runtime)
    os.close(guard.pipe)
    late = marked(f"{runtime}:1")  # as if hotfn had died between fork and exec
    assert late.wait(5) == -signal.SIGKILL
    assert guard.ended() > 0


@pytest.mark.parametrize("reused", [False, True], ids=["gone", "reused"])
def test_a_parent_that_is_gone_already(monkeypatch: pytest.MonkeyPatch, reused: bool) -> None:
    monkeypatch.setattr(reaper, "CHASE", 0.1)
    namespace, pid, started, token = dead_runtime().split(":")
    if reused:
        pid = str(os.getpid())
    guard = InThread(monkeypatch, f"{namespace}:{pid}:{started}:{token}")
    guard.ended()


def test_the_death_of_the_parent_is_seen_although_the_pipe_stays_open(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reaper, "CHASE", 0.1)
    parent = subprocess.Popen(["sleep", "100"])
    runtime = f"{reaper.pid_namespace()}:{parent.pid}:{reaper.start_time(parent.pid)}:x"
    guard = InThread(monkeypatch, runtime)
    assert guard.thread.is_alive()
    parent.kill()
    guard.ended()
    parent.wait()


def test_strays_are_those_whose_copy_is_not_in_the_table(monkeypatch: pytest.MonkeyPatch, marked: Start) -> None:
    runtime = guardian.new_runtime()
    guard = InThread(monkeypatch, runtime)
    guard.table.enter(1)
    kept, stray = marked(f"{runtime}:1"), marked(f"{runtime}:2")
    eventually(lambda: reaper.read_marker(stray.pid), "no marker")
    os.write(guard.pipe, reaper.COPY_ENDED)
    assert stray.wait(5) == -signal.SIGKILL
    assert kept.poll() is None
    os.write(guard.pipe, reaper.COPY_ENDED)  # it may be told again, and rests meanwhile
    os.write(guard.pipe, reaper.GOODBYE)
    guard.ended()
    assert kept.wait(5) == -signal.SIGKILL


def test_a_process_that_may_not_be_killed_is_left(monkeypatch: pytest.MonkeyPatch, marked: Start) -> None:
    process = marked(f"{guardian.new_runtime()}:1")
    eventually(lambda: reaper.read_marker(process.pid), "no marker")
    found = reaper.read_marker(process.pid)
    assert found

    def refuse(pidfd: int, number: int) -> None:
        raise PermissionError

    monkeypatch.setattr(signal, "pidfd_send_signal", refuse)
    assert not reaper.kill(found)


def test_a_process_that_does_not_die_does_not_keep_the_reaper(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reaper, "kill", lambda found: True)
    monkeypatch.setattr(reaper, "_PAUSE", 0)
    immortal = reaper.Marked(1, "x", 1)
    monkeypatch.setattr(reaper, "marked", lambda: iter([immortal]))
    assert reaper.kill_marked(lambda found: found) == 1
