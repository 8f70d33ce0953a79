"""Flaws of the systems before hotfn that are a matter of the IO protocols alone. docs/flaws.md lists all of them."""

from __future__ import annotations

import json
from collections.abc import Callable

import pytest

from hotfn_core import Call, Connection, FunctionSpec, IOProtocol, Limits, RemoteProtocolError, ReplyTooLarge
from hotfn_core.protocol import ReplyEnd, ReplyHead
from hotfn_core.testing.check_protocol import Outcome, play
from hotfn_protocols.cloudevent import CloudEventProtocol
from hotfn_protocols.default import DefaultProtocol
from hotfn_protocols.http import HttpProtocol
from hotfn_protocols.json import JsonProtocol

CALL = Call("1", b"hello", (), "POST", "http://h/a", "text/plain")


def http_reply(body: bytes, status: int = 200, *fields: str) -> bytes:
    lines = [f"HTTP/1.1 {status} X", f"Content-Length: {len(body)}", *fields, "", ""]
    return "\r\n".join(lines).encode() + body


def json_reply(body: bytes, status: int = 200, *fields: str) -> bytes:
    headers: dict[str, list[str]] = {}
    for field in fields:
        name, _, value = field.partition(": ")
        headers.setdefault(name, []).append(value)
    return json.dumps({"body": body.decode(), "protocol": {"status_code": status, "headers": headers}}).encode()


def event_reply(body: bytes, status: int = 200, *fields: str) -> bytes:
    reply = json.loads(json_reply(body, status, *fields))
    return json.dumps({"data": reply["body"], "extensions": {"protocol": reply["protocol"]}}).encode()


Reply = Callable[..., bytes]

HOT = [
    pytest.param(HttpProtocol(), http_reply, id="http"),
    pytest.param(JsonProtocol(), json_reply, id="json"),
    pytest.param(CloudEventProtocol(), event_reply, id="cloudevent"),
]
hot = pytest.mark.parametrize(("protocol", "reply"), HOT)


def calling(protocol: IOProtocol, call: Call = CALL, limits: Limits = Limits()) -> Connection:
    connection = protocol.connect(limits)
    connection.encode(call, 1.5)
    return connection


def written(protocol: IOProtocol, call: Call) -> bytes:
    data = protocol.connect(Limits()).encode(call, 1.5)
    return data if isinstance(data, bytes) else b"".join(data)


def clean(seen: Outcome) -> tuple[int, bytes]:
    assert seen.end == ReplyEnd()
    assert seen.error is None
    return seen.status, seen.body


@hot
def test_w09_a_late_answer_is_never_the_next_callers(protocol: IOProtocol, reply: Reply) -> None:
    """The copy of a call that timed out is stopped; and where it answers twice, the second is nobody's."""
    connection = calling(protocol)
    clean(play(connection, [reply(b"mine")]))
    with pytest.raises(RemoteProtocolError):
        connection.receive(reply(b"late"))


@hot
def test_w10_garbage_is_an_error_that_ends_the_copy(protocol: IOProtocol, reply: Reply) -> None:
    for garbage in (b"garbage", b"Traceback (most recent call last):\n", b"\0\1\2", b"<html>"):
        with pytest.raises(RemoteProtocolError):
            calling(protocol).receive(garbage)


@hot
def test_w11_garbage_is_seen_at_its_first_byte(protocol: IOProtocol, reply: Reply) -> None:
    """No end of a line, of a head or of the call's time is waited for."""
    with pytest.raises(RemoteProtocolError):
        calling(protocol).receive(b"g")


@hot
def test_w14_two_answers_in_one_write(protocol: IOProtocol, reply: Reply) -> None:
    """The first is the caller's, and what is behind it is neither lost unseen nor kept for the next."""
    second = reply(b"second")
    seen = play(calling(protocol), [reply(b"first") + second])
    assert (seen.status, seen.body) == (200, b"first")
    assert seen.end == ReplyEnd(reusable=False, excess=len(second))


@hot
def test_w15_status_and_headers_of_the_function_pass(protocol: IOProtocol, reply: Reply) -> None:
    seen = play(calling(protocol), [reply(b"short and stout", 418, "X-Custom: one")])
    assert clean(seen) == (418, b"short and stout")
    assert ("X-Custom", "one") in seen.headers


def test_w16_method_and_path_arrive() -> None:
    call = CALL._replace(method="PUT", url="/a?b=c")
    assert written(HttpProtocol(), call).startswith(b"PUT /a?b=c HTTP/1.1\r\n")
    protocol = json.loads(written(JsonProtocol(), call))["protocol"]
    assert (protocol["method"], protocol["request_url"]) == ("PUT", "http://localhost/a?b=c")
    protocol = json.loads(written(CloudEventProtocol(), call))["extensions"]["protocol"]
    assert (protocol["method"], protocol["request_url"]) == ("PUT", "http://localhost/a?b=c")
    env = DefaultProtocol().call_environment(call, 1.5)
    assert (env["FN_METHOD"], env["FN_REQUEST_URL"]) == ("PUT", "http://localhost/a?b=c")


def test_w16_the_configuration_is_not_among_the_headers() -> None:
    spec = FunctionSpec(name="x", command=("x",), env={"SECRET": "hidden"})
    for protocol in (HttpProtocol(), JsonProtocol(), CloudEventProtocol(), DefaultProtocol()):
        assert protocol.environment(spec) == {}  # nothing of it goes through the protocol at all
        assert b"hidden" not in written(protocol, CALL)


@hot
def test_w17_a_reply_is_bounded(protocol: IOProtocol, reply: Reply) -> None:
    with pytest.raises(ReplyTooLarge):
        calling(protocol, limits=Limits(max_body=10)).receive(reply(b"x" * 11))


