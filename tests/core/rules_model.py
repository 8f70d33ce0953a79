"""What the rules must do, said again in the plainest way: lists and dicts that follow facts and actions.

The model never looks into the rules. It is told each fact before they are, and then every action they return; it
raises AssertionError as soon as one of them was not right. Choices that the rules have no say in (which copy, which
call, which reason, which second) are predicted; the rest is checked to be legal, and nothing may be left undone.
"""

from __future__ import annotations

from hotfn_core.actions import Action, Assign, Drop, Fail, Freeze, Launch, Stop, Thaw
from hotfn_core.model import Call

from .rules_books import NEVER, Body, Books


class Model(Books):
    """The books, and what the rules may and must do about them."""

    # ---- actions

    def apply(self, action: Action) -> None:
        if isinstance(action, Launch):
            self.launch(action)
        elif isinstance(action, Assign):
            self.assign(action)
        elif isinstance(action, Stop):
            self.stop(action)
        elif isinstance(action, Freeze):
            self.freeze(action)
        elif isinstance(action, Thaw):
            self.thaw(action)
        elif isinstance(action, Fail):
            self.fail(action)
        else:
            self.drop(action)

    def launch(self, action: Launch) -> None:
        assert action.copy == self.launched + 1
        assert not self.full(), "over max_concurrency"
        assert not self.backing_off(), "launched in a back-off"
        assert not self.pacing() or self.replaces_an_old_one(action), "launched too soon in a crash loop"
        copy = Body(action.copy, action.reason, self.now, action.call_id)
        if len(self.queue) > self.starters():
            assert not self.frozen, "launched beside a frozen copy"
            assert action.reason == self.reason_to_start()
            uncovered = [call.id for call in self.queue if self.starter_of(call.id) is None]
            assert action.call_id == ("" if self.hot else uncovered[0])
        else:
            assert not self.draining
            assert action.call_id == ""
            copy.spare = True
            self.launch_spare(action)
        if self.crashes >= 3:
            self.pace_until = self.now + min(1.0, 0.1 * 2.0 ** (self.crashes - 3))
        self.launched += 1
        self.copies[copy.number] = copy
        self.dropped = False

    def launch_spare(self, action: Launch) -> None:
        if action.reason == "min_instances":
            assert self.useful() < self.wanted()
            return
        assert action.reason == "recycled"
        if not self.replaces_an_old_one(action):
            assert self.replaceable > 0, "a replacement for nothing"
            self.replaceable -= 1

    def replaces_an_old_one(self, action: Launch) -> bool:
        """The copy that is too old serves on meanwhile, so this one is not the next of a crash loop."""
        old = any(self.over_age(self.copies[number]) for number in self.idle + self.frozen)
        return action.reason == "recycled" and old

    def reason_to_start(self) -> str:
        if self.count("busy") or self.starters():
            return "all_busy"
        if self.last_end in ("", "idle", "drained"):
            return "first"
        return "recycled" if self.last_end == "recycled" else "after_failure"

    def assign(self, action: Assign) -> None:
        copy = self.copies[action.copy]
        assert copy.phase == "idle", f"a call for a copy that is {copy.phase}"
        assert not self.worn(copy) or not copy.calls, "one call too many"
        call = self.queue[0] if self.hot else next(one for one in self.queue if one.id == copy.call)
        assert action.call_id == call.id, "not the oldest call"
        assert action.copy == self.idle[-1], "not the copy that became idle last"
        deadline = NEVER if call.deadline is None else call.deadline
        assert action.expires == min(self.now + self.spec.timeout, deadline) > self.now
        if copy.number == self.fresh:
            assert action.cold == ("first" if copy.reason == "min_instances" else copy.reason)
            assert action.started == self.now - max(copy.launched, self.arrived[call.id])
        else:
            assert (action.cold, action.started) == ("", 0.0)
        self.idle.pop()
        self.queue.remove(call)
        self.running[call.id] = call
        copy.phase, copy.call, copy.expires = "busy", call.id, action.expires
        copy.calls += 1
        self.replaceable += self.worn(copy)

    def freeze(self, action: Freeze) -> None:
        copy = self.copies[action.copy]
        assert copy.phase == "idle", f"frozen while it was {copy.phase}"
        assert self.freeze_after() < NEVER, "frozen though nobody asked for it"
        assert not self.queue, "frozen while a call waits"
        assert self.now >= copy.rested + self.freeze_after(), "frozen too early"
        assert self.now >= self.frost_from, "frozen too soon after one that failed"
        self.idle.remove(action.copy)
        self.frozen.append(action.copy)
        copy.phase = "frozen"

    def thaw(self, action: Thaw) -> None:
        copy = self.copies[action.copy]
        assert copy.phase == "frozen", f"thawed while it was {copy.phase}"
        assert not self.idle, "thawed beside an idle copy"
        assert len(self.queue) > self.count("thawing"), "thawed for nobody"
        assert action.copy == self.frozen.pop(), "not the copy that became idle last"
        copy.phase = "thawing"
        copy.thaw_due = self.now + 5.0

    def stop(self, action: Stop) -> None:
        copy = self.copies[action.copy]
        if copy.phase == "stopping":
            self.stop_again(copy, action)
            return
        aborting = self.draining and self.now >= self.drain_due and action.reason == "drained"
        starting = copy.phase == "starting" or copy.ready == NEVER
        if self.must_stop.pop(action.copy, None) != action.reason:
            self.check_stop(copy, action.reason, aborting)
        at_once = starting or copy.lost
        assert action.grace == (0.0 if at_once else self.spec.stop_grace) or (aborting and action.grace == 0.0)
        self.forget(copy)
        copy.phase = "stopping"
        copy.stop_reason = action.reason
        self.last_end = self.last_end if action.reason == "not_needed" else action.reason
        copy.told = self.now + (0.0 if self.fact == "kill_requested" and action.grace else action.grace or 1.0)
        copy.grace = action.grace
        if action.reason == "start_failed":
            self.launch_went_wrong(copy)
        copy.call = ""

    def stop_again(self, copy: Body, action: Stop) -> None:
        assert action == (copy.number, 0.0, copy.stop_reason)
        assert self.now >= copy.told, "told again too early"
        copy.told = self.now + copy.retry
        copy.grace = 0.0
        copy.retry = min(2 * copy.retry, 30.0)

    def check_stop(self, copy: Body, reason: str, aborting: bool) -> None:
        """A stop that follows from no fact but from a rule."""
        if reason == "idle":
            assert copy.phase in ("idle", "frozen")
            assert len(self.queue) <= (self.count("thawing") if copy.phase == "frozen" else 0)
            assert self.heir(copy) or self.now >= copy.idle_since + self.spec.idle_timeout, "stopped too early"
            assert self.useful() > self.wanted(), "kept hot on purpose"
        elif reason == "recycled":
            assert copy.phase in ("idle", "frozen", "thawing")
            assert self.over_age(copy)
            self.replaceable += 1
        elif reason == "start_failed":
            assert copy.phase == "starting"
            assert not copy.lined, "not started yet"
            assert self.now >= copy.launched + self.spec.start_timeout
        elif reason == "not_needed":
            self.check_withdrawn(copy)
        elif reason == "thaw_failed":
            assert copy.phase == "thawing"
            assert self.now >= copy.thaw_due, "given up too early"
            copy.lost = True
            self.frost_from = self.now + 60.0
        else:
            assert reason == "drained"
            assert self.draining
            assert copy.phase in ("idle", "frozen") or aborting or self.starters() > len(self.queue)

    def fail(self, action: Fail) -> None:
        waiting = any(call.id == action.call_id for call in self.queue)
        holder = next((one for one in self.copies.values() if one.call == action.call_id), None)
        if self.must_fail.pop(action.call_id, None) != action.code:
            self.check_fail(action, holder)
        if action.code == "launch_failed":
            assert action.retry_after == self.backoff_until - self.now
        else:
            assert action.retry_after == (1.0 if action.code in ("saturated", "queue_timeout") else None)
        self.end_call(action.call_id, action.code)
        if holder is not None:
            reason = {"call_timeout": "timeout", "aborted": "drained"}.get(action.code, "cancelled")
            assert waiting == (reason == "cancelled")
            self.leave(holder, reason)

    def check_fail(self, action: Fail, holder: Body | None) -> None:
        """A failure that follows from no fact but from a rule."""
        limits = [call for call in self.queue if call.id == action.call_id]
        if action.code in ("call_timeout", "aborted"):
            assert holder is not None
            assert holder.phase == "busy"
            assert self.now >= (holder.expires if action.code == "call_timeout" else self.drain_due)
        elif action.code == "queue_timeout":
            assert limits, "it waits no more"
            assert self.now >= min(self.queue_due(limits[0]), self.own_deadline(limits[0])), "failed too early"
        elif action.code == "saturated":
            assert action.call_id == self.arriving == self.queue[-1].id
            assert len(self.queue) - self.starters() > self.spec.max_queue, "room in the queue"
        else:
            assert action.code == "shutting_down"
            assert limits
            assert self.now >= self.drain_due

    def check_withdrawn(self, copy: Body) -> None:
        assert copy.phase == "starting"
        assert copy.lined, "it starts already"
        assert self.starters() > len(self.queue), "a call needs it"
        assert self.useful() > self.wanted(), "kept hot on purpose"
        assert not copy.spare, "no call was the reason for it"
        if self.no_recycling():
            assert copy.number == max(self.surplus()), "not the youngest"

    def surplus(self) -> list[int]:
        """Copies in line that no call needs, the ones that replace another left out."""
        lined = [one.number for one in self.copies.values() if one.lined and not one.spare]
        return lined if self.starters() > len(self.queue) and self.useful() > self.wanted() else []

    def no_recycling(self) -> bool:
        """Else a copy that was launched for a call may have to replace another as well."""
        return self.spec.max_calls is None and self.spec.max_age is None

    def drop(self, action: Drop) -> None:
        assert not self.copies
        assert not self.queue
        assert not self.dropped
        assert not self.wanted()
        if not self.draining:
            assert self.empty_since is not None
            assert self.now >= self.empty_since + 60.0, "dropped too early"
        self.dropped = True

    # ---- what must hold when the actions are done

    def settled(self) -> None:
        """Nothing is left undone. Called after every fact and its actions."""
        assert not self.must_stop
        assert not self.must_fail
        if self.queue and self.queue[-1].id == self.arriving:
            assert len(self.queue) - self.starters() <= self.spec.max_queue, "the queue is too long"
        self.arriving, self.fresh = "", 0
        if self.now >= self.drain_rings or self.dropped:
            self.drain_rings = NEVER
        self.check_work()
        self.check_ends()
        self.check_nothing_is_late()

    def check_work(self) -> None:
        assert not (self.queue and self.idle), "a call waits beside an idle copy"
        if len(self.queue) > self.count("thawing"):
            assert not self.frozen, "a call waits beside a frozen copy"
        if len(self.queue) > self.starters():
            assert self.full() or self.backing_off() or self.pacing(), "a call waits and nobody starts"
        if self.useful() < self.wanted():
            assert self.full() or self.backing_off() or self.pacing(), "fewer than min_instances"
        if self.no_recycling():
            assert not self.surplus(), "waits in line for nobody"
        if self.backing_off():
            assert not any(one.lined for one in self.copies.values()), "in line in a back-off"
        if self.queue:
            assert self.copies or self.backing_off() or self.pacing(), "a call waits for nothing"

    def check_ends(self) -> None:
        empty = not self.copies and not self.queue and not self.wanted()
        if not empty:
            self.empty_since = None
        elif self.empty_since is None:
            self.empty_since = self.now
        if self.draining:
            assert not self.idle, "idle while draining"
            assert not self.frozen, "frozen while draining"
            assert self.starters() <= len(self.queue), "started for nobody while draining"
            assert self.dropped == empty
        if self.now >= self.drain_due:
            assert self.count("stopping") == len(self.copies)
            assert not self.queue
        if self.empty_since is not None and self.now >= self.empty_since + 60.0:
            assert self.dropped

    def check_nothing_is_late(self) -> None:
        assert self.now < self.earliest(), "a deadline has passed and nothing happened"
        for number in self.idle + self.frozen:
            copy = self.copies[number]
            if self.over_age(copy):
                heirs = [one for one in self.copies.values() if one.phase == "starting" and one.reason == "recycled"]
                assert heirs or self.backing_off(), "too old"
        assert len(self.kept()) <= self.wanted(), "idle for too long"

    def queue_due(self, call: Call) -> float:
        return self.arrived[call.id] + self.spec.queue_timeout

    def own_deadline(self, call: Call) -> float:
        return NEVER if call.deadline is None else call.deadline

    def kept(self) -> list[int]:
        """Copies without a call, frozen or not, over idle_timeout."""
        rest = self.idle + self.frozen
        return [one for one in rest if self.now >= self.copies[one].idle_since + self.spec.idle_timeout]

    def freeze_after(self) -> float:
        return NEVER if self.spec.freeze_after is None or not self.hot else self.spec.freeze_after

    def earliest(self) -> float:
        """The first moment at which something must happen."""
        return min(self.deadlines(), default=NEVER)

    def deadlines(self) -> list[float]:
        times = [self.queue_due(call) for call in self.queue] + [self.own_deadline(call) for call in self.queue]
        for copy in self.copies.values():
            if copy.phase == "starting" and copy.lined:
                continue
            if copy.phase == "starting":
                times.append(copy.launched + self.spec.start_timeout)
            elif copy.phase == "busy":
                times.append(copy.expires)
            elif copy.phase == "stopping":
                times.append(copy.told)
            elif copy.phase == "thawing":
                times.append(copy.thaw_due)
            elif copy.number not in self.kept() and not (self.wanted() and self.heir(copy)):
                times.append(copy.idle_since + self.spec.idle_timeout)
            if copy.phase == "idle":
                times.append(max(copy.rested + self.freeze_after(), self.frost_from))
        if self.backing_off() and not self.dropped:
            times.append(self.backoff_until)
        if self.pacing() and not self.dropped:
            times.append(self.pace_until)
        return [*times, self.drain_rings]
