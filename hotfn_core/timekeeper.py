"""One timer of the event loop for all functions of a manager: whoever is due first rings first."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Protocol

from .deadlines import NEVER, Deadlines, Timed

AT_ONCE = 64
"""Of those that are due together so many ring in one step of the loop: others have their turn in between."""


class Sleeper(Timed, Protocol):
    """Somebody who wants to be rung. `due` is when; it is NEVER while it is rung."""

    def ring(self) -> None:
        """It is due, and has to say anew when it wants to be rung next. What it raises goes to the loop."""


class Timekeeper:
    """Rings sleepers at their times, in seconds of `clock`. For the loop's thread only.

    The loop's timer may go off too early, never too late by more than the loop is.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop, clock: Callable[[], float]) -> None:
        self._loop = loop
        self._clock = clock
        self._deadlines = Deadlines()
        self._armed = NEVER
        self._closed = False
        self._timer: asyncio.TimerHandle | None = None

    def wake(self, sleeper: Sleeper, when: float) -> None:
        """Ring at `when` and not when it was asked for before."""
        self._deadlines.set(sleeper, when)
        if when < self._armed:
            self._arm(when)

    def forget(self, sleeper: Sleeper) -> None:
        """Do not ring any more."""
        self._deadlines.forget(sleeper)

    def close(self) -> None:
        """Nobody is rung any more. Idempotent."""
        if self._timer is not None:
            self._timer.cancel()
        self._closed = True
        self._timer, self._armed = None, -NEVER  # nothing is earlier, so it is never set again

    def _arm(self, when: float) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._armed = when
        self._timer = self._loop.call_later(max(when - self._clock(), 0.0), self._ring)

    def _ring(self) -> None:
        self._timer, self._armed = None, -NEVER  # set once, when all have been rung
        try:
            for _ in range(AT_ONCE):
                sleeper = self._deadlines.pop(self._clock())
                if sleeper is None:
                    break
                sleeper.ring()  # type: ignore[attr-defined]  # only sleepers are in there
        finally:
            due = self._deadlines.next()
            if not self._closed:
                self._armed = NEVER
                if due < NEVER:
                    self._arm(due)
