"""Calls of an engine from the event loop: in threads, and what has begun is seen through to its end."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Callable, Coroutine, Sequence
from concurrent.futures import Future
from functools import partial
from typing import Any, ParamSpec, TypeVar

from hotfn_core.errors import DriverError

from .engine import Engine
from .lanes import Lane
from .lifeline import Lifeline

log = logging.getLogger("hotfn")

ENDING = frozenset({"kill", "unpause", "state", "remove"})
"""Methods of an engine that end a container or look at how it is."""

LAST_SECONDS = 1.0
"""How long `aclose` waits for tasks that it had to cancel, and for requests that nobody waits for."""

P = ParamSpec("P")
T = TypeVar("T")


class Calls:
    """The way of one driver to its engine. `work` keeps hold of tasks that go on by themselves.

    There are two lanes, so that containers can be ended also while everything that makes them hangs.
    """

    def __init__(self, engine: Engine) -> None:
        self.engine = engine
        self.lifeline = Lifeline(engine)
        self._making = Lane(engine.name, "make")
        self._ending = Lane(engine.name, "end")
        self._tasks: set[asyncio.Task[Any]] = set()
        self._watchers: set[asyncio.Task[Any]] = set()
        self._closing = False

    async def __call__(self, method: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Run a method of the engine in a thread. Cancelling stops the waiting, not the request.

        Raises what the method raises, and DriverUnavailable at once while the engine answers nobody.
        """
        lane = self._ending if getattr(method, "__name__", "") in ENDING else self._making
        return await asyncio.wrap_future(lane.submit(lambda: method(*args, **kwargs)))

    def work(self, coroutine: Coroutine[Any, Any, T], name: str) -> asyncio.Task[T]:
        """Run something in the background; `aclose` waits for it."""
        task = asyncio.get_running_loop().create_task(coroutine, name=f"hotfn {self.engine.name} {name}")
        self._tasks.add(task)
        task.add_done_callback(self._done)
        return task

    def watch(self, coroutine: Coroutine[Any, Any, T], name: str) -> asyncio.Task[T]:
        """As `work`, for what may go on for ever: `aclose` ends it."""
        task = self.work(coroutine, name)
        self._watchers.add(task)
        task.add_done_callback(self._watchers.discard)
        if self._closing:
            task.cancel()
        return task

    def _done(self, task: asyncio.Task[Any]) -> None:
        self._tasks.discard(task)
        if task.cancelled() or (error := task.exception()) is None:
            return
        if isinstance(error, DriverError):  # who asked for it is told; else it was of no importance
            log.debug("%s: %s", task.get_name(), error)
        else:
            log.error("%s failed, which is a fault of hotfn", task.get_name(), exc_info=error)

    async def aclose(self, patience: float) -> None:
        """Wait for what is under way, at most `patience` seconds, and let go of the threads and connections.

        Requests that hang go on in threads that keep no process from ending.
        """
        loop = asyncio.get_running_loop()
        end = loop.time() + patience
        self._closing = True
        for task in self._watchers:
            task.cancel()
        try:
            while self._tasks and loop.time() < end:  # one may have led to another
                await asyncio.wait(self._tasks, timeout=end - loop.time())
            for task in self._tasks:
                task.cancel()
            if self._tasks:
                await asyncio.wait(self._tasks, timeout=LAST_SECONDS)
        finally:
            await self._let_go()
            await self.lifeline.aclose()

    async def _let_go(self) -> None:
        """Let go of the threads, and of the connections behind the last request: one that nobody waits for may be about
        to open another."""
        ended = [lane.close() for lane in (self._making, self._ending)]
        idle = asyncio.Event()
        told = partial(_told, asyncio.get_running_loop(), idle, ended)
        for lane in ended:
            lane.add_done_callback(told)
        try:
            async with asyncio.timeout(LAST_SECONDS):
                await idle.wait()
        except TimeoutError:  # they hang: each lane lets go of what it has when it is through
            for lane in ended:
                lane.add_done_callback(lambda _: self.engine.close())
        finally:
            self.engine.close()


def _told(loop: asyncio.AbstractEventLoop, idle: asyncio.Event, ended: Sequence[Future[None]], _: object) -> None:
    """The threads of a lane have ended."""
    if all(lane.done() for lane in ended):
        with contextlib.suppress(RuntimeError):  # the loop has been closed meanwhile
            loop.call_soon_threadsafe(idle.set)
