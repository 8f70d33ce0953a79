"""TLS with an end for each direction: without IO, and over real connections on both event loops."""

from __future__ import annotations

import asyncio
import os
import socket
import ssl
import struct
import threading
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from hotfn_containers.attach import Attachment, attach
from hotfn_containers.endpoint import Endpoint
from hotfn_containers.framing import STDOUT
from hotfn_containers.tls import CHUNK, Tls, TlsSession
from hotfn_core.errors import DriverUnavailable

from .loops import LOOPS, run_on

SWITCHED = b"HTTP/1.1 101 UPGRADED\r\nConnection: Upgrade\r\nUpgrade: tcp\r\n\r\n"
VERSIONS = {"1.2": ssl.TLSVersion.TLSv1_2, "1.3": ssl.TLSVersion.TLSv1_3}


def frame(stream: int, payload: bytes) -> bytes:
    return struct.pack(">BxxxI", stream, len(payload)) + payload


def ours(folder: Path, **changes: Any) -> Tls:
    files = {"ca": str(folder / "ca.pem"), "cert": str(folder / "cert.pem"), "key": str(folder / "key.pem")}
    return Tls(**files | changes)


class Server:
    """The other side, without IO."""

    def __init__(self, folder: Path, version: ssl.TLSVersion = ssl.TLSVersion.TLSv1_3) -> None:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(folder / "server.pem", folder / "server-key.pem")
        context.load_verify_locations(folder / "ca.pem")
        context.verify_mode = ssl.CERT_REQUIRED
        context.minimum_version = context.maximum_version = version
        self.incoming, self.outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self.tls = context.wrap_bio(self.incoming, self.outgoing, server_side=True)
        self.ready = False
        self.heard = b""
        self.ended = False

    def take(self, data: bytes) -> None:
        """Take bytes of the client. Raises ssl.SSLError."""
        self.incoming.write(data)
        try:
            if not self.ready:
                self.tls.do_handshake()
                self.ready = True
            while piece := self.tls.read(65536):
                self.heard += piece
            self.ended = True
        except ssl.SSLWantReadError:
            return
        except ssl.SSLZeroReturnError:
            self.ended = True

    def end(self) -> None:
        """Say that nothing comes any more."""
        try:
            self.tls.unwrap()
        except ssl.SSLWantReadError:
            return


class Pair:
    """A session of ours and the other side, joined by hand. `size` is how many bytes go over at once."""

    def __init__(self, client: TlsSession, server: Server, size: int) -> None:
        self.client = client
        self.server = server
        self.heard = b""
        self._size = size

    def exchange(self) -> None:
        """Carry what there is until both are silent."""
        while (up := self.client.outgoing()) + (down := self.server.outgoing.read()):
            for cut in self._cuts(up):
                self.server.take(cut)
            for cut in self._cuts(down):
                self.heard += b"".join(self.client.receive(cut))

    def _cuts(self, data: bytes) -> Iterator[bytes]:
        return (data[at : at + self._size] for at in range(0, len(data), self._size))


@pytest.fixture(params=list(VERSIONS))
def version(request: pytest.FixtureRequest) -> ssl.TLSVersion:
    return VERSIONS[request.param]


@pytest.fixture(params=[1, 7, 1_000_000])
def pair(request: pytest.FixtureRequest, certificates: Path, version: ssl.TLSVersion) -> Pair:
    """Both sides, agreed."""
    both = Pair(TlsSession(ours(certificates).context, "localhost"), Server(certificates, version), request.param)
    assert not both.client.ready
    both.exchange()
    assert both.client.ready
    assert both.server.ready
    return both


# ---- without IO


def test_bytes_of_both_directions(pair: Pair) -> None:
    pair.client.write(b"a call")
    pair.server.tls.write(b"a reply")
    pair.exchange()
    assert pair.server.heard == b"a call"
    assert pair.heard == b"a reply"
    assert not pair.client.ended


def test_a_direction_that_has_ended_leaves_the_other_one(pair: Pair) -> None:
    pair.client.write(b"the last")
    pair.client.write_eof()
    pair.exchange()
    assert (pair.server.heard, pair.server.ended) == (b"the last", True)
    for number in range(3):
        pair.server.tls.write(b"%d goes on;" % number)
        pair.exchange()
    assert pair.heard == b"0 goes on;1 goes on;2 goes on;"
    assert not pair.client.ended
    pair.server.end()
    pair.exchange()
    assert pair.client.ended


def test_an_end_that_crosses_bytes(pair: Pair) -> None:
    pair.server.tls.write(b"on its way")
    pair.client.write_eof()
    pair.exchange()
    assert (pair.heard, pair.client.ended) == (b"on its way", False)


