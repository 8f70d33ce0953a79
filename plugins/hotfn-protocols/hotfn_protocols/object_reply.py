"""What the replies that are JSON objects share: the shape of `status_code` and `headers`, and what is made of them.

The kits that functions are built with disagree: a header's values are a list or a string.
"""

from __future__ import annotations

import msgspec

from hotfn_core.errors import RemoteProtocolError, ReplyTooLarge
from hotfn_core.protocol import Limits, ReplyHead

from .headers import MAX_FIELDS, TOKEN, UNSAFE, ends_here
from .stray import shown

Fields = dict[str, str | list[str]]

# What a decoder raises for what is not what it decodes.
UNDECODABLE = (msgspec.DecodeError, RecursionError, UnicodeError)


class Protocol(msgspec.Struct):
    """`status_code` and `headers`, as they stand in a reply's `protocol`."""

    status_code: int | None = None
    headers: Fields | None = None


_NOBODY: frozenset[str] = frozenset()  # is named by a Connection header
_TEXT = msgspec.json.Decoder(str)


def no_reply(raw: bytes | bytearray, error: Exception) -> RemoteProtocolError:
    """Return the error for an object that is no reply."""
    return RemoteProtocolError(f"the function's JSON reply, {shown(raw)}, is not one: {error}")


def make_head(status: int | None, fields: Fields | None, content_type: str | None) -> ReplyHead:
    """Return the head of a reply; what is missing or 0 is a status of 200. A content type replaces those of the fields.

    Raises RemoteProtocolError for what no reply can have.
    """
    if not 200 <= (status := status or 200) <= 999:
        raise RemoteProtocolError(f"the function's JSON reply has the status {status}, not one from 200 to 999")
    return ReplyHead(status, _headers(fields or {}, content_type or ""))


def check_size(head: ReplyHead, body: bytes, limits: Limits) -> None:
    """Raise ReplyTooLarge when the reply is over the limits."""
    size = sum(len(name) + len(value) for name, value in head.headers)
    if len(head.headers) > MAX_FIELDS or size > limits.max_head:
        raise ReplyTooLarge(
            f"the function answered with {len(head.headers)} header fields of {size} characters; the limits are"
            f" {MAX_FIELDS} and {limits.max_head}"
        )
    if len(body) > limits.max_body:
        raise ReplyTooLarge(f"the function answered with {len(body)} bytes, over the limit of {limits.max_body}")


def text_of(data: bytes) -> bytes:
    """Return the text of a JSON string. Raises one of UNDECODABLE when it is none."""
    return _TEXT.decode(data).encode()


def compact(data: bytes | bytearray) -> bytes:
    """Return the JSON without the blanks in it; its numbers stay as they are. Raises one of UNDECODABLE."""
    if not data.isascii():
        data.decode()  # the formatter does not look at it
    return msgspec.json.format(data, indent=-1)


def _headers(fields: Fields, content_type: str) -> tuple[tuple[str, str], ...]:
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
