"""Who this hotfn process is, for the marks on what may outlive it, and what became of the one that left a mark.

A driver labels what it starts with `Runtime.current().as_labels()`. Whoever finds such labels later, `Driver.sweep`
above all, asks `fate` and removes what belongs to a dead runtime, and nothing else: in doubt the answer is "unknown".
"""

from __future__ import annotations

import hashlib
import os
import secrets
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal

Fate = Literal["alive", "dead", "unknown"]

_NAMES = ("runtime", "host", "boot", "pid", "started", "pidns")
_HIGHEST_PID = 2**22  # of any Linux
_LONGEST_NUMBER = 20  # digits of the largest count of ticks


@dataclass(frozen=True, slots=True)
class Machine:
    """What can be seen of a machine from inside one process. A text is "" where it cannot be told.

    `host` is a hash of the machine-id and the host name, `boot` the kernel's boot id, `pidns` the inode of the pid
    namespace that `started` looks at. `started(pid)` returns when a process was started, in clock ticks since boot, or
    None when there is no such process or only a zombie. It raises OSError when that cannot be told.
    """

    host: str
    boot: str
    pidns: str
    started: Callable[[int], int | None]

    @classmethod
    def here(cls) -> Machine:
        """Look at the machine that this process runs on. Never raises."""
        boot = _text("/proc/sys/kernel/random/boot_id")
        # Without a machine-id two machines of one name look alike: what an earlier boot left is then "unknown".
        identity = f"hotfn {_text('/etc/machine-id') or boot} {os.uname().nodename}"
        return cls(hashlib.sha256(identity.encode()).hexdigest()[:16], boot, _pid_namespace(), _started)


@dataclass(frozen=True, kw_only=True, slots=True)
class Runtime:
    """One process that runs hotfn. `runtime` is random, `started` in clock ticks since boot, the rest as in Machine."""

    runtime: str
    host: str
    boot: str
    pid: int
    started: int
    pidns: str

    @classmethod
    def current(cls) -> Runtime:
        """Return this process's own, the same one every time. A fork of it is another. From any thread; never raises.

        On a system without /proc it is one whose fate is unknown to everybody.
        """
        pid, started = os.getpid(), _own_start()
        known = _known.get((pid, started))
        if known is None:
            here = Machine.here()
            made = cls(
                runtime=secrets.token_hex(8),
                host=here.host,
                boot=here.boot,
                pid=pid,
                started=started,
                pidns=here.pidns,
            )
            known = _known.setdefault((pid, started), made)  # another thread may have been first
        return known

    def as_labels(self) -> dict[str, str]:
        """Return the fields by their names as texts without secrets, for labels; `fate` takes them back."""
        return {name: str(value) for name, value in asdict(self).items()}


_known: dict[tuple[int, int], Runtime] = {}
"""The runtime of this process; those of the processes that it was forked from stay and are never asked for."""


def fate(labels: Mapping[str, object] | None, machine: Machine | None = None) -> Fate:
    """Say what became of the runtime with these labels, as far as that can be told on this machine. Never raises.

    Of another host, or of another pid namespace of this boot: unknown. Of an earlier boot of this host: dead. Else its
    process decides: dead when there is none with that pid and start time, or only a zombie. Labels that are missing or
    damaged are unknown. Others than those of `Runtime.as_labels` are not looked at.
    """
    texts = {name: (labels or {}).get(name) for name in _NAMES}
    if not all(isinstance(text, str) and text for text in texts.values()):
        return "unknown"
    pid, started = _number(texts["pid"]), _number(texts["started"])
    machine = machine or Machine.here()
    if not 0 < pid <= _HIGHEST_PID or started < 0 or not machine.boot or texts["host"] != machine.host:
        return "unknown"
    if texts["boot"] != machine.boot:
        return "dead"
    if texts["pidns"] != machine.pidns:
        return "unknown"
    try:
        return "alive" if machine.started(pid) == started else "dead"
    except OSError:
        return "unknown"


def _number(text: object) -> int:
    """Return the number that a text is, -1 when it is none."""
    plain = isinstance(text, str) and text.isascii() and text.isdecimal() and len(text) <= _LONGEST_NUMBER
    return int(str(text)) if plain else -1


def _text(path: str) -> str:
    try:
        return Path(path).read_text("ascii", "replace").strip()
    except OSError:
        return ""


def _stat(process: str) -> tuple[int, bytes, int]:
    """Return pid, state and start time out of /proc. Raises OSError."""
    # The program's name may hold anything, also ")".
    head, _, rest = Path(f"/proc/{process}/stat").read_bytes().rpartition(b")")
    fields = rest.split()
    return int(head.split()[0]), fields[0], int(fields[19])


def _own_start() -> int:
    try:
        return _stat("self")[2]
    except OSError:
        return 0


def _pid_namespace() -> str:
    """Return the identity of our pid namespace; "" when /proc is that of another, whose pids mean something else."""
    try:
        return str(Path("/proc/self/ns/pid").readlink()).strip("pid:[]") if _stat("self")[0] == os.getpid() else ""
    except OSError:
        return ""


def _started(pid: int) -> int | None:
    try:
        _, state, started = _stat(str(pid))
    except (FileNotFoundError, ProcessLookupError):
        _check_free(pid)
        return None
    return None if state in b"ZX" else started


def _check_free(pid: int) -> None:
    """Raise OSError when there is such a process after all: /proc may hide those of other users (hidepid)."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return
    raise PermissionError(f"/proc does not show the process {pid}")
