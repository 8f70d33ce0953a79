"""Descriptions of functions in files: `functions.toml`, and the `func.yaml` of IronFunctions and Fn.

    config = load_config("functions.toml")
    reply = await manager.call(config.function("lines"), b"...")

Every error names the file, the line where it is known, and the key. Nothing here starts or contacts anything, and
nothing is read from the environment.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from hotfn_core.errors import ConfigError

from ._source import Config, Source
from .durations import parse_duration

__all__ = ["DISCOVERED", "Config", "find_config", "load_config", "parse_duration", "read_config"]

DISCOVERED = ("functions.toml", "func.yaml", "func.yml")
"""The files that are looked for when none is named, in this order."""


def find_config(directory: str | Path = ".") -> Path | None:
    """Return the first of `functions.toml`, `func.yaml`, `func.yml` in `directory`, or None."""
    for name in DISCOVERED:
        path = Path(directory, name)
        if path.is_file():
            return path
    return None


def load_config(path: str | Path) -> Config:
    """Read and validate a file. Raises ConfigError for the first thing that is wrong with it."""
    config, problems = read_config(path)
    if problems:
        raise next(iter(problems.values()))
    return config


def read_config(path: str | Path) -> tuple[Config, Mapping[str, ConfigError]]:
    """Read a file and return what is right in it, and what is wrong with each of its other functions, by name.

    Raises ConfigError when the file as a whole cannot be understood.
    """
    source = Source.read(Path(path))
    if source.path.suffix == ".toml":
        from .functions_toml import parse
    elif source.path.suffix in {".yaml", ".yml", ".json"}:  # every JSON text is YAML: func.json works too
        from .func_yaml import parse
    else:
        raise source.error("a configuration is a .toml file (functions.toml) or a .yaml file (func.yaml)")
    return parse(source)
