"""Handlers that do what handlers should not: hotfn_function answers, and the next call finds it alive."""

from __future__ import annotations

import json

import pytest

from .test_wire import HTTP, JSON, spoken

BOTH = pytest.mark.parametrize("format", ["http", "json"])


def served(format: str, handler: str, before: str = "") -> tuple[list[tuple[int, str, str]], str]:
    """Return status, head and body of two replies, and the log, of a function whose handler is this expression."""
    program = f"import hotfn_function as f\n{before}\nf.serve({handler})"
    call = HTTP if format == "http" else JSON
    out, log, status = spoken(format, call, call, program=f"exec({program!r})")
    assert status == 0, log
    return (_http if format == "http" else _json)(out.decode("latin-1")), log.decode()


def _http(text: str) -> list[tuple[int, str, str]]:
    replies = []
    while text:
        head, _, text = text.partition("\r\n\r\n")
        size = int(head.partition("Content-Length: ")[2].partition("\r\n")[0])
        replies.append((int(head[9:12]), head, text[:size]))
        text = text[size:]
    return replies


def _json(text: str) -> list[tuple[int, str, str]]:
    told = [json.loads(line) for line in text.splitlines()]
    protocols = [one.get("protocol", {}) for one in told]
    return [(p.get("status_code", 200), json.dumps(p), one["body"]) for one, p in zip(told, protocols, strict=True)]


@BOTH
def test_what_was_printed_before_goes_to_the_log_too(format: str) -> None:
    replies, log = served(format, "lambda call: b'ok'", "print('loading')")
    assert [body for _, _, body in replies] == ["ok", "ok"]
    assert log == "loading\n"


LATER = """
import functools
async def later(call, what=b'ok'): return what
class Callable:
    async def __call__(self, call): return await later(call)
    async def method(self, call): return await later(call)
"""


@BOTH
@pytest.mark.parametrize(
    "handler",
    ["later", "functools.partial(later, what='ok')", "Callable()", "Callable().method", "lambda call: later(call)"],
)
def test_whatever_is_awaitable_is_awaited(format: str, handler: str) -> None:
    replies, log = served(format, handler, LATER)
    assert [(status, body) for status, _, body in replies] == [(200, "ok"), (200, "ok")]
    assert not log


CANCELLED = """
import asyncio
async def cancelled(call):
    task = asyncio.ensure_future(asyncio.sleep(60))
    task.cancel()
    await task
"""


@BOTH
def test_a_task_that_was_cancelled_is_an_error_like_any_other(format: str) -> None:
    replies, log = served(format, "cancelled", CANCELLED)
    assert [(status, body) for status, _, body in replies] == [(500, "CancelledError")] * 2
    assert "CancelledError" in log


MUTE = """
class Mute(Exception):
    def __str__(self): raise ValueError
    status = property(lambda self: 1 / 0)
def mute(call): raise Mute
"""


@BOTH
def test_an_exception_that_cannot_be_told_is_answered(format: str) -> None:
    replies, log = served(format, "mute", MUTE)
    assert [(status, body) for status, _, body in replies] == [(500, "Mute")] * 2
    assert "in mute" in log


@BOTH
@pytest.mark.parametrize("hook", ["lambda *_: 1 / 0", "None"])
def test_a_hook_that_fails_ends_nothing(format: str, hook: str) -> None:
    replies, _ = served(format, "lambda call: 1 / 0", f"import sys; sys.excepthook = {hook}")
    assert [status for status, _, _ in replies] == [500, 500]


@BOTH
@pytest.mark.parametrize(
    "header",
    [("X", "\x01"), ("X", "a\x7f"), ("X", "\x0b"), ("X", "\udc80"), ("X(Y)", "a"), ("X/Y", "a"), ('"', "a"),
     ("X" * 300, "a")],
    ids=lambda header: ascii(header)[:20],
)  # fmt: skip
def test_a_header_that_would_end_the_copy_is_an_error_instead(format: str, header: tuple[str, str]) -> None:
    replies, log = served(format, f"lambda call: f.Reply(b'', 200, [{header!r}])")
    assert [status for status, _, _ in replies] == [500, 500]
    assert "no header" in log


@BOTH
@pytest.mark.parametrize("header", [("X", "a\tb"), ("X-!#$%&'*+.^_`|~9", "\xfc"), ("X", "")], ids=repr)
def test_other_headers_pass(format: str, header: tuple[str, str]) -> None:
    replies, _ = served(format, f"lambda call: f.Reply(b'', 200, [{header!r}])")
    assert [status for status, _, _ in replies] == [200, 200]
    assert header[0] in replies[0][1]


@pytest.mark.parametrize("status", [204, 304])
def test_a_status_that_has_no_body_gets_none(status: int) -> None:
    program = f"import hotfn_function as f; f.serve(lambda call: f.Reply('body', {status}))"
    out, _, ended = spoken("http", HTTP, HTTP, program=program)
    assert (out.count(b"HTTP/1.1 %d " % status), b"body" in out, ended) == (2, False, 0)


def test_a_large_line_in_many_pieces_is_not_copied_again_with_each() -> None:
    """It would be a terabyte, in sixty thousand pieces, and not be there in a minute."""
    body = "x" * (32 << 20)
    program = "import hotfn_function as f; f.PIECE = 512; f.serve(lambda call: str(len(call.body)))"
    out, log, status = spoken("json", json.dumps({"body": body}).encode() + b"\n", program=program)
    assert (json.loads(out)["body"], log, status) == (str(len(body)), b"", 0)


def test_two_lines_in_one_piece_are_answered_in_order() -> None:
    other = JSON.replace(b"hello", b"other")
    assert spoken("json", b"\n" + JSON + b" \n" + other + JSON[:-9], other[-9:]) == (
        b'{"body":"hello"}\n{"body":"other"}\n{"body":"hello"}\n', b"", 0,
    )  # fmt: skip
