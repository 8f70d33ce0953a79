"""What the commands share: exit statuses, logging, the configuration option."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click

EXIT_FAILED = 1
EXIT_USAGE = 2
EXIT_UNAVAILABLE = 3
EXIT_INTERRUPTED = 130

_LEVELS = ("debug", "info", "warning", "error")
_Function = TypeVar("_Function", bound=Callable[..., Any])


def logging_options(function: _Function) -> _Function:
    """Add -v and --log-level. Both set up logging as soon as they are read, and are not passed on."""
    verbose = click.option(
        "-v", "--verbose", count=True, expose_value=False, callback=_verbose, help="Log more: -v info, -vv debug."
    )
    level = click.option(
        "--log-level",
        type=click.Choice(_LEVELS, case_sensitive=False),
        expose_value=False,
        callback=_log_level,
        help="Log messages of this level and above, on stderr.",
    )
    return verbose(level(function))


def _verbose(ctx: click.Context, _param: click.Parameter, count: int) -> None:
    if count and not ctx.resilient_parsing:
        _log("info" if count == 1 else "debug")


def _log_level(ctx: click.Context, _param: click.Parameter, level: str | None) -> None:
    if level and not ctx.resilient_parsing:
        _log(level)


def _log(level: str) -> None:
    import logging  # 10 ms that only those pay who ask for it

    form = "%(asctime)s %(levelname)s %(name)s: %(message)s"
    logging.basicConfig(format=form, level=level.upper(), force=True)


config_option = click.option(
    "-c",
    "--config",
    "config_path",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="A functions.toml or func.yaml. Without it, the one in the current directory is used.",
)
