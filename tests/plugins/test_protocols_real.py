"""The protocols with real programs on real pipes: Python's own HTTP server, a script of five lines, and `cat`."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import pytest

from hotfn_core import Call, Exit, IOProtocol, Limits
from hotfn_core.protocol import ReplyEnd
from hotfn_core.testing.check_protocol import Outcome
from hotfn_protocols.default import DefaultProtocol
from hotfn_protocols.http import HttpProtocol
from hotfn_protocols.json import JsonProtocol

CALL = Call("1", b"hello", (("X-A", "b"),), "POST", "/a?b=c", "text/plain")

SERVER = """
import http.server, sys
class Echo(http.server.BaseHTTPRequestHandler):
    protocol_version = sys.argv[1]
    def setup(self): self.rfile, self.wfile = open(0, "rb"), open(1, "wb", 0)
    def finish(self): pass
    def do_POST(self):
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.send_response(418)
        self.send_header("X-Path", self.path)
        if self.headers["X-A"] != "no length":
            self.send_header("Content-Length", len(body))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)
    do_GET = do_PUT = do_HEAD = do_POST
Echo(None, ("pipe", 0), None)
"""

SHOUT = """
import json, sys
for line in sys.stdin:
    call = json.loads(line)
    print(json.dumps({"body": call["body"].upper(), "protocol": {"status_code": 418}}, indent=1), flush=True)
"""


class Copy:
    """One running copy and its connection."""

    def __init__(self, protocol: IOProtocol, process: subprocess.Popen[bytes]) -> None:
        self.connection = protocol.connect(Limits())
        self.process = process

    def call(self, call: Call) -> Outcome:
        data = self.connection.encode(call, time.time() + 30)
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(data if isinstance(data, bytes) else b"".join(data))
        self.process.stdin.flush()
        seen = Outcome()
        while seen.end is None:
            chunk = os.read(self.process.stdout.fileno(), 65536)
            if chunk:
                seen.take(self.connection.receive(chunk), "receive")
            else:
                seen.take(self.connection.receive_eof(Exit(self.process.wait(10))), "receive_eof")
                break
        return seen


@contextmanager
def running(protocol: IOProtocol, argv: Sequence[str]) -> Iterator[Copy]:
    pipe = subprocess.PIPE
    with subprocess.Popen(argv, stdin=pipe, stdout=pipe, stderr=subprocess.DEVNULL) as process:
        try:
            yield Copy(protocol, process)
        finally:
            process.kill()


def python(script: str, *args: str) -> list[str]:
    return [sys.executable, "-c", script, *args]


def test_an_http_server_on_pipes_serves_many_calls() -> None:
    with running(HttpProtocol(), python(SERVER, "HTTP/1.1")) as copy:
        for body in (b"hello", b"", b"\0\xff\r\n\r\n", b"x" * 300_000, b"again"):
            for method in ("POST", "PUT", "GET", "HEAD"):
                seen = copy.call(CALL._replace(body=body, method=method))
                assert (seen.status, seen.body) == (418, b"" if method == "HEAD" else body)
                assert dict(seen.headers)["X-Path"] == "/a?b=c"
                assert seen.end == ReplyEnd()


def test_it_may_ask_to_go_on_first() -> None:
    """http.server answers 100 to a client that expects it."""
    with running(HttpProtocol(), python(SERVER, "HTTP/1.1")) as copy:
        for _ in range(3):
            assert copy.call(CALL._replace(headers=(("Expect", "100-continue"),))).body == b"hello"


def test_an_http_1_0_server_serves_one_call() -> None:
    with running(HttpProtocol(), python(SERVER, "HTTP/1.0")) as copy:
        seen = copy.call(CALL)
        assert (seen.status, seen.body, seen.end) == (418, b"hello", ReplyEnd(reusable=False))


def test_an_http_1_0_server_that_gives_no_length_ends_its_body_with_its_exit() -> None:
    with running(HttpProtocol(), python(SERVER, "HTTP/1.0")) as copy:
        seen = copy.call(CALL._replace(headers=(("X-A", "no length"),)))
        assert (seen.status, seen.body, seen.end) == (418, b"hello", ReplyEnd(reusable=False))


def test_a_script_that_reads_lines_of_json_serves_many_calls() -> None:
    with running(JsonProtocol(), python(SHOUT)) as copy:
        for text in ("hello", "", "\u00fc\u20ac\U0001f600 <>&'\"\\\n\0", "x" * 300_000):
            seen = copy.call(CALL._replace(body=text.encode()))
            assert (seen.status, seen.body, seen.end) == (418, text.upper().encode(), ReplyEnd())


@pytest.mark.parametrize("body", [b"", b"hello\0\xff\n", b"x" * 300_000])
def test_cat_is_a_cold_function(body: bytes) -> None:
    protocol = DefaultProtocol()
    env = os.environ | dict(protocol.call_environment(CALL, 1.5))
    connection = protocol.connect(Limits())
    stdin = connection.encode(CALL._replace(body=body), 1.5)
    assert isinstance(stdin, bytes)
    done = subprocess.run(["cat"], input=stdin, env=env, capture_output=True, check=False)
    connection.receive(done.stdout)
    seen = Outcome()
    seen.take(connection.receive_eof(Exit(done.returncode)), "receive_eof")
    assert (seen.status, seen.body) == (200, body)


def test_the_environment_of_a_cold_call_arrives() -> None:
    env = DefaultProtocol().call_environment(CALL, 1517331159.786)
    script = "import os; print(sorted((k, v) for k, v in os.environ.items() if k.startswith('FN_')))"
    done = subprocess.run(python(script), env=os.environ | dict(env), capture_output=True, text=True, check=True)
    assert done.stdout.strip() == str(sorted(env.items()))
