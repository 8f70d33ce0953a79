"""The drivers of one manager: made by name, opened once, closed together."""

from __future__ import annotations

import asyncio
import logging

from .driver import Driver
from .registry import Registry

log = logging.getLogger("hotfn")


class OpenDrivers:
    """Drivers by name. `get` makes one and does no IO, `open` connects it to its engine."""

    def __init__(self, registry: Registry) -> None:
        self._registry = registry
        self._made: dict[str, Driver] = {}
        self._opening: dict[str, asyncio.Task[None]] = {}

    def get(self, name: str) -> Driver:
        """Return the driver, the same one every time. Raises as `Registry.driver` does."""
        driver = self._made.get(name)
        if driver is None:
            driver = self._made[name] = self._registry.driver(name)
        return driver

    async def open(self, name: str) -> bool:
        """Open a driver once, whoever asks first; one that could not be opened is tried again by the next who asks.

        Returns whether it is open: False when it was closed meanwhile. Raises what the driver raises.
        """
        task = self._opening.get(name)
        if task is None or (task.done() and (task.cancelled() or task.exception() is not None)):
            task = asyncio.create_task(self.get(name).open(), name=f"hotfn open {name}")
            self._opening[name] = task
            task.add_done_callback(_seen)
        if not task.done():
            await asyncio.wait([task])  # whose cancellation leaves the task alone: another caller may wait for it
        if task.cancelled():
            return False
        task.result()
        return True

    def give_up(self) -> None:
        """Stop opening: who waits for it is told that the driver is not open."""
        for task in self._opening.values():
            task.cancel()

    async def aclose(self, patience: float) -> None:
        """Close every driver that was to be opened, giving up on one that takes longer than `patience` seconds."""
        opening, self._opening = self._opening, {}
        for name, task in opening.items():
            await asyncio.wait([task], timeout=patience)
            try:
                async with asyncio.timeout(patience):
                    await self._made[name].aclose()
            except Exception:  # one engine's trouble must not keep the others open
                log.exception('the driver "%s" could not be closed', name)


def _seen(task: asyncio.Task[None]) -> None:
    """Nobody may be waiting any more when opening fails; whoever comes next is told."""
    if not task.cancelled():
        task.exception()
