"""The rules by example, for calls: one fact, and all the actions that it must cause."""

from __future__ import annotations

import pytest

from hotfn_core.actions import Action, Assign, Fail, Launch, Stop
from hotfn_core.deadlines import NEVER
from hotfn_core.state import LINGER

from .rules_examples import call, gauges, near, rules, with_idle

# Waiting calls, starting copies, room under the cap -> launches. What a scheduler must get right before all else.
LAUNCHES = {
    "nobody waits": (0, 0, 4, 0),
    "one waits, and nothing else is there": (1, 0, 4, 1),
    "as many starters as waiting calls": (2, 2, 4, 0),
    "fewer starters than waiting calls": (3, 1, 4, 2),
    "more starters than waiting calls": (1, 2, 4, 0),
    "the cap is nearer than the need": (3, 1, 2, 1),
    "no room at all": (3, 2, 2, 0),
}


class TestFirstCall:
    def test_it_starts_a_copy_waits_for_it_and_is_told_so(self) -> None:
        state = rules()
        assert state.call_arrived(1.0, call("a")) == [Launch(1, "first")]
        assert gauges(state) == (1, 1, 0, 0, 0)
        assert state.copy_ready(3.0, 1) == [Assign(1, "a", 10.0, "first", 2.0)]
        assert gauges(state) == (0, 0, 0, 1, 0)
        assert state.call_finished(4.0, 1) == []
        assert gauges(state) == (0, 0, 1, 0, 0)

    def test_the_next_call_finds_it_hot(self) -> None:
        state = with_idle()
        assert state.call_arrived(5.0, call("b")) == [Assign(1, "b", 12.0)]

    def test_it_is_cold_for_the_part_of_the_start_that_it_waited(self) -> None:
        state = rules()
        state.call_arrived(0.0, call("a"))
        state.call_cancelled(1.0, "a")
        assert state.call_arrived(4.0, call("b")) == []  # the start that is on its way is for b now
        assert state.copy_ready(6.0, 1) == [Assign(1, "b", 13.0, "first", 2.0)]


class TestSettle:
    """Rules 1 and 2: every fact settles everything, and state changes with the decision."""

    def test_an_answer_gives_the_copy_to_the_next_call_at_once(self) -> None:
        state = with_idle()
        state.call_arrived(1.0, call("a"))
        assert state.call_arrived(1.0, call("b")) == []
        assert state.call_finished(2.0, 1) == [Assign(1, "b", 9.0)]
        assert state.phase(1) == "busy"

    def test_an_exit_makes_room_for_a_start(self) -> None:
        state = with_idle()
        state.call_arrived(1.0, call("a"))
        state.call_arrived(1.0, call("b"))
        assert state.copy_exited(2.0, 1) == [Fail("a", "instance_exited"), Launch(2, "after_failure")]

    def test_any_fact_settles_what_time_has_brought(self) -> None:
        state = rules(max_concurrency=2)
        state.call_arrived(0.0, call("a"))
        state.call_arrived(0.0, call("b"))
        state.copy_ready(0.0, 1)
        assert state.call_cancelled(11.0, "nobody") == [
            Fail("a", "call_timeout"),
            Stop(1, 3.0, "timeout"),
            Stop(2, 0.0, "start_failed"),
            Fail("b", "launch_failed", near(0.05)),
        ]

    @pytest.mark.parametrize("fact", ["copy_ready", "call_finished", "copy_exited"])
    def test_a_fact_about_nobody_changes_nothing(self, fact: str) -> None:
        state = with_idle()
        assert getattr(state, fact)(1.0, 99) == []
        assert state.copy_disturbed(1.0, 99, "protocol_error") == []
        assert gauges(state) == (0, 0, 1, 0, 0)

    def test_a_reply_that_crosses_the_stop_changes_nothing(self) -> None:
        state = with_idle()
        state.call_arrived(0.0, call("a"))
        assert state.call_cancelled(1.0, "a") == [Stop(1, 3.0, "cancelled")]
        assert state.call_finished(1.0, 1) == []
        assert state.copy_disturbed(1.0, 1, "excess_output") == []
        assert state.phase(1) == "stopping"
        assert state.copy_exited(2.0, 1) == []
        assert state.phase(1) is None


