"""Logins at registries, where the engines' own command lines keep them.

Nothing here puts a secret into a message, a log or an argv: helper programs are asked over their stdin.
"""

from __future__ import annotations

import base64
import binascii
import json
import os
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from .reference import HUB, Reference

HUB_KEYS = (f"https://index.{HUB}/v1/", HUB, f"index.{HUB}")
"""Under what names the logins of Docker Hub are kept, the usual one first."""

HELPER_SECONDS = 10.0
"""How long a credential helper may take; it may ask a server or a keychain."""

MAX_FILE = 1 << 20

_TOKEN_USER = "<token>"  # noqa: S105 - a helper says it instead of a user when the secret is a token
_NONE = "credentials not found"  # what a helper says when it has none


@dataclass(frozen=True)
class Login:
    """Who pulls. Either `username` and `password`, or a `token`; `source` says where it was found."""

    registry: str
    source: str
    username: str = field(default="", repr=False)
    password: str = field(default="", repr=False)
    token: str = field(default="", repr=False)

    def for_docker(self) -> str:
        """Return the header X-Registry-Auth for Docker."""
        server = HUB_KEYS[0] if self.registry == HUB else self.registry
        if self.token:
            return _encode({"identitytoken": self.token, "serveraddress": server})
        return _encode({"username": self.username, "password": self.password, "serveraddress": server})

    def for_podman(self) -> str:
        """Return the header X-Registry-Auth for podman, "" when it can do better without.

        It names the registry, so that no mirror gets to see it. A token cannot be sent like that.
        """
        if self.token:
            return ""
        return _encode({self.registry: {"username": self.username, "password": self.password}})


@dataclass(frozen=True)
class Search:
    """What came of looking for a login: it, or None; and what went wrong on the way, for people."""

    login: Login | None
    files: tuple[str, ...]
    troubles: tuple[str, ...] = ()

    def told(self) -> str:
        """Say with which login a pull was tried."""
        troubles = "".join(f"; {one}" for one in self.troubles)
        if self.login is not None:
            return f"it was asked with the login of {self.login.source}{troubles}"
        return f"it was asked without a login: there is none in {' or '.join(self.files)}{troubles}"


def docker_files() -> list[Path]:
    """Return where Docker's command line keeps logins."""
    folder = os.environ.get("DOCKER_CONFIG")
    return [Path(folder) / "config.json" if folder else _home() / ".docker" / "config.json"]


def containers_files() -> list[Path]:
    """Return where podman keeps logins, the first first; Docker's place is the last of them."""
    if named := os.environ.get("REGISTRY_AUTH_FILE"):
        return [Path(named)]
    run, config = os.environ.get("XDG_RUNTIME_DIR"), os.environ.get("XDG_CONFIG_HOME")
    return [
        Path(run, "containers", "auth.json") if run else Path(f"/run/containers/{os.getuid()}/auth.json"),
        Path(config or _home() / ".config") / "containers" / "auth.json",
        *docker_files(),
    ]


def state_of(files: Sequence[Path]) -> tuple[tuple[int, int, int] | None, ...]:
    """Return what changes when somebody logs in or out. Blocks."""
    return tuple(_state(one) for one in files)


def search(files: Sequence[Path], reference: Reference) -> Search:
    """Find the login for an image: the first file that has one counts. Blocks, at most as long as a helper may take."""
    troubles: list[str] = []
    for file in files:
        config = _load(file, troubles)
        login = _helped(config, reference, file, troubles) or _kept(config, reference, file, troubles)
        if login is not None:
            return Search(login, tuple(map(str, files)), tuple(troubles))
    return Search(None, tuple(map(str, files)), tuple(troubles))


def _home() -> Path:
    return Path(os.path.expanduser("~"))  # noqa: PTH111 - without a home this stays as it is, and Path.home() raises


def _state(file: Path) -> tuple[int, int, int] | None:
    try:
        status = file.stat()
    except OSError:
        return None
    return status.st_ino, status.st_mtime_ns, status.st_size


def _load(file: Path, troubles: list[str]) -> Mapping[str, Any]:
    try:
        with file.open("rb") as stream:
            config = json.loads(stream.read(MAX_FILE))
    except (FileNotFoundError, NotADirectoryError):
        return {}
    except OSError as error:
        troubles.append(f"{file} cannot be read: {error.strerror}")
        return {}
    except (ValueError, RecursionError):
        troubles.append(f"{file} is no JSON")
        return {}
    return config if isinstance(config, dict) else {}


# ---- logins that are kept in the file itself


