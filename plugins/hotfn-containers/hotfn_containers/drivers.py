"""The two drivers: which engine, and how it is found."""

from __future__ import annotations

from typing import ClassVar

from .addresses import docker_endpoint, podman_endpoint
from .docker_engine import DockerEngine
from .driver import EngineDriver
from .endpoint import Endpoint
from .engine import Engine
from .podman_engine import PodmanEngine


class DockerDriver(EngineDriver):
    """Copies are containers of Docker."""

    name: ClassVar[str] = "docker"

    def _find(self) -> Endpoint:
        return docker_endpoint()

    def _engine(self, endpoint: Endpoint) -> Engine:
        return DockerEngine(endpoint)


class PodmanDriver(EngineDriver):
    """Copies are containers of podman."""

    name: ClassVar[str] = "podman"

    def _find(self) -> Endpoint:
        return podman_endpoint()

    def _engine(self, endpoint: Endpoint) -> Engine:
        return PodmanEngine(endpoint)
