"""Manager: the public entry. Finds or makes the supervisor of a function, owns the drivers and the shutdown."""

from __future__ import annotations

import asyncio
import itertools
import logging
from collections.abc import Coroutine, Iterable, Iterator, Mapping
from types import TracebackType
from typing import Any, Self

from .admission import check_function
from .arguments import CallIds, body_bytes, check_texts, checked_deadline, checked_id, time_left, too_large
from .errors import CallError, DriverError, HotfnError, ShuttingDown, UnknownFunction, did_you_mean, said
from .failures import closing, unavailable
from .loops import clock_and_dice
from .model import Call, FunctionSpec, HeadersLike, Reply, header_pairs, new_tuple
from .observers import Observers
from .opening import OpenDrivers
from .preparing import Preparing
from .protocol import IOProtocol
from .registry import Registry
from .stats import FunctionStats
from .supervisor import Supervisor
from .timekeeper import Timekeeper

log = logging.getLogger("hotfn")

CLOSE_SLACK = 30.0  # seconds beyond the longest stop_grace after which aclose() gives up on an engine


class Manager:
    """Calls functions and keeps them hot.

        async with Manager() as manager:
            reply = await manager.call(spec, b"hello")

    `plugins` are objects or modules with hooks, in addition to the installed ones, which `entry_points=False` leaves
    out. `max_starting`, by driver: how many copies it starts at a time, in place of its own number. Its methods are for
    tasks and hooks of the loop it was entered on; another thread needs `asyncio.run_coroutine_threadsafe`.
    """

    def __init__(
        self,
        *,
        plugins: Iterable[object] = (),
        entry_points: bool = True,
        max_starting: Mapping[str, int] | None = None,
    ) -> None:
        self.registry = Registry(plugins, entry_points=entry_points)
        for problem in self.registry.problems:
            log.warning("%s", problem.message)
        self.observers = Observers(self.registry)
        self.copies: Iterator[int] = itertools.count(1)
        self._specs: dict[str, FunctionSpec] = {}
        self._supervisors: dict[str, Supervisor] = {}  # by identity
        self._leaving: dict[Supervisor, None] = {}  # older versions of registered functions, draining; in order
        self._totals: dict[str, FunctionStats] = {}  # of dropped supervisors of registered functions
        self._drivers = OpenDrivers(self.registry, max_starting)
        self.turns, self.places = self._drivers.turns, self._drivers.places
        self._preparing = Preparing()
        self._protocols: dict[str, IOProtocol] = {}
        self._tasks: set[asyncio.Task[Any]] = set()
        self._closing = self._closed = False
        self._empty: asyncio.Event | None = None
        self._ending = asyncio.Lock()
        self._ids = CallIds()

    # ---- life

    async def __aenter__(self) -> Self:
        """Bind the manager to the running loop. Once: a closed manager is not opened again."""
        if self._empty is not None or self._closed:
            raise RuntimeError("a Manager is entered only once")
        self.loop = asyncio.get_running_loop()
        self.clock, self.dice = clock_and_dice(self.loop)
        self.timekeeper = Timekeeper(self.loop, self.clock)
        self._empty = asyncio.Event()
        return self

    async def __aexit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.aclose()

    def time(self) -> float:
        """Return the manager's clock in seconds: what the deadline of a call is measured by."""
        return self.clock()

    async def drain(self, limit: float | None = None, *, serve_waiting: bool = True) -> None:
        """Take no more calls (`ShuttingDown`) and return when every copy is gone.

        Waiting calls are served, or failed at once without `serve_waiting`. After `limit` seconds, if any, waiting and
        running ones end and their copies are killed. Cancelling it leaves the manager draining.
        """
        self._check_loop()
        self._closing = True
        for supervisor in self._all():
            supervisor.drain(limit, serve_waiting=serve_waiting)
        assert self._empty is not None
        while self._supervisors or self._leaving:
            self._empty.clear()
            await self._empty.wait()

    async def aclose(self, *, kill: bool = False) -> None:
        """End everything: waiting calls get `ShuttingDown`, running ones `CallAborted`, every copy is stopped.

        Copies without a call have their `stop_grace` to end in, unless `kill`, which may also be asked for while an
        earlier drain or aclose goes on. Idempotent. Afterwards no container is alive and no task is left. Raises
        DriverError when an engine refuses to stop a copy for half a minute beyond its grace.
        """
        if self._empty is None or (self._closed and not self._ending.locked()):
            self._closing = self._closed = True
            return
        self._check_loop()
        if kill:
            self._closing = True
            for supervisor in self._all():
                supervisor.kill()
        async with self._ending:  # whoever comes second waits for the first
            if not self._closed:
                await self._end()

    async def _end(self) -> None:
        limit = max((one.spec.stop_grace for one in self._all()), default=0.0) + CLOSE_SLACK
        try:
            async with asyncio.timeout(limit):
                await self.drain(0.0, serve_waiting=False)
        except TimeoutError:
            names = sorted({one.spec.full_name for one in self._all()})
            raise DriverError(f"copies of {', '.join(names)} could not be stopped within {limit:g} s") from None
        finally:
            self._closed = True
            for supervisor in self._all():
                supervisor.abandon()
            self.timekeeper.close()
            self._drivers.give_up()
            await self._preparing.aclose(CLOSE_SLACK)
            await self._finish_tasks()
            await self._drivers.aclose(CLOSE_SLACK)

    # ---- functions

    def register(self, spec: FunctionSpec) -> None:
        """Make a function callable by its name, "app/name", and launch its `min_instances`.

        Another version under the name replaces it: calls that the old one has are served by it. Raises ConfigError or
        PluginError for what can be told without starting anything.
        """
        self._check_loop()
        self._check(spec)
        old = self._specs.get(spec.full_name)
        self._specs[spec.full_name] = spec
        if old is not None and old.identity != spec.identity:
            self._retire(old)
        if spec.min_instances and not self._closing:
            self.spawn(self._keep_hot(spec), f"hotfn open {spec.full_name}")

    async def open(self, function: FunctionSpec | str) -> None:
        """Check a function, open its driver and make ready what it needs (its image) now instead of at the first call.

        Raises ConfigError, PluginError, DriverUnavailable, or ShuttingDown when no calls are taken any more.
        """
        self._check_loop()
        spec = self._spec(function)
        self._check(spec)
        try:
            opened = not self._closing and await self._ready(spec)
        except HotfnError:
            raise
        except Exception as error:  # a stranger's driver that fails in its own way
            raise DriverError(f'the driver "{spec.driver}" could not be opened: {said(error)}') from error
        if not opened:
            raise closing(spec)

    async def call(
        self,
        function: FunctionSpec | str,
        body: bytes | bytearray | memoryview = b"",
        *,
        headers: HeadersLike | None = None,
        method: str = "POST",
        url: str = "/",
        content_type: str = "",
        deadline: float | None = None,
        call_id: str | None = None,
    ) -> Reply:
        """Call a function and return its reply, whatever its status.

        `function` is a spec or the name of a registered one. `deadline` is absolute, in seconds of `time()`, and
        bounds all of it. `call_id` must be unique; None makes one. Raises CallRejected (the function never saw the
        call) or CallFailed (it may have run), ConfigError and PluginError for a function that cannot be, TypeError for
        arguments of a wrong type. Cancelling it takes a waiting call out of the queue and stops the copy that has a
        running one.
        """
        spec = self._specs.get(function) if isinstance(function, str) else function
        supervisor = self._supervisors.get(getattr(spec, "identity", ""))
        since: float | None = None
        if supervisor is None or asyncio.get_running_loop() is not self.loop:
            self._check_loop()
            since = self.clock()
            supervisor = await self._supervisor(function, deadline)
        fields = (
            self._ids.new() if call_id is None else checked_id(call_id),
            body if isinstance(body, bytes) else body_bytes(body),
            header_pairs(headers) if headers else (),
            method,
            url,
            content_type,
            None if deadline is None else checked_deadline(deadline),
        )
        if not (method.__class__ is url.__class__ is content_type.__class__ is str):
            check_texts(method=method, url=url, content_type=content_type)
        call = new_tuple(Call, fields)
        if len(call.body) > supervisor.spec.max_request:
            raise supervisor.refused(call, too_large(len(call.body), supervisor.spec))
        future = supervisor.submit(call, since)
        try:
            return await future
        except asyncio.CancelledError:
            supervisor.cancel(call)
            raise

    def stats(self) -> dict[str, FunctionStats]:
        """Return counters and gauges by "app/name". They last as long as the manager for a registered function, and for
        one that is only called as long as its supervisor, which goes a minute after its last copy."""
        found = {name: FunctionStats() for name in self._specs}
        for name, total in self._totals.items():
            found[name].add(total)
        for supervisor in self._all():
            found.setdefault(supervisor.spec.full_name, FunctionStats()).add(supervisor.stats())
        return found

    def is_served(self, function: FunctionSpec | str) -> bool:
        """Say whether everything for a call of it is open."""
        spec = self._specs.get(function) if isinstance(function, str) else function
        return getattr(spec, "identity", "") in self._supervisors

    # ---- the way to a supervisor

    async def _supervisor(self, function: FunctionSpec | str, deadline: float | None = None) -> Supervisor:
        """Find or make the supervisor of a function: the slow path of a call."""
        self._check_loop()
        spec = self._spec(function)
        if self._closing:
            raise closing(spec)
        if spec.identity not in self._supervisors:
            self._check(spec)
            await self._open_for(spec, deadline)
        if self._closing:
            raise closing(spec)
        supervisor = self._supervisors.get(spec.identity)
        if supervisor is None:
            driver, protocol = self._drivers.get(spec.driver), self._protocols[spec.format]
            supervisor = self._supervisors[spec.identity] = Supervisor(self, spec, driver, protocol)
            supervisor.start()
        return supervisor

    async def _open_for(self, spec: FunctionSpec, deadline: float | None) -> None:
        """Make the function ready for a call, whose caller is told that it cannot be done as the end of the call."""
        try:
            opened = await self._ready(spec, deadline)
        except CallError:
            raise
        except Exception as error:  # DriverUnavailable, or a stranger's driver that fails in its own way
            raise unavailable(spec, error) from error
        if not opened:
            raise closing(spec)

    async def _ready(self, spec: FunctionSpec, deadline: float | None = None) -> bool:
        """Open the driver and let it make ready what the function needs. Returns False when it is too late for that."""
        driver, protocol = self._drivers.get(spec.driver), self._protocols[spec.format]
        if not await self._drivers.open(spec, time_left(deadline, self.clock())):
            return False
        left = time_left(deadline, self.clock())
        return not self._preparing.needed(driver) or await self._preparing.ready(driver, spec, protocol, left)

    def _spec(self, function: FunctionSpec | str) -> FunctionSpec:
        if isinstance(function, FunctionSpec):
            return function
        if not isinstance(function, str):
            raise TypeError(f"a function is a FunctionSpec or a name, not {function!r}")
        name = function if "/" in function else f"default/{function}"
        if name not in self._specs:
            hint = did_you_mean(name, self._specs)
            raise UnknownFunction(f'no function "{name}" is registered{hint}', function=name)
        return self._specs[name]

    def _check(self, spec: FunctionSpec) -> None:
        """Refuse what can be told to be impossible without starting anything."""
        driver = self._drivers.get(spec.driver)
        protocol = self._protocols.get(spec.format)
        if protocol is None:
            protocol = self._protocols[spec.format] = self.registry.protocol(spec.format)
        check_function(spec, driver, protocol)

    async def _keep_hot(self, spec: FunctionSpec) -> None:
        try:
            await self.open(spec)
            if self._specs[spec.full_name] is spec and not self._closing:  # no newer version took its place meanwhile
                await self._supervisor(spec)
        except ShuttingDown:  # nothing is to be kept hot any more
            return
        except Exception as error:  # the next call meets it again and its caller is told
            log.warning("%s: min_instances could not be started: %s", spec.full_name, error)

    def _retire(self, spec: FunctionSpec) -> None:
        """Let an older version serve what it has and end."""
        supervisor = self._supervisors.pop(spec.identity, None)
        if supervisor is not None:
            self._leaving[supervisor] = None
            supervisor.drain(None, serve_waiting=True)

    def _all(self) -> list[Supervisor]:
        return [*self._supervisors.values(), *self._leaving]

    # ---- what supervisors call (the Host)

    def spawn(self, work: Coroutine[Any, Any, None], name: str) -> asyncio.Task[None]:
        """Run something that takes time, and keep hold of it."""
        task = self.loop.create_task(work, name=name)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    def dropped(self, supervisor: Supervisor) -> None:
        """A supervisor has ended."""
        spec = supervisor.spec
        if self._supervisors.get(spec.identity) is supervisor:
            del self._supervisors[spec.identity]
            self._preparing.forget(spec.identity)
        self._leaving.pop(supervisor, None)
        if spec.full_name in self._specs:
            self._totals.setdefault(spec.full_name, FunctionStats()).add(supervisor.stats())
        assert self._empty is not None
        self._empty.set()

    async def _finish_tasks(self) -> None:
        """Wait for what still runs, which is next to nothing, and cancel what does not come to an end."""
        for patience in (CLOSE_SLACK, 1.0):
            if self._tasks:
                _, late = await asyncio.wait(self._tasks, timeout=patience)
                for task in late:
                    task.cancel()

    def _check_loop(self) -> None:
        if self._empty is None:
            raise RuntimeError("a Manager must be entered first: async with Manager() as manager")
        if asyncio.get_running_loop() is not self.loop:
            raise RuntimeError("this Manager belongs to another event loop; use run_coroutine_threadsafe to reach it")
