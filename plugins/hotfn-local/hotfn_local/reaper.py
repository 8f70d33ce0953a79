"""Ends what a runtime left behind: every process that carries the runtime's marker in its environment.

Used in two ways: inside hotfn by `sweep`, and as a program of its own, the guardian, which outlives a hotfn that is
killed with -9 by as long as it takes to kill what it had started:

    python -I -S reaper.py TABLE_FD RUNTIME  < the reading end of a pipe that only hotfn holds

Standard library only and no import of ours, so that the guardian starts fast and depends on nothing.
"""

from __future__ import annotations

import os
import select
import signal
import struct
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from typing import NamedTuple

MARKER = "HOTFN_RUNTIME"
"""Name of the variable that every function gets. Its value is RUNTIME ":" and the number of the copy. RUNTIME is
"<pid namespace>:<pid>:<start time>:<random>", so that neither a reused pid nor one of another container is taken for
it."""

ENTRY = struct.Struct("=QQQQ")
"""One line of the table that hotfn shares with its guardian: number of the copy, its pid, and between which two ticks
it was started. Zeros are free; a number without a pid is a copy that is being started."""

CHASE = 1.0
"""Seconds for which the guardian looks again after hotfn was killed: hotfn may have died between fork and exec, when
the child does not carry the marker yet."""

PIPE = 0
GOODBYE = b"q"
COPY_ENDED = b"."
"""What hotfn tells its guardian over the pipe. An end of the pipe without goodbye is a violent end of hotfn."""

_HZ = os.sysconf("SC_CLK_TCK")
_PREFIX = MARKER.encode() + b"="
_ROUNDS = 200
_PAUSE = 0.02


class Marked(NamedTuple):
    """A process that carries a marker."""

    pid: int
    runtime: str
    copy: int


def start_time(pid: int) -> int | None:
    """Return when the process was started, in clock ticks since boot; None when it is gone or only a zombie."""
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:
            fields = file.read().rpartition(b")")[2].split()
    except OSError:
        return None
    return None if fields[0] in b"ZX" else int(fields[19])


def ticks() -> int:
    """Return the time in the measure of `start_time`."""
    return int(time.clock_gettime(time.CLOCK_BOOTTIME) * _HZ)


def pid_namespace() -> str:
    """Return the identity of the namespace in which our pids mean something."""
    return os.readlink("/proc/self/ns/pid").strip("pid:[]")


def is_dead(runtime: str) -> bool:
    """Say whether that runtime has ended for sure: one of another pid namespace cannot be judged from here."""
    try:
        namespace, pid, started, _ = runtime.split(":")
        return namespace == pid_namespace() and start_time(int(pid)) != int(started)
    except (ValueError, OSError):
        return False


def read_marker(pid: int) -> Marked | None:
    """Return the marker of a process; None when it has none, is gone, or is not ours to look at."""
    try:
        with open(f"/proc/{pid}/environ", "rb") as file:
            environ = file.read()
    except OSError:
        return None
    if _PREFIX not in environ:
        return None
    for variable in environ.split(b"\0"):
        if variable.startswith(_PREFIX):
            runtime, _, copy = os.fsdecode(variable[len(_PREFIX) :]).rpartition(":")
            return Marked(pid, runtime, int(copy)) if copy.isdecimal() else None
    return None


def marked() -> Iterator[Marked]:
    """Yield every process of this machine that carries a marker."""
    for name in os.listdir("/proc"):
        if name.isdecimal():
            found = read_marker(int(name))
            if found:
                yield found


def kill(found: Marked) -> bool:
    """Kill that process and no other that has got its pid meanwhile. Returns whether it was there."""
    try:
        pidfd = os.pidfd_open(found.pid)
    except OSError:
        return False
    try:
        if read_marker(found.pid) != found:
            return False
        signal.pidfd_send_signal(pidfd, signal.SIGKILL)
        return True
    except OSError:  # it is gone, or it has become another user's
        return False
    finally:
        os.close(pidfd)


