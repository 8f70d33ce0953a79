"""What the `http` protocol makes of the replies that functions write: each habit of a real one is a test."""

from __future__ import annotations

import pytest

from hotfn_core import Call, Connection, Exit, Limits, RemoteProtocolError, ReplyTooLarge
from hotfn_core.protocol import ReplyBody, ReplyEnd, ReplyHead
from hotfn_core.testing.check_protocol import Outcome, play
from hotfn_protocols.http import HttpProtocol
from hotfn_protocols.http_body import MAX_LINE

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"


def calling(method: str = "POST", limits: Limits = Limits()) -> Connection:
    connection = HttpProtocol().connect(limits)
    connection.encode(Call("1", method=method), 0.0)
    return connection


def read(wire: bytes, method: str = "POST", limits: Limits = Limits(), exit: Exit | None = None) -> Outcome:
    """Return what the reply is; it must be the same byte by byte."""
    whole = play(calling(method, limits), [wire], exit)
    slowly = play(calling(method, limits), [wire[at : at + 1] for at in range(len(wire))], exit)
    assert whole.essence == slowly.essence
    assert type(whole.error) is type(slowly.error) or whole.stray
    return whole


def reply(
    wire: bytes, method: str = "POST", limits: Limits = Limits()
) -> tuple[int, tuple[tuple[str, str], ...], bytes]:
    """Return status, headers and body of a reply after which the copy lives on."""
    seen = read(wire, method, limits)
    assert seen.error is None
    assert seen.end == ReplyEnd()
    return seen.status, seen.headers, seen.body


def refusal(wire: bytes, limits: Limits = Limits()) -> str:
    seen = read(wire, limits=limits)
    assert seen.end is None
    assert seen.error is not None
    assert seen.error.code == ("reply_too_large" if isinstance(seen.error, ReplyTooLarge) else "remote_protocol_error")
    return seen.error.message


