"""`hotfn run` in a pipeline: bounded memory, back-pressure, answers as they come, and readers that go away."""

from __future__ import annotations

import os
import pty
import select
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import IO

import psutil
import pytest

Run = Callable[..., subprocess.CompletedProcess[bytes]]
Start = Callable[..., subprocess.Popen[bytes]]

MB = 1 << 20
# Writes so many lines of 64 kB: what a test needs of a large file without the file.
WIDE = "import sys\nline = b'x' * 65535 + b'\\n'\nfor _ in range({count}): sys.stdout.buffer.write(line)"
LIMIT_SECONDS = 20


def pipe(stream: IO[bytes] | None) -> IO[bytes]:
    assert stream is not None
    return stream


def peak_memory(process: subprocess.Popen[bytes]) -> int:
    """Return the most memory that a process has had so far, in bytes."""
    status = Path(f"/proc/{process.pid}/status").read_text()
    return next(int(line.split()[1]) * 1024 for line in status.splitlines() if line.startswith("VmHWM"))


class TestMemory:
    @pytest.mark.parametrize("output", ["body", "jsonl"])
    def test_300_megabytes_of_lines_do_not_land_in_it(
        self, spawn: Start, start: Start, guest: list[str], output: str
    ) -> None:
        source = spawn(sys.executable, "-c", WIDE.format(count=4800), stdout=subprocess.PIPE)
        process = start("run", "--each-line", "--output", output, "--parallel", "4", *guest, stdin=source.stdout)
        pipe(source.stdout).close()
        size, peak = 0, 0
        while data := os.read(pipe(process.stdout).fileno(), MB):
            size += len(data)
            peak = max(peak, peak_memory(process)) if size % 7 == 0 or size > 290 * MB else peak
        assert process.wait(LIMIT_SECONDS) == 0
        assert size >= 4800 * 65536
        assert 0 < peak < 100 * MB

    def test_short_lines_do_not_either(self, start: Start) -> None:
        """A function that does not answer holds the input back; hotfn has taken a few chunks of it and no more."""
        process = start("run", "--each-line", "--", "sleep", "60", stderr=subprocess.DEVNULL)
        stdin = pipe(process.stdin).fileno()
        assert stuffed(stdin, b"\n" * 65536) < 2 * MB
        assert peak_memory(process) < 100 * MB


def stuffed(fd: int, chunk: bytes) -> int:
    """Write until the pipe has been full for a second. Returns how many bytes it took."""
    os.set_blocking(fd, False)
    taken = 0
    while select.select([], [fd], [], 1.0 if taken else LIMIT_SECONDS)[1]:
        taken += os.write(fd, chunk[taken % len(chunk) :])  # a full pipe takes the beginning: go on behind it
        assert taken < 500 * MB
    return taken