def test_the_other_sides_end_comes_with_its_last_bytes(pair: Pair) -> None:
    pair.server.tls.write(b"the last")
    pair.server.end()
    pair.exchange()
    assert (pair.heard, pair.client.ended) == (b"the last", True)
    pair.client.write_eof()
    assert pair.client.receive(b"") == []


def test_more_than_a_record(certificates: Path, version: ssl.TLSVersion) -> None:
    both = Pair(TlsSession(ours(certificates).context, "localhost"), Server(certificates, version), 50_000)
    both.exchange()
    both.client.write(b"x" * 1_000_000)
    both.server.tls.write(b"y" * 1_000_000)
    both.exchange()
    assert both.server.heard == b"x" * 1_000_000
    assert both.heard == b"y" * 1_000_000


@pytest.mark.parametrize(
    ("changes", "host", "why"),
    [({"ca": "other-ca.pem"}, "localhost", "self-signed|local issuer"), ({}, "elsewhere", "Hostname mismatch")],
)
def test_a_server_that_is_not_the_right_one(certificates: Path, changes: dict[str, str], host: str, why: str) -> None:
    files = {kind: str(certificates / file) for kind, file in changes.items()}
    both = Pair(TlsSession(ours(certificates, **files).context, host), Server(certificates), 1_000_000)
    with pytest.raises(ssl.SSLCertVerificationError, match=why):
        both.exchange()
    assert both.client.outgoing(), "no alert"


def test_unless_it_is_not_asked_who_it_is(certificates: Path) -> None:
    context = ours(certificates, ca="", verify=False).context
    both = Pair(TlsSession(context, "elsewhere"), Server(certificates), 1_000_000)
    both.exchange()
    assert both.client.ready


def test_what_is_no_tls_is_an_error(certificates: Path) -> None:
    with pytest.raises(ssl.SSLError):
        TlsSession(ours(certificates).context, "localhost").receive(b"HTTP/1.1 400 Bad Request\r\n\r\n")


def test_bytes_that_were_changed_on_the_way_are_an_error(pair: Pair) -> None:
    pair.server.tls.write(b"a reply")
    data = bytearray(pair.server.outgoing.read())
    data[-1] ^= 1
    with pytest.raises(ssl.SSLError):
        pair.client.receive(bytes(data))


def test_the_files_are_read_once(certificates: Path) -> None:
    tls = ours(certificates)
    assert tls.context is tls.context


def test_a_key_with_a_password_is_an_error_and_no_question(certificates: Path, tmp_path: Path) -> None:
    locked = tmp_path / "key.pem"
    locked.write_text("-----BEGIN ENCRYPTED PRIVATE KEY-----\nMAA=\n-----END ENCRYPTED PRIVATE KEY-----\n")
    with pytest.raises(ssl.SSLError):
        _ = ours(certificates, key=str(locked)).context


# ---- over connections


class Sink:
    def __init__(self) -> None:
        self.out = b""
        self.end: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        self.news = asyncio.Event()

    def stdout(self, data: bytes) -> None:
        self.out += data
        self.news.set()

    def stderr(self, data: bytes) -> None:
        raise AssertionError(data)

    def streams_ended(self, why: str) -> None:
        self.end.set_result(why)

    async def until(self, size: int) -> None:
        while len(self.out) < size:
            self.news.clear()
            await self.news.wait()