def _kept(config: Mapping[str, Any], reference: Reference, file: Path, troubles: list[str]) -> Login | None:
    for entry in _entries(_table(config, "auths"), reference):
        try:
            login = _decoded(entry, reference, str(file))
        except ValueError:
            troubles.append(f"the login for {reference.registry} in {file} is damaged: log in again")
            continue
        if login is not None:
            return login
    return None


def _entries(auths: Mapping[str, Any], reference: Reference) -> Iterator[Mapping[str, Any]]:
    """Yield the entries that fit, the most particular first."""
    for key in _keys(auths, reference):
        if isinstance(entry := auths[key], dict):
            yield entry


def _keys(auths: Mapping[str, Any], reference: Reference) -> Iterator[str]:
    parts = reference.repository.split("/")
    yield from (key for end in range(len(parts), 1, -1) if (key := "/".join(parts[:end])) in auths)
    wanted = HUB_KEYS if reference.registry == HUB else (reference.registry,)
    yield from (key for key in wanted if key in auths)
    yield from (key for key in auths if key not in wanted and _host(key) in wanted)


def _host(key: str) -> str:
    """Return the registry of a key that is written as a URL, as Docker did once; "" for others."""
    scheme, separator, rest = key.partition("://")
    if separator and scheme in ("http", "https"):
        return rest.partition("/")[0]
    return key.partition("/")[0] if key.rstrip("/").endswith(("/v1", "/v2")) else ""


def _decoded(entry: Mapping[str, Any], reference: Reference, source: str) -> Login | None:
    """Return the login of an entry, None when a helper is to have it. Raises ValueError."""
    if token := entry.get("identitytoken"):
        return Login(reference.registry, source, token=str(token))
    username, password = str(entry.get("username") or ""), str(entry.get("password") or "")
    if auth := entry.get("auth"):
        try:
            text = base64.b64decode(str(auth)).decode()
        except (binascii.Error, UnicodeDecodeError):
            raise ValueError("not base64") from None  # the error would show what it could not read
        username, colon, password = text.partition(":")
        password = password.rstrip("\0")  # old Docker padded it
        if not colon:
            raise ValueError("no colon")
    return Login(reference.registry, source, username, password) if username else None


# ---- logins that a helper program keeps


def _helped(config: Mapping[str, Any], reference: Reference, file: Path, troubles: list[str]) -> Login | None:
    helpers = _table(config, "credHelpers")
    keys = HUB_KEYS if reference.registry == HUB else (reference.registry,)
    name = next((helpers[key] for key in keys if helpers.get(key)), config.get("credsStore"))
    if not isinstance(name, str) or not name:
        return None
    if "/" in name or "\0" in name:
        troubles.append(f"{file} names a credential helper that is a path: {name!r}")
        return None
    try:
        answer = _ask(f"docker-credential-{name}", keys[0])
    except (OSError, subprocess.SubprocessError, ValueError) as error:
        troubles.append(f"the credential helper docker-credential-{name} of {file} {_failed(error)}")
        return None
    source = f"docker-credential-{name}"
    if answer is None:
        return None
    user, secret = answer
    if user == _TOKEN_USER:
        return Login(reference.registry, source, token=secret)
    return Login(reference.registry, source, user, secret)


def _ask(program: str, server: str) -> tuple[str, str] | None:
    """Ask a helper for user and secret; None when it has none. Raises OSError, SubprocessError, ValueError."""
    done = subprocess.run(
        [program, "get"], input=server.encode(), capture_output=True, timeout=HELPER_SECONDS, check=False
    )
    if _NONE in done.stdout.decode("utf-8", "replace").lower():
        return None
    done.check_returncode()
    answer = json.loads(done.stdout)
    if not isinstance(answer, dict) or not answer.keys() >= {"Username", "Secret"}:
        raise ValueError("no login")
    return str(answer["Username"]), str(answer["Secret"])


def _failed(error: Exception) -> str:
    """Say how a helper failed, without anything that it wrote: that may be a secret."""
    if isinstance(error, FileNotFoundError):
        return "is not installed"
    if isinstance(error, subprocess.TimeoutExpired):
        return f"did not answer within {HELPER_SECONDS:g} s"
    if isinstance(error, subprocess.CalledProcessError):
        return f"ended with status {error.returncode}"
    if isinstance(error, OSError):
        return f"cannot be run: {error.strerror}"
    return "did not answer with a login"


def _table(config: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    table = config.get(name)
    return table if isinstance(table, dict) else {}


def _encode(value: Mapping[str, Any]) -> str:
    return base64.urlsafe_b64encode(json.dumps(value).encode()).decode("ascii")
