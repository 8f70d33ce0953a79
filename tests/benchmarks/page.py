"""Writes docs/benchmarks.md anew: the tables between its markers, and its plots. The prose around them stays."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from plot import Axis, Curve, Point, linear, logarithmic, number, svg
from verdict import Bound, Times, bounds_table, series, spread, times_table

DOCS = Path(__file__).resolve().parents[2] / "docs"
PLOTS = "benchmarks"
Found = dict[tuple[str, str], Times]


def write(run: dict[str, Any], docs: Path = DOCS) -> None:
    """Write what a run found into the page and the plots beside it. What the run left out stays as it was."""
    found = {(one["case"], one["cpus"]): one["times"] for one in run["measured"]}
    path = docs / "benchmarks.md"
    path.write_text(filled(path.read_text(encoding="utf-8"), tables(run, found)), encoding="utf-8")
    (docs / PLOTS).mkdir(exist_ok=True)
    for name, draw in DRAWN.items():
        if plot := draw(found):
            (docs / PLOTS / f"{name}.svg").write_text(plot, encoding="utf-8")


def filled(text: str, parts: dict[str, str]) -> str:
    """Replace what is between the markers of each part. Raises ValueError when the page has no such markers."""
    for name, part in parts.items():
        marked = re.search(rf"(?<=<!-- generated: {name} -->\n).*?(?=<!-- end of {name} -->)", text, re.DOTALL)
        if marked is None:
            raise ValueError(f"the page has no markers for {name}")
        text = f"{text[: marked.start()]}\n{part}\n\n{text[marked.end() :]}"
    return text


def tables(run: dict[str, Any], found: Found) -> dict[str, str]:
    bounds = []
    for one in run["bounds"]:
        fields = {name: one[name] for name in Bound._fields}
        bounds.append((Bound(**fields), one["ratios"], one["verdict"]))
    shown = {key: times for key, times in found.items() if key[0] != "long run"}
    machine = ", ".join(f"{name} {value}" for name, value in run["machine"].items())
    return {"machine": f"{machine}.", "ratios": bounds_table(bounds), "times": times_table(shown)}


def points(times: Times, name: str, of: Callable[[float, float], float]) -> list[Point]:
    """Return a curve of all that `name` stands for; `of` makes of number and seconds what is drawn."""
    found = []
    for at, who in series(times, name).items():
        low, middle, high = sorted(of(at, value) for value in spread(times[who]))
        found.append(Point(at, low, middle, high))
    return found


def draw(title: str, x: Axis | str, label: str, curves: Sequence[Curve]) -> str:
    """Return a plot whose vertical axis begins at 0."""
    if isinstance(x, str):
        values = sorted({point.x for curve in curves for point in curve.points})
        x = logarithmic(x, [(value, number(value)) for value in values])
    highest = max(max(point.middle for point in curve.points) for curve in curves)
    return svg(title, x, linear(label, highest * 1.1), curves)


def rate(found: Found) -> str:
    times = found.get(("rate", "all cpus"), {})
    hotfn = points(times, "hotfn, N callers", lambda _, seconds: 1 / seconds)
    if not hotfn:
        return ""
    curves = [Curve("hotfn, 2 copies", hotfn)]
    for name in ("Pool, 64 callers", "Pool, all at once"):
        low, middle, high = sorted(1 / value for value in spread(times[name]))
        label = name.replace("Pool", "ProcessPoolExecutor(2)")
        curves.append(Curve(label, [Point(one.x, low, middle, high) for one in hotfn]))
    return draw("Calls per second over callers", "callers at the same time", "calls per second", curves)


def bodies(found: Found) -> str:
    times = found.get(("bodies", "one cpu"), {})
    sizes = {"1 KiB": 1 << 10, "64 KiB": 1 << 16, "1 MiB": 1 << 20, "16 MiB": 1 << 24}
    curves = []
    for who in ("hotfn", "bare pipe", "bare pipe, overwritten") if times else ():
        line = []
        for name, size in sizes.items():
            low, middle, high = sorted(2 * size / value / 1e6 for value in spread(times[f"{who}, {name}"]))
            line.append(Point(size, low, middle, high))
        curves.append(Curve(who, line))
    axis = logarithmic("size of the body, both ways", [(size, name) for name, size in sizes.items()])
    return draw("Bytes per second over the size of a body", axis, "MB per second", curves) if curves else ""


def microseconds(_: float, seconds: float) -> float:
    return seconds * 1e6


def functions(found: Found) -> str:
    line = points(found.get(("many functions", "one cpu"), {}), "called in turn: N functions", microseconds)
    curves = [Curve("functions, called in turn", line)]
    return draw("A call over the number of functions", "functions (fake driver)", "us per call", curves) if line else ""


def copies(found: Found) -> str:
    line = points(found.get(("many copies", "all cpus"), {}), "one caller, N copies", microseconds)
    curves = [Curve("one caller, one call after another", line)]
    return draw("A call over the number of hot copies", "hot local processes", "us per call", curves) if line else ""


def _long(found: Found) -> dict[str, Sequence[float]]:
    return dict(found.get(("long run", "one cpu"), {}))


def _over_calls(times: dict[str, Sequence[float]], of: str, scale: float) -> list[Point]:
    """Return what was seen over the calls that had been made by then. A run that was repeated shows its first time."""
    calls = times["calls made [calls]"]
    once = next((n for n in range(1, len(calls)) if calls[n] < calls[n - 1]), len(calls))
    return [Point(at, v * scale, v * scale, v * scale) for at, v in zip(calls[:once], times[of], strict=False)]


def _calls_axis(line: list[Point]) -> Axis:
    return linear("calls made", line[-1].x)


def long_latency(found: Found) -> str:
    if not (times := _long(found)):
        return ""
    hot, ping = (_over_calls(times, who, 1e6) for who in ("hotfn", "ping-pong"))
    curves = [Curve("hotfn", hot), Curve("ping-pong", ping)]
    return draw("The long run: a call", _calls_axis(hot), "us per call", curves)


def long_memory(found: Found) -> str:
    if not (times := _long(found)):
        return ""
    line = _over_calls(times, "memory [bytes]", 1 / 2**20)
    return draw("The long run: memory", _calls_axis(line), "MiB in memory", [Curve("this process", line)])


DRAWN: dict[str, Callable[[Found], str]] = {
    "rate": rate,
    "bodies": bodies,
    "functions": functions,
    "copies": copies,
    "long-latency": long_latency,
    "long-memory": long_memory,
}
