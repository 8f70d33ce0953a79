"""What every protocol tells a function about a call, checked and cleaned once.

Be strict in what we send: a header, a method or a URL that could end its line is refused, fields that belong to
the client's own connection stay behind, and nobody but hotfn writes hotfn's headers.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from collections.abc import Set as AbstractSet
from operator import itemgetter
from typing import Generic, NamedTuple, TypeVar
from urllib.parse import quote

from hotfn_core.errors import LocalProtocolError
from hotfn_core.model import Call

from .headers import TOKEN, canonical, check_value, connection_options, ends_here

# Host, Content-Length and Content-Type are written from the call itself. Frameworks that turn headers into variables
# read Fn-Call-Id and Fn_call_id as one and the same name.
_OWN = frozenset({
    "host", "content-length", "content-type", "task-id", "task_id",
    "fn-call-id", "fn-deadline", "fn-method", "fn-request-url",
})  # fmt: skip
_URL = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*)://([^/?#]*)([^#]*)(?:#.*)?")
_HOST = re.compile(r"[A-Za-z0-9._~%!$&'()*+,;=:\[\]-]+")
_BLANK = re.compile(r"[\x00-\x20\x7f\ud800-\udfff]")
_PRINTABLE = "".join(map(chr, range(0x21, 0x7F)))

Parts = TypeVar("Parts")


class Request(NamedTuple):
    """A call without its id, deadline and body. `headers` have canonical names and are sorted by them, so that equal
    names stand together in the order they came; Content-Type is among them when it is not empty."""

    method: str
    target: str
    host: str
    url: str
    content_type: str
    headers: list[tuple[str, str]]


def describe(call: Call, max_size: int) -> Request:
    """Return the request of a call. Raises LocalProtocolError when it cannot be sent, or is over `max_size`."""
    _check_size(call, max_size)
    if not TOKEN.fullmatch(call.method):
        raise LocalProtocolError(f"{call.method[:80]!r} is not a method")
    received = [(canonical(name), check_value(name, value)) for name, value in call.headers]
    scheme, host, target = _split(call.url)
    if not host:
        host = _host_of(received)
    content_type = check_value("Content-Type", call.content_type) or _first(received, "Content-Type")
    headers = _forwarded(received, content_type)
    return Request(call.method, target, host, f"{scheme}://{host}{target}", content_type, headers)


def check_id(call_id: str) -> str:
    """Return the call's id. Raises LocalProtocolError when it is not plain printable text."""
    if not (call_id.isascii() and call_id.isprintable()):
        raise LocalProtocolError(f"{call_id[:80]!r} is not a call id: it must be printable ASCII")
    return call_id


def _check_size(call: Call, max_size: int) -> None:
    size = len(call.url) + len(call.method) + len(call.content_type)
    size += sum(len(name) + len(value) for name, value in call.headers)
    if size > max_size:
        raise LocalProtocolError(f"the URL and the headers have {size} characters, more than {max_size}")


def _split(url: str) -> tuple[str, str, str]:
    """Return scheme, host ("" for a URL that has none) and path with query."""
    if _BLANK.search(url):
        raise LocalProtocolError(f"the URL {url[:80]!r} holds a blank or a control character; percent-encode it")
    if not url.isascii():
        url = quote(url, safe=_PRINTABLE)
    if url.startswith("/"):
        return "http", "", url.partition("#")[0]
    if not url or url.startswith(("?", "#")):
        return "http", "", "/" + url.partition("#")[0]
    full = _URL.fullmatch(url)
    if full is None:
        raise LocalProtocolError(f"the URL {url[:80]!r} is neither a full URL nor a path that starts with a slash")
    scheme, host, target = full.groups()
    # A name and password in the URL are the client's affair and no part of a Host line.
    return scheme, _check_host(host.rpartition("@")[2]), target if target.startswith("/") else f"/{target}"


def _host_of(received: list[tuple[str, str]]) -> str:
    return _check_host(_first(received, "Host")) or "localhost"


def _check_host(host: str) -> str:
    if host and not _HOST.fullmatch(host):
        raise LocalProtocolError(f"{host[:80]!r} is not a host")
    return host


def _first(received: list[tuple[str, str]], wanted: str) -> str:
    return next((value for name, value in received if name == wanted), "")


def _forwarded(received: list[tuple[str, str]], content_type: str) -> list[tuple[str, str]]:
    named = connection_options(received)
    pairs = [(name, value) for name, value in received if not _stays_behind(name.lower(), named)]
    if content_type:
        pairs.append(("Content-Type", content_type))
    return sorted(pairs, key=itemgetter(0))


def _stays_behind(name: str, named: AbstractSet[str]) -> bool:
    return name in _OWN or name.startswith("fn_") or ends_here(name, named)


class Template(Generic[Parts]):
    """The constant parts of a request, kept from one call to the next.

    Calls on one copy mostly differ in id, deadline and body only; then nothing is checked or sorted twice.
    """

    __slots__ = ("_build", "_key", "_max_size", "_parts")

    def __init__(self, build: Callable[[Request], Parts], max_size: int) -> None:
        self._build = build
        self._max_size = max_size
        self._key: tuple[object, ...] = ()
        self._parts: Parts | None = None

    def of(self, call: Call) -> Parts:
        """Return the parts for this call. Raises LocalProtocolError as `describe` does, and changes nothing then."""
        key = call[2:6]  # headers, method, url, content_type
        if self._parts is None or key != self._key:
            self._parts = self._build(describe(call, self._max_size))
            self._key = key
        return self._parts
