"""The protocol `http-stream`: what is written to the socket, byte for byte, and what becomes of replies."""

from __future__ import annotations

from typing import ClassVar

import pytest
from hotfn_http_stream.protocol import HttpStreamProtocol
from hypothesis import given
from hypothesis import strategies as st

from hotfn_core import (
    Call,
    Connection,
    Exit,
    Limits,
    Listening,
    LocalProtocolError,
    RemoteProtocolError,
    ReplyBody,
    ReplyEnd,
)
from hotfn_core.registry import Registry
from hotfn_core.testing.check_protocol import ConformanceError, Outcome, ReplySample, check_protocol, play
from hotfn_protocols.http_encode import JOINED

from .test_protocols_conformance import REFUSED, http

EXPIRES = 1517331159.786
CALL = Call("123", b"hello", (("X-A", "b"), ("User-Agent", "ua")), "PUT", "http://h/t/app/hot?x=1", "text/plain")
PROTOCOL = HttpStreamProtocol()
TEAPOT = b"short and stout"


def encode(call: Call, limits: Limits = Limits()) -> bytes:
    data = PROTOCOL.connect(limits).encode(call, EXPIRES)
    return data if isinstance(data, bytes) else b"".join(data)


def fields(call: Call) -> list[str]:
    return encode(call).partition(b"\r\n\r\n")[0].decode("latin-1").split("\r\n")


class TestTheRequest:
    def test_golden_bytes(self) -> None:
        wire = (
            b"POST /call HTTP/1.1~Host: localhost~Content-Type: text/plain~Content-Length: 5~Fn-Call-Id: 123~"
            b"Fn-Deadline: 2018-01-30T16:52:39Z~Fn-Intent: httprequest~Fn-Http-Method: PUT~"
            b"Fn-Http-Request-Url: http://h/t/app/hot?x=1~Fn-Http-H-User-Agent: ua~Fn-Http-H-X-A: b~~hello"
        )
        assert encode(CALL) == wire.replace(b"~", b"\r\n")

    def test_without_a_body_and_a_type(self) -> None:
        lines = fields(CALL._replace(body=b"", content_type=""))
        assert "Content-Length: 0" in lines
        assert not [one for one in lines if one.startswith("Content-Type")]

    def test_what_concerns_the_callers_connection_stays_behind(self) -> None:
        sent = fields(CALL._replace(headers=(("Connection", "X-B"), ("X-B", "1"), ("TE", "x"), ("Host", "h"))))
        assert not [one for one in sent if one.startswith("Fn-Http-H-")]

    def test_nobody_passes_for_hotfn(self) -> None:
        headers = (("Fn-Intent", "x"), ("Fn-Http-Method", "GET"), ("Fn-Call-Id", "456"), ("Fn-Deadline", "never"))
        sent = fields(CALL._replace(headers=headers))
        assert sent.count("Fn-Intent: httprequest") == 1
        assert "Fn-Http-H-Fn-Http-Method: GET" in sent
        assert not [one for one in sent if "456" in one or "never" in one]

    def test_a_large_body_is_not_copied(self) -> None:
        body = b"x" * (JOINED + 1)
        _, same = PROTOCOL.connect(Limits()).encode(CALL._replace(body=body), EXPIRES)
        assert same is body

    @pytest.mark.parametrize("call", [*REFUSED, CALL._replace(url="http://h/\u20ac", headers=(("X", "\u20ac"),))])
    def test_what_cannot_be_sent(self, call: Call) -> None:
        connection = PROTOCOL.connect(Limits())
        with pytest.raises(LocalProtocolError):
            connection.encode(call, EXPIRES)
        assert connection.encode(CALL, EXPIRES) == encode(CALL)


class TestTheMeeting:
    def test_where_copies_are_to_listen(self) -> None:
        assert PROTOCOL.listening == Listening("lsnr.sock", 5.0, 1.0)
        assert PROTOCOL.listener_environment("/x/lsnr.sock") == {"FN_LISTENER": "unix:/x/lsnr.sock"}

    def test_it_is_found_by_its_entry_point(self) -> None:
        registry = Registry()
        (info,) = [info for info in registry.plugins if info.distribution == "hotfn-http-stream"]
        assert info.protocols == ("http-stream",)
        assert isinstance(registry.protocol("http-stream"), HttpStreamProtocol)


