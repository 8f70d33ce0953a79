"""`hotfn gc`: remove what a hotfn that is dead has left behind."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass

import click

from hotfn_core import meeting
from hotfn_core.errors import DriverError, HotfnError
from hotfn_core.registry import Registry

from .common import EXIT_FAILED, EXIT_UNAVAILABLE, logging_options
from .health import Trouble, failed, opened, owner

_OPEN_SECONDS = 30.0  # an engine that is cleaned up is often one that has too much to do
_SWEEP_SECONDS = 600.0


@dataclass(frozen=True, kw_only=True)
class Swept:
    """What became of one driver: `ok`, `unavailable`, `broken` (see DriverHealth), or `failed`, which is an engine's
    fault. `removed` is how many things are gone, None when that is not known."""

    name: str
    plugin: str
    state: str
    removed: int | None = None
    detail: str = ""


def _complete_driver(_ctx: click.Context, _param: click.Parameter, incomplete: str) -> list[str]:
    """Offer the installed drivers to the shell."""
    return [name for name in Registry().drivers if name.startswith(incomplete)]


@click.command()
@click.option(
    "--driver",
    "names",
    multiple=True,
    metavar="NAME",
    shell_complete=_complete_driver,
    help="Clean up behind this driver only; may be repeated.  [default: all that are installed]",
)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
@logging_options
@click.pass_context
def gc(ctx: click.Context, names: tuple[str, ...], as_json: bool) -> None:
    """Remove what a hotfn that is dead has left behind.

    That is processes, containers, sockets and the like, of a hotfn that was killed before it could clean up. What
    belongs to a living hotfn is left alone, and so is what another machine, or another container, has started:
    from here nobody can tell whether its hotfn lives. hotfn does the same by itself when it starts to use a driver.

    \b
    Examples:
      hotfn gc
      hotfn gc --driver docker --json

    \b
    Exit status:
      0  everything that was found is gone; a driver whose engine is away is named and left out
      1  a driver failed, or a plugin is broken
      2  there is no such driver
      3  the driver that --driver names is unavailable
    """  # noqa: D301  # click needs the backspace itself
    registry = Registry()
    for name in names:
        _check_name(registry, name)
    swept = asyncio.run(_sweep_all(registry, list(dict.fromkeys(names)) or registry.drivers))
    problems = [] if names else [problem.message for problem in registry.problems]
    sockets = 0 if names else meeting.sweep()
    report = {"drivers": [asdict(one) for one in swept], "sockets": sockets, "problems": problems}
    click.echo(json.dumps(report, indent=2) if as_json else "\n".join(_text(swept, sockets, problems)))
    ctx.exit(_status(swept, problems, asked=bool(names)))


def _check_name(registry: Registry, name: str) -> None:
    """Raise ConfigError for a driver that is not there, before anything is done about the others."""
    if name not in registry.drivers:
        registry.driver(name)


def _status(swept: Iterable[Swept], problems: Sequence[str], *, asked: bool) -> int:
    states = {one.state for one in swept}
    if problems or states & {"failed", "broken"}:
        return EXIT_FAILED
    return EXIT_UNAVAILABLE if asked and "unavailable" in states else 0


def _text(swept: Sequence[Swept], sockets: int, problems: Sequence[str]) -> Iterable[str]:
    for one in swept:
        yield f"{one.name}: {one.removed} removed" if one.state == "ok" else f"{one.name}: {one.state}: {one.detail}"
    if sockets:
        yield f"directories for sockets: {sockets} removed"
    yield from (f"broken: {problem}" for problem in problems)
    if not swept and not problems:
        yield "no driver is installed"


async def _sweep_all(registry: Registry, names: Iterable[str]) -> list[Swept]:
    return await asyncio.gather(*(_sweep(registry, name) for name in names))


async def _sweep(registry: Registry, name: str) -> Swept:
    plugin = owner(registry, "drivers", name)
    removed: int | None = None
    try:
        driver = registry.driver(name)
        async with opened(driver, _OPEN_SECONDS), asyncio.timeout(_SWEEP_SECONDS):
            removed = await driver.sweep()
    except Trouble as error:
        return Swept(name=name, plugin=plugin, state=error.state, removed=removed, detail=error.detail)
    except DriverError as error:
        return Swept(name=name, plugin=plugin, state="failed", detail=error.message)
    except TimeoutError:
        detail = f"did not end within {_SWEEP_SECONDS:g} seconds; run it again"
        return Swept(name=name, plugin=plugin, state="failed", detail=detail)
    except HotfnError as error:
        return Swept(name=name, plugin=plugin, state="broken", detail=error.message)
    except Exception as error:  # a stranger's driver may raise anything
        return Swept(name=name, plugin=plugin, state="broken", detail=failed("sweep", error).detail)
    return Swept(name=name, plugin=plugin, state="ok", removed=removed)
