"""The options of the commands that call a function: which function it is, and what the calls look like."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Sequence
from functools import reduce
from typing import Any, TypeVar

import click

from hotfn_core.config import find_config, load_config, parse_duration
from hotfn_core.errors import HotfnError

from .common import config_option
from .spec import driver_options, environment, headers

COMMAND = "hotfn.command"
"""Where the context keeps what stands behind `--`."""

_Function = TypeVar("_Function", bound=Callable[..., Any])


class Duration(click.ParamType):  # type: ignore[type-arg,unused-ignore]  # generic since click 8.4 only
    """Seconds, or 30s, 500ms, 1m30s."""

    name = "duration"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        try:
            return parse_duration(value) if isinstance(value, str) else float(value)
        except ValueError as error:
            self.fail(str(error), param, ctx)


class FunctionCommand(click.Command):
    """A command about one function. Takes everything behind the first `--` as the function's command, untouched."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        before, command = split_dashes(args)
        ctx.meta[COMMAND] = command
        ctx.allow_extra_args = True  # so that it is us who say what is wrong with them
        extra = super().parse_args(ctx, before)
        if extra and not ctx.resilient_parsing:
            words = [ctx.params["function"], *extra]
            raise click.UsageError(_too_many(words, command, ctx.info_name or ""), ctx)
        return extra

    def collect_usage_pieces(self, ctx: click.Context) -> list[str]:
        return [*super().collect_usage_pieces(ctx), "[-- COMMAND [ARG]...]"]


def split_dashes(args: Sequence[str]) -> tuple[list[str], tuple[str, ...]]:
    """Return what stands before the first `--`, and what behind it."""
    if "--" not in args:
        return list(args), ()
    at = args.index("--")
    return list(args[:at]), tuple(args[at + 1 :])


def _too_many(words: Sequence[str], command: Sequence[str], verb: str) -> str:
    text = shlex.join(words)
    hint = "name one before --" if command else f"a command and its arguments stand behind --: hotfn {verb} -- {text}"
    return f"{text!r} is more than one FUNCTION; {hint}"


def complete_function(ctx: click.Context, _param: click.Parameter, incomplete: str) -> list[str]:
    """Offer the functions of the configuration to the shell."""
    path = ctx.params.get("config_path") or find_config()
    try:
        names = list(load_config(path).functions) if path else []
    except HotfnError:
        return []
    return [name for name in names if name.startswith(incomplete)]


_WHICH = (
    click.argument("function", required=False, default="", shell_complete=complete_function),
    config_option,
    click.option("--driver", metavar="NAME", help="How copies are started: local, docker, podman, ..."),
    click.option(
        "--image", metavar="IMAGE", help="The container image. Implies --driver docker without a configuration."
    ),
    click.option(
        "--format",
        metavar="NAME",
        help="The IO protocol: default (a new copy for each call), http, json, cloudevent, http-stream.",
    ),
    click.option(
        "-e",
        "--env",
        multiple=True,
        metavar="K[=V]",
        help="A variable for the function; K alone takes hotfn's own value.",
    ),
    click.option("--memory", type=int, metavar="MB", help="Most memory of a copy."),
    click.option("--timeout", type=Duration(), metavar="S", help="Most time in the function, for one call."),
    click.option(
        "--idle-timeout", type=Duration(), metavar="S", help="Stop a copy that nobody has called for so long."
    ),
    click.option("--max-concurrency", type=int, metavar="N", help="Most copies at a time."),
    click.option("--max-queue", type=int, metavar="N", help="Most calls that wait for a copy."),
    click.option("--max-starting", type=click.IntRange(1), metavar="N", help="Most copies that start at a time."),
    click.option("--driver-option", multiple=True, metavar="K=V", help="An option of the driver, such as cwd=DIR."),
    click.option("--best-effort", is_flag=True, help="Accept a driver that cannot enforce a limit."),
)
_CALLS = (
    click.option("--method", default="POST", show_default=True, metavar="M", help="The method of the calls."),
    click.option(
        "--url", default="/", show_default=True, metavar="U", help="The URL, or path and query, of the calls."
    ),
    click.option("-H", "--header", multiple=True, metavar="'K: V'", help="A header of the calls."),
    click.option("--content-type", default="", metavar="T", help="The content type of the bodies."),
)


def function_options(function: _Function) -> _Function:
    """Add FUNCTION and the options that say which function it is and how its copies are started."""
    return reduce(lambda inner, option: option(inner), reversed(_WHICH), function)


def call_options(function: _Function) -> _Function:
    """Add the options for everything of a call but its body."""
    return reduce(lambda inner, option: option(inner), reversed(_CALLS), function)


def call_arguments(options: dict[str, Any]) -> dict[str, Any]:
    """Return what `Manager.call` gets besides the body."""
    return {
        "method": options["method"],
        "url": options["url"],
        "content_type": options["content_type"],
        "headers": headers(options["header"]),
    }


FIELDS = ("driver", "image", "format", "memory", "timeout", "idle_timeout", "max_concurrency", "max_queue")


def fields(options: dict[str, Any]) -> dict[str, Any]:
    """Return the options that are fields of FunctionSpec."""
    return {
        **{field: options[field] for field in FIELDS},
        "env": environment(options["env"]),
        "driver_options": driver_options(options["driver_option"]),
        "best_effort": True if options["best_effort"] else None,
    }
