"""How a container ended, as its callers are told."""

from __future__ import annotations

import pytest

from hotfn_containers.attach import CUT
from hotfn_containers.exits import cut_off
from hotfn_core.model import Exit


@pytest.mark.parametrize(
    ("exit", "words"),
    [
        (Exit(code=0), ["was lost", "exited with code 0", "read all of its input"]),
        (Exit(code=3), ["exited with code 3"]),
        (Exit(code=137, oom=True, memory=64), ["out of memory, limit 64 MB"]),
    ],
)
def test_when_the_end_of_the_outputs_may_be_missing_it_is_no_reply(exit: Exit, words: list[str]) -> None:
    cut = cut_off(exit)
    assert cut.code != 0
    for word in (CUT, *words):
        assert word in str(cut)
