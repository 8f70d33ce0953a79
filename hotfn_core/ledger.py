"""What there is of one function: its calls, its copies, its deadlines, and the moves between their phases.

Nothing is decided here; `state` decides. Each move keeps every count right and writes down the action it stands for,
so that what the rules know and what they say cannot part ways.
"""

from __future__ import annotations

from collections import Counter, OrderedDict

from .actions import Action, Assign, Drop, Fail, FailCode, Freeze, Launch, LaunchReason, Stop, StopReason, Thaw
from .deadlines import NEVER, Deadlines
from .model import FunctionSpec, new_tuple
from .records import Alarm, Copy, Phase, Waiter

STOP_AGAIN = 1.0  # seconds after a kill until the next one, doubled each time up to STOP_AGAIN_MAX
STOP_AGAIN_MAX = 30.0
THAW_LIMIT = 5.0  # seconds until a copy that does not thaw is given up


class Ledger:
    """The books of one function.

    `launched` and `stopped` (by reason) count copies. `waiting`, `starting`, `idle`, `frozen`, `busy` and `stopping`
    are how many there are now; `thawing` are those of the starting ones that were frozen. Times are seconds of one
    monotonic clock.
    """

    __slots__ = (
        "_actions",
        "_backoff",
        "_calls",
        "_copies",
        "_deadlines",
        "_drain",
        "_dropped",
        "_freezes",
        "_fresh",
        "_frozen",
        "_idle",
        "_in_line",
        "_last_end",
        "_linger",
        "_pace",
        "_waiting",
        "busy",
        "hot",
        "launched",
        "spec",
        "starting",
        "stopped",
        "thawing",
    )

    def __init__(self, spec: FunctionSpec, *, hot: bool, freezes: bool) -> None:
        self.spec = spec
        self.hot = hot
        self._freezes = freezes
        self.launched = 0
        self.stopped: Counter[str] = Counter()
        self.starting = 0
        self.thawing = 0
        self.busy = 0
        self._in_line = 0  # starting copies that wait for their driver and were launched for a call
        self._actions: list[Action] = []
        self._calls: dict[str, Waiter] = {}
        self._waiting: OrderedDict[str, Waiter] = OrderedDict()  # of _calls; its first is found in O(1)
        self._copies: dict[int, Copy] = {}
        self._idle: list[Copy] = []
        self._frozen: list[Copy] = []
        self._deadlines = Deadlines()
        self._backoff, self._pace, self._drain, self._linger = Alarm(), Alarm(), Alarm(), Alarm()
        self._fresh: Copy | None = None  # became ready in this very fact
        self._last_end: StopReason | None = None
        self._dropped = False

    # ---- what can be asked

    @property
    def waiting(self) -> int:
        """Calls that no copy has yet."""
        return len(self._waiting)

    @property
    def idle(self) -> int:
        """Copies that can take a call at once."""
        return len(self._idle)

    @property
    def frozen(self) -> int:
        """Copies that have to be thawed before they can take a call."""
        return len(self._frozen)

    @property
    def alive(self) -> int:
        """Copies of every phase, the stopping ones too: what `max_concurrency` bounds."""
        return len(self._copies)

    @property
    def useful(self) -> int:
        """Copies that serve or will serve: all but the stopping ones."""
        return self.starting + len(self._idle) + len(self._frozen) + self.busy

    @property
    def stopping(self) -> int:
        """Copies that have been told to end and are not gone."""
        return len(self._copies) - self.useful

    def phase(self, number: int) -> Phase | None:
        """Return the phase of a copy, None when it is gone."""
        copy = self._copies.get(number)
        return copy.phase if copy else None

    def next_deadline(self) -> float:
        """Return when `time_passed` must be told next, NEVER (infinity) when nothing can happen by time alone."""
        return min(self._deadlines.next(), self._queue_due())

    def wake_at(self) -> float:
        """Return a time not after `next_deadline()`, in O(1): what a timekeeper that is asked often looks at."""
        floor = self._deadlines.floor
        return min(floor, self._queue_due()) if self._waiting else floor

    def _queue_due(self) -> float:
        """The queue is in order of arrival, so its first call is the first to pass `queue_timeout`."""
        return self._oldest().arrived + self.spec.queue_timeout if self._waiting else NEVER

    def _oldest(self) -> Waiter:
        return next(iter(self._waiting.values()))

    def _backing_off(self, now: float) -> bool:
        return now < self._backoff.due < NEVER

    def _cold_reason(self) -> LaunchReason:
        """Why the oldest uncovered call has to wait for a start."""
        if self.busy or self.starting:
            return "all_busy"
        if self._last_end in (None, "idle", "drained"):
            return "first"
        return "recycled" if self._last_end == "recycled" else "after_failure"

    # ---- moves of a copy

    def _launch_one(
        self,
        now: float,
        reason: LaunchReason,
        idle_until: float = NEVER,
        waiter: Waiter | None = None,
        *,
        spare: bool = True,
    ) -> Copy:
        copy = Copy(self.launched + 1, reason, now, idle_until, STOP_AGAIN)
        copy.spare = spare
        self.launched = copy.number
        self.starting += 1
        self._copies[copy.number] = copy
        self._deadlines.set(copy, now + self.spec.start_timeout)
        self._deadlines.forget(self._linger)
        self._dropped = False
        if waiter is not None:
            waiter.copy, copy.call = copy, waiter
        self._actions.append(Launch(copy.number, reason, waiter.id if waiter else ""))
        return copy

    def _line_up(self, copy: Copy) -> None:
        """The driver does not take the copy yet. It has no deadline: the calls have theirs, and a turn will come."""
        copy.lined = True
        self._in_line += not copy.spare
        self._deadlines.set(copy, NEVER)

    def _begin(self, now: float, copy: Copy) -> None:
        """The driver starts the copy, which has waited in line, from now on."""
        self._leave_line(copy)
        copy.launched = now
        self._deadlines.set(copy, now + self.spec.start_timeout)

    def _leave_line(self, copy: Copy) -> None:
        self._in_line -= not copy.spare
        copy.lined = False

    def _leave(self, copy: Copy) -> None:
        """Take the copy out of the phase it is in. It counts as stopping until it is put into another."""
        if copy.phase == "busy":
            self.busy -= 1
            assert copy.call is not None
            self._calls.pop(copy.call.id, None)  # gone already if the end of the call is why the copy leaves
            copy.call = None
        elif copy.phase == "idle":
            self._idle.remove(copy)
        elif copy.phase == "frozen":
            self._frozen.remove(copy)
        elif copy.phase != "stopping":
            self.starting -= 1
            self.thawing -= copy.phase == "thawing"
            if copy.lined:
                self._leave_line(copy)
        copy.phase = "stopping"

    def _assign(self, now: float, copy: Copy, waiter: Waiter) -> None:
        """Give the call to the copy, which has been taken out of the idle ones."""
        del self._waiting[waiter.id]
        if waiter.armed != NEVER:
            self._deadlines.forget(waiter)
        copy.phase = "busy"
        copy.call = waiter
        copy.calls += 1
        copy.last = not self.hot or copy.calls == self.spec.max_calls
        waiter.copy = copy
        self.busy += 1
        expires = now + self.spec.timeout
        if waiter.deadline < expires:  # noqa: PLR1730 -- the hot path
            expires = waiter.deadline
        self._deadlines.set(copy, expires)
        if copy is self._fresh:
            cold = "first" if copy.reason == "min_instances" else copy.reason
            started = now - max(copy.launched, waiter.arrived)
            self._actions.append(Assign(copy.number, waiter.id, expires, cold, started))
        else:
            self._actions.append(new_tuple(Assign, (copy.number, waiter.id, expires, "", 0.0)))

    def _rest(self, now: float, copy: Copy) -> None:
        """The copy, taken out of its phase, has nothing to do from now on."""
        copy.phase = "idle"
        self._idle.append(copy)
        until = now + self.spec.idle_timeout
        if copy.calls or until < copy.idle_until:
            copy.idle_until = until
        due = copy.idle_until if copy.idle_until < copy.expires_at else copy.expires_at  # noqa: FURB136
        if self._freezes:
            due = min(due, self._freeze_later(now, copy))
        self._deadlines.set(copy, due)

    def _rest_again(self, now: float, copy: Copy) -> None:
        """The copy, which was thawed, is idle for as long as it would have been anyway."""
        self._leave(copy)
        copy.phase = "idle"
        self._idle.append(copy)
        self._deadlines.set(copy, min(copy.idle_until, copy.expires_at, self._freeze_later(now, copy)))

    def _freeze_later(self, now: float, copy: Copy) -> float:
        assert self.spec.freeze_after is not None
        copy.freeze_at = now + self.spec.freeze_after
        return copy.freeze_at

    def _freeze(self, copy: Copy) -> None:
        """Suspend the copy, which is idle. Its deadline is for the caller to set."""
        self._leave(copy)
        copy.phase = "frozen"
        copy.freeze_at = NEVER
        self._frozen.append(copy)
        self._actions.append(Freeze(copy.number))

    def _thaw(self, now: float, copy: Copy) -> None:
        """Wake the copy, which is frozen, for a call that waits."""
        self._leave(copy)
        copy.phase = "thawing"
        self.starting += 1
        self.thawing += 1
        self._deadlines.set(copy, now + THAW_LIMIT)
        self._actions.append(Thaw(copy.number))

    def _stop(self, now: float, copy: Copy, reason: StopReason, grace: float | None = None) -> None:
        """End the copy. It gets `stop_grace` when no other `grace` is given, and none while it starts."""
        if grace is None:
            grace = 0.0 if copy.phase == "starting" else self.spec.stop_grace
        self._leave(copy)
        copy.grace = grace
        copy.stop_reason = reason
        if reason != "not_needed":  # there was nothing of that copy yet
            self._last_end = reason
        self.stopped[reason] += 1
        self._deadlines.set(copy, now + (grace or copy.retry))
        self._actions.append(Stop(copy.number, grace, reason))

    def _stop_again(self, now: float, copy: Copy) -> None:
        """The copy was told to end and is still there."""
        copy.grace = 0.0
        self._actions.append(Stop(copy.number, 0.0, copy.stop_reason))
        self._deadlines.set(copy, now + copy.retry)
        copy.retry = min(2 * copy.retry, STOP_AGAIN_MAX)

    def _end_grace(self, now: float) -> None:
        """Copies that were told to end are told again at once, unless they were killed already."""
        for copy in self._copies.values():
            if copy.phase == "stopping" and copy.grace:
                self._deadlines.set(copy, now)

    # ---- moves of a call

    def _end_call(self, waiter: Waiter) -> None:
        self._calls.pop(waiter.id, None)
        self._waiting.pop(waiter.id, None)
        self._deadlines.forget(waiter)

    def _fail(self, now: float, waiter: Waiter, code: FailCode, retry_after: float | None = None) -> None:
        self._end_call(waiter)
        self._actions.append(Fail(waiter.id, code, retry_after))
        if waiter.copy is not None and waiter.copy.phase in ("starting", "idle"):
            self._stop(now, waiter.copy, "cancelled")  # a cold copy, started for nobody now

    def _fail_waiting(self, now: float) -> None:
        for waiter in list(self._waiting.values()):
            self._fail(now, waiter, "shutting_down")

    def _drop(self) -> None:
        self._dropped = True
        for alarm in (self._backoff, self._pace, self._drain):
            self._deadlines.forget(alarm)
        self._actions.append(Drop())
