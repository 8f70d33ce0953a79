"""What a reply of the protocol `cloudevent` means: an event whose `data` is the body, in a form that its `contentType`
decides, and whose `extensions.protocol` has the status and the headers.
"""

from __future__ import annotations

import msgspec

from hotfn_core.protocol import Limits, ReplyHead

from .media import EVENT, holds_json
from .object_reply import UNDECODABLE, Protocol, check_size, compact, make_head, no_reply, text_of


class _Extensions(msgspec.Struct):
    protocol: Protocol | None = None


class _Event(msgspec.Struct, rename={"content_type": "contentType"}):
    """`protocol` at the top counts where the extensions have none; else it is an attribute like any other."""

    content_type: str | None = None
    data: msgspec.Raw = msgspec.Raw()
    extensions: _Extensions | None = None
    protocol: msgspec.Raw = msgspec.Raw(b"null")


_EVENT = msgspec.json.Decoder(_Event)
_PROTOCOL = msgspec.json.Decoder(Protocol | None)


def parse(raw: bytes | bytearray, limits: Limits, *, whole: bool) -> tuple[ReplyHead, bytes]:
    """Return head and body of the reply in a complete event. `whole`: the body is the event itself, not its data.

    Raises RemoteProtocolError when it is no reply, ReplyTooLarge when it is over the limits.
    """
    try:
        event = _EVENT.decode(raw)
        protocol = _protocol(event)
        body = compact(raw) if whole else _body(event)
    except UNDECODABLE as error:
        raise no_reply(raw, error) from None
    head = make_head(protocol.status_code, protocol.headers, EVENT if whole else event.content_type)
    check_size(head, body, limits)
    return head, body


def _protocol(event: _Event) -> Protocol:
    inner = event.extensions.protocol if event.extensions else None
    return inner or _PROTOCOL.decode(event.protocol) or Protocol()


def _body(event: _Event) -> bytes:
    """Return the data as bytes: as JSON where the content type says so, and else a string's text, nothing for null and
    the JSON of anything else."""
    data = bytes(event.data)
    if not data:
        return b""
    if holds_json(event.content_type or ""):
        return compact(data)
    if data.startswith(b'"'):
        return text_of(data)
    return b"" if data == b"null" else compact(data)
