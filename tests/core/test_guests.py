"""The guest programs do what they say: the others believe them."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from hotfn_core.testing import guests

SCRIPTED = (sys.executable, guests.SCRIPTED)
ONE_FILE = (sys.executable, "-c", guests.one_file())


def run(command: tuple[str, ...], wire: str, data: bytes, **env: str) -> subprocess.CompletedProcess[bytes]:
    variables = {"PATH": os.environ["PATH"], "FN_FORMAT": wire, **env}
    return subprocess.run(command, input=data, env=variables, capture_output=True, check=False, timeout=30)


def http(body: bytes, head: bytes = b"POST / HTTP/1.1") -> bytes:
    return head + b"\r\nContent-Length: %d\r\n\r\n" % len(body) + body


def line(body: Any, **fields: Any) -> bytes:
    text = body if isinstance(body, str) else json.dumps(body)
    return json.dumps({"call_id": "1", "body": text, **fields}).encode() + b"\n"


def replies(result: subprocess.CompletedProcess[bytes]) -> list[dict[str, Any]]:
    assert result.returncode == 0, result.stderr
    return [json.loads(one) for one in result.stdout.splitlines()]


@pytest.fixture(scope="session")
def echo(tmp_path_factory: pytest.TempPathFactory) -> tuple[str]:
    return (guests.build_echo(tmp_path_factory.mktemp("guest")),)


# Each format


@pytest.mark.parametrize("command", [SCRIPTED, ONE_FILE], ids=["file", "one text"])
def test_http(command: tuple[str, ...]) -> None:
    script = json.dumps({"status": 418, "headers": {"x": ["1", "2"]}, "content_type": "a/b", "body": "pot"}).encode()
    result = run(command, "http", http(b"hello") + http(script) + http(b""))
    assert result.stdout == (
        b"HTTP/1.1 200 Whatever\r\nContent-Length: 5\r\n\r\nhello"
        b"HTTP/1.1 418 Whatever\r\nContent-Length: 3\r\nContent-Type: a/b\r\nx: 1\r\nx: 2\r\n\r\npot"
        b"HTTP/1.1 200 Whatever\r\nContent-Length: 0\r\n\r\n"
    )
    assert result.returncode == 0


def test_http_in_chunks() -> None:
    data = b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\nA\r\n0123456789\r\n0\r\n\r\n"
    assert run(SCRIPTED, "http", data + data).stdout.count(b"\r\n\r\nabc0123456789") == 2


@pytest.mark.parametrize("command", [SCRIPTED, ONE_FILE], ids=["file", "one text"])
def test_json(command: tuple[str, ...]) -> None:
    hello, script = replies(
        run(command, "json", line("hällo\n") + line({"status": 404, "headers": {"x": "1"}, "body": "no"}))
    )
    assert hello == {"body": "hällo\n", "protocol": {"status_code": 200, "headers": {}}}
    assert script == {"body": "no", "protocol": {"status_code": 404, "headers": {"x": ["1"]}}}


@pytest.mark.parametrize("command", [SCRIPTED, ONE_FILE], ids=["file", "one text"])
def test_cloudevent(command: tuple[str, ...]) -> None:
    told = {"extensions": {"protocol": {"method": "PUT", "request_url": "/a", "headers": {"X": ["1"]}}}, "eventID": "1"}
    events = [told, told | {"data": "h\u00e4llo\n"}, told | {"data": {"status": 404, "report": ["request"]}}]
    data = "".join(json.dumps(event) + "\n" for event in events)
    nothing, hello, script = replies(run(command, "cloudevent", data.encode()))
    assert (nothing["data"], hello["data"]) == ("", "h\u00e4llo\n")
    assert script["extensions"] == {"protocol": {"status_code": 404, "headers": {}}}
    request = {"method": "PUT", "url": "/a", "headers": [["X", "1"]], "id": "1"}
    assert json.loads(script["data"])["request"] == request


def test_default() -> None:
    assert run(SCRIPTED, "default", b"hello").stdout == b"hello"
    result = run(SCRIPTED, "default", b'{"body": "x", "exit_after": 3}')
    assert (result.stdout, result.returncode) == (b"x", 3)


def test_raw() -> None:
    data = os.urandom(1_000_000)
    assert run(SCRIPTED, "raw", data).stdout == data


def test_the_request_is_reported() -> None:
    wanted = {"report": ["request"]}
    (reply,) = replies(
        run(SCRIPTED, "json", line(wanted, protocol={"method": "PUT", "request_url": "/a?b", "headers": {"X": ["1"]}}))
    )
    assert json.loads(reply["body"])["request"] == {"method": "PUT", "url": "/a?b", "headers": [["X", "1"]], "id": "1"}
    result = run(SCRIPTED, "http", http(json.dumps(wanted).encode(), b"PUT /a?b HTTP/1.1\r\nX: 1\r\nFn_call_id: 7"))
    request = json.loads(result.stdout.partition(b"\r\n\r\n")[2])["request"]
    assert (request["method"], request["url"], request["id"]) == ("PUT", "/a?b", "7")
    assert ["X", "1"] in request["headers"]
    env = {"FN_METHOD": "PUT", "FN_REQUEST_URL": "/a?b", "FN_CALL_ID": "8", "FN_HEADER_X": "1"}
    result = run(SCRIPTED, "default", json.dumps(wanted).encode(), **env)
    assert json.loads(result.stdout)["request"] == {"method": "PUT", "url": "/a?b", "headers": [["X", "1"]], "id": "8"}


# What a script can ask for


def one(script: dict[str, Any], **env: str) -> subprocess.CompletedProcess[bytes]:
    return run(SCRIPTED, "json", line(script), **env)


def reported(script: dict[str, Any]) -> dict[str, Any]:
    (reply,) = replies(one(script))
    return dict(json.loads(reply["body"]))


def test_reports() -> None:
    found = reported({"report": ["env", "cwd", "argv", "limits"]})
    assert (found["calls"], found["spawned"], found["errors"], found["argv"]) == (1, [], [], [])
    assert (found["cwd"], found["env"]["FN_FORMAT"]) == (str(Path.cwd()), "json")
    assert len(found["limits"]["RLIMIT_NOFILE"]) == 2


def test_calls_are_counted() -> None:
    first, second = replies(run(SCRIPTED, "json", line({}) + line({})))
    assert [json.loads(reply["body"])["calls"] for reply in (first, second)] == [1, 2]


def test_stderr() -> None:
    assert one({"stderr": "a\udcff", "stderr_lines": 2, "stderr_bytes": 3}).stderr == b"a\xffline 0\nline 1\neee"


def test_damage() -> None:
    assert one({"garbage": "no reply"}).stdout == b"no reply"
    assert one({"body": "x", "garbage_before": "<", "garbage_after": ">"}).stdout[::100] == b"<"
    assert one({"body": "x", "garbage_after": ">"}).stdout.endswith(b"\n>")
    assert one({"body": "x", "partial": 3}).stdout == b'{"b'
    assert one({"body": "x", "late": "late", "late_after": 0}).stdout.endswith(b"\nlate")
    assert one({"stdout": "before", "body": "x"}).stdout.startswith(b"before{")
    assert len(replies(one({"size": 1000, "pieces": 10}))[0]["body"]) == 1000
    assert one({"close_stdout": True, "exit": 0}).stdout == b""


def test_echo_of_a_script() -> None:
    assert json.loads(replies(one({"echo": True}))[0]["body"]) == {"echo": True}


def test_ends() -> None:
    assert one({"exit": 3}).returncode == 3
    assert one({"signal": 11}).returncode == -signal.SIGSEGV
    after = one({"body": "x", "signal_after": 9})
    assert (after.returncode, after.stdout[:5]) == (-signal.SIGKILL, b'{"bod')
    assert one({"eof": {"exit": 4}}).returncode == 4
    assert one({}, GUEST_START='{"exit": 5}').returncode == 5
    assert one({}, GUEST_START='{"stderr": "up"}').stderr == b"up"


def test_use_of_things(tmp_path: Path) -> None:
    found = reported({"memory": 5, "leak": True, "open_files": 3, "spin": 0.01, "write_file": [f"{tmp_path}/f", 10]})
    assert found["errors"] == []
    assert (tmp_path / "f").read_bytes() == bytes(10)
    (error,) = reported({"write_file": ["/no/such/dir/f", 1]})["errors"]
    assert error.startswith("FileNotFoundError")


def test_grandchildren() -> None:
    found = reported({"spawn": {"count": 2, "seconds": 0.2, "quiet": True, "token": "t"}})
    assert len(set(found["spawned"])) == 2


def test_signals_and_ends_can_be_ignored() -> None:
    env = {"PATH": os.environ["PATH"], "FN_FORMAT": "json"}
    with subprocess.Popen(SCRIPTED, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=env) as process:
        assert process.stdin
        assert process.stdout
        process.stdin.write(line({"term": "ignore", "eof": "ignore", "body": "x"}))
        process.stdin.close()
        assert process.stdout.readline()
        process.terminate()
        with pytest.raises(subprocess.TimeoutExpired):
            process.wait(0.3)
        process.kill()
    with subprocess.Popen(SCRIPTED, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=env) as process:
        assert process.stdin
        assert process.stdout
        process.stdin.write(line({"term": {"exit": 7}, "body": "x"}))
        process.stdin.flush()
        assert process.stdout.readline()
        process.terminate()
        assert process.wait(10) == 7


def test_what_is_no_script_is_sent_back() -> None:
    (first, second) = replies(run(SCRIPTED, "json", line("{broken") + line("[1]")))
    assert (first["body"], second["body"]) == ("{broken", "[1]")


# The echo in C


def test_echo_http(echo: tuple[str]) -> None:
    big = os.urandom(3_000_000)
    data = (
        http(b"hello")
        + b"GET / HTTP/1.1\r\nhost: x\r\n\r\n"
        + b"P / H\r\ncontent-LENGTH:2\r\nX: y\r\n\r\nab"
        + http(big)
    )
    assert run(echo, "http", data).stdout == b"".join(
        b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(body) + body for body in (b"hello", b"", b"ab", big)
    )


def test_echo_http_of_a_head_shorter_than_its_own(echo: tuple[str]) -> None:
    assert run(echo, "http", b"G\r\n\r\n").stdout == b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"


def test_echo_json(echo: tuple[str]) -> None:
    odd = 'a"b\\c\n{}[] \u2603'
    data = (
        line("hello", protocol={"body": "no"})
        + line(odd)
        + b'{"x": {"body": "no"}, "body": "yes"}\n'
        + line("x" * 300_000)
    )
    bodies = [reply["body"] for reply in replies(run(echo, "json", data))]
    assert bodies == ["hello", odd, "yes", "x" * 300_000]


@pytest.mark.parametrize("bad", [b"{}\n", b'{"body": 1}\n', b'{"body": "x\n', b"nonsense\n"])
def test_echo_json_refuses_what_is_no_call(echo: tuple[str], bad: bytes) -> None:
    result = run(echo, "json", bad)
    assert (result.returncode, result.stdout, result.stderr) == (2, b"", b"echo: this is no call in JSON\n")


def test_echo_raw(echo: tuple[str]) -> None:
    data = os.urandom(1_000_000)
    assert run(echo, "default", data).stdout == data


def test_echo_of_half_a_request(echo: tuple[str]) -> None:
    assert run(echo, "http", http(b"hello")[:-1]).returncode == 2


def test_echo_runs_where_there_is_no_library(tmp_path: Path) -> None:
    program = guests.build_echo(tmp_path, static=True)
    assert run((program,), "raw", b"x").stdout == b"x"
    readelf = shutil.which("readelf")
    if readelf:
        headers = subprocess.run([readelf, "-l", program], capture_output=True, text=True, check=True).stdout
        assert "INTERP" not in headers
