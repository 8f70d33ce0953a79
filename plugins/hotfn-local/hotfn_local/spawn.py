"""Starting one process with three pipes and a pidfd, and learning how it ended."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from hotfn_core.model import Exit


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
    ours: list[int] = []
    theirs: list[int] = []
    try:
        for reader, writer in ((theirs, ours), (ours, theirs), (ours, theirs)):
            _add_pipe(reader, writer)
        for fd in ours:
            os.set_blocking(fd, False)
        process = _popen(order, *theirs)
        return Child(process, watch(process), *ours)
    except BaseException:  # nothing is left behind, whatever it was
        _close(ours)
        raise
    finally:
        _close(theirs)


def _add_pipe(reader: list[int], writer: list[int]) -> None:
    reading, writing = os.pipe()
    reader.append(reading)
    writer.append(writing)


def _popen(order: Order, stdin: int, stdout: int, stderr: int) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
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


def _close(fds: list[int]) -> None:
    for fd in fds:
        os.close(fd)


def watch(process: subprocess.Popen[bytes]) -> int:
    """Return a pidfd of a child that was just started. Raises OSError; then the child is dead."""
    try:
        return os.pidfd_open(process.pid)
    except ProcessLookupError:
        process.returncode = 0  # nobody can know it
        raise ChildProcessError(
            "it ended and its exit status is gone: this process ignores SIGCHLD or waits for all children"
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
