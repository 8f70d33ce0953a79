"""What a JSON reply means. The kits that functions are built with disagree on where things stand, so both places count:
`status_code` and `headers` at the top of the object or in its `protocol`, a header's values as a list or a string.
"""

from __future__ import annotations

import msgspec

from hotfn_core.errors import RemoteProtocolError
from hotfn_core.protocol import ReplyHead

from .headers import TOKEN, UNSAFE, ends_here
from .stray import shown

_Fields = dict[str, str | list[str]]


class _Protocol(msgspec.Struct):
    status_code: int | None = None
    headers: _Fields | None = None


class _Reply(msgspec.Struct):
    body: msgspec.Raw = msgspec.Raw(b'""')
    content_type: str | None = None
    protocol: _Protocol | None = None
    status_code: int | None = None
    headers: _Fields | None = None


_REPLY = msgspec.json.Decoder(_Reply)
_TEXT = msgspec.json.Decoder(str)


def parse(raw: bytes) -> tuple[ReplyHead, bytes]:
    """Return head and body of the reply in a complete object. Raises RemoteProtocolError when it is no reply."""
    try:
        reply = _REPLY.decode(raw)
        body = _body(reply.body)
    except (msgspec.DecodeError, RecursionError, UnicodeError) as error:
        raise RemoteProtocolError(f"the function's JSON reply, {shown(raw)}, is not one: {error}") from None
    protocol = reply.protocol or _Protocol()
    status = protocol.status_code or reply.status_code or 200
    if not 200 <= status <= 999:
        raise RemoteProtocolError(f"the function's JSON reply has the status {status}, not one from 200 to 999")
    fields = reply.headers if protocol.headers is None else protocol.headers
    return ReplyHead(status, _headers(fields or {}, reply.content_type or "")), body


def _body(raw: msgspec.Raw) -> bytes:
    """Return the body as bytes: a string's text, nothing for null, and the compact JSON of anything else."""
    data = bytes(raw)
    if data.startswith(b'"'):
        return _TEXT.decode(data).encode()
    if data == b"null":
        return b""
    return msgspec.json.format(data, indent=-1)


def _headers(fields: _Fields, content_type: str) -> tuple[tuple[str, str], ...]:
    pairs = [(name, value) for name, values in fields.items() for value in _listed(values)]
    if content_type:
        pairs = [pair for pair in pairs if pair[0].lower() != "content-type"]
        pairs.append(("Content-Type", content_type))
    # The kits' content-length counts characters, or the body before it was encoded.
    kept = [pair for pair in pairs if pair[0].lower() != "content-length" and not ends_here(pair[0].lower(), set())]
    for name, value in kept:
        if not TOKEN.fullmatch(name) or UNSAFE.search(value):
            raise RemoteProtocolError(f"the function's JSON reply has an impossible header, {name[:80]!r}")
    return tuple(kept)


def _listed(values: str | list[str]) -> list[str]:
    return [values] if isinstance(values, str) else values