class TestWhatRealFunctionsWrite:
    """Bytes of Fn's kits and of HTTP servers, as they were seen on a pipe."""

    def test_fdk_a_newline_follows_each_body(self) -> None:
        wire = (
            b"HTTP/1.1 418 I'm a Teapot\r\nContent-Type: text/plain; charset=utf-8\r\nX-Custom: one\r\n"
            b"Content-Length: 15\r\n\r\nshort and stout\n"
        )
        headers = (("Content-Type", "text/plain; charset=utf-8"), ("X-Custom", "one"), ("Content-Length", "15"))
        assert reply(wire) == (418, headers, b"short and stout")

    def test_fdk_that_newline_is_before_the_next_reply(self) -> None:
        connection = calling()
        assert play(connection, [OK]).end == ReplyEnd()
        connection.encode(Call("2"), 0.0)
        assert play(connection, [b"\n" + OK]).body == b"ok"
        assert connection.receive(b"\n") == ()

    def test_fdk_two_content_types_in_an_error(self) -> None:
        wire = (
            b"HTTP/1.1 500 Internal Server Error\r\ncontent-type: text/plain\r\n"
            b"Content-Type: text/plain; charset=utf-8\r\nContent-Length: 4\r\n\r\nboom\n"
        )
        status, headers, body = reply(wire)
        assert (status, body) == (500, b"boom")
        assert headers[:2] == (("content-type", "text/plain"), ("Content-Type", "text/plain; charset=utf-8"))

    def test_fdk_an_empty_body_has_no_length(self) -> None:
        wire = b"HTTP/1.1 200 OK\r\nContent-Type: text/plain; charset=utf-8\r\n\r\n\n"
        assert reply(wire) == (200, (("Content-Type", "text/plain; charset=utf-8"),), b"")

    def test_fdk_a_head_without_fields_ends_in_a_bare_newline(self) -> None:
        assert reply(b"HTTP/1.1 200 OK\r\n\n") == (200, (), b"")

    def test_a_head_with_bare_newlines_throughout(self) -> None:
        assert reply(b"HTTP/1.1 200 OK\nX: y\nContent-Length: 2\n\nok") == (
            200,
            (("X", "y"), ("Content-Length", "2")),
            b"ok",
        )

    def test_a_head_with_mixed_line_ends(self) -> None:
        assert reply(b"HTTP/1.1 200 OK\nX: y\r\n\r\n") == (200, (("X", "y"),), b"")
        assert reply(b"HTTP/1.1 200 OK\r\nX: y\n\r\n") == (200, (("X", "y"),), b"")

    def test_fdk_line_ends_in_an_error_text_stay_in_the_body(self) -> None:
        assert reply(b"HTTP/1.1 500 x\r\nContent-Length: 8\r\n\r\na\r\n\r\nb\r\n\n")[2] == b"a\r\n\r\nb\r\n"[:8]

    def test_node_chunks(self) -> None:
        wire = (
            b"HTTP/1.1 418 I'm a teapot\r\nX-Custom: one\r\nDate: Tue, 24 Nov 2026 02:37:03 GMT\r\n"
            b"Connection: keep-alive\r\nTransfer-Encoding: chunked\r\n\r\n7\r\nshort a\r\n8\r\nnd stout\r\n0\r\n\r\n"
        )
        headers = (("X-Custom", "one"), ("Date", "Tue, 24 Nov 2026 02:37:03 GMT"))
        assert reply(wire) == (418, headers, b"short and stout")

    def test_node_a_400_closes(self) -> None:
        seen = read(b"HTTP/1.1 400 Bad Request\r\nConnection: close\r\n\r\n", exit=Exit(code=0))
        assert (seen.status, seen.headers, seen.body, seen.end) == (400, (), b"", ReplyEnd(reusable=False))

    def test_java_names_and_reasons_of_its_own(self) -> None:
        assert reply(b"HTTP/1.1 200 INVOKED\r\nContent-length: 2\r\n\r\nok") == (200, (("Content-length", "2"),), b"ok")

    def test_cpython_speaks_http_1_0_and_goes_away(self) -> None:
        seen = read(b"HTTP/1.0 200 OK\r\nServer: x\r\nContent-Length: 2\r\n\r\nok")
        assert (seen.body, seen.end) == (b"ok", ReplyEnd(reusable=False))

    def test_http_1_0_that_says_it_stays(self) -> None:
        assert reply(b"HTTP/1.0 200 OK\r\nConnection: Keep-Alive\r\nContent-Length: 2\r\n\r\nok")[2] == b"ok"

    def test_a_server_that_answers_one_request_ends_its_body_with_its_exit(self) -> None:
        wire = b"HTTP/1.0 200 OK\r\nContent-type: text/html\r\nConnection: close\r\n\r\n<p>\r\n\r\n</p>\n"
        seen = read(wire, exit=Exit(code=0))
        assert (seen.body, seen.end) == (b"<p>\r\n\r\n</p>\n", ReplyEnd(reusable=False))
        assert read(wire).end is None
        assert read(wire, exit=Exit(code=1)).end is None
        assert read(wire, exit=Exit(signal=9)).end is None


class TestInterimReplies:
    @pytest.mark.parametrize("status", [b"100 Continue", b"102 Processing", b"103 Early Hints"])
    def test_they_are_read_over(self, status: bytes) -> None:
        interim = b"HTTP/1.1 " + status + b"\r\nLink: x\r\n\r\n"
        assert reply(interim + b"\n" + interim + OK) == (200, (("Content-Length", "2"),), b"ok")

    def test_no_other_protocol_is_switched_to(self) -> None:
        for fields in (b"", b"Upgrade: x\r\nConnection: upgrade\r\n"):
            assert "HTTP/1.1 101 Switching" in refusal(b"HTTP/1.1 101 Switching Protocols\r\n" + fields + b"\r\n")

    def test_an_upgrade_that_is_only_offered_changes_nothing(self) -> None:
        assert reply(OK.replace(b"\r\n", b"\r\nUpgrade: x\r\nConnection: upgrade\r\n", 1))[2] == b"ok"

    def test_endless_ones_are_bounded(self) -> None:
        limits = Limits(max_head=1000)
        assert "larger than 1000 bytes" in refusal(b"HTTP/1.1 100 Continue\r\n\r\n" * 41, limits)

    def test_many_at_once_need_no_stack(self) -> None:
        assert reply(b"HTTP/1.1 100 C\r\n\r\n" * 3000 + OK)[0] == 200


