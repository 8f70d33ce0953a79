"""A podman with its own socket, storage, locks and networks."""

from __future__ import annotations

import json
import os
from pathlib import Path

from .engine import Engine, helpers_of, outside_environment
from .mounts import file_system
from .process import Process

# The first that is there: what podman runs as pid 1 for `--init`.
INITS = ("/usr/bin/catatonit", "/usr/libexec/podman/catatonit", "/usr/bin/tini-static")

# No name of an image leads outside by accident; registries on loopback, on any port, need no TLS, as docker has it.
REGISTRIES = """unqualified-search-registries = []

[[registry]]
location = "127.0.0.1"
insecure = true
"""


class PodmanEngine(Engine):
    """Podman's service. Its locks are files: those in shared memory are one set for all podmans of the machine."""

    name = "podman"
    variable = "CONTAINER_HOST"
    executable = "/usr/bin/podman"
    removal_path = "/v4.0.0/libpod/containers"  # docker's asks a container first, and waits for ten seconds
    removal = "force=true&volumes=true&timeout=0"
    repository = "localhost/"

    def build_image(self, context: Path, name: str) -> None:
        self.cli("build", "--quiet", "--network=none", "--pull=never", "--tag", name, os.fspath(context), timeout=120)

    def environment(self) -> dict[str, str]:
        return outside_environment() | {
            "CONTAINERS_CONF": f"{self.directory}/containers.conf",
            "CONTAINERS_STORAGE_CONF": f"{self.directory}/storage.conf",
            "CONTAINERS_REGISTRIES_CONF": f"{self.directory}/registries.conf",
            "REGISTRY_AUTH_FILE": f"{self.directory}/auth.json",
            "TMPDIR": f"{self.directory}/tmp",
        }

    def helpers(self) -> list[Process]:
        return helpers_of(self.directory, "conmon", "podman", "aardvark-dns", "netavark", "runc", "catatonit")

    def _prepare(self) -> list[str]:
        for folder in ("tmp", "networks"):
            (self.directory / folder).mkdir(exist_ok=True)
        driver = "vfs" if file_system(self.directory) == "overlay" else "overlay"
        self._write("storage", storage={"driver": driver, "graphroot": self._at("graph"), "runroot": self._at("run")})
        (self.directory / "registries.conf").write_text(REGISTRIES)
        (self.directory / "auth.json").write_text("{}")
        self._write("containers", containers=self._containers(), engine=self._engine(), network=self._network())
        return [self.executable, "system", "service", "--time=0", self.host]

    def _containers(self) -> dict[str, object]:
        init = next((path for path in INITS if Path(path).exists()), INITS[0])
        # The defaults ask for more than a service without the capability to raise limits may give.
        return {"init_path": init, "default_ulimits": ["nofile=4096:4096", "nproc=4096:4096"]}

    def _engine(self) -> dict[str, object]:
        return {
            "runtime": "runc",  # crun wants a unified cgroup hierarchy
            "cgroup_manager": "cgroupfs",  # there may be no systemd
            "events_logger": "file",
            "lock_type": "file",
            "tmp_dir": self._at("libpod"),
            "image_copy_tmp_dir": self._at("tmp"),
        }

    def _network(self) -> dict[str, object]:
        return {"network_backend": "netavark", "network_config_dir": self._at("networks")}

    def _at(self, name: str) -> str:
        return os.fspath(self.directory / name)

    def _write(self, name: str, **tables: dict[str, object]) -> None:
        """Write a TOML file: tables of strings and lists of strings, which JSON spells alike."""
        lines = []
        for table, values in tables.items():
            lines += [f"[{table}]", *(f"{key} = {json.dumps(value)}" for key, value in values.items())]
        (self.directory / f"{name}.conf").write_text("\n".join([*lines, ""]))
