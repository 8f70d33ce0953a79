"""`hotfn call`: one call, told as short as it can be."""

from __future__ import annotations

import os
from typing import Any

import click

from .common import logging_options
from .hosting import STDIN
from .options import COMMAND, FunctionCommand, call_arguments, call_options, fields, function_options
from .spec import resolve


@click.command(cls=FunctionCommand)
@function_options
@click.option("-d", "--data", metavar="TEXT", help="The body; without it that is stdin, or empty at a terminal.")
@click.option("-i", "--include", is_flag=True, help="Show the status and the headers before the body.")
@call_options
@logging_options
@click.pass_context
def call(ctx: click.Context, /, **options: Any) -> None:
    """Call a function once: FUNCTION of a configuration, or a COMMAND.

    Without a FUNCTION it is the one of the func.yaml or functions.toml here. The body of its reply goes to stdout, its
    stderr to stderr. For more calls than one there is `hotfn run`.

    \b
    Examples:
      hotfn call -d hotfn
      hotfn call greet -i -H 'Accept: text/plain' < body.txt
      hotfn call --format http -d hello -- python3 function.py

    \b
    Exit status: that of `hotfn run`.
    """  # noqa: D301  # click needs the backspace itself
    from .session import Plan, execute

    spec, starting = resolve(
        options["config_path"],
        options["function"],
        ctx.meta[COMMAND],
        fields(options),
        max_starting=options["max_starting"],
        verb="call",
    )
    body, head, told = _body(options["data"]), options["include"], call_arguments(options)
    ctx.exit(execute(Plan(spec=spec, max_starting=starting, body=body, head=head, call=told)))


def _body(data: str | None) -> bytes | None:
    """Return the body, None when stdin has it."""
    if data is None:
        return b"" if os.isatty(STDIN) else None
    return os.fsencode(data)
