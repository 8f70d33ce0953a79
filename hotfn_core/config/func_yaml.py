"""`func.yaml`, the function file of IronFunctions and Fn: one function.

Its own names are translated (`config` is env, `name` and `version` are the image unless `image` is there); besides
them it may hold any field of FunctionSpec. What describes a build or a deployment is read, noted and not used.
"""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from typing import Any

from hotfn_core.errors import ConfigError
from hotfn_core.model import FIELD_NAMES

from ._source import Config, Source
from ._yaml import Key, load

_UNUSED = {
    "annotations": "belongs to a Fn server",
    "build": "hotfn runs what is built",
    "build_image": "hotfn runs what is built",
    "expects": "hotfn takes what the function needs from config and --env",
    "path": "belongs to a server's routes",
    "run_image": "hotfn runs what is built",
    "runtime": "hotfn runs what is built",
    "schema_version": "every version that has been published is understood",
    "triggers": "belongs to a Fn server",
}
_OWN = ("name", "version", "image", "type", "config", "headers", "tests", "entrypoint", "cmd")
_KNOWN = (*_OWN, *_UNUSED, *(field for field in FIELD_NAMES if field != "env"))
_TEXTS = ("name", "version", "image", "type", "entrypoint", "cmd")
_AS_TEXT = (*_TEXTS, "format", "config", "headers")


def parse(source: Source) -> tuple[Config, Mapping[str, ConfigError]]:
    """Return the function of the file. There is only one, so anything wrong with it is raised."""
    keys = load(source, _AS_TEXT)
    for key, one in keys.items():
        if key == "env":
            raise source.error("unknown key; a function file calls it config", key=key, line=one.line)
        if key not in _KNOWN:
            raise source.unknown(key, _KNOWN, line=one.line)
        if key in _TEXTS and not isinstance(one.value, str):
            raise source.error("must be text", key=key, line=one.line)
    _check_type(source, keys)
    lines = {key: one.line for key, one in keys.items()} | ({"env": keys["config"].line} if "config" in keys else {})
    spec = source.spec(_fields(source, keys), lines=lines)
    notes = tuple(
        f"{source.path}:{keys[key].line}: {key} is not used: {why}" for key, why in _unused(keys, spec.command)
    )
    tests = {spec.name: _tests(source, keys)} if "tests" in keys else {}
    return Config(path=source.path, functions={spec.name: spec}, tests=tests, notes=notes), {}


def _fields(source: Source, keys: Mapping[str, Key]) -> dict[str, Any]:
    """Translate the file's keys to fields of FunctionSpec."""
    fields = {key: one.value for key, one in keys.items() if key in FIELD_NAMES and key not in _OWN}
    name = _text(keys, "name")
    if not name:
        raise source.error("is missing; a function file names its function", key="name")
    fields["name"] = name.rpartition("/")[2].partition(":")[0]
    if not fields.get("format", "-"):
        del fields["format"]  # an empty format is the default one
    if "config" in keys:
        fields["env"] = keys["config"].value
        if not isinstance(fields["env"], dict):
            raise source.error("must be a table of strings", key="config", line=keys["config"].line)
    if "headers" in keys:
        fields["headers"] = _headers(keys["headers"].value)
    if fields.get("driver") == "local":
        return {"command": _argv(source, keys), **fields}
    return {"driver": "docker", "image": _image(keys, name), **fields}


def _image(keys: Mapping[str, Key], name: str) -> str:
    """Return `image`, or the image that the tools of IronFunctions and Fn build: the name, tagged with the version."""
    image = _text(keys, "image")
    version = _text(keys, "version")
    tagged = ":" in name.rpartition("/")[2]
    return image or (f"{name}:{version}" if version and not tagged else name)


def _argv(source: Source, keys: Mapping[str, Key]) -> list[str]:
    """Return entrypoint and cmd as argv: without an image there is nobody else who knows them."""
    argv: list[str] = []
    for key in ("entrypoint", "cmd"):
        try:
            argv += shlex.split(_text(keys, key))
        except ValueError as error:
            raise source.error(f"cannot be split into words: {error}", key=key, line=keys[key].line) from None
    return argv


def _headers(value: object) -> object:
    """Join lists of values as HTTP allows. What is no header at all is left for FunctionSpec to refuse."""
    if not isinstance(value, dict):
        return value
    return {name: _joined(one) for name, one in value.items()}


def _joined(value: object) -> object:
    if isinstance(value, list) and all(isinstance(one, str) for one in value):
        return ", ".join(value)
    return value


def _check_type(source: Source, keys: Mapping[str, Key]) -> None:
    kind = _text(keys, "type")
    if kind == "async":
        why = "async functions are not supported: hotfn answers while the caller waits; write sync or leave it out"
        raise source.error(why, key="type", line=keys["type"].line)
    if kind not in {"", "sync"}:
        raise source.error(f"must be sync, not {kind!r}", key="type", line=keys["type"].line)


def _tests(source: Source, keys: Mapping[str, Key]) -> tuple[Mapping[str, Any], ...]:
    tests = keys["tests"].value
    if not isinstance(tests, list) or not all(isinstance(test, dict) for test in tests):
        raise source.error("must be a list of tests (name, in, out, err, env)", key="tests", line=keys["tests"].line)
    return tuple(tests)


def _unused(keys: Mapping[str, Key], command: tuple[str, ...]) -> list[tuple[str, str]]:
    unused = [(key, _UNUSED[key]) for key in keys if key in _UNUSED]
    if not command:
        unused += [(key, "the image knows what it runs") for key in ("entrypoint", "cmd") if key in keys]
    return unused


def _text(keys: Mapping[str, Key], key: str) -> str:
    return str(keys[key].value) if key in keys else ""
