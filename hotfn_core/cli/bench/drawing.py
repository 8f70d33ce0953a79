"""A histogram as text: rows of round numbers, a bar for each of those that are compared."""

from __future__ import annotations

import math
from bisect import bisect_left
from collections.abc import Iterator, Sequence

from hotfn_core.cli.histogram import Histogram
from hotfn_core.cli.texts import span_text

_ROWS = 20
_WIDTH = 48
_STEPS = (
    (1, 1.1, 1.2, 1.3, 1.5, 1.6, 1.8, 2, 2.2, 2.4, 2.7, 3, 3.3, 3.6, 3.9, 4.3, 4.7, 5.1, 5.6, 6.2, 6.8, 7.5, 8.2, 9.1),
    (1, 1.2, 1.5, 1.8, 2.2, 2.7, 3.3, 3.9, 4.7, 5.6, 6.8, 8.2),
    (1, 1.5, 2, 3, 5, 7),
    (1, 2, 5),
    (1,),
)
"""Steps of a decade, from the finest: whatever the unit, they are about evenly spaced for the eye."""


def edges(low: float, high: float) -> list[float]:
    """Return round numbers, the first below `low` and the last at least at `high`, as many as fit on a screen."""
    low = max(low, 1e-9)
    high = max(high, low)
    decades = range(math.floor(math.log10(low)) - 1, math.ceil(math.log10(high)) + 2)
    found: list[float] = []
    for steps in _STEPS:
        every = [float(f"{step}e{decade}") for decade in decades for step in steps]
        first = bisect_left(every, low) - 1
        found = every[first : bisect_left(every, high) + 1]
        if len(found) <= _ROWS + 1:
            break
    return found


def shares(histogram: Histogram, rows: Sequence[float]) -> list[float]:
    """Return the share of all spans between each of the edges `rows` and the next."""
    counts = [0] * (len(rows) - 1)
    for upper, count in histogram.buckets():
        counts[min(max(bisect_left(rows, upper) - 1, 0), len(counts) - 1)] += count
    total = max(histogram.count, 1)
    return [count / total for count in counts]


def draw(histograms: Sequence[Histogram]) -> Iterator[str]:
    """Yield the lines of a drawing, histograms next to each other; none when there is nothing to draw."""
    drawn = [one for one in histograms if one.count]
    if not drawn:
        return
    rows = edges(min(one.buckets()[0][0] for one in drawn), max(one.max for one in drawn))
    columns = [shares(one, rows) for one in histograms]
    most = max(max(column) for column in columns)
    width = _WIDTH // len(columns)
    for upper, *row in zip(rows[1:], *columns, strict=True):
        bars = "  ".join(f"{_share(share)} {_bar(share / most, width)}" for share in row)
        yield f"  {span_text(upper):>8} {bars}".rstrip()


def _share(share: float) -> str:
    if not share:
        return " " * 7
    return f"{100 * share:5.1f} %" if share >= 0.0005 else " <0.1 %"


def _bar(part: float, width: int) -> str:
    """Return a bar. One of something that is next to nothing is a dot."""
    full = round(part * width)
    return ("#" * full or "." * (part > 0)).ljust(width)
