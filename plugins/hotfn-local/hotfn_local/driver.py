"""The driver `local`: starts copies of functions as subprocesses."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import ClassVar

from hotfn_core.driver import Container, ContainerSpec, Driver, Receiver
from hotfn_core.errors import ConfigError, DriverError, DriverUnavailable
from hotfn_core.model import Exit, FunctionSpec

from . import environment, limits, options, program, reaper
from .guardian import Entry, Guardian, new_runtime
from .order import make_order
from .process import LocalContainer
from .spawn import Child, Order, Start
from .zygote import command
from .zygote.pool import Zygotes

CALM = 0.02
"""Seconds since the last start was over, after which one is by itself. The loop does all else between two in a row."""


class LocalDriver(Driver):
    """Copies are subprocesses of this process, each the leader of a session and a process group of its own.

    `memory` is enforced as a limit of the address space of each process (RLIMIT_AS); `cpus` is not.
    """

    name: ClassVar[str] = "local"
    enforces: ClassVar[frozenset[str]] = frozenset({"memory"})
    freezes: ClassVar[bool] = True
    max_starting = 2
    """One that the thread starts and one that is made ready for it: more are not faster and disturb hot copies more."""

    def __init__(self) -> None:
        self._threads = ThreadPoolExecutor(1, "hotfn-local")  # runs when it is first needed
        self._starting = 0
        self._started_at = 0.0
        self._alive: set[LocalContainer] = set()
        self._guardian: Guardian | None = None
        self._zygotes: Zygotes | None = None
        self._inherited: Mapping[str, str] = {}

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
            self._inherited = environment.inherited(os.environ)
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
            await self._zygotes.prepare(make_order(spec, self._inherited))

    async def launch(self, spec: ContainerSpec, receiver: Receiver) -> Container:
        """Start one copy. The guardian knows of it before it exists: see `reaper.Guardian._strays`."""
        if self._guardian is None or self._zygotes is None:
            raise DriverUnavailable('the driver "local" is not open')
        zygotes = self._zygotes
        order = make_order(spec, self._inherited)
        if order.zygote is not None:
            return self._container(zygotes, *await zygotes.start(order), receiver)
        entry = self._guardian.enter()
        try:
            child, cancelled = await self._start(order, entry)
        except BaseException as error:  # whatever it was, there is no such copy
            entry.cancelled()
            if isinstance(error, OSError | ValueError):
                raise _explained(spec.command[0], order.program, error) from error
            raise
        if cancelled:
            await self._container(zygotes, child, entry, _Nobody()).stop(0)
            raise asyncio.CancelledError
        return self._container(zygotes, child, entry, receiver)

    async def _start(self, order: Order, entry: Entry) -> tuple[Child, bool]:
        """Start the process. Returns whether that was cancelled, which comes too late, with it."""
        start = Start(order, entry.marker)
        try:
            pid, cancelled = await self._run(start)
            child = start.child(pid)
        finally:
            start.close()
        entry.started(child.pid)
        return child, cancelled

    async def _run(self, start: Start) -> tuple[int, bool]:
        """Return the pid of the process, and whether this was cancelled.

        One that is by itself, or beside no copy that could have a call, is started here, as nobody waits for long and
        a thread would double the time. Of several in a row the thread starts all: calls go on meanwhile.
        """
        calm = not self._starting and (not self._alive or time.monotonic() - self._started_at > CALM)
        self._starting += 1
        try:
            if calm:
                return start.run(), False
            running = asyncio.get_running_loop().run_in_executor(self._threads, start.run)
            cancelled = await _over(running)
            return running.result(), cancelled
        finally:
            self._starting -= 1
            self._started_at = time.monotonic()

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
            self._threads.shutdown(wait=False)  # nothing is under way any more: they end by themselves


def _explained(name: str, path: str, error: OSError | ValueError) -> DriverError:
    if isinstance(error, OSError):
        return program.explain(name, path, error)
    return DriverError(f'cannot start "{name}": {error}')  # NUL bytes, lone surrogates: what no environment can hold


def _of_dead_runtimes(found: list[reaper.Marked]) -> list[reaper.Marked]:
    return [one for one in found if reaper.is_dead(one.runtime)]


async def _over(running: asyncio.Future[int]) -> bool:
    """Wait until it is over, well or badly. Returns whether somebody wanted to stop that; it cannot be stopped."""
    cancelled = False
    while not running.done():
        try:
            await asyncio.wait([running])
        except asyncio.CancelledError:
            cancelled = True
    return cancelled


class _Nobody:
    """Whom a copy tells that nobody wants any more."""

    def stdout_received(self, data: bytes) -> None: ...

    def stderr_received(self, data: bytes) -> None: ...

    def stdout_eof(self) -> None: ...

    def exited(self, exit: Exit) -> None: ...
