"""The rules for launches: when a copy is needed, when none may be launched because those before it failed, and how fast
copies may follow one another that die under their first call. `state` has the facts."""

from __future__ import annotations

from .actions import LaunchReason
from .deadlines import NEVER
from .lining import Lining
from .model import FunctionSpec
from .records import Copy, Waiter

BACKOFF_FIRST = 0.1  # seconds after the first failed launch, doubled by each further one
BACKOFF_MAX = 30.0
CRASHES_FREE = 3  # in a row that cost nothing
PACE_FIRST = 0.1  # seconds between two launches after those, doubled by each further crash
PACE_MAX = 1.0


class Launching(Lining):
    """The rules for the launches of one function.

    `crashes` is how many copies in a row ended badly under their first call before any had answered. Unlike a failed
    launch that may be the fault of the calls, so those go on waiting and each gets its copy, only not at once: a start
    costs all other functions processor time.
    """

    __slots__ = ("_crashed_at", "_failures", "_jitter", "crashes")

    def __init__(self, spec: FunctionSpec, *, hot: bool = True, freezes: bool = True) -> None:
        super().__init__(spec, hot=hot, freezes=freezes)
        self.crashes = 0
        self._crashed_at = -NEVER
        self._failures = 0  # rounds of launches that failed in a row
        self._jitter = 0.0

    def _launch(self, now: float) -> bool:
        """Launch what is needed and allowed. Returns whether anything was."""
        before = self.launched
        while self._backoff.due == self._pace.due == NEVER and len(self._copies) < self.spec.max_concurrency:
            if len(self._waiting) > self.starting:
                self._launch_for_call(now)
            elif self._owed:
                idle_until = self._owed.pop()
                if now < idle_until:  # else it would be stopped as soon as it is ready
                    self._launch_one(now, "recycled", idle_until)
            elif (wanted := self._wanted()) and self.useful < wanted:
                self._launch_one(now, "min_instances")
            else:
                break
        return self.launched > before

    def _launch_for_call(self, now: float) -> None:
        spare = bool(self._owed)
        if spare:
            self._owed.pop()  # this copy replaces the recycled one as well
        waiter = None if self.hot else next((one for one in self._waiting.values() if one.copy is None), None)
        assert self.hot or waiter is not None  # more calls wait than copies start, so one has none yet
        self._launch_one(now, self._cold_reason(), waiter=waiter, spare=spare)

    def _launch_one(
        self,
        now: float,
        reason: LaunchReason,
        idle_until: float = NEVER,
        waiter: Waiter | None = None,
        *,
        spare: bool = True,
    ) -> Copy:
        """Launch a copy, and none after it for a while when it is likely to crash as well."""
        if self.paced:
            doublings = min(self.crashes - CRASHES_FREE, 20)
            self._deadlines.set(self._pace, now + min(PACE_MAX, PACE_FIRST * 2.0**doublings))
        return super()._launch_one(now, reason, idle_until, waiter, spare=spare)

    # ---- what went wrong

    @property
    def paced(self) -> int:
        """How many crashes in a row make launches follow one another with pauses; 0 when they do not."""
        return self.crashes if self.crashes >= CRASHES_FREE else 0

    def _launch_went_wrong(self, now: float, copy: Copy) -> None:
        """A copy ended before its first call. Back off; fail a call if nobody else is there to serve it."""
        if not self._backing_off(now):  # launches that fail side by side are one failure, not many in a row
            self._failures += 1
            delay = min(BACKOFF_MAX, BACKOFF_FIRST * 2.0 ** min(self._failures - 1, 20))
            self._deadlines.set(self._backoff, now + delay * (1 + self._jitter) / 2)
        self._owed.clear()
        self._give_up(now, copy)
        self._clear_line(now)
        victim = copy.call or (self._oldest() if self._waiting else None)
        copy.call = None
        if victim is not None:
            victim.copy = None  # of a cold protocol: it may wait for another start
            if not self.useful:
                self._fail(now, victim, "launch_failed", self._backoff.due - now)

    def _crashed(self, now: float, copy: Copy) -> None:
        """The copy's call ended badly through the copy. Copies that die side by side are one crash; those of a cold
        protocol end with every call, badly when the function says no."""
        if self.hot and not copy.proven and copy.launched >= self._crashed_at:
            self.crashes += 1
            self._crashed_at = now

    def _answered(self) -> None:
        """A copy works: launches are free again."""
        self.crashes = 0
        self._deadlines.forget(self._pace)
