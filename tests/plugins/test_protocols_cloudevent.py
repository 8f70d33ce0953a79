"""The protocol `cloudevent`: the event it writes, byte for byte, and what it makes of the events that functions write.

How the end of a reply is found, excess, blanks and limits are shared with `json` and tested there.
"""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hotfn_core import Call, Connection, Exit, Limits, LocalProtocolError, RemoteProtocolError, ReplyTooLarge
from hotfn_core.protocol import ReplyBody, ReplyEnd, ReplyHead
from hotfn_core.testing.check_protocol import Outcome, play
from hotfn_protocols.cloudevent import CloudEventProtocol
from hotfn_protocols.json_scan import MAX_DEPTH
from hotfn_protocols.object_stream import ESCAPED

EXPIRES = 1517331159.786
EVENT = "application/cloudevents+json"
CALL = Call("123", b'{"a":1}', (("X-A", "b"),), "POST", "http://h/r/myapp/hot?x=1", "application/json")
TEAPOT = (
    b'{"cloudEventsVersion":"0.1","eventID":"123","contentType":"text/plain","data":"short and stout",'
    b'"extensions":{"protocol":{"status_code":418,"headers":{"X-Custom":["one"]}}}}'
)


def encode(call: Call) -> bytes:
    data = CloudEventProtocol().connect(Limits()).encode(call, EXPIRES)
    assert isinstance(data, bytes)
    assert data.isascii()
    assert data.index(b"\n") == len(data) - 1
    return data


def sent(body: bytes, content_type: str = "application/json") -> dict[str, Any]:
    event: dict[str, Any] = json.loads(encode(CALL._replace(body=body, content_type=content_type)))
    return event


def unsent(body: bytes, content_type: str = "application/json") -> str:
    """Return why this call cannot be written; the connection writes the next one as if nothing had been."""
    connection = CloudEventProtocol().connect(Limits())
    with pytest.raises(LocalProtocolError) as caught:
        connection.encode(CALL._replace(body=body, content_type=content_type), EXPIRES)
    assert connection.encode(CALL, EXPIRES) == encode(CALL)
    return caught.value.message


def calling(call: Call = CALL, limits: Limits = Limits()) -> Connection:
    connection = CloudEventProtocol().connect(limits)
    connection.encode(call, EXPIRES)
    return connection


def read(wire: bytes, call: Call = CALL, limits: Limits = Limits()) -> Outcome:
    """Return what the reply is; it must be the same byte by byte."""
    whole = play(calling(call, limits), [wire])
    slowly = play(calling(call, limits), [wire[at : at + 1] for at in range(len(wire))])
    assert whole.essence == slowly.essence
    assert type(whole.error) is type(slowly.error) or whole.stray
    return whole


def reply(wire: bytes, call: Call = CALL, limits: Limits = Limits()) -> tuple[int, tuple[tuple[str, str], ...], bytes]:
    """Return status, headers and body of a reply after which the copy lives on."""
    seen = read(wire, call, limits)
    assert seen.error is None
    assert seen.end == ReplyEnd()
    return seen.status, seen.headers, seen.body


def body_of(data: bytes, content_type: str) -> bytes:
    return reply(b'{"contentType":"%s","data":%s}' % (content_type.encode(), data))[2]


def refusal(wire: bytes, call: Call = CALL, limits: Limits = Limits()) -> str:
    seen = read(wire, call, limits)
    assert seen.end is None
    assert seen.error is not None
    return seen.error.message


