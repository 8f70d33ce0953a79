"""The environment variables that hotfn itself gives to a copy. They are set last, so nobody can override them."""

from __future__ import annotations

from collections.abc import Mapping

from .model import FunctionSpec
from .protocol import IOProtocol

RESERVED = frozenset({"FN_FORMAT", "FN_APP_NAME", "FN_PATH", "FN_FN_ID", "FN_TYPE", "FN_MEMORY", "FN_CPUS"})


def copy_environment(spec: FunctionSpec, protocol: IOProtocol, per_call: Mapping[str, str]) -> dict[str, str]:
    """Return the whole environment of one copy; `per_call` is what a cold protocol adds for its one call."""
    env = {**spec.env, **per_call, **protocol.environment(spec)}
    for name in RESERVED.intersection(env):  # also one that hotfn leaves out: it would pass for hotfn's word
        del env[name]
    return {**env, **reserved(spec)}


def reserved(spec: FunctionSpec) -> dict[str, str]:
    """Return the variables of the Fn contract that describe the function."""
    env = {
        "FN_FORMAT": spec.format,
        "FN_APP_NAME": spec.app,
        "FN_PATH": f"/{spec.name}",
        "FN_FN_ID": spec.identity[:26],
        "FN_TYPE": "sync",
    }
    if spec.memory is not None:
        env["FN_MEMORY"] = str(spec.memory)
    if spec.cpus is not None:
        env["FN_CPUS"] = f"{round(spec.cpus * 1000)}m"
    return env
