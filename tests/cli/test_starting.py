"""How many copies start at a time, said on the command line and in the configuration."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from .conftest import GUEST

Run = Callable[..., subprocess.CompletedProcess[bytes]]

# A driver that says how many starts are under way. Each goes on until three are, or for a moment.
COUNTED = """
import asyncio, contextlib, sys
from hotfn_local.driver import LocalDriver

class Counted(LocalDriver):
    name = "counted"
    max_starting = 16
    starting = most = 0

    async def open(self):
        await super().open()
        self.crowd = asyncio.Event()

    async def launch(self, spec, receiver):
        self.starting += 1
        self.most = max(self.most, self.starting)
        if self.starting == 3:
            self.crowd.set()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(0.3):
                await self.crowd.wait()
        container = await super().launch(spec, receiver)
        self.starting -= 1
        return container

    async def aclose(self):
        print("at a time:", self.most, file=sys.stderr)
        await super().aclose()

@hookimpl
def hotfn_register_drivers():
    return {"counted": Counted}
"""
COMMAND = json.dumps([sys.executable, str(GUEST)])
FUNCTION = f'[functions.f]\ndriver="counted"\nformat="http"\nmax_concurrency=3\ncommand={COMMAND}\n'


@pytest.fixture
def counted(install: Callable[[str, str], dict[str, str]]) -> dict[str, str]:
    return install("counted", COUNTED)


def wrote(folder: Path, numbers: str) -> None:
    (folder / "functions.toml").write_text(f"{FUNCTION}[max_starting]\n{numbers}\n")


@pytest.mark.parametrize(
    ("numbers", "options", "most"),
    [
        ("", (), 3),
        ("counted = 1", (), 1),
        ("", ("--max-starting", "1"), 1),
        ("counted = 1", ("--max-starting", "4"), 3),
    ],
)
def test_the_option_the_file_the_driver(
    hotfn: Run, tmp_path: Path, counted: dict[str, str], numbers: str, options: tuple[str, ...], most: int
) -> None:
    wrote(tmp_path, numbers)
    result = hotfn("run", "f", "--calls", "3", "--parallel", "3", *options, input=b"sleep 1", env=counted)
    assert (result.returncode, result.stderr) == (0, b"at a time: %d\n" % most)


def test_it_can_be_compared(hotfn: Run, tmp_path: Path, counted: dict[str, str]) -> None:
    wrote(tmp_path, "")
    options = ("--calls", "60", "--body", "sleep 0.05", "--compare", "max-starting=1,4")
    result = hotfn("bench", "f", "--json", *options, env=counted)
    assert sorted(result.stderr.splitlines()) == [b"at a time: 1", b"at a time: 3"]
    assert [one["label"] for one in json.loads(result.stdout)["results"]] == ["1", "4"]


@pytest.mark.parametrize("command", ["run", "bench", "check"])
def test_a_driver_that_is_not_there(hotfn: Run, tmp_path: Path, command: str, counted: dict[str, str]) -> None:
    wrote(tmp_path, "cuonted = 1")
    result = hotfn(command, env=counted)
    assert result.returncode == 2
    assert b'max_starting: there is no driver "cuonted" (did you mean "counted"?)' in result.stdout + result.stderr


def test_check_says_so_to_machines_as_well(hotfn: Run, tmp_path: Path, counted: dict[str, str]) -> None:
    for numbers, count in (("counted = 1", 0), ("cuonted = 1", 1)):
        wrote(tmp_path, numbers)
        report: dict[str, Any] = json.loads(hotfn("check", "--json", env=counted).stdout)
        assert len(report["problems"]) == count


def test_no_number(hotfn: Run) -> None:
    result = hotfn("run", "--max-starting", "0", "--", "cat")
    assert (result.returncode, b"--max-starting" in result.stderr) == (2, True)
