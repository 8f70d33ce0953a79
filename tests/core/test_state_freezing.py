"""The rules by example, for copies that are frozen while they are idle. Whole actions are compared."""

from __future__ import annotations

from typing import Any

import pytest

from hotfn_core.actions import Assign, Fail, Freeze, Launch, Stop, Thaw
from hotfn_core.deadlines import NEVER
from hotfn_core.model import FunctionSpec
from hotfn_core.state import SupervisorState

from .rules_examples import call, gauges, near, rules, with_idle


def with_frozen(count: int = 1, **fields: Any) -> SupervisorState:
    """Rules with `count` copies that are idle since 0 and frozen since 4, the last number most recently."""
    state = with_idle(count, **{"freeze_after": 4.0} | fields)
    assert state.time_passed(4.0) == [Freeze(number) for number in range(1, count + 1)]
    assert (state.frozen, state.idle) == (count, 0)
    return state


class TestFreezing:
    def test_after_so_long_without_a_call(self) -> None:
        state = with_idle(freeze_after=4.0)
        state.call_arrived(3.0, call("a"))
        assert state.call_finished(5.0, 1) == []
        assert state.next_deadline() == 9.0
        assert state.time_passed(8.9) == []
        assert state.time_passed(9.0) == [Freeze(1)]
        assert state.phase(1) == "frozen"
        assert state.next_deadline() == 25.0

    def test_zero_means_as_soon_as_nothing_waits(self) -> None:
        state = rules(freeze_after=0.0)
        state.call_arrived(0.0, call("a"))
        state.call_arrived(0.0, call("b"))
        assert state.copy_ready(1.0, 1) == [Assign(1, "a", 8.0, "first", 1.0)]
        assert state.call_finished(2.0, 1) == [Assign(1, "b", 9.0)]
        assert state.call_finished(3.0, 1) == [Freeze(1)]

    def test_not_unless_asked_for(self) -> None:
        assert with_idle().next_deadline() == 20.0

    def test_not_where_the_driver_cannot(self) -> None:
        state = SupervisorState(
            FunctionSpec(name="f", command=("f",), min_instances=1, freeze_after=1.0), freezes=False
        )
        state.started(0.0)
        state.copy_ready(0.0, 1)
        assert state.time_passed(1000.0) == []

    def test_a_cold_copy_never_is(self) -> None:
        state = rules(hot=False, freeze_after=0.0)
        state.call_arrived(0.0, call("a"))
        assert state.copy_ready(1.0, 1) == [Assign(1, "a", 8.0, "first", 1.0)]

    def test_a_call_in_the_very_instant_gets_the_copy(self) -> None:
        state = with_idle(freeze_after=4.0)
        assert state.call_arrived(4.0, call("a")) == [Assign(1, "a", 11.0)]

    def test_longer_than_idle_timeout_it_never_happens(self) -> None:
        state = with_idle(freeze_after=20.0)
        assert state.time_passed(20.0) == [Stop(1, 3.0, "idle")]

    def test_what_is_kept_hot_is_frozen_even_then(self) -> None:
        state = rules(min_instances=1, freeze_after=30.0)
        state.started(0.0)
        state.copy_ready(0.0, 1)
        assert state.time_passed(20.0) == []
        assert state.next_deadline() == 30.0
        assert state.time_passed(30.0) == [Freeze(1)]
        assert state.next_deadline() == NEVER


