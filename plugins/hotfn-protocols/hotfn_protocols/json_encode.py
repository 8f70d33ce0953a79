"""Writing a call as one line of JSON.

The line is compact and plain ASCII: all else is escaped, and so are `<`, `>`, `&` and `'`, because readers exist
that stop at a raw byte above 127 or take an apostrophe for a quote.
"""

from __future__ import annotations

from json.encoder import encode_basestring_ascii

from hotfn_core.errors import LocalProtocolError
from hotfn_core.model import Call

from .deadline import rfc3339_millis
from .request import Request, Template, check_id

# Escaped besides what JSON asks for.
MARKUP = (("<", "\\u003c"), (">", "\\u003e"), ("&", "\\u0026"), ("'", "\\u0027"))


class Encoder:
    """Writes the requests of one connection. `max_head` bounds what the caller's URL and headers may take."""

    __slots__ = ("_template",)

    def __init__(self, max_head: int) -> None:
        self._template = Template(_tail, max_head)

    def encode(self, call: Call, expires: float) -> bytes:
        """Return the line of the call. Raises LocalProtocolError when it cannot be written."""
        tail = self._template.of(call)
        name, body = quoted(check_id(call.id)), quoted(text_of(call.body, "json"))
        line = f'{{"call_id":{name},"deadline":"{rfc3339_millis(expires)}","body":{body}{tail}'
        return line.encode("ascii")


def quoted(text: str) -> str:
    """Return the text as a JSON string in plain ASCII."""
    safe = encode_basestring_ascii(text)
    for char, escape in MARKUP:
        safe = safe.replace(char, escape)
    return safe


def text_of(body: bytes, wire: str) -> str:
    """Return the body as text. Raises LocalProtocolError when it is not UTF-8, and names the format that needs it."""
    try:
        return body.decode()
    except UnicodeDecodeError as error:
        raise LocalProtocolError(
            f"format {wire} carries text only, and the body is not valid UTF-8 (byte {error.start}:"
            f" {error.reason}); use format http for binary bodies"
        ) from None


def protocol_of(request: Request) -> str:
    """Return what a function is told about the client's request, as a JSON object."""
    fields: dict[str, list[str]] = {}
    for name, value in request.headers:
        fields.setdefault(name, []).append(quoted(value))
    headers = ",".join(f"{quoted(name)}:[{','.join(values)}]" for name, values in fields.items())
    return (
        f'{{"type":"http","method":{quoted(request.method)},"request_url":{quoted(request.url)},'
        f'"headers":{{{headers}}}}}'
    )


def _tail(request: Request) -> str:
    """Return all of the line that stands behind the body."""
    return f',"content_type":{quoted(request.content_type)},"protocol":{protocol_of(request)}}}\n'
