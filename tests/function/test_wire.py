"""The bytes that hotfn_function reads and writes, whole and in pieces, right and wrong."""

from __future__ import annotations

import json
import subprocess
import sys
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import IO

import hotfn_function
import pytest
from hypothesis import given
from hypothesis import strategies as st

FOLDER = str(Path(str(hotfn_function.__file__)).parent)
ECHO = "from hotfn_function import serve; serve(lambda call: call.body)"
HTTP = b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\nFn_call_id: 1\r\n\r\nhello"
HTTP_ANSWER = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello"
JSON = b'{"call_id":"1","deadline":"","body":"hello","content_type":"","protocol":{"type":"http","headers":{}}}\n'
JSON_ANSWER = b'{"body":"hello"}\n'


def start(format: str, program: str = ECHO) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [sys.executable, "-I", "-S", "-c", f"import sys; sys.path.append({FOLDER!r}); {program}"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env={"FN_FORMAT": format},
        bufsize=0,
    )


def spoken(format: str, *pieces: bytes, program: str = ECHO) -> tuple[bytes, bytes, int]:
    """Return what it wrote, what it logged and its exit status when so much came in, piece by piece."""
    process = start(format, program)
    assert process.stdin is not None
    for piece in pieces:
        process.stdin.write(piece)
    out, log = process.communicate(timeout=60)
    return out, log, process.returncode


@pytest.mark.parametrize(("format", "call", "answer"), [("http", HTTP, HTTP_ANSWER), ("json", JSON, JSON_ANSWER)])
class TestPieces:
    def test_byte_by_byte(self, format: str, call: bytes, answer: bytes) -> None:
        assert spoken(format, *(call[n : n + 1] for n in range(len(call)))) == (answer, b"", 0)

    @pytest.mark.parametrize("at", [1, 4, 17, -6, -5, -1])
    def test_in_two(self, format: str, call: bytes, answer: bytes, at: int) -> None:
        assert spoken(format, call[:at], call[at:]) == (answer, b"", 0)

    def test_nothing_is_a_quiet_end(self, format: str, call: bytes, answer: bytes) -> None:
        assert spoken(format) == (b"", b"", 0)

    def test_an_end_in_the_middle_is_told(self, format: str, call: bytes, answer: bytes) -> None:
        out, log, status = spoken(format, call[:-2])
        assert (out, status) == (b"", 1)
        assert b"ended in the middle" in log

    def test_blank_lines_between_calls_mean_nothing(self, format: str, call: bytes, answer: bytes) -> None:
        assert spoken(format, b"\r\n" + call + b"\r\n") == (answer, b"", 0)


def test_chunks() -> None:
    head = b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n"
    body = b"3;odd=1\r\nhel\r\n2\r\nlo\r\n0\r\nX-Trailer: 1\r\n\r\n"
    whole = head + body
    assert spoken("http", whole, HTTP) == (HTTP_ANSWER * 2, b"", 0)
    assert spoken("http", *(whole[n : n + 1] for n in range(len(whole)))) == (HTTP_ANSWER, b"", 0)


def test_a_request_without_a_length_has_no_body() -> None:
    answer = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"
    assert spoken("http", b"GET / HTTP/1.1\r\nHost: x\r\n\r\n", HTTP) == (answer + HTTP_ANSWER, b"", 0)


def test_two_requests_in_one_piece_are_answered_in_order() -> None:
    other = HTTP.replace(b"hello", b"other")
    assert spoken("http", HTTP + other) == (HTTP_ANSWER + HTTP_ANSWER.replace(b"hello", b"other"), b"", 0)


def test_a_head_without_end_is_not_kept_for_ever() -> None:
    with start("http") as process:
        assert process.stdin is not None
        with pytest.raises(BrokenPipeError):
            pour(process.stdin)
        assert process.wait(60) == 1


def pour(stream: IO[bytes]) -> None:
    for _ in range(1000):
        stream.write(b"x" * 65536)


@pytest.mark.parametrize("line", [b"[1]\n", b"nonsense\n"])
def test_what_is_no_call_ends_it(line: bytes) -> None:
    out, log, status = spoken("json", line)
    assert out == b""
    assert status == 1
    assert log


def test_an_unknown_format_is_named() -> None:
    out, log, status = spoken("smoke")
    assert (out, status) == (b"", 1)
    assert b"speaks default, http and json; FN_FORMAT asks for 'smoke'" in log


@pytest.mark.parametrize("format", ["http", "json"])
def test_whoever_is_gone_gets_no_traceback(format: str) -> None:
    with start(format) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.close()  # before there is anything to answer
        process.stdin.write(HTTP if format == "http" else JSON)
        assert process.wait(60) == 1
        assert b"Traceback" not in process.stderr.read()


MOMENTS = st.datetimes(datetime(1970, 1, 1), datetime(2200, 1, 1))  # noqa: DTZ001 - the zone is added
MINUTES = st.integers(-14 * 60, 14 * 60)
ZONES = MINUTES.map(lambda minutes: timezone(timedelta(minutes=minutes)))


@given(moment=MOMENTS, zone=ZONES, blank=st.sampled_from("Tt "))
def test_deadlines_are_read_as_python_reads_them(moment: datetime, zone: timezone, blank: str) -> None:
    exact = moment.replace(tzinfo=zone)
    text = exact.isoformat().replace("T", blank)
    assert hotfn_function._seconds(text) == pytest.approx(exact.timestamp(), abs=1e-5)
    utc = moment.isoformat(timespec="milliseconds") + "Z"
    assert hotfn_function._seconds(utc) == pytest.approx(datetime.fromisoformat(utc).timestamp(), abs=1e-5)


@given(text=st.text(max_size=40))
def test_what_is_no_time_is_none(text: str) -> None:
    seconds = hotfn_function._seconds(text)
    assert seconds is None or isinstance(seconds, float)


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**70), 2**70) | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
)


@given(value=VALUES, indent=st.sampled_from([None, 1]), ascii_only=st.booleans())
def test_json_is_read_as_python_reads_it(value: object, indent: int | None, ascii_only: bool) -> None:
    assert hotfn_function._loads(json.dumps(value, indent=indent, ensure_ascii=ascii_only)) == value


@given(text=st.text(alphabet='{}[]",:0123456789.eE-+truefalsn \n\\u', max_size=30))
def test_what_python_refuses_is_refused(text: str) -> None:
    try:
        right = json.loads(text)
    except ValueError:
        with pytest.raises(ValueError, match=r"."):
            hotfn_function._loads(text)
    else:
        assert repr(hotfn_function._loads(text)) == repr(right)


@given(text=st.text())
def test_text_is_quoted_as_python_quotes_it(text: str) -> None:
    assert hotfn_function._quoter()(text) == json.dumps(text)
