"""Reading the head of an HTTP reply, once all of it is there.

httptools parses; here it is decided what the head means: which fields are passed on and how the body is framed.
"""

from __future__ import annotations

import re
from typing import NamedTuple

import httptools

from hotfn_core.errors import RemoteProtocolError, ReplyTooLarge
from hotfn_core.protocol import ReplyHead

from .headers import MAX_FIELDS, connection_options, ends_here
from .stray import not_a_reply, shown

PREFIX = b"HTTP/1."

_BARE_LINE_END = re.compile(rb"(?<!\r)\n")


class Head(NamedTuple):
    """The head of one reply. `length` is None without Content-Length; `closes` when the function goes away after it."""

    event: ReplyHead
    length: int | None
    chunked: bool
    closes: bool


def find_end(data: bytes | bytearray, start: int) -> int:
    """Return where the head ends, behind its blank line, or -1. Nothing before `start` can be part of that end."""
    at = data.find(b"\n\r\n", start)
    bare = data.find(b"\n\n", start, at + 1 if at >= 0 else len(data))
    if bare >= 0:
        return bare + 2
    return at + 3 if at >= 0 else -1


def begun(data: bytes | bytearray) -> int:
    """Return how many of the first bytes are those of a reply."""
    return next(size for size in range(len(PREFIX), -1, -1) if data[:size] == PREFIX[:size])


def parse(raw: bytes) -> Head:
    """Parse a complete head. Raises RemoteProtocolError when it is none."""
    fields, parser = _fields(raw)
    if len(fields) > MAX_FIELDS:
        raise ReplyTooLarge(f"the function answered with {len(fields)} header fields, more than {MAX_FIELDS}")
    status = parser.get_status_code()
    if not 100 <= status <= 999:
        raise not_a_reply(raw, "an HTTP status from 100 to 999")
    return _meaning(status, parser.get_http_version(), fields)


class _Fields:
    """What httptools calls back."""

    __slots__ = ("fields",)

    def __init__(self) -> None:
        self.fields: list[tuple[str, str]] = []

    def on_header(self, name: bytes, value: bytes) -> None:
        self.fields.append((name.decode("latin-1"), value.decode("latin-1").rstrip(" \t")))


def _fields(raw: bytes) -> tuple[list[tuple[str, str]], httptools.HttpResponseParser]:
    seen = _Fields()
    parser = httptools.HttpResponseParser(seen)
    try:
        # Some functions end the head, or all its lines, in a bare newline, which httptools does not take.
        parser.feed_data(_BARE_LINE_END.sub(b"\r\n", raw) if raw.count(b"\n") != raw.count(b"\r\n") else raw)
    except (httptools.HttpParserError, httptools.HttpParserUpgrade) as error:
        reason = "no other protocol is spoken" if isinstance(error, httptools.HttpParserUpgrade) else error
        raise RemoteProtocolError(f"the function answered with a bad HTTP head, {shown(raw)}: {reason}") from None
    return seen.fields, parser


def _meaning(status: int, version: str, fields: list[tuple[str, str]]) -> Head:
    names = [name.lower() for name, _ in fields]
    named = connection_options(fields)
    # httptools has seen to it that there is one length, a number, and not beside chunks.
    length = int(fields[names.index("content-length")][1]) if "content-length" in names else None
    coding = [fields[at][1].strip().lower() for at, name in enumerate(names) if name == "transfer-encoding"]
    if coding not in ([], ["chunked"]):
        raise RemoteProtocolError(f"the function's reply has the transfer encoding {coding!r}; chunked is known")
    headers = tuple([pair for name, pair in zip(names, fields, strict=True) if not ends_here(name, named)])
    closes = "close" in named or (version == "1.0" and "keep-alive" not in named)
    return Head(ReplyHead(status, headers), length, bool(coding), closes)
