"""When hotfn is killed its functions die, and what a dead runtime left is swept up: for real, with kill -9."""

from __future__ import annotations

import asyncio
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO

import pytest

from hotfn_core.testing.check_driver import Guest, Kit
from hotfn_local import guardian, reaper
from hotfn_local.driver import LocalDriver

from .conftest import LOOPS, Local

VICTIM = Path(__file__).with_name("local_victim.py")
HARD_TO_KILL = {"term": "ignore", "eof": "ignore"}


def eventually(happened: Callable[[], object], what: str, limit: float = 15.0) -> None:
    end = time.monotonic() + limit
    while not happened():
        assert time.monotonic() < end, what
        time.sleep(0.01)


def alive(pid: int) -> bool:
    return reaper.start_time(pid) is not None


class Victim:
    """A Python program of its own that uses the driver, and is going to be killed."""

    def __init__(self, *args: str) -> None:
        self.kit = Kit(LocalDriver(), Guest(), 10)  # for its token alone
        self.process = subprocess.Popen(
            [sys.executable, VICTIM, *args], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        stdin = self._pipe(self.process.stdin)
        stdin.write(self.kit.token + "\n")
        stdin.flush()

    def line(self) -> str:
        """Return the next line that the victim says."""
        return self._pipe(self.process.stdout).readline().strip()

    def kill(self) -> None:
        self.process.kill()
        self.process.communicate()

    def guardians(self) -> list[int]:
        """Return the guardians of this victim that live."""
        mark = f":{self.process.pid}:".encode()
        lines = ((int(one.name), _read(one / "cmdline")) for one in Path("/proc").glob("[0-9]*"))
        return [pid for pid, line in lines if reaper.__file__.encode() in line and mark in line]

    def assert_no_survivor(self) -> None:
        """Wait for the guardian's end, at which nothing may be left."""
        eventually(lambda: not self.guardians(), "the guardian does not end")
        assert self.kit.seen() == []

    @staticmethod
    def _pipe(pipe: IO[str] | None) -> IO[str]:
        assert pipe
        return pipe


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError:  # it has ended
        return b""


def kill_many(rounds: int, at_once: int, seed: int) -> int:
    """Start victims, kill them after random times, and return how many processes they had when they were killed."""
    dice = random.Random(seed)
    doomed = 0
    for _ in range(rounds):
        victims = [Victim("busy", dice.choice(list(LOOPS)), str(dice.random())) for _ in range(at_once)]
        for victim in victims:
            if dice.random() < 0.7:
                assert victim.line() == "launched"
            time.sleep(dice.uniform(0, 0.15))
        for victim in victims:
            doomed += len(victim.kit.seen())
            victim.kill()
        for victim in victims:
            victim.assert_no_survivor()
    return doomed


def test_kill_9_at_random_moments_leaves_no_survivor() -> None:
    assert kill_many(rounds=4, at_once=5, seed=random.randrange(10**6)) > 50


@pytest.mark.slow
def test_kill_9_two_hundred_times() -> None:
    assert kill_many(rounds=40, at_once=5, seed=random.randrange(10**6)) > 500


@pytest.mark.parametrize("kind", ["stubborn", "spawning", "escaping", "wiping"])
def test_kill_9_takes_every_kind_of_program(kind: str) -> None:
    """stubborn: minds neither SIGTERM nor the end of stdin. spawning: has grandchildren. escaping: they have left its
    session. wiping: it has removed the marker from its environment."""
    victim = Victim(kind, "asyncio")
    assert victim.line() == "launched"
    pids = [int(pid) for pid in victim.line().split()]
    assert all(alive(pid) for pid in pids)
    victim.kill()
    victim.assert_no_survivor()
    assert not any(alive(pid) for pid in pids)


def test_kill_9_of_a_program_that_has_forked() -> None:
    """The fork holds everything that its parent held, so the pipe to the guardian does not end with the parent."""
    victim = Victim("forking", "asyncio")
    assert victim.line() == "launched"
    fork = int(victim.line())
    try:
        assert victim.kit.seen()
        victim.process.kill()
        victim.assert_no_survivor()
        assert alive(fork)
    finally:
        os.kill(fork, signal.SIGKILL)
        victim.process.communicate()


def test_a_guardian_that_was_killed_is_replaced() -> None:
    victim = Victim("spawning", "asyncio")
    assert victim.line() == "launched"
    (first,) = victim.guardians()
    os.kill(first, signal.SIGKILL)
    eventually(lambda: victim.guardians() not in ([], [first]), "no new guardian")
    assert victim.kit.seen()
    victim.kill()
    victim.assert_no_survivor()


def test_a_guardian_is_not_impressed_by_signals() -> None:
    victim = Victim("spawning", "asyncio")
    assert victim.line() == "launched"
    (pid,) = victim.guardians()
    ignored = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT)
    mask = sum(1 << (number - 1) for number in ignored)
    status = Path(f"/proc/{pid}/status")
    eventually(lambda: int(status.read_text().partition("SigIgn:")[2].split()[0], 16) & mask == mask, "not ignored")
    for number in ignored:
        os.kill(pid, number)
    assert os.getsid(pid) == pid
    assert _read(Path(f"/proc/{pid}/environ")) == b""
    victim.kill()
    victim.assert_no_survivor()


