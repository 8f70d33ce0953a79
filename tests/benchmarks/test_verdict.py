"""The guard of the benchmarks: a real regression is a miss, and noise is none."""

from __future__ import annotations

import random

import pytest
from verdict import Bound, bounds_table, judge, pick, series, shown, span, spread, times_table

AT_MOST = Bound("hot", "one cpu", "hotfn", "ping-pong", "<=", 3.5)
AT_LEAST = Bound("hot", "one cpu", "Pool", "hotfn", ">=", 8)


def noisy(ratio: float, seed: int, rounds: int = 21) -> list[float]:
    """Return ratios of a machine that disturbs one side or the other in a third of the rounds, twofold at the worst."""
    dice = random.Random(seed)
    usual = [ratio * dice.uniform(0.97, 1.03) for _ in range(rounds)]
    return [one * dice.uniform(0.5, 2) if dice.random() < 1 / 3 else one for one in usual]


def test_the_ratio_is_of_rounds_that_were_next_to_each_other() -> None:
    assert AT_MOST.ratios({"hotfn": [4.0, 40.0], "ping-pong": [2.0, 20.0]}) == [2.0, 2.0]


@pytest.mark.parametrize("seed", range(50))
def test_noise_alone_is_no_miss(seed: int) -> None:
    assert judge(AT_MOST, noisy(3.0, seed)) == "ok"
    assert judge(AT_LEAST, noisy(9.5, seed)) == "ok"


@pytest.mark.parametrize("seed", range(50))
def test_at_the_very_bound_noise_is_no_miss_in_three_tries(seed: int) -> None:
    tries = noisy(3.5, seed) + noisy(3.5, seed + 1000) + noisy(3.5, seed + 2000)
    assert judge(AT_MOST, tries) in {"ok", "near"}


@pytest.mark.parametrize("seed", range(50))
def test_a_regression_by_a_third_is_a_miss_in_spite_of_noise(seed: int) -> None:
    tries = noisy(3.5 * 4 / 3, seed) + noisy(3.5 * 4 / 3, seed + 1000) + noisy(3.5 * 4 / 3, seed + 2000)
    assert judge(AT_MOST, tries) == "MISS"
    tries = noisy(8 * 3 / 4, seed) + noisy(8 * 3 / 4, seed + 1000) + noisy(8 * 3 / 4, seed + 2000)
    assert judge(AT_LEAST, tries) == "MISS"


def test_between_the_two_it_is_near() -> None:
    assert judge(AT_MOST, [3.4] * 9 + [3.6] * 11) == "near"
    assert judge(AT_MOST, [3.4] * 5 + [3.6] * 15) == "MISS"
    assert judge(AT_MOST, [3.5] * 20) == "ok"


def test_a_goal_that_is_not_reached_falls_short_until_what_was_reached_is_lost() -> None:
    goal = AT_LEAST._replace(held=4.5)
    assert judge(goal, [8.1] * 20) == "ok"
    assert judge(goal, [5.0] * 20) == "short"
    assert judge(goal, [4.0] * 20) == "MISS"
    assert judge(goal, [4.6] * 9 + [4.4] * 11) == "short"


def test_what_is_held_beyond_a_goal_must_not_be_lost() -> None:
    goal = AT_LEAST._replace(held=12)
    assert judge(goal, [13.0] * 20) == "ok"
    assert judge(goal, [11.9] * 9 + [12.1] * 11) == "ok"
    assert judge(goal, [10.0] * 20) == "MISS"


def test_one_number_is_judged_by_itself() -> None:
    bound = Bound("memory", "one cpu", "a spec [bytes]", "", "<=", 2048)
    assert bound.ratios({"a spec [bytes]": [1000.0]}) == [1000.0]
    assert judge(bound, [2048.0]) == "ok"
    assert judge(bound, [2049.0]) == "MISS"
    assert bounds_table([(bound, [1024.0], "ok")]).splitlines()[2:] == [
        "| memory, one cpu: a spec | 1.00 KiB | 1.00 KiB - 1.00 KiB | <= 2.00 KiB |  | ok |"
    ]


def test_a_name_may_stand_for_many() -> None:
    times = {"with 2 callers": [2.0, 2.0], "with 1,000 callers": [1.0, 1.0], "with 64 callers": [3.0, 0.5], "other": []}
    assert list(series(times, "with N callers").items()) == [
        (2, "with 2 callers"),
        (64, "with 64 callers"),
        (1000, "with 1,000 callers"),
    ]
    assert pick(times, "slowest of with N callers") == "with 2 callers"
    assert pick(times, "fastest of with N callers") == "with 1,000 callers"
    assert pick(times, "most of with N callers") == "with 1,000 callers"
    assert pick(times, "other") == "other"
    flat = Bound("rate", "all cpus", "slowest of with N callers", "fastest of with N callers", "<=", 1.1)
    assert flat.ratios(times) == [2.0, 2.0]


def test_numbers_have_their_units() -> None:
    assert shown("hotfn", 20e-6) == "20.0 us"
    assert shown("a spec [bytes]", 1536) == "1.50 KiB"
    assert shown("a call [bodies]", 2.0) == "2 bodies"


def test_the_tables_read_well() -> None:
    times = {"hotfn": [20e-6, 22e-6, 21e-6], "Popen": [2e-3, 2e-3, 2e-3]}
    assert times_table({("hot", "one cpu"): times}).splitlines()[2:] == [
        "| hot | one cpu | hotfn | 21.0 us | 20.5 us - 21.5 us |",
        "| hot | one cpu | Popen | 2.00 ms | 2.00 ms - 2.00 ms |",
    ]
    assert bounds_table([(AT_MOST, [3.0, 3.2, 3.1], "ok")]).splitlines()[2:] == [
        "| hot, one cpu: hotfn / ping-pong | 3.10 | 3.05 - 3.15 | <= 3.5 |  | ok |"
    ]
    assert (span(0.000_999), span(0.0123)) == ("999.0 us", "12.30 ms")
    assert span(2.5) == "2.50 s"
    assert spread([1.0, 2.0, 3.0]) == (1.5, 2.0, 2.5)
    assert spread([1.0]) == (1.0, 1.0, 1.0)
