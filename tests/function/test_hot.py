"""Functions written with hotfn_function, hot in every format that it speaks, called through a real Manager."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import hotfn_function
import pytest

from hotfn_core import CallFailed, FunctionSpec, InstanceExited, Manager, Reply, StderrLine, hookimpl

HANDLER = str(Path(__file__).with_name("handler.py"))
HOT = pytest.mark.parametrize("format", ["http", "json"])
EVERY = pytest.mark.parametrize("format", ["default", "http", "json"])
Call = Callable[..., Awaitable[Reply]]


class Log:
    def __init__(self) -> None:
        self.lines: list[str] = []

    @hookimpl
    def hotfn_stderr_line(self, line: StderrLine) -> None:
        self.lines.append(line.text)


def served(format: str, test: Callable[[Call], Awaitable[None]], *arguments: str, **fields: Any) -> list[str]:
    """Run a test with something to call the function by; return the function's log."""
    log = Log()
    spec = FunctionSpec(
        name="f", command=(sys.executable, "-I", "-S", "-c", PROGRAM, *arguments), format=format, **fields
    )

    async def main() -> None:
        async with Manager(plugins=[log]) as manager:

            async def call(body: bytes, **more: Any) -> Reply:
                return await manager.call(spec, body, **more)

            await test(call)

    asyncio.run(main())
    return log.lines


FOLDERS = [str(Path(HANDLER).parent), str(Path(str(hotfn_function.__file__)).parent)]
PROGRAM = f"import sys; sys.path += {FOLDERS!r}; import runpy; runpy.run_path({HANDLER!r}, run_name='__main__')"


@EVERY
@pytest.mark.parametrize("body", [b"", b"hello", "gr\u00fc\u00df \u2603 \U0001f600".encode(), b"'\"\\<>&\n\r\t" * 9])
def test_a_body_comes_back(format: str, body: bytes) -> None:
    async def test(call: Call) -> None:
        assert (await call(body)).body == body

    served(format, test)


