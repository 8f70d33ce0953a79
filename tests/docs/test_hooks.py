"""Every hook is documented, and some test carries it out."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from hotfn_core import hookspecs

HOOKS = [name for name in vars(hookspecs) if name.startswith("hotfn_")]
ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize("name", HOOKS)
def test_every_hook_is_in_the_docs(name: str) -> None:
    assert re.search(rf"^#+ .*\b{name}\b", (ROOT / "docs" / "hooks.md").read_text(), re.MULTILINE)


@pytest.mark.parametrize("name", HOOKS)
def test_every_hook_is_carried_out_by_a_test(name: str) -> None:
    tests = [path for path in (ROOT / "tests").rglob("*.py") if path != Path(__file__)]
    assert any(f"def {name}(" in path.read_text() for path in tests)