class TestRepliesWithoutABody:
    @pytest.mark.parametrize("status", [b"204 No Content", b"304 Not Modified"])
    @pytest.mark.parametrize(
        "field", [b"", b"Content-Length: 5\r\n", b"Transfer-Encoding: chunked\r\n", b"Connection: x\r\n"]
    )
    def test_204_and_304(self, status: bytes, field: bytes) -> None:
        assert reply(b"HTTP/1.1 " + status + b"\r\n" + field + b"\r\n")[2] == b""

    @pytest.mark.parametrize("field", [b"", b"Content-Length: 5\r\n", b"Transfer-Encoding: chunked\r\n"])
    def test_head(self, field: bytes) -> None:
        assert reply(b"HTTP/1.1 200 OK\r\n" + field + b"\r\n\n", "HEAD")[2] == b""

    def test_head_keeps_the_length_it_was_told(self) -> None:
        assert reply(b"HTTP/1.1 200 OK\r\nContent-Length: 99999999999\r\n\r\n", "HEAD")[1] == (
            ("Content-Length", "99999999999"),
        )

    def test_head_with_a_body_all_the_same_is_never_another_callers_answer(self) -> None:
        wire = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n"
        assert play(calling("HEAD"), [wire + b"hello"]).end == ReplyEnd(reusable=False, excess=5)
        connection = calling("HEAD")
        assert play(connection, [wire]).end == ReplyEnd()
        with pytest.raises(RemoteProtocolError, match="while no call was running"):
            connection.receive(b"hello")
        connection = calling("HEAD")
        play(connection, [wire])
        connection.encode(Call("2"), 0.0)
        with pytest.raises(RemoteProtocolError, match="where an HTTP reply was expected"):
            connection.receive(b"hello")

    def test_204_with_a_body_all_the_same_ends_the_copy(self) -> None:
        assert read(b"HTTP/1.1 204 No Content\r\nContent-Length: 2\r\n\r\nok").stray

    def test_a_length_of_zero(self) -> None:
        assert reply(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n") == (200, (("Content-Length", "0"),), b"")


class TestChunks:
    def test_extensions_and_trailers_are_read_over(self) -> None:
        wire = CHUNKED + b'3;a=b\r\nabc\r\n2 ; c="d"\r\nde\r\n000\r\nX-Sum: 1\r\nY: 2\r\n\r\n'
        assert reply(wire) == (200, (), b"abcde")

    def test_sizes_are_hexadecimal(self) -> None:
        assert (
            reply(CHUNKED + b"1A\r\n" + b"x" * 26 + b"\r\na\r\n" + b"y" * 10 + b"\r\n0\r\n\r\n")[2]
            == b"x" * 26 + b"y" * 10
        )

    def test_the_pieces_of_one_read_are_one_event(self) -> None:
        events = calling().receive(CHUNKED + b"1\r\na\r\n1\r\nb\r\n0\r\n\r\n")
        assert events == [ReplyHead(200, ()), ReplyBody(b"ab"), ReplyEnd()]

    @pytest.mark.parametrize(
        "body",
        [b"x\r\n", b"-1\r\n", b"+1\r\n", b"0x1\r\n", b" 1\r\n", b"\r\n", b"\n", b"1\n", b"1\r\nab\r\n", b"1\r\na\n",
         b"1\r\na\rb", b"1" * 17 + b"\r\n", b"1;\n", b"1;\r\r\n", b"0\r\n\n", b"0\r\nX\rY\r\n"],
    )  # fmt: skip
    def test_broken_framing_is_refused_at_once(self, body: bytes) -> None:
        assert "chunked reply is broken at" in refusal(CHUNKED + body)

    def test_lines_are_bounded(self) -> None:
        fits = b"1;" + b"x" * (MAX_LINE - 4) + b"\r\na\r\n0\r\n\r\n"
        assert reply(CHUNKED + fits)[2] == b"a"
        assert f"longer than {MAX_LINE}" in refusal(CHUNKED + fits.replace(b";", b";x"))

    @pytest.mark.parametrize(
        "flood", [b"1;" + b"x" * 96 + b"\r\na\r\n", b"0\r\n" + (b"X: " + b"y" * 95 + b"\r\n") * 11]
    )
    def test_a_flood_of_extensions_or_trailers_is_bounded(self, flood: bytes) -> None:
        assert "more than 1000 bytes" in refusal(CHUNKED + flood * 11, Limits(max_head=1000))

    def test_whichever_comes_first_counts(self) -> None:
        assert "longer than" in refusal(CHUNKED + b"0\r\n" + b"x" * (MAX_LINE + 1) + b"\r\r")
        assert "broken at" in refusal(CHUNKED + b"1;\r\r" + b"x" * (MAX_LINE + 1))

    def test_other_codings_are_refused(self) -> None:
        for coding in (b"gzip", b"gzip, chunked", b"chunked, chunked", b"identity", b""):
            refusal(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: " + coding + b"\r\n\r\n")

    def test_a_length_beside_chunks_is_refused(self) -> None:
        refusal(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n")
        refusal(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n")


class TestMalformedHeads:
    @pytest.mark.parametrize(
        "first", [b"x", b"hello\n", b"\0", b" HTTP/1.1", b"HTTP/2", b"http/1.1", b"H\r\n", b"{}", b"HTTPS"]
    )
    def test_what_is_no_reply_is_refused_before_a_line_is_complete(self, first: bytes) -> None:
        message = refusal(first)
        assert "to stdout where an HTTP reply was expected; what is no reply belongs on stderr" in message
        assert repr(first) in message

    @pytest.mark.parametrize(
        "head",
        [b"HTTP/1.x 200 OK\r\n\r\n", b"HTTP/1.1\r\n\r\n", b"HTTP/1.1 \r\n\r\n", b"HTTP/1.1 20\r\n\r\n",
         b"HTTP/1.1 2000\r\n\r\n",
         b"HTTP/1.1 abc\r\n\r\n", b"HTTP/1.1 099 x\r\n\r\n", b"HTTP/1.1 000 x\r\n\r\n", b"HTTP/1.1 -20 x\r\n\r\n",
         b"HTTP/1.1 200 OK\r\nno colon\r\n\r\n", b"HTTP/1.1 200 OK\r\n: x\r\n\r\n",
         b"HTTP/1.1 200 OK\r\nA B: x\r\n\r\n",
         b"HTTP/1.1 200 OK\r\nX: folded\r\n line\r\n\r\n", b"HTTP/1.1 200 OK\r\nX:\r\n\tfolded\r\n\r\n",
         b"HTTP/1.1 200 OK\r\nX : y\r\n\r\n",
         b"HTTP/1.1 200 OK\r\nX: \0\r\n\r\n", b"HTTP/1.1 200 OK\r\nX: a\rb\r\n\r\n",
         b"HTTP/1.1 200 OK\r\nX\xfc: a\r\n\r\n",
         b"HTTP/1.1 200 OK\r\nContent-Length: x\r\n\r\n", b"HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n",
         b"HTTP/1.1 200 OK\r\nContent-Length: +1\r\n\r\n", b"HTTP/1.1 200 OK\r\nContent-Length:\r\n\r\n",
         b"HTTP/1.1 200 OK\r\nContent-Length: 1, 1\r\n\r\n", b"HTTP/1.1 200 OK\r\nContent-Length: 1 1\r\n\r\n",
         b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n",
         b"HTTP/1.1 200 OK\r\nContent-Length: 99999999999999999999999999\r\n\r\n"],
    )  # fmt: skip
    def test_they_are_refused(self, head: bytes) -> None:
        refusal(head)

    def test_the_message_shows_the_beginning_only(self) -> None:
        assert refusal(b"HTTP/1.1 999999 " + b"x" * 500 + b"\r\n\r\n").count("x") < 60


class TestTolerated:
    @pytest.mark.parametrize(
        "line", [b"HTTP/1.1 200", b"HTTP/1.1 200 ", b"HTTP/1.1 200 \xc3\xbc", b"HTTP/1.1 200 a  b"]
    )
    def test_any_reason_or_none(self, line: bytes) -> None:
        assert reply(line + b"\r\nContent-Length: 2\r\n\r\nok")[2] == b"ok"

    def test_blanks_around_a_value_and_an_empty_one(self) -> None:
        assert reply(b"HTTP/1.1 200 OK\r\nA:  b \t\r\nC:\r\n\r\n")[1] == (("A", "b"), ("C", ""))

    def test_bytes_above_127_are_latin_1(self) -> None:
        assert reply(b"HTTP/1.1 200 OK\r\nA: \xfc\r\n\r\n")[1] == (("A", "\xfc"),)

    def test_unusual_statuses_pass(self) -> None:
        assert reply(b"HTTP/1.1 999 Odd\r\n\r\n")[0] == 999


class TestHopByHop:
    def test_they_are_not_passed_on(self) -> None:
        wire = (
            b"HTTP/1.1 200 OK\r\nConnection: keep-alive, X-Mine\r\nKeep-Alive: 75\r\nProxy-Authenticate: x\r\nTE: x\r\n"
            b"Trailer: x\r\nUpgrade: x\r\nx-mine: 1\r\nX-Kept: 2\r\nContent-Length: 0\r\n\r\n"
        )
        assert reply(wire)[1] == (("X-Kept", "2"), ("Content-Length", "0"))

    @pytest.mark.parametrize("value", [b"close", b"Close", b"keep-alive, close", b"x\r\nConnection: close"])
    def test_a_function_that_closes_gets_no_other_call(self, value: bytes) -> None:
        seen = read(b"HTTP/1.1 200 OK\r\nConnection: " + value + b"\r\nContent-Length: 2\r\n\r\nok")
        assert (seen.body, seen.headers, seen.end) == (b"ok", (("Content-Length", "2"),), ReplyEnd(reusable=False))

    def test_closing_and_excess(self) -> None:
        events = calling().receive(b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\nok\nmore")
        assert events[-1] == ReplyEnd(reusable=False, excess=4)


class TestExcess:
    def test_now(self) -> None:
        assert calling().receive(OK + b"\r\n\nmore")[-1] == ReplyEnd(reusable=False, excess=4)

    def test_later(self) -> None:
        connection = calling()
        assert connection.receive(OK + b"\n")[-1] == ReplyEnd()
        with pytest.raises(RemoteProtocolError, match=r"wrote b'more\\n' to stdout while no call was running"):
            connection.receive(b"\r\nmore\n")

    def test_before_the_first_call(self) -> None:
        connection = HttpProtocol().connect(Limits())
        assert connection.receive(b"\r\n") == ()
        with pytest.raises(RemoteProtocolError, match="while no call was running"):
            connection.receive(OK)

    def test_a_space_is_not_a_blank_line(self) -> None:
        assert read(OK + b" \n").stray


class TestLimits:
    @pytest.mark.parametrize(
        "wire", [b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n0123456789",
                 CHUNKED + b"3\r\n012\r\n7\r\n3456789\r\n0\r\n\r\n"],
    )  # fmt: skip
    def test_a_body_of_exactly_the_limit_passes(self, wire: bytes) -> None:
        assert reply(wire, limits=Limits(max_body=10))[2] == b"0123456789"
        seen = read(wire, limits=Limits(max_body=9))
        assert isinstance(seen.error, ReplyTooLarge)
        assert "over the limit of 9 bytes" in seen.error.message

    def test_a_body_that_ends_with_the_exit(self) -> None:
        wire = b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n0123456789"
        assert read(wire, limits=Limits(max_body=10), exit=Exit(code=0)).body == b"0123456789"
        assert isinstance(read(wire, limits=Limits(max_body=9), exit=Exit(code=0)).error, ReplyTooLarge)

    def test_a_length_over_the_limit_is_refused_before_the_body_comes(self) -> None:
        assert "announced a reply of 11 bytes" in refusal(
            b"HTTP/1.1 200 OK\r\nContent-Length: 11\r\n\r\n", Limits(max_body=10)
        )

    def test_a_head_of_exactly_the_limit_passes(self) -> None:
        head = b"HTTP/1.1 200 OK\r\nX: " + b"y" * 75 + b"\r\n\r\n"
        assert len(head) == 99
        assert reply(head, limits=Limits(max_head=99))[0] == 200
        assert "larger than 98 bytes" in refusal(head, Limits(max_head=98))

    def test_blank_lines_over_the_limit_count_before_the_garbage_behind_them(self) -> None:
        assert "larger than 9 bytes" in refusal(b"\n" * 7 + b"HTTPS", Limits(max_head=9))
        assert "where an HTTP reply was expected" in refusal(b"\n" * 7 + b"HX", Limits(max_head=9))

    def test_a_head_without_end_is_bounded(self) -> None:
        assert "larger than 1000 bytes" in refusal(b"HTTP/1.1 200 OK\r\nX: " + b"y" * 2000, Limits(max_head=1000))

    def test_header_fields_are_bounded(self) -> None:
        head = b"HTTP/1.1 200 OK\r\n"
        assert len(reply(head + b"X: y\r\n" * 100 + b"\r\n")[1]) == 100
        assert "101 header fields, more than 100" in refusal(head + b"X: y\r\n" * 101 + b"\r\n")

    def test_endless_blank_lines_are_bounded(self) -> None:
        limits = Limits(max_head=1000)
        assert "larger than 1000 bytes" in refusal(b"\n" * 1001, limits)
        idle = HttpProtocol().connect(limits)
        assert idle.receive(b"\r\n" * 500) == ()
        with pytest.raises(ReplyTooLarge):
            idle.receive(b"\n")
        assert read(OK + b"\n" * 1001, limits=limits).stray

    def test_a_newline_behind_each_of_many_replies_is_not_endless(self) -> None:
        connection = HttpProtocol().connect(Limits(max_head=50))
        for _ in range(200):
            connection.encode(Call("1"), 0.0)
            assert connection.receive(OK + b"\n")[-1] == ReplyEnd()


class TestTheEndOfTheCopy:
    @pytest.mark.parametrize(
        ("wire", "owed"),
        [
            (b"HTTP/1.1 2", "the rest of the head of its reply"),
            (b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhel", "2 of the 5 bytes of its reply"),
            (CHUNKED + b"5\r\nhel", "the end of its chunked reply"),
        ],
    )
    def test_a_clean_exit_amid_a_reply_is_explained(self, wire: bytes, owed: str) -> None:
        seen = play(calling(), [wire], Exit(code=0))
        assert seen.error is not None
        assert seen.error.message == f"the function exited and still owed {owed}"

    @pytest.mark.parametrize("exit", [Exit(code=1), Exit(signal=9), Exit(), Exit(code=137, oom=True)])
    def test_any_other_exit_explains_itself(self, exit: Exit) -> None:
        for wire in (b"", b"HTTP/1.1 2", b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhel"):
            connection = calling()
            connection.receive(wire)
            assert connection.receive_eof(exit) == ()

    def test_before_the_reply_or_idle_it_is_no_event(self) -> None:
        assert calling().receive_eof(Exit(code=0)) == ()
        assert HttpProtocol().connect(Limits()).receive_eof(Exit(code=0)) == ()


def test_the_head_of_the_last_reply_is_not_taken_for_another() -> None:
    connection = HttpProtocol().connect(Limits())
    for status, method in [(200, "GET"), (200, "HEAD"), (500, "GET"), (500, "GET"), (200, "GET")]:
        connection.encode(Call("1", method=method), 0.0)
        body = b"" if method == "HEAD" else b"ok"
        seen = play(connection, [b"HTTP/1.1 %d X\r\nContent-Length: 2\r\n\r\n" % status + body])
        assert (seen.status, seen.body, seen.end) == (status, body, ReplyEnd())
