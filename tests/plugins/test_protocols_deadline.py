"""The text of deadlines."""

from __future__ import annotations

import math
from datetime import datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hotfn_protocols.deadline import rfc3339_millis


@pytest.mark.parametrize(
    ("moment", "text"),
    [
        (1517331159.786, "2018-01-30T16:52:39.786Z"),
        (1517331159.0, "2018-01-30T16:52:39.000Z"),
        (1517331159.9996, "2018-01-30T16:52:40.000Z"),
        (951782400.001, "2000-02-29T00:00:00.001Z"),
        (0.0, "1970-01-01T00:00:00.000Z"),
        (-5.0, "1970-01-01T00:00:00.000Z"),
        (-math.inf, "1970-01-01T00:00:00.000Z"),
        (253402300799.9999, "9999-12-31T23:59:59.999Z"),
        (1e300, "9999-12-31T23:59:59.999Z"),
        (math.inf, "9999-12-31T23:59:59.999Z"),
    ],
)
def test_golden(moment: float, text: str) -> None:
    assert rfc3339_millis(moment) == text


@given(st.floats(0, 2.5e11))
def test_it_is_the_moment_to_the_nearest_millisecond(moment: float) -> None:
    text = rfc3339_millis(moment)
    assert len(text) == len("2018-01-30T16:52:39.786Z")
    assert abs(datetime.fromisoformat(text).timestamp() - moment) <= 0.000_501 + moment * 1e-15
