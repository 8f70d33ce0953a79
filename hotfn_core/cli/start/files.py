"""What `hotfn init` writes, by runtime."""

from __future__ import annotations

from collections.abc import Mapping
from importlib import resources
from importlib.util import find_spec
from pathlib import Path
from typing import NamedTuple

from hotfn_core.errors import ConfigError

HELPER = "hotfn_function.py"


class Runtime(NamedTuple):
    """How functions of one kind are run: the words of their command, and the formats that they speak, the usual first.
    `next` is what has to be done before the first call, and `note` is a line about that for the function file."""

    command: tuple[str, ...]
    formats: tuple[str, ...]
    executable: tuple[str, ...] = ()
    next: tuple[str, ...] = ()
    note: str = ""


RUNTIMES: Mapping[str, Runtime] = {
    "python": Runtime(("python3", "function.py"), ("http", "json", "default")),
    "node": Runtime(("node", "function.js"), ("http",)),
    "shell": Runtime(("sh", "function.sh"), ("default",), executable=("function.sh",)),
    "c": Runtime(("./function",), ("http",), next=("make",), note="# make builds it, before the first call.\n"),
}


def files(name: str, runtime: str, spoken: str) -> dict[str, bytes]:
    """Return the files of a new function by their names. Raises ConfigError."""
    template = resources.files(__package__) / "templates" / runtime
    found = {one.name: one.read_bytes() for one in template.iterdir() if one.is_file()}  # pip compiles what is Python
    if runtime == "python":
        found[HELPER] = _helper()
    found["func.yaml"] = _func_yaml(name, RUNTIMES[runtime], spoken).encode()
    return dict(sorted(found.items()))


def _helper() -> bytes:
    spec = find_spec(HELPER.removesuffix(".py"))
    if spec is None or spec.origin is None:
        raise ConfigError(
            "a function in Python needs the distribution hotfn-function (plugins/hotfn-function of hotfn), which is "
            "not installed: pip install plugins/hotfn-function"
        )
    return Path(spec.origin).read_bytes()


def _func_yaml(name: str, runtime: Runtime, spoken: str) -> str:
    quoted = '"null"' if name == "null" else name  # every other name is text in this file, whatever it looks like
    return f"""\
# What hotfn knows of the function: hotfn test, hotfn call, hotfn run, hotfn bench. docs/configuration.md has all keys.
name: {quoted}
version: 0.0.1
format: {spoken}
# As a container: docker build -t {name}:0.0.1 . && hotfn test --image {name}:0.0.1
# For good: remove the lines of driver, driver_options and cmd.
driver: local
driver_options: {{cwd: .}}
{runtime.note}cmd: {" ".join(runtime.command)}

tests:
- name: greets the world
  out: hello world
- name: greets whoever is named
  in: hotfn
  out: hello hotfn
"""
