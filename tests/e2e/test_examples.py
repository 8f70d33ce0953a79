"""The examples of the docs as processes of this machine: hot, with their errors, and when they get stuck."""

from __future__ import annotations

import asyncio
import json
import shutil
import subprocess
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path

import psutil
import pytest

from hotfn_core import CallError, CallTimeout, FunctionSpec, InstanceExited, Manager, Reply
from hotfn_core.config import load_config

EXAMPLES = Path(__file__).parents[2] / "docs" / "examples"
NEEDS = {"node": "node", "c": "make", "rust": "rustc"}
HOT = ["python", "node", "c", "rust"]
MIB = 1 << 20
HOTFN = str(Path(sys.executable).with_name("hotfn"))
Call = Callable[..., Awaitable[Reply]]


@pytest.fixture(scope="session")
def folder_of(tmp_path_factory: pytest.TempPathFactory, need: Callable[[str], None]) -> Callable[[str], Path]:
    """Return the folder of an example, with what has to be made of it; skips where its language is not installed."""
    below = tmp_path_factory.mktemp("examples")

    def find(example: str) -> Path:
        need(NEEDS.get(example, "sh"))
        folder = below / example
        if not folder.exists():
            shutil.copytree(EXAMPLES / example, folder)
            if (folder / "Makefile").exists():
                subprocess.run(["make"], cwd=folder, check=True, capture_output=True)
        return folder

    return find


@pytest.fixture(autouse=True)
def this_python(monkeypatch: pytest.MonkeyPatch) -> None:
    """`python3` is the interpreter that has hotfn_function."""
    monkeypatch.setenv("PATH", str(Path(sys.executable).parent), prepend=":")


def called(folder: Path, test: Callable[[Call], Awaitable[None]], **fields: object) -> None:
    """Run a test with something to call the function by, through a manager of its own."""
    (spec,) = load_config(folder / "func.yaml").functions.values()

    async def main() -> None:
        async with Manager() as manager:
            changed: FunctionSpec = spec.replace(**fields)

            async def call(body: bytes, **more: object) -> Reply:
                return await manager.call(changed, body, **more)  # type: ignore[arg-type]  # what a test asks for

            await test(call)

    asyncio.run(main())


def processes(folder: Path) -> list[psutil.Process]:
    """Return the copies of a function that run."""
    return [one for one in psutil.Process().children(recursive=True) if _works_in(one, folder)]


def _works_in(process: psutil.Process, folder: Path) -> bool:
    try:
        return Path(process.cwd()) == folder
    except (psutil.AccessDenied, psutil.NoSuchProcess):
        return False


@pytest.mark.parametrize("example", ["python", "node", "shell", "c", "rust"])
def test_its_own_tests_pass(example: str, folder_of: Callable[[str], Path]) -> None:
    done = subprocess.run(
        [HOTFN, "test"], cwd=folder_of(example), capture_output=True, text=True, timeout=60, check=False
    )
    assert (done.returncode, done.stderr) == (0, ""), done.stdout
    assert done.stdout.endswith(" none failed\n")


@pytest.mark.parametrize("example", HOT)
def test_one_copy_answers_call_after_call(example: str, folder_of: Callable[[str], Path]) -> None:
    folder = folder_of(example)

    async def test(call: Call) -> None:
        replies = [await call(b"one two three") for _ in range(100)]
        assert [reply.cold for reply in replies] == [True] + [False] * 99
        assert len({reply.instance for reply in replies}) == 1
        assert {(reply.status, reply.body) for reply in replies} == {(200, replies[0].body)}
        assert len(processes(folder)) == 1

    called(folder, test)


@pytest.mark.parametrize(
    ("example", "body", "reply", "kind"),
    [
        ("python", "to bé", b'{"to": 2, "b\\u00e9": 2}', "application/json"),
        ("node", "to bé", "bé to".encode(), "text/plain; charset=utf-8"),
        ("c", "abc\0\xff", "abc\0\xff".encode()[::-1], None),
        ("rust", "to bé", b"2", "text/plain"),
    ],
)
def test_what_it_answers(
    example: str, body: str, reply: bytes, kind: str | None, folder_of: Callable[[str], Path]
) -> None:
    async def test(call: Call) -> None:
        answer = await call(body.encode())
        assert (answer.status, answer.body, answer.headers.get("content-type")) == (200, reply, kind)

    called(folder_of(example), test)


