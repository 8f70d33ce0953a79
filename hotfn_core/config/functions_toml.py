"""`functions.toml`: any number of functions, one table each.

app = "text"                # of every function that does not name its own

[defaults]                  # fields of every function; a function's own win, tables (env, headers) are merged
format = "http"

[functions.lines]           # the name, then any field of FunctionSpec
command = ["python3", "function.py"]
idle_timeout = "1m"

[max_starting]              # how many copies each driver starts at a time
docker = 4
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping
from typing import Any

from hotfn_core.errors import ConfigError
from hotfn_core.model import FIELD_NAMES, FunctionSpec

from ._source import Config, Source

_TOP = ("app", "defaults", "functions", "max_starting")
_MERGED = ("env", "headers", "driver_options")


def parse(source: Source) -> tuple[Config, Mapping[str, ConfigError]]:
    """Return the functions that are right, and the errors of the others by name."""
    top = _load(source)
    defaults, starting = _defaults(source, top), _max_starting(source, top)
    functions: dict[str, FunctionSpec] = {}
    problems: dict[str, ConfigError] = {}
    for name, table in _table(source, top, "functions").items():
        try:
            functions[name] = _function(source, name, table, defaults)
        except ConfigError as error:
            problems[name] = error
    return Config(path=source.path, functions=functions, max_starting=starting), problems


def _load(source: Source) -> dict[str, Any]:
    try:
        top = tomllib.loads(source.text)
    except ValueError as error:  # TOMLDecodeError says what and where, duplicate keys included; or an endless number
        raise source.error(f"is not TOML: {error}") from None
    except RecursionError:
        raise source.error("is nested too deeply") from None
    for key in top:
        if key not in _TOP:
            raise _misplaced(source, key)
    if "functions" not in top:
        raise source.error("has no function; write a table [functions.NAME]")
    return top


def _misplaced(source: Source, key: str) -> ConfigError:
    line = _line(source, "", key)
    if key in FIELD_NAMES:
        return source.error("belongs into [functions.NAME] or [defaults]", key=key, line=line)
    return source.unknown(key, _TOP, line=line)


def _table(source: Source, top: Mapping[str, Any], key: str) -> dict[str, Any]:
    table = top.get(key, {})
    if not isinstance(table, dict):
        raise source.error(f"must be a table, [{key}], not {table!r}", key=key, line=_line(source, "", key))
    return table


def _defaults(source: Source, top: Mapping[str, Any]) -> dict[str, Any]:
    defaults = _table(source, top, "defaults")
    known = tuple(field for field in FIELD_NAMES if field != "name")
    for key in defaults:
        if key not in known:
            raise source.unknown(key, known, prefix="defaults.", line=_line(source, "defaults", key))
    return {"app": top["app"], **defaults} if "app" in top else defaults


def _max_starting(source: Source, top: Mapping[str, Any]) -> dict[str, int]:
    """Return how many copies drivers start at a time. Which drivers there are is not known here."""
    table = _table(source, top, "max_starting")
    for name, most in table.items():
        if not isinstance(most, int) or isinstance(most, bool) or most < 1:
            line = _line(source, "max_starting", name)
            text = f"must be a whole number, at least 1, not {most!r}"
            raise source.error(text, key=f"max_starting.{name}", line=line, field="max_starting")
    return table


def _function(source: Source, name: str, table: object, defaults: Mapping[str, Any]) -> FunctionSpec:
    where = f"functions.{name}"
    if not isinstance(table, dict):
        raise source.error(f"must be a table, [{where}], not {table!r}", key=where)
    if "name" in table:
        line = _line(source, where, "name")
        raise source.error("the name of the table is the function's name", key=f"{where}.name", line=line)
    places = {**dict.fromkeys(defaults, "defaults"), **dict.fromkeys(table, where)}
    lines = {key: line for key, place in places.items() if (line := _line(source, place, key))}
    return source.spec({**_merge(defaults, table), "name": name}, prefix=f"{where}.", lines=lines)


def _merge(defaults: Mapping[str, Any], table: Mapping[str, Any]) -> dict[str, Any]:
    merged = {**defaults, **table}
    for key in _MERGED:
        below, above = defaults.get(key), table.get(key)
        if isinstance(below, dict) and isinstance(above, dict):
            merged[key] = {**below, **above}
    return merged


_HEADER = re.compile(r"\s*\[\s*([^\[\]]+?)\s*\]\s*(?:#.*)?")


def _line(source: Source, table: str, key: str) -> int | None:
    """Return the line where `key` is set under `[table]`, or where `[table.key]` starts; None when it is elsewhere.

    tomllib keeps no positions. This finds what people write; a file that hides keys in inline tables gets no line.
    """
    inside = ""
    for number, line in enumerate(source.text.splitlines(), 1):
        if header := _HEADER.fullmatch(line):
            inside = header[1].replace('"', "")
            if inside == (f"{table}.{key}" if table else key):
                return number
        elif inside == table and re.match(rf'\s*"?{re.escape(key)}"?\s*[.=]', line):
            return number
    return None
