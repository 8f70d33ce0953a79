"""From the options of a command to a FunctionSpec: the configuration, or nothing, with the options on top."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from hotfn_core.config import Config, find_config, load_config
from hotfn_core.errors import ConfigError
from hotfn_core.model import FunctionSpec

_OPTION_OF = {"driver_options": "--driver-option", "command": "COMMAND", "name": "FUNCTION"}


class Found(NamedTuple):
    """A function, and how many copies drivers start at a time, as Manager takes it."""

    spec: FunctionSpec
    max_starting: Mapping[str, int]


def resolve(
    config_path: Path | None,
    function: str,
    command: Sequence[str],
    options: Mapping[str, Any],
    *,
    max_starting: int | None = None,
    verb: str = "run",
) -> Found:
    """Return the function to run. `options` are fields of FunctionSpec; those that are None were not given.
    `max_starting` is that of its driver. `verb` is the command that asks: its name is that of a function without one.

    Raises ConfigError, with the name of the option where one is to blame.
    """
    given = {field: value for field, value in options.items() if value is not None and value != {}}
    if command:
        given["command"] = tuple(command)
    config = _config(config_path, function, given, verb)
    base = config.function(function) if config else None
    try:
        spec = base.replace(**_merged(base, given)) if base else _from_options(function or verb, given)
    except ConfigError as error:
        if error.field not in given and error.field not in _OPTION_OF:
            raise
        option = _OPTION_OF.get(error.field, f"--{error.field.replace('_', '-')}")
        raise ConfigError(f"{option}: {error.message}", field=error.field) from None
    starting = {} if max_starting is None else {spec.driver: max_starting}
    return Found(spec, {**(config.max_starting if config else {}), **starting})


def _config(path: Path | None, function: str, given: Mapping[str, Any], verb: str) -> Config | None:
    """Return the configuration that has the function, or None when the options describe one of their own."""
    complete = bool(given.get("command") or given.get("image"))
    if path is None:
        if complete and not function:
            return None  # a command of its own does not become the only function of a file that lies around
        path = find_config()
    if path is None:
        if not complete:
            raise ConfigError(_nothing_to_run(function, verb))
        return None
    return load_config(path)


def _nothing_to_run(function: str, verb: str) -> str:
    what = f'function "{function}"' if function else "what to run"
    return (
        f"{what}: there is no functions.toml or func.yaml here; name one with -c, or give the command itself: "
        f"hotfn {verb} -- {function or 'COMMAND [ARG]...'}"
    )


def _from_options(function: str, given: dict[str, Any]) -> FunctionSpec:
    app, _, name = function.rpartition("/")
    fields = {"name": name, **({"app": app} if app else {}), **given}
    if "image" in fields:
        fields.setdefault("driver", "docker")
    return FunctionSpec(**fields)


def _merged(base: FunctionSpec, given: Mapping[str, Any]) -> dict[str, Any]:
    """Return the changes to `base`: an option wins over the file; tables are merged, entry by entry."""
    if "image" in given and not base.image:
        return _contained(base, given)
    changes = dict(given)
    for field in ("env", "driver_options"):
        if field in given:
            changes[field] = {**getattr(base, field), **given[field]}
    return changes


def _contained(base: FunctionSpec, given: Mapping[str, Any]) -> dict[str, Any]:
    """Return the changes that put a function of this machine into an image, which knows what it runs: the command and
    the driver's options are of here, and mean nothing there."""
    driver = "docker" if base.driver == "local" else base.driver
    env = {**base.env, **given.get("env", {})}
    return {"driver": driver, "command": (), "driver_options": {}, **given, "env": env}


def environment(pairs: Sequence[str]) -> dict[str, str]:
    """Return the variables that `K=V` and `K` stand for. `K` takes its value from hotfn's own environment, so that
    a secret is on no command line. Raises ConfigError for a `K` that is not set."""
    env: dict[str, str] = {}
    for pair in pairs:
        name, equals, value = pair.partition("=")
        if not equals:
            if name not in os.environ:
                raise ConfigError(f"--env: {name} is not set in the environment; set it, or write {name}=VALUE")
            value = os.environ[name]
        env[name] = value
    return env


def driver_options(pairs: Sequence[str]) -> dict[str, Any]:
    """Return the table that `K=V` pairs stand for; `A.B=V` sets B in the table A. Raises ConfigError."""
    options: dict[str, Any] = {}
    for pair in pairs:
        path, equals, text = pair.partition("=")
        if not equals or not all(path.split(".")):
            raise ConfigError(f"--driver-option: write NAME=VALUE, not {path!r}")
        *tables, name = path.split(".")
        inner = options
        for table in tables:
            inner = inner.setdefault(table, {})
            if not isinstance(inner, dict):
                raise ConfigError(f"--driver-option: {path}: {table} has a value already and cannot be a table too")
        inner[name] = _value(text)
    return options


def _value(text: str) -> Any:
    """Read a value as TOML would (`4`, `true`, `[1, 2]`, `"x"`); what is not TOML is a string."""
    import tomllib

    if "\n" in text:
        return text
    try:
        value = tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        return text
    return value if isinstance(value, bool | int | float | str | list | dict) else text


def headers(lines: Sequence[str]) -> list[tuple[str, str]]:
    """Return the pairs that `Name: value` lines stand for. Raises ConfigError."""
    pairs = []
    for line in lines:
        name, colon, value = line.partition(":")
        if not colon or not name.strip():
            raise ConfigError(f"--header: write 'Name: value', not {name!r}")
        pairs.append((name.strip(), value.strip()))
    return pairs