@EVERY
@pytest.mark.parametrize("size", [65_535, 65_536, 65_537, 1_000_000, 5_000_000])
def test_a_large_body_comes_back(format: str, size: int) -> None:
    async def test(call: Call) -> None:
        body = b"0123456789" * (size // 10) + b"x" * (size % 10)
        assert (await call(body)).body == body

    served(format, test)


@HOT
@pytest.mark.parametrize("arguments", [(), ("--async",)], ids=["plain", "coroutine"])
def test_a_hundred_calls_go_through_one_copy(format: str, arguments: tuple[str, ...]) -> None:
    async def test(call: Call) -> None:
        pids = {json.loads((await call(b"tell")).body)["pid"] for _ in range(100)}
        assert len(pids) == 1

    served(format, test, *arguments)


@EVERY
def test_what_the_caller_said_is_there(format: str) -> None:
    async def test(call: Call) -> None:
        before = time.time()
        reply = await call(
            b"tell",
            method="PUT",
            url="/a?b=c",
            content_type="text/x-odd",
            headers={"X-One": "1", "X-Empty": ""},
            call_id="the-call",
        )
        told = json.loads(reply.body)
        assert told["id"] == "the-call"
        assert (told["method"], told["content_type"]) == ("PUT", "text/x-odd")
        assert told["url"].endswith("/a?b=c")
        assert told["headers"]["x-one"] == "1"
        assert before + 19 < told["deadline"] < time.time() + 21
        assert 0 < told["remaining"] < 21

    served(format, test, timeout=20)


@HOT
def test_what_it_raises_is_a_500_and_the_copy_lives(format: str) -> None:
    async def test(call: Call) -> None:
        pid = json.loads((await call(b"tell")).body)["pid"]
        failed = await call(b"boom")
        assert (failed.status, failed.body) == (500, b"boom")
        assert (await call(b"silent")).body == b"ValueError"
        assert json.loads((await call(b"tell")).body)["pid"] == pid

    log = served(format, test)
    assert "ValueError: boom" in log
    assert "Traceback (most recent call last):" in log


@HOT
@pytest.mark.parametrize(
    ("body", "status", "answer"), [(b"teapot", 418, b"short and stout"), (b"bad", 400, b"not like that")]
)
def test_an_exception_may_have_a_status(format: str, body: bytes, status: int, answer: bytes) -> None:
    async def test(call: Call) -> None:
        reply = await call(body)
        assert (reply.status, reply.body) == (status, answer)

    assert served(format, test) == []  # whoever is to blame is told; the log is not for that


@HOT
def test_a_body_that_is_no_json_is_the_callers_fault(format: str) -> None:
    async def test(call: Call) -> None:
        reply = await call(b"not json")
        assert reply.status == 400
        assert b"the body is not JSON" in reply.body

    served(format, test)


@EVERY
def test_what_is_printed_is_in_the_log_and_not_in_the_reply(format: str) -> None:
    async def test(call: Call) -> None:
        assert (await call(b"stray")).body == b"clean"
        assert (await call(b"after")).body == b"after"

    log = served(format, test)
    assert log == ["printed", "written", "from a shell"]


@HOT
@pytest.mark.parametrize(
    ("body", "answer", "kind"),
    [
        (b"none", b"", ""),
        (b"text", "gr\u00fc\u00df dich".encode(), "text/plain; charset=utf-8"),
        (b"list", b'[1, "\\u2603", null]', "application/json"),
    ],
)
def test_other_answers_than_bytes(format: str, body: bytes, answer: bytes, kind: str) -> None:
    async def test(call: Call) -> None:
        reply = await call(body)
        assert (reply.status, reply.body, reply.headers.get("content-type", "")) == (200, answer, kind)

    served(format, test)


@HOT
def test_status_and_headers_of_a_reply(format: str) -> None:
    async def test(call: Call) -> None:
        made = await call(b"created")
        assert (made.status, made.body, made.headers["x-made"]) == (201, b"made", "yes")
        assert made.headers["content-type"] == "text/x-made"
        twice = await call(b"twice")
        assert twice.headers.get_all("x-two") == ["one", "two"]
        assert (await call(b"length")).body == b"four"

    served(format, test)


@HOT
@pytest.mark.parametrize("body", [b"odd", b"inject", b"status"])
def test_what_cannot_be_sent_is_a_500(format: str, body: bytes) -> None:
    async def test(call: Call) -> None:
        reply = await call(body)
        assert reply.status == 500
        assert "x-worse" not in reply.headers
        assert (await call(b"next")).body == b"next"

    served(format, test)


def test_http_carries_any_bytes() -> None:
    async def test(call: Call) -> None:
        assert (await call(b"binary")).body == b"\xff\x00\xfe"
        every = bytes(range(256)) * 300
        assert (await call(every)).body == every

    served("http", test)


def test_json_says_that_it_cannot() -> None:
    async def test(call: Call) -> None:
        reply = await call(b"binary")
        assert reply.status == 500
        assert b"text only" in reply.body

    served("json", test)


@HOT
def test_it_may_end_by_itself(format: str) -> None:
    async def test(call: Call) -> None:
        with pytest.raises(InstanceExited, match="code 3"):
            await call(b"exit")
        assert (await call(b"next")).body == b"next"

    served(format, test)


def test_a_cold_function_that_fails_says_so_by_its_exit() -> None:
    async def test(call: Call) -> None:
        with pytest.raises(CallFailed, match="boom"):
            await call(b"boom")

    assert "ValueError: boom" in served("default", test)


def test_head_gets_no_body() -> None:
    async def test(call: Call) -> None:
        assert (await call(b"any", method="HEAD")).body == b""
        assert (await call(b"next")).body == b"next"

    served("http", test)


def test_no_descriptor_of_the_calls_is_inherited() -> None:
    """A child that lives on would keep the streams open, and could read calls."""
    script = "import os, sys, hotfn_function as h; print([os.get_inheritable(one) for one in h._take_streams()])"
    done = subprocess.run([sys.executable, "-c", script], cwd=FOLDERS[1], capture_output=True, text=True, check=True)
    assert done.stderr.strip() == "[False, False]"
