"""The drivers of one manager: made by name, opened once, swept behind that, closed together, and with them the
directories that copies share with hotfn."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping

from .driver import Driver
from .errors import ConfigError, said
from .failures import not_in_time
from .meeting import Places
from .model import FunctionSpec
from .registry import Registry
from .startline import Turns

log = logging.getLogger("hotfn")


class OpenDrivers:
    """Drivers by name. `get` makes one and does no IO, `open` connects it to its engine.

    `max_starting`, by driver, goes before what a driver says of itself. Raises ConfigError for one that is no number,
    and for a driver that is not there.
    """

    def __init__(self, registry: Registry, max_starting: Mapping[str, int] | None = None) -> None:
        self._registry = registry
        if not isinstance(max_starting, Mapping | None):
            text = f'max_starting is a mapping of drivers to numbers, as {{"local": 4}}, not {max_starting!r}'
            raise ConfigError(text, field="max_starting")
        self._max_starting = {name: _checked(name, most) for name, most in (max_starting or {}).items()}
        for name in self._max_starting:
            self._check_there(name)
        self.places = Places()
        self._turns: dict[str, Turns] = {}
        self._made: dict[str, Driver] = {}
        self._opening: dict[str, asyncio.Task[None]] = {}
        self._sweeps: dict[str, asyncio.Task[None]] = {}
        self._closing = False

    def get(self, name: str) -> Driver:
        """Return the driver, the same one every time. Raises as `Registry.driver` does."""
        driver = self._made.get(name)
        if driver is None:
            driver = self._made[name] = self._registry.driver(name)
        return driver

    def turns(self, name: str) -> Turns:
        """Return who waits for the driver to start a copy, and how many starts are under way."""
        turns = self._turns.get(name)
        if turns is None:
            most = self._max_starting.get(name) or _checked(name, self.get(name).max_starting)
            turns = self._turns[name] = Turns(most)
        return turns

    async def open(self, spec: FunctionSpec, patience: float | None = None) -> bool:
        """Open the driver of a function once, whoever asks first; one that could not be opened is tried again by the
        next who asks.

        What a dead hotfn has left behind is removed as soon as it is open; nobody waits for that. Returns whether it is
        open: False when it was closed meanwhile. Raises what the driver raises, and QueueTimeout after `patience`
        seconds (None: as long as it takes), which leaves the opening to others.
        """
        name = spec.driver
        task = self._opening.get(name)
        if task is None or (task.done() and (task.cancelled() or task.exception() is not None)):
            task = asyncio.create_task(self.get(name).open(), name=f"hotfn open {name}")
            self._opening[name] = task
            task.add_done_callback(lambda task: self._opened(name, task))
        if not task.done():
            # Whose cancellation leaves the task alone, as its timeout does: another caller may wait for it.
            await asyncio.wait([task], timeout=patience)
        if not task.done():
            raise not_in_time(spec)
        if task.cancelled():
            return False
        task.result()
        return True

    def give_up(self) -> None:
        """Stop opening and sweeping: who waits for a driver is told that it is not open."""
        self._closing = True
        for task in (*self._opening.values(), *self._sweeps.values()):
            task.cancel()

    async def aclose(self, patience: float) -> None:
        """Close every driver that was to be opened, giving up on one that takes longer than `patience` seconds."""
        self._closing = True
        opening, self._opening = self._opening, {}
        for name, task in opening.items():
            await asyncio.wait([task, *self._sweeping(name)], timeout=patience)
            try:
                async with asyncio.timeout(patience):
                    await self._made[name].aclose()
            except Exception:  # one engine's trouble must not keep the others open
                log.exception('the driver "%s" could not be closed', name)
        await self.places.aclose()

    def _check_there(self, name: str) -> None:
        missing = self._registry.missing_driver(name)
        if missing and not self._registry.problems:
            raise ConfigError(f"max_starting: {missing}", field="max_starting")
        if missing:  # it may be that of a broken plugin, which stops no other
            log.warning("max_starting: %s", missing)

    def _opened(self, name: str, task: asyncio.Task[None]) -> None:
        """Sweep a driver that is open now. When it is not, nobody may be waiting any more; who comes next is told."""
        if not task.cancelled() and task.exception() is None and not self._closing:
            self._sweeps[name] = asyncio.create_task(self._sweep(name), name=f"hotfn sweep {name}")

    def _sweeping(self, name: str) -> list[asyncio.Task[None]]:
        sweep = self._sweeps.pop(name, None)
        return [sweep] if sweep else []

    async def _sweep(self, name: str) -> None:
        try:
            removed = await self._made[name].sweep()
        except Exception as error:  # a stranger's driver may raise anything, and calls go on without it
            log.warning(
                'the driver "%s" could not remove what a hotfn that is dead has left behind: %s; `hotfn gc --driver %s`'
                " tries it again",
                name,
                said(error),
                name,
            )
            return
        if removed:
            log.info('the driver "%s" removed what a hotfn that is dead had left behind: %s', name, removed)


def _checked(name: str, most: object) -> int:
    if not isinstance(most, int) or isinstance(most, bool) or most < 1:
        raise ConfigError(
            f'max_starting of the driver "{name}" must be a whole number, at least 1, not {most!r}',
            field="max_starting",
        )
    return most
