"""What a reply of the protocol `json` means. The kits that functions are built with disagree on where things stand, so
both places count: `status_code` and `headers` at the top of the object or in its `protocol`.
"""

from __future__ import annotations

import msgspec

from hotfn_core.protocol import Limits, ReplyHead

from .object_reply import UNDECODABLE, Fields, Protocol, check_size, compact, make_head, no_reply, text_of


class _Reply(msgspec.Struct):
    body: msgspec.Raw = msgspec.Raw(b'""')
    content_type: str | None = None
    protocol: Protocol | None = None
    status_code: int | None = None
    headers: Fields | None = None


_REPLY = msgspec.json.Decoder(_Reply)


def parse(raw: bytes | bytearray, limits: Limits) -> tuple[ReplyHead, bytes]:
    """Return head and body of the reply in a complete object.

    Raises RemoteProtocolError when it is no reply, ReplyTooLarge when it is over the limits.
    """
    try:
        reply = _REPLY.decode(raw)
        body = _body(reply.body)
    except UNDECODABLE as error:
        raise no_reply(raw, error) from None
    protocol = reply.protocol or Protocol()
    fields = reply.headers if protocol.headers is None else protocol.headers
    head = make_head(protocol.status_code or reply.status_code, fields, reply.content_type)
    check_size(head, body, limits)
    return head, body


def _body(raw: msgspec.Raw) -> bytes:
    """Return the body as bytes: a string's text, nothing for null, and the compact JSON of anything else."""
    data = bytes(raw)
    if data.startswith(b'"'):
        return text_of(data)
    return b"" if data == b"null" else compact(data)
