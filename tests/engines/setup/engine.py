"""What docker and podman have in common: a daemon with a socket, a command line, containers to list and remove."""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import shutil
import signal
import socket
import subprocess
import time
from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, NamedTuple
from urllib.parse import quote

from . import images
from .daemon import Daemon
from .mounts import unmount_below
from .process import Process, descendants, processes_with

START_TIMEOUT = 60.0  # seconds for an engine to answer, on a machine that is busy
STOP_GRACE = 20.0  # seconds for an engine to stop its containers and itself
NO_ANSWER = (OSError, http.client.HTTPException)  # what asking an engine may raise that has gone, or hangs
# Podman refuses a longer runroot, and tells nobody when it does so in the process that tidies up after a container.
LONGEST_DIRECTORY = 50 - len("/run")


class EngineFailed(Exception):
    """An engine of the set-up did not start or did not answer; the message has the end of its log."""


class CommandFailed(Exception):
    """An engine's command line ended with a status other than 0; the message has what it wrote to stderr."""


class Container(NamedTuple):
    """A container as the engine lists it."""

    id: str
    name: str
    state: str  # created, running, paused, exited, ...
    image: str
    labels: dict[str, str]


class Engine(ABC):
    """One engine with all that belongs to it in `directory`.

    Two engines with different directories know nothing of each other. The methods may be called by any process, for an
    engine that another one started. None of them may be called from two threads at once.
    """

    name: ClassVar[str]
    variable: ClassVar[str]  # of the environment: where the engine's clients look for its socket
    executable: ClassVar[str]  # absolute: another client may come first in PATH
    removal_path: ClassVar[str] = "/containers"  # of the API
    removal: ClassVar[str] = "force=true&v=true"
    repository: ClassVar[str] = ""  # what the engine puts before the name of a local image

    def __init__(self, directory: Path) -> None:
        if len(os.fspath(directory)) > LONGEST_DIRECTORY:
            raise EngineFailed(
                f"{directory} is longer than {LONGEST_DIRECTORY} characters; set HOTFN_ENGINES or TMPDIR"
            )
        self.directory = directory
        self.socket = directory / "sock"
        self.daemon = Daemon(directory, self.name)

    @property
    def host(self) -> str:
        """The address as DOCKER_HOST and CONTAINER_HOST have it."""
        return f"unix://{self.socket}"

    @property
    def pid(self) -> int:
        """The pid of the engine's service. Raises EngineFailed when it does not run."""
        process = self.daemon.process
        if process is None or not process.alive():
            raise EngineFailed(f"{self.name} in {self.directory} does not run")
        return process.pid

    @property
    def image_python(self) -> str:
        """An image with python3 and busybox; its command is python3."""
        return self.repository + images.PYTHON

    @property
    def image_echo(self) -> str:
        """An image with nothing but the static echo guest, as its entrypoint."""
        return self.repository + images.ECHO

    @property
    def image_node(self) -> str:
        """An image with node and nothing else; only there once `images.provide` was asked for images.NODE."""
        return self.repository + images.NODE

    @property
    def image_volume(self) -> str:
        """The python image with an anonymous volume at /data."""
        return self.repository + images.VOLUME

    @property
    def image_entrypoint(self) -> str:
        """An image that prints its arguments as JSON: it has an entrypoint, a command, a user, a directory, a label."""
        return self.repository + images.ENTRYPOINT

    # life

    def start(self) -> None:
        """Start the engine and return when it answers. Nothing happens when it answers already. Raises EngineFailed."""
        if self.answers():
            return
        self.daemon.end(STOP_GRACE)  # one that runs and does not answer
        self.directory.mkdir(parents=True, exist_ok=True)
        self.socket.unlink(missing_ok=True)
        self.daemon.start(self._prepare(), self.environment())
        self._wait_until_it_answers()

    def stop(self) -> None:
        """End the service as a service manager would: docker ends its containers with it, podman does not."""
        self.daemon.end(STOP_GRACE)

    def restart(self) -> None:
        """Stop and start the service. Containers stay, ended or running, as the engine has it."""
        self.stop()
        self.start()

    def kill(self) -> None:
        """Kill the service with SIGKILL. Containers may go on running without it."""
        self.daemon.kill()

    def remove(self) -> None:
        """Leave nothing: no container, no process, no mount, no file. Works on what a crash left, too."""
        if not self.directory.exists():
            return
        with contextlib.suppress(EngineFailed, *NO_ANSWER):  # what the engine cannot remove is ended below
            self.start()  # one that was killed knows best what it left
            self.remove_containers(one.id for one in self.ps())
        self.stop()
        self._kill_helpers()
        unmount_below(self.directory)
        shutil.rmtree(self.directory)

    def _kill_helpers(self) -> None:
        """Kill what the service left running, until nothing is: who watches a container starts another to tidy up."""
        for _ in range(10):
            helpers = self.helpers()
            for process in [one for helper in helpers for one in (helper, *descendants(helper))]:
                process.signal(signal.SIGKILL)
                process.wait(5)
            if not helpers:
                return
        raise EngineFailed(f"{self.name} left processes that cannot be killed: {[one.pid for one in self.helpers()]}")

    def _wait_until_it_answers(self) -> None:
        deadline = time.monotonic() + START_TIMEOUT
        while not self.answers():
            if not self.daemon.alive or time.monotonic() > deadline:
                how = "does not answer" if self.daemon.alive else "ended at once"
                self.daemon.end(STOP_GRACE)
                raise EngineFailed(f"{self.name} {how}. The end of {self.daemon.log}:\n{self.daemon.tail()}")
            time.sleep(0.05)  # nothing tells that a socket will appear

    # talk

    def answers(self) -> bool:
        """Say whether the engine answers now."""
        try:
            return self.api("GET", "/_ping", timeout=5)[0] == 200
        except NO_ANSWER:
            return False

    def api(self, method: str, path: str, body: Any = None, timeout: float = 30.0) -> tuple[int, Any]:
        """Do one request of docker's API, which both speak; return the status and the body, decoded when it is JSON."""
        connection = _UnixConnection(self.socket, timeout)
        try:
            data = None if body is None else json.dumps(body)
            connection.request(method, path, data, {"Content-Type": "application/json"})
            reply = connection.getresponse()
            raw = reply.read()
        finally:
            connection.close()
        decoded = json.loads(raw) if raw and "json" in reply.headers.get("Content-Type", "") else raw
        return reply.status, decoded

    def cli(self, *args: str, stdin: bytes = b"", timeout: float = 60.0) -> str:
        """Run the engine's command line and return what it writes to stdout, without the last newline.

        Raises CommandFailed when it fails and subprocess.TimeoutExpired after `timeout` seconds.
        """
        argv = [self.executable, *self._options(), *args]
        done = subprocess.run(
            argv,
            input=stdin,
            capture_output=True,
            timeout=timeout,
            env=self.environment(),
            cwd=self.directory,  # a file `oom` appears where podman was started
            check=False,
        )
        if done.returncode != 0:
            raise CommandFailed(
                f"{' '.join(argv)} ended with {done.returncode}: {done.stderr.decode(errors='replace')}"
            )
        return done.stdout.decode(errors="replace").removesuffix("\n")

    def version(self) -> str:
        """Return the version that the engine says it has."""
        return str(self.api("GET", "/version")[1]["Version"])

    def ps(self, *, all: bool = True, label: str | Mapping[str, str] | None = None) -> list[Container]:  # noqa: A002
        """List the containers, running or not; with `label` those that have it ("name", "name=value" or a mapping)."""
        wanted = [label] if isinstance(label, str) else [f"{key}={value}" for key, value in (label or {}).items()]
        filters = quote(json.dumps({"label": wanted} if wanted else {}))
        status, rows = self.api("GET", f"/containers/json?all={int(all)}&filters={filters}")
        if status != 200:
            raise EngineFailed(f"{self.name} does not list its containers: {status} {rows!r}")
        return [_container(row) for row in rows]

    def inspect(self, container: str) -> dict[str, Any]:
        """Return what docker's API says about a container. Raises EngineFailed when there is none."""
        status, row = self.api("GET", f"/containers/{container}/json")
        if status != 200:
            raise EngineFailed(f"{self.name} does not know {container}: {status} {row!r}")
        return dict(row)

    def remove_containers(self, ids: Iterable[str]) -> None:
        """Remove containers with their anonymous volumes, whatever they do; one that is gone is no error."""
        for one in ids:
            status, row = self.api("DELETE", f"{self.removal_path}/{one}?{self.removal}")
            if status not in {200, 204, 404}:
                raise EngineFailed(f"{self.name} does not remove {one}: {status} {row!r}")

    def inventory(self) -> dict[str, str]:
        """Return all that a test may leave in the engine: containers, volumes and networks, id to what it is."""
        found = {one.id: f"container {one.name} ({one.state}, {one.image}, {one.labels})" for one in self.ps()}
        found |= {one["Name"]: f"volume {one['Name']}" for one in self.api("GET", "/volumes")[1]["Volumes"] or []}
        return found | {one["Id"]: f"network {one['Name']}" for one in self.api("GET", "/networks")[1]}

    # images

    def import_image(self, archive: Path, name: str, changes: Sequence[str]) -> None:
        """Make an image of a tar of its root."""
        options = [word for change in changes for word in ("--change", change)]
        self.cli("import", *options, os.fspath(archive), name, timeout=120)

    @abstractmethod
    def build_image(self, context: Path, name: str) -> None:
        """Build an image from `context`, which has a Dockerfile, without a network."""

    def has_image(self, name: str) -> bool:
        return self.api("GET", f"/images/{quote(self.repository + name, safe='')}/json")[0] == 200

    # what differs

    @abstractmethod
    def environment(self) -> dict[str, str]:
        """Return the environment in which the engine and its command line find what is theirs and nothing else."""

    def client_environment(self) -> dict[str, str]:
        """Return what a client needs to find this engine."""
        return {self.variable: self.host}

    @abstractmethod
    def helpers(self) -> list[Process]:
        """Return the processes that the engine started and that outlive it when it is killed."""

    @abstractmethod
    def _prepare(self) -> list[str]:
        """Write what the service reads, and return its argv."""

    def _options(self) -> list[str]:
        """Return what the command line needs before its command."""
        return []


