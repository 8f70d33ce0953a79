"""Writing a call as the request that function kits expect: POST /call, with the caller's own in Fn-Http fields."""

from __future__ import annotations

from collections.abc import Sequence

from hotfn_core.model import Call
from hotfn_protocols.deadline import rfc3339_seconds
from hotfn_protocols.http_encode import JOINED, checked_latin
from hotfn_protocols.request import Request, Template, check_id


class Encoder:
    """Writes the requests of one copy. `max_head` bounds what the caller's URL and headers may take."""

    __slots__ = ("_template",)

    def __init__(self, max_head: int) -> None:
        self._template = Template(_head, max_head)

    def encode(self, call: Call, expires: float) -> bytes | Sequence[bytes]:
        """Return head and body of the call. Raises LocalProtocolError when it cannot be written."""
        first, rest = self._template.of(call)
        name, body = check_id(call.id), call.body
        text = f"{first}{len(body)}\r\nFn-Call-Id: {name}\r\nFn-Deadline: {rfc3339_seconds(expires)}{rest}"
        head = text.encode("latin-1")
        return head + body if len(body) <= JOINED else (head, body)


def _head(request: Request) -> tuple[str, str]:
    """Return the head in two parts; length, id and deadline go between them."""
    first = ["POST /call HTTP/1.1", "Host: localhost"]
    if request.content_type:
        first.append(f"Content-Type: {request.content_type}")
    rest = ["Fn-Intent: httprequest", f"Fn-Http-Method: {request.method}", f"Fn-Http-Request-Url: {request.url}"]
    rest += [f"Fn-Http-H-{name}: {value}" for name, value in request.headers if name != "Content-Type"]
    first.append("Content-Length: ")
    return checked_latin("\r\n".join(first)), checked_latin("\r\n".join(["", *rest, "", ""]))
