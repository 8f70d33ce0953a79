"""What the `http` protocol writes, byte for byte."""

from __future__ import annotations

import httptools
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hotfn_core import Call, Limits, LocalProtocolError
from hotfn_protocols.http import HttpProtocol
from hotfn_protocols.http_encode import JOINED

EXPIRES = 1517331159.786
CALL = Call("123", b"hello", (("X-A", "b"), ("User-Agent", "ua")), "POST", "http://h/r/myapp/hot?x=1")


def encode(call: Call, limits: Limits = Limits()) -> bytes:
    data = HttpProtocol().connect(limits).encode(call, EXPIRES)
    return data if isinstance(data, bytes) else b"".join(data)


def head_lines(call: Call) -> list[str]:
    return encode(call).partition(b"\r\n\r\n")[0].decode("latin-1").split("\r\n")


class TestGoldenBytes:
    def test_known_length(self) -> None:
        wire = (
            b"POST /r/myapp/hot?x=1 HTTP/1.1~Host: h~User-Agent: ua~Content-Length: 5~Fn_call_id: 123~"
            b"Fn_deadline: 2018-01-30T16:52:39.786Z~Fn_method: POST~Fn_request_url: http://h/r/myapp/hot?x=1~"
            b"Task-Id: 123~X-A: b~~hello"
        )
        assert encode(CALL) == wire.replace(b"~", b"\r\n")

    def test_without_the_task_id_it_is_what_the_platform_sent_in_2018(self) -> None:
        measured = (
            b"POST /r/myapp/hot?x=1 HTTP/1.1~Host: h~User-Agent: ua~Content-Length: 5~Fn_call_id: 123~"
            b"Fn_deadline: 2018-01-30T16:52:39.786Z~Fn_method: POST~Fn_request_url: http://h/r/myapp/hot?x=1~"
            b"X-A: b~~hello"
        )
        assert encode(CALL).replace(b"Task-Id: 123\r\n", b"") == measured.replace(b"~", b"\r\n")

    def test_post_with_an_empty_body(self) -> None:
        assert "Content-Length: 0" in head_lines(CALL._replace(body=b""))

    def test_get_without_a_body_has_a_length_all_the_same(self) -> None:
        # Measured in 2018: no length header. But fdk 0.0.1 to 0.0.8 then read to the end of stdin and hang, and no
        # function is known that minds a Content-Length of 0.
        wire = encode(CALL._replace(method="GET", body=b""))
        assert wire.startswith(b"GET /r/myapp/hot?x=1 HTTP/1.1\r\nHost: h\r\nUser-Agent: ua\r\nContent-Length: 0\r\n")
        assert wire.endswith(b"\r\n\r\n")


class TestFraming:
    def test_nothing_follows_the_body(self) -> None:
        assert encode(CALL._replace(body=b"\0\xff\r\n")).endswith(b"\r\n\r\n\0\xff\r\n")

    def test_a_small_body_is_one_write(self) -> None:
        data = HttpProtocol().connect(Limits()).encode(CALL._replace(body=b"x" * JOINED), EXPIRES)
        assert isinstance(data, bytes)

    def test_a_large_body_is_not_copied(self) -> None:
        body = b"x" * (JOINED + 1)
        data = HttpProtocol().connect(Limits()).encode(CALL._replace(body=body), EXPIRES)
        assert not isinstance(data, bytes)
        head, same = data
        assert same is body
        assert b"Content-Length: 65537\r\n" in head

    @pytest.mark.parametrize("method", ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "PROPFIND"])
    def test_every_method_has_one_length_and_no_chunks(self, method: str) -> None:
        names = [line.partition(":")[0].lower() for line in head_lines(CALL._replace(method=method))]
        assert names.count("content-length") == 1
        assert "transfer-encoding" not in names


