"""The streams of one container: a connection that begins as an HTTP request and goes on as raw bytes."""

from __future__ import annotations

import asyncio
import contextlib
import json
import re
from collections.abc import Callable
from typing import Protocol, cast

import h11

from hotfn_core.errors import DriverError, DriverUnavailable

from .endpoint import Endpoint
from .framing import STDOUT, FrameDecoder, FramingError
from .rest import rest_of
from .trouble import NoSuchContainer, Refused, explain

HIGH_WATER = 64 * 1024
"""Bytes held for a container that does not take them, above which a producer should wait."""

UPGRADE_SECONDS = 30.0
MAX_ANSWER = 64 * 1024
"""Bytes of an engine's error answer that are read."""

_GAVE_UP = re.compile(rb"Error: (?:read|write) unixpacket \S+/attach: [^\n]*\n")
"""What podman itself writes among the stderr of a copy that ended before it had read its stdin. It hangs up then, and
what the copy wrote last may never come."""

CUT = "it ended before it had read its input, and its engine may have dropped what it wrote last"
"""Why the streams ended, in that case."""


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
        """Return what came behind the answer once it is there, None before.

        Raises Refused for another answer than the wanted one, FramingError for what is no answer.
        """
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

    def end(self) -> None:
        """The engine sends no more. Raises Refused if it has begun an answer, which may have no other end."""
        if self._status:
            raise refusal(self._status, self._body)

    def _take(self, event: object) -> None:
        """Take a part of an answer that is none of the wanted kind; its body says why."""
        if isinstance(event, h11.Response):
            self._status = event.status_code
            if self._status < 400:  # its body may be the streams, which do not end
                raise Refused(f"the engine does not switch to raw streams, and answers {self._status}", self._status)
        elif isinstance(event, h11.Data):
            self._body += bytes(event.data)
        if isinstance(event, h11.EndOfMessage) or len(self._body) > MAX_ANSWER:
            raise refusal(self._status, self._body[:MAX_ANSWER])


def refusal(status: int, body: bytes) -> Refused:
    """Return the error for an answer that is none of the wanted kind."""
    try:
        text = str(json.loads(body)["message"])
    except (ValueError, KeyError, TypeError, RecursionError):
        text = body[:500].decode("utf-8", "replace").strip() or f"HTTP status {status}"
    kind = NoSuchContainer if status == 404 else Refused
    return kind(f"the engine refuses to attach: {explain('podman', text)}", status)  # docker does nothing else in it


class Attachment(asyncio.Protocol):
    """The connection. `write` takes bytes for stdin, the sink gets what comes back.

    Everything is called on the event loop. Nothing of it raises; `streams_ended` tells of the end, whatever its cause.
    """

    def __init__(self, target: str, sink: Sink) -> None:
        self.upgraded: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        """Done when the engine has attached; else a DriverError."""
        self._podman = "/libpod/" in target
        self._sink = sink
        self._stdout = sink.stdout
        self._handshake: Handshake | None = Handshake(target)
        self._decoder = FrameDecoder()
        self._whole: Callable[[bytes], bytes | None] = _never  # the decoder's, once the engine has attached
        self._transport: asyncio.Transport | None = None
        self._why = ""
        self._aborted = False
        self._ended = False
        self._writing = True  # until the end of stdin
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
        """Never blocks and never raises; data behind the end of stdin, or for a connection that is gone, is dropped."""
        if self._writing and self._transport is not None:
            self._transport.write(data)

    def write_eof(self) -> None:
        """Close the container's stdin behind what was written. Idempotent."""
        if self._writing and self._transport is not None:
            self._writing = False
            with contextlib.suppress(OSError, RuntimeError):  # it is going just now; `streams_ended` tells
                self._transport.write_eof()

    def pause(self) -> None:
        """Take nothing from the engine. stderr comes over the same connection, and waits as well. Idempotent."""
        if not self._paused and not self._ended and self._transport is not None:
            self._transport.pause_reading()
            self._paused = True

    def resume(self) -> None:
        """Take it again. Idempotent."""
        if self._paused and not self._ended and self._transport is not None:
            self._paused = False
            self._transport.resume_reading()

    def abort(self) -> None:
        """Drop the connection; the sink hears no more of it. Idempotent."""
        self._sink = _NOBODY
        self._stdout = _NOBODY.stdout
        self._drop()

    # ---- what the event loop calls

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = connection = cast(
            "asyncio.Transport", transport
        )  # those of uvloop are not registered as such
        if self._aborted:
            connection.abort()
            return
        connection.set_write_buffer_limits(HIGH_WATER)
        assert self._handshake is not None
        connection.write(self._handshake.request)

    def data_received(self, data: bytes) -> None:
        payload = self._whole(data)
        if payload is not None:
            self._stdout(payload)
        else:
            self._take(data)

    def eof_received(self) -> bool:
        try:
            if self._handshake is not None:
                self._handshake.end()
        except Refused as error:
            self._broken(error)
        self._drop()  # to close it would wait until a copy that is gone has read what it was sent
        return True

    def connection_lost(self, exc: Exception | None) -> None:
        if (
            isinstance(exc, OSError)
            and self._transport is not None
            and not self._transport.get_extra_info("ssl_object")
        ):
            for data in rest_of(self._transport):
                self.data_received(data)
        self._ended, self._writing = True, False
        why = self._why or (str(exc) if exc else "")
        text = "the engine closed the connection instead of attaching"
        self._answer(DriverUnavailable(f"{text}: {why}" if why else text))
        if not why and not self._decoder.clean:
            why = "the connection ended in the middle of a frame"
        self._sink.streams_ended(why)

    def _take(self, data: bytes) -> None:
        """Take what is not one whole frame of stdout."""
        try:
            rest = data if self._handshake is None else self._attached(self._handshake.receive(data))
            pieces = self._decoder.feed(rest)
        except (Refused, FramingError) as error:
            self._broken(error)
            return
        for stream, piece in pieces:
            if stream == STDOUT:
                self._stdout(piece)
            elif self._podman and _GAVE_UP.fullmatch(piece):
                self._why = CUT
            else:
                self._sink.stderr(piece)

    def _attached(self, rest: bytes | None) -> bytes:
        """Return the first bytes of the streams, if the engine has attached."""
        if rest is None:
            return b""
        self._handshake = None
        self._whole = self._decoder.whole
        self._answer(None)
        return rest

    def _broken(self, error: Exception) -> None:
        self._why = str(error)
        self._answer(error if isinstance(error, DriverError) else DriverError(str(error)))
        self._drop()

    def _drop(self) -> None:
        """End the connection at once, in both directions; what the engine has not taken is dropped."""
        self._aborted, self._writing = True, False
        if self._transport is not None:
            self._transport.abort()

    def _answer(self, error: DriverError | None) -> None:
        if self.upgraded.done():
            return
        if error is None:
            self.upgraded.set_result(None)
        else:
            self.upgraded.set_exception(error)
            self.upgraded.exception()  # nobody may be waiting for it any more, which is no fault to be logged


def _never(data: bytes) -> None:
    """Nothing is a frame before the engine has attached."""


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
    attachment = Attachment(target, sink)
    try:
        await endpoint.connect(lambda: attachment)
        async with asyncio.timeout(UPGRADE_SECONDS):
            await attachment.upgraded
    except TimeoutError:
        attachment.abort()
        raise DriverUnavailable(f"{endpoint.engine} did not attach within {UPGRADE_SECONDS:g} s") from None
    except BaseException:
        attachment.abort()
        raise
    return attachment
