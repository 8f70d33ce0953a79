"""The connection to a container's streams. A stand-in for the engine does what a real one cannot be made to do."""

from __future__ import annotations

import asyncio
import json
import os
import socket
import struct
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from hotfn_containers.attach import CUT, MAX_ANSWER, Attachment, Handshake, attach
from hotfn_containers.endpoint import Endpoint
from hotfn_containers.framing import STDERR, STDOUT, FramingError
from hotfn_containers.trouble import NoSuchContainer, Refused
from hotfn_core.errors import DriverError, DriverUnavailable

from .loops import LOOPS, run_on

SWITCHED = (
    b"HTTP/1.1 101 UPGRADED\r\nContent-Type: application/vnd.docker.raw-stream\r\n"
    b"Connection: Upgrade\r\nUpgrade: tcp\r\n\r\n"
)
GAVE_UP = b"Error: write unixpacket @->/proc/self/fd/13/attach: write: broken pipe\n"
TARGET = "/v1.41/containers/abc/attach?stream=1"


def frame(stream: int, payload: bytes) -> bytes:
    return struct.pack(">BxxxI", stream, len(payload)) + payload


def answer(status: int, body: bytes, *headers: str, version: str = "1.1") -> bytes:
    lines = [f"HTTP/{version} {status} Whatever", *headers, "", ""]
    return "\r\n".join(lines).encode() + body


def sized(status: int, body: bytes) -> bytes:
    return answer(status, body, f"Content-Length: {len(body)}")


def receive(handshake: Handshake, cuts: Iterable[bytes]) -> None:
    """Give an answer that must not be taken for the wanted one."""
    for cut in cuts:
        assert handshake.receive(cut) is None


# ---- the handshake, without IO


def test_the_request() -> None:
    head, _, rest = Handshake(TARGET).request.partition(b"\r\n\r\n")
    lines = head.decode().split("\r\n")
    assert lines[0] == f"POST {TARGET} HTTP/1.1"
    assert {"Connection: Upgrade", "Upgrade: tcp", "Content-Length: 0"} <= set(lines[1:])
    assert rest == b""


@pytest.mark.parametrize("behind", [b"", b"\x01", frame(STDOUT, b"early")])
def test_what_comes_behind_the_answer_is_returned(behind: bytes) -> None:
    assert Handshake(TARGET).receive(SWITCHED + behind) == behind


def test_the_answer_byte_by_byte() -> None:
    handshake = Handshake(TARGET)
    for one in SWITCHED[:-1]:
        assert handshake.receive(bytes([one])) is None
    assert handshake.receive(SWITCHED[-1:] + b"x") == b"x"


MISSING = json.dumps({"message": "No such container: abc"}).encode()
CHUNKED = b"%x\r\n%s\r\n0\r\n\r\n" % (len(MISSING), MISSING)


@pytest.mark.parametrize(
    ("data", "kind", "status", "text"),
    [
        (sized(404, MISSING), NoSuchContainer, 404, "No such container: abc"),
        (answer(404, CHUNKED, "Transfer-Encoding: chunked"), NoSuchContainer, 404, "No such container: abc"),
        (sized(409, b'{"message": "it is paused"}'), Refused, 409, "it is paused"),
        (sized(500, b"just text\n"), Refused, 500, "just text"),
        (sized(500, b'["a list"]'), Refused, 500, '["a list"]'),
        (sized(500, b'{"message": '), Refused, 500, '{"message":'),
        (sized(500, b"[" * 50_000), Refused, 500, "[[["),
        (sized(503, b""), Refused, 503, "HTTP status 503"),
        (sized(500, b"\xff\xfe"), Refused, 500, "\ufffd\ufffd"),
        (answer(200, b"", "Content-Type: application/vnd.docker.raw-stream"), Refused, 200, "does not switch"),
        (sized(302, b""), Refused, 302, "does not switch"),
        (b"HTTP/1.1 100 Continue\r\n\r\n" + sized(409, b"no"), Refused, 409, "no"),
        (answer(400, b"no", "Content-Length: 2", version="1.0"), Refused, 400, "no"),
    ],
)
def test_another_answer_is_an_error_with_the_engines_words(
    data: bytes, kind: type[Refused], status: int, text: str
) -> None:
    for cuts in ([data], [bytes([one]) for one in data]):
        handshake = Handshake(TARGET)
        with pytest.raises(Refused) as caught:
            receive(handshake, cuts)
        assert type(caught.value) is kind
        assert caught.value.answer == status
        assert text in caught.value.message


