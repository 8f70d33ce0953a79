"""How the outcome of a call is written: the body, the body as a line, or a JSON object with everything."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable

from hotfn_core.errors import CallError
from hotfn_core.model import Headers, Reply

Format = Callable[[int, Reply | CallError], bytes]
"""How one outcome is written: its index, counted from 0, and the reply or the error."""


def raw_body(_index: int, outcome: Reply | CallError) -> bytes:
    """Write the body as it is; nothing for a call without a reply."""
    return outcome.body if isinstance(outcome, Reply) else b""


def headed(_index: int, outcome: Reply | CallError) -> bytes:
    """Write status and headers, an empty line, and the body; nothing for a call without a reply."""
    if not isinstance(outcome, Reply):
        return b""
    lines = [str(outcome.status), *(f"{name}: {value}" for name, value in outcome.headers.items_all()), "", ""]
    return "\n".join(lines).encode("utf-8", "backslashreplace") + outcome.body


class LineBody:
    """Writes the body and, unless it ends with one, a newline; an empty line for a call without a reply.

    `longer` counts the bodies of several lines: they are not changed, and the lines of output and input no longer
    match.
    """

    def __init__(self) -> None:
        self.longer = 0

    def __call__(self, _index: int, outcome: Reply | CallError) -> bytes:
        if not isinstance(outcome, Reply):
            return b"\n"
        body = outcome.body
        if not body.endswith(b"\n"):
            body += b"\n"
        if body.find(b"\n") != len(body) - 1:
            self.longer += 1
        return body


_encode = json.JSONEncoder(ensure_ascii=False, separators=(",", ":")).encode


def json_line(index: int, outcome: Reply | CallError) -> bytes:
    """Write one JSON object for a call, with all that is known about it."""
    fields = _reply_fields(index, outcome) if isinstance(outcome, Reply) else _error_fields(index, outcome)
    # backslashreplace: a lone surrogate has no UTF-8, and its escape is what JSON has for it.
    return _encode(fields).encode("utf-8", "backslashreplace") + b"\n"


def _reply_fields(index: int, reply: Reply) -> dict[str, object]:
    return {
        "call_id": reply.call_id,
        "index": index,
        "status": reply.status,
        **_body_field(reply.body),
        "headers": _header_fields(reply.headers),
        "cold": reply.cold,
        "instance": reply.instance,
        "queued": round(reply.queued, 6),
        "started": round(reply.started, 6),
        "ran": round(reply.ran, 6),
        "error": None,
    }


def _error_fields(index: int, error: CallError) -> dict[str, object]:
    return {
        "call_id": error.call_id,
        "index": index,
        "status": error.status,
        "body": "",
        "headers": {},
        "cold": error.cold_reason != "",
        "instance": error.instance,
        "queued": round(error.queued, 6),
        "started": round(error.started, 6),
        "ran": round(error.ran, 6),
        "error": {"code": error.code, "message": error.message},
    }


def _body_field(body: bytes) -> dict[str, str]:
    try:
        return {"body": body.decode()}
    except UnicodeDecodeError:
        return {"body_base64": base64.b64encode(body).decode()}


def _header_fields(headers: Headers) -> dict[str, str | list[str]]:
    """Return name -> value; a name that came more than once has a list of values."""
    fields: dict[str, str | list[str]] = {}
    for name, value in headers.items_all():
        key = name.lower()
        known = fields.get(key)
        if known is None:
            fields[key] = value
        else:
            fields[key] = [*known, value] if isinstance(known, list) else [known, value]
    return fields
