"""The `driver_options` of `docker` and `podman`, checked."""

from __future__ import annotations

import posixpath
import re
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, fields
from typing import Any, Literal

from hotfn_core.errors import ConfigError, did_you_mean
from hotfn_core.model import FunctionSpec

Pull = Literal["missing", "never", "always"]

ULIMITS: Mapping[str, int] = {"memlock": 65_536, "sigpending": 5_000, "msgqueue": 819_200, "core": 0}
"""Limits of each process that are set unless the function says otherwise, as Fn has them; no core dumps."""

_CAPABILITIES = (
    "AUDIT_CONTROL AUDIT_READ AUDIT_WRITE BLOCK_SUSPEND BPF CHECKPOINT_RESTORE CHOWN DAC_OVERRIDE "
    "DAC_READ_SEARCH FOWNER FSETID IPC_LOCK IPC_OWNER KILL LEASE LINUX_IMMUTABLE MAC_ADMIN MAC_OVERRIDE "
    "MKNOD NET_ADMIN NET_BIND_SERVICE NET_BROADCAST NET_RAW PERFMON SETFCAP SETGID SETPCAP SETUID SYSLOG "
    "SYS_ADMIN SYS_BOOT SYS_CHROOT SYS_MODULE SYS_NICE SYS_PACCT SYS_PTRACE SYS_RAWIO SYS_RESOURCE "
    "SYS_TIME SYS_TTY_CONFIG WAKE_ALARM"
)
CAPABILITIES = frozenset(_CAPABILITIES.split())

ALONE = frozenset({"none", "host", "slirp4netns", "pasta"})
"""What is said for `network` and is no network that copies could be spread over."""

HIGHEST_ID = (1 << 31) - 1
"""The highest number of a user or group that engines take."""

KERNEL_PATHS = ("/proc", "/sys", "/dev")

MAX_PREPARED = 32
"""Containers of one function that may be kept ready ahead."""

_MOST = 1 << 53
_NETWORK = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]*")
_USER = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]*(:[A-Za-z0-9_][A-Za-z0-9_.-]*)?")


@dataclass(frozen=True)
class Mount:
    """A directory or file of the engine's machine, seen by the copy at `target`."""

    source: str
    target: str
    writable: bool


@dataclass(frozen=True, kw_only=True)
class Options:
    """What a function asks of these drivers; the defaults are the strict side.

    `network` are the networks that copies are spread over, one for each copy. `tmpfs` is the size of /tmp in MB, 0 for
    none, None for what suits the memory; `tmp_exec` lets programs in it run. `memory` is "default" or "unlimited" and
    counts where the function names no memory itself. `max_processes` counts threads too; None is no limit of hotfn's,
    for `max_files` as well.
    """

    pull: Pull = "missing"
    pull_timeout: float = 600.0
    network: tuple[str, ...] = ("none",)
    user: str = "1000:1000"
    init: bool = True
    read_only: bool = True
    tmpfs: int | None = None
    tmp_exec: bool = False
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
FIELDS = frozenset(one.name for one in fields(FunctionSpec))


def parse(driver: str, options: Mapping[str, Any]) -> Options:
    """Check the options of one function. Raises ConfigError that names option, value and what is legal."""
    if not options:
        return Options()
    given: dict[str, Any] = {}
    for name, value in options.items():
        if name not in NAMES:
            own = f"; {name} is a field of the function itself" if name in FIELDS else ""
            hint = own or did_you_mean(name, NAMES) or f"; it has {', '.join(NAMES)}"
            raise _wrong(f'the driver "{driver}" has no option "{name}"{hint}')
        if value is not None or name in ("max_processes", "max_files"):
            given[name] = _CHECKS[name](name, value)
    parsed = Options(**given)
    if parsed.tmpfs != 0 and any(one.target == "/tmp" for one in parsed.mounts):
        raise _wrong("driver_options: mounts has one at /tmp, where the copy's own /tmp is; set tmpfs = 0 as well")
    return parsed


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


def _whole(low: int, unit: str, high: int = _MOST) -> Callable[[str, object], int]:
    bounds = f"at least {low}" if high == _MOST else f"from {low} to {high}"

    def check(name: str, value: object) -> int:
        if isinstance(value, int) and not isinstance(value, bool) and low <= value <= high:
            return value
        raise _must(name, f"a whole number of {unit}, {bounds}", value)

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
    """A number alone names the group as well: without one engines would take root's."""
    text = str(value) if isinstance(value, int) and not isinstance(value, bool) else value
    what = f'a name, a number up to {HIGHEST_ID}, or both user and group like "1000:1000"'
    if not isinstance(text, str) or not _USER.fullmatch(text):
        raise _must(name, what, value)
    if any(part.isdecimal() and (len(part) > 10 or int(part) > HIGHEST_ID) for part in text.split(":")):
        raise _must(name, what, value)
    return f"{text}:{text}" if text.isdecimal() else text


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
    if not isinstance(names, list | tuple) or not names:
        raise _must(name, 'the name of a network of the engine, or a list of them, or "none"', value)
    for one in names:
        if not isinstance(one, str) or not _NETWORK.fullmatch(one):
            raise _must(name, 'the name of a network of the engine, or a list of them, or "none"', value)
        if len(names) > 1 and one in ALONE:
            raise _wrong(f'driver_options: network = "{one}" cannot be one of several')
    _once(name, names)
    return tuple(names)


def _once(name: str, texts: Iterable[str]) -> None:
    for text, count in Counter(texts).items():
        if count > 1:
            raise _wrong(f"driver_options: {name} has {text!r} {count} times")


def _capabilities(name: str, value: object) -> tuple[str, ...]:
    texts = tuple(one.upper().removeprefix("CAP_") for one in _texts(name, value))
    for one in texts:
        if one not in CAPABILITIES:
            hint = did_you_mean(one, CAPABILITIES) or '; it is a list like ["NET_BIND_SERVICE"]'
            raise _wrong(f'driver_options: {name} has "{one}", which is no capability{hint}')
    _once(name, texts)
    return texts


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
    mounts = tuple(_mount(name, one) for one in _texts(name, value))
    _once(name, (one.target for one in mounts))
    return mounts


def _mount(name: str, text: str) -> Mount:
    source, _, rest = text.partition(":")
    target, _, mode = rest.partition(":")
    if not (source.startswith("/") and target.startswith("/") and mode in ("", "ro", "rw")):
        raise _must(name, 'a list of absolute paths like ["/srv/data:/data", "/srv/out:/out:rw"]', [text])
    source, target = (f"/{posixpath.normpath(one).lstrip('/')}" for one in (source, target))
    if target == "/" or any(f"{target}/".startswith(f"{one}/") for one in KERNEL_PATHS):
        raise _wrong(f"driver_options: {name} may not have {target} as a target, which is the engine's own")
    return Mount(source, target, mode == "rw")


_CHECKS: Mapping[str, Callable[[str, Any], Any]] = {
    "pull": _one_of("missing", "never", "always"),
    "pull_timeout": _seconds,
    "network": _networks,
    "user": _user,
    "init": _flag,
    "read_only": _flag,
    "tmpfs": _whole(0, "MB"),
    "tmp_exec": _flag,
    "memory": _one_of("default", "unlimited"),
    "max_processes": _unlimited(2, "processes and threads"),
    "max_files": _unlimited(16, "open files"),
    "ulimits": _ulimits,
    "capabilities": _capabilities,
    "new_privileges": _flag,
    "volumes": _flag,
    "mounts": _mounts,
    "entrypoint": _texts,
    "cwd": _path,
    "prepared": _whole(0, "containers", MAX_PREPARED),
}