@pytest.mark.parametrize(
    ("example", "body", "status", "text"),
    [
        ("python", b"...", 400, "there is no word in it"),
        ("python", b"\xff", 400, "the body is not UTF-8"),
        ("node", b"", 500, "there is no word in it"),
        ("c", b"", 400, ""),
        ("rust", b"\xff", 400, "invalid utf-8"),
    ],
)
def test_an_error_is_a_status_and_the_copy_stays(
    example: str, body: bytes, status: int, text: str, folder_of: Callable[[str], Path]
) -> None:
    async def test(call: Call) -> None:
        replies = [await call(b"fine"), await call(body), await call(b"fine")]
        assert [reply.status for reply in replies] == [200, status, 200]
        assert text in replies[1].body.decode()
        assert len({reply.instance for reply in replies}) == 1

    called(folder_of(example), test)


@pytest.mark.parametrize("example", HOT)
def test_a_mebibyte_both_ways_and_then_a_small_one(example: str, folder_of: Callable[[str], Path]) -> None:
    body = b"a" * (MIB - 2) + b" b"
    expected = {
        "python": json.dumps({"a" * (MIB - 2): MIB - 2, "b": 1}).encode(),
        "node": b"b " + b"a" * (MIB - 2),
        "c": body[::-1],
        "rust": b"2",
    }

    async def test(call: Call) -> None:
        first, small = await call(body), await call(b"b")
        assert first.body == expected[example]
        assert (small.status, small.instance) == (200, first.instance)

    called(folder_of(example), test)


@pytest.mark.parametrize("example", HOT)
def test_one_that_is_stuck_is_stopped_in_time_and_the_next_call_finds_another(
    example: str, folder_of: Callable[[str], Path]
) -> None:
    folder = folder_of(example)

    async def test(call: Call) -> None:
        first = await call(b"fine")
        (copy,) = processes(folder)
        copy.suspend()  # as good as an endless loop
        with pytest.raises(CallTimeout):
            await call(b"fine", deadline=asyncio.get_running_loop().time() + 0.5)
        second = await call(b"fine")
        assert (second.cold, second.body) == (True, first.body)
        assert second.instance != first.instance

    called(folder, test, stop_grace=0.1)


@pytest.mark.parametrize("example", HOT)
def test_one_that_is_killed_is_replaced(example: str, folder_of: Callable[[str], Path]) -> None:
    folder = folder_of(example)

    async def test(call: Call) -> None:
        first = await call(b"fine")
        (copy,) = processes(folder)
        copy.suspend()
        waiting = asyncio.ensure_future(call(b"fine"))
        await asyncio.sleep(0)  # it has been sent
        copy.kill()
        with pytest.raises(InstanceExited):
            await waiting
        assert (await call(b"fine")).body == first.body

    called(folder, test)


class TestShell:
    def test_a_process_for_each_call(self, folder_of: Callable[[str], Path]) -> None:
        async def test(call: Call) -> None:
            replies = [await call(b"to be"), await call(b"or not", method="PUT"), await call(b"")]
            assert [reply.body for reply in replies] == [b"POST said: TO BE", b"PUT said: OR NOT", b"POST said: "]
            assert len({reply.instance for reply in replies}) == 3

        called(folder_of("shell"), test)

    def test_a_mebibyte_both_ways(self, folder_of: Callable[[str], Path]) -> None:
        async def test(call: Call) -> None:
            assert (await call(b"a" * MIB)).body == b"POST said: " + b"A" * MIB

        called(folder_of("shell"), test)

    def test_what_it_says_of_an_error_is_in_the_error(self, folder_of: Callable[[str], Path]) -> None:
        async def test(call: Call) -> None:
            with pytest.raises(CallError, match="there is nothing to delete"):
                await call(b"", method="DELETE")

        called(folder_of("shell"), test)