class TestThawing:
    def test_for_the_next_call_which_is_not_cold(self) -> None:
        state = with_frozen()
        assert state.call_arrived(10.0, call("a")) == [Thaw(1)]
        assert gauges(state) == (1, 1, 0, 0, 0)  # it counts as starting
        assert state.copy_thawed(10.5, 1) == [Assign(1, "a", 17.5)]
        assert state.launched == 1

    def test_one_that_is_awake_is_taken_first(self) -> None:
        state = with_frozen(2)
        state.call_arrived(5.0, call("a"))
        state.copy_thawed(5.0, 2)
        state.call_finished(6.0, 2)
        assert state.call_arrived(7.0, call("b")) == [Assign(2, "b", 14.0)]
        assert state.call_arrived(7.0, call("c")) == [Thaw(1)]

    def test_one_for_each_call_and_only_then_a_launch(self) -> None:
        state = with_frozen(2, max_queue=5)
        state.spec = state.spec.replace(max_concurrency=3)
        assert state.call_arrived(5.0, call("a")) == [Thaw(2)]
        assert state.call_arrived(5.0, call("b")) == [Thaw(1)]
        assert state.call_arrived(5.0, call("c")) == [Launch(3, "all_busy")]

    def test_a_slow_start_keeps_no_call_from_a_frozen_copy(self) -> None:
        state = with_frozen(max_age=10.0, max_concurrency=2)
        assert state.time_passed(10.0) == [Launch(2, "recycled")]
        assert state.call_arrived(11.0, call("a")) == [Thaw(1)]
        assert state.copy_thawed(11.0, 1) == [Assign(1, "a", 18.0)]

    def test_nor_does_a_back_off(self) -> None:
        state = with_frozen(max_concurrency=2)
        state.call_arrived(5.0, call("a"))
        state.call_arrived(5.0, call("b"))
        assert state.copy_exited(5.0, 2, jitter=1.0) == []
        state.copy_thawed(5.0, 1)
        assert state.call_finished(5.0, 1) == [Assign(1, "b", 12.0)]

    def test_the_call_may_be_served_by_another_meanwhile(self) -> None:
        state = with_idle(2, freeze_after=4.0)
        state.call_arrived(3.0, call("a"))
        assert state.time_passed(4.0) == [Freeze(1)]
        assert state.call_arrived(5.0, call("b")) == [Thaw(1)]
        assert state.call_finished(5.1, 2) == [Assign(2, "b", 12.1)]
        assert state.copy_thawed(5.2, 1) == []
        assert state.time_passed(9.2) == [Freeze(1)]  # it has been awake for nobody

    def test_idle_timeout_does_not_begin_anew(self) -> None:
        state = with_frozen()
        state.call_arrived(19.0, call("a"))
        state.call_cancelled(19.0, "a")
        assert state.copy_thawed(19.5, 1) == []
        assert state.time_passed(20.0) == [Stop(1, 3.0, "idle")]

    def test_max_age_goes_on(self) -> None:
        state = with_frozen(max_age=10.0)
        state.call_arrived(9.0, call("a"))
        state.copy_thawed(9.5, 1)
        state.call_arrived(9.5, call("b"))
        assert state.call_finished(10.0, 1) == [Stop(1, 3.0, "recycled")]

    def test_a_call_that_is_too_late_already_wakes_nobody(self) -> None:
        state = with_frozen()
        assert state.call_arrived(5.0, call("a", deadline=5.0)) == [Fail("a", "queue_timeout", 1.0)]
        assert state.frozen == 1


class TestFailures:
    def test_a_copy_that_cannot_be_frozen_is_stopped_and_gets_no_call(self) -> None:
        """O2."""
        state = with_frozen()
        assert state.freezing_failed(4.5, 1, "freeze_failed") == [Stop(1, 3.0, "freeze_failed")]
        assert state.call_arrived(5.0, call("a")) == []
        assert state.copy_exited(6.0, 1) == [Launch(2, "after_failure")]

    def test_a_copy_that_cannot_be_thawed_is_killed_and_the_call_gets_another(self) -> None:
        """O3."""
        state = with_frozen(max_concurrency=2)
        state.call_arrived(5.0, call("a"))
        assert state.freezing_failed(5.5, 1, "thaw_failed") == [Stop(1, 0.0, "thaw_failed"), Launch(2, "after_failure")]
        assert state.copy_ready(6.0, 2) == [Assign(2, "a", 13.0, "after_failure", 0.5)]

    def test_another_frozen_copy_is_tried_before_one_is_launched(self) -> None:
        state = with_frozen(2)
        state.call_arrived(5.0, call("a"))
        assert state.freezing_failed(5.5, 2, "thaw_failed") == [Stop(2, 0.0, "thaw_failed"), Thaw(1)]

    def test_a_thaw_has_five_seconds(self) -> None:
        state = with_frozen()
        state.call_arrived(5.0, call("a"))
        assert state.time_passed(9.9) == []
        assert state.time_passed(10.0) == [Stop(1, 0.0, "thaw_failed")]
        assert state.copy_thawed(10.0, 1) == []  # too late
        assert state.copy_exited(10.0, 1) == [Launch(2, "after_failure")]

    def test_it_is_no_failed_start(self) -> None:
        state = rules(min_instances=1, freeze_after=4.0)
        state.started(0.0)
        state.copy_ready(0.0, 1)
        state.time_passed(4.0)
        state.call_arrived(5.0, call("a"))
        assert state.freezing_failed(5.0, 1, "thaw_failed") == [Stop(1, 0.0, "thaw_failed")]
        assert state.copy_exited(5.0, 1) == [Launch(2, "after_failure")]  # at once

    def test_then_nothing_is_frozen_for_a_minute(self) -> None:
        state = with_frozen(idle_timeout=200.0)
        state.freezing_failed(5.0, 1, "freeze_failed")
        state.call_arrived(5.0, call("a"))
        state.copy_exited(6.0, 1)
        state.copy_ready(6.0, 2)
        state.call_finished(6.0, 2)
        assert state.time_passed(10.0) == []
        assert state.next_deadline() == 65.0
        assert state.time_passed(65.0) == [Freeze(2)]

    @pytest.mark.parametrize("phase", ["idle", "busy", "stopping", "gone"])
    def test_a_report_that_comes_too_late_changes_nothing(self, phase: str) -> None:
        state = with_idle()
        if phase == "busy":
            state.call_arrived(0.0, call("a"))
        elif phase != "idle":
            state.copy_disturbed(0.0, 1, "excess_output")
        if phase == "gone":
            state.copy_exited(0.0, 1)
        assert state.freezing_failed(1.0, 1, "freeze_failed") == []
        assert state.copy_thawed(1.0, 1) == []