class TestUrl:
    @pytest.mark.parametrize(
        ("url", "target", "host", "full"),
        [
            ("/", "/", "localhost", "http://localhost/"),
            ("", "/", "localhost", "http://localhost/"),
            ("?x=1", "/?x=1", "localhost", "http://localhost/?x=1"),
            ("/a?b=c#d", "/a?b=c", "localhost", "http://localhost/a?b=c"),
            ("//twice", "//twice", "localhost", "http://localhost//twice"),
            ("http://h", "/", "h", "http://h/"),
            ("http://h?x", "/?x", "h", "http://h/?x"),
            ("https://h:8080/a/b?c#d", "/a/b?c", "h:8080", "https://h:8080/a/b?c"),
            ("http://[::1]:80/a", "/a", "[::1]:80", "http://[::1]:80/a"),
            ("http://user:secret@h/a", "/a", "h", "http://h/a"),
            ("/a%20b", "/a%20b", "localhost", "http://localhost/a%20b"),
            ("/\u00fc?\u20ac", "/%C3%BC?%E2%82%AC", "localhost", "http://localhost/%C3%BC?%E2%82%AC"),
        ],
    )
    def test_target_host_and_full_url(self, url: str, target: str, host: str, full: str) -> None:
        lines = head_lines(CALL._replace(url=url))
        assert lines[0] == f"POST {target} HTTP/1.1"
        assert lines[1] == f"Host: {host}"
        assert f"Fn_request_url: {full}" in lines

    def test_the_host_of_the_client_is_kept_when_the_url_has_none(self) -> None:
        lines = head_lines(CALL._replace(url="/a", headers=(("HOST", "example.org:81"),)))
        assert lines[1] == "Host: example.org:81"
        assert "Fn_request_url: http://example.org:81/a" in lines
        assert sum(line.lower().startswith("host:") for line in lines) == 1

    def test_the_host_of_the_url_wins(self) -> None:
        assert head_lines(CALL._replace(headers=(("Host", "other"),)))[1] == "Host: h"

    @pytest.mark.parametrize(
        "url", ["a", "a/b", "/a b", "/\r\nX: y", "/\n", "/\0", "/\t", "/\x7f", "/\ud800", "http://a b/", "http:///\\x\n",
                "http://h\\o/", "http://a>b/"],
    )  # fmt: skip
    def test_what_is_no_url_is_refused(self, url: str) -> None:
        with pytest.raises(LocalProtocolError):
            encode(CALL._replace(url=url))

    @pytest.mark.parametrize("host", ["a b", "a/b", "a\\b", "h?x"])
    def test_what_is_no_host_is_refused(self, host: str) -> None:
        with pytest.raises(LocalProtocolError, match="not a host"):
            encode(CALL._replace(url="/", headers=(("Host", host),)))


class TestHeaders:
    def test_they_are_sorted_and_repeated_ones_keep_their_order(self) -> None:
        headers = (("z", "1"), ("B", "2"), ("a", "3"), ("Z", "0"))
        lines = head_lines(CALL._replace(headers=headers))
        assert lines[2] == "User-Agent: hotfn"
        assert lines[4:] == [
            "A: 3", "B: 2", "Fn_call_id: 123", "Fn_deadline: 2018-01-30T16:52:39.786Z", "Fn_method: POST",
            "Fn_request_url: http://h/r/myapp/hot?x=1", "Task-Id: 123", "Z: 1", "Z: 0",
        ]  # fmt: skip

    def test_content_type_of_the_call_wins_over_the_header(self) -> None:
        call = CALL._replace(headers=(("content-type", "a/b"),))
        assert "Content-Type: a/b" in head_lines(call)
        lines = head_lines(call._replace(content_type="c/d"))
        assert [line for line in lines if line.lower().startswith("content-type")] == ["Content-Type: c/d"]

    @pytest.mark.parametrize(
        "name",
        ["Connection", "Keep-Alive", "Proxy-Authenticate", "Proxy-Authorization", "Proxy-Connection", "TE", "Trailer",
         "Transfer-Encoding", "Upgrade", "proxy-anything"],
    )  # fmt: skip
    def test_hop_by_hop_ones_stay_behind(self, name: str) -> None:
        assert not [line for line in head_lines(CALL._replace(headers=((name, "trailers"),))) if "trailers" in line]

    def test_so_do_those_that_connection_names(self) -> None:
        headers = (
            ("Connection", "close, X-Mine"),
            ("connection", "x-other"),
            ("X-Mine", "1"),
            ("X-OTHER", "2"),
            ("X", "3"),
        )
        names = [line.partition(":")[0] for line in head_lines(CALL._replace(headers=headers))]
        assert "X" in names
        assert not {"X-Mine", "X-Other", "Connection"} & set(names)

    def test_connection_cannot_take_away_what_hotfn_writes(self) -> None:
        names = "host, user-agent, content-length, content-type, fn_call_id, task-id"
        lines = head_lines(CALL._replace(headers=(("Connection", names),), content_type="a/b"))
        found = [line.partition(":")[0].lower() for line in lines]
        assert [name for name in names.split(", ") if name not in found] == []

    @pytest.mark.parametrize(
        "name",
        ["Fn_call_id", "FN_CALL_ID", "fn-call-id", "Fn-Deadline", "fn_deadline", "Fn_method", "Fn-Request-Url",
         "Fn_anything", "Task-ID", "task_id", "Content-Length", "content-length"],
    )  # fmt: skip
    def test_nobody_else_writes_the_headers_of_hotfn(self, name: str) -> None:
        assert b"evil" not in encode(CALL._replace(headers=((name, "evil"),)))

    @pytest.mark.parametrize("value", ["a\r\nX: y", "a\n", "\r", "\0", "\x1b", "\x7f", "\ud800", "\u20ac"])
    def test_a_value_that_cannot_be_written_is_refused(self, value: str) -> None:
        with pytest.raises(LocalProtocolError):
            encode(CALL._replace(headers=(("X", value),)))
        with pytest.raises(LocalProtocolError):
            encode(CALL._replace(content_type=value))

    @pytest.mark.parametrize("name", ["", " ", "a b", "a:", "a\r\n", "a\0", "\u00fc", "x" * 257])
    def test_a_name_that_is_none_is_refused(self, name: str) -> None:
        with pytest.raises(LocalProtocolError, match="not the name of a header"):
            encode(CALL._replace(headers=((name, "1"),)))

    @pytest.mark.parametrize("method", ["", "GET ", "G T", "GET\r\n", "G\0T", "GÄT"])
    def test_a_method_that_is_none_is_refused(self, method: str) -> None:
        with pytest.raises(LocalProtocolError, match="not a method"):
            encode(CALL._replace(method=method))

    @pytest.mark.parametrize("name", ["a\r\nX: y", "\n", "\0", "\u00fc"])
    def test_an_id_that_is_none_is_refused(self, name: str) -> None:
        with pytest.raises(LocalProtocolError, match="not a call id"):
            encode(CALL._replace(id=name))

    def test_latin_1_passes_and_blanks_around_a_value_go(self) -> None:
        assert b"X: \xfc y\r\n" in encode(CALL._replace(headers=(("X", " \t\u00fc y "),)))

    def test_more_than_the_limit_is_refused(self) -> None:
        call = CALL._replace(url="/", method="GET", headers=(("X", "y" * 94),))
        assert encode(call, Limits(max_head=99))
        with pytest.raises(LocalProtocolError, match="more than 98"):
            encode(call, Limits(max_head=98))


