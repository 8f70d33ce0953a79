"""The rules by example, for copies that end: disturbed, exited, failed, idle, recycled. Whole actions are compared."""

from __future__ import annotations

from typing import Any

import pytest

from hotfn_core.actions import Assign, Fail, Launch, Stop
from hotfn_core.deadlines import NEVER
from hotfn_core.launching import BACKOFF_MAX

from .rules_examples import call, near, rules, with_idle


class TestDisturbed:
    """Rule 6: a pipe that is out of step is never used again."""

    @pytest.mark.parametrize("reason", ["protocol_error", "excess_output"])
    def test_retired_with_its_call(self, reason: Any) -> None:
        state = with_idle()
        state.call_arrived(0.0, call("a"))
        state.call_arrived(0.0, call("b"))
        assert state.call_finished(1.0, 1, reason) == [Stop(1, 3.0, reason)]
        assert state.waiting == 1
        assert state.stopped == {reason: 1}

    def test_bytes_that_nobody_asked_for(self) -> None:
        state = with_idle(2)
        assert state.copy_disturbed(1.0, 2, "excess_output") == [Stop(2, 3.0, "excess_output")]
        assert state.call_arrived(1.0, call("a")) == [Assign(1, "a", 8.0)]
        assert state.copy_disturbed(1.0, 1, "excess_output") == []  # a busy one ends with its call

    def test_before_the_first_call_it_is_a_failed_start(self) -> None:
        state = rules()
        state.call_arrived(0.0, call("a"))
        assert state.copy_disturbed(1.0, 1, "protocol_error", jitter=1.0) == [
            Stop(1, 0.0, "protocol_error"),
            Fail("a", "launch_failed", near(0.1)),
        ]

    def test_cancelled_while_running(self) -> None:
        state = with_idle()
        state.call_arrived(0.0, call("a"))
        assert state.call_cancelled(1.0, "a") == [Stop(1, 3.0, "cancelled")]

    def test_cancelled_while_waiting(self) -> None:
        state = with_idle()
        for name in "abc":
            state.call_arrived(0.0, call(name))
        assert state.call_cancelled(1.0, "b") == []
        assert state.call_finished(2.0, 1) == [Assign(1, "c", 9.0)]


class TestExit:
    """Rule 7: an exit is a fact at any time."""

    def test_while_idle_it_is_forgotten(self) -> None:
        state = with_idle(2)
        assert state.copy_exited(1.0, 2) == []
        assert state.call_arrived(1.0, call("a")) == [Assign(1, "a", 8.0)]
        assert state.stopped == {"exited": 1}

    def test_while_running_the_call_ends_at_once(self) -> None:
        state = with_idle()
        state.call_arrived(0.0, call("a"))
        assert state.copy_exited(0.1, 1) == [Fail("a", "instance_exited")]

    def test_while_stopping_it_is_the_end_of_it(self) -> None:
        state = with_idle()
        state.time_passed(20.0)
        assert state.copy_exited(21.0, 1) == []
        assert state.stopped == {"idle": 1}

    def test_while_starting_it_is_a_failed_start(self) -> None:
        state = rules()
        state.call_arrived(0.0, call("a"))
        assert state.copy_exited(1.0, 1, jitter=0.5) == [Fail("a", "launch_failed", near(0.075))]
        assert state.stopped == {"start_failed": 1}


