"""Writing a call as an HTTP/1.1 request.

Host, User-Agent and Content-Length come first, all others sorted by name. There is always a Content-Length, 0 for a
call without a body, also for GET: functions exist that read to the end of stdin without it, and it never ends.
"""

from __future__ import annotations

from collections.abc import Sequence

from hotfn_core.errors import LocalProtocolError
from hotfn_core.model import Call

from .deadline import rfc3339_millis
from .request import Request, Template, check_id

USER_AGENT = "hotfn"

# A small body goes out with the head in one write; a copy of more costs more than the second write.
JOINED = 64 * 1024

# Stands in a head for what differs from call to call; no checked value holds it.
_HOLE = "\0"


class Encoder:
    """Writes the requests of one connection. `max_head` bounds what the caller's URL and headers may take."""

    __slots__ = ("_template",)

    def __init__(self, max_head: int) -> None:
        self._template = Template(_head, max_head)

    def encode(self, call: Call, expires: float) -> bytes | Sequence[bytes]:
        """Return head and body of the call. Raises LocalProtocolError when it cannot be written."""
        line, to_id, to_deadline, to_task, rest = self._template.of(call)
        name, body = check_id(call.id), call.body
        deadline = rfc3339_millis(expires)
        text = f"{line}{len(body)}{to_id}{name}{to_deadline}{deadline}{to_task}{name}{rest}"
        head = text.encode("latin-1")
        return head + body if len(body) <= JOINED else (head, body)


def _head(request: Request) -> tuple[str, ...]:
    """Return the head in five parts: Content-Length, Fn_call_id, Fn_deadline and Task-Id go between them."""
    agent = next((value for name, value in request.headers if name == "User-Agent"), USER_AGENT)
    pairs = [pair for pair in request.headers if pair[0] != "User-Agent"]
    pairs += [
        ("Fn_call_id", _HOLE),
        ("Fn_deadline", _HOLE),
        ("Fn_method", request.method),
        ("Fn_request_url", request.url),
        ("Task-Id", _HOLE),
    ]
    pairs.sort(key=lambda pair: pair[0])
    first = [("Host", request.host), ("User-Agent", agent), ("Content-Length", _HOLE)]
    lines = [f"{request.method} {request.target} HTTP/1.1", *(f"{name}: {value}" for name, value in first + pairs)]
    return tuple(checked_latin("\r\n".join([*lines, "", ""])).split(_HOLE))


def checked_latin(text: str) -> str:
    """Return the text. Raises LocalProtocolError for what no header can hold."""
    try:
        text.encode("latin-1")
    except UnicodeEncodeError as error:
        culprit = text[error.start : error.end]
        raise LocalProtocolError(f"{culprit!r} cannot be sent in an HTTP header; percent-encode it") from None
    return text
