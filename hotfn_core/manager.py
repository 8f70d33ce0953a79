"""Manager: the public entry. Finds or makes the supervisor of a function, owns the drivers and the shutdown."""

from __future__ import annotations

import asyncio
import logging
import os
import time
from collections.abc import Callable, Coroutine, Iterable
from types import TracebackType
from typing import Any, Self

from .driver import Driver
from .errors import ConfigError, DriverError, DriverUnavailable, ShuttingDown, TooLarge, UnknownFunction, did_you_mean
from .failures import unavailable
from .model import Call, FunctionSpec, HeadersLike, Reply, header_pairs
from .protocol import IOProtocol
from .registry import OBSERVER_HOOKS, Registry
from .stats import FunctionStats
from .supervisor import Supervisor

log = logging.getLogger("hotfn")

CLOSE_SLACK = 30.0  # seconds beyond the longest stop_grace after which aclose() gives up on an engine
LIMITS = ("memory", "cpus")


class Manager:
    """Calls functions and keeps them hot.

        async with Manager() as manager:
            reply = await manager.call(spec, b"hello")

    `plugins` are objects or modules with hooks, in addition to the installed ones, which `entry_points=False` leaves
    out. A Manager belongs to the event loop it was entered on: its methods are not thread-safe and raise RuntimeError
    on another loop (from another thread: `asyncio.run_coroutine_threadsafe`). They may be called from any task of that
    loop, and from an observer's hook.
    """

    def __init__(self, *, plugins: Iterable[object] = (), entry_points: bool = True) -> None:
        self.registry = Registry(plugins, entry_points=entry_points)
        for problem in self.registry.problems:
            log.warning("%s", problem.message)
        self.call_finished = self._observer("hotfn_call_finished")
        self.instance_changed = self._observer("hotfn_instance_changed")
        self.stderr_line = self._observer("hotfn_stderr_line")
        self._specs: dict[str, FunctionSpec] = {}
        self._supervisors: dict[str, Supervisor] = {}  # by identity
        self._leaving: set[Supervisor] = set()  # an older version of a registered function, draining
        self._totals: dict[str, FunctionStats] = {}  # of dropped supervisors of registered functions
        self._drivers: dict[str, Driver] = {}
        self._opening: dict[str, asyncio.Task[None]] = {}
        self._protocols: dict[str, IOProtocol] = {}
        self._tasks: set[asyncio.Task[Any]] = set()
        self._closing = False
        self._closed = False
        self._empty: asyncio.Event | None = None
        self._id_prefix = _call_id_prefix()
        self._id_count = 0

    # ---- life

    async def __aenter__(self) -> Self:
        """Bind the manager to the running loop."""
        self.loop = asyncio.get_running_loop()
        # uvloop's own clock has millisecond steps; a simulated loop's clock is the only true one.
        self.clock: Callable[[], float] = self.loop.time if getattr(self.loop, "virtual", False) else time.monotonic
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

        Waiting calls are served, or failed at once without `serve_waiting`. Running ones may finish within `limit`
        seconds, after which waiting and running ones end and their copies are killed; None sets no limit. Cancelling
        it leaves the manager draining.
        """
        self._check_loop()
        self._closing = True
        for supervisor in [*self._supervisors.values(), *self._leaving]:
            supervisor.drain(limit, serve_waiting=serve_waiting)
        assert self._empty is not None
        while self._supervisors or self._leaving:
            self._empty.clear()
            await self._empty.wait()

    async def aclose(self) -> None:
        """End everything: waiting calls get `ShuttingDown`, running ones `CallAborted`, every copy is stopped.

        Idempotent. Afterwards no container is alive and no task is left. Raises DriverError when an engine refuses to
        stop a copy for half a minute beyond its grace.
        """
        if self._closed or self._empty is None:
            self._closing = self._closed = True
            return
        self._check_loop()
        limit = max((one.spec.stop_grace for one in self._supervisors.values()), default=0.0) + CLOSE_SLACK
        try:
            async with asyncio.timeout(limit):
                await self.drain(0.0, serve_waiting=False)
        except TimeoutError:
            names = sorted({one.spec.full_name for one in [*self._supervisors.values(), *self._leaving]})
            raise DriverError(f"copies of {', '.join(names)} could not be stopped within {limit:g} s") from None
        finally:
            await self._close_drivers()
            self._closed = True

    # ---- functions

    def register(self, spec: FunctionSpec) -> None:
        """Make a function callable by its name, "app/name", and launch its `min_instances`.

        Registering another version under a name replaces it: calls that the old version has are served by it. Raises
        ConfigError or PluginError for what can be told without starting anything. Call it on the manager's loop.
        """
        self._check_loop()
        self._check(spec)
        old = self._specs.get(spec.full_name)
        self._specs[spec.full_name] = spec
        if old is not None and old.identity != spec.identity:
            self._retire(old)
        if spec.min_instances:
            self.spawn(self._keep_hot(spec), f"hotfn open {spec.full_name}")

    async def open(self, function: FunctionSpec | str) -> None:
        """Check a function and open its driver now instead of at the first call.

        Raises ConfigError, PluginError or DriverUnavailable.
        """
        self._check_loop()
        spec = self._spec(function)
        self._check(spec)
        await self._open_driver(spec.driver)

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
        bounds waiting, starting and running together. `call_id` must be unique; None makes one.
        Raises CallRejected (the function never saw the call) or CallFailed (it may have run), ConfigError and
        PluginError for a function that cannot be. Cancelling it takes a waiting call out of the queue and stops the
        copy that has a running one.
        """
        spec = self._specs.get(function) if isinstance(function, str) else function
        supervisor = self._supervisors.get(spec.identity) if spec is not None else None
        if supervisor is None or asyncio.get_running_loop() is not self.loop:
            supervisor = await self._supervisor(function)
        data = body if isinstance(body, bytes) else _bytes(body)
        if len(data) > supervisor.spec.max_request:
            raise _too_large(len(data), supervisor.spec)
        call = Call(
            call_id or self._new_id(),
            data,
            header_pairs(headers) if headers else (),
            method,
            url,
            content_type,
            deadline,
        )
        future = supervisor.submit(call)
        try:
            return await future
        except asyncio.CancelledError:
            supervisor.cancel(call.id)
            raise

    def stats(self) -> dict[str, FunctionStats]:
        """Return counters and gauges by "app/name".

        Counters of a registered function last as long as the manager, those of a spec that is only called as long as
        its supervisor, which goes a minute after its last copy.
        """
        found = {name: FunctionStats() for name in self._specs}
        for name, total in self._totals.items():
            found[name].add(total)
        for supervisor in [*self._supervisors.values(), *self._leaving]:
            found.setdefault(supervisor.spec.full_name, FunctionStats()).add(supervisor.stats())
        return found

    # ---- the way to a supervisor

    async def _supervisor(self, function: FunctionSpec | str) -> Supervisor:
        """Find or make the supervisor of a function: the slow path of a call."""
        self._check_loop()
        spec = self._spec(function)
        if self._closing:
            raise ShuttingDown(f"{spec.full_name} takes no calls: the manager is shutting down")
        if spec.identity not in self._supervisors:
            self._check(spec)
            try:
                await self._open_driver(spec.driver)
            except DriverUnavailable as error:
                raise unavailable(spec, error) from error
        if self._closing:
            raise ShuttingDown(f"{spec.full_name} takes no calls: the manager is shutting down")
        supervisor = self._supervisors.get(spec.identity)
        if supervisor is None:
            supervisor = Supervisor(self, spec, self._drivers[spec.driver], self._protocols[spec.format])
            self._supervisors[spec.identity] = supervisor
            supervisor.start()
        return supervisor

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
        driver = self._drivers.get(spec.driver) or self._made_driver(spec.driver)
        protocol = self._protocols.get(spec.format)
        if protocol is None:
            protocol = self._protocols[spec.format] = self.registry.protocol(spec.format)
        if spec.min_instances and not protocol.hot:
            raise ConfigError(
                f'{spec.full_name}: min_instances keeps copies hot, and the IO protocol "{spec.format}" is cold',
                field="min_instances",
            )
        check_limits(spec, driver)
        driver.validate(spec)

    def _made_driver(self, name: str) -> Driver:
        self._drivers[name] = driver = self.registry.driver(name)
        return driver

    async def _open_driver(self, name: str) -> None:
        """Open a driver once, whoever asks first; one that could not be opened is tried again by the next call."""
        task = self._opening.get(name)
        if task is None or (task.done() and (task.cancelled() or task.exception() is not None)):
            task = self._opening[name] = self.loop.create_task(self._drivers[name].open(), name=f"hotfn open {name}")
            task.add_done_callback(_seen)
        if not task.done():
            await asyncio.shield(task)  # another caller may wait for it as well
        task.result()

    async def _keep_hot(self, spec: FunctionSpec) -> None:
        try:
            await self._supervisor(spec)
        except Exception as error:  # the next call meets it again and its caller is told
            log.warning("%s: min_instances could not be started: %s", spec.full_name, error)

    def _retire(self, spec: FunctionSpec) -> None:
        """Let an older version serve what it has and end."""
        supervisor = self._supervisors.pop(spec.identity, None)
        if supervisor is not None:
            self._leaving.add(supervisor)
            supervisor.drain(None, serve_waiting=True)

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
        self._leaving.discard(supervisor)
        if spec.full_name in self._specs:
            self._totals.setdefault(spec.full_name, FunctionStats()).add(supervisor.stats())
        if self._empty is not None:
            self._empty.set()

    # ---- the rest

    def _observer(self, hook: str) -> Callable[[Any], None] | None:
        """Return a caller of that hook which never raises, or None when nobody listens."""
        assert hook in OBSERVER_HOOKS
        if not self.registry.observed(hook):
            return None
        caller = getattr(self.registry.pm.hook, hook)
        argument = {"hotfn_call_finished": "report", "hotfn_instance_changed": "change"}.get(hook, "line")

        def tell(value: Any) -> None:
            try:
                caller(**{argument: value})
            except Exception:  # an observer must not hurt a call
                log.exception("a plugin failed in %s", hook)

        return tell

    async def _close_drivers(self) -> None:
        tasks = [task for task in self._tasks if task is not asyncio.current_task()]
        if tasks:
            await asyncio.wait(tasks, timeout=CLOSE_SLACK)
        opening, self._opening = self._opening, {}
        for name, task in opening.items():
            task.cancel()
            await asyncio.wait([task])
            try:
                await self._drivers[name].aclose()
            except Exception:  # one engine's trouble must not keep the others open
                log.exception('the driver "%s" could not be closed', name)

    def _check_loop(self) -> None:
        if self._empty is None:
            raise RuntimeError("a Manager must be entered first: async with Manager() as manager")
        if asyncio.get_running_loop() is not self.loop:
            raise RuntimeError("this Manager belongs to another event loop; use run_coroutine_threadsafe to reach it")

    def _new_id(self) -> str:
        self._id_count += 1
        return f"{self._id_prefix}{self._id_count:010x}"


