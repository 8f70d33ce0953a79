"""How much memory copies take, looked up now and then in /proc where a copy is a process below this one."""

from __future__ import annotations

import os
from collections import deque
from pathlib import Path

from hotfn_core.hookspecs import InstanceChange, hookimpl

_PAGE = os.sysconf("SC_PAGE_SIZE")
_LOOKED_AT = 16  # copies at a time: what looks must not be felt by the calls
_DEEP = 8  # generations


class Copies:
    """The plugin that knows the copies of one function, and what was seen of their memory so far.

    `samples`, `total` and `most` are of resident bytes (a copy's process and its children), with what it shares with
    others. `strange`: there are copies that are no processes of ours, so of their memory nothing is known.
    """

    def __init__(self) -> None:
        self._pids: dict[str, int] = {}
        self._turn: deque[str] = deque()
        self.samples = self.total = self.most = 0
        self.strange = False

    @hookimpl
    def hotfn_instance_changed(self, change: InstanceChange) -> None:
        """Keep track of the copies that there are."""
        if change.state in {"stopping", "gone"}:
            self._pids.pop(change.instance, None)
        elif change.container and change.instance not in self._pids:
            pid = _own_process(change.container)
            self.strange |= pid == 0
            if pid:
                self._pids[change.instance] = pid

    def look(self) -> None:
        """Look at some of the copies, at others the next time."""
        if not self._turn:
            self._turn.extend(self._pids)
        for _ in range(min(len(self._turn), _LOOKED_AT)):
            size = _resident(self._pids.get(self._turn.popleft(), 0))
            if size:
                self.samples += 1
                self.total += size
                self.most = max(self.most, size)

    @property
    def mean(self) -> float | None:
        """The mean of what was seen, None when nothing was."""
        return self.total / self.samples if self.samples else None


def own_memory() -> int:
    """Return the resident bytes of this process, 0 when that cannot be told."""
    return _pages("self")


def _resident(pid: int, depth: int = 0) -> int:
    """Return the resident bytes of a process and what it has started, 0 when there is none."""
    size = _pages(str(pid)) if pid else 0
    if not size or depth == _DEEP:
        return size
    # Those that its other threads have started are left out: to find them takes a look at each thread.
    children = _read(f"/proc/{pid}/task/{pid}/children").split()
    return size + sum(_resident(int(child), depth + 1) for child in children)


def _pages(process: str) -> int:
    fields = _read(f"/proc/{process}/statm").split()
    return int(fields[1]) * _PAGE if len(fields) > 1 else 0


def _own_process(name: str) -> int:
    """Return the pid that a driver's name of a copy is, 0 when it is none of a process below this one. An engine's name
    may be a number too."""
    if not (name.isascii() and name.isdecimal() and len(name) < 10):
        return 0
    pid = int(name)
    for _ in range(_DEEP):
        pid = _parent(pid)
        if pid == os.getpid():
            return int(name)
        if not pid:
            break
    return 0


def _parent(pid: int) -> int:
    fields = _read(f"/proc/{pid}/stat").rpartition(")")[2].split()
    return int(fields[1]) if len(fields) > 1 else 0


def _read(path: str) -> str:
    try:
        return Path(path).read_text("utf-8", "replace")
    except OSError:
        return ""
