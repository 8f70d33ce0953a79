"""Starting one process with three pipes and a pidfd, and learning how it ended."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from typing import NamedTuple

from hotfn_core.errors import DriverError
from hotfn_core.model import Exit


@dataclass(frozen=True, slots=True)
class Order:
    """What to start: the file `program` with `argv`. Without `user`, `group`, `groups` it runs as hotfn does."""

    program: str
    argv: Sequence[str]
    env: Mapping[str, str]
    cwd: str | None = None
    user: int | None = None
    group: int | None = None
    groups: Sequence[int] | None = None


class Child(NamedTuple):
    """A started process and our ends of its pipes, which do not block."""

    process: subprocess.Popen[bytes]
    pidfd: int
    stdin: int
    stdout: int
    stderr: int


def spawn(order: Order) -> Child:
    """Start a process that leads a session and a process group of its own.

    Blocks for the millisecond that fork and exec take: the interpreter holds its lock for that time, so a thread
    would not help. Raises OSError; then nothing is left behind.
    """
    with ExitStack() as ours, ExitStack() as theirs:
        child_in, stdin = _pipe(theirs, ours)
        stdout, child_out = _pipe(ours, theirs)
        stderr, child_err = _pipe(ours, theirs)
        for fd in (stdin, stdout, stderr):
            os.set_blocking(fd, False)
        process = subprocess.Popen(
            order.argv,
            executable=order.program,
            stdin=child_in,
            stdout=child_out,
            stderr=child_err,
            env=order.env,
            cwd=order.cwd,
            start_new_session=True,
            user=order.user,
            group=order.group,
            extra_groups=order.groups,
        )
        pidfd = _watch(process)
        ours.pop_all()
        return Child(process, pidfd, stdin, stdout, stderr)


def _pipe(reader: ExitStack, writer: ExitStack) -> tuple[int, int]:
    reading, writing = os.pipe()
    reader.callback(os.close, reading)
    writer.callback(os.close, writing)
    return reading, writing


def _watch(process: subprocess.Popen[bytes]) -> int:
    try:
        return os.pidfd_open(process.pid)
    except ProcessLookupError:
        process.returncode = 0  # nobody can know it
        raise DriverError(
            "the program ended and its exit status is gone: this process ignores SIGCHLD or waits for all children"
        ) from None
    except OSError:
        process.kill()
        process.wait()
        raise


def reap(child: Child) -> Exit:
    """Take the exit status of a process that has ended."""
    try:
        result = os.waitid(os.P_PIDFD, child.pidfd, os.WEXITED)
    except ChildProcessError:
        child.process.returncode = 0  # keeps its destructor quiet
        return Exit(detail="another part of this program took its exit status")
    assert result is not None  # only with WNOHANG
    if result.si_code == os.CLD_EXITED:
        child.process.returncode = result.si_status
        return Exit(code=result.si_status)
    child.process.returncode = -result.si_status
    return Exit(signal=result.si_status)
