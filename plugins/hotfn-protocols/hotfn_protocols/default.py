"""The protocol `default`: one process per call.

The body is the process's stdin, all it writes to stdout until it exits is the reply's, and the rest of the call is in
its environment. It can set neither status nor headers: exit code 0 is status 200, any other is no reply at all.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import ClassVar

from hotfn_core.errors import LocalProtocolError, ReplyTooLarge
from hotfn_core.model import Call, Exit
from hotfn_core.protocol import Connection, Event, IOProtocol, Limits, ReplyBody, ReplyEnd, ReplyHead

from .deadline import rfc3339_millis
from .request import check_id, describe

# Linux takes 128 KiB for one variable, and in all a quarter of the stack's limit, which argv shares.
MAX_VARIABLE = 128 * 1024 - 1
MAX_ENVIRONMENT = 512 * 1024


class DefaultProtocol(IOProtocol):
    """See the module."""

    name: ClassVar[str] = "default"
    hot: ClassVar[bool] = False

    def connect(self, limits: Limits) -> Connection:
        return DefaultConnection(limits)

    def call_environment(self, call: Call, expires: float) -> Mapping[str, str]:
        request = describe(call, MAX_ENVIRONMENT)
        env = {
            "FN_METHOD": request.method,
            "FN_REQUEST_URL": request.url,
            "FN_CALL_ID": check_id(call.id),
            "FN_DEADLINE": rfc3339_millis(expires),
        }
        for name, value in request.headers:
            label = f"FN_HEADER_{name}"
            env[label] = f"{env[label]}, {value}" if label in env else value
        return _checked_size(env)


def _checked_size(env: Mapping[str, str]) -> Mapping[str, str]:
    total = 0
    for label, value in env.items():
        size = len(label) + len("=") + len(value.encode()) + len("\0")
        if size > MAX_VARIABLE:
            raise LocalProtocolError(_too_large(label, size, MAX_VARIABLE))
        total += size
    if total > MAX_ENVIRONMENT:
        raise LocalProtocolError(_too_large("all of them together", total, MAX_ENVIRONMENT))
    return env


def _too_large(what: str, size: int, limit: int) -> str:
    return (
        f"format default hands a call's headers over as environment variables, and {what[:80]} takes {size} bytes,"
        f" more than {limit}; send less in headers or use format http"
    )


class DefaultConnection(Connection):
    """Gathers stdout until the exit, which alone says whether it is a reply."""

    __slots__ = ("_body", "_max_body")

    def __init__(self, limits: Limits) -> None:
        self._max_body = limits.max_body
        self._body = bytearray()

    def encode(self, call: Call, expires: float) -> bytes:
        return call.body

    def receive(self, data: bytes) -> Sequence[Event]:
        if len(self._body) + len(data) > self._max_body:
            raise ReplyTooLarge(f"the function wrote more than {self._max_body} bytes to stdout")
        self._body += data
        return ()

    def receive_eof(self, exit: Exit) -> Sequence[Event]:
        if exit.code != 0 or exit.oom or exit.signal is not None:
            return ()
        head, end = ReplyHead(200, ()), ReplyEnd(reusable=False)
        return [head, ReplyBody(bytes(self._body)), end] if self._body else [head, end]
