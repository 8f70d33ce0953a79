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
"""Seconds after the last start of a function until what was made ready for it is removed."""

MOST = 128
"""Containers that one driver keeps ready for all functions together, and functions that it keeps some for."""

AFTER_START = 0.2
"""Seconds from a start until others are made: what has just started has the machine nearly for itself."""

MOST_USELESS = 1024
"""Functions that are remembered as those that cannot have any."""

Make = Callable[[Plan, Image], Awaitable[EngineContainer]]


@dataclass(eq=False)
class Shelf:
    """What is ready for one function, the oldest first. `failed`: the last one could not be made."""

    plan: Plan
    image: Image
    key: str
    ready: list[EngineContainer] = field(default_factory=list)
    making: int = 0
    failed: bool = False
    expiry: asyncio.TimerHandle | None = None

    @property
    def count(self) -> int:
        """How many there are, with those that are being made."""
        return len(self.ready) + self.making


class Prepared:
    """The containers of one driver that wait to be started, by the identity of their function.

    `make` makes one that is ready, or raises DriverError; `discard` takes one back that is of no use. One container is
    made at a time for all functions together, beside that of `prepare`, so that calls that start one have the engine
    nearly for themselves.
    """

    def __init__(self, calls: Calls, make: Make, discard: Callable[[EngineContainer], None]) -> None:
        self._calls = calls
        self._make = make
        self._discard = discard
        self._shelves: dict[str, Shelf] = {}  # that of the function which was used last is the last
        self._useless: dict[str, None] = {}  # in order
        self._making = 0
        self._filling: asyncio.Task[None] | None = None
        self._closed = False

    def __len__(self) -> int:
        """Return how many are ready, for all functions together."""
        return sum(len(shelf.ready) for shelf in self._shelves.values())

    async def prepare(self, identity: str, plan: Plan, image: Image) -> None:
        """Keep some ready for this function from now on; return when the first one is, or could not be made."""
        if not plan.options.prepared or self._closed or identity in self._useless:
            return
        shelf = self._shelf(identity, plan, image)
        if not shelf.count and self._room():
            await self._add(shelf)
        self.fill()

    def take(self, identity: str, plan: Plan, image: Image) -> EngineContainer | None:
        """Return one that is ready to be started, or None. `fill` is to be called when it has started."""
        if not plan.options.prepared or self._closed or identity in self._useless:
            return None
        known = self._shelves.get(identity)
        if known is not None and plan.key() != known.key:
            self._give_up(identity, plan)
            return None
        shelf = self._shelf(identity, plan, image)
        shelf.failed = False
        while shelf.ready:
            container = shelf.ready.pop(0)
            if container.usable:
                return container
            self._discard(container)  # the engine was restarted, or somebody removed it
        return None

    def spoiled(self, identity: str) -> None:
        """One that was taken could not be started: what took it away did not stop at one, so make all anew."""
        shelf = self._shelves.get(identity)
        if shelf is not None:
            self._clear(shelf)

    def fill(self) -> None:
        """Make as many as there are to be, in the background."""
        if self._lacking() is not None and (self._filling is None or self._filling.done()):
            self._filling = self._calls.work(self._fill(), "make containers ready")

    def drop(self, identity: str) -> None:
        """Keep nothing ready for this function any more."""
        shelf = self._shelves.pop(identity, None)
        if shelf is None:
            return
        if shelf.expiry is not None:
            shelf.expiry.cancel()
        self._clear(shelf)

    def close(self) -> None:
        """Keep nothing ready any more; what is being made is taken back as soon as it is there."""
        self._closed = True
        for identity in list(self._shelves):
            self.drop(identity)

    # ---- shelves

    def _shelf(self, identity: str, plan: Plan, image: Image) -> Shelf:
        """Return the shelf of a function that is used now: a new one when its image is another than before."""
        known = self._shelves.get(identity)
        if known is not None and known.image.id != image.id:
            self.drop(identity)
            known = None
        shelf = known or Shelf(plan, image, plan.key())
        self._shelves.pop(identity, None)
        self._shelves[identity] = shelf
        if shelf.expiry is not None:
            shelf.expiry.cancel()
        shelf.expiry = asyncio.get_running_loop().call_later(LIFETIME, self.drop, identity)
        if len(self._shelves) > MOST:
            self.drop(next(iter(self._shelves)))
        return shelf

    def _clear(self, shelf: Shelf) -> None:
        for container in shelf.ready:
            self._discard(container)
        shelf.ready.clear()

    def _give_up(self, identity: str, plan: Plan) -> None:
        self._useless[identity] = None
        if len(self._useless) > MOST_USELESS:
            del self._useless[next(iter(self._useless))]
        self.drop(identity)
        log.warning(
            "%s: `prepared` is of no use: the containers of this function differ from call to call, as those of a cold "
            "IO protocol do",
            plan.function,
        )

    # ---- filling

    def _room(self) -> bool:
        return len(self) + self._making < MOST

    def _lacking(self) -> Shelf | None:
        """Return the shelf with the fewest ready of those that are to have more."""
        lacking = [one for one in self._shelves.values() if not one.failed and one.count < one.plan.options.prepared]
        return min(lacking, key=lambda one: one.count, default=None) if self._room() else None

    async def _fill(self) -> None:
        await asyncio.sleep(AFTER_START)
        while (shelf := self._lacking()) is not None:
            await self._add(shelf)

    async def _add(self, shelf: Shelf) -> None:
        """Make one; a shelf for which that cannot be done is left alone until its function is started again."""
        self._making += 1
        shelf.making += 1
        try:
            container = await self._make(shelf.plan, shelf.image)
        except DriverError as error:  # a launch meets it again and its caller is told
            shelf.failed = True
            log.warning("%s: no container could be made ready: %s", shelf.plan.function, error.message)
            return
        finally:
            self._making -= 1
            shelf.making -= 1
        if any(one is shelf for one in self._shelves.values()):
            shelf.ready.append(container)
        else:
            self._discard(container)
