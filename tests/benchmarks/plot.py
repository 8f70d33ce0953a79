"""Curves as SVG, readable on light and on dark pages. Pure: numbers in, text out."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple
from xml.sax.saxutils import escape

WIDTH, HEIGHT = 720, 380
LEFT, RIGHT, TOP, BOTTOM = 80, 20, 64, 56

STYLE = """
text { font: 13px system-ui, sans-serif; fill: #24292f }
.title { font-size: 15px; font-weight: 600 }
.grid { stroke: #d0d7de; stroke-width: 1 }
.curve { fill: none; stroke-width: 2 }
.band { stroke: none; opacity: 0.18 }
.c0 { stroke: #0969da; fill: #0969da } .c1 { stroke: #bc4c00; fill: #bc4c00 }
.c2 { stroke: #1a7f37; fill: #1a7f37 } .c3 { stroke: #8250df; fill: #8250df }
.curve.c0, .curve.c1, .curve.c2, .curve.c3 { fill: none }
.page { fill: #ffffff }
@media (prefers-color-scheme: dark) {
  text { fill: #e6edf3 } .grid { stroke: #373e47 } .page { fill: #0d1117 }
  .c0 { stroke: #58a6ff; fill: #58a6ff } .c1 { stroke: #f0883e; fill: #f0883e }
  .c2 { stroke: #56d364; fill: #56d364 } .c3 { stroke: #bc8cff; fill: #bc8cff }
}
"""


class Point(NamedTuple):
    """A median with its quartiles."""

    x: float
    low: float
    middle: float
    high: float


class Curve(NamedTuple):
    name: str
    points: Sequence[Point]


class Axis(NamedTuple):
    """What an axis says and how numbers lie on it. `ticks` are what is written at it: (where, what)."""

    label: str
    low: float
    high: float
    ticks: Sequence[tuple[float, str]]
    log: bool = False

    def place(self, value: float) -> float:
        """Return where a value lies, from 0 to 1."""
        low, high = (math.log10(self.low), math.log10(self.high)) if self.log else (self.low, self.high)
        value = math.log10(max(value, 1e-12)) if self.log else value
        return (value - low) / (high - low)


def number(value: float) -> str:
    """Write a number at an axis."""
    for size, name in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if value >= size:
            return f"{value / size:g}{name}"
    return f"{value:g}"


def linear(label: str, highest: float) -> Axis:
    """Return an axis from 0 to a round number above the highest value."""
    raw = max(highest, 1e-9) / 5
    power: float = 10.0 ** math.floor(math.log10(raw))
    step = next(power * factor for factor in (1, 2, 2.5, 5, 10) if power * factor >= raw)
    count = math.ceil(highest / step) or 1
    return Axis(label, 0, count * step, [(one * step, number(round(one * step, 9))) for one in range(count + 1)])


def logarithmic(label: str, values: Sequence[tuple[float, str]]) -> Axis:
    """Return a logarithmic axis with these numbers on it, the least and the greatest at its ends."""
    lowest, highest = min(value for value, _ in values), max(value for value, _ in values)
    return Axis(label, lowest, highest if highest > lowest else lowest * 10, values, log=True)


def svg(title: str, x: Axis, y: Axis, curves: Sequence[Curve]) -> str:
    """Return the plot: a band between the quartiles, a line through the medians, a legend above."""
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" role="img">',
        f"<title>{escape(title)}</title><style>{STYLE}</style>",
        f'<rect class="page" width="{WIDTH}" height="{HEIGHT}"/>',
        f'<text class="title" x="{LEFT}" y="22">{escape(title)}</text>',
        *_axes(x, y),
        *_legend(curves),
    ]
    for index, curve in enumerate(curves):
        parts += _curve(x, y, curve, f"c{index % 4}")
    return "\n".join([*parts, "</svg>", ""])


def _across(x: Axis, value: float) -> float:
    return round(LEFT + x.place(value) * (WIDTH - LEFT - RIGHT), 1)


def _up(y: Axis, value: float) -> float:
    return round(HEIGHT - BOTTOM - y.place(value) * (HEIGHT - TOP - BOTTOM), 1)


def _axes(x: Axis, y: Axis) -> list[str]:
    bottom, middle = HEIGHT - BOTTOM, (TOP + HEIGHT - BOTTOM) / 2
    parts = []
    for value, text in y.ticks:
        up = _up(y, value)
        parts += [
            f'<line class="grid" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{up}" y2="{up}"/>',
            f'<text x="{LEFT - 8}" y="{up + 4}" text-anchor="end">{escape(text)}</text>',
        ]
    for value, text in x.ticks:
        across = _across(x, value)
        parts += [
            f'<line class="grid" x1="{across}" x2="{across}" y1="{bottom}" y2="{bottom + 5}"/>',
            f'<text x="{across}" y="{bottom + 20}" text-anchor="middle">{escape(text)}</text>',
        ]
    return [
        *parts,
        f'<text x="{(LEFT + WIDTH - RIGHT) / 2}" y="{HEIGHT - 12}" text-anchor="middle">{escape(x.label)}</text>',
        f'<text transform="translate(18 {middle}) rotate(-90)" text-anchor="middle">{escape(y.label)}</text>',
    ]


def _legend(curves: Sequence[Curve]) -> list[str]:
    parts, across = [], float(LEFT)
    for index, curve in enumerate(curves):
        parts += [
            f'<rect class="c{index % 4}" x="{across}" y="36" width="14" height="4"/>',
            f'<text x="{across + 20}" y="43">{escape(curve.name)}</text>',
        ]
        across += 44 + 7.2 * len(curve.name)
    return parts


def _curve(x: Axis, y: Axis, curve: Curve, style: str) -> list[str]:
    def line(values: Sequence[tuple[float, float]]) -> str:
        return " ".join(f"{_across(x, at)},{_up(y, value)}" for at, value in values)

    middle = [(one.x, one.middle) for one in curve.points]
    band = [(one.x, min(one.high, y.high)) for one in curve.points]
    band += [(one.x, max(one.low, y.low)) for one in reversed(curve.points)]
    dots = [] if len(middle) > 30 else middle
    return [
        f'<polygon class="band {style}" points="{line(band)}"/>',
        f'<polyline class="curve {style}" points="{line(middle)}"/>',
        *(f'<circle class="{style}" cx="{_across(x, at)}" cy="{_up(y, value)}" r="3"/>' for at, value in dots),
    ]