class TestCallsInARow:
    def test_only_what_differs_is_written_anew(self) -> None:
        connection = HttpProtocol().connect(Limits())
        for call in (
            CALL,
            CALL._replace(id="4", body=b"other"),
            CALL._replace(url="/b"),
            CALL,
            CALL._replace(method="PUT"),
        ):
            assert connection.encode(call, EXPIRES) == encode(call)
            connection.receive(b"HTTP/1.1 200 OK\r\n\r\n")

    def test_a_refused_call_leaves_no_trace(self) -> None:
        connection = HttpProtocol().connect(Limits())
        for call in (
            CALL._replace(id="\n"),
            CALL._replace(headers=(("X", "\n"),)),
            CALL._replace(content_type="\u20ac"),
        ):
            with pytest.raises(LocalProtocolError):
                connection.encode(call, EXPIRES)
        assert connection.encode(CALL, EXPIRES) == encode(CALL)

    def test_a_second_call_at_a_time_is_a_mistake_of_the_program(self) -> None:
        connection = HttpProtocol().connect(Limits())
        connection.encode(CALL, EXPIRES)
        with pytest.raises(AssertionError, match="one call at a time"):
            connection.encode(CALL, EXPIRES)


class _Seen:
    """What httptools, another reader of the same format, finds in a request."""

    def __init__(self, wire: bytes) -> None:
        self.url = self.body = b""
        self.headers: list[tuple[str, str]] = []
        self.messages = 0
        parser = httptools.HttpRequestParser(self)
        parser.feed_data(wire)
        self.method = parser.get_method().decode()

    def on_url(self, url: bytes) -> None:
        self.url += url

    def on_header(self, name: bytes, value: bytes) -> None:
        self.headers.append((name.decode("latin-1"), value.decode("latin-1")))

    def on_body(self, body: bytes) -> None:
        self.body += body

    def on_message_complete(self) -> None:
        self.messages += 1


TEXT = st.text(st.characters(max_codepoint=255), max_size=20)
ANY_TEXT = st.text(max_size=20)


@given(
    st.builds(
        Call,
        id=st.text("0123456789ABC", min_size=1),
        body=st.binary(max_size=50),
        headers=st.lists(
            st.tuples(
                st.one_of(st.sampled_from(["Host", "Connection", "X-A", "Fn_call_id"]), TEXT), st.one_of(TEXT, ANY_TEXT)
            ),
            max_size=4,
        ).map(tuple),
        method=st.one_of(st.sampled_from(["GET", "POST", "HEAD", "DELETE"]), TEXT),
        url=st.one_of(ANY_TEXT.map(lambda text: "/" + text), ANY_TEXT),
        content_type=st.one_of(st.just(""), TEXT),
    )
)
def test_a_request_is_one_message_or_is_refused(call: Call) -> None:
    """No caller can smuggle a second request, or another id, into what a function reads."""
    try:
        wire = encode(call)
    except LocalProtocolError:
        return
    try:
        seen = _Seen(wire)
    except httptools.HttpParserError:
        # llhttp knows a list of methods only, and CONNECT and the like change what follows.
        assert call.method not in {"GET", "POST", "HEAD", "DELETE"}
        return
    assert (seen.messages, seen.method, seen.body) == (1, call.method, call.body)
    names = [name.lower() for name, _ in seen.headers]
    for name in ("host", "content-length", "fn_call_id", "fn_deadline", "fn_method", "fn_request_url", "task-id"):
        assert names.count(name) == 1
    assert dict(seen.headers)["Fn_call_id"] == call.id
