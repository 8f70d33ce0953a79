"""The protocol `json`: the line it writes, byte for byte, and what it makes of the objects that functions write."""

from __future__ import annotations

import json
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hotfn_core import Call, Connection, Exit, Limits, LocalProtocolError, RemoteProtocolError, ReplyTooLarge
from hotfn_core.protocol import ReplyBody, ReplyEnd, ReplyHead
from hotfn_core.testing.check_protocol import Outcome, play
from hotfn_protocols.json import PIECE, JsonProtocol
from hotfn_protocols.json_scan import MAX_DEPTH, ObjectEnd
from hotfn_protocols.object_stream import ESCAPED

EXPIRES = 1517331159.786
CALL = Call("123", b"hello", (("X-A", "b"),), "POST", "http://h/r/myapp/hot?x=1", "text/plain")
TEAPOT = (
    b'{"body":"short and stout","content_type":"text/plain","protocol":{"status_code":418,'
    b'"headers":{"X-Custom":["one"]}}}'
)


def encode(call: Call) -> bytes:
    data = JsonProtocol().connect(Limits()).encode(call, EXPIRES)
    assert isinstance(data, bytes)
    return data


def calling(limits: Limits = Limits()) -> Connection:
    connection = JsonProtocol().connect(limits)
    connection.encode(CALL, EXPIRES)
    return connection


def read(wire: bytes, limits: Limits = Limits()) -> Outcome:
    """Return what the reply is; it must be the same byte by byte."""
    whole = play(calling(limits), [wire])
    slowly = play(calling(limits), [wire[at : at + 1] for at in range(len(wire))])
    assert whole.essence == slowly.essence
    assert type(whole.error) is type(slowly.error) or whole.stray
    return whole


def reply(wire: bytes, limits: Limits = Limits()) -> tuple[int, tuple[tuple[str, str], ...], bytes]:
    """Return status, headers and body of a reply after which the copy lives on."""
    seen = read(wire, limits)
    assert seen.error is None
    assert seen.end == ReplyEnd()
    return seen.status, seen.headers, seen.body


def refusal(wire: bytes, limits: Limits = Limits()) -> str:
    seen = read(wire, limits)
    assert seen.end is None
    assert seen.error is not None
    return seen.error.message


class TestTheLine:
    def test_golden_bytes(self) -> None:
        assert encode(CALL) == (
            b'{"call_id":"123","deadline":"2018-01-30T16:52:39.786Z","body":"hello","content_type":"text/plain",'
            b'"protocol":{"type":"http","method":"POST","request_url":"http://h/r/myapp/hot?x=1",'
            b'"headers":{"Content-Type":["text/plain"],"X-A":["b"]}}}\n'
        )

    def test_golden_escapes(self) -> None:
        # Measured: 3C 61 3E 26 became "\u003ca\u003e\u0026". The apostrophe is escaped for fdk 0.0.9 to 0.0.21.
        assert b'"body":"\\u003ca\\u003e\\u0026\\u0027"' in encode(CALL._replace(body=b"<a>&'"))

    def test_all_is_ascii_and_one_line(self) -> None:
        body = '\u00fc\u20ac\U0001f600\u2028\r\n\t"\\\x00\x7f'
        line = encode(CALL._replace(body=body.encode(), url="/\u00fc"))
        assert line.isascii()
        assert line.count(b"\n") == 1
        assert b'"body":"\\u00fc\\u20ac\\ud83d\\ude00\\u2028\\r\\n\\t\\"\\\\\\u0000\\u007f"' in line
        assert json.loads(line)["body"] == body

    def test_an_empty_call(self) -> None:
        assert encode(Call("1", method="GET", url="")) == (
            b'{"call_id":"1","deadline":"2018-01-30T16:52:39.786Z","body":"","content_type":"",'
            b'"protocol":{"type":"http","method":"GET","request_url":"http://localhost/","headers":{}}}\n'
        )

    def test_headers_are_lists_under_canonical_names(self) -> None:
        headers = (("x-b", "1"), ("ACCEPT", "2"), ("X-B", "3"), ("Connection", "x-c"), ("X-C", "4"), ("Host", "h"),
                   ("Content-Length", "9"), ("Fn_call_id", "evil"), ("user-agent", "ua"))  # fmt: skip
        protocol = json.loads(encode(CALL._replace(headers=headers, content_type="")))["protocol"]
        assert protocol["headers"] == {"Accept": ["2"], "User-Agent": ["ua"], "X-B": ["1", "3"]}
        assert list(protocol["headers"]) == ["Accept", "User-Agent", "X-B"]

    def test_the_content_type_of_a_header_is_the_calls(self) -> None:
        call = json.loads(encode(CALL._replace(headers=(("content-type", "a/b"),), content_type="")))
        assert (call["content_type"], call["protocol"]["headers"]) == ("a/b", {"Content-Type": ["a/b"]})

    @pytest.mark.parametrize("body", [b"\xff", b"ok\x80", b"\xed\xa0\x80", b"\xc0\x80", b"\xf0\x9f\x98"])
    def test_a_body_that_is_no_text_is_refused_and_not_damaged(self, body: bytes) -> None:
        connection = JsonProtocol().connect(Limits())
        with pytest.raises(LocalProtocolError, match=r"not valid UTF-8 .* use format http for binary bodies"):
            connection.encode(CALL._replace(body=body), EXPIRES)
        assert connection.encode(CALL, EXPIRES) == encode(CALL)

    @pytest.mark.parametrize(
        "change",
        [{"id": "\n"}, {"method": "A B"}, {"url": "a b"}, {"headers": (("X", "a\nb"),)}, {"headers": (("", "x"),)}],
        ids=str,
    )  # fmt: skip
    def test_what_is_refused_is_refused_here_too(self, change: dict[str, Any]) -> None:
        with pytest.raises(LocalProtocolError):
            encode(CALL._replace(**change))

    @given(st.text(), st.text())
    def test_any_text_comes_through(self, body: str, path: str) -> None:
        call = CALL._replace(body=body.encode("utf-8", "replace"))
        line = encode(call)
        assert json.loads(line)["body"].encode() == call.body
        assert not set(b"<>&'\x80") & set(line)
        assert line.index(b"\n") == len(line) - 1

    def test_a_second_call_at_a_time_is_a_mistake_of_the_program(self) -> None:
        with pytest.raises(AssertionError, match="one call at a time"):
            calling().encode(CALL, EXPIRES)


