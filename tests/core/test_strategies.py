"""The shipped strategies draw what they promise."""

from __future__ import annotations

from hypothesis import find, given
from hypothesis import strategies as st

from hotfn_core.headers import Headers
from hotfn_core.model import Call, FunctionSpec
from hotfn_core.testing.strategies import calls, header_values, headers, specs


@given(headers(max_size=4))
def test_headers_are_pairs_that_http_can_carry(pairs: tuple[tuple[str, str], ...]) -> None:
    assert Headers(pairs).items_all() == pairs
    assert len(pairs) <= 4
    for name, value in pairs:
        assert name.isascii()
        assert value == value.strip()
        assert value.encode("latin-1").translate(None, b"\r\n\0") == value.encode("latin-1")


@given(calls(body=b"", deadline=st.floats(0.0, 9.0)))
def test_a_field_may_be_a_value_or_a_strategy(call: Call) -> None:
    assert call.body == b""
    assert call.deadline is not None
    assert 0.0 <= call.deadline <= 9.0


@given(specs(max_concurrency=1))
def test_functions_are_legal(spec: FunctionSpec) -> None:
    assert spec.min_instances <= spec.max_concurrency == 1
    assert spec.replace(name="other") != spec


def test_what_matters_is_found() -> None:
    assert find(specs(), lambda spec: spec.max_age is not None and spec.min_instances == 2).min_instances == 2
    assert find(specs(), lambda spec: spec.idle_timeout == spec.timeout).max_calls is None
    assert find(calls(), lambda call: len({name.lower() for name, _ in call.headers}) < len(call.headers))
    assert find(header_values(), lambda value: "\xff" in value) == "\xff"
