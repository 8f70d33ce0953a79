"""Hypothesis strategies for what hotfn passes around: headers, calls, functions.

    @given(spec=specs(max_concurrency=2), call=calls(body=st.just(b"")))
    def test_my_driver(spec, call): ...

A keyword is a value or a strategy for the field of that name. Numbers are drawn from few, small values: limits are
reached within a short history, and deadlines of different kinds fall on the same moment.
"""

from __future__ import annotations

from typing import Any

from hypothesis import strategies as st
from hypothesis.strategies import SearchStrategy

from ..model import Call, FunctionSpec

_TCHAR = "!#$%&'*+-.^_`|~0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
_WORD = "0123456789_abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
# What may stand in a header's value: visible latin-1, blanks and tabs inside.
_VALUE = st.characters(min_codepoint=32, max_codepoint=255, exclude_characters="\x7f", exclude_categories=["Cc"])


def spans() -> SearchStrategy[float]:
    """Seconds that floats add without rounding, few enough to coincide."""
    return st.sampled_from([0.25, 0.5, 1.0, 1.5, 2.0, 3.0, 5.0, 10.0, 30.0, 100.0])


def header_names() -> SearchStrategy[str]:
    """Tokens of RFC 9110, in any case."""
    known = st.sampled_from(["Content-Type", "content-length", "X-Custom", "Set-Cookie", "Accept"])
    return known | st.text(_TCHAR, min_size=1, max_size=20)


def header_values() -> SearchStrategy[str]:
    """Values as they can be sent in HTTP/1.1, without blanks at the ends."""
    return st.text(_VALUE, max_size=40).map(lambda value: value.strip(" \t\xa0"))


def headers(*, max_size: int = 6) -> SearchStrategy[tuple[tuple[str, str], ...]]:
    """Header fields as pairs in order; names may repeat."""
    return st.lists(st.tuples(header_names(), header_values()), max_size=max_size).map(tuple)


def calls(**fields: Any) -> SearchStrategy[Call]:
    """Calls of every shape, without a deadline unless `deadline` is given. Ids are unlikely to repeat."""
    return _build(
        Call,
        {
            "id": st.uuids().map(str),
            "body": st.binary(max_size=300),
            "headers": headers(),
            "method": st.sampled_from(["GET", "POST", "PUT", "PATCH", "DELETE", "HEAD", "OPTIONS"]),
            "url": st.sampled_from(["/", "/a/b?c=d&c=e", "/%20?x", "http://example.com/path", "/?q=%F0%9F%98%80"]),
            "content_type": st.sampled_from(["", "text/plain", "application/json; charset=utf-8"]),
        },
        fields,
    )


def specs(**fields: Any) -> SearchStrategy[FunctionSpec]:
    """Functions that are legal and busy: few copies, short queues, every timeout, with and without freezing and
    recycling.

    Driver, format, command, limits and headers keep their defaults unless they are given.
    """
    drawn: dict[str, Any] = {
        "name": st.text(_WORD, min_size=1, max_size=12),
        "command": ("function",),
        "timeout": spans(),
        "idle_timeout": st.just(0.0) | spans(),
        "freeze_after": st.none() | st.just(0.0) | spans(),
        "queue_timeout": spans(),
        "start_timeout": spans(),
        "stop_grace": st.just(0.0) | spans(),
        "max_concurrency": st.integers(1, 4),
        "min_instances": st.sampled_from([0, 0, 0, 1, 2]),
        "max_queue": st.integers(0, 4),
        "max_calls": st.none() | st.integers(1, 3),
        "max_age": st.none() | spans(),
    }
    return _build(_capped, drawn, fields)


def _capped(**fields: Any) -> FunctionSpec:
    return FunctionSpec(**fields | {"min_instances": min(fields["min_instances"], fields["max_concurrency"])})


def _build(make: Any, drawn: dict[str, Any], given: dict[str, Any]) -> SearchStrategy[Any]:
    fields = {
        name: value if isinstance(value, SearchStrategy) else st.just(value) for name, value in (drawn | given).items()
    }
    return st.builds(make, **fields)
