"""TLS over a raw connection, with ends of stdin and stdout of their own: asyncio's TLS cannot close one direction."""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from dataclasses import dataclass
from functools import cached_property
from typing import Any, cast

from .rest import rest_of

CHUNK = 256 * 1024
"""Bytes that are encrypted or decrypted at a time."""


@dataclass(frozen=True)
class Tls:
    """What a connection is secured with: paths of PEM files, "" for none. Without `ca` the system's own are trusted."""

    ca: str = ""
    cert: str = ""
    key: str = ""
    verify: bool = True

    @cached_property
    def context(self) -> ssl.SSLContext:
        """The same for Python. Raises OSError, of which ssl.SSLError is one, when the files are of no use."""
        context = ssl.create_default_context(cafile=self.ca or None)
        if not self.verify:
            context.check_hostname = False
            context.verify_mode = ssl.CERT_NONE
        if self.cert:
            context.load_cert_chain(
                self.cert, self.key or None, password=lambda: ""
            )  # a key with a password is not asked for
        return context


class TlsSession:
    """One side of a TLS connection, the client's. Sans-IO: what is to be sent is in `outgoing`."""

    def __init__(self, context: ssl.SSLContext, host: str) -> None:
        self.ready = False
        """Whether both sides have agreed. Before that nothing may be written."""
        self.ended = False
        """Whether the other side has said that it sends no more."""
        self._incoming, self._outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self.tls = context.wrap_bio(self._incoming, self._outgoing, server_hostname=host)
        self._shake()

    def outgoing(self) -> bytes:
        """Return what is to be sent, and forget it."""
        return self._outgoing.read()

    def receive(self, data: bytes) -> list[bytes]:
        """Take what came and return what it says. Raises ssl.SSLError; then the alert is in `outgoing`."""
        self._incoming.write(data)
        if not self.ready:
            self._shake()
        pieces = []
        while piece := self._read():
            pieces.append(piece)
        return pieces

    def write(self, data: bytes | memoryview) -> None:
        """Encrypt. Raises ssl.SSLError."""
        self.tls.write(data)

    def write_eof(self) -> None:
        """Say that we send no more; the other side may go on. Raises ssl.SSLError."""
        with contextlib.suppress(ssl.SSLWantReadError):  # it would like to hear the other side's end as well
            self.tls.unwrap()

    def _shake(self) -> None:
        with contextlib.suppress(ssl.SSLWantReadError):
            self.tls.do_handshake()
            self.ready = True

    def _read(self) -> bytes:
        if not self.ready:
            return b""
        try:
            piece = self.tls.read(CHUNK)
        except ssl.SSLWantReadError:
            return b""
        except ssl.SSLZeroReturnError:  # both sides have said their end; b"" if only the other one has
            piece = b""
        self.ended = not piece
        return piece


class TlsStream(asyncio.Transport, asyncio.Protocol):
    """Between a raw connection and a protocol: the protocol of the one and the transport of the other.

    `connection_made` of the protocol is called when both sides have agreed. An end of the raw connection that the other
    side did not announce is an error for the protocol: TLS can tell. Not all of asyncio's transport is here, and
    `pause_writing` is not passed on.
    """

    def __init__(self, protocol: asyncio.Protocol, context: ssl.SSLContext, host: str) -> None:
        super().__init__()
        self.ready: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        """Done when `connection_made` was called; else an OSError."""
        self._protocol = protocol
        self._session = TlsSession(context, host)
        self._raw: asyncio.Transport | None = None
        self._closing = False
        self._error: Exception | None = None

    # ---- the transport

    def write(self, data: bytes | bytearray | memoryview[Any]) -> None:
        view = memoryview(data)
        for at in range(0, len(view), CHUNK):
            if not self._closing:
                self._send(view[at : at + CHUNK])

    def write_eof(self) -> None:
        if not self._closing:
            try:
                self._session.write_eof()
            except ssl.SSLError as error:
                self._fail(error)
            self._flush()

    def can_write_eof(self) -> bool:
        return True

    def is_closing(self) -> bool:
        return self._closing

    def abort(self) -> None:
        self._closing = True
        if self._raw is not None:
            self._raw.abort()

    def close(self) -> None:
        self.abort()

    def pause_reading(self) -> None:
        """What was read already still comes, at most what one read of the raw connection gives."""
        if self._raw is not None:
            self._raw.pause_reading()

    def resume_reading(self) -> None:
        if self._raw is not None:
            self._raw.resume_reading()

    def get_write_buffer_size(self) -> int:
        return 0 if self._raw is None else self._raw.get_write_buffer_size()

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        if self._raw is not None:
            self._raw.set_write_buffer_limits(high, low)

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        if name == "ssl_object":
            return self._session.tls
        return default if self._raw is None else self._raw.get_extra_info(name, default)

    # ---- the protocol

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._raw = cast("asyncio.Transport", transport)
        if self._closing:
            self._raw.abort()
        self._flush()

    def data_received(self, data: bytes) -> None:
        try:
            pieces = self._session.receive(data)
        except ssl.SSLError as error:
            self._flush()  # an alert that tells the other side
            self._fail(error)
            return
        self._flush()
        if self._session.ready and not self.ready.done():
            self.ready.set_result(None)
            self._protocol.connection_made(self)
        for piece in pieces:
            if not self._closing:
                self._protocol.data_received(piece)
        if self._session.ended and not self._closing:
            self._protocol.eof_received()
            self.abort()

    def eof_received(self) -> bool:
        self._fail(ConnectionResetError("the connection broke off"))
        return True

    def connection_lost(self, exc: Exception | None) -> None:
        if isinstance(exc, OSError) and self._raw is not None:
            for data in rest_of(self._raw):
                self.data_received(data)
        self._closing = True
        error = self._error or exc
        if self.ready.done() and not self.ready.cancelled() and self.ready.exception() is None:
            self._protocol.connection_lost(error)
        elif not self.ready.done():
            self.ready.set_exception(error or ConnectionResetError("the connection broke off"))
            self.ready.exception()  # nobody may be waiting for it any more, which is no fault to be logged

    def _send(self, data: memoryview) -> None:
        try:
            self._session.write(data)
        except ssl.SSLError as error:
            self._fail(error)
        self._flush()

    def _flush(self) -> None:
        if self._raw is not None and not self._closing and (data := self._session.outgoing()):
            self._raw.write(data)

    def _fail(self, error: Exception) -> None:
        self._error = self._error or error
        self._closing = True
        if self._raw is None:
            return
        if self.ready.done():
            self._raw.abort()
        else:
            self._raw.close()  # an alert may be on its way that tells the other side why
