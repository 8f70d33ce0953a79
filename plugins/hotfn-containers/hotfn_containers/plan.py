"""What a container of a function is to be like, the same for every engine."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace

from hotfn_core.driver import ContainerSpec
from hotfn_core.errors import ConfigError

from .options import Mount, Options
from .sharing import SHARED_AT

MB = 1024 * 1024

DEFAULT_MEMORY = 128
"""MB that a copy may use when its function names no memory, as in Fn."""

LEAST_MEMORY = 6
"""MB without which no container starts; Docker refuses less."""

DEFAULT_TMPFS = 64
"""MB of /tmp, or half of the memory where that is less: what is in /tmp is memory."""


@dataclass(frozen=True)
class Plan:
    """One container to be made. `memory` is in MB and bounds swap too, `cpus` in cores; None is no limit. `network` is
    the one of the function's networks that this container gets, `tmpfs` the size of /tmp in MB, 0 for none. `shared` is
    a directory of this machine that the container alone has, at SHARED_AT, "" for none."""

    function: str
    image: str
    command: tuple[str, ...]
    memory: int | None
    cpus: float | None
    options: Options
    network: str
    tmpfs: int
    best_effort: bool
    env: Mapping[str, str] = field(repr=False)
    shared: str = ""

    @property
    def mounts(self) -> tuple[Mount, ...]:
        """All that the container sees of the engine's machine."""
        return self.options.mounts + ((Mount(self.shared, SHARED_AT, writable=True),) if self.shared else ())

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
    """Turn what hotfn asks for into a plan. What is made ready ahead cannot have a directory that is made later."""
    if spec.shares or spec.shared:
        options = replace(options, prepared=0)
    memory = memory_of(spec.memory, options)
    return Plan(
        function=spec.function,
        image=spec.image,
        command=spec.command,
        memory=memory,
        cpus=spec.cpus,
        options=options,
        network=options.network[0],
        tmpfs=tmpfs_of(memory, options),
        best_effort=spec.best_effort,
        env=spec.env if memory is None else {"FN_MEMORY": str(memory), **spec.env},
        shared=spec.shared,
    )


def memory_of(asked: int | None, options: Options) -> int | None:
    """Return the MB that a copy may use, None for no limit. `asked` is what its function says."""
    return DEFAULT_MEMORY if asked is None and options.memory == "default" else asked


def tmpfs_of(memory: int | None, options: Options) -> int:
    """Return the MB of /tmp, 0 for none."""
    if options.tmpfs is not None:
        return options.tmpfs
    return DEFAULT_TMPFS if memory is None else min(DEFAULT_TMPFS, max(1, memory // 2))


def check_memory(asked: int | None, options: Options) -> None:
    """Raise ConfigError for memory with which no copy could live."""
    memory = memory_of(asked, options)
    if memory is None:
        return
    if memory < LEAST_MEMORY:
        raise ConfigError(
            f"memory is {memory} MB: no container starts with less than {LEAST_MEMORY} MB, and few programs",
            field="memory",
        )
    if tmpfs_of(memory, options) > memory:
        raise ConfigError(
            f"driver_options: tmpfs is {options.tmpfs} MB, more than memory, {memory} MB: what is written to /tmp is "
            f"memory, so the copy would be killed before /tmp is full; raise memory or lower tmpfs",
            field="driver_options",
        )


def confinement(asked: int | None, options: Options) -> Iterator[str]:
    """Say what a copy is confined to, for people. `asked` is the memory that its function says."""
    if asked is None:
        memory = memory_of(asked, options)
        yield f"memory {memory} MB, swap included" if memory else "memory unlimited"
    yield f"network {' or '.join(options.network)}"
    yield "root read-only" if options.read_only else "root writable"
    tmpfs = tmpfs_of(memory_of(asked, options), options)
    runs = ", programs in it may run" if options.tmp_exec else ""
    yield f"/tmp {tmpfs} MB{runs}" if tmpfs else "no /tmp of its own"
    yield f"user {options.user}"
    yield f"capabilities {', '.join(options.capabilities) or 'none'}"
    yield "new privileges possible" if options.new_privileges else "no new privileges"
    yield f"processes and threads {_number(options.max_processes)}"
    yield f"open files {_number(options.max_files, 'as the engine has it')}"
    for name, value in options.ulimits.items():
        yield f"{name} {_number(value if value >= 0 else None)}"
    if not options.init:
        yield "no init process"
    if options.volumes:
        yield "volumes of the image"
    for one in options.mounts:
        yield f"sees {one.source} at {one.target}{', writable' if one.writable else ''}"


def _number(value: int | None, none: str = "unlimited") -> str:
    return none if value is None else str(value)
