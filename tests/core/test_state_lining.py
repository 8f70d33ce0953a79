"""Copies that wait in line for their driver, by hand: who leaves the line, and who stays."""

from __future__ import annotations

import pytest

from hotfn_core.actions import Fail, Launch, Stop
from hotfn_core.state import SupervisorState

from .rules_examples import call, near, rules


def in_line(*numbers: int, calls: int) -> SupervisorState:
    """Return the rules of a function with a call for each of its starting copies, of which these are in line."""
    state = rules(max_concurrency=calls)
    for number in range(calls):
        state.call_arrived(0.0, call(str(number)))
    for number in numbers:
        assert state.copy_lined_up(0.0, number) == []
    return state


def test_the_youngest_in_line_leaves_it_and_none_whose_start_has_begun() -> None:
    state = in_line(1, 2, calls=3)
    assert state.call_cancelled(1.0, "0") == [Stop(2, 0.0, "not_needed")]
    assert state.call_cancelled(1.0, "1") == [Stop(1, 0.0, "not_needed")]
    assert state.call_cancelled(1.0, "2") == []
    assert state.starting == 1


def test_the_oldest_leaves_it_when_it_is_the_only_one_in_line() -> None:
    state = in_line(1, calls=2)
    assert state.call_cancelled(1.0, "0") == [Stop(1, 0.0, "not_needed")]


def test_its_turn_comes_and_it_stays() -> None:
    state = in_line(1, calls=2)
    assert state.copy_begun(0.5, 1) == []
    assert state.call_cancelled(1.0, "0") == []


def test_nothing_is_started_in_a_back_off_that_began_before_it_was_in_line() -> None:
    state = in_line(calls=2)
    assert state.copy_exited(1.0, 1) == []
    assert state.copy_lined_up(1.0, 2) == [Stop(2, 0.0, "not_needed")]
    assert state.waiting == 2


@pytest.mark.parametrize("number", [1, 7])
def test_a_copy_that_is_gone_is_not_in_line(number: int) -> None:
    state = in_line(calls=1)
    assert state.copy_exited(1.0, 1) == [Fail("0", "launch_failed", near(0.05))]
    assert state.copy_lined_up(1.0, number) == state.copy_begun(1.0, number) == []
    assert [one for one in state.time_passed(2.0) if isinstance(one, Launch)] == []


def test_a_cold_copy_that_leaves_the_line_leaves_its_call_waiting() -> None:
    state = rules(hot=False, max_concurrency=2)
    for number in range(2):
        state.call_arrived(0.0, call(str(number)))
    assert state.copy_lined_up(0.0, 2) == []
    assert state.copy_exited(1.0, 1)[:1] == [Stop(2, 0.0, "not_needed")]
    assert state.waiting == 1
    state.copy_exited(1.0, 2)
    assert Launch(3, "after_failure", "1") in state.time_passed(2.0)
