"""A process that is known by more than its pid, so that a signal never reaches a stranger who got the number later."""

from __future__ import annotations

import os
import select
import signal
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Process:
    """One process of this machine: its pid, when it started (clock ticks since boot), and the boot that was."""

    pid: int
    started: int
    boot: str

    @classmethod
    def of(cls, pid: int) -> Process | None:
        """Return the process that has this pid now; None when there is none."""
        found = _state(pid)
        return None if found is None or found[0] in "ZX" else cls(pid, found[1], _boot())

    def alive(self) -> bool:
        """Say whether it still runs. A zombie does not."""
        return Process.of(self.pid) == self

    def signal(self, number: signal.Signals) -> bool:
        """Send a signal; False when it has ended, whoever has its pid now."""
        with self._handle() as handle:
            if handle is None:
                return False
            with suppress(ProcessLookupError):
                signal.pidfd_send_signal(handle, number)
                return True
            return False

    def wait(self, timeout: float) -> bool:
        """Wait up to `timeout` seconds for its end, and say whether it has ended. Takes its exit when it is ours."""
        with self._handle() as handle:
            if handle is not None and not select.select([handle], [], [], timeout)[0]:
                return False
        found = _state(self.pid)
        if found is not None and (found[1], _boot()) == (self.started, self.boot):  # a zombie: nobody has its pid yet
            with suppress(ChildProcessError):
                os.waitpid(self.pid, os.WNOHANG)
        return True

    def end(self, grace: float) -> None:
        """Ask it to end, wait `grace` seconds, then kill it. Returns when it is gone."""
        self.signal(signal.SIGTERM)
        if not self.wait(grace):
            self.signal(signal.SIGKILL)
            self.wait(grace)

    @contextmanager
    def _handle(self) -> Iterator[int | None]:
        """Hold a descriptor of the very process: opened first and compared then, so that nothing comes in between."""
        try:
            handle = os.pidfd_open(self.pid)
        except ProcessLookupError:
            yield None
            return
        try:
            yield handle if self.alive() else None
        finally:
            os.close(handle)


def processes_with(word: str) -> list[Process]:
    """Return the processes of this machine with an argument that contains `word`, but for this one."""
    pids = [int(folder.name) for folder in Path("/proc").iterdir() if folder.name.isdigit()]
    found = [Process.of(pid) for pid in pids if pid != os.getpid() and word in _arguments(pid)]
    return [process for process in found if process is not None]


def descendants(process: Process) -> list[Process]:
    """Return what a process started, and what that started, while it still runs."""
    found = []
    for task in Path(f"/proc/{process.pid}/task").glob("*/children"):
        with suppress(OSError):  # it has ended
            found += [Process.of(int(pid)) for pid in task.read_text().split()]
    children = [child for child in found if child is not None]
    return [*children, *(one for child in children for one in descendants(child))]


def _arguments(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().decode(errors="replace")
    except OSError:  # it has ended
        return ""


def _boot() -> str:
    return Path("/proc/sys/kernel/random/boot_id").read_text().strip()


def _state(pid: int) -> tuple[str, int] | None:
    """Return a process's state, a letter, and when it started, in clock ticks since boot; None when there is none."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return None
    fields = text.rpartition(")")[2].split()  # the name before it may contain anything
    return fields[0], int(fields[19])
