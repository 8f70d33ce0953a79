"""When things are due, decided beforehand: the arrivals of calls, and whose turn it is. Pure.

Calls that arrive at a rate do so at moments that do not depend on how long earlier ones take. Who measures from those
moments sees what a user sees of a function that is too slow; who waits for a reply before the next call is flattered.
"""

from __future__ import annotations

import math
from collections.abc import Iterator

_ROUNDS = 20  # how many turns each contender has, if that makes them neither too short nor too long
_EACH = 2  # calls that a turn has at least for each of several callers
_SHORTEST, _LONGEST = 0.05, 1.0  # seconds of a turn: long against a call, short against what disturbs a machine


class Arrivals:
    """Moments that are evenly spaced, `rate` a second: the first at `begin`, the last before `until`, at most `most`.

    Each is a multiple of the step, so that nothing adds up however long it goes on.
    """

    def __init__(self, rate: float, begin: float, until: float, most: float = math.inf) -> None:
        self._rate = rate
        self._begin = begin
        self._until = until
        self._most = most
        self._taken = 0

    @property
    def next(self) -> float | None:
        """The next moment, None when there are no more."""
        moment = self._begin + self._taken / self._rate
        return moment if moment < self._until and self._taken < self._most else None

    @property
    def left(self) -> int:
        """How many there are still; of a schedule that has an end."""
        most = min(self._most, (self._until - self._begin) * self._rate)
        return max(math.ceil(most) - self._taken, 0)

    def due(self, now: float, limit: int) -> Iterator[float]:
        """Yield the moments up to `now` that were not taken yet, oldest first, and not more than `limit`."""
        for _ in range(limit):
            moment = self.next
            if moment is None or moment > now:
                return
            self._taken += 1
            yield moment

    def end(self) -> None:
        """Have no more."""
        self._most = 0


def turn_seconds(duration: float, others: int, idle_timeout: float) -> float:
    """Return how long a turn is where `others` have theirs before one comes again.

    The copies of who waits for its turn must not be stopped meanwhile for being idle, if that can be helped.
    """
    if not others:
        return duration
    longest = _LONGEST if idle_timeout == 0 else min(_LONGEST, idle_timeout / (4 * others))  # two turns of each
    return min(max(min(duration / _ROUNDS, longest), _SHORTEST), duration)


def turn_calls(calls: int, callers: int) -> int:
    """Return how many calls a turn is where their number is given and not their time: enough to keep all callers busy,
    if there are so many."""
    busy = _EACH * callers if callers > 1 else 1
    return min(max(math.ceil(calls / _ROUNDS), busy), calls)


def turns(contenders: int) -> Iterator[int]:
    """Yield whose turn it is, without end: each round in the reverse order of the one before, so that what drifts
    drifts for all of them."""
    order = list(range(contenders))
    while True:
        yield from order
        order.reverse()
