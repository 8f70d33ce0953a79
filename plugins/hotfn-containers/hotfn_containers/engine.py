"""What the drivers need of an engine: blocking calls, to be made in threads.

Every method raises `DriverUnavailable` when the engine cannot be reached and `Refused` when it answers with an error.
"""

from __future__ import annotations

import base64
import json
import threading
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

import requests.exceptions

from hotfn_core.errors import DriverUnavailable, said

from .credentials import Login
from .endpoint import Endpoint
from .plan import Plan
from .pull import PullRequest
from .reference import Reference
from .trouble import Refused, caused_by

OPEN_SECONDS = 5.0
"""How long an engine may take for its first answer."""

REQUEST_SECONDS = 60
"""How long an engine may take to answer one request; starting a container is the slowest. Pulls have their own."""


@dataclass(frozen=True)
class About:
    """An engine: its version and that of its API, and what of its machine matters for limits.

    `cpus` are the machine's, 0 when that is not known; `lacks` those of memory, swap, cpus and pids that the engine
    cannot limit.
    """

    version: str
    api: str
    detail: tuple[str, ...] = ()
    cpus: int = 0
    lacks: frozenset[str] = frozenset()


@dataclass(frozen=True)
class Image:
    """What is known of an image that the engine has."""

    id: str
    env: Mapping[str, str]
    cwd: str
    entrypoint: tuple[str, ...]
    command: tuple[str, ...]
    volumes: tuple[str, ...]

    @classmethod
    def of(cls, facts: Mapping[str, Any]) -> Image:
        """Understand what an engine says of an image: both say the same."""
        config = facts.get("Config") or {}
        return cls(
            id=facts["Id"],
            env=dict(one.split("=", 1) for one in config.get("Env") or () if "=" in one),
            cwd=config.get("WorkingDir") or "/",
            entrypoint=tuple(config.get("Entrypoint") or ()),
            command=tuple(config.get("Cmd") or ()),
            volumes=tuple(config.get("Volumes") or ()),
        )


@dataclass(frozen=True)
class State:
    """How a container is. `code` is of use when it does not run. `oom`: the kernel has killed a process of it because
    memory was used up; None when that cannot be told."""

    running: bool
    code: int | None = None
    oom: bool | None = False
    error: str = ""


def mode_of(engine: str, status: int, headers: Mapping[str, str]) -> int | None:
    """Return the st_mode that an engine's answer to a question for a file has, None when there is no such file."""
    if status == 404:
        return None
    try:
        return int(json.loads(base64.b64decode(headers["X-Docker-Container-Path-Stat"]))["mode"])
    except (KeyError, TypeError, ValueError):  # it has no body that could say why: it was asked by HEAD
        raise Refused(f"{engine} does not say what is in the container: HTTP status {status}", status) from None


@dataclass(frozen=True)
class Found:
    """A container that carries a label of ours."""

    id: str
    name: str
    labels: Mapping[str, str] = field(default_factory=dict)


class Engine(ABC):
    """One engine, through its own Python package. Clients are not thread-safe, so each thread has its own."""

    name: ClassVar[str]

    def __init__(self, endpoint: Endpoint) -> None:
        self.endpoint = endpoint
        self.about = About("", "")
        self._local = threading.local()
        self._clients: list[Any] = []
        self._lock = threading.Lock()

    @property
    def client(self) -> Any:
        """The calling thread's client of the engine's package, which has no types."""
        client = getattr(self._local, "client", None)
        if client is None:
            client = self._local.client = self._make_client()
            with self._lock:
                self._clients.append(client)
        return client

    def close(self) -> None:
        """Let go of all connections."""
        with self._lock:
            clients, self._clients = self._clients, []
        self._local = threading.local()
        for client in clients:
            client.close()

    def lost(self, error: BaseException) -> DriverUnavailable:
        """Say what became of the engine when a request to it failed."""
        try:
            self.endpoint.probe()
        except DriverUnavailable as why:
            return why
        where = f"{self.name} at {self.endpoint.url} ({self.endpoint.source})"
        if caused_by(error, TimeoutError, requests.exceptions.Timeout):
            text = f"{where} does not answer: it is overloaded or hangs; look at its log, or restart it"
            return DriverUnavailable(text)
        if caused_by(error, ConnectionError):
            return DriverUnavailable(f"{where} closed the connection: it is ending, or was started anew")
        return self._stranger(error)

    def connect(self) -> About:
        """Find out what this engine is. Raises DriverUnavailable, also for one that is too old or that is none at all.

        What hangs is told from one that is slow by the first answer, which takes an engine no time.
        """
        self.endpoint.probe()
        self.client.timeout = OPEN_SECONDS
        try:
            self.about = self._connect()
        except DriverUnavailable:
            raise
        except Exception as error:  # it answers, and not as an engine does
            raise self._stranger(error) from error
        finally:
            self.close()  # the next clients speak the version that was agreed on
        return self.about

    def _stranger(self, error: BaseException) -> DriverUnavailable:
        where = f"{self.endpoint.url} ({self.endpoint.source})"
        return DriverUnavailable(
            f"what listens at {where} does not answer as {self.name} does: {said(error)}; is it {self.name} at all?"
        )

    @abstractmethod
    def _make_client(self) -> Any: ...

    @abstractmethod
    def _connect(self) -> About:
        """Ask for the version, and behind that for more, with `REQUEST_SECONDS` for an answer. May raise anything."""

    @abstractmethod
    def image(self, name: str) -> Image:
        """Look at an image. Raises NoSuchImage."""

    @abstractmethod
    def login_files(self) -> list[Path]:
        """Return where this engine's command line keeps logins at registries. Does no IO."""

    @abstractmethod
    def pull_request(self, reference: Reference, login: Login | None) -> PullRequest:
        """Return the request that pulls an image. Does no IO."""

    @abstractmethod
    def create(self, plan: Plan, name: str, labels: Mapping[str, str]) -> str:
        """Create a container, attachable and not started, and return its id. Raises NoSuchImage."""

    @abstractmethod
    def init(self, container: str) -> None:
        """Do all of a start but running the program. Does nothing where the engine has no such step."""

    @abstractmethod
    def start(self, container: str) -> None:
        """Run the program."""

    @abstractmethod
    def kill(self, container: str, signal: str) -> None:
        """Send a signal to the container's first process. Does nothing for one that does not run."""

    @abstractmethod
    def pause(self, container: str) -> None:
        """Suspend all processes."""

    @abstractmethod
    def unpause(self, container: str) -> None:
        """Let them go on."""

    @abstractmethod
    def state(self, container: str) -> State:
        """Raises NoSuchContainer."""

    @abstractmethod
    def remove(self, container: str) -> None:
        """Kill and remove a container with its anonymous volumes. Does nothing when there is none of that id."""

    @abstractmethod
    def mode(self, container: str, path: str) -> int | None:
        """Return the st_mode of a file of the container, links followed within it, None when there is none."""

    @abstractmethod
    def labelled(self, label: str) -> list[Found]:
        """Return all containers with this label, whatever their state."""

    @abstractmethod
    def lifeline_request(self) -> bytes:
        """Return the bytes that keep a connection open as long as the service lives; see `lifeline`."""

    @abstractmethod
    def attach_target(self, container: str) -> str:
        """Return path and query of the request that attaches stdin, stdout and stderr."""