def kill_marked(choose: Callable[[list[Marked]], Iterable[Marked]]) -> int:
    """Kill those of all marked processes that `choose` returns, look again until there is none, and return how
    many there were.

    Looking again catches what they forked meanwhile. It ends after some seconds even if one cannot die.
    """
    victims: set[int] = set()
    for _ in range(_ROUNDS):
        killed = {found.pid for found in choose(list(marked())) if kill(found)}
        if not killed:
            break
        victims |= killed
        time.sleep(_PAUSE)
    return len(victims)


def read_table(fd: int) -> list[tuple[int, int, int, int]]:
    """Return the entries in use."""
    size = os.fstat(fd).st_size
    data = os.pread(fd, size - size % ENTRY.size, 0)
    return [entry for entry in ENTRY.iter_unpack(data) if entry[0]]


def leads(pid: int, since: int, until: int) -> bool:
    """Say whether that is the group of a copy that was started between these ticks.

    A group whose leader has ended keeps its number to itself while it has members; a leader that was started at
    another time is a stranger that has got the number.
    """
    started = start_time(pid)
    return started is None or since <= started <= until


def kill_groups(table: int) -> None:
    """Kill the process group of every copy in the table."""
    for _, pid, since, until in read_table(table):
        if pid > 1 and leads(pid, since, until):
            try:
                os.killpg(pid, signal.SIGKILL)
            except OSError:  # all of it is gone, or is another user's
                continue


class Guardian:
    """The guardian's own life: wait, kill strays when told that a copy has ended, clear up when hotfn is gone."""

    def __init__(self, table: int, runtime: str) -> None:
        self.table = table
        self.runtime = runtime
        self.due: float | None = None
        self.rested = 0.0
        self.poller = select.poll()
        self.poller.register(PIPE, select.POLLIN)

    def run(self) -> None:
        """Return when hotfn has ended, by itself or not, and nothing that it started lives."""
        end = time.monotonic() if self.wait() else time.monotonic() + CHASE
        kill_groups(self.table)
        while True:
            kill_marked(lambda found: [one for one in found if one.runtime == self.runtime])
            if time.monotonic() >= end:
                return
            time.sleep(_PAUSE)

    def wait(self) -> bool:
        """Wait for the end of hotfn. Returns whether it said goodbye."""
        parent = self._watch_parent()
        while parent is not None:
            ready = [fd for fd, _ in self.poller.poll(self._patience())]
            if PIPE in ready:
                said = os.read(PIPE, 4096)
                if not said or GOODBYE in said:
                    return GOODBYE in said
                self.due = max(time.monotonic(), self.rested)
            if parent in ready:
                return False
            if self.due and time.monotonic() >= self.due:
                self._kill_strays()
        return False

    def _watch_parent(self) -> int | None:
        """Watch hotfn itself, and return None when it is gone already.

        The pipe alone is not enough: a program that uses hotfn may fork, and its child holds the pipe as well.
        """
        try:
            parent = os.pidfd_open(int(self.runtime.split(":")[1]))
        except ProcessLookupError:
            return None
        if is_dead(self.runtime):
            return None
        self.poller.register(parent, select.POLLIN)
        return parent

    def _patience(self) -> float | None:
        return max(0.0, self.due - time.monotonic()) * 1000 if self.due else None

    def _kill_strays(self) -> None:
        """Kill what left the group of its copy and outlived it. Takes at most a twentieth of one processor."""
        began = time.monotonic()
        kill_marked(self._strays)
        self.due = None
        now = time.monotonic()
        self.rested = now + 20 * (now - began)

    def _strays(self, found: list[Marked]) -> list[Marked]:
        # The table is read after the processes: a copy is entered before it is started, so none is missed.
        live = {copy for copy, *_ in read_table(self.table)}
        return [one for one in found if one.runtime == self.runtime and one.copy not in live]


def main() -> None:
    """Be the guardian; see the module."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT):
        signal.signal(number, signal.SIG_IGN)
    Guardian(int(sys.argv[1]), sys.argv[2]).run()


if __name__ == "__main__":
    main()
