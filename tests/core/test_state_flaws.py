"""What went wrong in systems before this one, as far as the rules decide it: each flaw that is known, as a test.

The numbers are those of the table in docs; the worlds here are simulated by hand, second by second.
"""

from __future__ import annotations

import pytest

from hotfn_core.actions import Action, Assign, Drop, Fail, Launch, Stop
from hotfn_core.deadlines import NEVER
from hotfn_core.state import LINGER, SupervisorState

from .rules_examples import call, gauges, near, rules, with_idle


def launches(actions: list[Action]) -> int:
    return sum(isinstance(one, Launch) for one in actions)


def test_w02_fifty_waiting_calls_block_nobody() -> None:
    """Each arrival is answered by the rules at once: queued, not blocked, and in order."""
    state = with_idle(max_queue=50)
    for number in range(51):
        state.call_arrived(1.0, call(str(number)))
    assert state.waiting == 50
    served = [state.call_finished(1.0, 1) for _ in range(50)]
    assert served == [[Assign(1, str(number), 8.0)] for number in range(1, 51)]


def test_w03_calls_one_after_another_use_one_copy() -> None:
    state = rules(max_concurrency=5)
    count = launches(state.call_arrived(0.0, call("first")))
    state.copy_ready(0.0, 1)
    state.call_finished(0.0, 1)
    for number in range(100):
        count += launches(state.call_arrived(float(number) / 10, call(str(number))))
        state.call_finished(float(number) / 10, 1)
    assert count == 1


def test_w03_slow_calls_side_by_side_use_as_many_copies_as_calls() -> None:
    state = rules(max_concurrency=5)
    assert [launches(state.call_arrived(0.0, call(str(number)))) for number in range(7)] == [1, 1, 1, 1, 1, 0, 0]


@pytest.mark.parametrize("call_first", [True, False])
@pytest.mark.parametrize("max_concurrency", [1, 2])
def test_w04_a_call_exactly_at_idle_expiry_is_served(call_first: bool, max_concurrency: int) -> None:
    """Whichever fact comes first: the call gets the copy, or the start of another one as soon as the cap allows."""
    state = with_idle(1)
    state.spec = state.spec.replace(max_concurrency=max_concurrency)
    if call_first:
        assert state.call_arrived(20.0, call("a")) == [Assign(1, "a", 27.0)]
        assert state.time_passed(20.0) == []
        return
    assert state.time_passed(20.0) == [Stop(1, 3.0, "idle")]
    started = state.call_arrived(20.0, call("a"))
    ended = state.copy_exited(20.1, 1)
    assert [one for one in started + ended if isinstance(one, Launch)] == [Launch(2, "first")]
    assert state.copy_ready(20.2, 2) == [Assign(2, "a", 27.2, "first", near(0.1 if ended else 0.2))]


def test_w05_a_copy_that_stops_takes_no_call_and_fails_none() -> None:
    state = with_idle()
    state.time_passed(20.0)
    assert state.call_arrived(20.0, call("a")) == []
    assert state.time_passed(22.9) == []
    assert state.time_passed(23.0) == [Stop(1, 0.0, "idle")]
    assert state.copy_exited(23.0, 1) == [Launch(2, "first")]


def test_w06_an_exit_ends_the_call_at_once() -> None:
    state = with_idle()
    state.call_arrived(1.0, call("a"))
    assert state.copy_exited(1.001, 1) == [Fail("a", "instance_exited")]


def test_w07_the_next_call_after_a_kill_between_calls_gets_a_new_copy() -> None:
    state = with_idle()
    assert state.copy_exited(1.0, 1) == []
    assert state.call_arrived(1.0, call("a")) == [Launch(2, "after_failure")]


def test_w08_a_start_that_fails_is_told_at_once() -> None:
    state = rules()
    state.call_arrived(0.0, call("a"))
    assert state.copy_exited(0.01, 1) == [Fail("a", "launch_failed", near(0.05))]


def test_w09_a_copy_whose_call_timed_out_is_never_used_again() -> None:
    state = with_idle()
    state.call_arrived(0.0, call("a"))
    assert state.time_passed(7.0) == [Fail("a", "call_timeout"), Stop(1, 3.0, "timeout")]
    assert state.call_finished(7.5, 1) == []  # the late answer
    assert state.call_arrived(7.5, call("b")) == []
    assert state.copy_exited(8.0, 1) == [Launch(2, "after_failure")]


def test_w10_a_protocol_error_ends_the_copy() -> None:
    state = with_idle()
    state.call_arrived(0.0, call("a"))
    assert state.call_finished(0.0, 1, "protocol_error") == [Stop(1, 3.0, "protocol_error")]


def test_w13_a_cancelled_call_ends_its_copy() -> None:
    state = with_idle()
    state.call_arrived(0.0, call("a"))
    assert state.call_cancelled(1.0, "a") == [Stop(1, 3.0, "cancelled")]


