"""`hotfn test`: its options, and how it tells what it found."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from hotfn_core.cli.common import EXIT_FAILED, logging_options
from hotfn_core.cli.hosting import run_on_loop
from hotfn_core.cli.options import COMMAND, FunctionCommand, fields, function_options
from hotfn_core.cli.spec import resolve
from hotfn_core.config import find_config, load_config
from hotfn_core.errors import ConfigError

from .case import Case, cases


@click.command("test", cls=FunctionCommand)
@function_options
@logging_options
@click.pass_context
def test(ctx: click.Context, /, **options: Any) -> None:
    """Run the tests of a function file.

    They stand in func.yaml under `tests`, each with `in` (the body), `out` (the reply), `err` (a text in the error
    or in the log), `env` and a `name`, as IronFunctions has them. A line break at the end of a reply does not count.
    `in` and `out` may be tables and lists: they are JSON. The function runs as `hotfn run` would run it; options win
    over the file.

    \b
    Examples:
      hotfn test
      hotfn test -c functions/greet/func.yaml
      hotfn test --driver podman --image greet

    \b
    Exit status:
      0  all passed
      1  some failed
      2  the command line or the file is wrong, or there are no tests
      3  the driver is unavailable, or the image
    """  # noqa: D301  # click needs the backspace itself
    from .trial import run, summary

    path = _file(options["config_path"] or find_config())
    given, starting = resolve(
        path,
        options["function"],
        ctx.meta[COMMAND],
        fields(options),
        max_starting=options["max_starting"],
        verb="test",
    )
    wanted = cases_of(path, given.name)
    failed = run_on_loop(lambda: run(given, starting, wanted, click.echo))
    click.echo(summary(len(wanted), failed))
    ctx.exit(EXIT_FAILED if failed else 0)


def _file(path: Path | None) -> Path:
    if path is None:
        raise ConfigError("tests stand in a func.yaml: there is none here; name one with -c")
    return path


def cases_of(path: Path | None, name: str) -> list[Case]:
    """Return the tests of a function in a file. Raises ConfigError when there are none, or no file."""
    path = _file(path)
    tests = load_config(path).tests.get(name, ())
    if not tests:
        raise ConfigError(f"{path}: there are no tests of {name} in it; a func.yaml has them under `tests`")
    return cases(tests)
