"""The streams of one container: a connection that begins as an HTTP request and goes on as raw bytes."""

from __future__ import annotations

import asyncio
import json
from typing import Protocol

import h11

from hotfn_core.errors import DriverError, DriverUnavailable

from .endpoint import Endpoint, server_pid
from .framing import STDOUT, FrameDecoder, FramingError
from .trouble import NoSuchContainer, Refused

HIGH_WATER = 64 * 1024
"""Bytes held for a container that does not take them, above which a producer should wait."""

UPGRADE_SECONDS = 30.0
MAX_ANSWER = 64 * 1024
"""Bytes of an engine's error answer that are read."""


class Sink(Protocol):
    """Who takes what the container writes. Plain callbacks on the event loop."""

    def stdout(self, data: bytes) -> None: ...

    def stderr(self, data: bytes) -> None: ...

    def streams_ended(self, why: str) -> None:
        """No byte comes any more, in either direction. `why` is "" when the engine closed the connection in order."""


class Handshake:
    """The request to attach and its answer. Sans-IO."""

    def __init__(self, target: str) -> None:
        self._http = h11.Connection(h11.CLIENT)
        headers = [("Host", "localhost"), ("Connection", "Upgrade"), ("Upgrade", "tcp"), ("Content-Length", "0")]
        request = h11.Request(method="POST", target=target, headers=headers)
        self.request: bytes = (self._http.send(request) or b"") + (self._http.send(h11.EndOfMessage()) or b"")
        self._status = 0
        self._body = b""

    def receive(self, data: bytes) -> bytes | None:
        """Return what came behind the answer once it is there, None before. Raises Refused, FramingError."""
        self._http.receive_data(data)
        try:
            while (event := self._http.next_event()) not in (h11.NEED_DATA, h11.PAUSED):
                if isinstance(event, h11.InformationalResponse) and event.status_code == 101:
                    rest: bytes = self._http.trailing_data[0]
                    return rest
                self._take(event)
        except h11.RemoteProtocolError as error:
            raise FramingError(f"the engine's answer to attach is no HTTP: {error}") from error
        return None

    def _take(self, event: object) -> None:
        if isinstance(event, h11.Response):
            self._status = event.status_code
        elif isinstance(event, h11.Data):
            self._body = (self._body + bytes(event.data))[:MAX_ANSWER]
        if isinstance(event, h11.EndOfMessage | h11.ConnectionClosed):
            raise refusal(self._status, self._body)


def refusal(status: int, body: bytes) -> Refused:
    """Return the error for an answer that is none of the wanted kind."""
    try:
        text = str(json.loads(body)["message"])
    except (ValueError, KeyError, TypeError):
        text = body[:500].decode("utf-8", "replace").strip() or f"HTTP status {status}"
    kind = NoSuchContainer if status == 404 else Refused
    return kind(f"the engine refuses to attach: {text}", status)


class Attachment(asyncio.Protocol):
    """The connection. `write` takes bytes for stdin, the sink gets what comes back."""

    def __init__(self, target: str, sink: Sink) -> None:
        loop = asyncio.get_running_loop()
        self.upgraded: asyncio.Future[None] = loop.create_future()
        self.server: int | None = None
        """The pid of the engine, where that can be told: another one later is another run of the engine."""
        self._sink = sink
        self._handshake: Handshake | None = Handshake(target)
        self._decoder = FrameDecoder()
        self._transport: asyncio.Transport | None = None
        self._why = ""
        self._ended = False
        self._paused = False

    # ---- what the container calls

    @property
    def held(self) -> int:
        """Bytes that the engine has not taken."""
        return 0 if self._ended or self._transport is None else self._transport.get_write_buffer_size()

    @property
    def ended(self) -> bool:
        """Whether the connection is gone."""
        return self._ended

    def write(self, data: bytes) -> None:
        """Never blocks and never raises; data for a connection that is gone is dropped."""
        if not self._ended and self._transport is not None:
            self._transport.write(data)

    def write_eof(self) -> None:
        """Close the container's stdin behind what was written. Idempotent."""
        if not self._ended and self._transport is not None and self._transport.can_write_eof():
            try:
                self._transport.write_eof()
            except (OSError, RuntimeError):  # it is going just now; `streams_ended` tells
                return

    def pause(self) -> None:
        """Take nothing from the engine. stderr comes over the same connection, and waits as well."""
        if not self._paused and not self._ended and self._transport is not None:
            self._transport.pause_reading()
            self._paused = True

    def resume(self) -> None:
        """Take it again."""
        if self._paused and not self._ended and self._transport is not None:
            self._paused = False
            self._transport.resume_reading()

    def abort(self) -> None:
        """Drop the connection; the sink hears no more of it."""
        self._sink = _NOBODY
        if self._transport is not None:
            self._transport.abort()

    # ---- what the event loop calls

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        transport.set_write_buffer_limits(HIGH_WATER)
        self.server = server_pid(transport.get_extra_info("socket"))
        assert self._handshake is not None
        transport.write(self._handshake.request)

    def data_received(self, data: bytes) -> None:
        try:
            if self._handshake is not None:
                rest = self._handshake.receive(data)
                if rest is None:
                    return
                self._handshake = None
                self._answer(None)
                data = rest
            for stream, piece in self._decoder.feed(data):
                if stream == STDOUT:
                    self._sink.stdout(piece)
                else:
                    self._sink.stderr(piece)
        except (Refused, FramingError) as error:
            self._broken(error)

    def eof_received(self) -> bool:
        assert self._transport is not None
        self._transport.abort()  # to close it would wait until a copy that is gone has read what it was sent
        return True

    def connection_lost(self, exc: Exception | None) -> None:
        self._ended = True
        self._answer(DriverUnavailable("the engine closed the connection instead of attaching"))
        why = self._why or (str(exc) if exc else "")
        if not why and not self._decoder.clean:
            why = "the connection ended in the middle of a frame"
        self._sink.streams_ended(why)

    def _broken(self, error: Exception) -> None:
        self._why = str(error)
        self._answer(error if isinstance(error, DriverError) else DriverError(str(error)))
        assert self._transport is not None
        self._transport.abort()

    def _answer(self, error: DriverError | None) -> None:
        if self.upgraded.done():
            return
        if error is None:
            self.upgraded.set_result(None)
        else:
            self.upgraded.set_exception(error)


class _Nobody:
    def stdout(self, data: bytes) -> None:
        """Drop it."""

    def stderr(self, data: bytes) -> None:
        """Drop it."""

    def streams_ended(self, why: str) -> None:
        """Drop it."""


_NOBODY = _Nobody()


async def attach(endpoint: Endpoint, target: str, sink: Sink) -> Attachment:
    """Attach to a container. Raises DriverError; then, and when it is cancelled, no connection is left."""
    attachment = await endpoint.connect(lambda: Attachment(target, sink))
    try:
        async with asyncio.timeout(UPGRADE_SECONDS):
            await attachment.upgraded
    except TimeoutError:
        attachment.abort()
        raise DriverUnavailable(f"{endpoint.engine} did not attach within {UPGRADE_SECONDS:g} s") from None
    except BaseException:
        attachment.abort()
        raise
    return attachment
