"""The `driver_options` of `docker` and `podman`, checked."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields
from typing import Any, Literal

from hotfn_core.errors import ConfigError, did_you_mean

Pull = Literal["missing", "never", "always"]

ULIMITS: Mapping[str, int] = {"memlock": 65_536, "sigpending": 5_000, "msgqueue": 819_200, "core": 0}
"""Limits of each process that are set unless the function says otherwise, as Fn has them; no core dumps."""

_MOST = 1 << 53
_CAPABILITY = re.compile(r"[A-Z][A-Z_]*")
_NETWORK = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.:/-]*")


@dataclass(frozen=True)
class Mount:
    """A directory or file of the engine's machine, seen by the copy at `target`."""

    source: str
    target: str
    writable: bool


@dataclass(frozen=True, kw_only=True)
class Options:
    """What a function asks of these drivers; the defaults are the strict side.

    `max_processes` counts threads too; `tmpfs` is the size of /tmp in MB, 0 for none; None for the limits of
    numbers is none. `memory` is "default" or "unlimited" and counts where the function names no memory itself.
    """

    pull: Pull = "missing"
    pull_timeout: float = 600.0
    network: tuple[str, ...] = ("none",)
    user: str = "1000:1000"
    init: bool = True
    read_only: bool = True
    tmpfs: int = 64
    memory: str = "default"
    max_processes: int | None = 50
    max_files: int | None = 350
    ulimits: Mapping[str, int] = field(default_factory=lambda: dict(ULIMITS))
    capabilities: tuple[str, ...] = ()
    new_privileges: bool = False
    volumes: bool = False
    mounts: tuple[Mount, ...] = ()
    entrypoint: tuple[str, ...] | None = None
    cwd: str = ""
    prepared: int = 0


NAMES = tuple(one.name for one in fields(Options))


def parse(driver: str, options: Mapping[str, Any]) -> Options:
    """Check the options of one function. Raises ConfigError that names option, value and what is legal."""
    if not options:
        return Options()
    given: dict[str, Any] = {}
    for name, value in options.items():
        if name not in NAMES:
            hint = did_you_mean(name, NAMES) or f"; it has {', '.join(NAMES)}"
            raise _wrong(f'the driver "{driver}" has no option "{name}"{hint}')
        if value is not None or name in ("max_processes", "max_files"):
            given[name] = _CHECKS[name](name, value)
    return Options(**given)


def _wrong(text: str) -> ConfigError:
    return ConfigError(text, field="driver_options")


def _must(name: str, what: str, value: object) -> ConfigError:
    return _wrong(f"driver_options: {name} must be {what}, not {value!r}")


def _one_of(*words: str) -> Callable[[str, object], str]:
    def check(name: str, value: object) -> str:
        if isinstance(value, str) and value in words:
            return value
        raise _must(name, " or ".join(f'"{word}"' for word in words), value)

    return check


def _whole(low: int, unit: str) -> Callable[[str, object], int]:
    def check(name: str, value: object) -> int:
        if isinstance(value, int) and not isinstance(value, bool) and low <= value <= _MOST:
            return value
        raise _must(name, f"a whole number of {unit}, at least {low}", value)

    return check


def _unlimited(low: int, unit: str) -> Callable[[str, object], int | None]:
    check = _whole(low, unit)
    return lambda name, value: None if value in (None, "unlimited") else check(name, value)


def _flag(name: str, value: object) -> bool:
    if isinstance(value, bool):
        return value
    raise _must(name, "true or false", value)


def _seconds(name: str, value: object) -> float:
    if isinstance(value, int | float) and not isinstance(value, bool) and 0 < value <= 86_400:
        return float(value)
    raise _must(name, "seconds, more than 0 and at most a day", value)


def _text(name: str, value: object) -> str:
    if isinstance(value, str) and value and "\0" not in value:
        return value
    raise _must(name, "text", value)


def _user(name: str, value: object) -> str:
    if isinstance(value, int) and not isinstance(value, bool) and value >= 0:
        return str(value)
    return _text(name, value)


def _path(name: str, value: object) -> str:
    if isinstance(value, str) and value.startswith("/") and "\0" not in value:
        return value
    raise _must(name, "an absolute path", value)


def _texts(name: str, value: object) -> tuple[str, ...]:
    if isinstance(value, list | tuple) and all(isinstance(one, str) and "\0" not in one for one in value):
        return tuple(value)
    raise _must(name, "a list of texts", value)


def _networks(name: str, value: object) -> tuple[str, ...]:
    names = (value,) if isinstance(value, str) else value
    if isinstance(names, list | tuple) and names and all(_NETWORK.fullmatch(str(one)) for one in names):
        return tuple(map(str, names))
    raise _must(name, 'the name of a network of the engine, or a list of them, or "none"', value)


def _capabilities(name: str, value: object) -> tuple[str, ...]:
    texts = tuple(one.upper().removeprefix("CAP_") for one in _texts(name, value))
    if all(_CAPABILITY.fullmatch(one) for one in texts):
        return texts
    raise _must(name, 'a list like ["NET_BIND_SERVICE"]', value)


def _ulimits(name: str, value: object) -> Mapping[str, int]:
    if not isinstance(value, Mapping):
        raise _must(name, "a table of numbers, like { memlock = 65536 }", value)
    for label, number in value.items():
        if label not in ULIMITS:
            known = f"; known are {', '.join(ULIMITS)}"
            raise _wrong(f'driver_options: ulimits has no "{label}"{did_you_mean(label, ULIMITS) or known}')
        if not isinstance(number, int) or isinstance(number, bool) or not -1 <= number <= _MOST:
            raise _must(f"{name}.{label}", "a whole number, -1 for no limit", number)
    return {**ULIMITS, **value}


def _mounts(name: str, value: object) -> tuple[Mount, ...]:
    return tuple(_mount(name, one) for one in _texts(name, value))


def _mount(name: str, text: str) -> Mount:
    source, _, rest = text.partition(":")
    target, _, mode = rest.partition(":")
    if source.startswith("/") and target.startswith("/") and target != "/" and mode in ("", "ro", "rw"):
        return Mount(source, target, mode == "rw")
    raise _must(name, 'a list like ["/srv/data:/data", "/srv/out:/out:rw"]', text)


_CHECKS: Mapping[str, Callable[[str, Any], Any]] = {
    "pull": _one_of("missing", "never", "always"),
    "pull_timeout": _seconds,
    "network": _networks,
    "user": _user,
    "init": _flag,
    "read_only": _flag,
    "tmpfs": _whole(0, "MB"),
    "memory": _one_of("default", "unlimited"),
    "max_processes": _unlimited(1, "processes and threads"),
    "max_files": _unlimited(8, "open files"),
    "ulimits": _ulimits,
    "capabilities": _capabilities,
    "new_privileges": _flag,
    "volumes": _flag,
    "mounts": _mounts,
    "entrypoint": _texts,
    "cwd": _path,
    "prepared": _whole(0, "containers"),
}
