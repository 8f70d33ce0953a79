"""The rules for copies that wait in line for their driver, which starts so many at a time. `state` has the facts."""

from __future__ import annotations

from .resting import Resting


class Lining(Resting):
    """The rules for the copies of one function that were launched and are not being started yet."""

    __slots__ = ()

    def _withdraw(self, now: float) -> None:
        """More copies start than calls wait: those that still wait in line leave it again, the youngest first."""
        for copy in reversed(self._copies.values()):
            if not self._in_line or self.starting <= len(self._waiting) or self.useful <= self._wanted():
                break
            if copy.lined and not copy.spare:
                self._stop(now, copy, "not_needed")

    def _clear_line(self, now: float) -> None:
        """Nothing is started in a back-off, so what waits in line for that leaves it; calls go on waiting."""
        for copy in [one for one in self._copies.values() if one.lined]:
            if copy.call is not None:
                copy.call.copy = None
                copy.call = None
            self._stop(now, copy, "not_needed")
            self._give_up(now, copy)