class TestACallAsAnEvent:
    def test_golden_bytes(self) -> None:
        assert encode(CALL) == (
            b'{"cloudEventsVersion":"0.1","eventID":"123","source":"http://h/r/myapp/hot?x=1","eventType":"http",'
            b'"eventTypeVersion":"","eventTime":"0001-01-01T00:00:00Z","schemaURL":"","contentType":"application/json",'
            b'"extensions":{"deadline":"2018-01-30T16:52:39.786Z","protocol":{"type":"http","method":"POST",'
            b'"request_url":"http://h/r/myapp/hot?x=1",'
            b'"headers":{"Content-Type":["application/json"],"X-A":["b"]}}},"data":{"a":1}}\n'
        )

    def test_an_empty_body_is_no_data(self) -> None:
        assert encode(Call("1", method="GET", url="")) == (
            b'{"cloudEventsVersion":"0.1","eventID":"1","source":"http://localhost/","eventType":"http",'
            b'"eventTypeVersion":"","eventTime":"0001-01-01T00:00:00Z","schemaURL":"","contentType":"",'
            b'"extensions":{"deadline":"2018-01-30T16:52:39.786Z","protocol":{"type":"http","method":"GET",'
            b'"request_url":"http://localhost/","headers":{}}}}\n'
        )

    def test_golden_escapes(self) -> None:
        line = encode(CALL._replace(body='["<a>&\'", "\u00fc\U0001f600\x7f\\\\", {"\u20ac": "\\u00fc"}]'.encode()))
        assert line.endswith(
            b'"data":["\\u003ca\\u003e\\u0026\\u0027","\\u00fc\\ud83d\\ude00\\u007f\\\\",{"\\u20ac":"\\u00fc"}]}\n'
        )

    @pytest.mark.parametrize(
        ("body", "data"),
        [(b" { } ", b"{}"), (b"null", b"null"), (b'"x"', b'"x"'), (b"-1.50e+3", b"-1.50e+3"),
         (b"\r\n[1,\n2]\n", b"[1,2]"),
         (b"123456789012345678901234567890", b"123456789012345678901234567890"), (b'{"a":1,"a":2}', b'{"a":1,"a":2}')],
    )  # fmt: skip
    @pytest.mark.parametrize("content_type", ["", "application/json", "text/plain", "image/png"])
    def test_a_body_is_read_as_json_whatever_its_type(self, body: bytes, data: bytes, content_type: str) -> None:
        assert encode(CALL._replace(body=body, content_type=content_type)).endswith(b',"data":' + data + b"}\n")

    @pytest.mark.parametrize("body", ["hello", "\u00fc\u20ac\U0001f600 <>&'\"\\\n", "{", " ", "NaN", "1 2", "\ufeff{}"])
    def test_a_text_that_is_no_json_is_a_string(self, body: str) -> None:
        for content_type in ("text/plain", "Text/HTML; charset=utf-8", "text/csv"):
            assert sent(body.encode(), content_type)["data"] == body

    @pytest.mark.parametrize("body", [b"hello", b"{", b" ", b"{'a':1}", b"NaN", b"\xef\xbb\xbf{}", b'"\xff"', b"01"])
    @pytest.mark.parametrize("content_type", ["", "application/json", "application/xml", "x-text/plain"])
    def test_what_is_neither_json_nor_text_is_refused(self, body: bytes, content_type: str) -> None:
        why = unsent(body, content_type)
        assert why.startswith("format cloudevent carries JSON, and the body is not JSON (")
        assert "content type text/... says that it is a text; use format http for anything else" in why

    @pytest.mark.parametrize("body", [b"\xff", b'"\xff"', b"ok\x80", b'"\xed\xa0\x80"'])
    def test_a_text_that_is_not_utf_8_is_refused_and_not_damaged(self, body: bytes) -> None:
        assert "format cloudevent carries text only, and the body is not valid UTF-8" in unsent(body, "text/plain")

    def test_nesting_without_end_is_refused_as_a_text_too(self) -> None:
        unsent(b"[" * 100_000)
        unsent(b"[" * 100_000, "text/plain")

    @pytest.mark.parametrize(
        "change",
        [{"id": "\n"}, {"method": "A B"}, {"url": "a b"}, {"headers": (("X", "a\nb"),)}, {"headers": (("", "x"),)}],
        ids=str,
    )  # fmt: skip
    def test_what_is_refused_is_refused_here_too(self, change: dict[str, Any]) -> None:
        with pytest.raises(LocalProtocolError):
            encode(CALL._replace(**change))

    def test_a_second_call_at_a_time_is_a_mistake_of_the_program(self) -> None:
        with pytest.raises(AssertionError, match="one call at a time"):
            calling().encode(CALL, EXPIRES)


