"""What is mounted below a directory."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path


def mounts_below(directory: Path) -> list[str]:
    """Return the mount points at or below `directory`, the innermost first."""
    lines = Path("/proc/self/mountinfo").read_text().splitlines()
    points = [_spelt(line.split(" ")[4]) for line in lines]
    return [point for point in reversed(points) if Path(point).is_relative_to(directory)]


def unmount_below(directory: Path) -> None:
    """Unmount all that `mounts_below` finds; what is busy goes away with its last user. Raises CalledProcessError."""
    for point in mounts_below(directory):
        done = subprocess.run(["/usr/bin/umount", "--lazy", point], check=False, capture_output=True)
        if point in mounts_below(directory):  # else somebody who tidies up was faster
            done.check_returncode()


def file_system(directory: Path) -> str:
    """Return the kind of the file system that holds `directory`: "ext4", "overlay", ..."""
    kinds = {}
    for line in Path("/proc/self/mountinfo").read_text().splitlines():
        words = line.split(" ")
        kinds[Path(_spelt(words[4]))] = words[words.index("-") + 1]
    for folder in (directory, *directory.parents):
        if folder in kinds:
            return kinds[folder]
    return ""


def _spelt(field: str) -> str:
    """Undo the octal escapes of /proc/self/mountinfo."""
    return re.sub(r"\\(\d{3})", lambda match: chr(int(match[1], 8)), field)