def test_an_answer_that_ends_with_the_connection() -> None:
    handshake = Handshake(TARGET)
    assert handshake.receive(answer(500, b"no room", version="1.0")) is None
    with pytest.raises(Refused, match="no room"):
        handshake.end()


def test_an_answer_that_breaks_off_tells_what_is_there() -> None:
    handshake = Handshake(TARGET)
    assert handshake.receive(answer(404, b"no such", "Content-Length: 100")) is None
    with pytest.raises(NoSuchContainer, match="no such"):
        handshake.end()


@pytest.mark.parametrize("data", [b"H", b"HTTP/1.1 101 UPGR", SWITCHED[:-1]])
def test_the_end_before_an_answer_is_no_refusal(data: bytes) -> None:
    handshake = Handshake(TARGET)
    assert handshake.receive(data) is None
    handshake.end()


@pytest.mark.parametrize(
    "data", [b"garbage\r\n\r\n", frame(STDOUT, b"x"), b"\x15\x03\x01\x00\x02\x02", b"HTTP/1.1 101 X\r\n bad\r\n\r\n"]
)
def test_garbage_is_no_answer(data: bytes) -> None:
    with pytest.raises(FramingError, match="no HTTP"):
        Handshake(TARGET).receive(data + b"\r\n" * 2)


def test_endless_headers_are_given_up() -> None:
    handshake = Handshake(TARGET)
    handshake.receive(b"HTTP/1.1 101 X\r\n")
    with pytest.raises(FramingError):
        receive(handshake, (b"X-%d: y\r\n" % number for number in range(10_000)))


