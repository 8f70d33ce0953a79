"""The container drivers `docker` and `podman`: every copy of a function is a container."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

from hotfn_core.hookspecs import hookimpl

if TYPE_CHECKING:
    from hotfn_core.driver import Driver

__all__ = ["hotfn_register_drivers"]
__version__ = "0.1.0"


@hookimpl
def hotfn_register_drivers() -> Mapping[str, Callable[[], Driver]]:
    """Bring the drivers `docker` and `podman`."""
    return {"docker": _docker, "podman": _podman}


def _docker() -> Driver:
    from .drivers import DockerDriver  # the hook is called for every command, the engines' clients are needed by few

    return DockerDriver()


def _podman() -> Driver:
    from .drivers import PodmanDriver

    return PodmanDriver()
