"""Any bytes into the protocols: events or RemoteProtocolError, the same however they are cut, within the limits."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from types import ModuleType

import httptools
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hotfn_core import Call, Connection, Exit, IOProtocol, Limits, RemoteProtocolError
from hotfn_core.testing.check_protocol import Outcome, play
from hotfn_protocols.cloudevent import CloudEventProtocol
from hotfn_protocols.default import DefaultProtocol
from hotfn_protocols.http import HttpProtocol
from hotfn_protocols.json import JsonProtocol

FUZZ = Path(__file__).parents[1] / "fuzz"
LIMITS = Limits(max_body=50, max_head=120)
HTTP = [
    b"HTTP/1.1 200 OK", b"HTTP/1.0 200 OK", b"HTTP/1.1 204 N", b"HTTP/1.1 304 N", b"HTTP/1.1 100 C",
    b"HTTP/1.1 101 S", b"\r\n", b"\n",
    b"\r\n\r\n", b"Content-Length: 5\r\n", b"Content-Length: 51\r\n", b"Transfer-Encoding: chunked\r\n",
    b"Connection: close\r\n", b"hello",
    b"5\r\nhello\r\n", b"0\r\n\r\n", b"0\r\nX: y\r\n\r\n", b"1;a=b\r\nx\r\n", b"X: y\r\n", b" z\r\n", b"\r", b"x" * 60,
]  # fmt: skip
JSON = [
    b"{", b"}", b"[", b"]", b'"', b"\\", b'{"body":', b'"x"', b"1", b"null", b",", b":", b'"status_code":418',
    b'"protocol":{', b"{}",
    b'"headers":{"X":["y"]}', b'"content_type":"a/b"', b" ", b"\n", rb"\u00fc", rb"\ud800", b"\xff", b"x" * 60,
]  # fmt: skip
EVENTS = [*JSON, b'"data":', b'"extensions":{', b'"contentType":"application/json"', b'"protocol":{"status_code":201}']


def stream(tokens: list[bytes]) -> st.SearchStrategy[bytes]:
    pieces = st.one_of(st.sampled_from(tokens), st.sampled_from(tokens), st.binary(max_size=3))
    return st.lists(pieces, max_size=14).map(b"".join)


STREAMS = [
    pytest.param(HttpProtocol(), stream(HTTP), id="http"),
    pytest.param(JsonProtocol(), stream(JSON), id="json"),
    pytest.param(CloudEventProtocol(), stream(EVENTS), id="cloudevent"),
    pytest.param(DefaultProtocol(), stream(JSON), id="default"),
]
EXITS = st.sampled_from([None, Exit(code=0), Exit(code=1), Exit(signal=9), Exit()])


def calling(protocol: IOProtocol, method: str) -> Connection:
    connection = protocol.connect(LIMITS)
    connection.encode(Call("1", method=method), 0.0)
    return connection


def hold_to_limits(seen: Outcome) -> None:
    assert len(seen.body) <= LIMITS.max_body
    assert sum(len(name) + len(value) for name, value in seen.headers) <= LIMITS.max_head


@pytest.mark.parametrize(("protocol", "streams"), STREAMS)
@given(data=st.data(), method=st.sampled_from(["POST", "HEAD"]), exit=EXITS)
def test_the_same_however_it_is_cut(
    protocol: IOProtocol, streams: st.SearchStrategy[bytes], data: st.DataObject, method: str, exit: Exit | None
) -> None:
    wire = data.draw(streams)
    step = data.draw(st.integers(1, 9))
    whole = play(calling(protocol, method), [wire], exit)
    pieces = play(calling(protocol, method), [wire[at : at + step] for at in range(0, len(wire), step)], exit)
    hold_to_limits(whole)
    assert whole.essence == pieces.essence
    assert whole.end is not None or type(whole.error) is type(pieces.error)


@pytest.mark.parametrize(("protocol", "streams"), STREAMS[:3])
@given(data=st.data())
def test_a_conversation_never_gives_one_call_two_replies(
    protocol: IOProtocol, streams: st.SearchStrategy[bytes], data: st.DataObject
) -> None:
    """Calls and bytes in any order: without a call there is no event, with one at most one reply."""
    connection = protocol.connect(LIMITS)
    seen = Outcome()
    running = False
    for _ in range(data.draw(st.integers(1, 6))):
        if not running:
            connection.encode(Call("1"), 0.0)
            seen, running = Outcome(), True
        chunk = data.draw(streams)
        try:
            seen.take(connection.receive(chunk), "receive")  # refuses what is out of order, or behind the end
            hold_to_limits(seen)
        except RemoteProtocolError:
            return
        if seen.end is not None:
            if not seen.end.reusable:
                return
            running = False
            try:
                assert connection.receive(data.draw(streams)) == ()
            except RemoteProtocolError:
                return


class _Reader:
    """httptools as a reader of whole replies by itself: what we find must be what it finds."""

    def __init__(self, wire: bytes) -> None:
        self.headers: list[tuple[str, str]] = []
        self.body = b""
        self.complete = False
        self.parser = httptools.HttpResponseParser(self)
        self.parser.feed_data(wire)

    def on_header(self, name: bytes, value: bytes) -> None:
        self.headers.append((name.decode("latin-1"), value.decode("latin-1").rstrip(" \t")))

    def on_body(self, body: bytes) -> None:
        self.body += body

    def on_message_complete(self) -> None:
        self.complete = True


FIELDS = st.lists(st.tuples(st.text("XYZabc-_9", min_size=1), st.text("abc ,;=\xfc", max_size=9)), max_size=4)


@given(FIELDS, st.binary(max_size=50), st.lists(st.integers(1, 20), max_size=5), st.integers(200, 599))
def test_a_well_formed_reply_is_what_another_reader_finds(
    fields: list[tuple[str, str]], body: bytes, sizes: list[int], status: int
) -> None:
    lines = [f"HTTP/1.1 {status} X", *(f"{name}: {value}" for name, value in fields)]
    if sizes and status not in {204, 304}:
        lines.append("Transfer-Encoding: chunked")
        cuts = [body[sum(sizes[:at]) : sum(sizes[: at + 1])] for at in range(len(sizes))] + [body[sum(sizes) :]]
        framed = b"".join(b"%x\r\n%s\r\n" % (len(cut), cut) for cut in cuts if cut) + b"0\r\n\r\n"
    else:
        framed = b"" if status in {204, 304} else body
        lines.append(f"Content-Length: {len(framed)}")
    wire = "\r\n".join([*lines, "", ""]).encode("latin-1") + framed
    reader = _Reader(wire)
    connection = HttpProtocol().connect(Limits())
    connection.encode(Call("1"), 0.0)
    seen = play(connection, [wire])
    assert reader.complete
    assert seen.end is not None
    assert (seen.status, seen.body) == (reader.parser.get_status_code(), reader.body)
    assert seen.headers == tuple(pair for pair in reader.headers if pair[0] != "Transfer-Encoding")


def fuzzer() -> ModuleType:
    spec = importlib.util.spec_from_file_location("fuzz_protocols", FUZZ / "fuzz_protocols.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("path", sorted((FUZZ / "found").iterdir()), ids=lambda path: path.name)
def test_what_the_fuzzer_found_stays_mended(path: Path) -> None:
    fuzzer().replay(path)


def test_the_fuzzers_own_check_can_fail() -> None:
    class Forgets(HttpProtocol):
        def connect(self, limits: Limits) -> Connection:
            connection = super().connect(limits)
            connection.receive_eof = lambda exit: 1 / 0  # type: ignore[method-assign, assignment, return-value]
            return connection

    module = fuzzer()
    for name, seeds in module.SEEDS.items():
        for choice in range(12):
            module.check(module.PROTOCOLS[name](), bytes([choice, 0]) + seeds[0])
    with pytest.raises(AssertionError, match="ZeroDivisionError"):
        module.check(Forgets(), bytes([3, 0]))
