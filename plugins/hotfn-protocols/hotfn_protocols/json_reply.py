"""What a JSON reply means. The kits that functions are built with disagree on where things stand, so both places count:
`status_code` and `headers` at the top of the object or in its `protocol`, a header's values as a list or a string.
"""

from __future__ import annotations

import msgspec

from hotfn_core.errors import RemoteProtocolError, ReplyTooLarge
from hotfn_core.protocol import Limits, ReplyHead

from .headers import MAX_FIELDS, TOKEN, UNSAFE, ends_here
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
_NOBODY: frozenset[str] = frozenset()  # is named by a Connection header
_TEXT = msgspec.json.Decoder(str)


def parse(raw: bytes | bytearray, limits: Limits) -> tuple[ReplyHead, bytes]:
    """Return head and body of the reply in a complete object.

    Raises RemoteProtocolError when it is no reply, ReplyTooLarge when it is over the limits.
    """
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
    head = ReplyHead(status, _headers(fields or {}, reply.content_type or ""))
    _check_size(head, body, limits)
    return head, body


def _check_size(head: ReplyHead, body: bytes, limits: Limits) -> None:
    size = sum(len(name) + len(value) for name, value in head.headers)
    if len(head.headers) > MAX_FIELDS or size > limits.max_head:
        raise ReplyTooLarge(
            f"the function answered with {len(head.headers)} header fields of {size} characters; the limits are"
            f" {MAX_FIELDS} and {limits.max_head}"
        )
    if len(body) > limits.max_body:
        raise ReplyTooLarge(f"the function answered with {len(body)} bytes, over the limit of {limits.max_body}")


def _body(raw: msgspec.Raw) -> bytes:
    """Return the body as bytes: a string's text, nothing for null, and the compact JSON of anything else."""
    data = bytes(raw)
    if data.startswith(b'"'):
        return _TEXT.decode(data).encode()
    if data == b"null":
        return b""
    return msgspec.json.format(data, indent=-1)


def _headers(fields: _Fields, content_type: str) -> tuple[tuple[str, str], ...]:
    pairs: list[tuple[str, str]] = []
    for name, values in fields.items():
        if not _is_dropped(name.lower(), content_type):
            pairs += [_checked(name, value) for value in ([values] if isinstance(values, str) else values)]
    if content_type:
        pairs.append(_checked("Content-Type", content_type))
    return tuple(pairs)


def _is_dropped(name: str, content_type: str) -> bool:
    # The kits' content-length counts characters, or the body before it was encoded.
    return name == "content-length" or ends_here(name, _NOBODY) or (name == "content-type" and content_type != "")


def _checked(name: str, value: str) -> tuple[str, str]:
    if not TOKEN.fullmatch(name) or UNSAFE.search(value):
        raise RemoteProtocolError(f"the function's JSON reply has an impossible header, {name[:80]!r}")
    return name, value