HOSTILE = "<>&'\"\\/u0 \x7f\u00fc\u20ac\U0001f600\n"


@given(st.text(st.sampled_from(HOSTILE), max_size=20), st.booleans())
def test_what_is_escaped_means_what_it_meant(text: str, ascii_only: bool) -> None:
    line = encode(CALL._replace(body=json.dumps({text: [text]}, ensure_ascii=ascii_only).encode()))
    assert not set(b"<>&'\x7f") & set(line)
    assert json.loads(line)["data"] == {text: [text]}


class TestAnEventAsACall:
    def test_golden_bytes(self) -> None:
        body = b"""{ "eventID": "7", "eventType": "com.example", "my": [1.50, "\xc3\xbc"], "data": {"a": "<"},
                     "eventTime": "2018-04-05T17:31:00Z", "schemaURL": null, "extensions": {"k": {"v": 1}} }"""
        assert encode(CALL._replace(body=body, content_type=EVENT)) == (
            b'{"cloudEventsVersion":"","eventID":"7","source":"","eventType":"com.example","eventTypeVersion":"",'
            b'"eventTime":"2018-04-05T17:31:00Z","schemaURL":"","contentType":"","extensions":{"k":{"v":1},'
            b'"deadline":"2018-01-30T16:52:39.786Z","protocol":{"type":"http","method":"POST",'
            b'"request_url":"http://h/r/myapp/hot?x=1","headers":{"Content-Type":["application/cloudevents+json"],'
            b'"X-A":["b"]}}},"my":[1.50,"\\u00fc"],"data":{"a":"\\u003c"}}\n'
        )

    def test_what_hotfn_tells_wins_over_what_the_event_says(self) -> None:
        event = sent(b'{"extensions":{"deadline":"never","protocol":{"method":"EVIL"},"other":null}}', EVENT)
        assert event["extensions"]["deadline"] == "2018-01-30T16:52:39.786Z"
        assert event["extensions"]["protocol"]["method"] == "POST"
        assert event["extensions"]["other"] is None

    def test_an_empty_event_is_one(self) -> None:
        event = sent(b"{}", EVENT)
        assert "data" not in event
        assert event["eventTime"] == "0001-01-01T00:00:00Z"
        assert sent(b'{"data":null,"extensions":null,"eventID":null}', EVENT) == event | {"data": None}

    @pytest.mark.parametrize("content_type", [f"{EVENT}; charset=utf-8", "Application/CloudEvents+JSON"])
    def test_the_type_may_have_parameters_and_any_case(self, content_type: str) -> None:
        assert sent(b'{"eventID":"7"}', content_type)["eventID"] == "7"

    @pytest.mark.parametrize("content_type", ["application/cloudevents-batch+json", "application/cloudevents+jsonx"])
    def test_another_type_is_a_body_like_any_other(self, content_type: str) -> None:
        event = sent(b'{"eventID":"7"}', content_type)
        assert (event["eventID"], event["data"]) == ("123", {"eventID": "7"})

    @pytest.mark.parametrize("body", [b"", b"[]", b"1", b"null", b"{", b"hello", b"\xff", b'{"a":"\xff"}', b"[" * 10**5,
                                      b'{"extensions":1}', b'{"extensions":[]}'])  # fmt: skip
    def test_what_is_no_event_is_refused(self, body: bytes) -> None:
        assert unsent(body, EVENT).startswith("the body is of type application/cloudevents+json, and is no event: ")

    @pytest.mark.parametrize("name", ["cloudEventsVersion", "eventID", "eventTime", "contentType", "schemaURL"])
    @pytest.mark.parametrize("value", [b"1", b"[]", b"{}", b"true"])
    def test_attributes_are_texts(self, name: str, value: bytes) -> None:
        assert f"its {name} is not a text" in unsent(b'{"%s":%s}' % (name.encode(), value), EVENT)

    def test_the_reply_is_the_whole_event(self) -> None:
        call = CALL._replace(body=b"{}", content_type=EVENT)
        wire = b'{ "data": {"a": 1.50}, "contentType": "text/plain",\n"x": "\xc3\xbc", "extensions": {"protocol": '
        wire += b'{"status_code": 201, "headers": {"content-type": ["a/b"], "X": "y"}}}}'
        body = b'{"data":{"a":1.50},"contentType":"text/plain","x":"\xc3\xbc","extensions":{"protocol":'
        body += b'{"status_code":201,"headers":{"content-type":["a/b"],"X":"y"}}}}'
        assert reply(wire, call) == (201, (("X", "y"), ("Content-Type", EVENT)), body)
        assert "not one" in refusal(b'{"x":{"y":"\xff"}}', call)

    def test_and_the_next_call_gets_its_data_again(self) -> None:
        connection = calling(CALL._replace(body=b"{}", content_type=EVENT))
        connection.receive(TEAPOT)
        connection.encode(CALL, EXPIRES)
        assert connection.receive(TEAPOT)[1] == ReplyBody(b"short and stout")

    def test_a_call_that_was_refused_changes_nothing_about_it(self) -> None:
        connection = calling(CALL._replace(body=b"{}", content_type=EVENT))
        assert play(connection, [TEAPOT]).body == TEAPOT
        with pytest.raises(LocalProtocolError):
            connection.encode(CALL._replace(body=b"x"), EXPIRES)
        connection.encode(CALL, EXPIRES)
        assert play(connection, [TEAPOT]).body == b"short and stout"