class TestBackOff:
    """Rule 8: failed starts."""

    def test_from_a_tenth_of_a_second_doubling_to_thirty(self) -> None:
        state, now, pauses = rules(), 0.0, []
        for number in range(1, 13):
            state.call_arrived(now, call(str(number)))
            (failed,) = state.copy_exited(now, number, jitter=1.0)
            assert isinstance(failed, Fail)
            assert failed.retry_after is not None
            pauses.append(round(failed.retry_after, 6))
            now = state.next_deadline()
            assert state.time_passed(now) == []
        assert pauses == [0.1, 0.2, 0.4, 0.8, 1.6, 3.2, 6.4, 12.8, 25.6, BACKOFF_MAX, BACKOFF_MAX, BACKOFF_MAX]

    @pytest.mark.parametrize(("jitter", "pause"), [(0.0, 0.05), (0.5, 0.075), (1.0, 0.1)])
    def test_jitter_takes_up_to_half_of_it(self, jitter: float, pause: float) -> None:
        state = rules()
        state.call_arrived(0.0, call("a"))
        state.copy_exited(0.0, 1, jitter)
        assert state.next_deadline() == near(pause)

    def test_new_calls_are_turned_away_with_the_time_to_come_back(self) -> None:
        state = rules()
        state.call_arrived(0.0, call("a"))
        state.copy_exited(0.0, 1, jitter=1.0)
        assert state.call_arrived(0.025, call("b")) == [Fail("b", "launch_failed", near(0.075))]
        assert state.call_arrived(0.1, call("c")) == [Launch(2, "after_failure")]

    def test_a_call_goes_on_waiting_while_others_can_serve_it(self) -> None:
        state = with_idle(max_queue=5)
        state.spec = state.spec.replace(max_concurrency=2)
        state.call_arrived(1.0, call("a"))
        state.call_arrived(1.0, call("b"))
        assert state.copy_exited(1.5, 2) == []
        assert state.call_arrived(1.5, call("c")) == []  # nor is a new one turned away
        assert state.call_finished(1.5, 1) == [Assign(1, "b", 8.5)]

    def test_only_the_oldest_waiting_call_pays(self) -> None:
        state = rules()
        for name in "abc":
            state.call_arrived(0.0, call(name))
        assert state.copy_exited(0.0, 1, jitter=1.0) == [Fail("a", "launch_failed", 0.1)]
        assert state.time_passed(0.1) == [Launch(2, "after_failure")]
        assert state.copy_ready(0.2, 2) == [Assign(2, "b", 7.2, "after_failure", near(0.1))]

    def test_starts_that_fail_side_by_side_are_one_failure(self) -> None:
        state = rules(max_concurrency=8)
        for number in range(8):
            state.call_arrived(0.0, call(str(number)))
        actions = [state.copy_exited(0.0, number, jitter=1.0) for number in range(1, 9)]
        assert actions == [[]] * 7 + [[Fail("0", "launch_failed", 0.1)]]

    def test_a_start_that_works_ends_it(self) -> None:
        state = rules(max_concurrency=2)
        state.call_arrived(0.0, call("a"))
        state.call_arrived(0.0, call("b"))
        assert state.copy_exited(0.0, 2) == []
        assert state.copy_ready(0.01, 1) == [Assign(1, "a", 7.01, "first", 0.01), Launch(3, "all_busy")]

    def test_only_an_answer_takes_the_count_back(self) -> None:
        state = rules()
        for number, pause in ((1, 0.1), (2, 0.2)):
            state.call_arrived(float(number), call(str(number)))
            assert state.copy_exited(float(number), number, 1.0) == [Fail(str(number), "launch_failed", near(pause))]
        state.call_arrived(3.0, call("good"))
        state.copy_ready(3.0, 3)
        state.call_finished(3.0, 3)
        state.copy_exited(3.0, 3)
        state.call_arrived(4.0, call("bad"))
        assert state.copy_exited(4.0, 4, 1.0) == [Fail("bad", "launch_failed", near(0.1))]


