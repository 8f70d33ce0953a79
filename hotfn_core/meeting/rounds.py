"""Closing connections that have had no call for a while: one timer for all copies of a function, and none when no
connection is open."""

from __future__ import annotations

import asyncio
from typing import Protocol


class Resting(Protocol):
    """What has a connection."""

    @property
    def served(self) -> int: ...

    def rest(self) -> bool: ...


class Rounds:
    """Looks at open connections every so many seconds; one that had no call since the last look is told to rest."""

    def __init__(self, every: float) -> None:
        self._every = every
        self._open: dict[Resting, int] = {}
        self._timer: asyncio.TimerHandle | None = None

    def add(self, one: Resting) -> None:
        """It has a connection now."""
        self._open[one] = -1
        if self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(self._every, self._go)

    def discard(self, one: Resting) -> None:
        """It has none any more. Idempotent."""
        self._open.pop(one, None)
        if not self._open and self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _go(self) -> None:
        self._timer = asyncio.get_running_loop().call_later(self._every, self._go)
        for one, before in list(self._open.items()):
            if one.served != before:
                self._open[one] = one.served
            elif not one.rest():  # it has a call, and is as good as new when that ends
                self._open[one] = -1
