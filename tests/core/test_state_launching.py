"""Examples of the rules for a crash loop: copies that die under their first call, one after another."""

from __future__ import annotations

from typing import Any

import pytest

from hotfn_core.actions import Assign, Fail, Launch, StopReason
from hotfn_core.state import SupervisorState

from .rules_examples import call, gauges, near, rules

SPENT = [f"spent-{number}" for number in range(1, 4)]


def crash(state: SupervisorState, now: float, name: str) -> None:
    """A call comes, a copy is launched for it at once and dies of it at once."""
    assert [one.copy for one in state.call_arrived(now, call(name)) if isinstance(one, Launch)] == [state.launched]
    end(state, now, state.launched, name)


def end(state: SupervisorState, now: float, number: int, name: str) -> None:
    assert any(isinstance(one, Assign) for one in state.copy_ready(now, number))
    assert state.copy_exited(now, number)[0] == Fail(name, "instance_exited")


def in_a_loop(**fields: Any) -> SupervisorState:
    """Rules after three crashes at 0."""
    state = rules(**fields)
    for name in SPENT:
        crash(state, 0.0, name)
    assert state.crashes == 3
    return state


def test_the_first_crashes_cost_nothing() -> None:
    state = rules()
    for name in SPENT:
        crash(state, 0.0, name)
    crash(state, 0.0, "the next")  # the pause begins with this launch
    assert state.call_arrived(0.01, call("waits")) == []
    assert state.next_deadline() == near(0.1)


def test_the_pause_doubles_up_to_a_second() -> None:
    state = in_a_loop()
    now = 0.0
    for pause in (0.1, 0.2, 0.4, 0.8, 1.0, 1.0):
        crash(state, now, f"at {now}")
        assert state.call_arrived(now, call(f"after {now}")) == [], "launched at once"
        assert state.next_deadline() == near(now + pause)
        assert state.call_cancelled(now, f"after {now}") == []
        now = state.next_deadline()


def test_calls_wait_and_are_served_in_order() -> None:
    state = in_a_loop()
    crash(state, 0.0, "d")
    for name in ("e", "f"):
        assert state.call_arrived(0.0, call(name)) == []
    assert gauges(state) == (2, 0, 0, 0, 0)
    assert state.time_passed(0.1) == [Launch(5, "after_failure")]
    end(state, 0.1, 5, "e")
    assert state.waiting == 1
    assert state.time_passed(0.2) == []
    assert state.time_passed(0.31) == [Launch(6, "after_failure")]


def test_one_launch_at_a_time_whatever_the_cap() -> None:
    state = in_a_loop(max_concurrency=5)
    for name in "defg":
        state.call_arrived(0.0, call(name))
    assert gauges(state) == (4, 1, 0, 0, 0)
    assert state.time_passed(0.1) == [Launch(5, "all_busy")]


def test_an_answer_ends_the_pause() -> None:
    state = in_a_loop(max_concurrency=2)
    state.call_arrived(0.0, call("good"))
    assert state.call_arrived(0.0, call("waits")) == []
    state.copy_ready(0.01, 4)
    actions = state.call_finished(0.02, 4)
    assert [type(one) for one in actions] == [Assign]
    assert state.crashes == 0
    assert state.call_arrived(0.02, call("more")) == [Launch(5, "all_busy")]


@pytest.mark.parametrize("reason", ["protocol_error", "excess_output"])
def test_bad_replies_are_crashes(reason: StopReason) -> None:
    state = rules()
    for number in range(1, 4):
        state.call_arrived(0.0, call(str(number)))
        state.copy_ready(0.0, number)
        state.call_finished(0.0, number, reason, "broke")
        state.copy_exited(0.0, number)
    assert state.crashes == 3


@pytest.mark.parametrize("retire", [None, "excess_output", "recycled"])
def test_a_copy_that_answered_is_none(retire: StopReason | None) -> None:
    state = in_a_loop()
    state.call_arrived(0.0, call("answered"))
    state.copy_ready(0.0, 4)
    state.call_finished(0.0, 4, retire)
    assert state.crashes == 0


def test_a_call_that_is_refused_proves_nothing() -> None:
    state = in_a_loop()
    state.call_arrived(0.0, call("cannot be said"))
    state.copy_ready(0.0, 4)
    assert state.call_finished(0.0, 4, None, "refused") == []
    assert state.crashes == 3
    state.call_arrived(0.0, call("kills"))
    state.copy_exited(0.0, 4)
    assert state.crashes == 4


def test_copies_that_die_side_by_side_are_one_crash() -> None:
    state = rules(max_concurrency=3)
    for name in "abc":
        state.call_arrived(0.0, call(name))
    for number in (1, 2, 3):
        state.copy_ready(0.5, number)
    for number in (1, 2, 3):
        state.copy_exited(1.0, number)
    assert state.crashes == 1


def test_a_copy_that_has_served_may_die_as_often_as_it_likes() -> None:
    state = rules()
    for number in range(1, 9):
        state.call_arrived(0.0, call(f"good {number}"))
        state.copy_ready(0.0, number)
        state.call_finished(0.0, number)
        state.call_arrived(0.0, call(f"bad {number}"))
        state.copy_exited(0.0, number)
    assert state.crashes == 0


def test_a_timeout_is_none() -> None:
    state = rules()
    for number in range(1, 6):
        state.call_arrived(10.0 * number, call(str(number)))
        state.copy_ready(10.0 * number, number)
        assert state.time_passed(10.0 * number + 7.0)[0] == Fail(str(number), "call_timeout")
        state.copy_exited(10.0 * number + 7.0, number)
    assert state.crashes == 0


def test_a_cold_function_may_say_no_to_every_call() -> None:
    state = rules(hot=False)
    for number in range(1, 9):
        state.call_arrived(0.0, call(str(number)))
        state.copy_ready(0.0, number)
        state.copy_exited(0.0, number)
    assert state.crashes == 0
    assert state.launched == 8
