"""Our own protocols under the kit that is meant for everybody's."""

from __future__ import annotations

import pytest

from hotfn_core import Call, Exit
from hotfn_core.testing.check_protocol import ReplySample, check_protocol
from hotfn_protocols.cloudevent import CloudEventProtocol
from hotfn_protocols.default import DefaultProtocol
from hotfn_protocols.http import HttpProtocol
from hotfn_protocols.json import JsonProtocol

CALL = Call("01C5CTJ6QR0000000000000000", b"sample", (("X-Sample", "one"),))
EVENT_CALL = CALL._replace(content_type="text/plain")
REFUSED = [
    CALL._replace(id="a\nb"),
    CALL._replace(method="G T"),
    CALL._replace(url="/\r\nX: y"),
    CALL._replace(url="nowhere"),
    CALL._replace(headers=(("X", "a\r\nb"),)),
    CALL._replace(headers=(("X\0", "a"),)),
    CALL._replace(content_type="\n"),
    CALL._replace(headers=(("X", "y" * 200_000),)),
]


def http(*fields: bytes, body: bytes = b"", first: bytes = b"HTTP/1.1 200 OK", end: bytes = b"\r\n") -> bytes:
    return end.join([first, *fields, b"", body])


TEAPOT = b"short and stout"
INTERIM = http(first=b"HTTP/1.1 100 x") + b"\r\n" + http(first=b"HTTP/1.1 103 x")
HTTP = [
    ReplySample(
        wire=http(b"Content-Length: 15", b"X-Custom: one", b"X-Custom: two", first=b"HTTP/1.1 418 x", body=TEAPOT),
        status=418,
        headers=[("Content-Length", "15"), ("X-Custom", "one"), ("X-Custom", "two")],
        body=TEAPOT,
    ),
    ReplySample(wire=http(b"Content-Length: 6", body=b"\r\n\0\xff\r\n"), body=b"\r\n\0\xff\r\n"),
    ReplySample(wire=http(b"Content-Length: 1000", body=b"0123456789" * 100), body=b"0123456789" * 100),
    ReplySample(
        wire=http(b"Transfer-Encoding: chunked", body=b"5;x=y\r\nhel\0o\r\nA\r\n0123456789\r\n0\r\nT: x\r\n\r\n"),
        headers=[],
        body=b"hel\0o0123456789",
    ),
    ReplySample(wire=http(b"Transfer-Encoding: chunked", body=b"0\r\n\r\n")),
    ReplySample(wire=http(b"X: y"), headers=[("X", "y")]),
    ReplySample(wire=http(b"X: y", end=b"\n"), headers=[("X", "y")]),
    ReplySample(wire=b"HTTP/1.1 200 OK\r\n\n", headers=[]),
    ReplySample(wire=http(first=b"HTTP/1.1 204 No Content"), status=204),
    ReplySample(wire=http(b"Content-Length: 3", first=b"HTTP/1.1 304 Not Modified"), status=304),
    ReplySample(wire=http(b"Content-Length: 10"), call=CALL._replace(method="HEAD")),
    ReplySample(wire=INTERIM + http(b"Content-Length: 1", body=b"x"), body=b"x"),
    ReplySample(wire=http(b"Connection: close", b"Content-Length: 3", body=b"abc"), body=b"abc", reusable=False),
    ReplySample(wire=http(b"Content-Length: 3", first=b"HTTP/1.0 200 OK", body=b"abc"), body=b"abc", reusable=False),
    ReplySample(wire=http(b"Connection: close", body=b"to the end"), headers=[], body=b"to the end", exit=Exit(code=0)),
]  # fmt: skip

