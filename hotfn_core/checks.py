"""The legal values of the fields of a FunctionSpec. Each check names the field, the value and the limit."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any, NamedTuple

from .errors import ConfigError

_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}", re.ASCII)
_HEADER_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+", re.ASCII)  # a token of RFC 9110
_ENV_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*", re.ASCII)


class Number(NamedTuple):
    """The legal range of one numeric field of a FunctionSpec."""

    low: float
    high: float
    unit: str
    whole: bool = False
    optional: bool = False


_DAY = 86400.0
NUMBERS: dict[str, Number] = {
    "memory": Number(1, 1_048_576, "MB", whole=True, optional=True),
    "cpus": Number(0.01, 1024, "cores", optional=True),
    "timeout": Number(0.001, _DAY, "seconds"),
    "idle_timeout": Number(0, 30 * _DAY, "seconds"),
    "freeze_after": Number(0, 30 * _DAY, "seconds", optional=True),
    "queue_timeout": Number(0.001, _DAY, "seconds"),
    "start_timeout": Number(0.001, _DAY, "seconds"),
    "stop_grace": Number(0, 3600, "seconds"),
    "max_concurrency": Number(1, 10_000, "instances", whole=True),
    "min_instances": Number(0, 10_000, "instances", whole=True),
    "max_queue": Number(0, 1_000_000, "calls", whole=True),
    "max_calls": Number(1, 1_000_000_000, "calls", whole=True, optional=True),
    "max_age": Number(0.001, 365 * _DAY, "seconds", optional=True),
    "max_request": Number(0, 1 << 31, "bytes", whole=True),
    "max_response": Number(0, 1 << 31, "bytes", whole=True),
}


def plain(value: object) -> Any:
    """Return `value` with every mapping as a dict and every tuple as a list."""
    if isinstance(value, Mapping):
        return {key: plain(one) for key, one in value.items()}
    if isinstance(value, tuple | list):
        return [plain(one) for one in value]
    return value


def check_name(label: str, value: object) -> None:
    """Raise ConfigError unless `value` can be part of "app/name"."""
    if not isinstance(value, str) or not _NAME.fullmatch(value):
        raise ConfigError(
            f"{label} must be 1 to 128 letters, digits, '_', '-' or '.', not starting with '-' or '.'; it is {value!r}",
            field=label,
        )


def check_text(label: str, value: object) -> str:
    """Return `value` when an operating system takes it as an argument."""
    if not isinstance(value, str):
        raise ConfigError(f"{label} must be a string, not {value!r}", field=label)
    if not _is_text(value):
        raise ConfigError(f"{label} must be valid text without NUL bytes, not {value!r}", field=label)
    return value


def _is_text(value: object) -> bool:
    """Say whether an operating system takes this as an argument or the value of a variable."""
    if not isinstance(value, str) or "\0" in value:
        return False
    try:
        value.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError:
        return False
    return True


def check_command(value: object) -> tuple[str, ...]:
    """Return argv as a tuple. A shell line is refused."""
    if isinstance(value, str | bytes) or not isinstance(value, Sequence):
        raise ConfigError(
            f"command must be a list of strings (argv), not {value!r}; hotfn runs no shell", field="command"
        )
    command = tuple(check_text("command", part) for part in value)
    if command and not command[0]:
        raise ConfigError("command starts with an empty string", field="command")
    return command


def check_env(value: object) -> Mapping[str, str]:
    """Return a read-only copy of the variables. No message repeats a value: it may be a secret."""
    env = _check_mapping("env", value)
    for name, text in env.items():
        if not _ENV_NAME.fullmatch(name):
            raise ConfigError(f"env: {name!r} is not a name of an environment variable", field="env")
        if not _is_text(text):
            # The value may be a secret, so it is not repeated here.
            raise ConfigError(f"env: the value of {name} must be a string of valid text without NUL bytes", field="env")
    return MappingProxyType(env)


def check_headers(value: object) -> Mapping[str, str]:
    """Return a read-only copy of header fields."""
    headers = _check_mapping("headers", value)
    for name, text in headers.items():
        if not _HEADER_NAME.fullmatch(name):
            raise ConfigError(f"headers: {name!r} is not a name of a header", field="headers")
        if not isinstance(text, str) or any(c in text for c in "\r\n\0"):
            raise ConfigError(f"headers: {name} must be a string on one line, not {text!r}", field="headers")
    return MappingProxyType(headers)


def check_options(value: object) -> Mapping[str, Any]:
    """Return a deep read-only copy of what JSON can carry."""
    options = _check_mapping("driver_options", value)
    try:
        copy = _through_json(options)
    except (TypeError, ValueError, RecursionError) as error:
        raise ConfigError(
            f"driver_options must hold strings, numbers, lists and tables only: {error}", field="driver_options"
        ) from None
    return MappingProxyType({key: _frozen(one) for key, one in copy.items()})


def _through_json(options: dict[str, Any]) -> dict[str, Any]:
    """Return a copy that shares nothing with `options`. Raises for what JSON cannot carry as it is."""
    if not options:
        return {}
    import json  # as in FunctionSpec._digest

    original = plain(options)
    copy: dict[str, Any] = json.loads(json.dumps(original, allow_nan=False))
    if copy != original:  # JSON writes a key that is a number as a string
        raise TypeError("a key is not a string")
    return copy


def _frozen(value: Any) -> Any:
    if isinstance(value, dict):
        return MappingProxyType({key: _frozen(one) for key, one in value.items()})
    return tuple(_frozen(one) for one in value) if isinstance(value, list) else value


def _check_mapping(label: str, value: object) -> dict[str, Any]:
    # What it holds may be secrets, so only its type is named.
    if not isinstance(value, Mapping):
        raise ConfigError(f"{label} must be a table with string keys, not {type(value).__name__}", field=label)
    if not all(isinstance(key, str) for key in value):
        raise ConfigError(f"{label} must be a table with string keys; one of its keys is not a string", field=label)
    return dict(value)


def check_number(label: str, value: object, rule: Number) -> float | int | None:
    """Return `value` as the type that the field has, when it is within its range."""
    if value is None and rule.optional:
        return None
    kind = "a whole number" if rule.whole else "a number"
    allowed = f"{kind} of {rule.unit} from {rule.low:g} to {rule.high:.10g}" + (" or none" if rule.optional else "")
    whole = isinstance(value, int) and not isinstance(value, bool)
    if not (whole or (isinstance(value, float) and not rule.whole and math.isfinite(value))):
        raise ConfigError(f"{label} must be {allowed}, not {value!r}", field=label)
    assert isinstance(value, int | float)
    if not rule.low <= value <= rule.high:
        raise ConfigError(f"{label} must be {allowed}; {value!r} is out of range", field=label)
    return int(value) if rule.whole else float(value) + 0.0  # -0.0 becomes 0.0, which is written otherwise