class TestWhatRealFunctionsWrite:
    """Replies of Fn's kits and of jq, as they were seen on a pipe."""

    def test_the_documented_shape(self) -> None:
        assert reply(TEAPOT + b"\n") == (418, (("X-Custom", "one"), ("Content-Type", "text/plain")), b"short and stout")

    def test_fdk_0_0_1_status_and_headers_at_the_top_and_no_newline(self) -> None:
        wire = (
            rb'{"body":"\"short and stout\"","status_code":418,'
            rb'"headers":{"content-type":["text\/plain; charset=utf-8"],"x-custom":["one"],"content-length":["17"]}}'
        )
        headers = (("content-type", "text/plain; charset=utf-8"), ("x-custom", "one"))
        assert reply(wire) == (418, headers, b'"short and stout"')

    def test_fdk_0_0_8_header_values_are_strings(self) -> None:
        assert reply(b'{"body":"","headers":{"x-custom":"one","content-length":["17"]}}') == (
            200,
            (("x-custom", "one"),),
            b"",
        )

    def test_fdk_0_0_12_the_body_of_an_error_is_an_object(self) -> None:
        wire = b'{"body":{"error":{"message":"boom"}},"status_code":500,"headers":{"content-length":["1"]}}\n'
        assert reply(wire) == (500, (), b'{"error":{"message":"boom"}}')

    def test_fdk_0_0_20_status_and_headers_under_protocol(self) -> None:
        wire = rb'{"body":"\"x\"","content_type":"text\/plain","protocol":{"status_code":418,"headers":{}}}' + b"\n"
        assert reply(wire) == (418, (("Content-Type", "text/plain"),), b'"x"')

    def test_fdk_0_0_30_json_in_json_is_passed_on_as_it_is(self) -> None:
        assert reply(rb'{"body":"\"{\\\"a\\\": 1}\"","content_type":"application/json"}')[2] == rb'"{\"a\": 1}"'

    def test_fdk_go_an_empty_content_type_does_not_win(self) -> None:
        wire = (
            b'{"body":"x","content_type":"","protocol":{"status_code":418,'
            b'"headers":{"Content-Type":["a/b"],"X-Custom":["one"]}}}\n'
        )
        assert reply(wire) == (418, (("Content-Type", "a/b"), ("X-Custom", "one")), b"x")

    def test_fdk_node_an_error_has_no_headers(self) -> None:
        assert reply(b'{"body":"x","content_type":"a/b","protocol":{"status_code":500}}\n') == (
            500,
            (("Content-Type", "a/b"),),
            b"x",
        )

    def test_fdk_ruby_two_newlines(self) -> None:
        wire = b'{"headers":{"Content-Type":["application/json"]},"status_code":200,"body":"x"}\n\n'
        assert reply(wire) == (200, (("Content-Type", "application/json"),), b"x")

    def test_jq_pretty_printed(self) -> None:
        wire = (
            json.dumps({"body": "}{", "protocol": {"status_code": 418, "headers": {"X": ["}"]}}}, indent=2).encode()
            + b"\n"
        )
        assert reply(wire) == (418, (("X", "}"),), b"}{")

    def test_python_escapes_and_go_does_not(self) -> None:
        assert reply(rb'{"body":"\/ \u00fc \ud83d\ude00"}')[2] == "/ \u00fc \U0001f600".encode()
        assert reply('{"body":"/ \u00fc \U0001f600"}'.encode())[2] == "/ \u00fc \U0001f600".encode()

    def test_the_kits_content_length_counts_characters_and_goes(self) -> None:
        for name in (b"content-length", b"Content-Length", b"CONTENT-LENGTH"):
            assert reply(b'{"body":"x","headers":{"%s":["9"]}}' % name)[1] == ()

    def test_content_type_replaces_every_other(self) -> None:
        wire = (
            b'{"content_type":"a/b","protocol":{"headers":{"Content-Type":["c/d","e/f"],"content-type":"g/h","X":"y"}}}'
        )
        assert reply(wire)[1] == (("X", "y"), ("Content-Type", "a/b"))


