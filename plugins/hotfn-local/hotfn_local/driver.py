"""The driver `local`: starts copies of functions as subprocesses."""

from __future__ import annotations

import asyncio
import itertools
import os
from collections.abc import Mapping, Sequence
from typing import ClassVar

from hotfn_core.driver import Container, ContainerSpec, Driver, Receiver
from hotfn_core.errors import ConfigError, DriverError, DriverUnavailable
from hotfn_core.model import FunctionSpec

from . import environment, limits, options, program, reaper
from .guardian import Guardian, new_runtime
from .order import make_order
from .process import LocalContainer
from .spawn import Child, Order, spawn


class LocalDriver(Driver):
    """Copies are subprocesses of this process, each the leader of a session and a process group of its own.

    `memory` is enforced as a limit of the address space of each process (RLIMIT_AS); `cpus` is not.
    """

    name: ClassVar[str] = "local"
    enforces: ClassVar[frozenset[str]] = frozenset({"memory"})
    freezes: ClassVar[bool] = True

    def __init__(self) -> None:
        self._numbers = itertools.count(1)
        self._alive: set[LocalContainer] = set()
        self._guardian: Guardian | None = None
        self._inherited: Mapping[str, str] = {}

    @property
    def guardian(self) -> int | None:
        """The pid of the guardian process, None while there is none."""
        return self._guardian.pid if self._guardian else None

    async def open(self) -> None:
        try:
            os.close(os.pidfd_open(os.getpid()))
            self._guardian = Guardian(new_runtime())
            self._inherited = environment.inherited(os.environ)
        except (AttributeError, OSError) as error:
            raise DriverUnavailable('the driver "local" needs Linux 5.4 or newer, with /proc mounted') from error

    def validate(self, spec: FunctionSpec) -> None:
        options.parse(spec.driver_options)
        if not spec.command:
            hint = "; `image` is for drivers of containers" if spec.image else ""
            raise ConfigError(f'the driver "local" needs `command`, a program and its arguments{hint}', field="command")
        if reaper.MARKER in spec.env:
            raise ConfigError(f'env: {reaper.MARKER} is reserved by the driver "local"', field="env")

    def describe(self) -> str:
        prlimit = limits.find_prlimit() or "Python, as there is no prlimit"
        return f"Linux {os.uname().release}, limits set by {prlimit}"

    def confinement(self, spec: FunctionSpec) -> Sequence[str]:
        """Name the options that hold a copy back: limits other than `memory`, and the account it runs as."""
        asked = {name: spec.driver_options.get(name) for name in options.CONFINING}
        return [f"{name} {value}" for name, value in asked.items() if value is not None]

    async def launch(self, spec: ContainerSpec, receiver: Receiver) -> Container:
        """Start one copy. Does not await, so it cannot be cancelled half-way."""
        if self._guardian is None:
            raise DriverUnavailable('the driver "local" is not open')
        copy = next(self._numbers)
        order = make_order(spec, self._inherited, f"{self._guardian.runtime}:{copy}")
        child, line = self._start(self._guardian, spec.command[0], order, copy)
        return self._container(self._guardian, child, line, receiver)

    def _start(self, guardian: Guardian, name: str, order: Order, copy: int) -> tuple[Child, int]:
        """Start a process that the guardian knows of. It is entered before it exists: see `Guardian._strays`."""
        guardian.ensure()
        line = guardian.table.enter(copy)
        since = reaper.ticks()
        try:
            child = spawn(order)
        except (OSError, ValueError) as error:
            guardian.table.leave(line)
            raise _explained(name, order.program, error) from error
        guardian.table.started(line, copy, child.process.pid, since)
        return child, line

    def _container(self, guardian: Guardian, child: Child, line: int, receiver: Receiver) -> Container:
        def ended() -> None:
            self._alive.discard(container)
            guardian.table.leave(line)
            guardian.copy_ended()

        container = LocalContainer(asyncio.get_running_loop(), child, receiver, ended)
        self._alive.add(container)
        return container

    async def sweep(self) -> int:
        """Kill the processes that carry the marker of a runtime that has ended. Looks at all of /proc, in a thread."""
        return await asyncio.to_thread(reaper.kill_marked, _of_dead_runtimes)

    async def aclose(self) -> None:
        """Send the guardian home. Copies that live against the contract are killed."""
        guardian, self._guardian = self._guardian, None
        if guardian is None:
            return
        try:
            await asyncio.gather(*(container.stop(0) for container in self._alive))
        finally:
            await guardian.close()


def _explained(name: str, path: str, error: OSError | ValueError) -> DriverError:
    if isinstance(error, OSError):
        return program.explain(name, path, error)
    return DriverError(f'cannot start "{name}": {error}')  # NUL bytes, lone surrogates: what no environment can hold


def _of_dead_runtimes(found: list[reaper.Marked]) -> list[reaper.Marked]:
    return [one for one in found if reaper.is_dead(one.runtime)]