class TestWhatRealFunctionsWrite:
    """Replies of Fn's kits, as they were seen on a pipe."""

    def test_the_documented_shape(self) -> None:
        assert reply(TEAPOT + b"\n") == (418, (("X-Custom", "one"), ("Content-Type", "text/plain")), b"short and stout")

    def test_fdk_0_0_33_writes_json_into_a_string(self) -> None:
        wire = (
            rb'{"cloudEventsVersion":"0.1","eventID":"1","source":"http:\/\/h\/","eventType":"http",'
            rb'"eventTypeVersion":"","eventTime":"0001-01-01T00:00:00Z","schemaURL":"",'
            rb'"contentType":"application\/json","extensions":{"protocol":{"status_code":200,'
            rb'"headers":{"content-length":["7"]}}},"data":"{\"a\":1}"}' + b"\n"
        )
        assert reply(wire) == (200, (("Content-Type", "application/json"),), rb'"{\"a\":1}"')

    def test_fdk_0_0_33_an_error_is_an_event_of_its_own(self) -> None:
        wire = (
            rb'{"cloudEventsVersion":"0.1","eventID":"0f3c","source":"fdk-python","eventType":"fdk-python-error",'
            rb'"eventTypeVersion":"0.1","schemaURL":"","contentType":"application\/json","extensions":{"protocol":'
            rb'{"status_code":500,"headers":{"content-type":["application\/json"],"content-length":["28"]}}},'
            rb'"data":"{\"error\":{\"message\":\"boom\"}}"}' + b"\n"
        )
        status, headers, body = reply(wire)
        assert (status, headers) == (500, (("Content-Type", "application/json"),))
        assert json.loads(json.loads(body)) == {"error": {"message": "boom"}}

    def test_fdk_go_a_string_without_a_content_type(self) -> None:
        wire = b'{"contentType":"","data":"x","extensions":{"protocol":{"status_code":200,"headers":{}}}}\n'
        assert reply(wire) == (200, (), b"x")

    def test_protocol_at_the_top_counts_where_the_extensions_have_none(self) -> None:
        top = b'"protocol":{"status_code":418,"headers":{"X":"y"}}'
        assert reply(b"{%s}" % top) == (418, (("X", "y"),), b"")
        assert reply(b'{%s,"extensions":{"protocol":null}}' % top) == (418, (("X", "y"),), b"")
        assert reply(b'{%s,"extensions":{"protocol":{"status_code":201}}}' % top) == (201, (), b"")

    def test_else_it_is_an_attribute_like_any_other(self) -> None:
        assert reply(b'{"protocol":"mqtt","extensions":{"protocol":{"status_code":201}}}')[0] == 201

    def test_the_kits_content_length_counts_characters_and_goes(self) -> None:
        for name in (b"content-length", b"Content-Length", b"CONTENT-LENGTH"):
            assert reply(b'{"extensions":{"protocol":{"headers":{"%s":["9"]}}}}' % name)[1] == ()

    def test_a_content_type_among_the_headers_counts_without_another(self) -> None:
        headers = b'"extensions":{"protocol":{"headers":{"content-type":["a/b"]}}}'
        assert reply(b"{%s}" % headers)[1] == (("content-type", "a/b"),)
        assert reply(b'{"contentType":"c/d",%s}' % headers)[1] == (("Content-Type", "c/d"),)