@pytest.mark.parametrize("method", ["GET", "POST", "DELETE"])
def test_w18_a_body_reaches_the_function_whatever_the_client_said_of_its_length(method: str) -> None:
    for claim in ((), (("Content-Length", "9999"),), (("Transfer-Encoding", "chunked"),), (("content-length", "0"),)):
        head, _, body = written(HttpProtocol(), CALL._replace(method=method, headers=claim)).partition(b"\r\n\r\n")
        lengths = [line for line in head.lower().split(b"\r\n") if line.startswith((b"content-length", b"transfer"))]
        assert (lengths, body) == ([b"content-length: 5"], b"hello")


@hot
def test_w19_a_second_caller_sees_nothing_of_the_first(protocol: IOProtocol, reply: Reply) -> None:
    connection = protocol.connect(Limits())
    connection.encode(CALL._replace(headers=(("Authorization", "first"),)), 1.5)
    connection.receive(reply(b""))
    assert connection.encode(CALL, 1.5) == written(protocol, CALL)
    assert protocol.environment(FunctionSpec(name="x", command=("x",))) == {}


@hot
def test_w44_every_value_of_a_header_passes(protocol: IOProtocol, reply: Reply) -> None:
    seen = play(calling(protocol), [reply(b"", 200, "Set-Cookie: a", "Set-Cookie: b")])
    assert [value for name, value in seen.headers if name == "Set-Cookie"] == ["a", "b"]
    call = CALL._replace(headers=(("Accept", "a"), ("accept", "b")))
    wire = written(protocol, call)
    assert b"Accept: a\r\nAccept: b\r\n" in wire or b'"Accept":["a","b"]' in wire


@hot
def test_b06_a_broken_stream_serves_nobody_after(protocol: IOProtocol, reply: Reply) -> None:
    """A reply whose body is cut short and then another one: the second is never a reply to the next call."""
    whole = reply(b"0123456789")
    for missing in range(1, 9):
        connection = calling(protocol)
        seen = play(connection, [whole[:-missing], whole])
        assert seen.end is None or seen.end.excess == len(whole) - missing


@hot
@pytest.mark.parametrize("tail", [b"\n", b"\r\n", b"\n\n", b"\r\n\r\n"])
def test_b07_newlines_behind_a_reply_are_no_excess(protocol: IOProtocol, reply: Reply, tail: bytes) -> None:
    connection = calling(protocol)
    assert clean(play(connection, [reply(b"ok") + tail])) == (200, b"ok")
    assert connection.receive(tail) == ()
    connection.encode(CALL, 1.5)
    assert clean(play(connection, [tail, reply(b"again")])) == (200, b"again")


@pytest.mark.parametrize("tail", [b" ", b"\t \r\n"])
def test_b07_between_json_values_any_white_space_is_no_excess(tail: bytes) -> None:
    assert clean(play(calling(JsonProtocol()), [json_reply(b"ok") + tail])) == (200, b"ok")


@hot
def test_b11_a_reply_without_a_content_type_gets_none_invented(protocol: IOProtocol, reply: Reply) -> None:
    assert "content-type" not in [name.lower() for name, _ in play(calling(protocol), [reply(b"{}")]).headers]


@hot
def test_b16_what_a_reply_holds_is_not_overwritten_by_the_next(protocol: IOProtocol, reply: Reply) -> None:
    connection = calling(protocol)
    first = play(connection, [reply(b"first")[:-3], reply(b"first")[-3:]])
    connection.encode(CALL, 1.5)
    second = play(connection, [reply(b"other")[:-3], reply(b"other")[-3:]])
    assert (first.body, second.body) == (b"first", b"other")


@hot
def test_b35_a_reply_of_exactly_the_limit_passes(protocol: IOProtocol, reply: Reply) -> None:
    assert clean(play(calling(protocol, limits=Limits(max_body=10)), [reply(b"x" * 10)])) == (200, b"x" * 10)


@hot
def test_b36_headers_survive_an_empty_body(protocol: IOProtocol, reply: Reply) -> None:
    seen = play(calling(protocol), [reply(b"", 201, "Location: /a")])
    assert clean(seen) == (201, b"")
    assert ("Location", "/a") in seen.headers


@hot
def test_b37_the_headers_of_a_reply_are_not_shared(protocol: IOProtocol, reply: Reply) -> None:
    """What one caller does to them, another must not see: they are tuples."""
    connection = calling(protocol)
    head, *_ = connection.receive(reply(b"", 200, "X: y"))
    connection.encode(CALL, 1.5)
    again, *_ = connection.receive(reply(b"", 200, "X: y"))
    assert head == again
    assert isinstance(head, ReplyHead)
    assert isinstance(head.headers, tuple)


@hot
def test_b38_connection_close_does_not_reach_the_client(protocol: IOProtocol, reply: Reply) -> None:
    seen = play(calling(protocol), [reply(b"ok", 200, "Connection: close", "Keep-Alive: 5")])
    assert (seen.status, seen.body) == (200, b"ok")
    assert not {"connection", "keep-alive"} & {name.lower() for name, _ in seen.headers}


def test_b38_but_ends_the_copy() -> None:
    seen = play(calling(HttpProtocol()), [http_reply(b"ok", 200, "Connection: close")])
    assert seen.end == ReplyEnd(reusable=False)


@hot
def test_b39_values_of_one_name_are_not_collapsed(protocol: IOProtocol, reply: Reply) -> None:
    seen = play(calling(protocol), [reply(b"", 200, "X: 1", "Y: 2", "X: 3")])
    assert sorted(pair for pair in seen.headers if pair[0] in "XY") == [("X", "1"), ("X", "3"), ("Y", "2")]
