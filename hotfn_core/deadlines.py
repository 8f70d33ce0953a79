"""A queue of deadlines for things whose deadline moves all the time. Pure.

A running copy's deadline moves twice per call, nearly always to later. So the heap keeps one entry per thing that may
be too early; when such an entry reaches the top it is put back with the real time. Moving a deadline to later is one
assignment, and there is never a timer to cancel.
"""

from __future__ import annotations

from heapq import heapify, heappop, heappush, heapreplace
from typing import Protocol

NEVER = float("inf")


class Timed(Protocol):
    """A thing with a deadline. `due` is when it really is; `armed` is when the heap will look at it next, in which
    entry. A fresh thing has NEVER, NEVER and 0."""

    due: float
    armed: float
    entry: int


class Deadlines:
    """The deadlines of one function, in seconds of the caller's clock."""

    __slots__ = ("_dead", "_heap", "_order", "floor")

    def __init__(self) -> None:
        self._heap: list[tuple[float, int, Timed]] = []
        self._order = 0  # of the last entry: equal times come out in order, and things are never compared
        self._dead = 0  # entries that no longer speak for their thing
        self.floor = NEVER
        """A time that no deadline is before. It may be too early; `next` puts it right."""

    def set(self, thing: Timed, when: float) -> None:
        """Move the deadline of `thing` to `when`; NEVER takes it away."""
        thing.due = when
        if when < thing.armed:
            buried = thing.entry
            self._order = thing.entry = self._order + 1
            thing.armed = when
            heappush(self._heap, (when, thing.entry, thing))
            self.floor = min(self.floor, when)
            if buried:
                self._bury()

    def forget(self, thing: Timed) -> None:
        """Take away the deadline of a thing and let go of it now; `set` to NEVER lets go when its entry comes up."""
        thing.due = thing.armed = NEVER
        if thing.entry:
            thing.entry = 0
            self._bury()

    def next(self) -> float:
        """Return the earliest deadline, NEVER when there is none. O(log n) amortised."""
        self.floor = self._earliest()
        return self.floor

    def _earliest(self) -> float:
        heap = self._heap
        while heap:
            when, entry, thing = heap[0]
            if entry != thing.entry:
                heappop(heap)
                self._dead -= 1
            elif thing.due == when:
                return when
            elif thing.due == NEVER:
                self._release()
            else:
                thing.armed = thing.due
                heapreplace(heap, (thing.due, entry, thing))
        return NEVER

    def pop(self, now: float) -> Timed | None:
        """Return a thing whose deadline has come and take its deadline away, or None."""
        if self.floor > now or self.next() > now:
            return None
        return self._release()

    def __len__(self) -> int:
        """Return the number of entries, the dead included: those are at most 32, or as many as the living."""
        return len(self._heap)

    def _release(self) -> Timed:
        """Take the first entry, which is alive, out of the heap."""
        thing = heappop(self._heap)[2]
        thing.due = thing.armed = NEVER
        thing.entry = 0
        return thing

    def _bury(self) -> None:
        """Count a dead entry, and rebuild before the dead outnumber the living: the heap stays bounded."""
        self._dead += 1
        if self._dead > 32 and 2 * self._dead > len(self._heap):
            self._heap = [one for one in self._heap if one[1] == one[2].entry]
            heapify(self._heap)
            self._dead = 0