OK = b"HTTP/1.1 200 OK"
KITS = [
    ReplySample(  # fdk 0.1.128
        wire=http(
            b"Connection: keep-alive",
            b"Keep-Alive: 75",
            b"content-type: text/plain; charset=utf-8",
            b"fn-http-h-x-custom: one",
            b"fn-fdk-version: fdk-python/0.1.128",
            b"fn-http-status: 418",
            b"content-length: 15",
            body=TEAPOT,
        ),
        status=418,
        headers=[("x-custom", "one"), ("content-type", "text/plain; charset=utf-8")],
        body=TEAPOT,
    ),
    ReplySample(
        wire=http(b"fn-http-status: 502", b"content-length: 4", first=b"HTTP/1.1 502 Bad Gateway", body=b"boom"),
        status=502,
        headers=[],
        body=b"boom",
    ),
    ReplySample(  # @fnproject/fdk 0.0.76
        wire=http(
            b"Content-Type: text/plain",
            b"Fn-Http-H-X-Custom: one",
            b"Fn-Http-Status: 418",
            b"Date: x",
            b"Connection: keep-alive",
            b"Transfer-Encoding: chunked",
            body=b"f\r\nshort and stout\r\n0\r\n\r\n",
        ),
        status=418,
        headers=[("X-Custom", "one"), ("Content-Type", "text/plain")],
        body=TEAPOT,
    ),
    ReplySample(  # fdk 0.0.36: two types, of which the first is the function's
        wire=http(
            b"Fn-Http-H-content-type: text/plain",
            b"Fn-Http-H-x-custom: one",
            b"Content-Type: application/json",
            b"Content-Length: 2",
            body=b"{}",
        ),
        headers=[("content-type", "text/plain"), ("x-custom", "one")],
        body=b"{}",
    ),
    ReplySample(wire=http(b"Connection: close", b"Content-Length: 1", body=b"x"), headers=[], body=b"x"),
    ReplySample(wire=http(first=b"HTTP/1.1 504 x"), status=504, headers=[]),
    ReplySample(wire=http(first=b"HTTP/1.1 100 x") + b"\r\n" + http(b"Content-Length: 1", body=b"x"), body=b"x"),
]


