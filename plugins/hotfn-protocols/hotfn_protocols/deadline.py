"""When hotfn gives up on a call, as the functions read it: RFC 3339 in UTC, on stdin with exactly three digits of
fraction."""

from __future__ import annotations

from datetime import UTC, datetime
from functools import lru_cache

# The last moment that the text can tell: 9999-12-31T23:59:59.999Z.
_LAST = 253_402_300_799.999


def rfc3339_millis(moment: float) -> str:
    """Write seconds since the epoch as `2018-01-30T16:52:39.786Z`; what no calendar reaches is cut to its ends."""
    if not 0.0 <= moment < _LAST:
        moment = 0.0 if moment < 0.0 else _LAST  # before it is a number of milliseconds: an infinity has none
    return _text(int(moment * 1000.0 + 0.5))


def rfc3339_seconds(moment: float) -> str:
    """Write seconds since the epoch as `2018-01-30T16:52:39Z`, without the fraction."""
    return f"{rfc3339_millis(moment)[:19]}Z"


@lru_cache(maxsize=8)
def _text(millis: int) -> str:
    # Dozens of hot calls share a millisecond, thousands a second.
    seconds, fraction = divmod(millis, 1000)
    return f"{_second(seconds)}.{fraction:03d}Z"


@lru_cache(maxsize=8)
def _second(second: int) -> str:
    # strftime costs more than the rest of a request.
    return datetime.fromtimestamp(second, UTC).strftime("%Y-%m-%dT%H:%M:%S")
