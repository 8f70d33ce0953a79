"""Where an engine listens, and how to reach it."""

from __future__ import annotations

import asyncio
import errno
import os
import socket
import struct
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar
from urllib.parse import urlsplit

from hotfn_core.errors import DriverUnavailable

P = TypeVar("P", bound=asyncio.BaseProtocol)

CONNECT_SECONDS = 5.0
"""How long an engine may take to accept a connection."""


@dataclass(frozen=True)
class Endpoint:
    """The address of one engine. `source` says where it was found, for error messages."""

    engine: str
    url: str
    source: str
    unix: str = ""
    host: str = ""
    port: int = 0

    @classmethod
    def parse(cls, engine: str, url: str, source: str) -> Endpoint:
        """Raises DriverUnavailable for an address that hotfn cannot attach over."""
        parts = urlsplit(url if "://" in url else f"tcp://{url}")
        if parts.scheme in ("unix", "http+unix"):
            path = parts.path if not parts.netloc else f"/{parts.netloc}{parts.path}"
            return cls(engine, f"unix://{path}", source, unix=path)
        if parts.scheme in ("tcp", "http") and parts.hostname:
            port = parts.port or (2375 if engine == "docker" else 8080)
            return cls(engine, f"tcp://{parts.hostname}:{port}", source, host=parts.hostname, port=port)
        raise DriverUnavailable(
            f"{source} says {url!r}: hotfn reaches {engine} over unix:// and tcp:// only; forward its socket "
            f"(ssh -L /tmp/{engine}.sock:/path/of/the/socket host) and name that"
        )

    async def connect(self, factory: Callable[[], P]) -> P:
        """Open a connection. Raises DriverUnavailable."""
        loop = asyncio.get_running_loop()
        try:
            async with asyncio.timeout(CONNECT_SECONDS):
                if self.unix:
                    return (await loop.create_unix_connection(factory, self.unix))[1]
                return (await loop.create_connection(factory, self.host, self.port))[1]
        except OSError as error:  # TimeoutError is one
            raise self.unavailable(error) from error

    def probe(self) -> int | None:
        """Connect once and hang up, to learn why it cannot be done. Blocks. Raises DriverUnavailable.

        Returns the pid of the process that listens there, None where that cannot be told.
        """
        try:
            if not self.unix:
                socket.create_connection((self.host, self.port), CONNECT_SECONDS).close()
                return None
            with socket.socket(socket.AF_UNIX) as sock:
                sock.settimeout(CONNECT_SECONDS)
                sock.connect(self.unix)
                return server_pid(sock)
        except OSError as error:
            raise self.unavailable(error) from error

    def unavailable(self, error: OSError) -> DriverUnavailable:
        """Say why the engine cannot be reached, and what to do about it."""
        where = f"{self.engine} at {self.url} ({self.source})"
        number = error.errno
        if isinstance(error, TimeoutError):
            text = f"{where} does not accept connections within {CONNECT_SECONDS:g} s; is it overloaded or stopped?"
        elif number == errno.ENOENT:
            text = f"there is no {where}: no such socket; {self._start()}"
        elif number == errno.ECONNREFUSED:
            text = f"nobody listens for {where}; {self._start()}"
        elif number in (errno.EACCES, errno.EPERM):
            text = f"may not use {where}: permission denied; {self._permit()}"
        else:
            text = f"cannot reach {where}: {error}"
        return DriverUnavailable(text)

    def _start(self) -> str:
        variable = "DOCKER_HOST" if self.engine == "docker" else "CONTAINER_HOST"
        unit = "docker" if self.engine == "docker" else "podman.socket"
        return f"start it (systemctl start {unit}) or name another with {variable}"

    def _permit(self) -> str:
        if self.engine == "docker":
            return "let your user into the group `docker`, or run hotfn as one who may"
        return "use your own user's socket (systemctl --user start podman.socket), or run hotfn as root"


def server_pid(sock: socket.socket | None) -> int | None:
    """Return the pid of the process that listens at the other end of a unix socket, None where that cannot be told."""
    if sock is None or sock.family != socket.AF_UNIX:
        return None
    try:
        pid, _, _ = struct.unpack("3i", sock.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12))
    except OSError:
        return None
    return int(pid)


def docker_endpoint() -> Endpoint:
    """Find the Docker engine as its own client does: DOCKER_HOST, DOCKER_CONTEXT, the current context, the default."""
    host = os.environ.get("DOCKER_HOST")
    if host:
        return Endpoint.parse("docker", host, "DOCKER_HOST")
    from docker.context import ContextAPI

    context = ContextAPI.get_current_context()
    if context.name != "default" and context.Host:
        return Endpoint.parse("docker", context.Host, f'the context "{context.name}"')
    return Endpoint.parse("docker", "unix:///var/run/docker.sock", "the default")


def podman_endpoint() -> Endpoint:
    """Find the podman service: CONTAINER_HOST, else the socket of root or of this user."""
    host = os.environ.get("CONTAINER_HOST")
    if host:
        return Endpoint.parse("podman", host, "CONTAINER_HOST")
    root = "/run/podman/podman.sock"
    own = f"{os.environ.get('XDG_RUNTIME_DIR') or f'/run/user/{os.getuid()}'}/podman/podman.sock"
    path = root if os.getuid() == 0 and not Path(own).exists() else own
    return Endpoint.parse("podman", f"unix://{path}", "the default")