class TestIdle:
    """Rule 11: idle_timeout, and what is kept on purpose."""

    def test_from_the_end_of_the_last_call(self) -> None:
        state = with_idle()
        state.call_arrived(15.0, call("a"))
        state.call_finished(16.0, 1)
        assert state.time_passed(35.9) == []
        assert state.time_passed(36.0) == [Stop(1, 3.0, "idle")]

    def test_from_ready_when_nobody_called(self) -> None:
        state = rules()
        state.call_arrived(0.0, call("a"))
        state.call_cancelled(0.0, "a")
        state.copy_ready(2.0, 1)
        assert state.next_deadline() == 22.0

    def test_zero_means_as_soon_as_nothing_waits(self) -> None:
        state = rules(idle_timeout=0.0)
        state.call_arrived(0.0, call("a"))
        state.call_arrived(0.0, call("b"))
        assert state.copy_ready(1.0, 1) == [Assign(1, "a", 8.0, "first", 1.0)]
        assert state.call_finished(2.0, 1) == [Assign(1, "b", 9.0)]
        assert state.call_finished(3.0, 1) == [Stop(1, 3.0, "idle")]

    def test_zero_keeps_no_spare_for_a_copy_on_its_last_call(self) -> None:
        state = rules(idle_timeout=0.0, max_calls=1, max_concurrency=2)
        state.call_arrived(0.0, call("a"))
        assert state.copy_ready(1.0, 1) == [Assign(1, "a", 8.0, "first", 1.0)]

    def test_min_instances_are_there_from_the_start_and_stay(self) -> None:
        state = rules(min_instances=2, max_concurrency=3)
        assert state.started(0.0) == [Launch(1, "min_instances"), Launch(2, "min_instances")]
        state.copy_ready(0.0, 1)
        state.copy_ready(0.0, 2)
        assert state.time_passed(1000.0) == []
        assert state.next_deadline() == NEVER
        assert state.copy_exited(1001.0, 2) == []
        assert state.time_passed(1001.05) == [Launch(3, "min_instances")]  # after a back-off: it never had a call

    def test_a_call_that_waits_for_one_of_them_is_a_first_one(self) -> None:
        state = rules(min_instances=1)
        state.started(0.0)
        state.call_arrived(1.0, call("a"))
        assert state.copy_ready(3.0, 1) == [Assign(1, "a", 10.0, "first", 2.0)]

    def test_more_than_min_instances_time_out(self) -> None:
        state = with_idle(3, min_instances=1)
        assert state.time_passed(20.0) == [Stop(1, 3.0, "idle"), Stop(2, 3.0, "idle")]
        assert state.idle == 1


