"""The rules of one function: facts in, actions out. This file owns them; no other place decides.

A method named after a fact (`call_arrived`, `copy_exited`: past tense) takes the time and returns actions (`Launch`,
`Assign`, `Stop`, `Fail`: imperative). State has changed when the action is returned: a copy named in an `Assign` is
busy already. Everything here is arithmetic; the clock, the dice and the world are arguments. A fact about a copy or a
call that is gone (a late reply, a cancellation that crossed the answer) is legal and changes nothing.

    phase       leaves it by
    starting    copy_ready -> idle;  launch_failed, copy_exited -> gone;  start_timeout, unwanted -> stopping
    idle        Assign -> busy;  idle_timeout, max_age, disturbed, draining -> stopping;  copy_exited -> gone
    busy        call_finished -> idle or stopping;  timeout, cancelled, drain limit -> stopping;  copy_exited -> gone
    stopping    copy_exited -> gone;  every grace that passes says Stop again, with no grace left

Every fact ends in `_settle`, which repeats match, expire, launch until nothing changes:
    match       the oldest waiting call gets the copy that became idle last
    expire      whatever has a deadline that has come
    launch      while waiting > starting and alive < max_concurrency, outside of a back-off
"""

from __future__ import annotations

from collections import Counter, OrderedDict
from typing import Literal

from .actions import Action, Assign, Drop, Fail, FailCode, Launch, LaunchReason, Stop, StopReason
from .deadlines import NEVER, Deadlines
from .model import Call, FunctionSpec

BACKOFF_FIRST = 0.1  # seconds after the first failed launch, doubled by each further one
BACKOFF_MAX = 30.0
LINGER = 60.0  # seconds without copies and calls until the function is dropped; longer than any back-off
RETRY_SATURATED = 1.0  # seconds after which a saturated function is worth another try
STOP_AGAIN = 1.0  # seconds after the first kill until the next, doubled each time up to BACKOFF_MAX

Phase = Literal["starting", "idle", "busy", "stopping"]


class _Waiter:
    """A call that has arrived. `copy` is the copy that has it or, in a cold protocol, starts for it."""

    __slots__ = ("armed", "arrived", "copy", "deadline", "due", "id")

    def __init__(self, call: Call, now: float) -> None:
        self.id = call.id
        self.arrived = now
        self.deadline = NEVER if call.deadline is None else call.deadline
        self.copy: _Copy | None = None
        self.due = self.armed = NEVER


class _Copy:
    """One instance, as far as the rules know it."""

    __slots__ = (
        "aged",
        "armed",
        "call",
        "calls",
        "due",
        "expires_at",
        "idle_until",
        "launched",
        "number",
        "phase",
        "ready",
        "reason",
        "replaces",
        "retry",
        "stop_reason",
    )

    def __init__(self, number: int, reason: LaunchReason, now: float) -> None:
        self.number = number
        self.reason = reason
        self.phase: Phase = "starting"
        self.launched = now
        self.ready = now
        self.calls = 0
        self.call: _Waiter | None = None
        self.replaces: _Copy | None = None
        self.aged = False  # over max_age, and a replacement is on its way
        self.idle_until = NEVER  # a replacement that nobody calls lives no longer than what it replaced
        self.expires_at = NEVER  # max_age
        self.stop_reason: StopReason = "idle"
        self.retry = STOP_AGAIN
        self.due = self.armed = NEVER


class _Alarm:
    """A deadline of the function as a whole."""

    __slots__ = ("armed", "due")

    def __init__(self) -> None:
        self.due = self.armed = NEVER