class TestTheReply:
    def test_the_contract(self) -> None:
        bad = [b"HTTP/1.1 500 x\r\n\r\n", b"HTTP/1.1 418 x\r\n\r\n", b"HTTP/1.1 201 x\r\n\r\n", b"{", b"SSH"]
        check_protocol(PROTOCOL, KITS, bad=bad, refused=REFUSED, blanks=[b"\r\n", b"\n"])

    def test_the_kit_looks_at_how_the_streams_meet(self) -> None:
        class Broken(HttpStreamProtocol):
            listening: ClassVar[Listening | None] = Listening("a/b")

        with pytest.raises(ConformanceError, match="without a path"):
            check_protocol(Broken(), KITS)

    @pytest.mark.parametrize(
        ("said", "meant"),
        [
            *(
                (b"100", 200),
                (b"200", 200),
                (b"204", 204),
                (b"999", 999),
                (b"404", 404),
                (b"", 200),
                (b"99", 200),
                (b"1000", 200),
                (b"-12", 200),
            ),
            *((b"abc", 200), (b"\xb9\xb9\xb9", 200), (b"099", 200), (b"4 4", 200)),
        ],
    )
    def test_the_status_that_the_function_means(self, said: bytes, meant: int) -> None:
        assert reply(b"Fn-Http-Status: " + said, b"Content-Length: 0").status == meant

    @pytest.mark.parametrize("status", [b"204", b"304"])
    def test_one_without_a_body_elsewhere_has_its_body_read(self, status: bytes) -> None:
        seen = reply(b"Fn-Http-Status: " + status, b"Content-Length: 3", body=b"abc")
        assert (seen.status, seen.body, seen.end) == (int(status), b"abc", ReplyEnd())

    def test_a_failure_wins_over_it(self) -> None:
        assert reply(b"Fn-Http-Status: 200", b"Content-Length: 0", first=b"HTTP/1.1 502 x").status == 502

    def test_only_the_functions_own_fields_are_passed_on(self) -> None:
        seen = reply(
            b"Server: uvicorn",
            b"Fn-Http-H-Set-Cookie: a",
            b"Fn-Http-H-Set-Cookie: b",
            b"Fn-Http-H-Content-Length: 99",
            b"Fn-Http-H-Connection: x-hop",
            b"Fn-Http-H-X-Hop: 1",
            b"Fn-Http-H-: empty",
            b"Fn-Http-H-Content-Type: a/b",
            b"Fn-Http-H-Content-Type: c/d",
            b"Content-Length: 0",
        )
        assert seen.headers == (("Set-Cookie", "a"), ("Set-Cookie", "b"), ("Content-Type", "a/b"))

    def test_a_status_without_a_meaning_says_what_to_do(self) -> None:
        connection = PROTOCOL.connect(Limits())
        connection.encode(CALL, EXPIRES)
        with pytest.raises(RemoteProtocolError, match="status 418: 200, 502 and 504 .* Fn-Http-Status"):
            connection.receive(b"HTTP/1.1 418 x\r\n\r\n")

    @pytest.mark.parametrize(
        ("lines", "first", "end"),
        [
            ((), OK, ReplyEnd()),
            ((b"Connection: keep-alive",), OK, ReplyEnd()),
            ((b"Connection: close",), OK, ReplyEnd(hangup=True)),
            ((), b"HTTP/1.0 200 OK", ReplyEnd(hangup=True)),
            ((b"Connection: keep-alive",), b"HTTP/1.0 200 OK", ReplyEnd()),
        ],
    )
    def test_a_connection_that_closes_is_not_used_again(
        self, lines: tuple[bytes, ...], first: bytes, end: ReplyEnd
    ) -> None:
        assert reply(*lines, b"Content-Length: 1", first=first, body=b"x").end == end

    def test_nor_when_more_follows_and_then_the_copy_ends(self) -> None:
        seen = reply(b"Connection: close", b"Content-Length: 1", body=b"xyz")
        assert seen.end == ReplyEnd(reusable=False, excess=2, hangup=True)

    def test_a_call_of_any_method_has_a_body_in_its_reply(self) -> None:
        connection = PROTOCOL.connect(Limits())
        connection.encode(CALL._replace(method="HEAD"), EXPIRES)
        assert ReplyBody(b"x") in connection.receive(http(b"Content-Length: 1", body=b"x"))

    def test_unasked_bytes_are_named_for_where_they_came(self) -> None:
        with pytest.raises(RemoteProtocolError, match="to its socket while no call was running"):
            PROTOCOL.connect(Limits()).receive(b"hello")
        connection = PROTOCOL.connect(Limits())
        connection.encode(CALL, EXPIRES)
        with pytest.raises(RemoteProtocolError, match="to its socket where an HTTP reply was expected$"):
            connection.receive(b"hello")

    @given(st.binary(max_size=50), st.integers(200, 999))
    def test_whatever_the_body_and_the_status(self, body: bytes, status: int) -> None:
        seen = reply(b"Content-Length: %d" % len(body), b"Fn-Http-Status: %d" % status, body=body)
        assert (seen.status, seen.body) == (status, body)


def reply(*lines: bytes, first: bytes = OK, body: bytes = b"") -> Outcome:
    connection = PROTOCOL.connect(Limits())
    connection.encode(CALL, EXPIRES)
    return play(connection, [http(*lines, first=first, body=body)])


class TestTheStreamIsClosed:
    def connection(self, data: bytes) -> Connection:
        connection = PROTOCOL.connect(Limits())
        connection.encode(CALL, EXPIRES)
        connection.receive(data)
        return connection

    def test_it_completes_a_body_without_a_length(self) -> None:
        connection = self.connection(b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\nto the end")
        assert connection.stream_closed() == [ReplyEnd(hangup=True)]

    @pytest.mark.parametrize(
        ("data", "owed"),
        [
            (b"", "its reply"),
            (b"HTTP/1.1 200", "the rest of the head of its reply"),
            (b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhal", "2 of the 5 bytes of its reply"),
            (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nx", "the end of its chunked reply"),
        ],
    )
    def test_or_says_what_is_missing(self, data: bytes, owed: str) -> None:
        with pytest.raises(RemoteProtocolError, match=f"closed its connection and still owed {owed}$"):
            self.connection(data).stream_closed()

    def test_on_stdout_it_is_never_right(self) -> None:
        from hotfn_protocols.http import HttpProtocol

        with pytest.raises(RemoteProtocolError, match="closed its stdout"):
            HttpProtocol().connect(Limits()).stream_closed()


def test_the_exit_of_the_copy_is_told_as_with_http() -> None:
    connection = PROTOCOL.connect(Limits())
    connection.encode(CALL, EXPIRES)
    assert connection.receive_eof(Exit(code=3)) == ()
