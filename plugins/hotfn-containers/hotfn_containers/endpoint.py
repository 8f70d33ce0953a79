"""Where an engine listens, and how to reach it."""

from __future__ import annotations

import asyncio
import errno
import os
import socket
import ssl
import struct
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TypeVar
from urllib.parse import unquote, urlsplit

from hotfn_core.errors import DriverUnavailable

from .tls import Tls, TlsStream

P = TypeVar("P", bound=asyncio.Protocol)

CONNECT_SECONDS = 5.0
"""How long an engine may take to accept a connection."""

RETRY_SECONDS = 0.02

VARIABLE = {"docker": "DOCKER_HOST", "podman": "CONTAINER_HOST"}
SOCKET = {"docker": "/var/run/docker.sock", "podman": "/run/podman/podman.sock"}

ELSEWHERE = {
    "fd": "that is where an engine listens, not how it is reached; name its socket, unix:///path",
    "npipe": "that is for Windows; name a socket, unix:///path",
}
"""Schemes that are no way to an engine, and what to do about it."""

KEEPALIVE = ((socket.TCP_KEEPIDLE, 30), (socket.TCP_KEEPINTVL, 10), (socket.TCP_KEEPCNT, 3))
"""After a minute without a sign of life a connection to another machine is lost, which else nobody would notice."""

_PING = b"HEAD /_ping HTTP/1.0\r\n\r\n"


