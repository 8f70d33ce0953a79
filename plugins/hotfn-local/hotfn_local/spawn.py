"""Starting one process with three pipes and a pidfd, and learning how it ended."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import NamedTuple, Protocol

from hotfn_core.model import Exit

from . import posix
from .options import Limit
from .reaper import MARKER


@dataclass(frozen=True)
class Order:
    """What to start: the file `program` with `argv`. Without `user`, `group`, `groups` it runs as hotfn does.

    `zygote` is the option of that name, None without it. `limits` are what the copy has to set itself. One order may
    be of many copies, and is never changed.
    """

    program: str
    argv: Sequence[str]
    env: Mapping[str, str] = field(repr=False)  # may hold secrets
    cwd: str | None = None
    user: int | None = None
    group: int | None = None
    groups: Sequence[int] | None = None
    zygote: bool | tuple[str, ...] | None = None
    limits: Sequence[tuple[Limit, int]] = ()

    @cached_property
    def words(self) -> posix.Words:
        """What goes to the C library. Raises ValueError for what no environment can hold."""
        return posix.Words(self.program, self.argv, {name: self.env[name] for name in self.env if name != MARKER})

    def with_env(self, env: Mapping[str, str]) -> Order:
        """Return the same with another environment."""
        return Order(
            self.program, self.argv, env, self.cwd, self.user, self.group, self.groups, self.zygote, self.limits
        )


class Parent(Protocol):
    """Who gets the exit status of a copy from the kernel."""

    def collect(self, child: Child, done: Callable[[Exit], None]) -> None:
        """Take the exit status of `child`, which has exited. `done` is called once, at once or later."""

    def leads(self, child: Child) -> bool:
        """Say whether the pid of `child`, which may have exited, is still the number of its group and of no other."""


class Child(NamedTuple):
    """A started process and our ends of its pipes, which do not block."""

    parent: Parent
    pid: int
    pidfd: int
    stdin: int
    stdout: int
    stderr: int


class Streams(NamedTuple):
    """Three pipes for stdin, stdout and stderr: our ends, which do not block, and those of the process."""

    ours: list[int]
    theirs: list[int]


def open_streams() -> Streams:
    """Raises OSError; then none is open."""
    streams = Streams([], [])
    try:
        for reader, writer in (streams[::-1], streams, streams):
            _add_pipe(reader, writer)
        for fd in streams.ours:
            os.set_blocking(fd, False)
    except OSError:
        close(streams.ours + streams.theirs)
        raise
    return streams


class Start:
    """A process that is to be started once, with `marker` in its environment. Making one raises OSError or ValueError;
    then nothing is left behind. All of it may be done in a thread. `run` blocks for the millisecond that fork and exec
    take, and lets other threads go on.
    """

    def __init__(self, order: Order, marker: tuple[str, str]) -> None:
        self._streams = open_streams()
        try:
            self._run = _way(order, marker, self._streams.theirs)
        except BaseException:  # nothing is left behind, whatever it was
            self.close()
            raise

    def run(self) -> int:
        """Start the process, the leader of a session and a process group of its own; return its pid. Raises OSError."""
        return self._run()

    def child(self, pid: int) -> Child:
        """Return the process that was started. Raises OSError; then it is dead."""
        child = Child(Own(), pid, _pidfd(pid), *self._streams.ours)
        self._streams = Streams([], self._streams.theirs)
        return child

    def close(self) -> None:
        """Let go of the descriptors that are not the child's now. Idempotent."""
        close(self._streams.ours + self._streams.theirs)
        self._streams = Streams([], [])


def _way(order: Order, marker: tuple[str, str], stdio: Sequence[int]) -> Callable[[], int]:
    """Return what starts the process and disturbs least. Another account, or a C library that cannot, needs Popen."""
    same_account = order.user is None and order.group is None and order.groups is None
    if same_account and min(stdio) > 2 and posix.library() is not None:
        stdin, stdout, stderr = stdio
        return posix.Spawn(order.words, marker, order.cwd, (stdin, stdout, stderr)).run
    return lambda: _quiet(popen(order, marker, stdio)).pid


def _quiet(process: subprocess.Popen[bytes]) -> subprocess.Popen[bytes]:
    process.returncode = 0  # it is not Popen that waits for it; keeps its destructor quiet
    return process


def _add_pipe(reader: list[int], writer: list[int]) -> None:
    reading, writing = os.pipe()
    reader.append(reading)
    writer.append(writing)


def popen(
    order: Order, marker: tuple[str, str], streams: Sequence[int], passed: Sequence[int] = ()
) -> subprocess.Popen[bytes]:
    """Start a process with these three streams, and with those that are `passed` under their own numbers."""
    stdin, stdout, stderr = streams
    return subprocess.Popen(
        order.argv,
        executable=order.program,
        stdin=stdin,
        stdout=stdout,
        stderr=stderr,
        env={**order.env, marker[0]: marker[1]},
        cwd=order.cwd,
        pass_fds=passed,
        start_new_session=True,
        user=order.user,
        group=order.group,
        extra_groups=order.groups,
    )


def close(fds: Sequence[int]) -> None:
    """Close descriptors."""
    for fd in fds:
        os.close(fd)


def watch(process: subprocess.Popen[bytes]) -> int:
    """Return a pidfd of a child that was just started. Raises OSError; then the child is dead."""
    try:
        return _pidfd(process.pid)
    except OSError:
        _quiet(process)  # nobody waits for it any more
        raise


def _pidfd(pid: int) -> int:
    try:
        return os.pidfd_open(pid)
    except ProcessLookupError:
        raise ChildProcessError(
            "it ended and its exit status is gone: this process ignores SIGCHLD or waits for all children"
        ) from None
    except OSError:
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
        raise


class Own:
    """hotfn itself as the parent."""

    def collect(self, child: Child, done: Callable[[Exit], None]) -> None:
        done(reap(child.pidfd))

    def leads(self, child: Child) -> bool:
        return True  # it is not reaped before `collect`


def reap(pidfd: int) -> Exit:
    """Take the exit status of a child that has ended."""
    try:
        result = os.waitid(os.P_PIDFD, pidfd, os.WEXITED)
    except ChildProcessError:
        return Exit(detail="another part of this program took its exit status")
    assert result is not None  # only with WNOHANG
    if result.si_code == os.CLD_EXITED:
        return Exit(code=result.si_status)
    return Exit(signal=result.si_status)