class TestBodies:
    @pytest.mark.parametrize(
        ("value", "body"),
        [
            (b'"text"', b"text"), (b'""', b""), (b"null", b""), (b"0", b"0"), (b"-1.50e+3", b"-1.50e+3"),
            (b"true", b"true"),
            (b"[]", b"[]"), (b"{ }", b"{}"), (b'[1, "a b", {"c": null}]', b'[1,"a b",{"c":null}]'),
            (b"123456789012345678901234567890", b"123456789012345678901234567890"), (b"0.1000000000000000000001",
            b"0.1000000000000000000001"),
            (rb'"\u0000\n"', b"\0\n"), (rb'{"a":"\u00fc"}', rb'{"a":"\u00fc"}'),
        ],
    )  # fmt: skip
    def test_any_json_is_a_body(self, value: bytes, body: bytes) -> None:
        assert reply(b'{"body": %s}' % value)[2] == body

    def test_a_reply_needs_nothing(self) -> None:
        assert reply(b"{}") == (200, (), b"")
        nothing = b'{"body":null,"content_type":null,"protocol":null,"status_code":null,"headers":null}'
        assert reply(nothing) == (200, (), b"")
        assert reply(b'{"protocol":{"status_code":null,"headers":null},"status_code":418,"headers":{"X":"y"}}')[:2] == (
            418,
            (("X", "y"),),
        )

    def test_status_0_is_200(self) -> None:
        assert reply(b'{"protocol":{"status_code":0}}')[0] == 200

    def test_protocol_wins_over_the_top(self) -> None:
        wire = b'{"status_code":500,"headers":{"A":"b"},"protocol":{"status_code":418,"headers":{"C":"d"}}}'
        assert reply(wire) == (418, (("C", "d"),), b"")

    def test_unknown_keys_mean_nothing(self) -> None:
        assert reply(b'{"x":[{"body":1}],"body":"ok","protocol":{"type":"http","y":{}}}')[2] == b"ok"

    def test_hop_by_hop_headers_are_not_passed_on(self) -> None:
        assert reply(b'{"headers":{"Connection":"close","transfer-encoding":["chunked"],"Keep-Alive":"x","X":"y"}}')[
            1
        ] == (("X", "y"),)


