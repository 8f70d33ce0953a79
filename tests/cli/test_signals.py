"""Ctrl-C and SIGTERM: the first finishes what is in flight, the second ends it."""

from __future__ import annotations

import fcntl
import signal
import subprocess
import sys
import termios
import time
from collections.abc import Callable
from pathlib import Path
from typing import IO

import psutil
import pytest

Start = Callable[..., subprocess.Popen[bytes]]

LIMIT_SECONDS = 20
# Answers each body after as many seconds as it says, says so before, and is deaf to SIGTERM and to the end of stdin.
STUBBORN = """
import signal, sys, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
seconds = float(sys.stdin.read())
print("at work", file=sys.stderr, flush=True)
time.sleep(seconds)
print("done")
"""


def pipe(stream: IO[bytes] | None) -> IO[bytes]:
    assert stream is not None
    return stream


@pytest.fixture
def working(start: Start) -> Callable[[str], subprocess.Popen[bytes]]:
    """Start hotfn with a call in flight that takes so many seconds, and another line behind it."""

    def call(seconds: str) -> subprocess.Popen[bytes]:
        process = start("run", "--each-line", "--stats", "--", sys.executable, "-c", STUBBORN)
        pipe(process.stdin).write(f"{seconds}\n{seconds}\n".encode())
        pipe(process.stdin).flush()
        assert pipe(process.stderr).readline() == b"at work\n"
        return process

    return call


Working = Callable[[str], subprocess.Popen[bytes]]


@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_the_first_signal_finishes_the_calls_in_flight(working: Working, number: signal.Signals, status: int) -> None:
    process = working("1")
    process.send_signal(number)
    assert process.wait(LIMIT_SECONDS) == status
    assert pipe(process.stdout).read() == b"done\n"  # of the second line nothing was begun
    report = pipe(process.stderr).read().decode()
    assert f"{number.name}: finishing 1 call; once more ends them at once" in report
    assert "ok         1\n" in report  # the summary is that of an interrupted run, and is there


def test_the_second_signal_kills(working: Working) -> None:
    process = working("60")
    children = psutil.Process(process.pid).children(recursive=True)
    process.send_signal(signal.SIGINT)
    assert b"finishing 1 call" in pipe(process.stderr).readline()
    began = time.monotonic()
    process.send_signal(signal.SIGINT)
    assert process.wait(LIMIT_SECONDS) == 130
    assert time.monotonic() - began < 4  # less than stop_grace: a copy that is deaf to SIGTERM is not waited for
    assert pipe(process.stdout).read() == b"\n"  # of the call that was ended
    assert b"call 0 (line 1): aborted: " in pipe(process.stderr).read()
    assert psutil.wait_procs(children, timeout=LIMIT_SECONDS)[1] == []


def test_the_second_signal_loses_no_reply_that_is_there(start: Start) -> None:
    """Replies wait for the one of a line before them. When that one is killed they are written."""
    argv = ("--max-concurrency", "2", "--", sys.executable, "-c", STUBBORN)
    process = start("run", "--each-line", *argv)
    pipe(process.stdin).write(b"60\n0\n0\n")
    pipe(process.stdin).close()
    for _ in range(3):
        assert pipe(process.stderr).readline().endswith(b"at work\n")
    until(lambda: len(copies_of(process)) == 1)
    until(lambda: psutil.Process(process.pid).status() == psutil.STATUS_SLEEPING)  # it has dealt with the exits
    process.send_signal(signal.SIGINT)
    assert b"finishing 1 call" in pipe(process.stderr).readline()
    process.send_signal(signal.SIGINT)
    assert process.wait(LIMIT_SECONDS) == 130
    assert pipe(process.stdout).read() == b"\ndone\ndone\n"


def copies_of(process: subprocess.Popen[bytes]) -> list[psutil.Process]:
    """Return the copies that hotfn has not seen the end of: one that is dead counts until hotfn takes its exit."""
    return [child for child in psutil.Process(process.pid).children() if is_copy(child)]


def is_copy(child: psutil.Process) -> bool:
    try:
        if child.status() == psutil.STATUS_ZOMBIE:
            return True
        command = child.cmdline()
        return STUBBORN in command or not command  # which one that is just dying has lost
    except psutil.ZombieProcess:
        return True
    except psutil.NoSuchProcess:
        return False


def test_while_it_waits_for_input_one_is_enough(start: Start) -> None:
    process = start("run", "--each-line", "--", "cat")
    pipe(process.stdin).write(b"line\n")
    pipe(process.stdin).flush()
    assert pipe(process.stdout).readline() == b"line\n"
    process.send_signal(signal.SIGINT)
    assert process.wait(LIMIT_SECONDS) == 130
    assert pipe(process.stderr).read() == b""


def test_while_it_reads_the_body_one_is_enough(start: Start) -> None:
    process = start("run", "--", "cat")
    pipe(process.stdin).write(b"begun")
    pipe(process.stdin).flush()
    until(lambda: caught(process, signal.SIGTERM))
    process.terminate()
    assert process.wait(LIMIT_SECONDS) == 143
    assert pipe(process.stdout).read() == b""


def caught(process: subprocess.Popen[bytes], number: signal.Signals) -> bool:
    """Say whether the process handles a signal itself."""
    with Path(f"/proc/{process.pid}/status").open() as status:
        mask = next(int(line.split()[1], 16) for line in status if line.startswith("SigCgt"))
    return bool(mask >> (number - 1) & 1)


def test_a_full_output_does_not_keep_it(start: Start) -> None:
    """Nobody reads the output, so what is in flight cannot be finished: the second signal ends that too."""
    process = start("run", "--calls", "1000", "--", sys.executable, "-c", "print('x' * 1_000_000)")
    pipe(process.stdin).close()
    until(lambda: unread(pipe(process.stdout)) >= 65536)
    process.send_signal(signal.SIGINT)
    process.send_signal(signal.SIGTERM)
    assert process.wait(LIMIT_SECONDS) in {130, 143}


def unread(stream: IO[bytes]) -> int:
    """Return how many bytes are in a pipe."""
    return int.from_bytes(fcntl.ioctl(stream, termios.FIONREAD, bytes(4)), sys.byteorder)


def until(condition: Callable[[], bool]) -> None:
    """Wait for something that nobody tells us of. The limit of the test ends it."""
    while not condition():
        time.sleep(0.01)
