"""The rules of one function: facts in, actions out. This file owns them, `resting` those for copies without a call,
`launching` those for launches, `lining` those for copies that wait for their driver; no other place decides.

A method named after a fact (`call_arrived`, `copy_exited`: past tense) takes the time and returns actions (`Launch`,
`Assign`, `Stop`, `Fail`: imperative). State has changed when the action is returned: a copy named in an `Assign` is
busy already. Everything here is arithmetic; the clock, the dice and the world are arguments. A fact about a copy or a
call that is gone (a late reply, a cancellation that crossed the answer) is legal and changes nothing.

    phase       leaves it by
    starting    copy_ready -> idle;  start_timeout, disturbed, unwanted -> stopping;  copy_exited -> gone
                (copy_lined_up: its driver does not take it yet;  copy_begun: now it does)
    idle        Assign -> busy;  freeze_after -> frozen;
                idle_timeout, max_age, disturbed, draining -> stopping;  copy_exited -> gone
    frozen      Thaw -> thawing;  as idle, and freezing_failed -> stopping;  copy_exited -> gone
    thawing     copy_thawed -> idle;  THAW_LIMIT, freezing_failed, disturbed, unwanted -> stopping;  copy_exited -> gone
    busy        call_finished -> idle or stopping;  timeout, cancelled, drain limit -> stopping;  copy_exited -> gone
    stopping    copy_exited -> gone;  every grace that passes says Stop again, with no grace left

Every fact ends in `_settle`, which repeats match, thaw, expire, withdraw, launch until nothing changes:
    match       the oldest waiting call gets the copy that became idle last
    thaw        while waiting > thawing and there is a frozen copy; of several, the one that became idle last
    expire      whatever has a deadline that has come
    withdraw    what waits in line for its driver and no call needs any more
    launch      while waiting > starting (a thawing copy is starting) and alive < max_concurrency, outside of a back-off
                and of the pause between the launches of a crash loop
"""

from __future__ import annotations

from .actions import Action, CallEnd, Fail, StopReason
from .deadlines import NEVER
from .launching import Launching
from .model import Call
from .records import Copy, Waiter

LINGER = 60.0  # seconds without copies and calls until the function is dropped; longer than any back-off
RETRY_SATURATED = 1.0  # seconds after which a saturated function is worth another try


