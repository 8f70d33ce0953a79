"""`hotfn check`: is a configuration right, who enforces its limits, and are the engines that it needs there?"""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import click

from hotfn_core.admission import LIMITS, check_function
from hotfn_core.config import find_config, read_config
from hotfn_core.driver import Driver
from hotfn_core.errors import ConfigError, HotfnError, PluginError
from hotfn_core.model import FunctionSpec
from hotfn_core.registry import Registry

from .common import EXIT_USAGE, config_option, logging_options
from .health import DriverHealth, examine_drivers, failed


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """What is to be said about one function. `problem` is "" when it is right. `confinement` is what the driver says
    that it holds a copy to, beyond `limits`."""

    function: str
    driver: str = ""
    format: str = ""
    hot: bool = False
    limits: dict[str, str] | None = None
    confinement: tuple[str, ...] = ()
    problem: str = ""


@click.command()
@config_option
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
@logging_options
@click.pass_context
def check(ctx: click.Context, config_path: Path | None, as_json: bool) -> None:
    """Validate a configuration, and say what each driver enforces.

    Every function is checked as far as that is possible without starting it: its fields, its driver, its IO
    protocol and its limits. The drivers that it uses are opened for a moment, to say what they work with. Exit
    status 2 when anything is wrong; an engine that is away is no fault of a configuration.
    """
    path = config_path or find_config()
    if path is None:
        raise ConfigError("there is no functions.toml or func.yaml here; name one with -c")
    config, problems = read_config(path)
    registry = Registry()
    verdicts = [_verdict(registry, spec) for spec in config.functions.values()]
    drivers = examine_drivers(registry, sorted({one.driver for one in verdicts} & set(registry.drivers)))
    verdicts += [Verdict(function=name, problem=error.message) for name, error in problems.items()]
    missing = [text for name in config.max_starting if (text := registry.missing_driver(name))]
    faults = [f"max_starting: {text}" for text in missing]
    report: dict[str, Any] = {
        "path": str(path),
        "problems": faults,
        "notes": config.notes,
        "functions": [asdict(one) for one in verdicts],
        "drivers": [asdict(one) for one in drivers],
    }
    lines = [*(f"wrong  {fault}" for fault in faults), *_text(path, config.notes, verdicts, drivers)]
    click.echo(json.dumps(report, indent=2) if as_json else "\n".join(lines))
    wrong = bool(faults) or any(one.problem for one in verdicts) or any(one.state == "broken" for one in drivers)
    ctx.exit(EXIT_USAGE if wrong else 0)


def _verdict(registry: Registry, spec: FunctionSpec) -> Verdict:
    try:
        driver = registry.driver(spec.driver)
        protocol = registry.protocol(spec.format)
        check_function(spec, driver, protocol)
        confinement = _confinement(spec, driver)
    except HotfnError as error:
        return Verdict(function=spec.full_name, driver=spec.driver, format=spec.format, problem=error.message)
    limits = {limit: _limit(spec, limit, driver.enforces) for limit in LIMITS}
    return Verdict(
        function=spec.full_name,
        driver=spec.driver,
        format=spec.format,
        hot=protocol.hot,
        limits=limits,
        confinement=confinement,
    )


def _confinement(spec: FunctionSpec, driver: Driver) -> tuple[str, ...]:
    try:
        return tuple(str(one) for one in driver.confinement(spec))
    except Exception as error:  # a stranger's driver may raise anything
        raise PluginError(f'the driver "{spec.driver}" {failed("confinement", error).detail}') from error


def _limit(spec: FunctionSpec, limit: str, enforced: frozenset[str]) -> str:
    """Say what comes of one limit: the number and whether it holds."""
    value = getattr(spec, limit)
    if value is None:
        return "not asked for"
    return f"{value:g}, enforced" if limit in enforced else f"{value:g}, not enforced (best_effort)"


def _text(
    path: Path, notes: Iterable[str], verdicts: Iterable[Verdict], drivers: Iterable[DriverHealth]
) -> Iterable[str]:
    for one in verdicts:
        yield from _function_text(one)
    yield from (_driver_text(one) for one in drivers)
    yield from (f"note   {note}" for note in notes)
    yield f"{path}: checked"


def _function_text(one: Verdict) -> Iterable[str]:
    if one.problem:
        yield f"wrong  {one.function}: {one.problem}"
        return
    limits = ", ".join(f"{limit} {text}" for limit, text in (one.limits or {}).items())
    yield f"ok     {one.function}: driver {one.driver}, {one.format} ({'hot' if one.hot else 'cold'}), {limits}"
    if one.confinement:
        yield f"       confined to: {', '.join(one.confinement)}"


def _driver_text(one: DriverHealth) -> str:
    if one.state == "broken":
        return f'wrong  driver {one.name}: {one.detail} (plugin "{one.plugin}")'
    if one.state == "unavailable":
        return f"note   driver {one.name} is unavailable now: {one.detail}"
    return f"ok     driver {one.name}: {one.text}"
