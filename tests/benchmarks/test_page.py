"""The page keeps the prose that people wrote, and the numbers are those of the run."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import page
import pytest
from bounds import BOUNDS, REPORTED
from cases import CASES, SIZED, STUDIES, Sizes, entries_of
from plot import Point
from verdict import pick

TEXT = "# Page\n\nProse.\n\n" + "".join(
    f"<!-- generated: {name} -->\nold\n<!-- end of {name} -->\nMore prose.\n" for name in ("machine", "ratios", "times")
)


def run() -> dict[str, Any]:
    """Return a run as the JSON file has it."""
    callers = {f"hotfn, {count} callers": [20e-6, 25e-6, 30e-6] for count in (2, 1000)}
    pools = {key: [0.0001, 0.0001, 0.0001] for key in ("Pool, 64 callers", "Pool, all at once")}
    calls = {"calls made [calls]": [10.0, 20.0, 10.0, 20.0]}  # it was measured again
    seen = {key: [1.0, 2.0, 3.0, 4.0] for key in ("hotfn", "ping-pong", "memory [bytes]")}
    return {
        "machine": {"python": "3", "cpus": 2},
        "measured": [
            {"case": "rate", "cpus": "all cpus", "times": pools | callers},
            {"case": "long run", "cpus": "one cpu", "times": calls | seen},
        ],
        "bounds": [BOUNDS[0]._asdict() | {"ratios": [3.0, 3.1, 3.2], "verdict": "ok"}],
    }


def test_tables_and_plots_are_new_and_the_prose_stays(tmp_path: Path) -> None:
    (tmp_path / "benchmarks.md").write_text(TEXT)
    page.write(run(), tmp_path)
    text = (tmp_path / "benchmarks.md").read_text()
    assert "old" not in text
    assert "python 3, cpus 2." in text
    assert "| hot, one cpu: hotfn, uvloop / ping-pong | 3.10 | 3.05 - 3.15 |" in text
    assert "| rate | all cpus | hotfn, 2 callers | 25.0 us |" in text
    assert text.count("Prose.") + text.count("More prose.") == 4
    drawn = sorted(path.stem for path in (tmp_path / "benchmarks").iterdir())
    assert drawn == ["long-latency", "long-memory", "rate"]
    page.write(run(), tmp_path)
    assert (tmp_path / "benchmarks.md").read_text() == text


def test_a_page_without_markers_is_an_error() -> None:
    with pytest.raises(ValueError, match="no markers for ratios"):
        page.filled("# Page\n", {"ratios": "|"})


def test_a_curve_has_the_quartiles_of_what_is_drawn() -> None:
    line = page.points({"hotfn, 1,000 callers": [1.0, 2.0, 4.0]}, "hotfn, N callers", lambda _, seconds: 1 / seconds)
    assert line == [Point(1000, 1 / 3, 0.5, 1 / 1.5)]


def test_a_long_run_that_was_repeated_shows_its_first_time() -> None:
    found = {(one["case"], one["cpus"]): one["times"] for one in run()["measured"]}
    line = page._over_calls(page._long(found), "hotfn", 1)
    assert [(point.x, point.middle) for point in line] == [(10.0, 1.0), (20.0, 2.0)]


def test_the_docs_have_the_markers() -> None:
    text = (page.DOCS / "benchmarks.md").read_text()
    assert page.filled(text, dict.fromkeys(("machine", "ratios", "times"), "")) != text


def test_what_is_bounded_is_measured() -> None:
    for bound in BOUNDS:
        assert bound.case in {*CASES, *SIZED, *STUDIES}
        if bound.case not in STUDIES:
            names = {key: [1.0] for key in entries_of(bound.case, Sizes())}
            assert pick(names, bound.slower) in names
            assert not bound.faster or pick(names, bound.faster) in names
    assert {case for case, _ in REPORTED} <= {*CASES, *SIZED, *STUDIES}