class TestEnds:
    def test_idle_timeout_goes_on(self) -> None:
        state = with_frozen()
        assert state.time_passed(20.0) == [Stop(1, 3.0, "idle")]
        assert state.next_deadline() == 23.0

    def test_a_call_in_the_very_instant_is_served(self) -> None:
        assert with_frozen().call_arrived(20.0, call("a")) == [Thaw(1)]

    @pytest.mark.parametrize("thawing", [False, True])
    def test_an_exit_is_taken_as_it_comes(self, thawing: bool) -> None:
        state = with_frozen()
        if thawing:
            state.call_arrived(5.0, call("a"))
        assert state.copy_exited(5.0, 1) == ([Launch(2, "after_failure")] if thawing else [])
        assert state.stopped == {"exited": 1}

    def test_an_exit_in_the_thaw_is_no_failed_start_though_it_never_had_a_call(self) -> None:
        state = rules(min_instances=1, freeze_after=4.0)
        state.started(0.0)
        state.copy_ready(0.0, 1)
        state.time_passed(4.0)
        state.call_arrived(5.0, call("a"))
        assert state.copy_exited(5.5, 1) == [Launch(2, "after_failure")]

    def test_an_exit_in_the_frost_is_one(self) -> None:
        state = rules(min_instances=1, freeze_after=4.0)
        state.started(0.0)
        state.copy_ready(0.0, 1)
        state.time_passed(4.0)
        assert state.copy_exited(5.0, 1, jitter=1.0) == []
        assert state.next_deadline() == near(5.1)

    @pytest.mark.parametrize("thawing", [False, True])
    def test_disturbed(self, thawing: bool) -> None:
        state = with_frozen(max_concurrency=2)
        if thawing:
            state.call_arrived(5.0, call("a"))
        actions = state.copy_disturbed(5.0, 1, "excess_output")
        assert actions[0] == Stop(1, 3.0, "excess_output")
        assert actions[1:] == ([Launch(2, "after_failure")] if thawing else [])

    def test_draining_stops_it(self) -> None:
        assert with_frozen().drain_requested(5.0, None, serve_waiting=True) == [Stop(1, 3.0, "drained")]

    def test_draining_lets_it_thaw_for_a_call(self) -> None:
        state = with_frozen(max_age=10.0, max_concurrency=2)
        state.time_passed(10.0)
        state.call_arrived(11.0, call("a"))
        assert state.drain_requested(11.0, None, serve_waiting=True) == [Stop(2, 0.0, "drained")]
        assert state.copy_thawed(11.0, 1) == [Assign(1, "a", 18.0)]

    def test_the_drain_limit_takes_it_in_the_thaw(self) -> None:
        state = with_frozen()
        state.call_arrived(5.0, call("a"))
        assert state.drain_requested(5.0, 1.0, serve_waiting=True) == []
        assert state.time_passed(6.0) == [Fail("a", "shutting_down"), Stop(1, 0.0, "drained")]


class TestMaxAge:
    def test_a_frozen_copy_is_replaced_as_any_other(self) -> None:
        state = with_frozen(max_age=10.0, max_concurrency=2)
        assert state.time_passed(10.0) == [Launch(2, "recycled")]
        assert state.copy_ready(14.0, 2) == [Stop(1, 3.0, "recycled")]
        assert state.copy_exited(15.0, 1) == []
        assert state.time_passed(18.0) == [Freeze(2)]

    def test_while_it_thaws_its_replacement_takes_the_call(self) -> None:
        state = with_frozen(max_age=10.0, max_concurrency=2)
        state.time_passed(10.0)
        state.call_arrived(11.0, call("a"))
        assert state.copy_ready(12.0, 2) == [Stop(1, 3.0, "recycled"), Assign(2, "a", 19.0, "recycled", 1.0)]

    def test_it_stays_when_its_replacement_fails(self) -> None:
        state = with_frozen(max_age=10.0, max_concurrency=2)
        state.time_passed(10.0)
        assert state.copy_exited(11.0, 2, jitter=1.0) == []
        assert state.frozen == 1
        assert state.time_passed(11.1) == [Launch(3, "recycled")]

    def test_an_old_one_whose_replacement_does_not_come_is_idle_no_longer_than_others(self) -> None:
        state = with_idle(max_age=10.0, max_concurrency=2, start_timeout=100.0)
        assert state.time_passed(10.0) == [Launch(2, "recycled")]
        state.call_arrived(11.0, call("a"))
        assert state.call_finished(12.0, 1) == []
        assert state.time_passed(32.0) == [Stop(1, 3.0, "idle")]
