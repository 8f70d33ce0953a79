"""A registry of images on loopback that does as it is told: it serves a real image, wants a login, fails, hangs."""

from __future__ import annotations

import base64
import gzip
import hashlib
import io
import json
import platform
import secrets
import tarfile
import threading
from collections import Counter
from collections.abc import Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, Literal, NamedTuple, cast

Fault = Literal["missing", "unauthorized", "denied", "busy", "busy once", "garbage", "hang", "broken"]
"""What becomes of a repository: 404; 401 even with a login; 403; 429; 429 for each URL once; no JSON; no answer; a
layer that is not what its digest says."""

Login = Literal["none", "basic", "bearer"]
PATIENCE = 20.0  # seconds in which an engine must have asked

_MANIFEST = "application/vnd.docker.distribution.manifest.v2+json"
_CONFIG = "application/vnd.docker.container.image.v1+json"
_LAYER = "application/vnd.docker.image.rootfs.diff.tar.gzip"
_ERRORS: Mapping[Fault, tuple[int, str, str]] = {
    "missing": (404, "MANIFEST_UNKNOWN", "manifest unknown to the stand-in"),
    "unauthorized": (401, "UNAUTHORIZED", "the stand-in wants another login"),
    "denied": (403, "DENIED", "access to the stand-in is denied"),
    "busy": (429, "TOOMANYREQUESTS", "you have reached your pull rate limit"),
}


class Seen(NamedTuple):
    """One request. `user` is who logged in, "" for nobody."""

    method: str
    path: str
    user: str


