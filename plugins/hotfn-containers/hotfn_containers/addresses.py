"""Which engine is meant: found as the engine's own client and Python package find it."""

from __future__ import annotations

import hashlib
import json
import os
import tomllib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hotfn_core.errors import DriverUnavailable

from .endpoint import SOCKET, Endpoint
from .tls import Tls

DEFAULT = "the default"

# ---- docker


def docker_endpoint() -> Endpoint:
    """Find the Docker engine: DOCKER_HOST, DOCKER_CONTEXT, the current context, the default socket.

    With DOCKER_TLS_VERIFY or DOCKER_CERT_PATH, DOCKER_HOST is spoken to over TLS. Raises DriverUnavailable.
    """
    if host := os.environ.get("DOCKER_HOST"):
        return Endpoint.parse("docker", host, "DOCKER_HOST", _docker_tls(host))
    folder = _docker_folder()
    name, source = _docker_context(folder)
    if name not in ("", "default"):
        return _of_context(folder, name, source)
    path = SOCKET["docker"]
    own = f"{_runtime_directory()}/docker.sock"
    if not os.access(path, os.F_OK) and os.access(own, os.F_OK):
        return Endpoint.parse("docker", f"unix://{own}", "the default without root")
    return Endpoint.parse("docker", f"unix://{path}", DEFAULT)


def _docker_folder() -> Path:
    return Path(os.environ.get("DOCKER_CONFIG") or _home() / ".docker")


def _docker_tls(host: str) -> Tls | None:
    """Return what the environment says of TLS. Without DOCKER_TLS_VERIFY the engine's certificate is not looked at."""
    given = os.environ.get("DOCKER_CERT_PATH")
    verify = bool(os.environ.get("DOCKER_TLS_VERIFY"))
    if host.strip().partition("://")[0].lower() in ("unix", "http+unix", "http") or not (given or verify):
        return None
    folder = Path(given or _docker_folder())
    files = {kind: str(folder / f"{kind}.pem") for kind in ("ca", "cert", "key")}
    if not verify:
        del files["ca"]
    return _usable(
        Tls(**files, verify=verify), f"DOCKER_CERT_PATH ({folder})" if given else f"DOCKER_TLS_VERIFY ({folder})"
    )


def _docker_context(folder: Path) -> tuple[str, str]:
    """Return the name of the context that is meant and who says so."""
    if name := os.environ.get("DOCKER_CONTEXT"):
        return name, "DOCKER_CONTEXT"
    path = folder / "config.json"
    return str(_table(_json(path)).get("currentContext") or ""), str(path)


def _of_context(folder: Path, name: str, source: str) -> Endpoint:
    key = hashlib.sha256(name.encode()).hexdigest()
    path = folder / "contexts" / "meta" / key / "meta.json"
    if not (known := _json(path)):
        raise DriverUnavailable(
            f"{source} names the context {name!r}, which there is not in {folder}/contexts; `docker context ls` lists "
            "those that there are, and `docker context use default` goes back to none"
        )
    target = _table(_table(known.get("Endpoints")).get("docker"))
    if not isinstance(host := target.get("Host"), str) or not host:
        raise DriverUnavailable(f"the context {name!r} ({path}) names no host of docker; make it anew")
    tls = _tls_of_context(folder / "contexts" / "tls" / key / "docker", bool(target.get("SkipTLSVerify")), name)
    return Endpoint.parse("docker", host, f"the context {name!r} of {source}", tls)


def _tls_of_context(folder: Path, skip: bool, name: str) -> Tls | None:
    files = {kind: str(found[0]) for kind in ("ca", "cert", "key") if (found := sorted(folder.glob(f"{kind}*")))}
    if not files and not skip:
        return None
    return _usable(Tls(**files, verify=not skip), f"the context {name!r} ({folder})")


def _usable(tls: Tls, source: str) -> Tls:
    """Look at the files once, to tell what is wrong with them before a connection fails."""
    for path in filter(None, (tls.ca, tls.cert, tls.key)):
        try:
            Path(path).read_bytes()
        except OSError as error:
            raise DriverUnavailable(f"{source} asks for TLS, and {path} cannot be read: {error.strerror}") from error
    try:
        _ = tls.context
    except OSError as error:
        raise DriverUnavailable(
            f"{source} asks for TLS, and its files cannot be used ({error}): ca*.pem must be a certificate, cert*.pem "
            "and key*.pem belong together, without a password"
        ) from error
    return tls