@dataclass(frozen=True)
class Endpoint:
    """The address of one engine. `source` says where it was found, for error messages."""

    engine: str
    url: str
    source: str
    unix: str = ""
    host: str = ""
    port: int = 0
    tls: Tls | None = None

    @classmethod
    def parse(cls, engine: str, url: str, source: str, tls: Tls | None = None) -> Endpoint:
        """Understand an address. `tls` is for tcp:// alone, as for the engine's own client.

        Raises DriverUnavailable for an address that hotfn cannot attach over, and for one that is none.
        """
        endpoint = cls(engine, url.strip(), source)
        scheme, separator, rest = endpoint.url.partition("://")
        scheme = scheme.lower()
        if not separator:
            return endpoint._tcp(endpoint.url, tls)
        if scheme in ("unix", "http+unix"):
            return endpoint._unix(unquote(rest) if scheme == "http+unix" else rest)
        if scheme in ("tcp", "http", "https"):
            return endpoint._tcp(rest, {"tcp": tls, "http": None, "https": tls or Tls()}[scheme])
        if scheme in ("ssh", "http+ssh"):
            raise endpoint._refused(_forward(engine, rest))
        raise endpoint._refused(ELSEWHERE.get(scheme, "an address begins with unix:// or tcp://"))

    def _unix(self, rest: str) -> Endpoint:
        path = rest or SOCKET[self.engine]
        if not path.startswith("/"):
            path = f"/{path}"
        if any(sign in path for sign in "?#;\0"):
            raise self._refused("the path of a socket may not have ? # ; in it")
        return replace(self, url=f"unix://{path}", unix=path)

    def _tcp(self, rest: str, tls: Tls | None) -> Endpoint:
        if rest.startswith("/"):
            raise self._refused(f"an address of a socket begins with unix://; name unix://{rest}")
        try:
            parts = urlsplit(f"//{rest}")
            host, port = parts.hostname, parts.port
        except ValueError as error:
            raise self._refused(f"{error}") from error
        if not host or "@" in parts.netloc or parts.path.strip("/") or parts.query or parts.fragment:
            raise self._refused("an address of this kind is tcp://host:port and no more")
        if port is None and self.engine == "podman":
            raise self._refused("it names no port, and podman has none of its own; name tcp://host:port")
        if tls is not None and self.engine == "podman":
            raise self._refused("hotfn does not speak TLS with podman; " + _forward(self.engine, host))
        port = port or (2376 if tls else 2375)
        url = f"tcp://{f'[{host}]' if ':' in host else host}:{port}"
        return replace(self, url=url, host=host, port=port, tls=tls)

    def _refused(self, why: str) -> DriverUnavailable:
        return DriverUnavailable(f"{self.source} says {self.url!r}, which hotfn cannot use for {self.engine}: {why}")

    # ---- reaching it

    async def connect(self, factory: Callable[[], P]) -> P:
        """Open a connection. Raises DriverUnavailable; then, and when it is cancelled, no connection is left."""
        try:
            async with asyncio.timeout(CONNECT_SECONDS):
                if self.tls is not None:
                    return await self._connect_tls(factory(), self.tls)
                return await self._connect_raw(factory)
        except OSError as error:  # TimeoutError and ssl.SSLError are
            raise self.unavailable(error) from error

    async def _connect_raw(self, factory: Callable[[], P]) -> P:
        loop = asyncio.get_running_loop()
        if self.unix:
            return await _retried(lambda: _connect_unix(loop, factory, self.unix))
        transport, protocol = await loop.create_connection(factory, self.host, self.port)
        _keep_alive(transport.get_extra_info("socket"))
        return protocol

    async def _connect_tls(self, protocol: P, tls: Tls) -> P:
        context = tls.context
        stream = TlsStream(protocol, context, self.host)
        try:
            await self._connect_raw(lambda: stream)
            await stream.ready
        except BaseException:
            stream.abort()
            raise
        return protocol

    def probe(self) -> int | None:
        """Connect once and hang up, to learn why it cannot be done. Blocks. Raises DriverUnavailable.

        Returns the pid of the process that listens there, None where that cannot be told.
        """
        try:
            if self.unix:
                with socket.socket(socket.AF_UNIX) as sock:
                    sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, struct.pack("ll", *_timeval()))
                    sock.connect(self.unix)
                    return server_pid(sock)
            with socket.create_connection((self.host, self.port), CONNECT_SECONDS) as sock:
                if self.tls is not None:
                    _probe_tls(sock, self.host, self.tls)
                return None
        except OSError as error:
            raise self.unavailable(error) from error

    # ---- what may be wrong

    def unavailable(self, error: OSError) -> DriverUnavailable:
        """Say why the engine cannot be reached, and what to do about it."""
        where = f"{self.engine} at {self.url} ({self.source})"
        number = error.errno
        if isinstance(error, ssl.SSLError):
            text = f"no TLS with {where}: {self._insecure(error)}"
        elif isinstance(error, TimeoutError | BlockingIOError):
            text = f"{where} does not accept connections within {CONNECT_SECONDS:g} s; is it overloaded or stopped?"
        elif number == errno.ENOENT:
            text = f"there is no {where}: no such socket; {self._start()}"
        elif number == errno.ECONNREFUSED and self.unix and not Path(self.unix).is_socket():
            text = f"there is no {where}: that is not a socket; name another with {VARIABLE[self.engine]}"
        elif number == errno.ECONNREFUSED:
            text = f"nobody listens for {where}; {self._start()}"
        elif number in (errno.EACCES, errno.EPERM):
            text = f"may not use {where}: permission denied; {self._permit()}"
        elif isinstance(error, socket.gaierror):
            text = f"cannot find the host of {where}: {error.strerror}; is its name right?"
        else:
            text = f"cannot reach {where}: {error}"
        return DriverUnavailable(text)

    def _insecure(self, error: ssl.SSLError) -> str:
        """Say what is wrong with TLS, and what to do about it."""
        reason = error.reason or str(error)
        if isinstance(error, ssl.SSLCertVerificationError):
            trusted = self.tls.ca if self.tls is not None and self.tls.ca else "the system's certificates"
            return (
                f"its certificate is not good: {error.verify_message}; it must be signed by {trusted} and name "
                f"{self.host}"
            )
        if reason in ("WRONG_VERSION_NUMBER", "HTTP_REQUEST", "PACKET_LENGTH_TOO_LONG", "RECORD_LAYER_FAILURE"):
            return "something listens there that does not speak TLS; unset DOCKER_TLS_VERIFY if it is the engine"
        shown = self.tls.cert if self.tls is not None and self.tls.cert else "a client without a certificate"
        if "ALERT" in reason:
            return f"it does not accept {shown} ({reason.lower().replace('_', ' ')}); DOCKER_CERT_PATH names others"
        if isinstance(error, ssl.SSLEOFError):
            return f"it hung up, maybe because it does not accept {shown}; DOCKER_CERT_PATH names others"
        return reason

    def _start(self) -> str:
        if not self.unix:
            return f"start it, with this address to listen on, or name another with {VARIABLE[self.engine]}"
        own = self.unix.startswith(("/run/user/", os.environ.get("XDG_RUNTIME_DIR") or "/run/user/"))
        unit = "docker" if self.engine == "docker" else "podman.socket"
        command = f"systemctl{' --user' if own else ''} start {unit}"
        return f"start it ({command}) or name another with {VARIABLE[self.engine]}"

    def _permit(self) -> str:
        if self.engine == "docker":
            return "let your user into the group `docker`, or run hotfn as one who may"
        return "use your own user's socket (systemctl --user start podman.socket), or run hotfn as root"


