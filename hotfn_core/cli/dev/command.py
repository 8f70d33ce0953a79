"""`hotfn dev`: its options, and what they mean together."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Any

import click

from hotfn_core.cli.common import logging_options
from hotfn_core.cli.options import COMMAND, FunctionCommand, call_arguments, call_options, fields, function_options
from hotfn_core.cli.spec import Found, resolve
from hotfn_core.config import find_config
from hotfn_core.errors import ConfigError


@click.command(cls=FunctionCommand)
@function_options
@call_options
@click.option(
    "--watch",
    "paths",
    multiple=True,
    type=click.Path(exists=True, path_type=Path),
    metavar="PATH",
    help="Watch this instead of the function's directory; may be repeated.",
)
@click.option("--ignore", multiple=True, metavar="PATTERN", help="Changes of such files mean nothing: '*.log', data/*.")
@click.option("--build", metavar="COMMAND", help="Run before copies are replaced: make, or docker build -t NAME .")
@click.option("--test", is_flag=True, help="Run the tests of the function file at the start and after each change.")
@click.option(
    "-p", "--parallel", type=click.IntRange(1, 10_000), metavar="N", help="Calls in flight.  [default: max-concurrency]"
)
@click.option(
    "-o",
    "--output",
    type=click.Choice(["body", "jsonl"]),
    default="body",
    show_default=True,
    help="Bodies, or one JSON object for each call.",
)
@click.option(
    "--stderr",
    type=click.Choice(["show", "hide", "tag"]),
    default="show",
    show_default=True,
    help="What to do with the function's stderr.",
)
@logging_options
@click.pass_context
def dev(ctx: click.Context, /, **options: Any) -> None:
    """Keep a function hot while it is worked on: when a file of it changes, its copies are replaced.

    Each line of stdin is a call, and its reply is printed. A call that is made after a file was saved is answered by a
    copy that was started after that; calls in flight are answered by the copies that have them. The function file is
    read again when it changes. A copy is started at once, so whether the function still starts is seen at once.

    \b
    Examples:
      hotfn dev
      hotfn dev --test
      hotfn dev --build make
      hotfn dev --build 'docker build -t greet:0.0.1 .'
      hotfn dev --format http -- python3 function.py

    \b
    Exit status: 0 stdin ended, 1 the last tests had failed, 2 the command line or the configuration is wrong, 3 the
    driver is unavailable, 130 Ctrl-C, 143 SIGTERM.
    """  # noqa: D301  # click needs the backspace itself
    from .session import execute

    ctx.exit(execute(_plan(ctx, options)))


def _plan(ctx: click.Context, options: dict[str, Any]) -> Any:
    from hotfn_core.cli.trial.command import cases_of

    from .plan import Plan, watched

    config = _config(ctx, options)
    found = _read(ctx, options, config)
    build = _words(options["build"])
    seen = watched(found.spec, config, options["paths"], options["ignore"], build=bool(build))
    if not seen.directories and not seen.files:
        raise ConfigError(f"there is nothing to watch: {seen.note}")
    if options["test"]:
        cases_of(config, found.spec.name)  # raises when there are none
    return Plan(
        found=found,
        read=lambda: _read(ctx, options, config),
        config=config,
        directory=config.parent if config else Path(),
        watched=seen,
        build=build,
        test=options["test"],
        jsonl=options["output"] == "jsonl",
        parallel=options["parallel"] or found.spec.max_concurrency,
        stderr=options["stderr"],
        call=call_arguments(options),
    )


def _config(ctx: click.Context, options: dict[str, Any]) -> Path | None:
    """Return the configuration that `hotfn run` would take; with --test, that which `hotfn test` would."""
    given: Path | None = options["config_path"]
    complete = bool(ctx.meta[COMMAND] or options["image"])
    if given is None and (options["test"] or options["function"] or not complete):
        return find_config()
    return given


def _read(ctx: click.Context, options: dict[str, Any], config: Path | None) -> Found:
    return resolve(
        config,
        options["function"],
        ctx.meta[COMMAND],
        fields(options),
        max_starting=options["max_starting"],
        verb="dev",
    )


def _words(command: str | None) -> tuple[str, ...]:
    try:
        words = tuple(shlex.split(command or ""))
    except ValueError as error:
        raise ConfigError(f"--build: {error}") from None
    if command is not None and not words:
        raise ConfigError("--build: a command is missing")
    return words
