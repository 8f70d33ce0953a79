"""Starting one process with three pipes and a pidfd, and learning how it ended."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from hotfn_core.model import Exit

from . import posix


@dataclass(frozen=True, slots=True)
class Order:
    """What to start: the file `program` with `argv`. Without `user`, `group`, `groups` it runs as hotfn does."""

    program: str
    argv: Sequence[str]
    env: Mapping[str, str] = field(repr=False)  # may hold secrets
    cwd: str | None = None
    user: int | None = None
    group: int | None = None
    groups: Sequence[int] | None = None


class Child(NamedTuple):
    """A started process and our ends of its pipes, which do not block."""

    pid: int
    pidfd: int
    stdin: int
    stdout: int
    stderr: int


class Start:
    """A process that is to be started once. Making one raises OSError or ValueError; then nothing is left behind.

    What blocks for the millisecond that fork and exec take is `run`, which is for a thread and does nothing else:
    threads that pass the interpreter's lock to and fro disturb calls more than a few system calls do.
    """

    def __init__(self, order: Order) -> None:
        self._ours: list[int] = []
        self._theirs: list[int] = []
        try:
            for reader, writer in ((self._theirs, self._ours), (self._ours, self._theirs), (self._ours, self._theirs)):
                _add_pipe(reader, writer)
            for fd in self._ours:
                os.set_blocking(fd, False)
            self._run = _way(order, *self._theirs)
        except BaseException:  # nothing is left behind, whatever it was
            self.close()
            raise

    def run(self) -> int:
        """Start the process, the leader of a session and a process group of its own; return its pid. Raises OSError."""
        return self._run()

    def child(self, pid: int) -> Child:
        """Return the process that was started. Raises OSError; then it is dead."""
        child = Child(pid, _pidfd(pid), *self._ours)
        self._ours = []
        return child

    def close(self) -> None:
        """Let go of the descriptors that are not the child's now. Idempotent."""
        for fd in (*self._ours, *self._theirs):
            os.close(fd)
        self._ours, self._theirs = [], []


def _way(order: Order, stdin: int, stdout: int, stderr: int) -> Callable[[], int]:
    """Return what starts the process and disturbs least. Another account, or a C library that cannot, needs Popen."""
    stdio = (stdin, stdout, stderr)
    same_account = order.user is None and order.group is None and order.groups is None
    if same_account and min(stdio) > 2 and posix.library() is not None:
        return posix.Spawn(order.program, order.argv, order.env, order.cwd, stdio).run
    return lambda: _popen(order, *stdio)


def _add_pipe(reader: list[int], writer: list[int]) -> None:
    reading, writing = os.pipe()
    reader.append(reading)
    writer.append(writing)


def _popen(order: Order, stdin: int, stdout: int, stderr: int) -> int:
    process = subprocess.Popen(
        order.argv,
        executable=order.program,
        stdin=stdin,
        stdout=stdout,
        stderr=stderr,
        env=order.env,
        cwd=order.cwd,
        start_new_session=True,
        user=order.user,
        group=order.group,
        extra_groups=order.groups,
    )
    process.returncode = 0  # it is not Popen that waits for it; keeps its destructor quiet
    return process.pid


def watch(process: subprocess.Popen[bytes]) -> int:
    """Return a pidfd of a child that was just started. Raises OSError; then the child is dead."""
    try:
        return _pidfd(process.pid)
    except OSError:
        process.returncode = 0  # nobody waits for it any more
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


def reap(child: Child) -> Exit:
    """Take the exit status of a process that has ended."""
    try:
        result = os.waitid(os.P_PIDFD, child.pidfd, os.WEXITED)
    except ChildProcessError:
        return Exit(detail="another part of this program took its exit status")
    assert result is not None  # only with WNOHANG
    if result.si_code == os.CLD_EXITED:
        return Exit(code=result.si_status)
    return Exit(signal=result.si_status)
