"""Calls of an engine from the event loop: in threads, and what has begun is seen through to its end."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Coroutine
from concurrent.futures import ThreadPoolExecutor
from typing import Any, ParamSpec, TypeVar

from .engine import Engine

log = logging.getLogger("hotfn")

THREADS = 16
"""Requests that one driver has under way at the same time; more wait their turn."""

P = ParamSpec("P")
T = TypeVar("T")


class Calls:
    """The way of one driver to its engine. `work` keeps hold of tasks that go on by themselves."""

    def __init__(self, engine: Engine) -> None:
        self.engine = engine
        self._threads = ThreadPoolExecutor(THREADS, thread_name_prefix=f"hotfn-{engine.name}")
        self._tasks: set[asyncio.Task[Any]] = set()

    async def __call__(self, method: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Run a method of the engine in a thread. Cancelling stops the waiting, not the request."""
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._threads, lambda: method(*args, **kwargs))

    def work(self, coroutine: Coroutine[Any, Any, T], name: str) -> asyncio.Task[T]:
        """Run something in the background; `aclose` waits for it."""
        task = asyncio.get_running_loop().create_task(coroutine, name=f"hotfn {self.engine.name} {name}")
        self._tasks.add(task)
        task.add_done_callback(self._done)
        return task

    def _done(self, task: asyncio.Task[Any]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            log.debug("%s: %s", task.get_name(), error)

    async def aclose(self, patience: float) -> None:
        """Wait for what is under way, at most `patience` seconds, and let go of the threads and connections."""
        loop = asyncio.get_running_loop()
        end = loop.time() + patience
        while self._tasks and loop.time() < end:  # one may have led to another
            await asyncio.wait(self._tasks, timeout=end - loop.time())
        for task in self._tasks:
            task.cancel()
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=1.0)
        self._threads.shutdown(wait=False, cancel_futures=True)
        self.engine.close()
