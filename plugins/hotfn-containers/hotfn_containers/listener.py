"""Who listens for an engine on a unix socket of this machine.

It is the process that called listen: the engine itself, or systemd, which hands the socket to the engine (socket
activation) and outlives it, or a program that forwards the socket of another machine.
"""

from __future__ import annotations

from pathlib import Path


def command_of(pid: int | None) -> str:
    """Return the name of a process's program, "" where that cannot be told."""
    try:
        return Path(f"/proc/{pid}/comm").read_text(encoding="utf-8", errors="replace").strip()
    except OSError:
        return ""


def hard_limit(pid: int | None, name: str) -> int | None:
    """Return a hard limit of a process, by its name in /proc/PID/limits; None for none or where it cannot be told."""
    try:
        lines = Path(f"/proc/{pid}/limits").read_text(encoding="ascii").splitlines()
    except OSError:
        return None
    hard = next((line.removeprefix(name).split()[1] for line in lines if line.startswith(name)), "unlimited")
    return int(hard) if hard.isdecimal() else None
