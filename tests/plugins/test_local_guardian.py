"""When hotfn is killed its functions die, and what a dead runtime left is swept up: for real, with kill -9."""

from __future__ import annotations

import asyncio
import errno
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import IO

import pytest

from hotfn_core import DriverError
from hotfn_core.testing.check_driver import Guest, Kit
from hotfn_local import guardian, reaper
from hotfn_local.driver import LocalDriver

from .conftest import Local
from .loops import LOOPS

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
            while kit.driver.guardian == first:  # noqa: ASYNC110 - the driver has no event for this
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


def test_a_guardian_that_cannot_be_watched_is_not_kept(
    local_once: Local, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its end would never be seen, and closing the driver would wait for it for ever."""
    started: list[int] = []

    async def body(kit: Kit) -> None:
        assert isinstance(kit.driver, LocalDriver)
        with monkeypatch.context() as patch:
            patch.setattr(os, "pidfd_open", out_of_descriptors)
            with pytest.raises(DriverError, match="no file descriptors left"):
                await kit.launch()
        assert len(started) == 2
        assert kit.driver.guardian is None
        assert not any(Path(f"/proc/{pid}").exists() for pid in started)
        await kit.ready()
        assert kit.driver.guardian is not None

    def out_of_descriptors(pid: int) -> int:
        started.append(pid)
        raise OSError(errno.EMFILE, "Too many open files")

    local_once(body)
    assert "hotfn has no guardian" in caplog.text


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
