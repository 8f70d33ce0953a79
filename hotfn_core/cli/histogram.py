"""Percentiles of any number of spans in bounded memory.

The buckets are log-linear, as in HdrHistogram: each doubling is cut into 128 of equal width, so a bucket is at most
1/128 as wide as what is in it is large, and finding it takes two shifts and no logarithm.
"""

from __future__ import annotations

import math
from collections import defaultdict

_BITS = 7
_EXACT = 2 << _BITS  # spans of fewer ticks have a bucket for each tick
_TICK = 1e-9
_LONGEST = 30 * 86400 * 10**9  # ticks; what is longer is counted as a month
BUCKETS = ((_LONGEST.bit_length() - _BITS) << _BITS) + (1 << _BITS)
"""More than this it never holds."""


class Histogram:
    """Counts spans in seconds, from a nanosecond to a month. `max` is exact, 0 when there are none."""

    __slots__ = ("_counts", "max")

    def __init__(self) -> None:
        self._counts: defaultdict[int, int] = defaultdict(int)
        self.max = 0.0

    def add(self, seconds: float) -> None:
        """Count one span. What is less than nothing counts as nothing."""
        # A load generator comes here three times a call, and max() or min() would double what it takes.
        if seconds > self.max:  # noqa: PLR1730
            self.max = seconds
        ticks = int(seconds * 1e9)
        if ticks >= _EXACT:
            if ticks > _LONGEST:  # noqa: PLR1730
                ticks = _LONGEST
            shift = ticks.bit_length() - _BITS - 1
            ticks = (shift << _BITS) + (ticks >> shift)
        elif ticks < 0:
            ticks = 0
        self._counts[ticks] += 1

    def merge(self, other: Histogram) -> None:
        """Count all that `other` has counted."""
        self.max = max(self.max, other.max)
        for bucket, count in other._counts.items():
            self._counts[bucket] += count

    @property
    def count(self) -> int:
        """How many spans there are."""
        return sum(self._counts.values())

    @property
    def mean(self) -> float:
        """The mean of all spans, to within 1 %; 0 when there are none."""
        total = sum(upper * count for upper, count in self.buckets())
        return total / self.count if self._counts else 0.0

    def percentile(self, percent: float) -> float:
        """Return the seconds that `percent` of all spans do not exceed, at most 1 % (and a nanosecond) above the true
        ones and never below; 0 when there are none."""
        wanted = math.ceil(self.count * percent / 100)
        seen = 0
        for upper, count in self.buckets():
            seen += count
            if seen >= wanted:
                return upper
        return self.max

    def buckets(self) -> list[tuple[float, int]]:
        """Return the buckets that are not empty, each with the seconds that nothing in it exceeds, in order."""
        return [(min(_upper(bucket), self.max), self._counts[bucket]) for bucket in sorted(self._counts)]


def _upper(bucket: int) -> float:
    if bucket < _EXACT:
        return (bucket + 1) * _TICK
    shift = (bucket >> _BITS) - 1
    upper = ((bucket & ((1 << _BITS) - 1)) + (1 << _BITS) + 1) << shift
    return upper * _TICK if upper <= _LONGEST else math.inf