class TestBodies:
    @pytest.mark.parametrize("content_type", ["application/json", "Application/JSON; charset=utf-8", "a/problem+json"])
    def test_json_stays_json(self, content_type: str) -> None:
        for data in (b'"text"', b'""', b"null", b"-1.50e+3", b"[]", b"123456789012345678901234567890", b'"\xc3\xbc"'):
            assert body_of(data, content_type) == data
        assert body_of(b'{ "a" : [1, "x y"] }', content_type) == b'{"a":[1,"x y"]}'

    @pytest.mark.parametrize("content_type", ["", "text/plain", "text/html; charset=utf-8", "image/png", "jsonx"])
    def test_of_any_other_type_a_string_is_its_text(self, content_type: str) -> None:
        assert body_of(rb'"h\u00e9\n\"\ud83d\ude00"', content_type) == 'h\u00e9\n"\U0001f600'.encode()
        assert body_of(b'"{}"', content_type) == b"{}"
        assert body_of(b'""', content_type) == b""

    @pytest.mark.parametrize("content_type", ["", "text/plain", "image/png"])
    def test_and_what_is_no_string_is_its_json(self, content_type: str) -> None:
        for data, body in ((b"1.50", b"1.50"), (b"[ 1 ]", b"[1]"), (b"true", b"true"), (b"null", b""), (b"{}", b"{}")):
            assert body_of(data, content_type) == body

    def test_a_reply_needs_nothing(self) -> None:
        assert reply(b"{}") == (200, (), b"")
        assert reply(b'{"contentType":null,"extensions":null,"protocol":null}') == (200, (), b"")
        assert reply(b'{"contentType":"application/json"}')[2] == b""
        assert reply(b'{"extensions":{"protocol":{"status_code":0,"headers":null}},"eventID":2}') == (
            200,
            (),
            b"",
        )


class TestMalformed:
    @pytest.mark.parametrize("wire", [b"hello", b"[", b'"', b"null", b"\xef\xbb\xbf{}", b"<html>"])
    def test_what_is_no_object_is_refused_at_its_first_byte(self, wire: bytes) -> None:
        assert "where a JSON object was expected" in refusal(wire[:1])

    @pytest.mark.parametrize(
        "wire",
        [b"{]}", b'{"data":}', b'{"data":1,}', b'{"data":"\xff"}', b'{"data":{"a":"\xff"}}', rb'{"data":"\ud800"}',
         b'{"contentType":1}', b'{"extensions":[]}', b'{"extensions":{"protocol":1}}',
         b'{"extensions":{"protocol":{"status_code":"200"}}}', b'{"extensions":{"protocol":{"status_code":200.5}}}',
         b'{"extensions":{"protocol":{"headers":[]}}}', b'{"extensions":{"protocol":{"headers":{"a":1}}}}',
         b'{"extensions":{"protocol":{"headers":{"a":[1]}}}}', b'{"extensions":{"protocol":{"headers":{"a":null}}}}',
         b'{"protocol":[]}', b'{"protocol":{"status_code":"200"}}',
         b'{"extensions":{"protocol":{"status_code":99}}}', b'{"extensions":{"protocol":{"status_code":1000}}}',
         b'{"extensions":{"protocol":{"headers":{"a b":"c"}}}}', b'{"contentType":"a\\nb"}'],
    )  # fmt: skip
    def test_what_is_no_reply_is_refused(self, wire: bytes) -> None:
        assert "JSON reply" in refusal(wire)

    def test_deep_nesting_is_bounded(self) -> None:
        assert f"deeper than {MAX_DEPTH}" in refusal(b'{"data":' + b"[" * MAX_DEPTH)


