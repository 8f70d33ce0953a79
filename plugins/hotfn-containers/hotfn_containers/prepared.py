"""Containers that are made ready ahead, so that a cold call pays for nothing but the start."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

from hotfn_core.errors import DriverError

from .calls import Calls
from .container import EngineContainer
from .engine import Image
from .plan import Plan

log = logging.getLogger("hotfn")

LIFETIME = 600.0
"""Seconds after the last use of a function until what was made ready for it is removed."""

MOST = 128
"""Containers that one driver keeps ready for all functions together."""

Make = Callable[[Plan, Image], Awaitable[EngineContainer]]


@dataclass(eq=False)
class Shelf:
    """What is ready for one function."""

    plan: Plan
    image: Image
    key: str
    ready: list[EngineContainer] = field(default_factory=list)
    filling: asyncio.Task[None] | None = None
    expiry: asyncio.TimerHandle | None = None


class Prepared:
    """The containers of one driver that wait to be started, by the identity of their function.

    `make` makes one that is ready; `discard` takes one back that is of no use.
    """

    def __init__(self, calls: Calls, make: Make, discard: Callable[[EngineContainer], None]) -> None:
        self._calls = calls
        self._make = make
        self._discard = discard
        self._shelves: dict[str, Shelf] = {}
        self._closed = False

    def __len__(self) -> int:
        """Return how many are ready, for all functions together."""
        return sum(len(shelf.ready) for shelf in self._shelves.values())

    async def prepare(self, identity: str, plan: Plan, image: Image) -> None:
        """Keep some ready for this function from now on; return when the first one is, or could not be made."""
        if not plan.options.prepared or self._closed:
            return
        self.drop(identity)
        shelf = self._shelves[identity] = Shelf(plan, image, plan.key())
        self._used(identity, shelf)
        try:
            await self._add(shelf)
        except DriverError as error:  # the launch meets it again and its caller is told
            log.warning("%s: no container could be made ready: %s", plan.function, error)
            return
        self._fill(shelf)

    def take(self, identity: str, plan: Plan, image: Image) -> EngineContainer | None:
        """Return one that is ready, or None. Another one is made in its place."""
        shelf = self._shelves.get(identity)
        if shelf is None or not plan.options.prepared:
            return None
        if shelf.image.id != image.id or plan.key() != shelf.key:
            log.warning(
                "%s: `prepared` is of no use: the containers of this function differ from call to call, as those of a "
                "cold IO protocol do, or its image has changed",
                plan.function,
            )
            self.drop(identity)
            return None
        container = self._usable(shelf)
        self._used(identity, shelf)
        self._fill(shelf)
        return container

    def drop(self, identity: str) -> None:
        """Keep nothing ready for this function any more."""
        shelf = self._shelves.pop(identity, None)
        if shelf is None:
            return
        if shelf.expiry is not None:
            shelf.expiry.cancel()
        for container in shelf.ready:
            self._discard(container)
        shelf.ready.clear()

    def close(self) -> None:
        """Keep nothing ready any more; what is being made is taken back as soon as it is there."""
        self._closed = True
        for identity in list(self._shelves):
            self.drop(identity)

    def _usable(self, shelf: Shelf) -> EngineContainer | None:
        while shelf.ready:
            container = shelf.ready.pop()
            if container.usable:
                return container
            self._discard(container)  # the engine was restarted, or somebody removed it
        return None

    def _used(self, identity: str, shelf: Shelf) -> None:
        if shelf.expiry is not None:
            shelf.expiry.cancel()
        shelf.expiry = asyncio.get_running_loop().call_later(LIFETIME, self.drop, identity)

    def _fill(self, shelf: Shelf) -> None:
        if shelf.filling is None or shelf.filling.done():
            shelf.filling = self._calls.work(self._filled(shelf), f"make ready {shelf.plan.function}")

    async def _filled(self, shelf: Shelf) -> None:
        """Make one after the other: a call that starts a container right now has the engine for itself."""
        while len(shelf.ready) < shelf.plan.options.prepared and len(self) < MOST and self._wanted(shelf):
            await self._add(shelf)

    async def _add(self, shelf: Shelf) -> None:
        container = await self._make(shelf.plan, shelf.image)
        if self._wanted(shelf):
            shelf.ready.insert(0, container)  # the oldest is taken first
        else:
            self._discard(container)

    def _wanted(self, shelf: Shelf) -> bool:
        return any(one is shelf for one in self._shelves.values())
