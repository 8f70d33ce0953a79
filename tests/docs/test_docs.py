"""The docs are true: links resolve, Python parses, and a block that is marked `run` runs.

A fenced block is marked by the word after its language: ```python run, ```bash run. Blocks of one page run in order in
one directory, each in a process of its own, with the repository's docs/examples at hand as `examples`. A ```console
block is text to read. Every ```python block must parse, marked or not; `await` may stand outside of a function in it.
"""

from __future__ import annotations

import ast
import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import NamedTuple

import pytest

ROOT = Path(__file__).parents[2]
PAGES = [
    ROOT / "README.md",
    ROOT / "CHANGELOG.md",
    *sorted(ROOT.glob("docs/**/*.md")),
    *sorted(ROOT.glob("plugins/*/*.md")),
]
_FENCE = re.compile(r"^( *)```(\S*) *(.*?)\n(.*?)^\1```$", re.MULTILINE | re.DOTALL)
_LINK = re.compile(r"(?<!!)\[[^\]]*\]\(([^)\s]+)\)|!\[[^\]]*\]\(([^)\s]+)\)")
_HEADING = re.compile(r"^#{1,6} +(.*?) *#*$", re.MULTILINE)


class Block(NamedTuple):
    """A fenced block: its language, the words behind it, its text without the indentation of the fence."""

    page: Path
    line: int
    language: str
    marks: tuple[str, ...]
    text: str

    def __str__(self) -> str:
        return f"{self.page.relative_to(ROOT) if self.page.is_relative_to(ROOT) else self.page.name}:{self.line}"


def blocks(page: Path) -> list[Block]:
    text = page.read_text()
    return [
        Block(
            page,
            text.count("\n", 0, found.start()) + 1,
            found[2],
            tuple(found[3].split()),
            re.sub(rf"^{found[1]}", "", found[4], flags=re.MULTILINE),
        )
        for found in _FENCE.finditer(text)
    ]


def prose(page: Path) -> str:
    """Return a page without its code, where brackets are not links."""
    return re.sub(r"`[^`\n]*`", "", _FENCE.sub("", page.read_text()))


def anchors(page: Path) -> set[str]:
    """Return the names under which the headings of a page are reached, as GitHub makes them."""
    headings = _HEADING.findall(_FENCE.sub("", page.read_text()))
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def broken_links(page: Path) -> list[str]:
    """Return the links of a page that lead nowhere within the repository. Links to other places are not followed."""
    return [link for found in _LINK.findall(prose(page)) if (link := "".join(found)) and not resolves(page, link)]


def resolves(page: Path, link: str) -> bool:
    if re.match(r"[a-z]+:", link):
        return True
    path, _, anchor = link.partition("#")
    target = (page.parent / path).resolve() if path else page
    return target.exists() and (not anchor or anchor in anchors(target))


ALL_BLOCKS = [block for page in PAGES for block in blocks(page)]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_resolve(page: Path) -> None:
    assert broken_links(page) == []


@pytest.mark.parametrize("block", [block for block in ALL_BLOCKS if block.language == "python"], ids=str)
def test_python_parses(block: Block) -> None:
    compile(block.text, str(block), "exec", flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT | ast.PyCF_ONLY_AST)


@pytest.mark.parametrize("block", [block for block in ALL_BLOCKS if block.language == "toml"], ids=str)
def test_toml_parses(block: Block) -> None:
    tomllib.loads(block.text)


def run(block: Block, folder: Path) -> None:
    examples = folder / "examples"
    if not examples.exists():
        examples.symlink_to(ROOT / "docs" / "examples")
    command = {"python": [sys.executable, "-c"], "bash": ["bash", "-euo", "pipefail", "-c"]}[block.language]
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"  # `hotfn` and `python` are those of this environment
    done = subprocess.run(
        [*command, block.text], cwd=folder, env=os.environ | {"PATH": path}, capture_output=True, text=True,
        timeout=100, check=False,
    )  # fmt: skip
    assert done.returncode == 0, f"{block} failed:\n{done.stdout}\n{done.stderr}"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_blocks_that_are_marked_run(page: Path, tmp_path: Path) -> None:
    for block in blocks(page):
        if "run" in block.marks:
            run(block, tmp_path)


def test_marks_are_known() -> None:
    """A misspelt mark would be a block that silently does not run."""
    known = [block for block in ALL_BLOCKS if set(block.marks) <= {"run"}]
    assert [str(block) for block in ALL_BLOCKS if block not in known] == []


class TestTheChecksThemselves:
    def test_a_broken_link_is_found(self, tmp_path: Path) -> None:
        page = tmp_path / "page.md"
        page.write_text(
            "# A `b`: c!\n[x](page.md) [y](#a-b-c) [z](page.md#a-b-c) [web](https://example.org)\n"
            "[1](absent.md) [2](#absent) ![3](absent.png) `[4](code)`\n```text\n[5](code)\n```\n"
        )
        assert broken_links(page) == ["absent.md", "#absent", "absent.png"]

    def test_a_block_that_fails_is_found(self, tmp_path: Path) -> None:
        page = tmp_path / "page.md"
        page.write_text(
            "1. text\n   ```python run\n   assert 1 == 2\n   ```\n```bash run\nfalse | true\n```\n```sh\nfine\n```\n"
        )
        bad_python, bad_bash, unmarked = blocks(page)
        assert unmarked.marks == ()
        for block in (bad_python, bad_bash):
            with pytest.raises(AssertionError, match=r"page\.md:\d failed"):
                run(block, tmp_path)
