"""Did the kernel kill a process of a container because memory was used up? The kernel counts that for each group.

Engines have marks of their own, which cannot be relied on: conmon 2.1.6 under podman 4.3 writes it to the service's
working directory, where podman does not look, and Docker learns of the kill and of the exit by two ways of which
either may be the faster. The count is there for some moments after the last process, on the engine's machine only.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

ROOT = Path("/sys/fs/cgroup")


def oom_killed(groups: Iterable[str], root: Path = ROOT) -> bool | None:
    """Say whether a process of a container was killed; None when none of its possible groups is there to tell."""
    for group in groups:
        for path in (f"{root}{group}/memory.events", f"{root}/memory{group}/memory.oom_control"):  # v2, v1
            count = _kills(Path(path))
            if count is not None:
                return count > 0
    return None


def verdict(mark: object, *counts: bool | None) -> bool | None:
    """Put an engine's mark and looks at the kernel's count together: what any of them saw has happened."""
    if mark or any(counts):
        return True
    return None if all(one is None for one in counts) else False


def _kills(path: Path) -> int | None:
    try:
        lines = path.read_text(encoding="ascii").splitlines()
    except OSError:
        return None
    return next((int(line.split()[1]) for line in lines if line.startswith("oom_kill ")), None)