def test_w23_every_waiting_call_returns_when_the_function_drains() -> None:
    state = with_idle()
    for name in "abc":
        state.call_arrived(0.0, call(name))
    assert state.drain_requested(1.0, 0.0, serve_waiting=False) == [
        Fail("b", "shutting_down"),
        Fail("c", "shutting_down"),
        Fail("a", "aborted"),
        Stop(1, 0.0, "drained"),
    ]


def test_w26_a_function_that_nobody_uses_goes_with_all_its_memory() -> None:
    for number in range(1000):
        state = rules(env={"VERSION": str(number)})
        state.call_arrived(0.0, call("a", deadline=1000.0))
        state.copy_ready(0.0, 1)
        state.call_finished(0.0, 1)
        state.time_passed(20.0)
        state.copy_exited(20.0, 1)
        assert state.time_passed(20.0 + LINGER) == [Drop()]
        assert (state._calls, state._copies, state.next_deadline(), len(state._deadlines)) == ({}, {}, NEVER, 0)


def test_w27_a_hundred_thousand_fast_calls_leave_no_timers() -> None:
    state = with_idle(idle_timeout=3600.0, timeout=3600.0)
    for number in range(100_000):
        state.call_arrived(number / 1000, call(str(number), deadline=number + 5000.0))
        state.call_finished(number / 1000, 1)
        assert len(state._deadlines) <= 34


def test_w28_idle_zero_serves_its_call_and_the_waiting_ones_first() -> None:
    state = rules(idle_timeout=0.0)
    state.call_arrived(0.0, call("a"))
    state.call_arrived(0.0, call("b"))
    assert state.copy_ready(1.0, 1) == [Assign(1, "a", 8.0, "first", 1.0)]
    assert state.call_finished(2.0, 1) == [Assign(1, "b", 9.0)]
    assert state.call_finished(3.0, 1) == [Stop(1, 3.0, "idle")]


def test_w28_the_default_is_not_zero() -> None:
    assert SupervisorState(rules().spec.replace(idle_timeout=30.0)).spec.idle_timeout == 30.0
    assert type(rules().spec)(name="f", command=("f",)).idle_timeout == 30.0


def test_w33_a_timeout_does_not_wait_for_the_copy_to_stop() -> None:
    state = with_idle(stop_grace=30.0)
    state.call_arrived(0.0, call("a"))
    assert state.time_passed(7.0)[0] == Fail("a", "call_timeout")


def test_w34_a_slow_start_is_not_charged_to_the_first_call() -> None:
    state = rules(timeout=0.5)
    state.call_arrived(0.0, call("a"))
    assert state.copy_ready(10.0, 1) == [Assign(1, "a", 10.5, "first", 10.0)]


def test_w34_the_time_in_the_queue_is_bounded() -> None:
    state = with_idle(queue_timeout=5.0)
    state.call_arrived(0.0, call("a"))
    state.call_arrived(0.0, call("b"))
    assert state.time_passed(5.0) == [Fail("b", "queue_timeout", 1.0)]


def test_w40_a_hundred_first_calls_start_no_more_than_the_cap() -> None:
    state = rules(max_concurrency=4, max_queue=1000)
    actions = [one for number in range(100) for one in state.call_arrived(0.0, call(str(number)))]
    assert launches(actions) == len(actions) == 4


def test_w45_gauges_return_to_zero_whatever_the_outcomes() -> None:
    state = rules(max_concurrency=3, max_queue=1)
    for number in range(6):
        state.call_arrived(0.0, call(str(number)))
    state.copy_ready(1.0, 1)
    state.copy_ready(1.0, 2)
    state.copy_exited(1.0, 3)
    state.call_cancelled(2.0, "0")
    state.copy_exited(2.0, 2)
    for second in range(3, 200):
        state.time_passed(float(second))
        for number in range(1, state.launched + 1):
            if state.phase(number) == "stopping":
                state.copy_exited(float(second), number)
    assert gauges(state) == (0, 0, 0, 0, 0)
    assert state.launched == sum(state.stopped.values())


def test_b01_a_receiver_that_is_gone_takes_no_place_along() -> None:
    """The caller leaves while its copy starts: the start counts on, and serves the next one."""
    state = rules()
    state.call_arrived(0.0, call("a"))
    assert state.call_cancelled(0.5, "a") == []
    assert state.call_arrived(0.6, call("b")) == []
    assert state.copy_ready(1.0, 1) == [Assign(1, "b", 8.0, "first", near(0.4))]


def test_b02_an_idle_copy_is_looked_for_before_another_is_started() -> None:
    state = with_idle(1)
    state.spec = state.spec.replace(max_concurrency=9)
    assert state.call_arrived(1.0, call("a")) == [Assign(1, "a", 8.0)]


def test_b03_a_cancellation_leaves_the_others_their_turn() -> None:
    state = with_idle()
    for name in "abc":
        state.call_arrived(0.0, call(name))
    assert state.call_cancelled(1.0, "a") == [Stop(1, 3.0, "cancelled")]
    assert state.copy_exited(1.0, 1) == [Launch(2, "after_failure")]
    assert state.copy_ready(1.0, 2) == [Assign(2, "b", 8.0, "after_failure", 0.0)]


