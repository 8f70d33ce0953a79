"""Plots are SVG that a browser takes, with everything in its place."""

from __future__ import annotations

from xml.etree import ElementTree as ET

from plot import Axis, Curve, Point, linear, logarithmic, number, svg

NAME = "{http://www.w3.org/2000/svg}"


def flat(x: float, y: float) -> Point:
    return Point(x, y, y, y)


def test_a_plot_is_svg_with_labelled_axes_a_legend_and_its_curves() -> None:
    curves = [Curve("this & that", [flat(1, 5), flat(100, 10)]), Curve("more", [flat(1, 1), flat(100, 2)])]
    text = svg("A <title>", logarithmic("callers", [(1, "1"), (100, "100")]), linear("per second", 10), curves)
    root = ET.fromstring(text)  # noqa: S314 -- it is our own
    words = {one.text for one in root.iter(f"{NAME}text")}
    assert words >= {"A <title>", "callers", "per second", "this & that", "more", "1", "100", "10"}
    lines = [one.get("points") for one in root.iter(f"{NAME}polyline")]
    assert lines[0] == "80.0,194.0 700.0,64.0"
    assert "prefers-color-scheme: dark" in text


def test_a_linear_axis_begins_at_nothing_and_ends_above_the_highest() -> None:
    axis = linear("us", 43.0)
    assert (axis.low, axis.high) == (0, 50)
    assert [text for _, text in axis.ticks] == ["0", "10", "20", "30", "40", "50"]
    assert [axis.place(value) for value in (0, 25, 50)] == [0, 0.5, 1]
    assert linear("nothing", 0).high > 0


def test_a_logarithmic_axis_has_as_much_room_for_each_factor() -> None:
    axis = logarithmic("n", [(1, "1"), (10, "10"), (100, "100")])
    assert [round(axis.place(value), 6) for value in (1, 10, 100)] == [0, 0.5, 1]
    assert logarithmic("n", [(7, "7")]).place(7) == 0


def test_numbers_are_short() -> None:
    assert [number(value) for value in (0, 0.5, 20, 1500, 2_000_000, 3e9)] == ["0", "0.5", "20", "1.5k", "2M", "3G"]


def test_the_band_stays_within_the_axes() -> None:
    axis = Axis("y", 0, 10, [])
    root = ET.fromstring(svg("t", linear("x", 1), axis, [Curve("c", [Point(0, -5, 5, 50)])]))  # noqa: S314 -- it is our own
    band = next(iter(root.iter(f"{NAME}polygon"))).get("points")
    assert band == "80.0,64.0 80.0,324.0"
