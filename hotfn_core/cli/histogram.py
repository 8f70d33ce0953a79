"""Percentiles of any number of spans in bounded memory."""

from __future__ import annotations

import math

_GROWTH = 1.01  # neighbouring buckets differ by 1 %, so a percentile is off by at most that
_SMALLEST = 1e-6
_PER_LOG = 1 / math.log(_GROWTH)
_BUCKETS = int(math.log(30 * 86400 / _SMALLEST) * _PER_LOG) + 2


class Histogram:
    """Counts spans in buckets of logarithmic width, from a microsecond to a month."""

    __slots__ = ("_counts", "count", "max")

    def __init__(self) -> None:
        self._counts = [0] * _BUCKETS
        self.count = 0
        self.max = 0.0

    def add(self, seconds: float) -> None:
        """Count one span."""
        self.count += 1
        self.max = max(self.max, seconds)
        bucket = int(math.log(seconds / _SMALLEST) * _PER_LOG) + 1 if seconds > _SMALLEST else 0
        self._counts[min(bucket, _BUCKETS - 1)] += 1

    def percentile(self, percent: float) -> float:
        """Return the seconds that `percent` of all spans do not exceed, to within 1 %; 0 when there are none."""
        wanted = math.ceil(self.count * percent / 100)
        seen = 0
        for bucket, count in enumerate(self._counts):
            seen += count
            if count and seen >= wanted:
                return min(self.max, _SMALLEST * _GROWTH**bucket)
        return self.max
