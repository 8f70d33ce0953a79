"""docs/flaws.md accounts for every known flaw of the systems before this one, each once.

A row is `| W09 | what went wrong | how it is held |`. The last cell names the tests (`test_w09_...` in backticks), or
says why there is none, in words.
"""

from __future__ import annotations

import ast
import re
from pathlib import Path

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "flaws.md"
FLAWS = [f"W{n:02}" for n in range(1, 47)] + [f"B{n:02}" for n in range(1, 47)] + [f"O{n}" for n in range(1, 12)]
_ROW = re.compile(r"^\| *([WBO]\d+) *\|(.*)\|(.*)\|\s*$", re.MULTILINE)


def rows(text: str) -> list[tuple[str, str]]:
    return [(flaw, held.strip()) for flaw, _, held in _ROW.findall(text)]


def known_tests() -> set[str]:
    """Return the name of every test function, with those that plugins bring."""
    files = [*ROOT.glob("tests/**/*.py"), *ROOT.glob("plugins/*/tests/**/*.py")]
    return {
        node.name
        for path in files
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.name.startswith("test_")
    }


def named_tests(held: str) -> list[str]:
    return re.findall(r"`(test_\w+)`", held)


def unproven(table: list[tuple[str, str]], tests: set[str]) -> list[str]:
    """Say which rows name a test that does not exist, or neither a test nor a reason."""
    wrong = [f"{flaw}: no test {test}" for flaw, held in table for test in named_tests(held) if test not in tests]
    bare = [f"{flaw}: no test and no reason" for flaw, held in table if not named_tests(held) and len(held.split()) < 4]
    return wrong + bare


def test_every_flaw_has_its_row() -> None:
    assert [flaw for flaw, _ in rows(PAGE.read_text())] == FLAWS


def test_every_row_names_tests_that_exist_or_a_reason() -> None:
    assert unproven(rows(PAGE.read_text()), known_tests()) == []


def test_every_test_that_is_named_after_flaws_is_in_their_rows() -> None:
    table = {flaw: named_tests(held) for flaw, held in rows(PAGE.read_text())}
    stray: list[str] = []
    for test in sorted(known_tests()):
        names = re.match(r"test_((?:[wbo]\d+_(?:and_)?)*)", test)
        flaws = re.findall(r"[wbo]\d+", names[1]) if names else []
        stray += [f"{flaw}: {test}" for flaw in flaws if test not in table.get(flaw.upper(), [])]
    assert stray == []


def test_a_row_that_proves_nothing_is_found() -> None:
    table = rows(
        "| W01 | x | `test_w01_real` |\n"
        "| W02 | x | `test_w02_absent` |\n"
        "| O3 | x | later |\n"
        "| B01 | x | it has no slots at all |\n"
    )
    assert unproven(table, {"test_w01_real"}) == ["W02: no test test_w02_absent", "O3: no test and no reason"]
