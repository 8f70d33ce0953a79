"""A dockerd with its own socket, data and containerd."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Sequence
from pathlib import Path

from .engine import Engine, helpers_of, outside_environment
from .mounts import file_system
from .process import Process


class DockerEngine(Engine):
    """Docker. It keeps its hands off the machine's network: no bridge, no iptables."""

    name = "docker"
    variable = "DOCKER_HOST"
    executable = "/usr/bin/docker"
    more_options: Sequence[str] = ()
    """What the next start of dockerd is given as well: another address to listen on, for one."""

    def build_image(self, context: Path, name: str) -> None:
        self.cli("build", "--quiet", "--network=none", "--tag", name, os.fspath(context), timeout=120)

    def environment(self) -> dict[str, str]:
        # The builder of old: the new one is a plugin of the client that Debian 12 does not have.
        config = os.fspath(self.directory / "config")
        return outside_environment() | {"DOCKER_CONFIG": config, "DOCKER_BUILDKIT": "0"}

    def helpers(self) -> list[Process]:
        return helpers_of(self.directory, "containerd", "containerd-shim-runc-v2", "docker-init", "runc")

    def _options(self) -> list[str]:
        return ["--host", self.host]

    def _prepare(self) -> list[str]:
        (self.directory / "config").mkdir(exist_ok=True)
        (self.directory / "daemon.json").write_text("{}")  # not the machine's own
        self._end_containerd()
        (self.directory / "pid").unlink(missing_ok=True)  # left by one that was killed; the number may be anybody's
        storage = ["--storage-driver", "vfs"] if file_system(self.directory) == "overlay" else []
        return [
            "/usr/sbin/dockerd",
            *("--host", self.host),
            *("--data-root", f"{self.directory}/data"),
            *("--exec-root", f"{self.directory}/exec"),
            *("--pidfile", f"{self.directory}/pid"),
            *("--config-file", f"{self.directory}/daemon.json"),
            *("--containerd-namespace", self._namespace()),
            *("--containerd-plugins-namespace", f"{self._namespace()}-plugins"),
            "--bridge=none",
            "--iptables=false",
            *storage,
            *self.more_options,
        ]

    def _end_containerd(self) -> None:
        """End what a killed dockerd left of its containerd: the next dockerd takes a zombie for alive, and waits."""
        for process in helpers_of(self.directory, "containerd"):
            process.end(5)
        (self.directory / "exec" / "containerd" / "containerd.pid").unlink(missing_ok=True)

    def _namespace(self) -> str:
        """Return a name of its own within containerd: the machine's containerd is used when there is one."""
        return "hotfn-" + hashlib.sha256(os.fsencode(self.directory)).hexdigest()[:12]