class TestOrder:
    """Rule 4: the copy that became idle last, the call that came first."""

    def test_copies_are_a_stack(self) -> None:
        state = with_idle(3)
        taken = [state.call_arrived(1.0, call(str(number))) for number in range(3)]
        assert taken == [[Assign(3, "0", 8.0)], [Assign(2, "1", 8.0)], [Assign(1, "2", 8.0)]]
        for number in (3, 1, 2):
            state.call_finished(2.0, number)
        assert state.call_arrived(3.0, call("x")) == [Assign(2, "x", 10.0)]

    def test_surplus_copies_reach_their_idle_timeout(self) -> None:
        state = with_idle(2)
        for second in range(1, 20):
            assert state.call_arrived(float(second), call(str(second))) == [Assign(2, str(second), second + 7.0)]
            assert state.call_finished(second + 0.5, 2) == []
        assert state.time_passed(20.0) == [Stop(1, 3.0, "idle")]

    def test_calls_are_a_queue(self) -> None:
        state = with_idle()
        for name in "abc":
            state.call_arrived(1.0, call(name))
        assert state.call_finished(2.0, 1) == [Assign(1, "b", 9.0)]
        assert state.call_finished(3.0, 1) == [Assign(1, "c", 10.0)]


class TestLaunch:
    """Rule 3: while waiting > starting and alive < max_concurrency."""

    @pytest.mark.parametrize(("waiting", "starting", "cap", "launches"), LAUNCHES.values(), ids=LAUNCHES)
    def test_as_many_as_the_table_says(self, waiting: int, starting: int, cap: int, launches: int) -> None:
        state = rules(max_concurrency=cap)
        made: list[Action] = []
        for number in range(starting):
            state.call_arrived(0.0, call(f"early-{number}"))
        for number in range(waiting, starting):
            state.call_cancelled(0.0, f"early-{number}")
        for number in range(starting, waiting):
            made += state.call_arrived(0.0, call(f"late-{number}"))
        assert [one for one in made if isinstance(one, Launch)] == [
            Launch(starting + 1 + number, "all_busy" if starting + number else "first") for number in range(launches)
        ]
        assert (state.waiting, state.starting) == (waiting, starting + launches)

    @pytest.mark.parametrize(("idle", "waiting", "launches"), [(3, 1, 0), (2, 2, 0), (1, 3, 2), (2, 3, 1)])
    def test_idle_copies_come_before_new_ones(self, idle: int, waiting: int, launches: int) -> None:
        state = with_idle(idle)
        state.spec = state.spec.replace(max_concurrency=8)
        actions = [one for number in range(waiting) for one in state.call_arrived(1.0, call(str(number)))]
        assert sum(isinstance(one, Assign) for one in actions) == min(idle, waiting)
        assert sum(isinstance(one, Launch) for one in actions) == launches

    def test_a_stopping_copy_still_counts(self) -> None:
        state = with_idle()
        state.call_arrived(0.0, call("a"))
        assert state.call_finished(1.0, 1, "protocol_error") == [Stop(1, 3.0, "protocol_error")]
        assert state.call_arrived(1.0, call("b")) == []
        assert state.copy_exited(2.0, 1) == [Launch(2, "after_failure")]

    def test_a_starting_copy_serves_whoever_is_first_when_it_is_ready(self) -> None:
        state = with_idle()
        state.spec = state.spec.replace(max_concurrency=2)
        state.call_arrived(1.0, call("a"))
        assert state.call_arrived(1.0, call("b")) == [Launch(2, "all_busy")]
        assert state.call_finished(2.0, 1) == [Assign(1, "b", 9.0)]  # not cold: it waited for no start
        assert state.copy_ready(3.0, 2) == []
        assert state.call_arrived(3.0, call("c")) == [Assign(2, "c", 10.0)]  # nor this one, though it is the first