class SupervisorState(Launching):
    """The state of one function.

    `spec` gives the numbers; `hot` is the protocol's: the copies of a cold one are started for one call and serve only
    that. `freezes`: the driver can do what `freeze_after` asks for. `jitter`, from 0 to 1, stretches a back-off that
    this fact may begin: from half of its length to all of it.
    """

    __slots__ = ()

    # ---- facts

    def started(self, now: float) -> list[Action]:
        """The function exists from now on. Launches `min_instances`."""
        return self._settle(now)

    def call_arrived(self, now: float, call: Call) -> list[Action]:
        """A call came in. Its id must be new."""
        if self.draining or (now < self._backoff.due < NEVER and not self.useful):
            return [self._refusal(now, call), *self._settle(now)]
        waiter = Waiter(call, now)
        self._calls[call.id] = self._waiting[call.id] = waiter
        if waiter.deadline != NEVER:
            self._deadlines.set(waiter, waiter.deadline)
        if self._linger.due != NEVER:
            self._deadlines.forget(self._linger)
        actions = self._settle(now)
        if self._waiting and len(self._waiting) - self.starting > self.spec.max_queue and call.id in self._waiting:
            self._fail(now, waiter, "saturated", RETRY_SATURATED)
            actions += self._settle(now)
        return actions

    def _refusal(self, now: float, call: Call) -> Fail:
        later = self._backoff.due - now
        return Fail(call.id, "shutting_down") if self.draining else Fail(call.id, "launch_failed", later)

    def call_cancelled(self, now: float, call_id: str) -> list[Action]:
        """The caller is gone. A waiting call leaves the queue; a running one's copy is stopped."""
        waiter = self._calls.get(call_id)
        if waiter is not None:
            self._end_call(waiter)
            if waiter.copy is not None:
                self._stop(now, waiter.copy, "cancelled")
        return self._settle(now)

    def call_finished(
        self, now: float, number: int, retire: StopReason | None = None, how: CallEnd = "answered"
    ) -> list[Action]:
        """The copy's call has ended. `retire` is why the copy must not be used again, if so."""
        copy = self._copies.get(number)
        if copy is not None and copy.phase == "busy":
            if how == "answered":
                copy.proven = True
                self._failures = 0
                if self.crashes:
                    self._answered()
            elif how == "broke":
                self._crashed(now, copy)
            self._leave(copy)
            if retire is None and (copy.last or (now >= copy.expires_at and self._overdue(now, copy))):
                retire = "recycled"
            if retire is None:
                self._rest(now, copy)
            else:
                self._stop(now, copy, retire)
        return self._settle(now)

    def copy_lined_up(self, now: float, number: int) -> list[Action]:
        """The driver starts as many copies as it may: this one, just launched, waits for its turn."""
        copy = self._copies.get(number)
        if copy is not None and copy.phase == "starting" and not copy.lined:
            self._line_up(copy)
            if self._backing_off(now):
                self._clear_line(now)
        return self._settle(now)

    def copy_begun(self, now: float, number: int) -> list[Action]:
        """It is the turn of the copy that waited in line: its start begins, and with it `start_timeout`."""
        copy = self._copies.get(number)
        if copy is not None and copy.lined:
            self._begin(now, copy)
        return self._settle(now)

    def copy_ready(self, now: float, number: int) -> list[Action]:
        """The copy can take its first call."""
        copy = self._copies.get(number)
        if copy is not None and copy.phase == "starting":
            self._leave(copy)
            self._deadlines.forget(self._backoff)
            if self.spec.max_age is not None:
                copy.expires_at = now + self.spec.max_age
            self._rest(now, copy)
            self._relieve(now, copy)
            self._fresh = copy
        actions = self._settle(now)
        self._fresh = None
        return actions

    def copy_disturbed(self, now: float, number: int, reason: StopReason, jitter: float = 0.0) -> list[Action]:
        """A copy without a call did what it must not: it wrote bytes that nobody asked for, or closed its stdout."""
        copy = self._copies.get(number)
        if copy is not None and copy.phase not in ("busy", "stopping"):
            self._jitter = jitter
            useless = copy.calls == 0 and copy.phase != "thawing"
            self._stop(now, copy, reason)
            if useless:
                self._launch_went_wrong(now, copy)
        return self._settle(now)

    def copy_thawed(self, now: float, number: int) -> list[Action]:
        """The copy that was frozen runs again and can take a call."""
        copy = self._copies.get(number)
        if copy is not None and copy.phase == "thawing":
            self._rest_again(now, copy)
        return self._settle(now)

    def freezing_failed(self, now: float, number: int, reason: StopReason) -> list[Action]:
        """The copy could not be frozen (`freeze_failed`) or thawed (`thaw_failed`): nobody knows whether it runs, so no
        call may get it. A call that waits for it gets another. It is no failed launch."""
        copy = self._copies.get(number)
        if copy is not None and copy.phase in ("frozen", "thawing"):
            self._lost_in_frost(now, copy, reason)
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
        if limit is not None and not self._dropped and now + limit < self._drain.due:
            self._deadlines.set(self._drain, now + limit)
        return self._settle(now)

    def kill_requested(self, now: float) -> list[Action]:
        """A drain without time, and without any more grace: whatever there is of the function is killed."""
        actions = self.drain_requested(now, 0.0, serve_waiting=False)
        self._end_grace(now)
        return actions + self._settle(now)

    # ---- settle: match, thaw, expire, withdraw, launch

    def _settle(self, now: float) -> list[Action]:
        """Repeat match, thaw, expire, withdraw, launch until nothing changes, and hand over the actions."""
        while True:
            if self._waiting:
                if self._idle:
                    self._match(now)
                if self._frozen:
                    self._thaw_for_calls(now)
            if self.draining:
                self._stop_unwanted(now)
            if (self._waiting or self._deadlines.floor <= now) and self._expire(now):
                continue
            if self._in_line and self.starting > len(self._waiting):
                self._withdraw(now)
            if len(self._copies) >= self.spec.max_concurrency or not self._launch(now):
                break
        if not self._copies:
            self._when_empty(now)
        actions, self._actions = self._actions, []
        return actions

    def _match(self, now: float) -> None:
        """Give waiting calls to idle copies: the oldest call to the copy that was used last."""
        while self._waiting and self._idle:
            # A cold copy was started for one call and gets that.
            waiter = self._idle[-1].call or next(iter(self._waiting.values()))
            if waiter.deadline <= now:
                self._fail(now, waiter, "queue_timeout", RETRY_SATURATED)
                continue
            copy = self._idle.pop()
            self._assign(now, copy, waiter)
            if copy.last and not copy.aged:
                self._owe()  # the next copy starts while this one still works

    def _thaw_for_calls(self, now: float) -> None:
        """Thaw a copy for each waiting call, also when another starts for it: that takes longer."""
        while self._frozen and len(self._waiting) > self.thawing:
            waiter = self._oldest()
            if waiter.deadline <= now:
                self._fail(now, waiter, "queue_timeout", RETRY_SATURATED)
            else:
                self._thaw(now, self._frozen[-1])

    def _expire(self, now: float) -> bool:
        """Act on every deadline that has come. Returns whether there was any."""
        changed = False
        while (thing := self._deadlines.pop(now)) is not None:
            changed = True
            if isinstance(thing, Copy):
                self._copy_due(now, thing)
            elif isinstance(thing, Waiter):
                self._fail(now, thing, "queue_timeout", RETRY_SATURATED)
            elif thing is self._drain:
                self._drain_limit(now)
            elif thing is self._linger:
                self._drop()
        while self._queue_due() <= now:
            changed = True
            self._fail(now, self._oldest(), "queue_timeout", RETRY_SATURATED)
        return changed

    def _copy_due(self, now: float, copy: Copy) -> None:
        if copy.phase == "starting":
            self._stop(now, copy, "start_failed")
            self._launch_went_wrong(now, copy)
        elif copy.phase == "busy":
            assert copy.call is not None
            self._fail(now, copy.call, "call_timeout")
            self._stop(now, copy, "timeout")
        elif copy.phase == "stopping":
            self._stop_again(now, copy)
        elif copy.phase == "thawing":
            self._lost_in_frost(now, copy, "thaw_failed")
        else:
            self._idle_due(now, copy)

    # ---- copies that end

    def _gone(self, now: float, copy: Copy) -> None:
        """The copy is out of the count already; settle what hung on it."""
        self._deadlines.forget(copy)
        phase, call = copy.phase, copy.call
        if phase == "stopping":
            return
        self._leave(copy)
        self._last_end = "start_failed" if phase == "starting" else "exited"
        self.stopped[self._last_end] += 1
        if copy.calls == 0 and phase != "thawing":
            self._launch_went_wrong(now, copy)
        elif call is not None:
            self._crashed(now, copy)
            self._fail(now, call, "instance_exited")

    # ---- the end

    def _stop_unwanted(self, now: float) -> None:
        """While draining, only copies that have or will have a call are of use."""
        for copy in [*self._idle, *self._frozen]:
            self._stop(now, copy, "drained")
        if self.starting > len(self._waiting):
            starters = [one for phase in ("thawing", "starting") for one in self._copies.values() if one.phase == phase]
            for copy in starters[len(self._waiting) :]:
                self._stop(now, copy, "drained")

    def _drain_limit(self, now: float) -> None:
        """Whoever works on is cut short. Copies that have been asked to end keep the grace they were given."""
        self._fail_waiting(now)
        for copy in [one for one in self._copies.values() if one.phase != "stopping"]:
            if copy.call is not None:
                self._fail(now, copy.call, "aborted")
            self._stop(now, copy, "drained", grace=0.0)

    def _when_empty(self, now: float) -> None:
        if self._dropped or self._waiting or self._wanted():
            return
        if self.draining:
            self._drop()
        elif self._linger.due == NEVER:
            self._deadlines.set(self._linger, now + LINGER)