# ---- podman


@dataclass(frozen=True)
class Connection:
    """A connection that podman knows by name."""

    name: str
    url: str
    machine: bool
    path: Path


def podman_endpoint() -> Endpoint:
    """Find the podman service: CONTAINER_HOST, CONTAINER_CONNECTION, the machine that is podman's default connection,
    the socket of root or of this user. Raises DriverUnavailable."""
    if host := os.environ.get("CONTAINER_HOST"):
        return Endpoint.parse("podman", host, "CONTAINER_HOST")
    if name := os.environ.get("CONTAINER_CONNECTION"):
        return _of_connection(name)
    active = next((one for one in _connections(active=True) if one.machine), None)
    if active is not None:
        return Endpoint.parse("podman", active.url, f"podman's default connection {active.name!r} ({active.path})")
    own = f"{_runtime_directory()}/podman/podman.sock"
    paths = (SOCKET["podman"], own) if os.getuid() == 0 else (own, SOCKET["podman"])
    path = next((one for one in paths if os.access(one, os.R_OK | os.W_OK)), paths[0])
    return Endpoint.parse("podman", f"unix://{path}", DEFAULT)


def _of_connection(name: str) -> Endpoint:
    known = list(_connections())
    for one in known:
        if one.name == name:
            return Endpoint.parse("podman", one.url, f"podman's connection {name!r} ({one.path})")
    names = ", ".join(sorted({one.name for one in known})) or "none"
    raise DriverUnavailable(
        f"CONTAINER_CONNECTION names the connection {name!r}, which podman does not have; it has: {names}"
    )


def _connections(*, active: bool = False) -> Iterable[Connection]:
    """Read what `podman system connection` keeps; the first of a name counts. `active`: only the default ones."""
    folder = Path(os.environ.get("XDG_CONFIG_HOME") or _home() / ".config") / "containers"
    path = Path(os.environ.get("PODMAN_CONNECTIONS_CONF") or folder / "podman-connections.json")
    table = _table(_json(path).get("Connection"))
    yield from _named(_table(table.get("Connections")), path, str(table.get("Default")) if active else None)
    given = os.environ.get("CONTAINERS_CONF")
    for file in [Path(given)] if given else [folder / "containers.conf", Path("/etc/containers/containers.conf")]:
        engine = _table(_toml(file).get("engine"))
        wanted = str(engine.get("active_service")) if active else None
        yield from _named(_table(engine.get("service_destinations")), file, wanted)


def _named(entries: Mapping[str, Any], path: Path, wanted: str | None) -> Iterable[Connection]:
    for name, entry in entries.items():
        url = _table(entry).get("URI") or _table(entry).get("uri")
        if isinstance(url, str) and wanted in (None, name):
            yield Connection(name, url, bool(_table(entry).get("IsMachine")), path)


# ---- files


def _runtime_directory() -> str:
    return os.environ.get("XDG_RUNTIME_DIR") or f"/run/user/{os.getuid()}"


def _table(value: object) -> Mapping[str, Any]:
    return value if isinstance(value, dict) else {}


def _home() -> Path:
    try:
        return Path.home()
    except RuntimeError:  # this user has none
        return Path("/nonexistent")


def _json(path: Path) -> Mapping[str, Any]:
    """Read a file, {} when there is none for this user. Raises DriverUnavailable for one that is broken."""
    return _table(_read(path, json.loads))


def _toml(path: Path) -> Mapping[str, Any]:
    return _table(_read(path, tomllib.loads))


def _read(path: Path, parse: Callable[[str], Any]) -> Any:
    try:
        return parse(path.read_text(encoding="utf-8"))
    except (FileNotFoundError, NotADirectoryError, PermissionError):  # the clients pass over it as well
        return None
    except (OSError, ValueError, RecursionError) as error:
        raise _broken(path, error) from error


def _broken(path: Path, error: Exception) -> DriverUnavailable:
    return DriverUnavailable(f"{path}, which tells where the engine is, cannot be read: {error}; correct or remove it")
