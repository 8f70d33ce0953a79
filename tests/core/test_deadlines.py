"""Deadlines against the plainest model: a dict of times, searched from end to end."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from hotfn_core.deadlines import NEVER, Deadlines
from hotfn_core.records import Alarm

THINGS = 6
# Few times, so that one thing comes back to a time at which it left a dead entry.
TIMES = st.integers(0, 8).map(float)


class DeadlinesMachine(RuleBasedStateMachine):
    """Move, forget, look and take, in any order."""

    def __init__(self) -> None:
        super().__init__()
        self.real = Deadlines()
        self.things = [Alarm() for _ in range(THINGS)]
        self.model: dict[int, float] = {}

    @rule(which=st.integers(0, THINGS - 1), when=TIMES | st.just(NEVER))
    def move(self, which: int, when: float) -> None:
        self.real.set(self.things[which], when)
        self.model[which] = when

    @rule(which=st.integers(0, THINGS - 1), when=TIMES, times=st.integers(1, 60))
    def move_and_forget(self, which: int, when: float, times: int) -> None:
        for _ in range(times):
            self.real.set(self.things[which], when)
            self.real.forget(self.things[which])
        self.model.pop(which, None)

    @rule(which=st.integers(0, THINGS - 1))
    def forget(self, which: int) -> None:
        self.real.forget(self.things[which])
        self.model.pop(which, None)

    @rule()
    def next(self) -> None:
        assert self.real.next() == min(self.model.values(), default=NEVER)

    @rule(now=TIMES)
    def pop(self, now: float) -> None:
        thing = self.real.pop(now)
        earliest = min(self.model.values(), default=NEVER)
        if earliest > now:
            assert thing is None
        else:
            assert thing is not None
            which = next(number for number, one in enumerate(self.things) if one is thing)
            assert self.model.pop(which) == earliest
            assert thing.due == thing.armed == NEVER

    @precondition(lambda self: self.model)
    @rule()
    def pop_all(self) -> None:
        count = sum(when < NEVER for when in self.model.values())
        while (thing := self.real.pop(1e9)) is not None:
            count -= 1
        assert count == 0
        assert thing is None
        assert len(self.real) == 0
        self.model.clear()

    @invariant()
    def the_floor_is_below(self) -> None:
        assert self.real.floor <= min(self.model.values(), default=NEVER)

    @invariant()
    def memory_is_bounded(self) -> None:
        living = len({thing.entry for thing in self.things} - {0})
        assert len(self.real) <= living + max(living, 32)


TestDeadlines = DeadlinesMachine.TestCase


def test_equal_times_come_out_in_the_order_they_were_set() -> None:
    deadlines, things = Deadlines(), [Alarm() for _ in range(20)]
    for thing in things:
        deadlines.set(thing, 1.0)
    assert [deadlines.pop(1.0) for _ in things] == things


def test_an_empty_one_never_rings() -> None:
    deadlines = Deadlines()
    assert deadlines.next() == deadlines.floor == NEVER == math.inf
    assert deadlines.pop(1e9) is None


def test_a_later_time_costs_no_entry() -> None:
    """What a call costs twice: the deadline of its copy moves on, and the heap is not touched."""
    deadlines, copy = Deadlines(), Alarm()
    for call in range(100_000):
        deadlines.set(copy, 3600.0 + call)
    assert len(deadlines) == 1
    assert deadlines.next() == 3600.0 + 99_999


@given(st.lists(st.tuples(st.integers(0, 2), st.sampled_from([10.0, 5.0, NEVER])), max_size=60), st.integers(1, 40))
def test_memory_is_bounded_whoever_attacks_it(steps: list[tuple[int, float]], times: int) -> None:
    """Dead entries of the very time at which their thing is alive again must not pass for living ones."""
    deadlines, things = Deadlines(), [Alarm() for _ in range(3)]
    for _ in range(times):
        for which, when in steps:
            if when == NEVER:
                deadlines.forget(things[which])
            else:
                deadlines.set(things[which], when)
        assert len(deadlines) <= 3 + 32


def test_dead_entries_at_the_time_of_a_living_one_do_not_pass_for_it() -> None:
    """One thing leaves dead entries at 10 and stands there again while the other calls for the clean-up, over and over.

    A queue that knows its living entries by their time keeps every one of these: 1600 in the end."""
    deadlines, one, other = Deadlines(), Alarm(), Alarm()
    deadlines.set(one, 10.0)
    for _ in range(50):
        for _ in range(32):
            deadlines.forget(one)
            deadlines.set(one, 10.0)
        size = -1
        while len(deadlines) > size:
            size = len(deadlines)
            deadlines.set(other, 5.0)
            deadlines.forget(other)
    assert len(deadlines) <= 1 + 32


@pytest.mark.parametrize("alive", [1, 100, 1000])
def test_moving_to_earlier_over_and_over_keeps_the_heap_small(alive: int) -> None:
    deadlines, things = Deadlines(), [Alarm() for _ in range(alive)]
    for step in range(200):
        for thing in things:
            deadlines.set(thing, 1000.0 - step)
    assert len(deadlines) <= alive + max(alive, 32)
    assert deadlines.next() == 801.0