class _UnixConnection(http.client.HTTPConnection):
    def __init__(self, path: Path, timeout: float) -> None:
        super().__init__("engine", timeout=timeout)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX)
        try:
            self.sock.settimeout(self.timeout)
            self.sock.connect(os.fspath(self._path))
        except OSError:
            self.sock.close()
            raise


def _container(row: Mapping[str, Any]) -> Container:
    name = row["Names"][0].removeprefix("/") if row.get("Names") else ""
    return Container(row["Id"], name, row["State"], row["Image"], dict(row.get("Labels") or {}))


def outside_environment() -> dict[str, str]:
    """Return this process's environment without anything that leads to another engine or another configuration."""
    ours = ("DOCKER_", "CONTAINER_", "CONTAINERS_", "BUILDAH_", "PODMAN_", "STORAGE_", "REGISTRY_", "COVERAGE_")
    return {key: value for key, value in os.environ.items() if not key.startswith(ours)}


def helpers_of(directory: Path, *programs: str) -> list[Process]:
    """Return the processes of these programs with an argument below `directory`."""
    found = processes_with(f"{directory}/")
    return [one for one in found if _program(one) in programs]


def _program(process: Process) -> str:
    try:
        return Path(f"/proc/{process.pid}/exe").readlink().name
    except OSError:  # it has ended
        return ""
