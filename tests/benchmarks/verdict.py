"""Decides what numbers mean. Pure: numbers in, verdicts and tables out.

What was measured has names: seconds of a call for each contender, or anything else when the name ends in a unit, as in
"a registered spec [bytes]".
"""

from __future__ import annotations

import re
import statistics
from collections.abc import Iterable, Mapping, Sequence
from typing import Literal, NamedTuple

Times = Mapping[str, Sequence[float]]
Verdict = Literal["ok", "near", "short", "MISS"]


class Bound(NamedTuple):
    """`slower` takes at most, or at least, `limit` times as long as `faster`, in one case on `cpus`.

    Without `faster` it is `slower` itself that is bounded. `held` is what is reached and must not be lost, with room
    for noise: less than the goal where that is missed, more where it is reached easily. `guards`: the ratio is so
    steady that it guards every change, and not only the runs of the whole suite.

    A name with N in it stands for all names with a number there: "slowest of N callers", "fastest of N callers" by
    their medians, "most of N callers" by the number.
    """

    case: str
    cpus: str
    slower: str
    faster: str
    sign: Literal["<=", ">="]
    limit: float
    held: float | None = None
    guards: bool = False

    def __str__(self) -> str:
        return f"{self.case}, {self.cpus}: {self.slower}" + (f" / {self.faster}" if self.faster else "")

    def ratios(self, times: Times) -> list[float]:
        """Return the ratio of each round: its two sides were measured next to each other."""
        above = times[pick(times, self.slower)]
        if not self.faster:
            return list(above)
        return [slow / fast for slow, fast in zip(above, times[pick(times, self.faster)], strict=True)]

    def holds(self, ratio: float) -> bool:
        return ratio <= self.limit if self.sign == "<=" else ratio >= self.limit

    def number(self, value: float) -> str:
        """Write a ratio, or what is bounded itself."""
        return f"{value:.2f}" if self.faster else shown(self.slower, value)


def series(times: Times, name: str) -> dict[float, str]:
    """Return the names that `name` stands for with a number in place of its N, by the number, in its order."""
    pattern = re.compile(re.escape(name).replace("N", r"(\d[\d,]*)", 1))
    found = {float(match[1].replace(",", "")): who for who in times if (match := pattern.fullmatch(who))}
    return dict(sorted(found.items()))


def pick(times: Times, name: str) -> str:
    """Return the name of the one that is meant."""
    how, _, pattern = name.partition(" of ")
    if how not in {"slowest", "fastest", "most"}:
        return name
    found = series(times, pattern)
    if how == "most":
        return found[max(found)]
    return (max if how == "slowest" else min)(found.values(), key=lambda who: statistics.median(times[who]))


def lost(bound: Bound, ratios: Sequence[float]) -> bool:
    """Say whether a ratio is out of its bound for good: by the median, and in three rounds of four."""
    return not bound.holds(statistics.median(ratios)) and sum(map(bound.holds, ratios)) * 4 <= len(ratios)


def judge(bound: Bound, ratios: Sequence[float]) -> Verdict:
    """Say whether a bound holds.

    `MISS`: the median ratio is out of what is held, and so is the ratio in three rounds of four, which noise that comes
    and goes does not bring about. Otherwise by the goal: `ok`: the median holds. `near`: it does not, and more than a
    fourth of the rounds do, which more rounds may decide. `short`: the goal is missed, and what was reached is not.
    """
    if lost(bound if bound.held is None else bound._replace(limit=bound.held), ratios):
        return "MISS"
    if bound.holds(statistics.median(ratios)):
        return "ok"
    return "short" if lost(bound, ratios) else "near"


def spread(values: Sequence[float]) -> tuple[float, float, float]:
    """Return the lower quartile, the median and the upper quartile."""
    if len(values) == 1:
        return values[0], values[0], values[0]
    low, middle, high = statistics.quantiles(values, n=4, method="inclusive")
    return low, middle, high


def span(seconds: float) -> str:
    """Write a span as people say it."""
    if seconds >= 1:
        return f"{seconds:.2f} s"
    return f"{seconds * 1e6:.1f} us" if seconds < 1e-3 else f"{seconds * 1e3:.2f} ms"


def shown(name: str, value: float) -> str:
    """Write what was measured under this name with its unit."""
    unit = re.search(r" \[(.*)\]$", name)
    if unit is None:
        return span(value)
    return f"{value / 1024:.2f} KiB" if unit[1] == "bytes" else f"{value:.3g} {unit[1]}"


def times_table(measured: Mapping[tuple[str, str], Times]) -> str:
    """Return all medians and quartiles as a Markdown table."""
    lines = ["| case | cpus | who | one call, median | quartiles |", "|---|---|---|---:|---:|"]
    for (case, cpus), times in measured.items():
        for who, values in times.items():
            low, middle, high = (shown(who, value) for value in spread(values))
            name = who.partition(" [")[0]
            lines.append(f"| {case} | {cpus} | {name} | {middle} | {low} - {high} |")
    return "\n".join(lines)


def bounds_table(judged: Iterable[tuple[Bound, Sequence[float], Verdict]]) -> str:
    """Return the ratios, their bounds and the verdicts as a Markdown table."""
    lines = ["| ratio | median | quartiles | goal | held | verdict |", "|---|---:|---:|---:|---:|---|"]
    for bound, ratios, verdict in judged:
        low, middle, high = map(bound.number, spread(ratios))
        held = "" if bound.held is None else f"{bound.sign} {bound_number(bound, bound.held)}"
        goal = f"{bound.sign} {bound_number(bound, bound.limit)}"
        name = str(bound).partition(" [")[0]
        lines.append(f"| {name} | {middle} | {low} - {high} | {goal} | {held} | {verdict} |")
    return "\n".join(lines)


def bound_number(bound: Bound, value: float) -> str:
    return f"{value:g}" if bound.faster else bound.number(value)