def check_limits(spec: FunctionSpec, driver: Driver) -> None:
    """Raise ConfigError for a limit that the driver would not enforce, unless the spec says best_effort."""
    for limit in LIMITS:
        if getattr(spec, limit) is not None and limit not in driver.enforces and not spec.best_effort:
            raise ConfigError(
                f'{spec.full_name}: the driver "{driver.name}" does not enforce {limit}; leave {limit} out, take '
                f"another driver, or say best_effort",
                field=limit,
            )


def _call_id_prefix() -> str:
    """16 of a call id's 26 characters: milliseconds and 32 random bits; the other 10 count calls."""
    return f"{time.time_ns() // 1_000_000:012x}"[-8:] + os.urandom(4).hex()


def _bytes(body: object) -> bytes:
    if isinstance(body, bytearray | memoryview):
        return bytes(body)  # a copy: the caller may write to its buffer before the function has read it
    raise TypeError(f"a body is bytes, not {type(body).__name__}; text must be encoded first")


def _too_large(size: int, spec: FunctionSpec) -> TooLarge:
    return TooLarge(
        f"the body has {size} bytes, more than max_request of {spec.full_name}, {spec.max_request}",
        function=spec.full_name,
    )


def _seen(task: asyncio.Task[None]) -> None:
    """Nobody may be waiting any more when opening fails; whoever comes next is told."""
    if not task.cancelled():
        task.exception()