class SupervisorState:
    """The state of one function.

    `spec` gives the numbers; `hot` is the protocol's: the copies of a cold one are started for one call and serve only
    that. Times are seconds of one monotonic clock. `jitter`, from 0 to 1, stretches a back-off that this fact may
    begin. `launched` and `stopped` (by reason) count copies; `waiting`, `starting`, `idle`, `busy` and `stopping`
    are how many there are now.
    """

    def __init__(self, spec: FunctionSpec, *, hot: bool = True) -> None:
        self.spec = spec
        self.hot = hot
        self.launched = 0
        self.stopped: Counter[str] = Counter()
        self.starting = 0
        self.busy = 0
        self.draining = False
        self._actions: list[Action] = []
        self._calls: dict[str, _Waiter] = {}
        self._waiting: OrderedDict[str, _Waiter] = OrderedDict()
        self._copies: dict[int, _Copy] = {}
        self._idle: list[_Copy] = []
        self._owed: list[float] = []  # replacements to launch: until when each may idle unused
        self._deadlines = Deadlines()
        self._backoff, self._drain, self._linger = _Alarm(), _Alarm(), _Alarm()
        self._failures = 0
        self._jitter = 0.0
        self._last_end: StopReason | None = None
        self._dropped = False

    # ---- what can be asked

    @property
    def waiting(self) -> int:
        return len(self._waiting)

    @property
    def idle(self) -> int:
        return len(self._idle)

    @property
    def alive(self) -> int:
        """Starting, idle, busy and stopping copies: what `max_concurrency` bounds."""
        return len(self._copies)

    @property
    def stopping(self) -> int:
        return len(self._copies) - self._useful

    @property
    def _useful(self) -> int:
        """Copies that serve or will serve: all but the stopping ones."""
        return self.starting + len(self._idle) + self.busy

    def phase(self, number: int) -> Phase | None:
        """Return the phase of a copy, None when it is gone."""
        copy = self._copies.get(number)
        return copy.phase if copy else None

    def next_deadline(self) -> float:
        """Return when `time_passed` must be told next, NEVER (infinity) when nothing can happen by time alone."""
        return min(self._deadlines.next(), self._queue_due())

    def wake_at(self) -> float:
        """Return a time not after `next_deadline()`, in O(1): what a timekeeper that is asked often looks at."""
        floor = self._deadlines.floor()
        return min(floor, self._queue_due()) if self._waiting else floor

    def _queue_due(self) -> float:
        """The queue is in order of arrival, so its first call is the first to pass `queue_timeout`."""
        for waiter in self._waiting.values():
            return waiter.arrived + self.spec.queue_timeout
        return NEVER

    # ---- facts

    def started(self, now: float) -> list[Action]:
        """The function exists from now on. Launches `min_instances`."""
        return self._settle(now)

    def call_arrived(self, now: float, call: Call) -> list[Action]:
        """A call came in. Its id must be new."""
        if self.draining:
            return [Fail(call.id, "shutting_down")]
        if now < self._backoff.due < NEVER and not self._useful:
            return [Fail(call.id, "launch_failed", self._backoff.due - now)]
        waiter = _Waiter(call, now)
        self._calls[call.id] = self._waiting[call.id] = waiter
        if waiter.deadline != NEVER:
            self._deadlines.set(waiter, waiter.deadline)
        actions = self._settle(now)
        if self._waiting and len(self._waiting) - self.starting > self.spec.max_queue and call.id in self._waiting:
            self._fail(now, waiter, "saturated", RETRY_SATURATED)
            actions += self._taken()
        return actions

    def call_cancelled(self, now: float, call_id: str) -> list[Action]:
        """The caller is gone. A waiting call leaves the queue; a running one's copy is stopped."""
        waiter = self._calls.get(call_id)
        if waiter is not None:
            self._end_call(waiter)
            if waiter.copy is not None:
                self._stop(now, waiter.copy, "cancelled")
        return self._settle(now)

    def call_finished(self, now: float, number: int, retire: StopReason | None = None) -> list[Action]:
        """The copy's call has ended, well or badly. `retire` is why the copy must not be used again, if so."""
        copy = self._copies.get(number)
        if copy is not None and copy.phase == "busy":
            self._failures = 0
            self._leave(copy)
            if retire is not None:
                self._stop(now, copy, retire)
            elif copy.aged or copy.calls == self.spec.max_calls:
                self._stop(now, copy, "recycled")  # its replacement is on its way already
            elif now >= copy.expires_at:
                self._owe(NEVER)
                self._stop(now, copy, "recycled")
            else:
                self._rest(now, copy)
        return self._settle(now)

    def copy_ready(self, now: float, number: int) -> list[Action]:
        """The copy can take its first call."""
        copy = self._copies.get(number)
        if copy is not None and copy.phase == "starting":
            self._leave(copy)
            self._deadlines.forget(self._backoff)
            copy.ready = now
            if self.spec.max_age is not None:
                copy.expires_at = now + self.spec.max_age
            self._rest(now, copy)
            self._relieve(now, copy)
        return self._settle(now)

    def copy_disturbed(self, now: float, number: int, reason: StopReason, jitter: float = 0.0) -> list[Action]:
        """A copy without a call did what it must not: it wrote bytes that nobody asked for, or closed its stdout."""
        copy = self._copies.get(number)
        if copy is not None and copy.phase in ("starting", "idle"):
            self._jitter = jitter
            self._stop(now, copy, reason)
            if copy.calls == 0:
                self._launch_went_wrong(now, copy)
        return self._settle(now)

    def copy_exited(self, now: float, number: int, jitter: float = 0.0) -> list[Action]:
        """The copy is gone: by itself, as asked, or killed by somebody. A starting one could not be started."""
        copy = self._copies.pop(number, None)
        if copy is not None:
            self._jitter = jitter
            self._gone(now, copy)
        return self._settle(now)

    def time_passed(self, now: float, jitter: float = 0.0) -> list[Action]:
        """It is `now`. To be told at `next_deadline()`; any other time does no harm."""
        self._jitter = jitter
        return self._settle(now)

    def drain_requested(self, now: float, limit: float | None, *, serve_waiting: bool) -> list[Action]:
        """No new calls from now on. Waiting ones are served or failed, running ones may finish within `limit`
        seconds (None: as long as they take) and are then killed. Ends in `Drop`. Said again, the nearer end wins."""
        self.draining = True
        self._owed.clear()
        self._deadlines.forget(self._linger)
        if not serve_waiting:
            self._fail_waiting(now)
        if limit is not None and now + limit < self._drain.due:
            self._deadlines.set(self._drain, now + limit)
        return self._settle(now)

    # ---- settle: match, expire, launch

    def _settle(self, now: float) -> list[Action]:
        """Repeat match, expire, launch until nothing changes, and hand over the actions."""
        while True:
            if self._idle and (self._waiting or not self.hot):
                self._match(now)
            if self.wake_at() <= now and self._expire(now):
                continue
            if self.draining:
                self._stop_unwanted(now)
            if len(self._copies) >= self.spec.max_concurrency or not self._launch(now):
                break
        if not self._copies:
            self._when_empty(now)
        return self._taken()

    def _taken(self) -> list[Action]:
        actions = self._actions
        self._actions = []
        return actions

    def _match(self, now: float) -> None:
        """Give waiting calls to idle copies: the oldest call to the copy that was used last."""
        if not self.hot:
            self._match_cold(now)
        while self._waiting and self._idle:
            waiter = next(iter(self._waiting.values()))
            if waiter.deadline <= now:
                self._fail(now, waiter, "queue_timeout", RETRY_SATURATED)
            else:
                self._assign(now, self._idle.pop(), waiter)

    def _match_cold(self, now: float) -> None:
        """A cold copy was started for one call and gets that."""
        for copy in self._idle[:]:
            waiter = copy.call
            assert waiter is not None  # a cold copy whose call left was stopped then
            if waiter.deadline <= now:
                self._fail(now, waiter, "queue_timeout", RETRY_SATURATED)
                self._stop(now, copy, "cancelled")
            else:
                self._idle.remove(copy)
                self._assign(now, copy, waiter)

    def _assign(self, now: float, copy: _Copy, waiter: _Waiter) -> None:
        del self._waiting[waiter.id]
        if waiter.armed != NEVER:
            self._deadlines.forget(waiter)
        copy.phase = "busy"
        copy.call = waiter
        copy.calls += 1
        waiter.copy = copy
        self.busy += 1
        expires = min(now + self.spec.timeout, waiter.deadline)
        self._deadlines.set(copy, expires)
        if copy.calls == 1 and waiter.arrived <= copy.ready and copy.reason != "min_instances":
            started = copy.ready - max(copy.launched, waiter.arrived)
            self._actions.append(Assign(copy.number, waiter.id, expires, copy.reason, started))
        else:
            self._actions.append(Assign(copy.number, waiter.id, expires))
        if copy.calls == self.spec.max_calls:
            self._owe(NEVER)  # its last call: the next copy starts while this one still works

    def _expire(self, now: float) -> bool:
        """Act on every deadline that has come. Returns whether there was any."""
        changed = False
        while (thing := self._deadlines.pop(now)) is not None:
            changed = True
            if isinstance(thing, _Copy):
                self._copy_due(now, thing)
            elif isinstance(thing, _Waiter):
                self._fail(now, thing, "queue_timeout", RETRY_SATURATED)
            elif thing is self._drain:
                self._drain_limit(now)
            elif thing is self._linger:
                self._drop()
        while self._queue_due() <= now:
            changed = True
            self._fail(now, next(iter(self._waiting.values())), "queue_timeout", RETRY_SATURATED)
        return changed

    def _copy_due(self, now: float, copy: _Copy) -> None:
        if copy.phase == "starting":
            self._stop(now, copy, "start_failed", grace=0.0)
            self._launch_went_wrong(now, copy)
        elif copy.phase == "busy":
            assert copy.call is not None
            self._fail(now, copy.call, "call_timeout")
            self._stop(now, copy, "timeout")
        elif copy.phase == "stopping":
            self._actions.append(Stop(copy.number, 0.0, copy.stop_reason))
            self._deadlines.set(copy, now + copy.retry)
            copy.retry = min(2 * copy.retry, BACKOFF_MAX)
        else:
            self._idle_due(now, copy)

    def _idle_due(self, now: float, copy: _Copy) -> None:
        surplus = self._useful - copy.aged > self._wanted()  # its replacement, if it has one, counts for it
        if now >= copy.idle_until and surplus:
            self._stop(now, copy, "idle")
        elif now >= copy.expires_at and not copy.aged:
            self._retire_idle(now, copy)
        else:  # kept hot on purpose
            self._deadlines.set(copy, NEVER if copy.aged else copy.expires_at)

    def _launch(self, now: float) -> bool:
        """Launch what is needed and allowed. Returns whether anything was."""
        changed = False
        while self._backoff.due == NEVER and len(self._copies) < self.spec.max_concurrency:
            if len(self._waiting) > self.starting:
                self._launch_for_call(now)
            elif self._owed:
                self._launch_one(now, "recycled", self._owed.pop())
            elif self._useful < self._wanted():
                self._launch_one(now, "min_instances")
            else:
                break
            changed = True
        return changed

    def _wanted(self) -> int:
        """How many copies are kept whether anybody calls or not."""
        return self.spec.min_instances if self.hot and not self.draining else 0

    def _launch_for_call(self, now: float) -> None:
        if self._owed:
            self._owed.pop()  # this copy replaces the recycled one as well
        waiter = None
        if not self.hot:
            waiter = next(one for one in self._waiting.values() if one.copy is None)
        self._launch_one(now, self._cold_reason(), waiter=waiter)

    def _cold_reason(self) -> LaunchReason:
        """Why the oldest uncovered call has to wait for a start."""
        if self.busy or self.starting:
            return "all_busy"
        if self._last_end in (None, "idle", "drained"):
            return "first"
        return "recycled" if self._last_end == "recycled" else "after_failure"

    def _launch_one(
        self, now: float, reason: LaunchReason, idle_until: float = NEVER, waiter: _Waiter | None = None
    ) -> _Copy:
        copy = _Copy(self.launched + 1, reason, now)
        copy.idle_until = idle_until
        self.launched = copy.number
        self.starting += 1
        self._copies[copy.number] = copy
        self._deadlines.set(copy, now + self.spec.start_timeout)
        self._deadlines.forget(self._linger)
        if waiter is not None:
            waiter.copy, copy.call = copy, waiter
        self._actions.append(Launch(copy.number, reason, waiter.id if waiter else ""))
        return copy

    # ---- what happens to a copy

    def _leave(self, copy: _Copy) -> None:
        """Take the copy out of the phase it is in. It counts as stopping until it is put into another."""
        if copy.phase == "starting":
            self.starting -= 1
        elif copy.phase == "busy":
            self.busy -= 1
            if copy.call is not None:
                self._calls.pop(copy.call.id, None)
                copy.call = None
        elif copy.phase == "idle":
            self._idle.remove(copy)
        copy.phase = "stopping"

    def _rest(self, now: float, copy: _Copy) -> None:
        """The copy has nothing to do from now on."""
        copy.phase = "idle"
        self._idle.append(copy)
        until = now + self.spec.idle_timeout
        copy.idle_until = until if copy.calls else min(until, copy.idle_until)
        self._deadlines.set(copy, min(copy.idle_until, copy.expires_at))

    def _stop(self, now: float, copy: _Copy, reason: StopReason, grace: float | None = None) -> None:
        self._leave(copy)
        grace = self.spec.stop_grace if grace is None else grace
        copy.stop_reason = self._last_end = reason
        self.stopped[reason] += 1
        self._deadlines.set(copy, now + grace if grace else now + copy.retry)
        self._actions.append(Stop(copy.number, grace, reason))

    def _gone(self, now: float, copy: _Copy) -> None:
        """The copy is out of the count already; settle what hung on it."""
        phase, call = copy.phase, copy.call
        self._deadlines.forget(copy)
        if phase == "stopping":
            return
        self._leave(copy)
        self._last_end = "start_failed" if phase == "starting" else "exited"
        self.stopped[self._last_end] += 1
        if phase == "busy" and call is not None:
            self._fail(now, call, "instance_exited")
        elif copy.calls == 0:
            self._launch_went_wrong(now, copy)

    def _launch_went_wrong(self, now: float, copy: _Copy) -> None:
        """A copy ended before its first call. Back off; fail a call if nobody else is there to serve it."""
        self._failures += 1
        delay = min(BACKOFF_MAX, BACKOFF_FIRST * 2.0 ** min(self._failures - 1, 20))
        self._deadlines.set(self._backoff, now + delay * (1 + self._jitter) / 2)
        self._owed.clear()
        self._relieve(now, copy)
        victim, copy.call = copy.call, None
        if victim is not None:
            victim.copy = None  # of a cold protocol: it may wait for another start
        elif self._waiting:
            victim = next(iter(self._waiting.values()))
        if victim is not None and not self._useful:
            self._fail(now, victim, "launch_failed", self._backoff.due - now)

    def _owe(self, idle_until: float) -> None:
        """A copy is about to be recycled: have another in its place, unless one is idle anyway."""
        if self.hot and not self.draining and not self._idle:
            self._owed.append(idle_until)

    def _retire_idle(self, now: float, copy: _Copy) -> None:
        """The copy is idle and over `max_age`. Where the cap allows it goes on serving until its replacement is ready."""
        alone = len(self._idle) == 1 and not self.starting
        room = len(self._copies) < self.spec.max_concurrency and self._backoff.due == NEVER and not self.draining
        if alone and room:
            copy.aged = True
            self._deadlines.set(copy, copy.idle_until)
            self._launch_one(now, "recycled", copy.idle_until).replaces = copy
        else:
            self._stop(now, copy, "recycled")
            self._owe(copy.idle_until)

    def _relieve(self, now: float, copy: _Copy) -> None:
        """The replacement is there, or failed: what it replaces ends now, or after the call it has."""
        old, copy.replaces = copy.replaces, None
        if old is not None and old.phase == "idle":
            self._stop(now, old, "recycled")

    # ---- what happens to a call

    def _end_call(self, waiter: _Waiter) -> None:
        self._calls.pop(waiter.id, None)
        self._waiting.pop(waiter.id, None)
        self._deadlines.forget(waiter)

    def _fail(self, now: float, waiter: _Waiter, code: FailCode, retry_after: float | None = None) -> None:
        self._end_call(waiter)
        self._actions.append(Fail(waiter.id, code, retry_after))
        if waiter.copy is not None and waiter.copy.phase == "starting":
            self._stop(now, waiter.copy, "cancelled", grace=0.0)  # a cold copy, started for nobody now

    def _fail_waiting(self, now: float) -> None:
        for waiter in list(self._waiting.values()):
            self._fail(now, waiter, "shutting_down")

    # ---- the end

    def _stop_unwanted(self, now: float) -> None:
        """While draining, only copies that have or will have a call are of use."""
        for copy in self._idle[:]:
            self._stop(now, copy, "drained")
        if self.starting > len(self._waiting):
            for copy in [one for one in self._copies.values() if one.phase == "starting"][len(self._waiting) :]:
                self._stop(now, copy, "drained", grace=0.0)

    def _drain_limit(self, now: float) -> None:
        self._fail_waiting(now)
        for copy in list(self._copies.values()):
            if copy.phase == "stopping":
                self._deadlines.set(copy, now)
                continue
            if copy.phase == "busy" and copy.call is not None:
                self._fail(now, copy.call, "aborted")
            self._stop(now, copy, "drained", grace=0.0)

    def _when_empty(self, now: float) -> None:
        if self._waiting or self._wanted():
            return
        if self.draining:
            self._drop()
        elif self._linger.due == NEVER and not self._dropped:
            self._deadlines.set(self._linger, now + LINGER)

    def _drop(self) -> None:
        if not self._dropped:
            self._dropped = True
            self._actions.append(Drop())