JSON = [
    ReplySample(
        wire=rb'{"body":"h\u00e9\"}{","content_type":"a/b","protocol":{"status_code":418,"headers":{"X":["y","z"]}}}',
        status=418,
        headers=[("X", "y"), ("X", "z"), ("Content-Type", "a/b")],
        body='h\u00e9"}{'.encode(),
    ),
    ReplySample(wire=b"{}", headers=[]),
    ReplySample(wire='{ "body" : "\u20ac\\\\" }'.encode(), body="\u20ac\\".encode()),
    ReplySample(
        wire=b'{"body":{"a":[1,2,"}"]},\n"status_code":500,"headers":{"content-length":"9"}\n}',
        status=500,
        headers=[],
        body=b'{"a":[1,2,"}"]}',
    ),
    ReplySample(wire=b'{"body":"%s"}' % (b"0123456789" * 100), body=b"0123456789" * 100),
]  # fmt: skip

EVENTS = [
    ReplySample(
        wire=rb'{"data":"h\u00e9\"}{","contentType":"a/b","extensions":{"protocol":{"status_code":418,'
        rb'"headers":{"X":["y","z"]}}}}',
        status=418,
        headers=[("X", "y"), ("X", "z"), ("Content-Type", "a/b")],
        body='h\u00e9"}{'.encode(),
        call=EVENT_CALL,
    ),
    ReplySample(wire=b"{}", headers=[], call=EVENT_CALL),
    ReplySample(
        wire=b'{"data":{"a":[1,2,"}"]},\n"protocol":{"status_code":500,"headers":{"content-length":"9"}\n}}',
        status=500,
        headers=[],
        body=b'{"a":[1,2,"}"]}',
        call=EVENT_CALL,
    ),
    ReplySample(wire=b'{"data":"%s"}' % (b"0123456789" * 100), body=b"0123456789" * 100, call=EVENT_CALL),
    ReplySample(
        wire=b'{"data":[1, 2]}',
        headers=[("Content-Type", "application/cloudevents+json")],
        body=b'{"data":[1,2]}',
        call=EVENT_CALL._replace(body=b"{}", content_type="application/cloudevents+json"),
    ),
]  # fmt: skip


@pytest.mark.parametrize("seed", range(2))
class TestConformance:
    def test_http(self, seed: int) -> None:
        bad = [
            b"x",
            b"HTTP/2",
            b"\nhello",
            b"HTTP/1.1 2000\r\n\r\n",
            http(b"Content-Length: x"),
            http(b"Transfer-Encoding: gzip"),
        ]
        bad += [http(b"Transfer-Encoding: chunked", body=body) for body in (b"x", b"1\r\nab", b"0\r\n\n")]
        refused = [*REFUSED, CALL._replace(headers=(("X", "\u20ac"),))]
        check_protocol(HttpProtocol(), HTTP, bad=bad, refused=refused, blanks=[b"\n", b"\r\n\r\n"], seed=seed)

    def test_json(self, seed: int) -> None:
        bad = [b"x", b"[", b"\n\n<", b"{]}", b'{"status_code":99}', b'{"body":\xff}', b"{" * 1000]
        refused = [*REFUSED, CALL._replace(body=b"\xff")]
        check_protocol(JsonProtocol(), JSON, bad=bad, refused=refused, blanks=[b"\n", b" \t\r\n"], seed=seed)

    def test_cloudevent(self, seed: int) -> None:
        bad = [b"x", b"[", b"\n\n<", b"{]}", b'{"protocol":{"status_code":99}}', b'{"data":\xff}', b"{" * 1000]
        refused = [*REFUSED, CALL, EVENT_CALL._replace(body=b"\xff")]
        check_protocol(CloudEventProtocol(), EVENTS, bad=bad, refused=refused, blanks=[b"\n", b" \t\r\n"], seed=seed)

    def test_default(self, seed: int) -> None:
        bodies = [b"", b"hello", b"\0\xff\r\n" * 400]
        samples = [ReplySample(wire=body, headers=[], body=body, exit=Exit(code=0)) for body in bodies]
        check_protocol(DefaultProtocol(), samples, refused=REFUSED, seed=seed)
