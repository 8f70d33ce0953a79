"""The books of the model in `rules_model`: what there is of one function, and what each fact does to it."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

from hotfn_core.model import Call, FunctionSpec

NEVER = math.inf


@dataclass
class Body:
    """A copy, seen from outside. `leaving` is between the fact that ends it and the Stop that must follow."""

    number: int
    reason: str
    launched: float
    call: str = ""  # the one it runs, or (cold) starts for
    phase: str = "starting"
    lined: bool = False  # it waits for its driver
    spare: bool = False  # launched for no call
    ready: float = NEVER
    idle_since: float = NEVER  # whether frozen meanwhile or not
    rested: float = NEVER  # idle, and not frozen, since then
    thaw_due: float = NEVER
    lost: bool = False  # a call waited for it to thaw, and it did not
    calls: int = 0
    proven: bool = False
    expires: float = NEVER
    told: float = NEVER  # when it is told again to stop
    grace: float = 0.0  # that it was told it has
    retry: float = 1.0
    stop_reason: str = ""


@dataclass
class Books:
    """One function, as a person would keep its books."""

    spec: FunctionSpec
    hot: bool
    now: float = 0.0
    fact: str = ""
    queue: list[Call] = field(default_factory=list)
    arrived: dict[str, float] = field(default_factory=dict)
    running: dict[str, Call] = field(default_factory=dict)
    ended: dict[str, str] = field(default_factory=dict)
    copies: dict[int, Body] = field(default_factory=dict)
    idle: list[int] = field(default_factory=list)
    frozen: list[int] = field(default_factory=list)
    frost_from: float = 0.0  # nothing is frozen before
    launched: int = 0
    fresh: int = 0
    arriving: str = ""
    must_stop: dict[int, str] = field(default_factory=dict)
    must_fail: dict[str, str] = field(default_factory=dict)
    failures: int = 0
    backoff_until: float = 0.0
    crashes: int = 0  # under a first call, in a row
    crashed_at: float = -NEVER
    pace_until: float = 0.0
    jitter: float = 0.0
    draining: bool = False
    drain_due: float = NEVER
    drain_rings: float = NEVER  # may ring once more when a drain is asked for after its limit
    last_end: str = ""
    replaceable: int = 0
    empty_since: float | None = None
    dropped: bool = False

    # ---- counting

    def count(self, phase: str) -> int:
        return sum(copy.phase == phase for copy in self.copies.values())

    def useful(self) -> int:
        return self.starters() + self.count("idle") + self.count("frozen") + self.count("busy")

    def starters(self) -> int:
        """Copies that will take a call without a further decision."""
        return self.count("starting") + self.count("thawing")

    def wanted(self) -> int:
        return 0 if self.draining or not self.hot else self.spec.min_instances

    def full(self) -> bool:
        return len(self.copies) == self.spec.max_concurrency

    def backing_off(self) -> bool:
        return self.now < self.backoff_until

    def pacing(self) -> bool:
        return self.now < self.pace_until

    def over_age(self, copy: Body) -> bool:
        return self.spec.max_age is not None and self.now >= copy.ready + self.spec.max_age

    def heir(self, copy: Body) -> bool:
        """An unused replacement lives no longer than what it replaced."""
        return copy.reason == "recycled" and copy.calls == 0

    def worn(self, copy: Body) -> bool:
        return not self.hot or copy.calls == self.spec.max_calls

    def starter_of(self, call: str) -> Body | None:
        return next((one for one in self.copies.values() if one.phase == "starting" and one.call == call), None)

    def is_open(self, call: str) -> bool:
        return call in self.running or any(one.id == call for one in self.queue)

    # ---- facts

    def call_arrived(self, call: Call) -> None:
        assert call.id not in self.arrived
        self.arrived[call.id] = self.now
        self.arriving = call.id
        self.queue.append(call)
        if self.draining:
            self.must_fail[call.id] = "shutting_down"
        elif self.backing_off() and not self.useful():
            self.must_fail[call.id] = "launch_failed"
        else:
            self.empty_since = None

    def call_cancelled(self, call: str) -> None:
        if not self.is_open(call):
            return
        holder = next((one for one in self.copies.values() if one.call == call), None)
        self.end_call(call, "cancelled")
        if holder is not None:
            self.leave(holder, "cancelled")

    def call_finished(self, number: int, retire: str | None = None, how: str = "answered") -> None:
        copy = self.copies.get(number)
        if copy is None or copy.phase != "busy":
            return
        if how == "answered":
            copy.proven = True
            self.failures, self.crashes, self.pace_until = 0, 0, 0.0
        elif how == "broke":
            self.crash(copy)
        self.end_call(copy.call, "finished")
        copy.call = ""
        if retire is not None:
            self.leave(copy, retire)
        elif self.worn(copy):
            self.leave(copy, "recycled")
        else:
            self.rest(copy)

    def copy_lined_up(self, number: int) -> None:
        copy = self.copies.get(number)
        if copy is not None and copy.phase == "starting":
            copy.lined = True
            if self.backing_off():
                self.clear_line()

    def copy_begun(self, number: int) -> None:
        copy = self.copies.get(number)
        if copy is not None and copy.lined:
            copy.lined = False
            copy.launched = self.now

    def copy_ready(self, number: int) -> None:
        copy = self.copies.get(number)
        if copy is not None and copy.phase == "starting":
            copy.lined = False
            self.backoff_until = 0.0
            self.fresh = number
            copy.ready = self.now
            self.rest(copy)

    def copy_disturbed(self, number: int, reason: str, jitter: float) -> None:
        copy = self.copies.get(number)
        if copy is not None and copy.phase in ("starting", "idle", "frozen", "thawing"):
            self.jitter = jitter
            thawing = copy.phase == "thawing"
            self.leave(copy, reason)
            if copy.calls == 0 and not thawing:
                self.launch_went_wrong(copy)

    def copy_thawed(self, number: int) -> None:
        copy = self.copies.get(number)
        if copy is not None and copy.phase == "thawing":
            copy.phase = "idle"
            copy.rested = self.now
            self.idle.append(number)

    def freezing_failed(self, number: int, reason: str) -> None:
        copy = self.copies.get(number)
        if copy is not None and copy.phase in ("frozen", "thawing"):
            copy.lost = copy.phase == "thawing"
            self.frost_from = self.now + 60.0
            self.leave(copy, reason)

    def copy_exited(self, number: int, jitter: float) -> None:
        copy = self.copies.pop(number, None)
        if copy is None:
            return
        self.jitter = jitter
        if copy.phase == "stopping":
            return
        self.last_end = "start_failed" if copy.phase == "starting" else "exited"
        self.forget(copy)
        if copy.phase == "busy":
            self.crash(copy)
            self.must_fail[copy.call] = "instance_exited"
        elif copy.calls == 0 and copy.phase != "thawing":
            self.launch_went_wrong(copy)

    def time_passed(self, jitter: float) -> None:
        self.jitter = jitter

    def started(self) -> None:
        """Nothing to note."""

    def drain_requested(self, limit: float | None, *, serve_waiting: bool) -> None:
        self.draining = True
        if limit is not None:
            self.drain_due = min(self.drain_due, self.now + limit)
            self.drain_rings = min(self.drain_rings, self.now + limit)
        if not serve_waiting:
            self.must_fail.update((call.id, "shutting_down") for call in self.queue)

    def kill_requested(self) -> None:
        self.drain_requested(0.0, serve_waiting=False)
        for copy in self.copies.values():
            copy.told = self.now if copy.grace else copy.told

    # ---- what facts do

    def end_call(self, call: str, how: str) -> None:
        assert self.is_open(call), f"{call} ends twice: {self.ended.get(call)}, {how}"
        self.ended[call] = how
        self.running.pop(call, None)
        self.queue = [one for one in self.queue if one.id != call]

    def leave(self, copy: Body, reason: str) -> None:
        self.forget(copy)
        copy.phase = "leaving"
        self.must_stop[copy.number] = reason

    def forget(self, copy: Body) -> None:
        """No call, no rest and no place in the line for this copy any more."""
        copy.lined = False
        if copy.phase == "idle":
            self.idle.remove(copy.number)
        elif copy.phase == "frozen":
            self.frozen.remove(copy.number)

    def rest(self, copy: Body) -> None:
        copy.phase = "idle"
        copy.idle_since = copy.rested = self.now
        self.idle.append(copy.number)

    def launch_went_wrong(self, copy: Body) -> None:
        if not self.backing_off():
            self.failures += 1
            self.backoff_until = self.now + min(30.0, 0.1 * 2.0 ** (self.failures - 1)) * (1 + self.jitter) / 2
        self.clear_line()
        victim, copy.call = copy.call or (self.queue[0].id if self.queue else ""), ""
        if victim and not self.useful():
            self.must_fail[victim] = "launch_failed"

    def crash(self, copy: Body) -> None:
        if self.hot and not copy.proven and copy.launched >= self.crashed_at:
            self.crashes += 1
            self.crashed_at = self.now

    def clear_line(self) -> None:
        for copy in [one for one in self.copies.values() if one.lined]:
            self.leave(copy, "not_needed")
            copy.call = ""
