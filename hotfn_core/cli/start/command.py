"""`hotfn init`: its options."""

from __future__ import annotations

import os
import re
from pathlib import Path

import click

from hotfn_core.cli.common import logging_options
from hotfn_core.errors import ConfigError

from .files import RUNTIMES, files

_NAME = re.compile(r"[a-z0-9][a-z0-9._-]*")


@click.command()
@click.argument("name")
@click.option(
    "--runtime", type=click.Choice(list(RUNTIMES)), default="python", show_default=True, help="What it is written in."
)
@click.option("--format", "spoken", metavar="NAME", help="The IO protocol: http, json or default.")
@logging_options
@click.pass_context
def init(ctx: click.Context, name: str, runtime: str, spoken: str | None) -> None:
    """Write a new function into the directory NAME: its source, func.yaml with tests, and a Dockerfile.

    `.` is this directory, whose name is the function's. Nothing that is there is overwritten.

    \b
    Example:
      hotfn init greet && cd greet
      hotfn test
      hotfn call -d hotfn
    """  # noqa: D301  # click needs the backspace itself
    known = RUNTIMES[runtime].formats
    folder = Path(name)
    own = _own_name(name)
    if spoken is not None and spoken not in known:
        raise ConfigError(f"--format: a function of the runtime {runtime} speaks {' or '.join(known)}, not {spoken}")
    _write(folder, files(own, runtime, spoken or known[0]), RUNTIMES[runtime].executable)
    steps = [*([] if folder == Path() else [f"cd {folder}"]), *RUNTIMES[runtime].next, "hotfn test"]
    click.echo(f"Try it: {' && '.join(steps)}", err=True)
    ctx.exit(0)


def _own_name(typed: str) -> str:
    """Return the name of the function in the directory that was typed. Raises ConfigError when it is none."""
    name = Path(typed).name
    said = repr(name or typed)
    if typed and name in {"", ".."}:  # `.`, `..`, `/`: it has a name, which was not typed
        name = Path(typed).resolve().name
        said = f"{typed!r} is the directory {name!r}, which" if name else repr(typed)
    if not _NAME.fullmatch(name):
        raise ConfigError(f"{said} is no name: lower-case letters, digits, and - _ . within")
    return name


def _write(folder: Path, contents: dict[str, bytes], executable: tuple[str, ...]) -> None:
    """Raises ConfigError, before anything is written, when something of it is there."""
    there = [str(folder / one) for one in contents if os.path.lexists(folder / one)]
    if there:
        raise ConfigError(f"{', '.join(there)}: is there already, and nothing was written")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for file, data in contents.items():
            path = folder / file
            with path.open("xb") as new:
                new.write(data)
            path.chmod(0o755 if file in executable else 0o644)
            click.echo(str(path))
    except OSError as error:
        raise ConfigError(f"{error.filename}: {error.strerror}") from error