class TestTime:
    """Rules 5 and 9: one next deadline, and each span by its own name."""

    def test_the_earliest_of_all_of_them(self) -> None:
        state = rules(max_concurrency=2)
        assert state.next_deadline() == NEVER
        state.call_arrived(0.0, call("a"))
        assert state.next_deadline() == 11.0  # start_timeout
        state.copy_ready(1.0, 1)
        assert state.next_deadline() == 8.0  # timeout
        state.call_finished(2.0, 1)
        assert state.next_deadline() == 22.0  # idle_timeout
        state.time_passed(22.0)
        assert state.next_deadline() == 25.0  # stop_grace
        state.copy_exited(23.0, 1)
        assert state.next_deadline() == 23.0 + LINGER
        assert state.wake_at() <= 23.0 + LINGER

    def test_queue_timeout(self) -> None:
        state = with_idle(timeout=100.0)
        state.call_arrived(1.0, call("a"))
        state.call_arrived(2.0, call("b"))
        assert state.next_deadline() == 52.0
        assert state.time_passed(51.9) == []
        assert state.time_passed(52.0) == [Fail("b", "queue_timeout", 1.0)]

    def test_timeout_stops_the_copy(self) -> None:
        state = with_idle()
        state.call_arrived(1.0, call("a"))
        assert state.time_passed(8.0) == [Fail("a", "call_timeout"), Stop(1, 3.0, "timeout")]

    def test_start_timeout(self) -> None:
        state = rules()
        state.call_arrived(0.0, call("a"))
        assert state.time_passed(11.0, jitter=1.0) == [
            Stop(1, 0.0, "start_failed"),
            Fail("a", "launch_failed", near(0.1)),
        ]

    def test_stop_grace_and_again_ever_later_until_it_is_gone(self) -> None:
        state = with_idle()
        assert state.time_passed(20.0) == [Stop(1, 3.0, "idle")]
        times = []
        for _ in range(9):
            times.append(state.next_deadline())
            assert state.time_passed(times[-1]) == [Stop(1, 0.0, "idle")]
        assert times == [23.0, 24.0, 26.0, 30.0, 38.0, 54.0, 84.0, 114.0, 144.0]
        assert state.copy_exited(150.0, 1) == []
        assert state.alive == 0

    def test_no_grace_is_a_kill_and_the_next_one_follows_a_second_later(self) -> None:
        state = with_idle(stop_grace=0.0)
        assert state.time_passed(20.0) == [Stop(1, 0.0, "idle")]
        assert state.next_deadline() == 21.0

    def test_a_deadline_bounds_waiting(self) -> None:
        state = with_idle()
        state.call_arrived(1.0, call("a"))
        state.call_arrived(1.0, call("b", deadline=4.0))
        assert state.next_deadline() == 4.0
        assert state.time_passed(4.0) == [Fail("b", "queue_timeout", 1.0)]

    def test_a_deadline_bounds_running(self) -> None:
        state = with_idle()
        assert state.call_arrived(1.0, call("a", deadline=4.0)) == [Assign(1, "a", 4.0)]
        assert state.time_passed(4.0) == [Fail("a", "call_timeout"), Stop(1, 3.0, "timeout")]

    def test_a_deadline_bounds_starting(self) -> None:
        state = rules()
        state.call_arrived(0.0, call("a", deadline=4.0))
        assert state.time_passed(4.0) == [Fail("a", "queue_timeout", 1.0)]
        assert state.copy_ready(5.0, 1) == []  # and the start was not in vain

    def test_a_call_past_its_deadline_reaches_no_copy(self) -> None:
        state = with_idle()
        assert state.call_arrived(5.0, call("a", deadline=5.0)) == [Fail("a", "queue_timeout", 1.0)]
        assert state.idle == 1


class TestQueue:
    """Rule 10: the queue is bounded."""

    def test_one_more_is_saturated(self) -> None:
        state = with_idle(max_queue=2)
        for name in "abc":
            assert Fail(name, "saturated", 1.0) not in state.call_arrived(1.0, call(name))
        assert state.call_arrived(1.0, call("d")) == [Fail("d", "saturated", 1.0)]
        assert state.waiting == 2
        state.call_cancelled(1.0, "b")
        assert state.call_arrived(1.0, call("e")) == []

    def test_calls_that_a_start_will_serve_take_no_place(self) -> None:
        state = rules(max_queue=0, max_concurrency=2)
        assert state.call_arrived(0.0, call("a")) == [Launch(1, "first")]
        assert state.call_arrived(0.0, call("b")) == [Launch(2, "all_busy")]
        assert state.call_arrived(0.0, call("c")) == [Fail("c", "saturated", 1.0)]
