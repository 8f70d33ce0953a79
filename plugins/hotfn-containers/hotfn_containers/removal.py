"""Containers are removed: those that ended, those that nobody wants, and those that a dead hotfn has left."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence

from hotfn_core.errors import DriverError, DriverUnavailable

from . import labels
from .calls import Calls
from .engine import Found

log = logging.getLogger("hotfn")

PAUSES = (0.0, 0.2, 1.0)
"""Seconds before each try to remove a container."""

TRY_AGAIN = 10.0
"""Seconds until what could not be removed is tried again."""

LOOK_AGAIN = 1.0
"""Seconds from one look of a sweep to the next. A request that an engine was carrying out when its hotfn was killed
is carried out all the same, and what it makes can be seen only then."""

MOST_LOOKS = 10
"""Looks of one sweep: it goes on while it finds something."""

SWEEPING = 4
"""Containers that a sweep removes at the same time: launches need the engine as well."""

FULL_ID = 64
"""Characters of an id."""

DOUBT_SECONDS = 90.0
"""How long an engine may go on with a request that it has not answered."""

MOST_DOUBTS = 1000
"""Names that are remembered of containers that the engine may have made."""


class Removals:
    """What one driver removes from its engine. What cannot be removed now is tried again, last by `finish`.

    `gone` is told the id of each container of this driver that is removed.
    """

    def __init__(self, calls: Calls, gone: Callable[[str], None]) -> None:
        self._calls = calls
        self._gone = gone
        self._doomed: dict[str, None] = {}  # containers that the engine could not remove when it was asked to
        self._doubtful: dict[str, float] = {}  # names the engine may have made a container of, and until when it may
        self._again: asyncio.TimerHandle | None = None
        self._finished = False

    def __len__(self) -> int:
        """Return how many could not be removed so far."""
        return len(self._doomed)

    def soon(self, container: str) -> None:
        """Remove a container, by id or name, in the background."""
        self._calls.work(self.remove(container), f"remove {shown(container)}")

    async def remove(self, container: str) -> None:
        """Remove a container. Never raises: when it cannot be done now it is tried again later."""
        if await self._removed(container, PAUSES):
            self._doomed.pop(container, None)
            await self._rest()

    def doubt(self, name: str) -> None:
        """The engine did not say whether it made the container of that name: see that there is none."""
        if self._finished:
            self.soon(name)
            return
        self._doubtful[name] = asyncio.get_running_loop().time() + DOUBT_SECONDS
        if len(self._doubtful) > MOST_DOUBTS:
            del self._doubtful[next(iter(self._doubtful))]
        self._soon_again()

    def finish(self) -> None:
        """Try all that is left once more, in the background; nothing is tried again behind that."""
        self._finished = True
        if self._again is not None:
            self._again.cancel()
        left = [*self._doomed, *self._doubtful]
        self._doomed.clear()
        self._doubtful.clear()
        for container in left:
            self.soon(container)

    async def sweep(self) -> int:
        """Remove the containers of dead runtimes. See Driver.sweep."""
        failed: dict[str, str] = {}
        removed: set[str] = set()
        for look in range(MOST_LOOKS):
            await asyncio.sleep(LOOK_AGAIN if look else 0)
            found = [one for one in await self._calls(self._dead) if one.id not in removed | failed.keys()]
            if look and not found:
                break
            places = asyncio.Semaphore(SWEEPING)
            for one, why in await asyncio.gather(*(self._swept(one, places) for one in found)):
                if why:
                    failed[one.id] = f"{one.name}: {why}"
                else:
                    removed.add(one.id)
        if failed:
            some = "; ".join(list(failed.values())[:3])
            raise DriverError(f"{len(failed)} containers of a dead hotfn could not be removed ({some})")
        return len(removed)

    # ---- the rest

    def _dead(self) -> list[Found]:
        """Find the containers of dead runtimes. Blocks."""
        return [one for one in self._calls.engine.labelled(labels.MARK) if labels.fate_of(one.labels) == "dead"]

    async def _swept(self, found: Found, places: asyncio.Semaphore) -> tuple[Found, str]:
        """Remove one container, and return why that cannot be done, "" when it is gone."""
        why = ""
        async with places:
            for pause in PAUSES:
                await asyncio.sleep(pause)
                try:
                    await self._calls(self._calls.engine.remove, found.id)
                except DriverError as error:
                    why = error.message
                else:
                    return found, ""
        return found, why

    async def _removed(self, container: str, pauses: Sequence[float]) -> bool:
        why = ""
        for pause in pauses:
            await asyncio.sleep(pause)
            try:
                await self._calls(self._calls.engine.remove, container)
            except DriverUnavailable as error:
                why = error.message
                break
            except DriverError as error:  # podman may still be cleaning up behind it
                why = error.message
            else:
                self._gone(container)
                return True
        later = "`hotfn gc` removes it when this process has ended" if self._finished else "it is tried again"
        level = logging.WARNING if len(pauses) > 1 or self._finished else logging.DEBUG  # it was said the first time
        log.log(level, "container %s could not be removed; %s: %s", shown(container), later, why)
        self._keep(container)
        return False

    async def _rest(self) -> None:
        """The engine removes containers: try those that it could not remove before."""
        while self._doomed:
            container = next(iter(self._doomed))
            del self._doomed[container]  # nobody else tries it meanwhile
            if not await self._removed(container, (0.0,)):
                return
            log.info("container %s, which could not be removed before, is gone", shown(container))

    async def _remove_doubtful(self) -> None:
        """Remove what the engine has made meanwhile of the names in doubt; that there is nothing yet is no answer."""
        for name, until in list(self._doubtful.items()):
            try:
                await self._calls(self._calls.engine.remove, name)
            except DriverError as error:
                log.debug("container %s may be there and could not be removed: %s", name, error)
                continue
            if asyncio.get_running_loop().time() > until:
                self._doubtful.pop(name, None)

    def _keep(self, container: str) -> None:
        if not self._finished:
            self._doomed[container] = None
            self._soon_again()

    def _soon_again(self) -> None:
        if self._again is None and not self._finished:
            self._again = asyncio.get_running_loop().call_later(TRY_AGAIN, self._try_again)

    def _try_again(self) -> None:
        self._again = None
        self._calls.work(self._try_all(), "remove what is left")

    async def _try_all(self) -> None:
        await self._rest()
        await self._remove_doubtful()
        if self._doubtful or self._doomed:
            self._soon_again()


def shown(container: str) -> str:
    """Return a container's id as engines show it; a name is shown whole."""
    return container[:12] if len(container) == FULL_ID else container