class TestMalformed:
    @pytest.mark.parametrize("wire", [b"hello", b"[", b'"', b"1", b"null", b"}", b"\0", b"\xef\xbb\xbf{}", b"<html>"])
    def test_what_is_no_object_is_refused_at_its_first_byte(self, wire: bytes) -> None:
        assert "where a JSON object was expected; what is no reply belongs on stderr" in refusal(wire[:1])
        assert "where a JSON object was expected" in refusal(b"\n " + wire)

    @pytest.mark.parametrize(
        "wire",
        [b"{]}", b"{x}", b"{'body':1}", b'{"body":}', b'{"body":"a" "b"}', b'{"body":1,}', b'{"body":01}',
         b'{"body":NaN}',
         b'{"body":"\x01"}', b'{"body":"\xff"}', rb'{"body":"\ud800"}', rb'{"body":"\x"}', rb'{"body":"\u12"}',
         b'{"body":tru}',
         b'{"body":[1,]}', b'{"body":{"a"}}', b'{"status_code":"200"}', b'{"status_code":200.5}', b'{"protocol":1}',
         b'{"protocol":[]}',
         b'{"headers":[]}', b'{"headers":{"a":1}}', b'{"headers":{"a":[1]}}', b'{"headers":{"a":null}}',
         b'{"content_type":1}'],
    )  # fmt: skip
    def test_what_is_no_reply_is_refused(self, wire: bytes) -> None:
        assert "JSON reply" in refusal(wire)

    @pytest.mark.parametrize("status", [-1, 1, 99, 100, 101, 199, 1000, 10**30])
    def test_impossible_statuses(self, status: int) -> None:
        refusal(b'{"status_code":%d}' % status)

    @pytest.mark.parametrize("name", ["", "a b", "a:", "a\n", "\u00fc"])
    def test_impossible_header_names(self, name: str) -> None:
        assert "impossible header" in refusal(json.dumps({"headers": {name: "x"}}).encode())

    @pytest.mark.parametrize("value", ["a\r\nSet-Cookie: x", "\0", "a\n"])
    def test_a_reply_cannot_split_what_is_made_of_it(self, value: str) -> None:
        assert "impossible header" in refusal(json.dumps({"headers": {"X": [value]}}).encode())
        assert "impossible header" in refusal(json.dumps({"content_type": value}).encode())

    def test_deep_nesting_is_bounded(self) -> None:
        fits = b'{"body":' + b"[" * (MAX_DEPTH - 1) + b"]" * (MAX_DEPTH - 1) + b"}"
        assert reply(fits)[2] == fits[8:-1]
        assert f"deeper than {MAX_DEPTH}" in refusal(b'{"body":' + b"[" * MAX_DEPTH)
        assert f"deeper than {MAX_DEPTH}" in refusal(b'{"a":' * 100_000)


class TestExcess:
    def test_blanks_are_none(self) -> None:
        connection = calling()
        assert connection.receive(b" \t\r\n" + TEAPOT + b"\r\n \t\n")[-1] == ReplyEnd()
        assert connection.receive(b"\n\n") == ()

    def test_now(self) -> None:
        assert calling().receive(TEAPOT + b"\n\nmore")[-1] == ReplyEnd(reusable=False, excess=4)

    def test_later(self) -> None:
        connection = calling()
        assert connection.receive(TEAPOT)[-1] == ReplyEnd()
        with pytest.raises(RemoteProtocolError, match="wrote b'{}' to stdout while no call was running"):
            connection.receive(b"\n{}")

    def test_before_the_first_call(self) -> None:
        connection = JsonProtocol().connect(Limits())
        assert connection.receive(b"\n") == ()
        with pytest.raises(RemoteProtocolError, match="while no call was running"):
            connection.receive(TEAPOT)


class TestLimits:
    def test_a_body_of_exactly_the_limit_passes(self) -> None:
        wire = rb'{"body":"\u0030123456789"}'
        assert reply(wire, Limits(max_body=10))[2] == b"0123456789"
        assert "10 bytes, over the limit of 9" in refusal(wire, Limits(max_body=9))
        assert isinstance(read(b'{"body":[1,2,3]}', Limits(max_body=6)).error, ReplyTooLarge)

    def test_a_body_of_escapes_fits(self) -> None:
        assert reply(b'{"body":"' + rb"\u0001" * 1000 + b'"}', Limits(max_body=1000, max_head=100))[2] == b"\x01" * 1000

    def test_an_object_without_end_is_bounded(self) -> None:
        limits = Limits(max_body=1000, max_head=100)
        held = 1000 * ESCAPED + 100
        assert read(b'{"body":"' + b"x" * (held - 9), limits).error is None
        assert "too large for a body of 1000 bytes" in refusal(b'{"body":"' + b"x" * (held - 8), limits)

    def test_the_limit_counts_before_what_is_behind_it(self) -> None:
        wire = b'{"body":"' + b"x" * 1000 + b'"' + b"[" * (MAX_DEPTH + 5)
        assert isinstance(read(wire, Limits(max_body=100, max_head=100)).error, ReplyTooLarge)

    def test_header_fields_are_bounded(self) -> None:
        fields = json.dumps({"headers": {"X": ["y"] * 100}}).encode()
        assert len(reply(fields)[1]) == 100
        assert "101 header fields" in refusal(fields.replace(b'"y"', b'"y", "y"', 1))
        assert "of 101 characters" in refusal(json.dumps({"headers": {"X": "y" * 100}}).encode(), Limits(max_head=100))

    def test_endless_blanks_are_bounded(self) -> None:
        limits = Limits(max_head=1000)
        refusal(b" " * 1001, limits)
        idle = JsonProtocol().connect(limits)
        assert idle.receive(b"\n" * 1000) == ()
        with pytest.raises(ReplyTooLarge):
            idle.receive(b"\n")
        assert read(b"{}" + b"\n" * 1001, limits).stray


