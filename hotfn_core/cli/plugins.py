"""`hotfn plugins`: what is installed, where it comes from, and how it is."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence

import click

from hotfn_core.registry import Registry

from .common import EXIT_FAILED, logging_options
from .health import Health, PluginHealth, examine


@click.command()
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
@logging_options
@click.pass_context
def plugins(ctx: click.Context, as_json: bool) -> None:
    """List plugins, drivers and IO protocols, and how they are.

    A driver is opened for a moment to see whether its engine is there: `ok` with the limits that it enforces and
    what it says of its engine, `unavailable` with what to do about it, or `broken`. Exit status 1 when a plugin
    is broken.
    """
    health = examine(Registry())
    click.echo(json.dumps(health.as_dict(), indent=2) if as_json else "\n".join(_text(health)))
    ctx.exit(0 if health.well else EXIT_FAILED)


def _text(health: Health) -> Iterable[str]:
    if not health.plugins:
        yield "no plugin is installed: without one there is no driver and no IO protocol; try hotfn-local and"
        yield "hotfn-protocols"
        return
    yield from _table("PLUGIN", [_plugin_row(one) for one in health.plugins])
    yield ""
    yield from _table("DRIVER", [_row(one.name, one.state, one.text, one) for one in health.drivers])
    yield ""
    yield from _table("PROTOCOL", [_row(one.name, one.state, one.kind, one) for one in health.protocols])


def _row(name: str, state: str, what: str, one: object) -> tuple[str, ...]:
    detail = getattr(one, "detail", "")
    return name, state, detail or what


def _plugin_row(one: PluginHealth) -> tuple[str, ...]:
    brings = [f"{kind} {', '.join(names)}" for kind, names in _brought(one) if names]
    state = "broken" if one.problems else "ok"
    text = "; ".join(one.problems) or ", ".join(brings) or "nothing"
    return one.name, state, f"{one.distribution} {one.version}".strip(), text


def _brought(one: PluginHealth) -> list[tuple[str, Sequence[str]]]:
    return [
        ("drivers", one.drivers),
        ("protocols", one.protocols),
        ("observes", [hook.removeprefix("hotfn_") for hook in one.observers]),
        ("adds", ["commands"] if one.commands else []),
    ]


def _table(title: str, rows: Sequence[tuple[str, ...]]) -> Iterable[str]:
    """Yield a line for each row, every column but the last as wide as its widest cell."""
    yield title
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]) - 1)] if rows else []
    for row in rows:
        cells = [cell.ljust(width) for cell, width in zip(row[:-1], widths, strict=True)]
        yield "  " + "  ".join([*cells, row[-1]]).rstrip()
    if not rows:
        yield "  none"
