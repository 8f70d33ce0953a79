"""The rules for copies that rest: when one that has no call is stopped, frozen or recycled. `state` has the others, and
all facts."""

from __future__ import annotations

from .actions import StopReason
from .deadlines import NEVER
from .ledger import Ledger
from .model import FunctionSpec
from .records import Copy

FREEZE_PAUSE = 60.0  # seconds in which nothing is frozen after a copy that could not be frozen or thawed


class Resting(Ledger):
    """The rules for the copies of one function that have no call."""

    __slots__ = ("_freeze_from", "_owed", "draining")

    def __init__(self, spec: FunctionSpec, *, hot: bool, freezes: bool) -> None:
        super().__init__(spec, hot=hot, freezes=freezes and hot and spec.freeze_after is not None)
        self.draining = False
        self._owed: list[float] = []  # replacements to launch: until when each may idle unused
        self._freeze_from = -NEVER  # nothing is frozen before

    def _idle_due(self, now: float, copy: Copy) -> None:
        """Something must be decided about a copy that is idle, frozen or not."""
        surplus = self.useful - copy.aged > self._wanted()  # its replacement, if it has one, counts for it
        if now >= copy.idle_until and surplus:
            self._stop(now, copy, "idle")
            return
        if now >= copy.freeze_at:
            self._freeze_or_wait(now, copy)
        if now >= copy.expires_at and not copy.aged:
            self._replace(now, copy)
        else:
            self._deadlines.set(copy, self._look_again(now, copy))

    def _look_again(self, now: float, copy: Copy) -> float:
        """Return the next deadline of a copy for which nothing is left to do now. One that has passed idle_timeout is
        kept hot on purpose; of one that has passed max_age, the back-off or its replacement decides."""
        times = (copy.idle_until, copy.freeze_at, copy.expires_at)
        return min([time for time in times if time > now], default=NEVER)

    def _wanted(self) -> int:
        """How many copies are kept whether anybody calls or not."""
        return self.spec.min_instances if self.hot and not self.draining else 0

    # ---- freezing

    def _freeze_or_wait(self, now: float, copy: Copy) -> None:
        if now >= self._freeze_from:
            self._freeze(copy)
        else:
            copy.freeze_at = self._freeze_from

    def _lost_in_frost(self, now: float, copy: Copy, reason: StopReason) -> None:
        """Give up a copy that could not be frozen or thawed. When a call waits, its place is wanted at once."""
        self._freeze_from = now + FREEZE_PAUSE
        self._stop(now, copy, reason, grace=0.0 if copy.phase == "thawing" else None)

    # ---- recycling

    def _overdue(self, now: float, copy: Copy) -> bool:
        """Whether a copy over `max_age` must go before its next call. While nothing waits, it rests and is replaced
        as an idle one; while its replacement starts, or none can be started, it goes on serving."""
        return bool(self._waiting) and not copy.aged and not self._backing_off(now)

    def _owe(self, idle_until: float = NEVER) -> None:
        """A copy is about to be recycled: have another in its place, unless one is idle or will be."""
        spare = self._idle or self._frozen or self.starting > len(self._waiting)
        if self.hot and not self.draining and not spare and self.spec.idle_timeout:
            self._owed.append(idle_until)

    def _replace(self, now: float, copy: Copy) -> None:
        """The copy is idle and over `max_age`. Where the cap allows, it serves on until its replacement is ready."""
        if self._backing_off(now):  # a copy that works is worth more than its age
            self._deadlines.set(copy, min(self._look_again(now, copy), self._backoff.due))
        elif len(self._idle) + len(self._frozen) > 1 or self.starting or len(self._copies) >= self.spec.max_concurrency:
            self._stop(now, copy, "recycled")
            self._owe(copy.idle_until)
        else:
            copy.aged = True
            self._deadlines.set(copy, self._look_again(now, copy))
            self._launch_one(now, "recycled", copy.idle_until).replaces = copy

    def _relieve(self, now: float, copy: Copy) -> None:
        """The replacement is there: what it replaces ends now, or after the call that it has."""
        old, copy.replaces = copy.replaces, None
        if old is not None and old.phase == "busy":
            old.last = True
        elif old is not None and old.phase != "stopping":
            self._stop(now, old, "recycled")

    def _give_up(self, now: float, copy: Copy) -> None:
        """There will be no replacement: what it was to replace stays until the next try."""
        old, copy.replaces = copy.replaces, None
        if old is not None:
            old.aged = False
            if old.phase in ("idle", "frozen"):
                self._idle_due(now, old)