class Registry:
    """Serves `archive`, the tar of an image's root, as every repository that `faults` does not name.

    `login` is what it wants: "basic" a user and a password (those of `user`), "bearer" a token, which it gives only to
    that user. It answers with `close`d connections after `close`, and a request that hangs ends then too.
    """

    user = ("hotfn", "a secret of the stand-in")

    def __init__(self, archive: Path, entrypoint: str, login: Login = "none") -> None:
        self.login = login
        self.faults: dict[str, Fault] = {}
        self.seen: list[Seen] = []
        self.blobs = _image(_own(archive), entrypoint)
        self.closed = threading.Event()
        self.open = threading.Event()  # while it is not set, nothing of a repository is answered
        self.open.set()
        self._news = threading.Condition()
        self._times: Counter[str] = Counter()
        self._server = _Server(("127.0.0.1", 0), _Handler)
        self._server.registry = self
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True)
        self._thread.start()

    @property
    def host(self) -> str:
        """The address as the names of images have it."""
        return f"127.0.0.1:{self._server.server_address[1]}"

    @property
    def digest(self) -> str:
        """The digest of the manifest."""
        return next(digest for digest, (kind, _) in self.blobs.items() if kind == _MANIFEST)

    def close(self) -> None:
        """End all connections; from then on it is refused to connect."""
        self.closed.set()
        self.open.set()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join(PATIENCE)

    def pulls(self, repository: str) -> int:
        """Return how often an engine began to pull from a repository."""
        start = f"/v2/{repository}/manifests/"
        asked = Counter(one.method for one in self.seen if one.path.startswith(start) and "sha256:" not in one.path)
        return max(asked["HEAD"], asked["GET"])  # docker asks for a tag with HEAD, and with GET when that fails

    def wait_for(self, repository: str, times: int = 1) -> None:
        """Return when engines have begun to pull so often. Blocks; raises AssertionError after `PATIENCE`."""
        with self._news:
            assert self._news.wait_for(lambda: self.pulls(repository) >= times, PATIENCE), self.seen

    # what the handler asks

    def note(self, one: Seen) -> int:
        """Remember a request; return how often it came, this time included."""
        with self._news:
            self.seen.append(one)
            self._times[one.method + one.path] += 1
            self._news.notify_all()
            return self._times[one.method + one.path]

    def token(self) -> str:
        """Return the token that opens everything."""
        return "token-of-the-stand-in"


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False
    request_queue_size = 128
    registry: Registry

    def handle_error(self, request: object, client_address: object) -> None:
        """An engine hung up, which it may."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    timeout = 60

    @property
    def registry(self) -> Registry:
        return cast("_Server", self.server).registry

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002
        """Say nothing."""

    def do_HEAD(self) -> None:
        self.do_GET()

    def do_GET(self) -> None:
        path = self.path.partition("?")[0]
        times = self.registry.note(Seen(self.command, path, self._user()))
        if path == "/token":
            self._token()
        elif self._welcome():
            self.registry.open.wait(PATIENCE)
            repository, _, rest = path.removeprefix("/v2/").replace("/blobs/", "/manifests/").partition("/manifests/")
            self._serve(rest, self.registry.faults.get(repository), times)

    def _serve(self, what: str, fault: Fault | None, times: int) -> None:
        if fault == "hang":
            self.registry.closed.wait()
            self.close_connection = True
        elif fault == "garbage":
            self._answer(200, b"<html>this is no registry</html>", {"Content-Type": "text/html"})
        elif fault is not None and fault in _ERRORS:
            self._error(fault)
        elif fault == "busy once" and times == 1:
            self._error("busy")
        elif not what:
            self._answer(200, b"{}", {})
        else:
            self._blob(self.registry.digest if not what.startswith("sha256:") else what, broken=fault == "broken")

    def _blob(self, digest: str, *, broken: bool) -> None:
        if digest not in self.registry.blobs:
            self._error("missing")
            return
        kind, data = self.registry.blobs[digest]
        if broken and kind == _LAYER:
            data = data[:-1] + b"!"
        self._answer(200, data, {"Content-Type": kind, "Docker-Content-Digest": digest})

    def _welcome(self) -> bool:
        """Say whether the login is as wanted, and answer when it is not."""
        wanted = self.registry.login
        if wanted == "none" or self._user() == self.registry.user[0]:
            return True
        realm = f'Bearer realm="http://{self.registry.host}/token",service="stand-in"'
        challenge = realm if wanted == "bearer" else 'Basic realm="stand-in"'
        self._error("unauthorized", {"WWW-Authenticate": challenge})
        return False

    def _user(self) -> str:
        kind, _, value = self.headers.get("Authorization", "").partition(" ")
        if kind == "Bearer" and value == self.registry.token():
            return self.registry.user[0]
        if kind == "Basic":
            user, _, password = base64.b64decode(value).decode().partition(":")
            return user if (user, password) == self.registry.user else f"not {user}"
        return ""

    def _token(self) -> None:
        """Give a token to everybody, as Docker Hub does; only that of the user is good for anything."""
        good = self._user() == self.registry.user[0]
        token = self.registry.token() if good else "token-for-nothing"
        self._answer(200, json.dumps({"token": token, "expires_in": 300}).encode(), {})

    def _error(self, fault: Fault, headers: Mapping[str, str] | None = None) -> None:
        status, code, message = _ERRORS[fault]
        body = json.dumps({"errors": [{"code": code, "message": message}]}).encode()
        # podman waits and tries again on its own when it is told to; not for long here.
        more = {"Retry-After": "0"} if status == 429 else {}
        self._answer(status, body, {**more, **(headers or {})})

    def _answer(self, status: int, body: bytes, headers: Mapping[str, str]) -> None:
        self.send_response(status)
        given = {"Content-Type": "application/json", "Docker-Distribution-Api-Version": "registry/2.0", **headers}
        for name, value in given.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)


def _own(archive: Path) -> bytes:
    """Return the archive with a file that no other has, so that no engine has the layer already."""
    buffer = io.BytesIO(archive.read_bytes())
    with tarfile.open(fileobj=buffer, mode="a") as tar:
        tar.addfile(tarfile.TarInfo(f"own-{secrets.token_hex(8)}"))
    return buffer.getvalue()


def _image(tar: bytes, entrypoint: str) -> dict[str, tuple[str, bytes]]:
    """Return what an image consists of by digest: the type and the bytes of its manifest, its config and its layer."""
    layer = gzip.compress(tar, mtime=0)
    config = _json(
        {
            "architecture": _architecture(),
            "os": "linux",
            "config": {"Entrypoint": [entrypoint]},
            "rootfs": {"type": "layers", "diff_ids": [_digest(tar)]},
            "history": [{"created": "2020-01-01T00:00:00Z", "created_by": "stand-in"}],
        }
    )
    manifest = _json(
        {
            "schemaVersion": 2,
            "mediaType": _MANIFEST,
            "config": {"mediaType": _CONFIG, "size": len(config), "digest": _digest(config)},
            "layers": [{"mediaType": _LAYER, "size": len(layer), "digest": _digest(layer)}],
        }
    )
    parts = ((_MANIFEST, manifest), (_CONFIG, config), (_LAYER, layer))
    return {_digest(data): (kind, data) for kind, data in parts}


def _architecture() -> str:
    """Return this machine's kind as images have it."""
    machine = platform.machine()
    return {"x86_64": "amd64", "aarch64": "arm64"}.get(machine, machine)


def _digest(data: bytes) -> str:
    return f"sha256:{hashlib.sha256(data).hexdigest()}"


def _json(value: Any) -> bytes:
    return json.dumps(value).encode()
