"""A pull: one request to the engine, answered by a stream of JSON lines that may end with an error.

It is a connection on the event loop, not a thread: a registry that hangs holds nothing that others need, and to cancel
a pull is to hang up.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import cast

import h11

from hotfn_core.errors import DriverUnavailable

from .endpoint import Endpoint

MAX_LINE = 64 * 1024
"""Bytes of one line of an engine's report that are looked at."""

MAX_TEXT = 2_000
"""Characters of an engine's own words that an error has."""


@dataclass(frozen=True)
class PullRequest:
    """What to ask an engine for. `headers` may hold a login."""

    target: str
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)


class Report:
    """What an engine says while it pulls. Sans-IO. `error` is "" while nothing went wrong, `last` is its last news."""

    def __init__(self) -> None:
        self.error = ""
        self.last = ""
        self._held = b""
        self._skipping = False  # the rest of a line that is too long

    def feed(self, data: bytes) -> None:
        """Take what came. Whole, in pieces or byte by byte is the same."""
        *lines, rest = (self._held + data).split(b"\n")
        for line in lines:
            if not self._skipping:
                self._take(line)
            self._skipping = False
        self._skipping |= len(rest) > MAX_LINE
        self._held = b"" if self._skipping else rest

    def end(self) -> None:
        """The engine says no more."""
        if not self._skipping:
            self._take(self._held)
        self._held = b""

    def _take(self, line: bytes) -> None:
        try:
            news = json.loads(line) if len(line) <= MAX_LINE else None
        except (ValueError, RecursionError):
            return
        if isinstance(news, dict):
            self.error = _error(news) or self.error
            self.last = _news(news) or self.last


def _error(news: Mapping[str, object]) -> str:
    detail = news.get("errorDetail")
    text = detail.get("message") if isinstance(detail, dict) else None
    return str(text or news.get("error") or "").strip()[:MAX_TEXT]


def _news(news: Mapping[str, object]) -> str:
    text = str(news.get("stream") or news.get("status") or "").strip()[:200]
    layer = news.get("id")
    return f"{text} {layer}" if text and isinstance(layer, str) else text


@dataclass(frozen=True)
class Outcome:
    """How a request ended: the status of the answer and the engine's error text, "" when the image is there."""

    status: int
    error: str


class Download(asyncio.Protocol):
    """The connection of one pull. `outcome` is set when it is over."""

    def __init__(self, request: PullRequest, report: Report) -> None:
        self.outcome: asyncio.Future[Outcome] = asyncio.get_running_loop().create_future()
        self._request = request
        self._report = report
        self._http = h11.Connection(h11.CLIENT)
        self._transport: asyncio.Transport | None = None
        self._status = 0
        self._refusal = b""

    def abort(self) -> None:
        """Hang up."""
        if self._transport is not None:
            self._transport.abort()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)  # those of uvloop are not registered as such
        headers = {"Host": "localhost", "Connection": "close", "Content-Length": "0", **self._request.headers}
        request = h11.Request(method="POST", target=self._request.target, headers=list(headers.items()))
        self._transport.write((self._http.send(request) or b"") + (self._http.send(h11.EndOfMessage()) or b""))

    def data_received(self, data: bytes) -> None:
        self._receive(data)

    def eof_received(self) -> None:
        self._receive(b"")

    def connection_lost(self, exc: Exception | None) -> None:
        self._broken(str(exc) if exc else "it closed the connection before the pull was over")

    def _receive(self, data: bytes) -> None:
        if self.outcome.done():
            return
        try:
            self._http.receive_data(data)
            while (event := self._http.next_event()) is not h11.NEED_DATA and event is not h11.PAUSED:
                self._take(event)
                if self.outcome.done():
                    return
        except h11.RemoteProtocolError as error:
            self._broken(f"its answer breaks off or is no HTTP: {error}")

    def _take(self, event: object) -> None:
        if isinstance(event, h11.Response):
            self._status = event.status_code
        elif isinstance(event, h11.Data):
            if self._status == 200:
                self._report.feed(bytes(event.data))
            else:
                self._refusal = (self._refusal + bytes(event.data))[:MAX_LINE]
        elif isinstance(event, h11.EndOfMessage | h11.ConnectionClosed):
            self._over()

    def _over(self) -> None:
        self._report.end()
        text = self._report.error if self._status == 200 else refusal_text(self._status, self._refusal)
        self.outcome.set_result(Outcome(self._status, text))
        self.abort()

    def _broken(self, why: str) -> None:
        if not self.outcome.done():
            self.outcome.set_exception(DriverUnavailable(why))
        self.abort()


def refusal_text(status: int, body: bytes) -> str:
    """Return the error text of an answer that is none of the wanted kind; never empty."""
    try:
        text = str(json.loads(body)["message"])
    except (ValueError, KeyError, TypeError):
        text = body.decode("utf-8", "replace")
    return text.strip()[:MAX_TEXT] or f"HTTP status {status}"


async def download(endpoint: Endpoint, request: PullRequest, report: Report) -> Outcome:
    """Have an engine pull. Raises DriverUnavailable when it goes away meanwhile. Cancelling hangs up."""
    connection = await endpoint.connect(lambda: Download(request, report))
    try:
        return await connection.outcome
    finally:
        connection.abort()
