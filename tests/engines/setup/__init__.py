"""Docker and podman for tests: own sockets, own data, remembered pids, images built without a network.

`process.py` names a process so that no other one is ever signalled; `daemon.py` runs one; `engine.py` is what both
engines share, `docker.py` and `podman.py` what they do not; `images.py` builds what the tests run; `sets.py` keeps both
engines in one directory; `packages.py` says what the machine lacks; `command.py` is `python tests/engines`.
"""

from .docker import DockerEngine
from .engine import CommandFailed, Container, Engine, EngineFailed
from .podman import PodmanEngine
from .process import Process
from .sets import EngineSet

__all__ = [
    "CommandFailed",
    "Container",
    "DockerEngine",
    "Engine",
    "EngineFailed",
    "EngineSet",
    "PodmanEngine",
    "Process",
]
