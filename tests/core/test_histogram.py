"""The histogram: right to within 1 %, whatever comes in whatever order, and never larger than it says."""

from __future__ import annotations

import math

from hypothesis import given
from hypothesis import strategies as st

from hotfn_core.cli.histogram import BUCKETS, Histogram

MONTH = 30 * 86400.0
SPANS = st.floats(0, MONTH) | st.floats(0, 1e-6) | st.floats(1e-6, 1)
PERCENTS = st.integers(1, 100) | st.sampled_from([50.0, 99.9, 99.99, 100.0])


def counted(spans: list[float]) -> Histogram:
    histogram = Histogram()
    for span in spans:
        histogram.add(span)
    return histogram


@given(st.lists(SPANS, min_size=1, max_size=200), PERCENTS)
def test_a_percentile_is_never_below_and_at_most_one_percent_above(spans: list[float], percent: float) -> None:
    exact = sorted(spans)[math.ceil(len(spans) * percent / 100) - 1]
    found = counted(spans).percentile(percent)
    assert exact * (1 - 1e-12) <= found <= exact * (1 + 1 / 128) + 1.001e-9


@given(st.lists(SPANS, min_size=1, max_size=200))
def test_count_maximum_and_mean(spans: list[float]) -> None:
    histogram = counted(spans)
    assert (histogram.count, histogram.max) == (len(spans), max(spans))
    mean = sum(spans) / len(spans)
    assert mean * (1 - 1e-9) <= histogram.mean <= mean * (1 + 1 / 128) + 1.001e-9
    assert histogram.percentile(100) == max(spans)


@given(st.lists(SPANS, max_size=100), st.lists(SPANS, max_size=100))
def test_merging_is_counting_both(some: list[float], others: list[float]) -> None:
    merged = counted(some)
    merged.merge(counted(others))
    both = counted(some + others)
    assert (merged.buckets(), merged.max, merged.count) == (both.buckets(), both.max, both.count)


@given(st.lists(SPANS, min_size=1, max_size=200))
def test_the_buckets_are_in_order_and_hold_everything(spans: list[float]) -> None:
    buckets = counted(spans).buckets()
    uppers = [upper for upper, _ in buckets]
    assert uppers == sorted(uppers)
    assert sum(count for _, count in buckets) == len(spans)
    seen = 0
    for upper, count in buckets:
        seen += count
        assert sum(span < upper * (1 - 1e-12) for span in spans) <= seen
        assert sum(span <= upper * (1 + 1e-12) for span in spans) >= seen


def test_it_is_bounded_whatever_it_counts() -> None:
    histogram = Histogram()
    span = 1e-10
    while span < 1e12:
        histogram.add(span)
        span *= 1.002
    histogram.add(-1.0)
    histogram.add(1e200)
    assert histogram.count > 2 * BUCKETS
    assert len(histogram.buckets()) <= BUCKETS


def test_what_is_too_short_or_too_long_is_counted_at_the_end() -> None:
    histogram = counted([-5.0, 1e9])
    assert histogram.percentile(50) == 1e-9
    assert histogram.percentile(100) == 1e9


def test_of_nothing() -> None:
    histogram = Histogram()
    assert (histogram.percentile(99), histogram.mean, histogram.count, histogram.buckets()) == (0, 0, 0, [])
    histogram.merge(Histogram())
    assert histogram.count == 0
