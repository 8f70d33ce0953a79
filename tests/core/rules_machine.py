"""A world that does what it likes to the rules: every fact, in any order, at any time, wrong ones included.

`RulesMachine` drives a `SupervisorState` and a `Model` side by side. `test_state_machine` runs it on the rules,
`test_mutants` on rules with a planted bug.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule

from hotfn_core.actions import Action, CallEnd, StopReason
from hotfn_core.model import Call, FunctionSpec
from hotfn_core.state import SupervisorState
from hotfn_core.testing.strategies import specs

from .rules_books import NEVER
from .rules_model import Model

RETIRE: list[StopReason | None] = [None, None, None, "protocol_error", "excess_output"]
ENDS: list[CallEnd] = ["answered", "answered", "answered", "broke", "refused"]
ANY = st.integers(0, 1_000_000)  # which of them, when there are some
QUIET = ("starting", "idle", "frozen", "thawing")  # without a call
CROSSING = ["lined up", "begun", "ready", "thawed", "lost", "finished", "disturbed", "exited", "cancelled"]
NAPS = ["thaws", "thaws", "thaws", "for nobody", "exits", "is lost", "drain"]  # how one ends
RARELY = st.sampled_from([False, False, False, False, True])
SPAN = st.sampled_from([0.0, 0.25, 0.5, 1.0, 3.0, 10.0, 60.0])
JITTER = st.sampled_from([0.0, 0.5, 1.0])
PATIENCE = st.none() | st.sampled_from([-1.0, 0.0, 0.25, 1.0, 5.0, 50.0])
STEPS_TO_REST = 2_000  # far more than anything here takes to come to rest

T = TypeVar("T")


def pick(among: Sequence[T], which: int) -> T:
    return among[which % len(among)]


class RulesMachine(RuleBasedStateMachine):
    """One function, its callers, its copies and its clock."""

    make: Callable[..., SupervisorState] = SupervisorState

    @initialize(spec=specs(name="f"), hot=st.sampled_from([True, True, True, False]), start=SPAN)
    def begin(self, spec: FunctionSpec, hot: bool, start: float) -> None:
        self.set_up(spec, hot, start)

    def set_up(self, spec: FunctionSpec, hot: bool, start: float) -> None:
        self.real = type(self).make(spec, hot=hot)
        self.model = Model(spec, hot, start)
        self.calls = 0
        self.broken = False
        self.tell("started")

    # ---- telling both, and comparing

    def tell(self, fact: str, *args: Any, **kwargs: Any) -> list[Action]:
        self.model.fact = fact
        self.broken = True  # until this fact is through: there is nothing to tear down then
        getattr(self.model, fact)(*args, **kwargs)
        actions: list[Action] = getattr(self.real, fact)(self.model.now, *args, **kwargs)
        for action in actions:
            self.model.apply(action)
        self.model.settled()
        self.compare()
        self.broken = False
        return actions

    def compare(self) -> None:
        rules, model = self.real, self.model
        for phase in ("idle", "frozen", "thawing", "busy", "stopping"):
            assert getattr(rules, phase) == model.count(phase), phase
        assert rules.starting == model.starters()
        assert {number: rules.phase(number) for number in model.copies} == {
            number: copy.phase for number, copy in model.copies.items()
        }
        assert rules.alive == len(model.copies) <= model.spec.max_concurrency
        assert rules.waiting == len(model.queue)
        assert rules.launched == model.launched
        assert rules.launched - sum(rules.stopped.values()) == model.useful()
        self.compare_time()
        self.bounded()

    def compare_time(self) -> None:
        wake, due, earliest = self.real.wake_at(), self.real.next_deadline(), self.model.earliest()
        assert wake <= due
        assert due > self.model.now, "the next deadline is in the past"
        assert due <= earliest, "something would be missed"
        if self.model.dropped:
            assert due == NEVER
        elif self.model.spec.max_age is None and self.model.spec.max_calls is None and self.thaw_weather():
            linger = NEVER if self.model.empty_since is None else self.model.empty_since + 60.0
            assert due == min(earliest, linger), "woken for nothing"

    def thaw_weather(self) -> bool:
        """No copy was lost in the frost lately: one that would freeze finds out at its time that it may not."""
        return self.model.now >= self.model.frost_from

    def bounded(self) -> None:
        """What the rules remember is no more than there is."""
        rules, model = self.real, self.model
        assert set(rules._calls) == {call.id for call in model.queue} | set(model.running)
        assert len(rules._owed) <= model.spec.max_concurrency
        alive = len(model.copies) + len(model.queue) + 3
        assert len(rules._deadlines) <= alive + max(alive, 32)

    def numbers(self, *phases: str) -> list[int]:
        return [number for number, copy in self.model.copies.items() if copy.phase in phases]

    def lined(self) -> list[int]:
        return [number for number, copy in self.model.copies.items() if copy.lined]

    def open_calls(self) -> list[str]:
        return [call.id for call in self.model.queue] + list(self.model.running)

    # ---- callers

    @rule(patience=PATIENCE)
    def call(self, patience: float | None) -> None:
        self.arrive(patience)

    @rule(count=st.integers(2, 6))
    def burst(self, count: int) -> None:
        for _ in range(count):
            self.arrive(None)

    def arrive(self, patience: float | None) -> None:
        self.calls += 1
        deadline = None if patience is None else self.model.now + patience
        self.tell("call_arrived", Call(str(self.calls), deadline=deadline))

    @rule(count=st.integers(1, 4))
    def good_days(self, count: int) -> None:
        """Calls come one after another and are answered: what a history of faults alone never gets to."""
        for _ in range(count):
            self.arrive(None)
            for number in self.numbers("starting"):
                self.tell("copy_ready", number)
            for number in self.numbers("thawing"):
                self.tell("copy_thawed", number)
            for number in self.numbers("busy"):
                self.tell("call_finished", number, None)

    @rule(count=st.integers(1, 5), bad_reply=st.booleans())
    def bad_days(self, count: int, bad_reply: bool) -> None:
        """Calls come one after another, and what gets one dies of it, as soon as it is there."""
        for _ in range(count):
            self.arrive(None)
            for number in self.numbers("starting"):
                self.tell("copy_ready", number)
            for number in self.numbers("busy"):
                if bad_reply:
                    self.tell("call_finished", number, "protocol_error", "broke")
                self.tell("copy_exited", number, 0.5)

    @precondition(lambda self: self.open_calls())
    @rule(which=ANY)
    def cancel(self, which: int) -> None:
        self.tell("call_cancelled", pick(self.open_calls(), which))

    # ---- copies

    @precondition(lambda self: self.numbers("starting"))
    @rule()
    def meet_a_busy_driver(self) -> None:
        """Whatever starts waits in line instead. Said again of a copy that waits already it means nothing."""
        for number in self.numbers("starting"):
            self.tell("copy_lined_up", number)

    @precondition(lambda self: self.lined())
    @rule(which=ANY)
    def have_its_turn(self, which: int) -> None:
        self.tell("copy_begun", pick(self.lined(), which))

    @precondition(lambda self: self.numbers("starting"))
    @rule(which=ANY)
    def become_ready(self, which: int) -> None:
        self.tell("copy_ready", pick(self.numbers("starting"), which))

    @precondition(lambda self: self.numbers("busy"))
    @rule(which=ANY, retire=st.sampled_from(RETIRE), how=st.sampled_from(ENDS))
    def answer(self, which: int, retire: StopReason | None, how: CallEnd) -> None:
        self.tell("call_finished", pick(self.numbers("busy"), which), retire, how)

    @precondition(lambda self: self.model.copies)
    @rule(which=ANY, jitter=JITTER)
    def exit(self, which: int, jitter: float) -> None:
        self.tell("copy_exited", pick(list(self.model.copies), which), jitter)

    @precondition(lambda self: self.numbers("stopping"))
    @rule(which=ANY)
    def obey(self, which: int) -> None:
        self.tell("copy_exited", pick(self.numbers("stopping"), which), 0.0)

    @precondition(lambda self: self.numbers(*QUIET))
    @rule(which=ANY, jitter=JITTER)
    def disturb(self, which: int, jitter: float) -> None:
        self.tell("copy_disturbed", pick(self.numbers(*QUIET), which), "excess_output", jitter)

    @precondition(lambda self: self.numbers("thawing"))
    @rule(which=ANY)
    def thaw(self, which: int) -> None:
        self.tell("copy_thawed", pick(self.numbers("thawing"), which))

    @precondition(lambda self: self.numbers("frozen", "thawing"))
    @rule(which=ANY, freezing=st.booleans())
    def be_lost_in_frost(self, which: int, freezing: bool) -> None:
        """A copy cannot be thawed, or the freeze fails that its thaw waits for."""
        number = pick(self.numbers("frozen", "thawing"), which)
        freezing = freezing or self.model.copies[number].phase == "frozen"
        self.tell("freezing_failed", number, "freeze_failed" if freezing else "thaw_failed")

    @precondition(lambda self: self.model.freeze_after() < NEVER)
    @rule(how=st.sampled_from(NAPS))
    def nap(self, how: str) -> None:
        """Nobody calls until copies freeze. Then a call comes, and not all goes well in the time that a thaw takes."""
        for number in self.numbers("starting")[:1]:  # a copy without a call is frozen, too
            self.tell("copy_ready", number)
        if not self.numbers("frozen", "idle"):
            self.good_days(1)
        if not self.numbers("frozen"):
            self.wait(self.model.freeze_after())
        if how == "drain":
            self.tell("drain_requested", None, serve_waiting=True)
            return
        self.arrive(None)
        if how == "for nobody" and str(self.calls) in self.open_calls():
            self.tell("call_cancelled", str(self.calls))
        for number in self.numbers("thawing"):
            if how == "exits":
                self.tell("copy_exited", number, 1.0)
            elif how == "is lost":
                self.tell("freezing_failed", number, "thaw_failed")
            else:
                self.tell("copy_thawed", number)

    @rule(which=st.integers(0, 12), fact=st.sampled_from(CROSSING))
    def crossed(self, which: int, fact: str) -> None:
        """A fact about somebody who is gone, or in a phase in which it means nothing, changes nothing."""
        phase = self.model.copies[which].phase if which in self.model.copies else "gone"
        late = self.real.next_deadline() <= self.model.now
        if fact == "lined up" and phase != "starting":
            actions = self.tell("copy_lined_up", which)
        elif fact == "begun" and which not in self.lined():
            actions = self.tell("copy_begun", which)
        elif fact == "ready" and phase != "starting":
            actions = self.tell("copy_ready", which)
        elif fact == "finished" and phase != "busy":
            actions = self.tell("call_finished", which, None)
        elif fact == "thawed" and phase != "thawing":
            actions = self.tell("copy_thawed", which)
        elif fact == "lost" and phase not in ("frozen", "thawing"):
            actions = self.tell("freezing_failed", which, "thaw_failed")
        elif fact == "disturbed" and phase not in QUIET:
            actions = self.tell("copy_disturbed", which, "excess_output", 1.0)
        elif fact == "exited" and phase == "gone":
            actions = self.tell("copy_exited", which, 1.0)
        elif fact == "cancelled" and str(which) not in self.open_calls():
            actions = self.tell("call_cancelled", str(which))
        else:
            return
        assert late or not actions

    # ---- time

    @precondition(lambda self: self.real.next_deadline() < NEVER)
    @rule(jitter=JITTER)
    def on_time(self, jitter: float) -> None:
        """The timekeeper is exact."""
        self.model.now = max(self.model.now, self.real.next_deadline())
        self.tell("time_passed", jitter)

    @precondition(lambda self: self.model.now < self.real.next_deadline() < NEVER)
    @rule()
    def just_before(self) -> None:
        """Too early, by as little as there is: nothing may happen."""
        self.model.now = max(self.model.now, math.nextafter(self.real.next_deadline(), 0.0))
        assert self.tell("time_passed", 0.0) == []

    @rule(span=SPAN)
    def wait(self, span: float) -> None:
        """The timekeeper rings at each deadline on the way."""
        until = self.model.now + span
        while (due := self.real.next_deadline()) <= until:
            self.model.now = max(self.model.now, due)
            self.tell("time_passed", 0.0)
        self.model.now = until
        self.tell("time_passed", 0.0)

    @rule(span=st.sampled_from([0.25, 1.0, 10.0, 1000.0]))
    def oversleep(self, span: float) -> None:
        """The timekeeper is late: the next fact comes before it, whatever has become due."""
        self.model.now += span

    # ---- the end

    @precondition(lambda self: self.calls > 5)
    @rule(rarely=RARELY, limit=st.none() | SPAN, serve_waiting=st.booleans())
    def drain(self, rarely: bool, limit: float | None, serve_waiting: bool) -> None:
        """After this not much happens any more, so it comes late in most histories."""
        if rarely or self.model.draining:
            self.tell("drain_requested", limit, serve_waiting=serve_waiting)

    @precondition(lambda self: self.calls > 5)
    @rule(rarely=RARELY)
    def kill(self, rarely: bool) -> None:
        if rarely or self.model.draining:
            self.tell("kill_requested")

    def teardown(self) -> None:
        """The history ends: well, or in a close in which no function answers any more. Everything comes to rest."""
        if not hasattr(self, "broken") or self.broken:
            return
        closing = self.calls % 2 == 1
        if closing:
            self.tell("drain_requested", 1.0, serve_waiting=False)
        for _ in range(STEPS_TO_REST):
            if not self.behave(answers=not closing):
                break
        else:
            raise AssertionError("never comes to rest")
        assert not self.open_calls()
        assert set(self.model.ended) == set(self.model.arrived)
        assert len(self.model.copies) == self.model.wanted() == self.real.idle + self.real.frozen
        assert self.model.dropped == (self.model.wanted() == 0)

    def behave(self, *, answers: bool) -> bool:
        """Do the next thing that a good world does. Returns whether there was any."""
        if answers and self.lined():
            self.tell("copy_begun", self.lined()[0])
        elif answers and self.numbers("starting"):
            self.tell("copy_ready", self.numbers("starting")[0])
        elif answers and self.numbers("thawing"):
            self.tell("copy_thawed", self.numbers("thawing")[0])
        elif answers and self.numbers("busy"):
            self.tell("call_finished", self.numbers("busy")[0], None)
        elif self.numbers("stopping"):
            self.tell("copy_exited", self.numbers("stopping")[0], 0.0)
        elif self.real.next_deadline() < NEVER and not self.at_rest():
            self.model.now = max(self.model.now, self.real.next_deadline())
            self.tell("time_passed", 0.0)
        else:
            return False
        return True

    def at_rest(self) -> bool:
        """Only recycling goes on for ever, where copies are kept hot and have a max_age."""
        kept = self.model.wanted()
        return 0 < kept == len(self.model.copies) == self.real.idle + self.real.frozen


class FrostMachine(RulesMachine):
    """The same for a function whose copies freeze long before they end, so that histories are rich in that."""

    @initialize(
        spec=specs(
            name="f",
            freeze_after=st.sampled_from([0.0, 0.25, 1.0]),
            idle_timeout=st.sampled_from([3.0, 10.0, 30.0]),
            start_timeout=st.just(100.0),
        ),
        hot=st.just(True),
        start=SPAN,
    )
    def begin(self, spec: FunctionSpec, hot: bool, start: float) -> None:
        self.set_up(spec, hot, start)
