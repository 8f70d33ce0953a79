"""Writing a call as one event (CloudEvents 0.1) on one line, as compact and plain as the protocol `json` writes.

A call whose body is an event goes out as that event, with all that is in it. Any other call becomes the data of a new
one, as JSON: what is not JSON can be a text.
"""

from __future__ import annotations

from json.encoder import encode_basestring_ascii
from typing import NamedTuple

import msgspec

from hotfn_core.errors import LocalProtocolError
from hotfn_core.model import Call

from .deadline import rfc3339_millis
from .json_encode import MARKUP, protocol_of, quoted, text_of
from .media import EVENT, media_type
from .object_reply import UNDECODABLE, compact
from .request import Request, Template, check_id

_ZERO_TIME = "0001-01-01T00:00:00Z"
_TEXTS = (
    "cloudEventsVersion", "eventID", "source", "eventType", "eventTypeVersion", "eventTime", "schemaURL", "contentType",
)  # fmt: skip
# What an event gets that leaves them out, or has null there, so that every event has the same keys.
_BLANK = dict.fromkeys(_TEXTS, b'""') | {"eventTime": f'"{_ZERO_TIME}"'.encode(), "extensions": b"{}"}
_OBJECT = msgspec.json.Decoder(dict[str, msgspec.Raw])

_Object = dict[str, bytes]


class _Parts(NamedTuple):
    """What is constant in the lines of calls like this one. `start` goes from the event's source to the deadline."""

    is_event: bool
    is_text: bool
    start: str
    protocol: str


class Encoder:
    """Writes the requests of one connection. `max_head` bounds what the caller's URL and headers may take."""

    __slots__ = ("_template",)

    def __init__(self, max_head: int) -> None:
        self._template = Template(_parts, max_head)

    def encode(self, call: Call, expires: float) -> tuple[bytes, bool]:
        """Return the line of the call, and whether its body was an event.

        Raises LocalProtocolError when it cannot be written.
        """
        parts = self._template.of(call)
        name, deadline = quoted(check_id(call.id)), rfc3339_millis(expires)
        if parts.is_event:
            return _event(call.body, f'"{deadline}"', parts.protocol), True
        data = f',"data":{_data(call.body, parts.is_text)}' if call.body else ""
        line = (
            f'{{"cloudEventsVersion":"0.1","eventID":{name},{parts.start}{deadline}",'
            f'"protocol":{parts.protocol}}}{data}}}\n'
        )
        return line.encode("ascii"), False


def _parts(request: Request) -> _Parts:
    media = media_type(request.content_type)
    start = (
        f'"source":{quoted(request.url)},"eventType":"http","eventTypeVersion":"","eventTime":"{_ZERO_TIME}",'
        f'"schemaURL":"","contentType":{quoted(request.content_type)},"extensions":{{"deadline":"'
    )
    return _Parts(media == EVENT, media.startswith("text/"), start, protocol_of(request))


def _data(body: bytes, is_text: bool) -> str:
    """Return the body as JSON. Raises LocalProtocolError when it is none, and no text that could be a string of it."""
    try:
        return _ascii(body)
    except UNDECODABLE as error:
        if is_text and not isinstance(error, RecursionError):
            return quoted(text_of(body, "cloudevent"))
        raise LocalProtocolError(
            f"format cloudevent carries JSON, and the body is not JSON ({error}); a content type text/... says that it"
            " is a text; use format http for anything else"
        ) from None


def _event(body: bytes, deadline: str, protocol: str) -> bytes:
    """Return the line of a call whose body is an event. Raises LocalProtocolError when it is none."""
    try:
        event = {name: raw for name, raw in _object(_ascii(body)).items() if raw != b"null" or name not in _BLANK}
        own = _object(event.get("extensions", b"{}"))
    except UNDECODABLE as error:
        raise LocalProtocolError(f"the body is of type {EVENT}, and is no event: {error}") from None
    for name in _TEXTS:
        if not event.get(name, b'"').startswith(b'"'):
            raise LocalProtocolError(f"the body is of type {EVENT}, and its {name} is not a text")
    told = own | {"deadline": deadline.encode(), "protocol": protocol.encode()}
    return _written(_BLANK | event | {"extensions": _written(told)}) + b"\n"


def _object(data: str | bytes) -> _Object:
    """Return the values of an object, as JSON each."""
    return {name: bytes(raw) for name, raw in _OBJECT.decode(data).items()}


def _written(values: _Object) -> bytes:
    return b"{%s}" % b",".join(b"%s:%s" % (quoted(name).encode(), raw) for name, raw in values.items())


def _ascii(body: bytes) -> str:
    """Return JSON compact and in plain ASCII. Raises one of UNDECODABLE.

    What is to be escaped stands in its strings only, so all of it can be escaped as one string would be; what JSON
    itself is written with is kept from that by marks that no longer stand for themselves.
    """
    text = compact(body).decode()
    for char, escape in MARKUP:
        text = text.replace(char, escape)
    if text.isascii() and "\x7f" not in text:
        return text
    text = encode_basestring_ascii(text.replace("\\", "<").replace('"', ">"))[1:-1]
    return text.replace("<", "\\").replace(">", '"')
