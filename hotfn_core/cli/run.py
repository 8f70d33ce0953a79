"""`hotfn run`: the options, and what they mean together."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click

from hotfn_core.config import find_config, load_config, parse_duration
from hotfn_core.errors import HotfnError

from .common import config_option, logging_options
from .spec import driver_options, environment, headers, resolve

_COMMAND = "hotfn.command"


class _Duration(click.ParamType):  # type: ignore[type-arg,unused-ignore]  # generic since click 8.4 only
    """Seconds, or 30s, 500ms, 1m30s."""

    name = "duration"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        try:
            return parse_duration(value) if isinstance(value, str) else float(value)
        except ValueError as error:
            self.fail(str(error), param, ctx)


class _RunCommand(click.Command):
    """Takes everything behind the first `--` as the function's command, untouched."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        before, command = _split(args)
        ctx.meta[_COMMAND] = command
        ctx.allow_extra_args = True  # so that it is us who say what is wrong with them
        extra = super().parse_args(ctx, before)
        if extra and not ctx.resilient_parsing:
            raise click.UsageError(_too_many([ctx.params["function"], *extra], command), ctx)
        return extra

    def collect_usage_pieces(self, ctx: click.Context) -> list[str]:
        return [*super().collect_usage_pieces(ctx), "[-- COMMAND [ARG]...]"]


def _split(args: Sequence[str]) -> tuple[list[str], tuple[str, ...]]:
    if "--" not in args:
        return list(args), ()
    at = args.index("--")
    return list(args[:at]), tuple(args[at + 1 :])


def _too_many(words: Sequence[str], command: Sequence[str]) -> str:
    text = shlex.join(words)
    hint = "name one before --" if command else f"a command and its arguments stand behind --: hotfn run -- {text}"
    return f"{text!r} is more than one FUNCTION; {hint}"


def _complete_function(ctx: click.Context, _param: click.Parameter, incomplete: str) -> list[str]:
    """Offer the functions of the configuration to the shell."""
    path = ctx.params.get("config_path") or find_config()
    try:
        names = list(load_config(path).functions) if path else []
    except HotfnError:
        return []
    return [name for name in names if name.startswith(incomplete)]


@click.command(cls=_RunCommand)
@click.argument("function", required=False, default="", shell_complete=_complete_function)
@config_option
@click.option("--driver", metavar="NAME", help="How copies are started: local, docker, podman, ...")
@click.option("--image", metavar="IMAGE", help="The container image. Implies --driver docker without a configuration.")
@click.option("--format", metavar="NAME", help="The IO protocol: default (a new copy for each call), http, json.")
@click.option(
    "-e", "--env", multiple=True, metavar="K[=V]", help="A variable for the function; K alone takes hotfn's own value."
)
@click.option("--memory", type=int, metavar="MB", help="Most memory of a copy.")
@click.option("--timeout", type=_Duration(), metavar="S", help="Most time in the function, for one call.")
@click.option("--idle-timeout", type=_Duration(), metavar="S", help="Stop a copy that nobody has called for so long.")
@click.option("--max-concurrency", type=int, metavar="N", help="Most copies at a time.")
@click.option("--max-queue", type=int, metavar="N", help="Most calls that wait for a copy.")
@click.option("--driver-option", multiple=True, metavar="K=V", help="An option of the driver, such as cwd=DIR.")
@click.option("--best-effort", is_flag=True, help="Accept a driver that cannot enforce a limit.")
@click.option("--method", default="POST", show_default=True, metavar="M", help="The method of the calls.")
@click.option("--url", default="/", show_default=True, metavar="U", help="The URL, or path and query, of the calls.")
@click.option("-H", "--header", multiple=True, metavar="'K: V'", help="A header of the calls.")
@click.option("--content-type", default="", metavar="T", help="The content type of the bodies.")
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
    spec = resolve(options["config_path"], options["function"], ctx.meta[_COMMAND], _fields(options))
    path = options["input_path"]
    return Plan(
        spec=spec,
        input=None if path is None or str(path) == "-" else path,
        each_line=options["each_line"],
        calls=options["calls"] or 1,
        parallel=options["parallel"] or spec.max_concurrency,
        jsonl=options["output"] == "jsonl",
        stats=options["stats"],
        stderr=options["stderr"],
        call={
            "method": options["method"],
            "url": options["url"],
            "content_type": options["content_type"],
            "headers": headers(options["header"]),
        },
    )


_FIELDS = ("driver", "image", "format", "memory", "timeout", "idle_timeout", "max_concurrency", "max_queue")


def _fields(options: dict[str, Any]) -> dict[str, Any]:
    """Return the options that are fields of FunctionSpec."""
    return {
        **{field: options[field] for field in _FIELDS},
        "env": environment(options["env"]),
        "driver_options": driver_options(options["driver_option"]),
        "best_effort": True if options["best_effort"] else None,
    }
