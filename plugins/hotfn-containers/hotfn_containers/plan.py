"""What a container of a function is to be like, the same for every engine."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field

from hotfn_core.driver import ContainerSpec

from .options import Options

MB = 1024 * 1024

DEFAULT_MEMORY = 128
"""MB that a copy may use when its function names no memory, as in Fn."""

MAX_PREPARED = 32
"""Containers of one function that may be kept ready ahead."""


@dataclass(frozen=True)
class Plan:
    """One container to be made. `memory` is in MB and bounds swap too, `cpus` in cores; None is no limit."""

    function: str
    image: str
    command: tuple[str, ...]
    memory: int | None
    cpus: float | None
    options: Options
    env: Mapping[str, str] = field(repr=False)

    def ulimits(self) -> dict[str, int]:
        """Return the limits of each process by their names in setrlimit, without RLIMIT_ and in lower case."""
        limits = dict(self.options.ulimits)
        if self.options.max_files is not None:
            limits["nofile"] = self.options.max_files
        return limits

    def key(self) -> str:
        """Name all that this container is made of: two of one key may take each other's place."""
        facts = [self.function, self.image, self.command, self.memory, self.cpus, repr(self.options), dict(self.env)]
        return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()


def make_plan(spec: ContainerSpec, options: Options) -> Plan:
    """Turn what hotfn asks for into a plan."""
    memory = spec.memory
    if memory is None and options.memory == "default":
        memory = DEFAULT_MEMORY
    return Plan(spec.function, spec.image, spec.command, memory, spec.cpus, options, spec.env)


def confinement(plan: Plan) -> list[str]:
    """Say what the container is confined to, for people: the strict side first."""
    options = plan.options
    lines = [f"memory {plan.memory} MB, swap included" if plan.memory else "memory unlimited"]
    lines.append(f"cpus {plan.cpus:g}" if plan.cpus else "cpus unlimited")
    lines.append(f"processes and threads {options.max_processes or 'unlimited'}")
    lines.append(f"open files {options.max_files or 'as the engine has it'}")
    lines.append(f"network {' or '.join(options.network)}")
    lines.append("root read-only" if options.read_only else "root writable")
    lines.append(f"/tmp {options.tmpfs} MB" if options.tmpfs else "no /tmp of its own")
    lines.append(f"user {options.user}")
    lines.append(f"capabilities {', '.join(options.capabilities) or 'none'}")
    lines.append("new privileges possible" if options.new_privileges else "no new privileges")
    lines.append("with an init process" if options.init else "without an init process")
    lines += [f"sees {one.source} at {one.target}{', writable' if one.writable else ''}" for one in options.mounts]
    return lines