class TestTheEnd:
    def test_excess_now_and_later(self) -> None:
        assert calling().receive(TEAPOT + b"\n\nmore")[-1] == ReplyEnd(reusable=False, excess=4)
        connection = calling()
        assert connection.receive(TEAPOT + b"\n")[-1] == ReplyEnd()
        with pytest.raises(RemoteProtocolError, match="wrote b'{}' to stdout while no call was running"):
            connection.receive(b"\n{}")

    def test_no_event_id_is_waited_for(self) -> None:
        """The kits give an error another id."""
        assert reply(TEAPOT.replace(b'"123"', b'"other"'))[0] == 418

    def test_limits(self) -> None:
        wire = rb'{"data":"\u0030123456789"}'
        assert reply(wire, limits=Limits(max_body=10))[2] == b"0123456789"
        assert "10 bytes, over the limit of 9" in refusal(wire, limits=Limits(max_body=9))
        event = CALL._replace(body=b"{}", content_type=EVENT)
        assert reply(b'{"a": 1}', event, Limits(max_body=7))[2] == b'{"a":1}'
        assert isinstance(read(b'{"a": 1}', event, Limits(max_body=6)).error, ReplyTooLarge)
        assert "too large for a body of 10 bytes" in refusal(
            b'{"data":"' + b"x" * (10 * ESCAPED + 92), limits=Limits(max_body=10, max_head=100)
        )

    def test_a_clean_exit_amid_a_reply_is_explained(self) -> None:
        seen = play(calling(), [TEAPOT[:-1]], Exit(code=0))
        assert seen.error is not None
        assert "in the middle of its JSON reply" in seen.error.message

    def test_the_events_of_a_reply(self) -> None:
        assert calling().receive(b'{"data":"x"}') == [ReplyHead(200, ()), ReplyBody(b"x"), ReplyEnd()]
        assert calling().receive(b"{}") == [ReplyHead(200, ()), ReplyEnd()]


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=3), inner, max_size=4),
    max_leaves=12,
)


@given(JSON, st.booleans(), st.booleans())
def test_any_json_comes_through_there_and_back(value: object, ascii_only: bool, pretty: bool) -> None:
    text = json.dumps(value, ensure_ascii=ascii_only, indent=1 if pretty else None)
    call = CALL._replace(body=text.encode("utf-8", "replace"))
    line = encode(call)
    assert not set(b"<>&'") & set(line)
    event = json.loads(line)
    assert event["data"] == json.loads(call.body)
    event["extensions"] = {}
    back = reply(json.dumps(event, ensure_ascii=ascii_only, indent=1 if pretty else None).encode())
    assert json.loads(back[2]) == event["data"]


@given(st.dictionaries(st.text(max_size=12), JSON, max_size=4), st.dictionaries(st.text(max_size=12), JSON, max_size=3))
def test_any_event_comes_through_with_all_that_is_in_it(attributes: dict[str, Any], extensions: dict[str, Any]) -> None:
    body = json.dumps(attributes | {"extensions": extensions}).encode()
    event = sent(body, EVENT)
    told = event["extensions"]
    assert told == extensions | {"deadline": told["deadline"], "protocol": told["protocol"]}
    assert {name: event[name] for name in attributes if name != "extensions"} == {
        name: value for name, value in attributes.items() if name != "extensions"
    }
