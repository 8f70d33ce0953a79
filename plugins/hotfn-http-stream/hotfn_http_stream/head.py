"""What the head of a reply means for the caller of the function."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from hotfn_core.errors import RemoteProtocolError
from hotfn_core.protocol import ReplyHead
from hotfn_protocols.headers import connection_options, ends_here
from hotfn_protocols.http_head import Head, parse

_PREFIX = "fn-http-h-"
_STATUS = "fn-http-status"
_KNOWN = frozenset({200, 502, 504})


def parse_reply(raw: bytes) -> Head:
    """Read a complete head. Raises RemoteProtocolError when it is none, or has a status that means nothing here."""
    head = parse(raw)
    status = head.event.status
    if status < 200:  # an interim reply: another one follows
        return head
    if status not in _KNOWN:
        raise RemoteProtocolError(
            f"the function's server answered with the HTTP status {status}: 200, 502 and 504 have a meaning here; a "
            "status for the caller belongs in the field Fn-Http-Status"
        )
    headers = head.event.headers
    meant = status if status != 200 else _status(headers)
    return head._replace(event=ReplyHead(meant, tuple(_for_caller(headers))))


def _status(headers: Sequence[tuple[str, str]]) -> int:
    """Return the status that the function means: 200 without a word, or with one that is no status."""
    text = next((value for name, value in headers if name.lower() == _STATUS), "")
    number = int(text) if text.isascii() and text.isdigit() and len(text) == 3 else 0
    return max(number, 200)  # what is below is said in front of a reply, not by one


def _for_caller(headers: Sequence[tuple[str, str]]) -> Iterator[tuple[str, str]]:
    """Yield the function's own header fields, without their prefix, and the content type, of which there is one."""
    own = [(name[len(_PREFIX) :], value) for name, value in headers if name.lower().startswith(_PREFIX)]
    named = connection_options(own)
    typed = False
    for name, value in own:
        low = name.lower()
        if not name or low == "content-length" or ends_here(low, named) or (typed and low == "content-type"):
            continue
        typed = typed or low == "content-type"
        yield name, value
    if not typed:
        yield from [pair for pair in headers if pair[0].lower() == "content-type"][:1]
