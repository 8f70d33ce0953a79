"""A coroutine that runs on a loop for somebody who is elsewhere."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

Told = Callable[[Any, BaseException | None], object]
"""Whom the end is told: the result and None, or None and the error; CancelledError when it was cancelled."""


class Work:
    """One coroutine. Everything here happens on the loop; only making it does not.

    `is_bare` says, when it begins, that the coroutine awaits nothing but futures and does not ask what task it runs in:
    it is stepped by hand then, and begins at once. `going` has it from its beginning to its end.
    """

    __slots__ = ("_coroutine", "_ended", "_going", "_is_bare", "_task", "_told")

    def __init__(
        self, coroutine: Coroutine[Any, Any, Any], told: Told, is_bare: Callable[[], bool], going: set[Work]
    ) -> None:
        self._coroutine = coroutine
        self._going = going
        self._told = told
        self._is_bare = is_bare
        self._task: asyncio.Task[Any] | None = None
        self._ended = False

    def begin(self, loop: asyncio.AbstractEventLoop) -> None:
        """Begin, unless it was cancelled before."""
        if self._ended:
            return
        self._going.add(self)
        if self._is_bare():
            self._step()
        else:
            self._task = loop.create_task(self._coroutine)
            self._task.add_done_callback(self._task_ended)

    def cancel(self) -> None:
        """End it. Does nothing when it has ended."""
        if self._ended:
            return
        if self._task is not None:
            self._task.cancel()
            return
        try:
            self._coroutine.throw(asyncio.CancelledError())
        except BaseException as error:  # CancelledError, or what its own clean-up raises
            self._end(None, error)

    def abandon(self) -> None:
        """Let go of it before it has begun, on any thread. Nobody is told."""
        self._ended = True
        self._coroutine.close()

    def _step(self, future: asyncio.Future[Any] | None = None) -> None:
        """Run the coroutine to its end, or to the future that it waits for."""
        if self._ended:
            return
        try:
            future = self._coroutine.send(None)
        except StopIteration as end:
            self._end(end.value, None)
        except BaseException as error:  # it is for whom the end is told
            self._end(None, error)
        else:
            future.add_done_callback(self._step)

    def _task_ended(self, task: asyncio.Task[Any]) -> None:
        if task.cancelled():
            self._end(None, asyncio.CancelledError())
        elif (error := task.exception()) is not None:
            self._end(None, error)
        else:
            self._end(task.result(), None)

    def _end(self, result: Any, error: BaseException | None) -> None:
        self._ended = True
        self._task = None
        self._going.discard(self)
        self._told(result, error)
