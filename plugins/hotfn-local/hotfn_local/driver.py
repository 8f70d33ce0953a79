"""The driver `local`: starts copies of functions as subprocesses."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Sequence
from pathlib import Path
from typing import ClassVar

from hotfn_core.driver import Container, ContainerSpec, Receiver, SharingDriver
from hotfn_core.errors import ConfigError, DriverError, DriverUnavailable
from hotfn_core.model import Exit, FunctionSpec

from . import environment, limits, options, program, reaper
from .guardian import Entry, Guardian, new_runtime
from .order import Orders
from .process import LocalContainer
from .spawn import Child, Order
from .starter import Starter
from .zygote import command
from .zygote.pool import Zygotes


class LocalDriver(SharingDriver):
    """Copies are subprocesses of this process, each the leader of a session and a process group of its own.

    `memory` is enforced as a limit of the address space of each process (RLIMIT_AS); `cpus` is not.
    """

    name: ClassVar[str] = "local"
    enforces: ClassVar[frozenset[str]] = frozenset({"memory"})
    freezes: ClassVar[bool] = True
    max_starting = 16
    """Plain starts go on two at a time all the same (`starter.AT_ONCE`); the others may wait for imports of zygotes."""

    def __init__(self) -> None:
        self._starter = Starter()
        self._alive: set[LocalContainer] = set()
        self._guardian: Guardian | None = None
        self._zygotes: Zygotes | None = None
        self._orders = Orders({})

    @property
    def guardian(self) -> int | None:
        """The pid of the guardian process, None while there is none."""
        return self._guardian.pid if self._guardian else None

    @property
    def zygotes(self) -> list[int]:
        """The pids of the zygotes."""
        return self._zygotes.pids if self._zygotes else []

    async def open(self) -> None:
        try:
            os.close(os.pidfd_open(os.getpid()))
            self._guardian = Guardian(new_runtime())
            self._zygotes = Zygotes(self._guardian)
            self._orders = Orders(environment.inherited(os.environ))
        except (AttributeError, OSError) as error:
            raise DriverUnavailable('the driver "local" needs Linux 5.4 or newer, with /proc mounted') from error

    def validate(self, spec: FunctionSpec) -> None:
        wanted = options.parse(spec.driver_options)
        if not spec.command:
            hint = "; `image` is for drivers of containers" if spec.image else ""
            raise ConfigError(f'the driver "local" needs `command`, a program and its arguments{hint}', field="command")
        if reaper.MARKER in spec.env:
            raise ConfigError(f'env: {reaper.MARKER} is reserved by the driver "local"', field="env")

        if wanted.zygote is not None:
            command.parse(spec.command)

    def describe(self) -> str:
        prlimit = limits.find_prlimit() or "Python, as there is no prlimit"
        return f"Linux {os.uname().release}, limits set by {prlimit}"

    def confinement(self, spec: FunctionSpec) -> Sequence[str]:
        """Name the options that hold a copy back: limits other than `memory`, and the account it runs as."""
        asked = {name: spec.driver_options.get(name) for name in options.CONFINING}
        return [f"{name} {value}" for name, value in asked.items() if value is not None]

    async def prepare(self, spec: ContainerSpec) -> None:
        """Have the zygote of the function ready, where it asks for one."""
        if self._zygotes and spec.options.get("zygote"):
            await self._zygotes.prepare(self._orders.make(spec))

    async def launch(self, spec: ContainerSpec, receiver: Receiver) -> Container:
        """Start one copy. The guardian knows of it before it exists: see `reaper.Guardian._strays`."""
        if self._guardian is None or self._zygotes is None:
            raise DriverUnavailable('the driver "local" is not open')
        zygotes = self._zygotes
        order = self._orders.make(spec)
        if spec.shared and order.user is not None:
            _hand_over(spec.shared, order.user)
        if order.zygote is not None:
            return self._container(zygotes, *await zygotes.start(order), receiver)
        entry = self._guardian.enter()
        try:
            child, cancelled = await self._starter.start(order, entry, alone=not self._alive)
        except BaseException as error:  # whatever it was, there is no such copy
            entry.cancelled()
            if isinstance(error, OSError | ValueError):
                raise self._explained(spec, order, error) from error
            raise
        if cancelled:
            await self._container(zygotes, child, entry, _Nobody()).stop(0)
            raise asyncio.CancelledError
        return self._container(zygotes, child, entry, receiver)

    def _explained(self, spec: ContainerSpec, order: Order, error: OSError | ValueError) -> DriverError:
        name = spec.command[0]
        if not isinstance(error, OSError):
            return DriverError(f'cannot start "{name}": {error}')  # NULs, lone surrogates: what no environment can hold
        self._orders.forget(spec)
        try:
            self._orders.make(spec)  # it knows best what is wrong with a program that is not there any more
        except DriverError as known:
            return known
        return program.explain(name, order.program, error)

    def _container(self, zygotes: Zygotes, child: Child, entry: Entry, receiver: Receiver) -> Container:
        def ended() -> None:
            self._alive.discard(container)
            entry.ended()
            zygotes.done(child)

        container = LocalContainer(asyncio.get_running_loop(), child, receiver, ended)
        self._alive.add(container)
        return container

    async def sweep(self) -> int:
        """Kill the processes that carry the marker of a runtime that has ended. Looks at all of /proc, in a thread."""
        return await asyncio.to_thread(reaper.kill_marked, _of_dead_runtimes)

    async def aclose(self) -> None:
        """End the zygotes and send the guardian home. Copies that live against the contract are killed."""
        guardian, self._guardian = self._guardian, None
        if guardian is None or self._zygotes is None:
            return
        try:
            await asyncio.gather(*(container.stop(0) for container in self._alive))
            await self._zygotes.aclose()
        finally:
            await guardian.close()
            self._starter.close()


def _hand_over(shared: str, user: int) -> None:
    """Give a directory to the account that a copy runs as, and let it through to there."""
    try:
        Path(shared).parent.chmod(0o711)
        os.chown(shared, user, -1)
    except OSError as error:
        raise DriverError(f"cannot give {shared} to the account {user}: {error.strerror}") from error


def _of_dead_runtimes(found: list[reaper.Marked]) -> list[reaper.Marked]:
    return [one for one in found if reaper.is_dead(one.runtime)]


class _Nobody:
    """Whom a copy tells that nobody wants any more."""

    def stdout_received(self, data: bytes) -> None: ...

    def stderr_received(self, data: bytes) -> None: ...

    def stdout_eof(self) -> None: ...

    def exited(self, exit: Exit) -> None: ...
