"""Work that several wait for and that is done once."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Hashable
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from hotfn_core.errors import DriverUnavailable

T = TypeVar("T")


@dataclass
class _Flight(Generic[T]):
    task: asyncio.Task[T]
    waiting: int = 0
    kept: bool = False


class Flights(Generic[T]):
    """One piece of work under way for each key, and all who ask for it meanwhile get what came of it."""

    def __init__(self, what: str) -> None:
        self._what = what
        self._flights: dict[Hashable, _Flight[T]] = {}
        self._tasks: set[asyncio.Task[T]] = set()  # those of the flights, and those that were ended and are not over
        self._closed = False

    async def join(self, key: Hashable, work: Callable[[], Coroutine[Any, Any, T]], *, keep: bool = False) -> T:
        """Return what the work under way comes to, or begin it. Raises what it raises, and DriverUnavailable when
        `aclose` ends it.

        Cancelling stops the waiting. The work ends when its last waiter was cancelled, unless one of them said `keep`.
        """
        if self._closed:
            raise self._gone()
        flight = self._flights.get(key)
        if flight is None:
            flight = self._flights[key] = self._begin(key, work)
        flight.waiting += 1
        flight.kept |= keep
        try:
            await asyncio.wait([flight.task])
        except asyncio.CancelledError:
            flight.waiting -= 1
            if not flight.waiting and not flight.kept:
                self._end(key, flight)
            raise
        if flight.task.cancelled():
            raise self._gone()
        return flight.task.result()

    async def aclose(self) -> None:
        """End all that is under way; who waits for it is told, and so is who comes later. Idempotent."""
        self._closed = True
        for task in self._tasks:
            task.cancel()
        if self._tasks:
            await asyncio.wait(self._tasks)

    def _begin(self, key: Hashable, work: Callable[[], Coroutine[Any, Any, T]]) -> _Flight[T]:
        flight = _Flight(asyncio.get_running_loop().create_task(work(), name=f"hotfn {self._what}"))
        self._tasks.add(flight.task)
        flight.task.add_done_callback(lambda _: self._over(key, flight))
        return flight

    def _end(self, key: Hashable, flight: _Flight[T]) -> None:
        """Nobody waits any more. Who comes from now on begins anew."""
        flight.task.cancel()
        if self._flights.get(key) is flight:
            del self._flights[key]

    def _over(self, key: Hashable, flight: _Flight[T]) -> None:
        self._tasks.discard(flight.task)
        if self._flights.get(key) is flight:
            del self._flights[key]
        if not flight.task.cancelled():
            flight.task.exception()  # who waited has it; when nobody does any more it is nobody's business

    def _gone(self) -> DriverUnavailable:
        return DriverUnavailable(f"the driver was closed before {self._what}")