def test_a_program_that_ends_without_closing_leaves_nothing() -> None:
    victim = Victim("careless", "asyncio")
    assert victim.line() == "launched"
    victim.process.communicate()
    victim.assert_no_survivor()


def test_the_guardian_goes_home_with_its_driver(local: Local) -> None:
    async def body(kit: Kit) -> None:
        assert isinstance(kit.driver, LocalDriver)
        assert kit.driver.guardian is None  # nothing to guard yet
        copy = await kit.ready()
        pid = kit.driver.guardian
        assert pid
        await kit.stopped(copy, 5)
        await kit.driver.aclose()
        with pytest.raises(ProcessLookupError):  # not even a zombie
            os.kill(pid, 0)

    local(body)


def test_closing_takes_what_escaped(local: Local) -> None:
    async def body(kit: Kit) -> None:
        copy = await kit.ready({"spawn": {"setsid": True, "quiet": True, "token": kit.token}})
        await kit.stopped(copy, 0)
        await kit.driver.aclose()
        assert kit.seen() == []

    local(body)


def test_what_escaped_from_a_copy_does_not_outlive_it_for_long(local_once: Local) -> None:
    async def body(kit: Kit) -> None:
        spawn = {"spawn": {"setsid": True, "quiet": True, "token": kit.token}}
        stays, goes = await kit.launch(), await kit.launch()
        (kept,) = (await stays.report(spawn))["spawned"]
        (stray,) = (await goes.report(spawn))["spawned"]
        await kit.stopped(goes, 5)
        await asyncio.to_thread(eventually, lambda: not alive(stray), "the stray lives")
        assert alive(kept)
        assert await stays.call("fine?") == "fine?"

    local_once(body)


def test_a_driver_launches_while_its_guardian_is_gone(local_once: Local, caplog: pytest.LogCaptureFixture) -> None:
    async def body(kit: Kit) -> None:
        assert isinstance(kit.driver, LocalDriver)
        await kit.ready()
        first = kit.driver.guardian
        assert first
        os.kill(first, signal.SIGKILL)
        async with asyncio.timeout(10):
            while kit.driver.guardian == first:
                await asyncio.sleep(0)
        await kit.ready()
        assert kit.driver.guardian not in (None, first)

    local_once(body)
    assert "the guardian of hotfn was killed; another one is started" in caplog.text


def test_no_python_for_the_guardian_is_told(
    local_once: Local, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    guest = Guest()
    monkeypatch.setattr(sys, "executable", "")
    monkeypatch.setattr(shutil, "which", lambda name: None)

    async def body(kit: Kit) -> None:
        await kit.ready(command=guest.command)
        assert isinstance(kit.driver, LocalDriver)
        assert kit.driver.guardian is None

    local_once(body)
    assert "hotfn has no guardian, functions outlive it if it is killed: there is no python3" in caplog.text


def test_a_frozen_program_takes_the_python_of_its_path(monkeypatch: pytest.MonkeyPatch) -> None:
    assert guardian._python() == sys.executable
    monkeypatch.setattr(sys, "frozen", True, raising=False)
    assert Path(guardian._python()).name == "python3"


def test_a_guardian_that_does_not_go_home_is_killed(
    local_once: Local, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(guardian, "_CLOSE_LIMIT", 0.2)

    async def body(kit: Kit) -> None:
        assert isinstance(kit.driver, LocalDriver)
        copy = await kit.ready()
        assert kit.driver.guardian
        os.kill(kit.driver.guardian, signal.SIGSTOP)
        await kit.stopped(copy, 5)
        await kit.driver.aclose()

    local_once(body)
    assert "did not end in 0.2 s and is killed" in caplog.text


# What the sweep and the guardian look at


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
        assert await kit.driver.sweep() >= 2
        assert await copy.call("alive?") == "alive?"

    try:
        local_once(body)
        assert [orphan.wait(5) for orphan in orphans] == [-signal.SIGKILL] * 2
        assert [process.poll() for process in spared] == [None] * len(spared)
    finally:
        spared[-1].kill()
        spared[-1].wait()


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
    process = marked(f"{dead_runtime()}:1")
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
