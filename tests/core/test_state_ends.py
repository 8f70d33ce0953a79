"""The rules by example, for draining, dropping and cold protocols. Whole actions are compared."""

from __future__ import annotations

import pytest

from hotfn_core.actions import Assign, Drop, Fail, Launch, Stop
from hotfn_core.deadlines import NEVER
from hotfn_core.state import LINGER, SupervisorState

from .rules_examples import call, gauges, near, rules, with_idle


class TestDrain:
    """Rule 13."""

    def busy_and_waiting(self) -> SupervisorState:
        state = with_idle(2)
        for name in "abcd":
            state.call_arrived(1.0, call(name))
        return state

    def test_reject(self) -> None:
        state = self.busy_and_waiting()
        assert state.drain_requested(2.0, 5.0, serve_waiting=False) == [
            Fail("c", "shutting_down"),
            Fail("d", "shutting_down"),
        ]
        assert state.call_arrived(2.0, call("e")) == [Fail("e", "shutting_down")]
        assert state.call_finished(5.0, 2) == [Stop(2, 3.0, "drained")]
        assert state.time_passed(7.0) == [
            Fail("b", "aborted"),
            Stop(1, 0.0, "drained"),
        ]
        assert state.time_passed(8.0) == [Stop(1, 0.0, "drained"), Stop(2, 0.0, "drained")]  # 2 was asked at 5
        assert state.copy_exited(8.0, 2) == []
        assert state.copy_exited(8.0, 1) == [Drop()]
        assert state.next_deadline() == NEVER

    def test_kill_takes_the_grace_away(self) -> None:
        state = with_idle(3)
        for name in "ab":
            state.call_arrived(1.0, call(name))
        assert state.call_finished(2.0, 2, "protocol_error") == [Stop(2, 3.0, "protocol_error")]
        assert state.kill_requested(3.0) == [
            Stop(1, 3.0, "drained"),  # it was idle
            Fail("a", "aborted"),
            Stop(3, 0.0, "drained"),
            Stop(1, 0.0, "drained"),
            Stop(2, 0.0, "protocol_error"),
        ]
        assert state.kill_requested(3.0) == []
        assert state.next_deadline() == 4.0

    def test_serve(self) -> None:
        state = self.busy_and_waiting()
        assert state.drain_requested(2.0, None, serve_waiting=True) == []
        assert state.call_finished(3.0, 2) == [Assign(2, "c", 10.0)]
        assert state.call_finished(3.0, 1) == [Assign(1, "d", 10.0)]
        assert state.call_finished(4.0, 2) == [Stop(2, 3.0, "drained")]

    def test_serve_until_the_limit(self) -> None:
        state = with_idle()
        state.call_arrived(1.0, call("a"))
        state.call_arrived(1.0, call("b"))
        state.drain_requested(1.0, 2.0, serve_waiting=True)
        assert state.time_passed(3.0) == [
            Fail("b", "shutting_down"),
            Fail("a", "aborted"),
            Stop(1, 0.0, "drained"),
        ]

    def test_at_the_limit_starting_copies_end_too(self) -> None:
        state = rules()
        state.call_arrived(0.0, call("a"))
        assert state.drain_requested(0.0, 2.0, serve_waiting=True) == []
        assert state.time_passed(2.0) == [Fail("a", "shutting_down"), Stop(1, 0.0, "drained")]

    def test_idle_and_needless_starting_copies_end_at_once(self) -> None:
        state = rules(max_concurrency=3)
        for name in "abc":
            state.call_arrived(0.0, call(name))
        state.copy_ready(0.0, 1)
        state.call_cancelled(0.0, "b")
        state.call_cancelled(0.0, "c")
        assert gauges(state) == (0, 2, 0, 1, 0)
        assert state.drain_requested(0.0, 5.0, serve_waiting=True) == [
            Stop(2, 0.0, "drained"),
            Stop(3, 0.0, "drained"),
        ]
        assert with_idle().drain_requested(0.0, 5.0, serve_waiting=True) == [Stop(1, 3.0, "drained")]

    def test_the_nearer_end_wins(self) -> None:
        state = self.busy_and_waiting()
        state.drain_requested(2.0, 5.0, serve_waiting=True)
        state.drain_requested(2.0, 50.0, serve_waiting=True)
        assert state.next_deadline() == 7.0
        assert state.drain_requested(3.0, 0.0, serve_waiting=True)[-1] == Stop(2, 0.0, "drained")

    def test_nothing_there_is_the_end_at_once_and_once(self) -> None:
        state = rules()
        assert state.drain_requested(0.0, 5.0, serve_waiting=True) == [Drop()]
        assert state.drain_requested(1.0, 5.0, serve_waiting=False) == []
        assert state.next_deadline() == NEVER

    def test_min_instances_and_replacements_end_too(self) -> None:
        state = rules(min_instances=1, max_calls=1)
        state.started(0.0)
        state.copy_ready(0.0, 1)
        state.call_arrived(0.0, call("a"))
        state.drain_requested(0.0, None, serve_waiting=True)
        assert state.call_finished(1.0, 1) == [Stop(1, 3.0, "recycled")]
        assert state.copy_exited(2.0, 1) == [Drop()]


