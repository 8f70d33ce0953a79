"""One container: written to, read from, frozen and ended."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from typing import Protocol

from hotfn_core.driver import Container, Receiver
from hotfn_core.errors import DriverError
from hotfn_core.model import Exit

from .attach import HIGH_WATER, Attachment
from .calls import Calls
from .exits import LOOK_AGAIN, ExitFinder
from .trouble import NoSuchContainer

log = logging.getLogger("hotfn")

POLITE = 0.1
"""Seconds from closing a copy's stdin to SIGTERM, which kills most programs without their own clean-up. A tenth of
the grace where that is shorter."""

MAX_BACKLOG = 1024 * 1024
"""Bytes of stdout that are taken and kept while reading is paused, so that stderr, which comes over the same
connection, goes on. When they are used up nothing more is taken."""

STUCK = 15.0
"""Seconds after SIGKILL when waiting for the exit is given up."""


class Keeper(Protocol):
    """The driver, as far as a container needs it."""

    @property
    def calls(self) -> Calls: ...

    def discard(self, container: EngineContainer) -> None: ...


class EngineContainer(Container):
    """A container of an engine: made, started, gone. `memory` is its limit in MB."""

    def __init__(self, keeper: Keeper, id: str, name: str, memory: int | None = None) -> None:
        self.id = id[:12]
        self.full_id = id
        self.name = name
        self.memory = memory
        self.streams: Attachment | None = None
        self._keeper = keeper
        self._calls = keeper.calls
        self._loop = asyncio.get_running_loop()
        self._receiver: Receiver | None = None
        self._started = False
        self._gone = False
        self._ended: str | None = None  # why the streams ended, once they have
        self._paused = False
        self._backlog: list[bytes] = []
        self._backlog_size = 0
        self._frozen = False
        self._killed = False
        self._waiters: set[asyncio.Future[None]] = set()
        self._kill_at: float | None = None
        self._timers: dict[str, asyncio.TimerHandle] = {}

    # ---- what the driver calls

    @property
    def usable(self) -> bool:
        """Whether a container that was made can still be started: its streams are there."""
        return self._ended is None

    async def start(self, receiver: Receiver) -> None:
        """Run the program. Raises DriverError; then the receiver hears nothing of it any more."""
        self._receiver = receiver
        try:
            await self._calls(self._calls.engine.start, self.full_id)
        except BaseException:
            self._receiver = None
            raise
        self._started = True
        if self._ended is not None:
            self._find_exit()

    def disown(self) -> None:
        """Forget the receiver: nobody wants to hear of this container."""
        self._receiver = None
        self._gone = True
        self._cancel_timers()
        if self.streams is not None:
            self.streams.abort()

    # ---- the contract

    def write(self, data: bytes) -> None:
        if self.streams is not None and self._kill_at is None:
            self.streams.write(data)

    @property
    def writable(self) -> bool:
        return self.streams is None or self.streams.held < HIGH_WATER

    def write_eof(self) -> None:
        if self.streams is not None:
            self.streams.write_eof()

    def pause_reading(self) -> None:
        self._paused = True

    def resume_reading(self) -> None:
        if self._paused:
            self._paused = False
            self._loop.call_soon(self._flush)

    async def stop(self, grace: float) -> None:
        """Close stdin, then SIGTERM, after `grace` SIGKILL. See Container.stop."""
        if self._gone:
            return
        self._hurry(grace)
        waiter: asyncio.Future[None] = self._loop.create_future()
        self._waiters.add(waiter)
        try:
            await waiter
        finally:
            self._waiters.discard(waiter)

    async def freeze(self) -> None:
        """Pause the container. Raises DriverError when the engine refuses."""
        await self._calls(self._calls.engine.pause, self.full_id)
        self._frozen = True

    async def thaw(self) -> None:
        await self._calls(self._calls.engine.unpause, self.full_id)
        self._frozen = False

    # ---- what the streams report (the Sink)

    def stdout(self, data: bytes) -> None:
        """Pass on stdout, or keep it while reading is paused."""
        receiver = self._receiver
        if receiver is None:
            return
        if self._paused or self._backlog:
            self._keep(data)
        else:
            receiver.stdout_received(data)

    def stderr(self, data: bytes) -> None:
        """Pass on stderr."""
        if self._receiver is not None:
            self._receiver.stderr_received(data)

    def streams_ended(self, why: str) -> None:
        """The connection is gone: mostly because the container is."""
        self._ended = why
        if self._started and not self._gone:
            self._find_exit()

    # ---- reading

    def _keep(self, data: bytes) -> None:
        self._backlog.append(data)
        self._backlog_size += len(data)
        if self._paused and self._backlog_size > MAX_BACKLOG and self._kill_at is None and self.streams is not None:
            self.streams.pause()
            self._later("look", LOOK_AGAIN, self._look)

    def _flush(self) -> None:
        """Deliver what was kept while reading was paused."""
        while self._backlog and not self._paused and not self._gone:
            self._deliver(self._backlog.pop(0))
        if not self._paused:
            self._take_again()

    def _take_again(self) -> None:
        self._cancel_timer("look")
        if self.streams is not None:
            self.streams.resume()

    def _deliver(self, data: bytes) -> None:
        self._backlog_size -= len(data)
        if self._receiver is not None:
            self._receiver.stdout_received(data)

    def _look(self) -> None:
        """Nothing is taken from the streams, so they cannot tell of the container's end."""
        self._calls.work(self._look_for_exit(), f"look {self.id}")

    async def _look_for_exit(self) -> None:
        running = await self._finder().running()
        if self._gone or not self._paused:
            return
        if running:
            self._later("look", LOOK_AGAIN, self._look)
        else:
            self._take_again()  # what is left of the streams is bounded, for their writer is gone

    # ---- the end

    def _hurry(self, grace: float) -> None:
        """Begin the end, or bring it forward; a longer grace than the one that runs changes nothing."""
        kill_at = self._loop.time() + grace
        if self._kill_at is not None and kill_at >= self._kill_at:
            return
        first = self._kill_at is None
        self._kill_at = kill_at
        self._take_again()  # the engine does not end a container whose output nobody takes
        if grace <= 0:
            self._kill()
            return
        self._later("kill", grace, self._kill)
        if first:
            self._calls.work(self._ask(min(POLITE, grace / 10)), f"stop {self.id}")

    async def _ask(self, polite: float) -> None:
        """Ask the copy to end; one that is frozen has to be thawed to hear it."""
        if self._frozen:
            try:
                await self.thaw()
            except DriverError as error:
                log.warning("container %s could not be thawed to end by itself: %s", self.id, error)
                return
        self.write_eof()
        if not self._gone:
            self._later("term", polite, self._terminate)

    def _terminate(self) -> None:
        self._calls.work(self._calls(self._calls.engine.kill, self.full_id, "SIGTERM"), f"term {self.id}")

    def _kill(self) -> None:
        self._cancel_timer("term")
        self._killed = True
        self._calls.work(self._kill_it(), f"kill {self.id}")
        self._later("stuck", STUCK, self._stuck)

    async def _kill_it(self) -> None:
        try:
            await self._calls(self._calls.engine.kill, self.full_id, "SIGKILL")
        except NoSuchContainer:
            self._lost("it was removed from outside")
        except DriverError as error:
            self._kill_at = None  # stop may be called again
            self._fail_waiters(error)

    def _stuck(self) -> None:
        self._kill_at = None
        error = DriverError(f"container {self.id} does not end by SIGKILL; look at it with {self._calls.engine.name}")
        self._fail_waiters(error)

    def _lost(self, why: str) -> None:
        if self._ended is None and self.streams is not None:
            self.streams.abort()
        self._exited(Exit(detail=why))

    def _find_exit(self) -> None:
        self._calls.work(self._find(self._ended or ""), f"exit {self.id}")

    async def _find(self, why: str) -> None:
        exit = await self._finder().find(why, self._outputs_closed)
        self._exited(exit._replace(memory=self.memory))

    def _finder(self) -> ExitFinder:
        server = self.streams.server if self.streams is not None else None
        return ExitFinder(self._calls, self.full_id, server, None if self._killed else self.memory)

    def _outputs_closed(self) -> None:
        if self._receiver is not None and self._kill_at is None:
            self._receiver.stdout_eof()

    def _exited(self, exit: Exit) -> None:
        """Report the exit, once, behind everything that was kept."""
        if self._gone:
            return
        self._gone = True
        self._cancel_timers()
        receiver, self._receiver = self._receiver, None
        if receiver is not None:
            for data in self._backlog:
                receiver.stdout_received(data)
            receiver.exited(exit)
        self._backlog.clear()
        for waiter in self._waiters:
            if not waiter.done():
                waiter.set_result(None)
        self._keeper.discard(self)

    def _fail_waiters(self, error: DriverError) -> None:
        for waiter in self._waiters:
            if not waiter.done():
                waiter.set_exception(error)

    # ---- timers

    def _later(self, name: str, delay: float, action: Callable[[], None]) -> None:
        self._cancel_timer(name)
        if not self._gone:
            self._timers[name] = self._loop.call_later(delay, action)

    def _cancel_timer(self, name: str) -> None:
        timer = self._timers.pop(name, None)
        if timer:
            timer.cancel()

    def _cancel_timers(self) -> None:
        for name in list(self._timers):
            self._cancel_timer(name)