class TestTheEndOfTheCopy:
    def test_a_clean_exit_amid_a_reply_is_explained(self) -> None:
        seen = play(calling(), [TEAPOT[:-1]], Exit(code=0))
        assert seen.error is not None
        assert "in the middle of its JSON reply" in seen.error.message

    @pytest.mark.parametrize("exit", [Exit(code=0), Exit(code=1), Exit(signal=9), Exit()])
    def test_before_the_reply_or_idle_it_is_no_event(self, exit: Exit) -> None:
        assert calling().receive_eof(exit) == ()
        assert JsonProtocol().connect(Limits()).receive_eof(exit) == ()

    def test_any_other_exit_explains_itself(self) -> None:
        connection = calling()
        connection.receive(b'{"body')
        assert connection.receive_eof(Exit(code=1)) == ()


def test_the_events_of_a_reply() -> None:
    assert calling().receive(b'{"body":"x"}') == [ReplyHead(200, ()), ReplyBody(b"x"), ReplyEnd()]
    assert calling().receive(b"{}") == [ReplyHead(200, ()), ReplyEnd()]


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(st.sampled_from('"\\{}[] a\u20ac\n'), max_size=8),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=3), inner, max_size=4),
    max_leaves=12,
)


@given(st.dictionaries(st.text(max_size=3), JSON, max_size=4), st.booleans(), st.booleans(), st.data())
def test_the_end_of_any_object_is_found(value: object, ascii_only: bool, pretty: bool, data: st.DataObject) -> None:
    wire = json.dumps(value, ensure_ascii=ascii_only, indent=1 if pretty else None).encode()
    places = sorted(data.draw(st.lists(st.integers(0, len(wire)), max_size=6)))
    scan, seen = ObjectEnd(), 0
    for start, end in pairwise([0, *places, len(wire)]):
        found = scan.feed(wire[start:end])
        seen += end - start
        assert found == (end - start if seen == len(wire) and end > start else -1)
        if found >= 0:
            break


@pytest.mark.parametrize("filling", [b"x", rb"\"", rb"\\", b"\xc3\xbc"], ids=["plain", "quotes", "backslashes", "utf8"])
def test_a_large_reply_in_small_pieces_takes_time_that_grows_with_its_size_only(filling: bytes) -> None:
    """Counted, not measured: each byte of the reply is looked at by one call of `feed`."""
    wire = b'{"body":"' + filling * (4 * 1024 * 1024 // len(filling)) + b'"}'
    seen = play(calling(), [wire[at : at + 4096] for at in range(0, len(wire), 4096)])
    assert seen.end == ReplyEnd()
    assert seen.body == json.loads(wire)["body"].encode()


FAILED = b'{"body":"no","protocol":{"status_code":500}}\n'
FDK_FAILED = b'{"body":{"error":{"message":"no"}},"status_code":500}\n'


@pytest.mark.parametrize(
    ("earlier", "size", "wire", "reusable"),
    [
        ([], 100, FAILED, True),
        ([], PIECE, FAILED, False),  # its line is longer
        ([], PIECE, TEAPOT, True),
        ([(PIECE, TEAPOT)], PIECE, FAILED, True),  # it takes such lines whole, as it has shown
        ([(PIECE, TEAPOT)], PIECE + 1, FAILED, False),
        ([(PIECE + 9, TEAPOT), (PIECE, TEAPOT)], PIECE + 9, FAILED, True),
        ([(100, TEAPOT)], PIECE, FAILED, False),  # a short one says nothing about long ones
        ([], 100, FDK_FAILED, True),
        ([(PIECE, TEAPOT)], PIECE, FDK_FAILED, False),  # that one may have come in one piece by luck
    ],
)
def test_an_error_in_answer_to_a_long_line_ends_the_copy(
    earlier: list[tuple[int, bytes]], size: int, wire: bytes, *, reusable: bool
) -> None:
    """Functions that take each piece of a line for a call answer the other pieces later, to whoever calls next."""
    for step in (len(wire), 1):
        connection = JsonProtocol().connect(Limits())
        for length, good in earlier:
            connection.encode(CALL._replace(body=b"x" * length), EXPIRES)
            assert play(connection, [good]).end == ReplyEnd()
        connection.encode(CALL._replace(body=b"x" * size), EXPIRES)
        seen = play(connection, [wire[at : at + step] for at in range(0, len(wire), step)])
        assert seen.end is not None
        assert (seen.error, seen.end.reusable, seen.end.excess) == (None, reusable, 0)
