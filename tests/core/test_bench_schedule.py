"""When calls arrive and whose turn it is, as `hotfn bench` decides it beforehand."""

from __future__ import annotations

from itertools import islice, pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hotfn_core.cli.bench.schedule import Arrivals, turn_calls, turn_seconds, turns

RATES = st.floats(0.01, 1e6)
LOOKS = st.lists(st.tuples(st.floats(0, 0.01), st.integers(1, 50)), max_size=60)


class TestArrivals:
    @given(RATES, st.floats(0, 1e6), LOOKS)
    def test_each_is_taken_once_in_order_and_never_early(
        self, rate: float, begin: float, looks: list[tuple[float, int]]
    ) -> None:
        arrivals, now, taken = Arrivals(rate, begin, begin + 10), begin, []
        for later, limit in looks:
            now += later
            due = list(arrivals.due(now, limit))
            assert len(due) <= limit
            assert all(moment <= now for moment in due)
            if len(due) < limit:
                assert arrivals.next is None or arrivals.next > now
            taken += due
        assert taken == [begin + number / rate for number in range(len(taken))]

    @given(st.integers(1, 1000), st.integers(1, 20))
    def test_a_span_has_as_many_as_the_rate_says_however_late_one_looks(self, rate: int, seconds: int) -> None:
        arrivals = Arrivals(rate, 0.0, float(seconds))
        assert arrivals.left == rate * seconds
        assert len(list(arrivals.due(1e9, 10**6))) == rate * seconds
        assert (arrivals.next, arrivals.left) == (None, 0)

    def test_the_moments_do_not_drift(self) -> None:
        arrivals = Arrivals(0.1, 100.0, 1e12)
        *_, last = arrivals.due(1e12, 100_000)
        assert last == 100.0 + 99_999 / 0.1

    def test_their_number_may_be_bounded(self) -> None:
        assert list(Arrivals(10, 0.0, float("inf"), most=3).due(100.0, 10)) == [0.0, 0.1, 0.2]

    def test_they_can_be_ended(self) -> None:
        arrivals = Arrivals(10, 0.0, 100.0)
        assert list(arrivals.due(0.05, 10)) == [0.0]
        arrivals.end()
        assert (arrivals.next, arrivals.left, list(arrivals.due(50.0, 10))) == (None, 0, [])


class TestTurns:
    @pytest.mark.parametrize(("contenders", "order"), [(1, "000000"), (2, "011001"), (3, "012210")])
    def test_each_round_reverses_the_one_before(self, contenders: int, order: str) -> None:
        assert "".join(map(str, islice(turns(contenders), 6))) == order

    @given(st.integers(1, 4), st.integers(1, 30))
    def test_a_round_has_everybody_once(self, contenders: int, rounds: int) -> None:
        order = list(islice(turns(contenders), contenders * rounds))
        for at in range(0, len(order), contenders):
            assert sorted(order[at : at + contenders]) == list(range(contenders))

    def test_who_is_alone_is_not_interrupted(self) -> None:
        assert turn_seconds(3600.0, 0, 30.0) == 3600.0

    @given(st.floats(0.001, 1e5), st.integers(1, 3), st.floats(0, 1000))
    def test_a_turn_is_short_and_not_too_short(self, duration: float, others: int, idle_timeout: float) -> None:
        seconds = turn_seconds(duration, others, idle_timeout)
        assert min(0.05, duration) <= seconds <= min(1.0, duration)

    @given(st.floats(1, 1e5), st.integers(1, 3), st.floats(1, 1000))
    def test_nobody_is_idle_for_too_long_meanwhile(self, duration: float, others: int, idle_timeout: float) -> None:
        order = list(islice(turns(others + 1), 6 * (others + 1)))
        places = [[at for at, whose in enumerate(order) if whose == one] for one in range(others + 1)]
        between = max(later - at - 1 for found in places for at, later in pairwise(found))
        assert turn_seconds(duration, others, idle_timeout) * between <= idle_timeout / 2

    @given(st.integers(1, 10**9), st.integers(1, 1000))
    def test_calls_are_cut_into_twenty_turns_at_most(self, calls: int, callers: int) -> None:
        turn = turn_calls(calls, callers)
        assert 1 <= calls / turn <= 20
        assert turn >= min(callers, calls), "fewer at a time than was asked for"
