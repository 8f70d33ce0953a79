"""Whose copy a driver starts next. Pure.

A driver starts so many copies at a time, over all functions of a manager; the others wait in line. Functions take
turns and each brings its oldest copy, so a function that wants a thousand copies is one of those in line, and the last
free place is kept for a function that has no start under way: slow starts of one never delay the first of another.
"""

from __future__ import annotations

from typing import Protocol


class Starter(Protocol):
    """The copies of one function."""

    def begin(self, number: int) -> None:
        """It is the turn of this copy, which has waited in line. Never raises."""


class Turns:
    """The starts of one driver. `most` may be under way at the same time."""

    def __init__(self, most: int) -> None:
        self.most = most
        self._line: dict[Starter, dict[int, None]] = {}  # functions in the order of their turns, copies by age
        self._under_way: dict[Starter, set[int]] = {}
        self._count = 0
        self._giving = False

    @property
    def under_way(self) -> int:
        """How many starts are under way."""
        return self._count

    @property
    def waiting(self) -> int:
        """How many copies wait in line."""
        return sum(map(len, self._line.values()))

    def ask(self, who: Starter, number: int) -> bool:
        """Say whether the copy may be started at once. If not it is in line, and `Starter.begin` tells when."""
        if not self._line and self._has_place(who):
            self._take(who, number)
            return True
        self._line.setdefault(who, {})[number] = None
        self._give()
        return False

    def leave(self, who: Starter, number: int) -> None:
        """The start is over, or nobody wants it any more. Does nothing for a copy that is not known."""
        line, under_way = self._line.get(who), self._under_way.get(who)
        if line is not None and number in line:
            del line[number]
            if not line:
                del self._line[who]
        elif under_way is not None and number in under_way:
            under_way.remove(number)
            self._count -= 1
            if not under_way:
                del self._under_way[who]
            self._give()

    def forget(self, who: Starter) -> None:
        """Nothing of this function is started any more."""
        self._line.pop(who, None)
        self._count -= len(self._under_way.pop(who, ()))
        self._give()

    def _has_place(self, who: Starter) -> bool:
        """Say whether the function may start one more. With a single place there is none to keep."""
        free = self.most - self._count
        return free > 1 or (free == 1 and (self.most == 1 or who not in self._under_way))

    def _take(self, who: Starter, number: int) -> None:
        self._under_way.setdefault(who, set()).add(number)
        self._count += 1

    def _give(self) -> None:
        """Give places away while there are any. What is told may ask and leave in turn: one loop serves all."""
        if self._giving:
            return
        self._giving = True
        try:
            while self._count < self.most and (who := self._next()) is not None:
                line = self._line.pop(who)
                number = next(iter(line))
                del line[number]
                if line:
                    self._line[who] = line  # behind all others
                self._take(who, number)
                who.begin(number)
        finally:
            self._giving = False

    def _next(self) -> Starter | None:
        """Whose turn it is. Those that are passed over have starts under way: never more than `most`."""
        return next((who for who in self._line if self._has_place(who)), None)