class TestBackPressure:
    def test_an_output_that_nobody_reads_holds_back_the_input(self, start: Start, guest: list[str]) -> None:
        process = start("run", "--each-line", *guest)
        os.write(pipe(process.stdin).fileno(), b"some line\n")
        assert pipe(process.stdout).readline() == b"some line\n"  # it is there, and reads
        taken = stuffed(pipe(process.stdin).fileno(), b"some line\n" * 1000)
        assert 64 * 1024 < taken < 8 * MB
        pipe(process.stdin).close()
        assert sum(1 for _ in pipe(process.stdout)) == -(-taken // 10)  # and not a line is lost
        assert process.wait(LIMIT_SECONDS) == 0

    def test_one_slow_call_holds_back_those_far_behind_it(self, start: Start, guest: list[str]) -> None:
        process = start("run", "--each-line", "--max-concurrency", "2", *guest)
        stdin = pipe(process.stdin)
        stdin.write(b"sleep 3 first\n")
        stdin.flush()
        assert stuffed(stdin.fileno(), b"big 1000000\n" * 1000) < MB
        assert peak_memory(process) < 300 * MB
        assert pipe(process.stdout).readline() == b"first\n"


class TestInteractive:
    def test_every_line_is_answered_before_the_next_is_asked(self, start: Start, guest: list[str]) -> None:
        process = start("run", "--each-line", "--max-concurrency", "2", *guest)
        stdin, stdout = pipe(process.stdin), pipe(process.stdout)
        for number in range(300):
            stdin.write(b"question %d\n" % number)
            stdin.flush()
            assert stdout.readline() == b"question %d\n" % number
        stdin.close()
        assert process.wait(LIMIT_SECONDS) == 0

    def test_a_reply_does_not_wait_for_the_next_line(self, start: Start, guest: list[str]) -> None:
        """The input goes on, the function is slow: each reply is there when it is ready, not when a buffer is full."""
        process = start("run", "--each-line", *guest)
        stdin, stdout = pipe(process.stdin), pipe(process.stdout)
        stdin.write(b"first\nsleep 30 second\n")
        stdin.flush()
        assert select.select([stdout], [], [], LIMIT_SECONDS)[0]
        assert stdout.readline() == b"first\n"

    def test_an_endless_producer_is_answered_as_it_goes(self, spawn: Start, start: Start, guest: list[str]) -> None:
        source = spawn("yes", "again", stdout=subprocess.PIPE)
        process = start("run", "--each-line", *guest, stdin=source.stdout)
        pipe(source.stdout).close()
        assert [pipe(process.stdout).readline() for _ in range(5000)] == [b"again\n"] * 5000
        process.terminate()
        pipe(process.stdout).read()
        assert process.wait(LIMIT_SECONDS) == 143
        source.wait(LIMIT_SECONDS)


class TestReadersThatGo:
    def test_head_has_enough(self, spawn: Start, start: Start, guest: list[str]) -> None:
        source = spawn("yes", "line", stdout=subprocess.PIPE)
        process = start("run", "--each-line", "--max-concurrency", "2", *guest, stdin=source.stdout)
        pipe(source.stdout).close()
        assert pipe(process.stdout).readline() == b"line\n"
        pipe(process.stdout).close()
        assert process.wait(LIMIT_SECONDS) == 0
        assert pipe(process.stderr).read() == b""
        source.wait(LIMIT_SECONDS)

    def test_a_slow_call_is_not_waited_for(self, start: Start, guest: list[str]) -> None:
        process = start("run", "--each-line", "--max-concurrency", "2", *guest)
        stdin, stdout = pipe(process.stdin), pipe(process.stdout)
        stdin.write(b"first\nsleep 30\n")
        stdin.flush()
        assert stdout.readline() == b"first\n"
        stdout.close()
        began = time.monotonic()
        stdin.write(b"more\n" * 10)
        stdin.flush()
        stdin.close()
        process.wait(LIMIT_SECONDS)
        assert time.monotonic() - began < LIMIT_SECONDS

    def test_failures_before_it_went_still_count(self, start: Start, guest: list[str]) -> None:
        process = start("run", "--each-line", *guest)
        stdin, stdout = pipe(process.stdin), pipe(process.stdout)
        stdin.write(b"status 500\n")
        stdin.flush()
        assert stdout.readline() == b"sorry\n"
        stdout.close()
        stdin.write(b"more\n" * 3)
        stdin.close()
        assert process.wait(LIMIT_SECONDS) == 1

    def test_a_full_disk_is_an_error(self, hotfn: Run) -> None:
        with Path("/dev/full").open("wb") as full:
            result = hotfn("run", "--", "echo", "text", stdout=full)
        assert result.returncode == 1
        assert result.stderr == b"Error: the output cannot be written: No space left on device\n"

    @pytest.mark.parametrize("closed", [0, 1, 2])
    def test_a_descriptor_that_was_never_open(self, tmp_path: Path, closed: int) -> None:
        script = f"exec {sys.executable} -m hotfn_core run -- wc -c {closed}>&-"
        result = subprocess.run(["sh", "-c", script], capture_output=True, timeout=60, check=False, input=b"abc")
        assert result.returncode == (1 if closed == 1 else 0)
        assert result.stdout.strip() == {0: b"0", 1: b"", 2: b"3"}[closed]


class TestNeighbours:
    def test_stdin_and_stdout_stay_as_blocking_as_they_were(self, start: Start, guest: list[str]) -> None:
        ours, theirs = os.pipe()
        process = start("run", "--each-line", *guest, stdin=ours)
        os.write(theirs, b"line\n")
        assert pipe(process.stdout).readline() == b"line\n"
        assert os.get_blocking(ours)  # the flag belongs to the open file, which the shell has as well
        os.close(theirs)
        os.close(ours)

    def test_a_neighbour_that_made_them_non_blocking_does_no_harm(self, start: Start, guest: list[str]) -> None:
        out_read, out_write = os.pipe()
        in_read, in_write = os.pipe()
        os.set_blocking(out_write, False)
        os.set_blocking(in_read, False)
        process = start("run", "--each-line", *guest, stdin=in_read, stdout=out_write)
        os.close(out_write)
        os.close(in_read)
        with os.fdopen(in_write, "wb") as stdin, os.fdopen(out_read, "rb") as stdout:
            stdin.write(b"big 300000\n" * 3)
            stdin.close()
            assert stdout.read() == (b"x" * 300_000 + b"\n") * 3
        assert process.wait(LIMIT_SECONDS) == 0


class TestTerminal:
    def test_a_bar_is_on_a_terminal_only(self, start: Start, guest: list[str]) -> None:
        ours, theirs = pty.openpty()
        process = start("run", "--calls", "3", *guest, stderr=theirs, env={**os.environ, "TERM": "xterm"})
        os.close(theirs)
        pipe(process.stdin).write(b"stderr hello [red]you[/red]")
        pipe(process.stdin).close()
        screen = read_all(ours)
        assert process.wait(LIMIT_SECONDS) == 0
        assert b"calls" in screen
        assert screen.count(b"hello [red]you[/red]") == 3

    def test_replies_on_the_same_terminal_are_not_garbled(self, start: Start, guest: list[str]) -> None:
        ours, theirs = pty.openpty()
        process = start("run", "--each-line", *guest, stdout=theirs, stderr=theirs)
        os.close(theirs)
        pipe(process.stdin).write(b"one\ntwo\n")
        pipe(process.stdin).close()
        assert read_all(ours) == b"one\r\ntwo\r\n"
        assert process.wait(LIMIT_SECONDS) == 0


def read_all(fd: int) -> bytes:
    """Read a terminal until its other side is closed, which it reports as an error."""
    data = b""
    try:
        while chunk := os.read(fd, 4096):
            data += chunk
    except OSError:
        pass
    os.close(fd)
    return data


class TestNothingIsLeft:
    @pytest.mark.parametrize("body", [b"pid", b"exit 3", b"garbage"])
    def test_no_process_stays_behind(self, hotfn: Run, guest: list[str], body: bytes) -> None:
        before = {child.pid for child in psutil.Process().children(recursive=True)}
        hotfn("run", "--max-concurrency", "3", "--calls", "20", "--stderr", "hide", *guest, input=body)
        assert {child.pid for child in psutil.Process().children(recursive=True)} <= before