class Peer:
    """The engine's side of a connection."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, server: Server) -> None:
        self.reader = reader
        self.writer = writer
        self.server = server

    async def until(self, condition: Callable[[Server], bool]) -> None:
        """Read until something is so, or the raw connection has ended."""
        while not condition(self.server) and (data := await self.reader.read(65536)):
            self.server.take(data)
            self.flush()
        assert condition(self.server)

    async def attach(self) -> None:
        await self.until(lambda server: b"\r\n\r\n" in server.heard)
        self.server.heard = b""
        self.send(SWITCHED)

    def send(self, data: bytes) -> None:
        self.server.tls.write(data)
        self.flush()

    def end(self) -> None:
        self.server.end()
        self.flush()

    def flush(self) -> None:
        self.writer.write(self.server.outgoing.read())


class Stand:
    """A stand-in for an engine that speaks TLS, and hands out its connections."""

    def __init__(self, folder: Path, port: int) -> None:
        self.folder = folder
        self.port = port
        self.peers: asyncio.Queue[Peer] = asyncio.Queue()
        self.sink = Sink()

    def endpoint(self, **changes: Any) -> Endpoint:
        return Endpoint.parse("docker", f"tcp://127.0.0.1:{self.port}", "the test", ours(self.folder, **changes))

    async def attach(self) -> tuple[Attachment, Peer]:
        attaching = asyncio.create_task(attach(self.endpoint(), "/attach", self.sink))
        peer = await self.peers.get()
        await peer.attach()
        return await attaching, peer


@asynccontextmanager
async def stand(folder: Path) -> AsyncIterator[Stand]:
    writers = []

    def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writers.append(writer)
        one.peers.put_nowait(Peer(reader, writer, Server(folder)))

    listener = await asyncio.start_server(connected, "127.0.0.1", 0)
    one = Stand(folder, listener.sockets[0].getsockname()[1])
    try:
        yield one
    finally:
        listener.close()
        for writer in writers:
            writer.transport.abort()
        await listener.wait_closed()


Body = Callable[[Stand], Awaitable[None]]
Play = Callable[[Body], None]


@pytest.fixture(params=list(LOOPS))
def play(request: pytest.FixtureRequest, certificates: Path) -> Play:
    """Run a coroutine function with a stand-in, on each event loop."""

    def run(body: Body) -> None:
        async def main() -> None:
            async with stand(certificates) as one, asyncio.timeout(60):
                await body(one)

        run_on(request.param, main)

    return run


def test_streams_over_tls(play: Play) -> None:
    async def body(one: Stand) -> None:
        attachment, peer = await one.attach()
        attachment.write(b"a call")
        await peer.until(lambda server: server.heard == b"a call")
        peer.send(frame(STDOUT, b"a reply"))
        await one.sink.until(7)
        attachment.write_eof()
        attachment.write(b"behind the end")
        await peer.until(lambda server: server.ended)
        peer.send(frame(STDOUT, b", and more"))
        await one.sink.until(17)
        assert one.sink.out == b"a reply, and more"
        peer.end()
        assert await one.sink.end == ""
        assert await peer.reader.read() == b""

    play(body)


def test_much_in_both_directions(play: Play) -> None:
    async def body(one: Stand) -> None:
        attachment, peer = await one.attach()
        size = 40 * CHUNK + 1
        attachment.write(b"x" * size)
        attachment.write_eof()
        assert attachment.held > 0
        peer.send(frame(STDOUT, b"y" * size))
        await peer.until(lambda server: server.ended)
        assert peer.server.heard == b"x" * size
        await one.sink.until(size)
        assert one.sink.out == b"y" * size
        assert attachment.held == 0
        attachment.abort()

    play(body)


def test_a_pause_holds_the_engine_back(play: Play) -> None:
    async def body(one: Stand) -> None:
        attachment, peer = await one.attach()
        attachment.pause()
        peer.send(frame(STDOUT, b"y" * 8_000_000))
        for _ in range(20):
            await asyncio.sleep(0)
        assert len(one.sink.out) < 1_000_000
        assert peer.writer.transport.get_write_buffer_size() > 1_000_000
        attachment.resume()
        await one.sink.until(8_000_000)
        attachment.abort()

    play(body)


def test_a_connection_that_breaks_off_is_told_from_one_that_ends(play: Play) -> None:
    async def body(one: Stand) -> None:
        attachment, peer = await one.attach()
        peer.writer.write_eof()
        assert await one.sink.end == "the connection broke off"
        assert attachment.ended

    play(body)


def test_bytes_that_are_no_tls_end_the_connection(play: Play) -> None:
    async def body(one: Stand) -> None:
        _, peer = await one.attach()
        peer.writer.write(b"no TLS" * 10)
        assert "SSL" in await one.sink.end
        assert await peer.reader.read() is not None

    play(body)


def test_what_the_engine_sent_before_it_hung_up_is_not_lost_to_a_write_that_fails(play: Play) -> None:
    async def body(one: Stand) -> None:
        attachment, peer = await one.attach()
        peer.server.tls.write(frame(STDOUT, b"x" * 50_000) + frame(STDOUT, b"last words"))
        with socket.socket(fileno=os.dup(peer.writer.get_extra_info("socket").fileno())) as engine:
            engine.send(peer.server.outgoing.read())
            engine.shutdown(socket.SHUT_RDWR)
        for _ in range(100):
            attachment.write(b"input" * 1000)
        assert await one.sink.end
        assert one.sink.out == b"x" * 50_000 + b"last words"

    play(body)


def test_an_abort_is_heard_by_the_engine_alone(play: Play) -> None:
    async def body(one: Stand) -> None:
        attachment, peer = await one.attach()
        attachment.abort()
        attachment.abort()
        attachment.write(b"for nobody")
        attachment.write_eof()
        with pytest.raises(AssertionError):
            await peer.until(lambda server: server.ended)  # the raw connection ends without the end of TLS
        assert not one.sink.end.done()

    play(body)


def test_an_engine_that_does_not_agree_is_given_up(play: Play, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("hotfn_containers.endpoint.CONNECT_SECONDS", 0.5)

    async def body(one: Stand) -> None:
        with pytest.raises(DriverUnavailable, match=r"does not accept connections within 0\.5 s"):
            await attach(one.endpoint(), "/attach", one.sink)
        peer = await one.peers.get()
        await peer.reader.read()  # to the end
        assert not one.sink.end.done()

    play(body)


def test_cancelled_while_both_agree_leaves_no_connection(play: Play) -> None:
    async def body(one: Stand) -> None:
        attaching = asyncio.create_task(attach(one.endpoint(), "/attach", one.sink))
        peer = await one.peers.get()
        attaching.cancel()
        with pytest.raises(asyncio.CancelledError):
            await attaching
        await peer.reader.read()
        assert not one.sink.end.done()

    play(body)


def test_an_engine_that_hangs_up_while_both_agree(play: Play) -> None:
    async def body(one: Stand) -> None:
        attaching = asyncio.create_task(attach(one.endpoint(), "/attach", one.sink))
        peer = await one.peers.get()
        await peer.reader.read(1)
        peer.writer.close()
        with pytest.raises(DriverUnavailable, match="cannot reach docker at tcp://"):
            await attaching

    play(body)


def test_an_engine_that_is_not_the_right_one(play: Play, certificates: Path) -> None:
    async def body(one: Stand) -> None:
        endpoint = one.endpoint(ca=str(certificates / "other-ca.pem"))
        attaching = asyncio.create_task(attach(endpoint, "/attach", one.sink))
        peer = await one.peers.get()
        with pytest.raises(ssl.SSLError, match="(?i)unknown.ca"):
            await peer.until(lambda server: server.ready and server.ended)
        with pytest.raises(DriverUnavailable, match=r"must be signed by .*other-ca\.pem and name 127\.0\.0\.1"):
            await attaching

    play(body)


# ---- what a probe tells


@pytest.fixture
def probed(certificates: Path) -> Iterator[Callable[[bytes | None], int]]:
    """Listen once, in a thread: with TLS, or with an answer in place of it. Returns the port."""
    threads: list[threading.Thread] = []

    def serve(listener: socket.socket, instead: bytes | None) -> None:
        with listener, listener.accept()[0] as raw:
            if instead is not None:
                raw.recv(1)
                raw.sendall(instead)
                return
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(certificates / "server.pem", certificates / "server-key.pem")
            context.load_verify_locations(certificates / "ca.pem")
            context.verify_mode = ssl.CERT_REQUIRED
            try:
                with context.wrap_socket(raw, server_side=True) as secured:
                    secured.recv(1000)
                    secured.sendall(b"HTTP/1.0 200 OK\r\n\r\n")
            except ssl.SSLError:
                return

    def start(instead: bytes | None = None) -> int:
        listener = socket.create_server(("127.0.0.1", 0))
        threads.append(threading.Thread(target=serve, args=(listener, instead)))
        threads[-1].start()
        return int(listener.getsockname()[1])

    yield start
    for thread in threads:
        thread.join(10)
        assert not thread.is_alive()


@pytest.mark.parametrize(
    ("changes", "instead", "why"),
    [
        ({}, None, None),
        ({"ca": "other-ca.pem"}, None, "its certificate is not good: .*must be signed by .*other-ca"),
        ({"cert": "", "key": ""}, None, "does not accept a client without a certificate"),
        ({}, b"HTTP/1.1 400 Bad Request\r\n\r\n", "does not speak TLS; unset DOCKER_TLS_VERIFY"),
    ],
)
def test_a_probe_tells_what_is_wrong_with_tls(
    certificates: Path,
    probed: Callable[[bytes | None], int],
    changes: dict[str, str],
    instead: bytes | None,
    why: str | None,
) -> None:
    files = {kind: str(certificates / file) if file else "" for kind, file in changes.items()}
    tls = ours(certificates, **files)
    endpoint = Endpoint.parse("docker", f"tcp://127.0.0.1:{probed(instead)}", "the test", tls)
    if why is None:
        assert endpoint.probe() is None
        return
    with pytest.raises(DriverUnavailable, match=why):
        endpoint.probe()
