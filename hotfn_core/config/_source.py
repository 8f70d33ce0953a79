"""One configuration file: reading it within bounds, and turning what it says into functions or located errors."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from hotfn_core.errors import ConfigError, did_you_mean
from hotfn_core.model import FIELD_NAMES, FunctionSpec

from .durations import parse_duration

MAX_BYTES = 256 * 1024
DURATIONS = ("timeout", "idle_timeout", "freeze_after", "queue_timeout", "start_timeout", "stop_grace", "max_age")

Lines = Mapping[str, int]
"""Where each key stands, counted from 1; a key whose line is not known is left out."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Config:
    """What one file says.

    `functions`: by name, in the order of the file. `tests`: the tests that a `func.yaml` brings, by function.
    `notes`: what the file says that hotfn reads and does not use, for people. `max_starting`: by driver, as Manager
    takes it.
    """

    path: Path
    functions: Mapping[str, FunctionSpec]
    tests: Mapping[str, tuple[Mapping[str, Any], ...]] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    max_starting: Mapping[str, int] = field(default_factory=dict)

    def function(self, name: str = "") -> FunctionSpec:
        """Return the function called `name` or "app/name"; without a name the only one there is.

        Raises ConfigError when there is none, or several and no name.
        """
        names = list(self.functions)
        if not name and len(names) == 1:
            return self.functions[names[0]]
        if not name:
            raise ConfigError(f"{self.path}: which function? It has {', '.join(names) or 'none'}", field="name")
        for short, spec in self.functions.items():
            if name in {short, spec.full_name}:
                return spec
        known = f"; it has {', '.join(names)}" if names else "; it has none"
        raise ConfigError(f'{self.path}: no function "{name}"{did_you_mean(name, names) or known}', field="name")


@dataclass(frozen=True, slots=True)
class Source:
    """A file's path and text."""

    path: Path
    text: str

    @classmethod
    def read(cls, path: Path) -> Source:
        """Read at most `MAX_BYTES` of UTF-8. Raises ConfigError with what is wrong with the file."""
        try:
            with path.open("rb") as file:
                data = file.read(MAX_BYTES + 1)
            text = data.decode("utf-8-sig")
        except OSError as error:
            raise ConfigError(f"{path}: cannot be read: {error.strerror}") from None
        except UnicodeDecodeError as error:
            raise ConfigError(f"{path}: is not UTF-8 text (byte {error.start})") from None
        if len(data) > MAX_BYTES:
            raise ConfigError(f"{path}: is larger than {MAX_BYTES} bytes, which no configuration is")
        return cls(path, text)

    def error(self, message: str, *, key: str = "", line: int | None = None, field: str = "") -> ConfigError:
        """Return a ConfigError whose message starts with the file, the line and the key."""
        place = f"{self.path}:{line}" if line else str(self.path)
        return ConfigError(f"{place}: {key}: {message}" if key else f"{place}: {message}", field=field or key)

    def unknown(self, key: str, known: tuple[str, ...], *, prefix: str = "", line: int | None = None) -> ConfigError:
        """Return the error for a key that means nothing, with the nearest one that does."""
        hint = did_you_mean(key, known)
        if not hint and "driver_options" in known:
            hint = "; what belongs to a driver goes into driver_options"
        return self.error(f"unknown key{hint}", key=prefix + key, line=line, field=key)

    def spec(self, fields: Mapping[str, Any], *, prefix: str = "", lines: Lines | None = None) -> FunctionSpec:
        """Make a function of the fields of one table. Errors name `prefix` + the key, and its line."""
        lines = lines or {}
        for key in fields:
            if key not in FIELD_NAMES:
                raise self.unknown(key, FIELD_NAMES, prefix=prefix, line=lines.get(key))
        try:
            return FunctionSpec(**{key: self._value(key, value) for key, value in fields.items()})
        except ConfigError as error:
            key = error.field
            raise self.error(
                error.message, key=prefix + key if key else prefix.rstrip("."), line=lines.get(key), field=key
            ) from None

    def _value(self, key: str, value: Any) -> Any:
        if key in DURATIONS and isinstance(value, str):
            try:
                return parse_duration(value)
            except ValueError as error:
                raise ConfigError(str(error), field=key) from None
        if key == "driver_options" and isinstance(value, Mapping):
            return self._options(value)
        return value

    def _options(self, options: Mapping[str, Any]) -> Mapping[str, Any]:
        # A working directory is meant as seen from the file that names it, wherever hotfn is started.
        cwd = options.get("cwd")
        return {**options, "cwd": str(self.path.parent.absolute() / cwd)} if isinstance(cwd, str) else options
