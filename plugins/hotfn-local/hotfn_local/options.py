"""The `driver_options` of the driver `local`, checked."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

from hotfn_core.errors import ConfigError, did_you_mean


class Limit(NamedTuple):
    """One resource limit: its name in prlimit(1) and in the module `resource`, and its legal range."""

    resource: str
    low: int
    unit: str
    soft_gap: int = 0
    """How far the hard limit is above the soft one, so that the kinder signal comes first."""


LIMITS: Mapping[str, Limit] = {
    "max_files": Limit("nofile", 8, "open files"),
    "max_processes": Limit("nproc", 1, "processes"),
    "max_file_size": Limit("fsize", 0, "bytes"),
    "max_core_size": Limit("core", 0, "bytes"),
    "cpu_time": Limit("cpu", 1, "seconds", soft_gap=1),
}
MEMORY = Limit("as", 1, "bytes")
CONFINING = ("user", "group", *LIMITS)
NAMES = ("cwd", *CONFINING, "zygote")
_MODULE = re.compile(r"[^\W\d]\w*(\.[^\W\d]\w*)*")
_MOST = 1 << 53


@dataclass(frozen=True, slots=True)
class Options:
    """What a function asks of this driver. `limits` holds (limit, value) pairs. `zygote`: True, modules, or None."""

    cwd: str | None = None
    user: str | int | None = None
    group: str | int | None = None
    limits: tuple[tuple[Limit, int], ...] = ()
    zygote: bool | tuple[str, ...] | None = None


def parse(options: Mapping[str, Any]) -> Options:
    """Check the options of one function. Raises ConfigError that names option, value and limit."""
    if not options:
        return Options()
    for name in options:
        if name not in NAMES:
            known = f"; it has {', '.join(NAMES)}"
            raise _wrong(f'the driver "local" has no option "{name}"{did_you_mean(name, NAMES) or known}')
    return Options(
        cwd=_path(options.get("cwd")),
        user=_account("user", options.get("user")),
        group=_account("group", options.get("group")),
        limits=tuple((LIMITS[name], _count(name, options[name])) for name in LIMITS if options.get(name) is not None),
        zygote=_zygote(options.get("zygote")),
    )


def _zygote(value: object) -> bool | tuple[str, ...] | None:
    if value is None or value is False:
        return None
    if value is True:
        return True
    if isinstance(value, list | tuple) and all(isinstance(one, str) and _MODULE.fullmatch(one) for one in value):
        return tuple(value)
    given = list(value) if isinstance(value, tuple) else value  # as it was written
    raise _wrong(f'driver_options: zygote must be true or a list of names of modules, such as ["json"], not {given!r}')


def _path(value: object) -> str | None:
    if value is None:
        return None
    if not isinstance(value, str) or not value or "\0" in value:
        raise _wrong(f"driver_options: cwd must be the path of a directory, not {value!r}")
    return value


def _account(name: str, value: object) -> str | int | None:
    if value is None or (isinstance(value, str) and value and "\0" not in value):
        return value
    if isinstance(value, int) and not isinstance(value, bool) and 0 <= value < (1 << 32) - 1:
        return value
    raise _wrong(f"driver_options: {name} must be the name or the number of a {name}, not {value!r}")


def _count(name: str, value: object) -> int:
    limit = LIMITS[name]
    if isinstance(value, int) and not isinstance(value, bool) and limit.low <= value <= _MOST:
        return value
    raise _wrong(f"driver_options: {name} must be a whole number of {limit.unit}, at least {limit.low}, not {value!r}")


def _wrong(text: str) -> ConfigError:
    return ConfigError(text, field="driver_options")