def test_b04_a_caller_that_vanished_costs_no_copy_its_place_or_its_idle_time() -> None:
    state = with_idle(2)
    for name in "abc":
        state.call_arrived(1.0, call(name))
    state.call_cancelled(2.0, "c")
    state.call_finished(3.0, 1)
    assert state.call_arrived(4.0, call("d")) == [Assign(1, "d", 11.0)]
    state.call_finished(5.0, 2)
    state.call_finished(6.0, 1)
    assert state.next_deadline() == 25.0


def test_b05_a_copy_that_exited_or_timed_out_is_never_offered() -> None:
    state = with_idle(2)
    state.call_arrived(1.0, call("a"))
    state.time_passed(8.0)
    state.copy_exited(8.0, 1)
    assert state.call_finished(8.0, 2) == state.call_finished(8.0, 1) == []
    assert state.call_arrived(8.0, call("b")) == [Launch(3, "after_failure")]


def test_b27_a_copy_that_starts_is_not_idle() -> None:
    state = rules(max_concurrency=2)
    state.call_arrived(0.0, call("a"))
    assert (state.idle, state.starting) == (0, 1)
    assert state.call_arrived(0.0, call("b")) == [Launch(2, "all_busy")]


def test_b28_a_copy_that_starts_is_not_stopped_for_want_of_calls() -> None:
    state = rules(idle_timeout=0.25)
    state.call_arrived(0.0, call("a"))
    state.call_cancelled(0.0, "a")
    assert state.time_passed(10.0) == []
    assert state.copy_ready(10.0, 1) == []
    assert state.time_passed(10.25) == [Stop(1, 3.0, "idle")]


def test_b30_an_old_failed_start_reaches_no_later_call() -> None:
    """Nobody waits when the start fails: its error is nobody's, and after the back-off all is well."""
    state = rules()
    state.call_arrived(0.0, call("a"))
    state.call_cancelled(0.0, "a")
    assert state.copy_exited(1.0, 1, jitter=1.0) == []
    assert state.call_arrived(1.1, call("b")) == [Launch(2, "after_failure")]


def test_b30_a_failed_start_beside_copies_at_work_is_seen_by_no_caller() -> None:
    state = with_idle(timeout=1000.0)
    state.spec = state.spec.replace(max_concurrency=2)
    state.call_arrived(0.0, call("a"))
    for number in range(50):
        now = float(number)
        state.call_arrived(now, call(f"waits-{number}"))
        starting = [one for one in range(1, state.launched + 1) if state.phase(one) == "starting"]
        for one in starting:
            assert state.copy_exited(now, one) == []
        assert [type(one) for one in state.call_finished(now, 1)] == [Assign]


def test_b33_no_gauge_is_left_up_by_an_early_failure() -> None:
    state = with_idle(max_queue=0)
    state.call_arrived(0.0, call("a"))
    assert state.call_arrived(0.0, call("b")) == [Fail("b", "saturated", 1.0)]
    assert state.call_arrived(0.0, call("c", deadline=-1.0)) == [Fail("c", "queue_timeout", 1.0)]
    assert state.waiting == 0


def test_b34_a_fact_that_is_told_late_harms_nobody() -> None:
    """The clock is the caller's, monotonic; however late it is read, each deadline is acted on once."""
    state = with_idle()
    state.call_arrived(0.0, call("a"))
    assert state.time_passed(1e6) == [Fail("a", "call_timeout"), Stop(1, 3.0, "timeout")]


def test_o1_a_burst_of_twenty_on_room_for_five_is_served_whole() -> None:
    state = rules(max_concurrency=5, max_queue=20)
    for number in range(20):
        state.call_arrived(0.0, call(str(number)))
    served = [one for number in range(1, 6) for one in state.copy_ready(1.0, number)]
    for second in (2.0, 3.0, 4.0):
        served += [one for number in range(1, 6) for one in state.call_finished(second, number)]
    assert [one.call_id for one in served if isinstance(one, Assign)] == [str(number) for number in range(20)]


def test_o11_there_is_a_drain_limit_an_age_a_number_of_calls_and_a_cap() -> None:
    state = with_idle(max_age=10.0, max_calls=2)
    state.call_arrived(1.0, call("a"))
    assert state.call_arrived(1.0, call("b")) == []  # the cap
    assert state.call_finished(2.0, 1) == [Stop(1, 3.0, "recycled")]  # the number of calls
    assert state.copy_exited(2.0, 1) == [Launch(2, "recycled")]
    state.copy_ready(2.0, 2)
    state.call_finished(3.0, 2)
    assert state.time_passed(12.0) == [Stop(2, 3.0, "recycled")]  # the age
    state.copy_exited(12.0, 2)
    state.copy_ready(12.0, 3)
    state.call_arrived(12.0, call("c"))
    state.drain_requested(12.0, 1.0, serve_waiting=False)
    assert state.time_passed(13.0) == [Fail("c", "aborted"), Stop(3, 0.0, "drained")]  # the drain limit
