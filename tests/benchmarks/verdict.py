"""Decides what numbers mean. Pure: times in, verdicts and a table out."""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Mapping, Sequence
from typing import Literal, NamedTuple

Times = Mapping[str, Sequence[float]]
Verdict = Literal["ok", "near", "short", "MISS"]


class Bound(NamedTuple):
    """`slower` takes at most, or at least, `limit` times as long as `faster`, in one case on `cpus`.

    `held` is for a goal that is not reached: what is reached all the same, and must not be lost.
    """

    case: str
    cpus: str
    slower: str
    faster: str
    sign: Literal["<=", ">="]
    limit: float
    held: float | None = None

    def __str__(self) -> str:
        return f"{self.case}, {self.cpus}: {self.slower} / {self.faster}"

    def ratios(self, times: Times) -> list[float]:
        """Return the ratio of each round: its two sides were measured next to each other."""
        return [slow / fast for slow, fast in zip(times[self.slower], times[self.faster], strict=True)]

    def holds(self, ratio: float) -> bool:
        return ratio <= self.limit if self.sign == "<=" else ratio >= self.limit


def judge(bound: Bound, ratios: Sequence[float]) -> Verdict:
    """Say whether a bound holds.

    `ok`: the median ratio holds. `MISS`: it does not, nor does the ratio in three rounds of four, which noise that
    comes and goes does not bring about. `near`: anything between, which more rounds may decide. `short`: the goal is
    missed, and what was reached before is not.
    """
    if bound.holds(statistics.median(ratios)):
        return "ok"
    if sum(map(bound.holds, ratios)) * 4 > len(ratios):
        return "near"
    if bound.held is None:
        return "MISS"
    return "MISS" if judge(bound._replace(limit=bound.held, held=None), ratios) == "MISS" else "short"


def spread(values: Sequence[float]) -> tuple[float, float, float]:
    """Return the lower quartile, the median and the upper quartile."""
    low, middle, high = statistics.quantiles(values, n=4, method="inclusive")
    return low, middle, high


def span(seconds: float) -> str:
    """Write a span as people say it."""
    return f"{seconds * 1e6:.1f} us" if seconds < 1e-3 else f"{seconds * 1e3:.2f} ms"


def times_table(measured: Mapping[tuple[str, str], Times]) -> str:
    """Return all medians and quartiles as a Markdown table."""
    lines = ["| case | cpus | who | one call, median | quartiles |", "|---|---|---|---:|---:|"]
    for (case, cpus), times in measured.items():
        for who, values in times.items():
            low, middle, high = spread(values)
            lines.append(f"| {case} | {cpus} | {who} | {span(middle)} | {span(low)} - {span(high)} |")
    return "\n".join(lines)


def bounds_table(judged: Iterable[tuple[Bound, Sequence[float], Verdict]]) -> str:
    """Return the ratios, their bounds and the verdicts as a Markdown table."""
    lines = ["| ratio | median | quartiles | bound | verdict |", "|---|---:|---:|---:|---|"]
    for bound, ratios, verdict in judged:
        low, middle, high = spread(ratios)
        lines.append(f"| {bound} | {middle:.2f} | {low:.2f} - {high:.2f} | {bound.sign} {bound.limit:g} | {verdict} |")
    return "\n".join(lines)