def server_pid(sock: socket.socket | None) -> int | None:
    """Return the pid of who listens at the other end of a unix socket (see `listener`), None where it is not told."""
    if sock is None or sock.family != socket.AF_UNIX:
        return None
    try:
        pid, _, _ = struct.unpack("3i", sock.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12))
    except OSError:
        return None
    return int(pid)


def _forward(engine: str, rest: str) -> str:
    """Say how to reach an engine on another machine: its socket comes here."""
    try:
        parts = urlsplit(f"//{rest}")
        port = f"-p {parts.port} " if parts.port else ""
    except ValueError:
        return "forward the engine's socket with ssh -L and name that"
    path = parts.path.rstrip("/") or SOCKET[engine]
    host = parts.netloc.removesuffix(f":{parts.port}")
    command = f"ssh -NT {port}-o ExitOnForwardFailure=yes -L /tmp/{engine}.sock:{path} {host}"
    return f"forward its socket ({command}) and name unix:///tmp/{engine}.sock"


async def _connect_unix(loop: asyncio.AbstractEventLoop, factory: Callable[[], P], path: str) -> P:
    """Raises BlockingIOError when the engine's queue of connections is full."""
    if not isinstance(loop, asyncio.BaseEventLoop):
        return (await loop.create_unix_connection(factory, path))[1]
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
    try:
        sock.connect(path)  # at once or not at all; asyncio's own way would take a full queue for a connection
    except OSError:
        sock.close()
        raise
    return (await loop.create_unix_connection(factory, sock=sock))[1]


async def _retried(attempt: Callable[[], Awaitable[P]]) -> P:
    while True:
        try:
            return await attempt()
        except BlockingIOError:
            await asyncio.sleep(RETRY_SECONDS)  # nothing tells when there is room


def _timeval() -> tuple[int, int]:
    """Return CONNECT_SECONDS as the kernel takes it, for a connect that waits for room in the engine's queue."""
    return int(CONNECT_SECONDS), int(CONNECT_SECONDS % 1 * 1_000_000)


def _keep_alive(sock: socket.socket) -> None:
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for option, value in KEEPALIVE:
        sock.setsockopt(socket.IPPROTO_TCP, option, value)


def _probe_tls(sock: socket.socket, host: str, tls: Tls) -> None:
    """Raises OSError. That a certificate of ours is not accepted comes in place of the first answer, if at all."""
    with tls.context.wrap_socket(sock, server_hostname=host) as secured:
        try:
            secured.sendall(_PING)
            secured.recv(1)
        except ConnectionError as error:
            raise ssl.SSLEOFError(ssl.SSL_ERROR_EOF, str(error)) from error
