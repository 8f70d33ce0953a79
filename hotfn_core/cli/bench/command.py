"""`hotfn bench`: the options, and what they mean together."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import click

from hotfn_core.cli.common import logging_options
from hotfn_core.cli.options import Duration, FunctionCommand, call_arguments, call_options, function_options
from hotfn_core.errors import ConfigError

_DURATION, _WARMUP = 5.0, 1.0
_UNITS = {"": 1, "k": 1 << 10, "m": 1 << 20, "g": 1 << 30}
_SIZE = re.compile(r"(\d{1,12})\s*(?:([kmg])(?:i?b)?)?", re.IGNORECASE)


class _Size(click.ParamType):  # type: ignore[type-arg,unused-ignore]  # generic since click 8.4 only
    """Bytes, or 64k, 1M: of 1,024 each."""

    name = "size"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        if isinstance(value, int):
            return value
        found = _SIZE.fullmatch(value.strip())
        if not found:
            self.fail(f"{value!r} is not a size; write bytes as a number, or 64k, 1M", param, ctx)
        return int(found[1]) * _UNITS[(found[2] or "").lower()]


class _Span(Duration):
    """A duration that is more than nothing, or may be nothing."""

    def __init__(self, *, nothing: bool = False) -> None:
        self._nothing = nothing

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        seconds = super().convert(value, param, ctx)
        if not (0 < seconds < 1e7 or (self._nothing and seconds == 0)):
            self.fail(f"{value} is not {'0 or ' if self._nothing else ''}more than 0 seconds", param, ctx)
        return seconds


@click.command(cls=FunctionCommand)
@function_options
@call_options
@click.option(
    "-p",
    "--concurrency",
    type=click.IntRange(1, 10_000),
    metavar="N",
    help="N callers, each calls again when it has its reply.  [default: max-concurrency]",
)
@click.option(
    "--rate",
    type=click.FloatRange(0, 1e6, min_open=True),
    metavar="R",
    help="R calls arrive each second, however long earlier ones take.",
)
@click.option("--duration", type=_Span(), metavar="S", help="Measure for so long.  [default: 5s unless --calls]")
@click.option("--calls", type=click.IntRange(1), metavar="N", help="Measure N calls.")
@click.option(
    "--warmup",
    type=_Span(nothing=True),
    metavar="S",
    help="Call for so long before it counts.  [default: 1s; with --calls none]",
)
@click.option("--body", metavar="TEXT", help="The body of each call.  [default: empty]")
@click.option(
    "--body-file",
    type=click.Path(exists=True, dir_okay=False, allow_dash=True, path_type=Path),
    metavar="FILE",
    help="The file that is the body of each call; - is stdin.",
)
@click.option("--size", type=_Size(), metavar="BYTES", help="A body of so many bytes; 64k and 1M are sizes too.")
@click.option(
    "--compare",
    metavar="WHAT=A,B",
    help="Put functions side by side that differ in one thing: driver, format, function, ...",
)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
@click.option(
    "--stderr",
    type=click.Choice(["show", "hide", "tag"]),
    default="hide",
    show_default=True,
    help="What to do with the function's stderr.",
)
@logging_options
@click.pass_context
def bench(ctx: click.Context, /, **options: Any) -> None:
    """Load a function, FUNCTION of a configuration or a COMMAND, and say how it went.

    Every call has the same body. The report has a histogram of the latency, the parts of it, cold and failed calls, and
    what memory and processor time it took. What is compared takes turns, a moment each.

    \b
    Examples:
      hotfn bench lines --body 'to be or not to be'
      hotfn bench lines --concurrency 8 --max-concurrency 2 --size 64k
      hotfn bench lines --rate 500 --duration 30s --json
      hotfn bench lines --compare driver=local,docker
      hotfn bench --compare function=lines,words --body-file body.txt
      hotfn bench --format http -- python3 function.py

    \b
    Exit status:
      0  every call was answered, with a status below 500
      1  some calls failed; the report names each kind
      2  the command line or the configuration is wrong
      3  the driver is unavailable, or the function cannot be started
    Ctrl-C or SIGTERM ends early, with a report (130, 143); a second one leaves at once.
    """  # noqa: D301  # click needs the backspace itself
    plan = _plan(ctx, options)
    from .session import execute

    outcome = execute(plan)
    if outcome.contenders:
        from . import report, shape

        if options["as_json"]:
            click.echo(json.dumps(shape.report(outcome, plan.load), indent=2))
        else:
            click.echo("\n".join(report.lines(outcome, plan.load)))
    ctx.exit(outcome.status)


def _plan(ctx: click.Context, options: dict[str, Any]) -> Any:
    from .compare import contenders
    from .session import Plan

    _check_alone(ctx, options, "concurrency", "rate")
    _check_alone(ctx, options, "body", "body_file", "size")
    found = contenders(ctx, options)
    specs = [one.spec for _, one in found]
    return Plan(
        contenders=found,
        load=_load(options, max(one.max_concurrency for one in specs), min(one.max_request for one in specs)),
        stderr=options["stderr"],
        call=_given(call_arguments(options)),
    )


def _check_alone(ctx: click.Context, options: dict[str, Any], *names: str) -> None:
    given = [f"--{name.replace('_', '-')}" for name in names if options[name] is not None]
    if len(given) > 1:
        raise click.UsageError(f"{' and '.join(given)} exclude each other", ctx)


def _load(options: dict[str, Any], copies: int, most: int) -> Any:
    from .contender import Load

    calls, warmup = options["calls"], options["warmup"]
    return Load(
        concurrency=options["concurrency"] or min(copies, 10_000),
        rate=options["rate"],
        duration=options["duration"] or (None if calls else _DURATION),
        calls=calls,
        warmup=warmup if warmup is not None else (0.0 if calls else _WARMUP),
        body=_body(options, most),
    )


def _body(options: dict[str, Any], most: int) -> bytes:
    """Return the body of each call. Raises ConfigError for one that no function would be given."""
    size: int | None = options["size"]
    if size is not None and size <= most:
        return b"x" * size
    body = (options["body"] or "").encode("utf-8", "surrogateescape")
    if options["body_file"] is not None:
        body = _read(options["body_file"], most)
    if max(size or 0, len(body)) > most:
        raise ConfigError(f"the body is larger than max_request, {most} bytes")
    return body


def _read(path: Path, most: int) -> bytes:
    """Read a file, as far as is needed to tell that it is too large."""
    try:
        with click.open_file(str(path), "rb") as file:
            return bytes(file.read(most + 1))
    except OSError as error:
        raise ConfigError(f"--body-file: {path}: {error.strerror}") from None


def _given(call: dict[str, Any]) -> dict[str, Any]:
    """Leave out what is the default of a call anyway, so that no call pays for it."""
    defaults = {"method": "POST", "url": "/", "content_type": "", "headers": []}
    return {name: value for name, value in call.items() if value != defaults[name]}
