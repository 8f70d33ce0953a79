"""`hotfn run`: the options, and what they mean together."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from .common import logging_options
from .options import COMMAND, FunctionCommand, call_arguments, call_options, fields, function_options
from .spec import resolve


@click.command(cls=FunctionCommand)
@function_options
@call_options
@click.option("--each-line", is_flag=True, help="Every line of the input is one call.")
@click.option("--calls", type=click.IntRange(1), metavar="N", help="Call N times with the same body.")
@click.option(
    "-i",
    "--input",
    "input_path",
    type=click.Path(exists=True, dir_okay=False, allow_dash=True, path_type=Path),
    metavar="FILE",
    help="Read FILE instead of stdin.",
)
@click.option(
    "-p",
    "--parallel",
    type=click.IntRange(1, 10_000),
    metavar="N",
    help="Calls in flight.  [default: max-concurrency]",
)
@click.option(
    "-o",
    "--output",
    type=click.Choice(["body", "jsonl"]),
    default="body",
    show_default=True,
    help="Bodies, or one JSON object for each call.",
)
@click.option("--stats", is_flag=True, help="Say on stderr at the end how it went.")
@click.option(
    "--stderr",
    type=click.Choice(["show", "hide", "tag"]),
    default="show",
    show_default=True,
    help="What to do with the function's stderr.",
)
@logging_options
@click.pass_context
def run(ctx: click.Context, /, **options: Any) -> None:
    """Call a function: FUNCTION of a configuration, or a COMMAND.

    The input is one body, or one call for each line. Replies go to stdout in the order of the input, whatever the
    order they come in. Options win over the configuration.

    \b
    Examples:
      echo hello | hotfn run -- tr a-z A-Z
      hotfn run lines --each-line --stats < words.txt
      hotfn run --format http --max-concurrency 4 --each-line -- python3 function.py < words.txt
      hotfn run --image fn/hello --format json --calls 100 --output jsonl < body.json
      API_TOKEN=... hotfn run lines --env API_TOKEN < body.txt

    \b
    Exit status:
      0  every call was answered, with a status below 500
      1  some calls failed; each kind is reported on stderr
      2  the command line, the configuration or the input is wrong
      3  the driver is unavailable, or the function cannot be started
    Ctrl-C or SIGTERM lets calls in flight finish (130, 143); a second one ends them at once.
    """  # noqa: D301  # click needs the backspace itself
    from .session import execute

    ctx.exit(execute(_plan(ctx, options)))


def _plan(ctx: click.Context, options: dict[str, Any]) -> Any:
    from .session import Plan

    if options["calls"] and options["each_line"]:
        raise click.UsageError(
            "--calls repeats one body and --each-line makes every line a body: give one of them", ctx
        )
    spec, starting = resolve(
        options["config_path"],
        options["function"],
        ctx.meta[COMMAND],
        fields(options),
        max_starting=options["max_starting"],
    )
    path = options["input_path"]
    return Plan(
        spec=spec,
        max_starting=starting,
        input=None if path is None or str(path) == "-" else path,
        each_line=options["each_line"],
        calls=options["calls"] or 1,
        parallel=options["parallel"] or spec.max_concurrency,
        jsonl=options["output"] == "jsonl",
        stats=options["stats"],
        stderr=options["stderr"],
        call=call_arguments(options),
    )
