"""One container: written to, read from, frozen and ended."""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from typing import Protocol

from hotfn_core.driver import Container, Receiver
from hotfn_core.errors import DriverError
from hotfn_core.model import Exit

from .attach import HIGH_WATER, Attachment
from .calls import Calls
from .exits import LOOK_AGAIN, REMOVED, ExitFinder
from .timers import Timers
from .trouble import NoSuchContainer

log = logging.getLogger("hotfn")

POLITE = 0.1
"""Seconds from closing a copy's stdin to SIGTERM, which kills most programs without their own clean-up. A tenth of
the grace where that is shorter."""

MAX_BACKLOG = 1024 * 1024
"""Bytes of stdout that are taken and kept while reading is paused, so that stderr, which comes over the same
connection, goes on. When they are used up nothing more is taken, and nothing more is kept of a copy that is ending."""

PIECE = 64
"""Bytes that a piece of stdout counts for beside its own, so that many small ones are bounded too."""

STUCK = 15.0
"""Seconds after SIGKILL when waiting for the exit is given up."""

SETTLED = 0.02
"""Seconds from a thaw to the next freeze: Docker hears of the thaw late, and would forget a freeze in between."""

KILLED_LOOK = 1.0
"""Seconds after SIGKILL when the engine is asked for the exit that the streams have not told."""

FORCE = 4.0
"""Seconds after SIGKILL when a container that seems to run on is removed by force."""


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
        self._backlog: deque[bytes] = deque()
        self._backlog_size = 0
        self._frozen = False  # or perhaps: the engine did not say
        self._frost = asyncio.Lock()
        self._thawed = float("-inf")
        self._killed = False
        self._killing: asyncio.Task[None] | None = None
        self._force_at = 0.0
        self._waiters: set[asyncio.Future[None]] = set()
        self._kill_at: float | None = None
        self._timers = Timers()

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
        self._timers.close()
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
        """Pause the container. Raises DriverError when the engine refuses. Cancelled, it is seen through all the same:
        a stop has to know whether it is frozen."""
        await asyncio.shield(self._calls.work(self._freeze(), f"freeze {self.id}"))

    async def thaw(self) -> None:
        """Let it go on, behind a freeze that is under way. Else as `freeze`."""
        await asyncio.shield(self._calls.work(self._thaw(), f"thaw {self.id}"))

    async def _freeze(self) -> None:
        async with self._frost:
            if self._kill_at is not None or self._gone:
                return
            await asyncio.sleep(max(self._thawed + SETTLED - self._loop.time(), 0.0))
            self._frozen = True
            await self._calls(self._calls.engine.pause, self.full_id)
        if self._killed and not self._gone:
            await self._kill_it()  # once more: a process that is paused does not die

    async def _thaw(self) -> None:
        async with self._frost:
            await self._calls(self._calls.engine.unpause, self.full_id)
            self._frozen, self._thawed = False, self._loop.time()

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
        full = self._backlog_size > MAX_BACKLOG
        if full and self._kill_at is not None:
            return
        self._backlog.append(data)
        self._backlog_size += len(data) + PIECE
        if self._paused and full and self.streams is not None:
            self.streams.pause()
            self._timers.set("look", LOOK_AGAIN, self._look)

    def _flush(self) -> None:
        """Deliver what was kept while reading was paused."""
        while self._backlog and not self._paused and not self._gone:
            self._deliver(self._backlog.popleft())
        if not self._paused:
            self._take_again()

    def _take_again(self) -> None:
        self._timers.cancel("look")
        if self.streams is not None:
            self.streams.resume()

    def _deliver(self, data: bytes) -> None:
        self._backlog_size -= len(data) + PIECE
        if self._receiver is not None:
            self._receiver.stdout_received(data)

    def _look(self) -> None:
        """Nothing is taken from the streams, so they cannot tell of the container's end."""
        self._calls.watch(self._look_for_exit(), f"look {self.id}")

    async def _look_for_exit(self) -> None:
        running = await self._finder().running()
        if self._gone or not self._paused:
            return
        if running:
            self._timers.set("look", LOOK_AGAIN, self._look)
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
        self._timers.set("kill", grace, self._kill)
        if first:
            self._calls.work(self._ask(min(POLITE, grace / 10)), f"stop {self.id}")

    async def _ask(self, polite: float) -> None:
        """Ask the copy to end; one that is frozen has to be thawed to hear it."""
        async with self._frost:  # a freeze that is under way ends first
            frozen = self._frozen
        if frozen:
            try:
                await self._thaw()
            except DriverError as error:
                log.warning("container %s could not be thawed to end by itself: %s", self.id, error)
        if self._killed or self._gone:
            return
        self.write_eof()
        self._timers.set("term", polite, self._terminate)

    def _terminate(self) -> None:
        self._calls.work(self._calls(self._calls.engine.kill, self.full_id, "SIGTERM"), f"term {self.id}")

    def _kill(self) -> None:
        self._timers.cancel("kill", "term")
        self._killed = True
        if self._killing is None or self._killing.done():  # an engine that hangs is not asked again and again
            self._killing = self._calls.work(self._kill_it(), f"kill {self.id}")
        self._timers.set("stuck", STUCK, self._stuck)

    async def _kill_it(self) -> None:
        try:
            await self._calls(self._calls.engine.kill, self.full_id, "SIGKILL")
        except NoSuchContainer:
            self._lost(REMOVED)
        except DriverError as error:
            self._not_stopped(error)
        else:
            self._force_at = self._loop.time() + FORCE
            self._timers.set("killed", KILLED_LOOK, self._look_killed)

    def _look_killed(self) -> None:
        self._calls.watch(self._find_killed(), f"look {self.id}")

    async def _find_killed(self) -> None:
        """The container was killed and its streams have not ended: they may never do."""
        exit = await self._finder().ended()
        if exit is None and self._loop.time() >= self._force_at:
            exit = await self._remove()
        if exit is not None:
            self._exited(exit._replace(memory=self.memory))
        elif self._kill_at is not None:
            self._timers.set("killed", LOOK_AGAIN, self._look_killed)

    async def _remove(self) -> Exit | None:
        """The engine has lost sight of the container, as podman does when what watched it was killed."""
        try:
            await self._calls(self._calls.engine.remove, self.full_id)
        except DriverError as error:
            log.debug("container %s cannot be removed: %s", self.id, error)
            return None
        return Exit(detail=f"{self._calls.engine.name} did not see it end and has removed it")

    def _stuck(self) -> None:
        look = f"{self._calls.engine.name} inspect {self.id}"
        self._not_stopped(DriverError(f"container {self.id} does not end by SIGKILL; look at it with `{look}`"))

    def _not_stopped(self, error: DriverError) -> None:
        """Whoever waits for the end is told that it does not come; stop may be called again."""
        self._kill_at = None
        self._timers.cancel("stuck", "killed")
        for waiter in self._waiters:
            if not waiter.done():
                waiter.set_exception(error)

    def _lost(self, why: str) -> None:
        if self._ended is None and self.streams is not None:
            self.streams.abort()
        self._exited(Exit(detail=why))

    def _find_exit(self) -> None:
        self._calls.watch(self._find(self._ended or ""), f"exit {self.id}")

    async def _find(self, why: str) -> None:
        exit = await self._finder().find(why)
        self._exited(exit._replace(memory=self.memory))

    def _finder(self) -> ExitFinder:
        return ExitFinder(self._calls, self.full_id, None if self._killed else self.memory)

    def _exited(self, exit: Exit) -> None:
        """Report the exit, once, behind everything that was kept."""
        if self._gone:
            return
        self._gone = True
        self._timers.close()
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
