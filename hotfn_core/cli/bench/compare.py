"""From `--compare WHAT=A,B` to the functions that are put side by side."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any

import click

from hotfn_core.cli.options import COMMAND, FIELDS, fields
from hotfn_core.cli.spec import Found, resolve

_MOST = 4
_COMPARED = ("function", *FIELDS, "max_starting")
_TABLES = {"env": "env", "driver-option": "driver_option"}

Contenders = list[tuple[str, Found]]


def contenders(ctx: click.Context, options: dict[str, Any]) -> Contenders:
    """Return the functions to load, each with a label. Raises UsageError and ConfigError."""
    if not options["compare"]:
        found = _resolve(ctx, options)
        return [(found.spec.full_name, found)]
    what, equals, text = options["compare"].partition("=")
    values = text.split(",")
    if not equals or not 2 <= len(values) <= _MOST or not all(values):
        raise _wrong(ctx, f"write WHAT=A,B with two to {_MOST} values, such as driver=local,docker")
    change = _changer(ctx, what, options)
    labels = _labels(values)
    return [(label, _resolve(ctx, change(value))) for label, value in zip(labels, values, strict=True)]


def _labels(values: Sequence[str]) -> list[str]:
    """Return a label for each value. The same one twice shows how much a comparison means on this machine."""
    seen: Counter[str] = Counter()
    labels = []
    for value in values:
        seen[value] += 1
        labels.append(value if seen[value] == 1 else f"{value} ({seen[value]})")
    return labels


def _changer(ctx: click.Context, what: str, options: dict[str, Any]) -> Callable[[str], dict[str, Any]]:
    """Return who makes the options of the command line with another value of `what`."""
    table, dot, name = what.partition(".")
    if dot and name and table in _TABLES:
        option = _TABLES[table]
        return lambda value: options | {option: (*options[option], f"{name}={value}")}
    field = what.replace("-", "_")
    if field == "function" and options["function"]:
        raise _wrong(ctx, f'it names the functions, so "{options["function"]}" must not be given as well')
    if field not in _COMPARED:
        names = ", ".join([*(one.replace("_", "-") for one in _COMPARED), "env.K", "driver-option.K"])
        raise _wrong(ctx, f'"{what}" cannot be compared; these can: {names}')
    (param,) = [one for one in ctx.command.params if one.name == field]
    return lambda value: options | {field: param.type_cast_value(ctx, value)}


def _wrong(ctx: click.Context, text: str) -> click.UsageError:
    return click.UsageError(f"--compare: {text}", ctx)


def _resolve(ctx: click.Context, options: dict[str, Any]) -> Found:
    return resolve(
        options["config_path"],
        options["function"],
        ctx.meta[COMMAND],
        fields(options),
        max_starting=options["max_starting"],
        verb="bench",
    )