class TestRecycling:
    """Rule 12: max_calls and max_age, replaced before missed."""

    def test_the_replacement_starts_while_the_last_call_runs(self) -> None:
        state = rules(max_calls=2, max_concurrency=2)
        state.call_arrived(0.0, call("a"))
        state.copy_ready(0.0, 1)
        state.call_finished(1.0, 1)
        assert state.call_arrived(2.0, call("b")) == [Assign(1, "b", 9.0), Launch(2, "recycled")]
        assert state.copy_ready(3.0, 2) == []
        assert state.call_finished(4.0, 1) == [Stop(1, 3.0, "recycled")]
        assert state.call_arrived(4.0, call("c")) == [Assign(2, "c", 11.0)]

    def test_at_the_cap_it_starts_when_the_old_one_is_gone(self) -> None:
        state = rules(max_calls=1)
        state.call_arrived(0.0, call("a"))
        state.copy_ready(0.0, 1)
        assert state.call_finished(1.0, 1) == [Stop(1, 3.0, "recycled")]
        assert state.copy_exited(2.0, 1) == [Launch(2, "recycled")]
        assert state.copy_ready(3.0, 2) == []
        assert state.time_passed(23.0) == [Stop(2, 3.0, "idle")]  # nobody came: it is not replaced again
        assert state.copy_exited(24.0, 2) == []

    def test_a_waiting_call_gets_the_replacement(self) -> None:
        state = rules(max_calls=1)
        state.call_arrived(0.0, call("a"))
        state.call_arrived(0.0, call("b"))
        state.copy_ready(0.0, 1)
        state.call_finished(1.0, 1)
        assert state.copy_exited(1.0, 1) == [Launch(2, "recycled")]
        assert state.copy_ready(1.5, 2) == [Assign(2, "b", 8.5, "recycled", 0.5)]

    def test_an_old_copy_serves_on_until_its_replacement_is_ready(self) -> None:
        state = with_idle(max_age=10.0, max_concurrency=2)
        assert state.time_passed(10.0) == [Launch(2, "recycled")]
        assert state.call_arrived(11.0, call("a")) == [Assign(1, "a", 18.0)]
        assert state.call_finished(12.0, 1) == []
        assert state.call_arrived(13.0, call("b")) == [Assign(1, "b", 20.0)]
        assert state.copy_ready(14.0, 2) == []
        assert state.call_finished(15.0, 1) == [Stop(1, 3.0, "recycled")]
        assert state.call_arrived(15.0, call("c")) == [Assign(2, "c", 22.0)]

    def test_an_idle_one_ends_when_its_replacement_is_ready(self) -> None:
        state = with_idle(max_age=10.0, max_concurrency=2)
        state.time_passed(10.0)
        assert state.copy_ready(14.0, 2) == [Stop(1, 3.0, "recycled")]
        assert state.next_deadline() == 17.0
        state.copy_exited(15.0, 1)
        assert state.time_passed(20.0) == [Stop(2, 3.0, "idle")]  # when the old one would have timed out

    def test_a_replacement_that_fails_leaves_the_old_one_at_work(self) -> None:
        state = with_idle(max_age=10.0, max_concurrency=2)
        state.time_passed(10.0)
        assert state.copy_exited(11.0, 2, jitter=1.0) == []
        assert state.call_arrived(11.0, call("a")) == [Assign(1, "a", 18.0)]
        assert state.call_finished(11.05, 1) == []
        assert state.time_passed(11.1) == [Launch(3, "recycled")]

    def test_also_when_it_fails_while_the_old_one_is_busy_and_calls_wait(self) -> None:
        state = with_idle(max_age=10.0, max_concurrency=2)
        state.time_passed(10.0)
        state.call_arrived(10.0, call("a"))
        state.call_arrived(10.0, call("b"))
        assert state.copy_exited(11.0, 2, jitter=1.0) == []
        assert state.call_arrived(11.0, call("c")) == []
        assert state.call_finished(11.05, 1) == [Assign(1, "b", 18.05)]  # better an old copy than none
        assert state.time_passed(11.1) == [Launch(3, "all_busy")]
        assert state.call_finished(12.0, 1) == [Stop(1, 3.0, "recycled")]

    def test_a_busy_function_does_not_keep_an_old_copy_for_ever(self) -> None:
        state = with_idle(max_age=10.0)
        state.call_arrived(9.0, call("a"))
        state.call_arrived(9.0, call("b"))
        assert state.call_finished(10.0, 1) == [Stop(1, 3.0, "recycled")]
        assert state.copy_exited(10.0, 1) == [Launch(2, "recycled")]

    def test_one_idle_copy_more_needs_no_replacement(self) -> None:
        state = with_idle(2, max_age=10.0)
        state.spec = state.spec.replace(max_concurrency=4)
        assert state.time_passed(10.0) == [Stop(1, 3.0, "recycled"), Launch(3, "recycled")]

    def test_a_replacement_that_would_time_out_at_once_is_not_started(self) -> None:
        state = with_idle(max_age=19.0, stop_grace=3.0)
        assert state.time_passed(19.0) == [Stop(1, 3.0, "recycled")]
        assert state.copy_exited(21.0, 1) == []

    def test_kept_hot_and_renewed(self) -> None:
        state = rules(min_instances=1, max_concurrency=2, max_age=30.0)
        state.started(0.0)
        state.copy_ready(0.0, 1)
        assert state.time_passed(20.0) == []
        assert state.time_passed(30.0) == [Launch(2, "recycled")]
        assert state.copy_ready(31.0, 2) == [Stop(1, 3.0, "recycled")]
        assert state.copy_exited(31.0, 1) == []
        assert state.next_deadline() == 61.0

    def test_one_that_runs_its_last_call_and_is_old_is_replaced_once(self) -> None:
        state = with_idle(max_age=10.0, max_calls=2, max_concurrency=3)
        assert state.time_passed(10.0) == [Launch(2, "recycled")]
        assert state.call_arrived(11.0, call("a")) == [Assign(1, "a", 18.0)]