class TestDrop:
    """Rule 14."""

    def test_after_a_minute_without_copies_and_calls(self) -> None:
        state = with_idle()
        state.time_passed(20.0)
        state.copy_exited(21.0, 1)
        assert state.time_passed(80.9) == []
        assert state.time_passed(81.0) == [Drop()]
        assert state.next_deadline() == NEVER

    def test_what_else_is_told_meanwhile_does_not_put_it_off(self) -> None:
        state = rules()
        state.started(0.0)
        assert state.copy_exited(30.0, 1) == []
        assert state.next_deadline() == LINGER

    def test_a_call_keeps_it(self) -> None:
        state = rules()
        state.started(0.0)
        assert state.call_arrived(LINGER + 1, call("a")) == [Launch(1, "first")]  # though the timer was late

    def test_one_that_is_used_again_is_dropped_again(self) -> None:
        state = rules()
        state.started(0.0)
        assert state.time_passed(60.0) == [Drop()]
        state.call_arrived(61.0, call("a"))
        state.copy_exited(62.0, 1)
        assert state.time_passed(122.0) == [Drop()]

    def test_not_while_copies_are_wanted(self) -> None:
        state = rules(min_instances=1)
        state.started(0.0)
        state.copy_exited(0.0, 1)
        assert state.next_deadline() == 0.05  # the back-off, and no end


class TestCold:
    """A cold protocol: one copy for one call, under the same cap, queue and deadlines."""

    def test_a_copy_is_started_for_a_call_serves_it_and_goes(self) -> None:
        state = rules(hot=False, max_concurrency=2)
        assert state.call_arrived(0.0, call("a")) == [Launch(1, "first", "a")]
        assert state.call_arrived(0.0, call("b")) == [Launch(2, "all_busy", "b")]
        assert state.call_arrived(0.0, call("c")) == []
        assert state.copy_ready(1.0, 2) == [Assign(2, "b", 8.0, "all_busy", 1.0)]
        assert state.call_finished(2.0, 2) == [Stop(2, 3.0, "recycled")]
        assert state.copy_exited(2.0, 2) == [Launch(3, "all_busy", "c")]

    def test_a_call_that_leaves_takes_its_copy_with_it(self) -> None:
        state = rules(hot=False)
        state.call_arrived(0.0, call("a"))
        assert state.call_cancelled(1.0, "a") == [Stop(1, 0.0, "cancelled")]

    def test_so_does_one_whose_time_is_over(self) -> None:
        state = rules(hot=False, queue_timeout=5.0)
        state.call_arrived(0.0, call("a"))
        assert state.time_passed(5.0) == [Fail("a", "queue_timeout", 1.0), Stop(1, 0.0, "cancelled")]

    def test_a_copy_that_is_ready_too_late_gets_no_call(self) -> None:
        state = rules(hot=False)
        state.call_arrived(0.0, call("a", deadline=2.0))
        assert state.copy_ready(2.0, 1) == [Fail("a", "queue_timeout", 1.0), Stop(1, 3.0, "cancelled")]

    def test_a_failed_start_is_tried_again_while_other_calls_run(self) -> None:
        state = rules(hot=False, max_concurrency=2)
        state.call_arrived(0.0, call("a"))
        state.call_arrived(0.0, call("b"))
        state.copy_ready(0.0, 1)
        assert state.copy_exited(1.0, 2, jitter=1.0) == []
        assert state.time_passed(1.1) == [Launch(3, "all_busy", "b")]

    def test_a_failed_start_alone_fails_its_own_call(self) -> None:
        state = rules(hot=False)
        state.call_arrived(0.0, call("a"))
        assert state.copy_exited(1.0, 1, jitter=1.0) == [Fail("a", "launch_failed", near(0.1))]

    def test_nothing_is_kept_hot(self) -> None:
        assert rules(hot=False, min_instances=1).started(0.0) == []

    def test_drain_lets_it_start_for_a_call_that_is_served(self) -> None:
        state = rules(hot=False)
        state.call_arrived(0.0, call("a"))
        assert state.drain_requested(0.0, 5.0, serve_waiting=True) == []
        assert state.drain_requested(0.0, 5.0, serve_waiting=False) == [
            Fail("a", "shutting_down"),
            Stop(1, 0.0, "cancelled"),
        ]
        assert state.time_passed(1.0) == [Stop(1, 0.0, "cancelled")]


class TestColdReason:
    """Why a call had to wait for a start."""

    def reason_after(self, state: SupervisorState, now: float = 100.0) -> str:
        (launch,) = state.call_arrived(now, call("next"))
        assert isinstance(launch, Launch)
        return launch.reason

    def test_first(self) -> None:
        assert self.reason_after(rules()) == "first"

    def test_first_after_idle(self) -> None:
        state = with_idle()
        state.time_passed(20.0)
        state.copy_exited(20.0, 1)
        assert self.reason_after(state, 21.0) == "first"

    def test_recycled(self) -> None:
        state = rules(max_calls=1, max_concurrency=1, idle_timeout=0.0)
        state.call_arrived(0.0, call("a"))
        state.copy_ready(0.0, 1)
        state.call_finished(0.0, 1)
        state.copy_exited(0.0, 1)
        assert self.reason_after(state, 1.0) == "recycled"

    @pytest.mark.parametrize("end", ["exit", "timeout", "cancelled", "protocol_error"])
    def test_after_failure(self, end: str) -> None:
        state = with_idle()
        state.call_arrived(0.0, call("a"))
        if end == "timeout":
            state.time_passed(7.0)
        elif end == "cancelled":
            state.call_cancelled(1.0, "a")
        elif end == "protocol_error":
            state.call_finished(1.0, 1, "protocol_error")
        state.copy_exited(8.0, 1)
        assert self.reason_after(state, 9.0) == "after_failure"