def test_an_endless_body_is_given_up() -> None:
    handshake = Handshake(TARGET)
    handshake.receive(answer(500, b"why: ", version="1.0"))
    with pytest.raises(Refused, match="why: xxx") as caught:
        receive(handshake, [b"x" * 1000] * (MAX_ANSWER // 1000 + 2))
    assert len(caught.value.message) < 1_000


# ---- the connection


class Heard:
    """A sink that remembers, and can be waited for."""

    def __init__(self) -> None:
        self.out = b""
        self.err = b""
        self.ends: list[str] = []
        self._news = asyncio.Event()

    def stdout(self, data: bytes) -> None:
        assert not self.ends
        self.out += data
        self._news.set()

    def stderr(self, data: bytes) -> None:
        assert not self.ends
        self.err += data
        self._news.set()

    def streams_ended(self, why: str) -> None:
        self.ends.append(why)
        self._news.set()

    async def until(self, condition: Callable[[Heard], bool]) -> None:
        async with asyncio.timeout(10):
            while not condition(self):
                self._news.clear()
                await self._news.wait()

    async def end(self) -> str:
        """Wait for the end, and return why it came."""
        await self.until(lambda heard: bool(heard.ends))
        assert len(self.ends) == 1
        return self.ends[0]


class Peer:
    """The engine's side of one connection, as the test plays it."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    def send(self, data: bytes) -> None:
        self.writer.write(data)

    async def request(self) -> bytes:
        return await self.reader.readuntil(b"\r\n\r\n")

    async def read_all(self) -> bytes:
        """Read until the other side has closed its half."""
        async with asyncio.timeout(10):
            return await self.reader.read()

    async def gone(self) -> None:
        """Wait until the other side has dropped the connection, and not only closed its half."""
        async with asyncio.timeout(10):
            try:
                while await self.reader.read(65536):
                    pass
                while True:
                    self.writer.write(b"?")
                    await self.writer.drain()
                    await asyncio.sleep(0)
            except ConnectionError:
                return


class Stand:
    """A stand-in for an engine, with a queue of the connections that come."""

    def __init__(self, endpoint: Endpoint) -> None:
        self.endpoint = endpoint
        self.peers: asyncio.Queue[Peer] = asyncio.Queue()
        self.heard = Heard()

    async def attach(self, target: str = TARGET) -> tuple[Attachment, Peer]:
        """Attach, as the engine would let one."""
        attaching = asyncio.create_task(attach(self.endpoint, target, self.heard))
        peer = await self.peers.get()
        await peer.request()
        peer.send(SWITCHED)
        return await attaching, peer


@asynccontextmanager
async def stand(path: Path) -> AsyncIterator[Stand]:
    one = Stand(Endpoint.parse("docker", f"unix://{path}", "the test"))
    writers = []

    def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writers.append(writer)
        one.peers.put_nowait(Peer(reader, writer))

    server = await asyncio.start_unix_server(connected, path)
    try:
        yield one
    finally:
        server.close()
        for writer in writers:
            writer.transport.abort()
        await server.wait_closed()


Body = Callable[[Stand], Awaitable[None]]
Play = Callable[[Body], None]


@pytest.fixture(params=list(LOOPS))
def play(request: pytest.FixtureRequest, tmp_path: Path) -> Play:
    """Run a coroutine function with a stand-in, on each event loop."""

    def run(body: Body) -> None:
        async def main() -> None:
            async with stand(tmp_path / "sock") as one, asyncio.timeout(60):
                await body(one)

        run_on(request.param, main)

    return run


def test_the_first_bytes_may_come_with_the_answer(play: Play) -> None:
    async def body(one: Stand) -> None:
        attaching = asyncio.create_task(attach(one.endpoint, TARGET, one.heard))
        peer = await one.peers.get()
        assert (await peer.request()).startswith(b"POST /v1.41/containers/abc/attach")
        peer.send(SWITCHED + frame(STDERR, b"log") + frame(STDOUT, b"first"))
        attachment = await attaching
        await one.heard.until(lambda heard: heard.out == b"first" and heard.err == b"log")
        attachment.abort()

    play(body)


def test_bytes_of_both_directions(play: Play) -> None:
    async def body(one: Stand) -> None:
        attachment, peer = await one.attach()
        attachment.write(b"a call")
        assert await peer.reader.readexactly(6) == b"a call"
        for number in range(50):
            peer.send(frame(STDOUT, b"%d;" % number))
            await one.heard.until(lambda heard, number=number: heard.out.endswith(b"%d;" % number))  # type: ignore[misc]
        attachment.write(b"the last")
        attachment.write_eof()
        attachment.write_eof()
        attachment.write(b"behind the end")
        assert await peer.read_all() == b"the last"
        peer.send(frame(STDOUT, b"goes on"))
        await one.heard.until(lambda heard: heard.out.endswith(b"goes on"))
        peer.writer.close()
        assert await one.heard.end() == ""
        assert attachment.ended
        assert attachment.held == 0

    play(body)


def test_a_frame_byte_by_byte(play: Play) -> None:
    async def body(one: Stand) -> None:
        attachment, peer = await one.attach()
        for byte in frame(STDOUT, b"slow") + frame(STDERR, b"log"):
            peer.send(bytes([byte]))
            await peer.writer.drain()
        await one.heard.until(lambda heard: heard.out == b"slow" and heard.err == b"log")
        attachment.abort()

    play(body)


def test_a_frame_in_place_of_an_answer_is_no_output(play: Play) -> None:
    async def body(one: Stand) -> None:
        attaching = asyncio.create_task(attach(one.endpoint, TARGET, one.heard))
        peer = await one.peers.get()
        peer.send(frame(STDOUT, b"\r\n\r\n"))
        with pytest.raises(DriverError, match="no HTTP"):
            await attaching
        await peer.gone()
        assert one.heard.out == b""

    play(body)


@pytest.mark.parametrize(
    ("data", "kind", "text"),
    [
        (b"", DriverUnavailable, "closed the connection instead of attaching"),
        (SWITCHED[:30], DriverUnavailable, "closed the connection instead of attaching"),
        (sized(404, MISSING), NoSuchContainer, "No such container: abc"),
        (answer(500, b"no room", version="1.0"), Refused, "no room"),
    ],
)
def test_an_engine_that_hangs_up_in_place_of_attaching(
    play: Play, data: bytes, kind: type[DriverError], text: str
) -> None:
    async def body(one: Stand) -> None:
        attaching = asyncio.create_task(attach(one.endpoint, TARGET, one.heard))
        peer = await one.peers.get()
        await peer.request()
        peer.send(data)
        peer.writer.close()
        with pytest.raises(kind, match=text):
            await attaching

    play(body)


def test_an_engine_that_does_not_answer_is_given_up(play: Play, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("hotfn_containers.attach.UPGRADE_SECONDS", 0.05)

    async def body(one: Stand) -> None:
        with pytest.raises(DriverUnavailable, match=r"did not attach within 0\.05 s"):
            await attach(one.endpoint, TARGET, one.heard)
        await (await one.peers.get()).gone()
        assert one.heard.ends == []

    play(body)


def test_cancelled_while_the_engine_answers_leaves_no_connection(play: Play) -> None:
    async def body(one: Stand) -> None:
        attaching = asyncio.create_task(attach(one.endpoint, TARGET, one.heard))
        peer = await one.peers.get()
        await peer.request()
        attaching.cancel()
        with pytest.raises(asyncio.CancelledError):
            await attaching
        await peer.gone()
        assert one.heard.ends == []

    play(body)


@pytest.mark.parametrize("steps", range(6))
def test_cancelled_at_any_step_leaves_no_connection(play: Play, steps: int) -> None:
    async def body(one: Stand) -> None:
        attaching = asyncio.create_task(attach(one.endpoint, TARGET, one.heard))
        for _ in range(steps):
            await asyncio.sleep(0)
        attaching.cancel()
        with pytest.raises(asyncio.CancelledError):
            await attaching
        _, marker = await asyncio.open_unix_connection(one.endpoint.unix)  # it comes behind the first
        marker.write(b"marker")
        marker.write_eof()
        while await (await one.peers.get()).read_all() != b"marker":
            assert one.heard.ends == []
        marker.transport.abort()

    play(body)


def test_nobody_listens(play: Play, tmp_path: Path) -> None:
    async def body(one: Stand) -> None:
        missing = Endpoint.parse("docker", f"unix://{tmp_path}/missing", "the test")
        with pytest.raises(DriverUnavailable, match="no such socket"):
            await attach(missing, TARGET, one.heard)

    play(body)


@pytest.mark.parametrize(
    ("data", "why"),
    [
        (b"", ""),
        (frame(STDOUT, b"whole"), ""),
        (frame(STDOUT, b"half")[:-1], "the connection ended in the middle of a frame"),
        (frame(STDOUT, b"half")[:5], "the connection ended in the middle of a frame"),
        (b"unexpected EOF\n", "not a frame: b'unexpected EOF\\n'"),
        (frame(3, b"out of space"), "the engine reports: out of space"),
    ],
)
def test_why_the_streams_ended(play: Play, data: bytes, why: str) -> None:
    async def body(one: Stand) -> None:
        _, peer = await one.attach()
        peer.send(data)
        peer.writer.close()
        assert await one.heard.end() == why

    play(body)


def test_what_podman_says_when_it_gives_up_is_no_stderr(play: Play) -> None:
    async def body(one: Stand) -> None:
        _, peer = await one.attach("/v4.0.0/libpod/containers/abc/attach")
        peer.send(frame(STDOUT, b"ha") + frame(STDERR, b"mine\n"))
        await one.heard.until(lambda heard: heard.err == b"mine\n")
        peer.send(frame(STDERR, GAVE_UP))
        peer.writer.close()
        assert await one.heard.end() == CUT
        assert one.heard.err == b"mine\n"

    play(body)


def test_with_docker_the_same_words_are_the_copys_own(play: Play) -> None:
    async def body(one: Stand) -> None:
        _, peer = await one.attach()
        peer.send(frame(STDERR, GAVE_UP))
        peer.writer.close()
        assert await one.heard.end() == ""
        assert one.heard.err == GAVE_UP

    play(body)


def test_what_the_engine_sent_before_it_hung_up_is_not_lost_to_a_write_that_fails(play: Play) -> None:
    """A copy may answer and end without having read its input: the answer is there when the input cannot be written."""

    async def body(one: Stand) -> None:
        attachment, peer = await one.attach()
        with socket.socket(fileno=os.dup(peer.writer.get_extra_info("socket").fileno())) as engine:
            engine.send(frame(STDOUT, b"x" * 50_000) + frame(STDERR, b"log") + frame(STDOUT, b"last words"))
            engine.shutdown(socket.SHUT_RDWR)
        attachment.write(b"input")
        await one.heard.end()
        assert one.heard.out == b"x" * 50_000 + b"last words"
        assert one.heard.err == b"log"

    play(body)


def test_what_is_no_frame_ends_the_connection(play: Play) -> None:
    async def body(one: Stand) -> None:
        attachment, peer = await one.attach()
        peer.send(b"this is no frame")
        assert "not a frame" in await one.heard.end()
        assert attachment.ended
        await peer.gone()

    play(body)


def test_an_engine_that_closes_its_half_ends_the_connection(play: Play) -> None:
    async def body(one: Stand) -> None:
        attachment, peer = await one.attach()
        peer.writer.write_eof()
        assert await one.heard.end() == ""
        attachment.write(b"for nobody")
        attachment.write_eof()
        attachment.pause()
        attachment.resume()
        attachment.abort()
        assert await peer.read_all() == b""

    play(body)


def test_an_end_while_much_is_held_comes_at_once(play: Play) -> None:
    async def body(one: Stand) -> None:
        attachment, peer = await one.attach()
        peer.writer.transport.pause_reading()  # type: ignore[attr-defined]
        attachment.write(b"x" * 8_000_000)
        assert attachment.held > 1_000_000
        peer.writer.write_eof()
        assert await one.heard.end() == ""
        assert attachment.held == 0

    play(body)


def test_held_falls_as_the_engine_takes(play: Play) -> None:
    async def body(one: Stand) -> None:
        attachment, peer = await one.attach()
        attachment.write(b"x" * 8_000_000)
        attachment.write_eof()
        before = attachment.held
        assert len(await peer.read_all()) == 8_000_000
        assert attachment.held == 0 < before
        attachment.abort()

    play(body)


def test_a_pause_holds_the_engine_back(play: Play) -> None:
    async def body(one: Stand) -> None:
        attachment, peer = await one.attach()
        attachment.pause()
        attachment.pause()
        peer.send(frame(STDOUT, b"x" * 4_000_000))
        for _ in range(20):
            await asyncio.sleep(0)
        assert one.heard.out == b""
        assert peer.writer.transport.get_write_buffer_size() > 1_000_000
        attachment.resume()
        attachment.resume()
        await one.heard.until(lambda heard: len(heard.out) == 4_000_000)
        attachment.abort()

    play(body)


def test_abort_in_a_pause(play: Play) -> None:
    async def body(one: Stand) -> None:
        attachment, peer = await one.attach()
        attachment.pause()
        attachment.abort()
        await peer.gone()

    play(body)


def test_abort_is_heard_by_the_engine_alone(play: Play) -> None:
    async def body(one: Stand) -> None:
        attachment, peer = await one.attach()
        peer.send(frame(STDOUT, b"on its way"))
        attachment.write(b"x" * 8_000_000)
        attachment.abort()
        attachment.abort()
        attachment.write(b"for nobody")
        attachment.write_eof()
        await peer.gone()
        assert attachment.ended
        assert (one.heard.out, one.heard.ends) == (b"", [])

    play(body)


def test_abort_from_a_callback(play: Play) -> None:
    class Aborts(Heard):
        def stdout(self, data: bytes) -> None:
            super().stdout(data)
            attachments[0].abort()

    attachments: list[Attachment] = []

    async def body(one: Stand) -> None:
        one.heard = Aborts()
        attachment, peer = await one.attach()
        attachments.append(attachment)
        peer.send(frame(STDOUT, b"one") + frame(STDOUT, b"two") + frame(STDERR, b"three"))
        await peer.gone()
        assert (one.heard.out, one.heard.err, one.heard.ends) == (b"one", b"", [])

    play(body)


def test_before_there_is_a_connection_nothing_happens(play: Play) -> None:
    async def body(one: Stand) -> None:
        attachment = Attachment(TARGET, one.heard)
        attachment.write(b"early")
        attachment.write_eof()
        attachment.pause()
        attachment.resume()
        assert (attachment.held, attachment.ended) == (0, False)
        attachment.abort()
        await one.endpoint.connect(lambda: attachment)
        peer = await one.peers.get()
        assert await peer.read_all() == b""
        await peer.gone()

    play(body)
