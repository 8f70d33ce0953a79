"""What the engines need on the machine, and how it gets there."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

# The packages of Debian, each with the file (a pattern) that shows that it is there.
PACKAGES = {
    "docker.io": "/usr/sbin/dockerd",
    "podman": "/usr/bin/podman",
    "runc": "/usr/sbin/runc",
    "crun": "/usr/bin/crun",
    "conmon": "/usr/bin/conmon",
    "netavark": "/usr/lib/podman/netavark",
    "aardvark-dns": "/usr/lib/podman/aardvark-dns",
    "catatonit": "/usr/bin/catatonit",
    "slirp4netns": "/usr/bin/slirp4netns",
    "fuse-overlayfs": "/usr/bin/fuse-overlayfs",
    "uidmap": "/usr/bin/newuidmap",
    "iptables": "/usr/sbin/iptables",
    "busybox-static": "/bin/busybox",
    "python3-minimal": "/usr/bin/python3",
    "libpython3-stdlib": "/usr/lib/python3.*/asyncio/__init__.py",
    "gcc": "/usr/bin/cc",
    "libc6-dev": "/usr/include/stdio.h",
}
_ROOT = Path("/")


class Missing(Exception):
    """The machine lacks something that the engines need; the message says what it is and how to get it."""


def missing() -> list[str]:
    """Return the packages that are not there."""
    return [package for package, file in PACKAGES.items() if not any(_ROOT.glob(file[1:]))]


def require() -> None:
    """Raise Missing when the engines cannot be started here."""
    lacking = missing()
    if lacking:
        raise Missing(f"not installed: {', '.join(lacking)}. Run `python tests/engines up` as root on Debian")
    if os.geteuid() != 0:
        raise Missing("starting engines needs root. Run the tests as root")


def install() -> None:
    """Install what is not there. Raises Missing where that cannot be done from here."""
    lacking = missing()
    if not lacking:
        return
    command = f"apt-get install --no-install-recommends {' '.join(lacking)}"
    if shutil.which("apt-get") is None:
        raise Missing(f"this is no Debian, so install what these packages of Debian have: {', '.join(lacking)}")
    if os.geteuid() != 0:
        raise Missing(f"not installed: {', '.join(lacking)}. Run as root: {command}")
    # Without a runlevel that starts services, so that no engine of the machine's own appears next to ours.
    environment = os.environ | {"DEBIAN_FRONTEND": "noninteractive", "RUNLEVEL": "1"}
    for argv in (["apt-get", "update"], command.split(" ")):  # stdout is the caller's
        subprocess.run([*argv, "-q", "-y"], env=environment, stdin=subprocess.DEVNULL, stdout=sys.stderr, check=True)
    if missing():
        raise Missing(f"installed and still not there: {', '.join(PACKAGES[package] for package in missing())}")
