"""How the examples of the rules are set up: short spans that differ, and copies that are idle already."""

from __future__ import annotations

from typing import Any

import pytest

from hotfn_core.model import Call, FunctionSpec
from hotfn_core.state import SupervisorState


def rules(hot: bool = True, **fields: Any) -> SupervisorState:
    """Rules with spans that differ, so that a deadline says by itself which one it is."""
    spans = {"timeout": 7.0, "idle_timeout": 20.0, "queue_timeout": 50.0, "start_timeout": 11.0, "stop_grace": 3.0}
    return SupervisorState(FunctionSpec(name="f", command=("f",), **(spans | fields)), hot=hot)


def call(name: str, deadline: float | None = None) -> Call:
    return Call(name, deadline=deadline)


def with_idle(count: int = 1, **fields: Any) -> SupervisorState:
    """Rules with `count` copies that have served one call each and are idle since 0, the last number most recently."""
    state = rules(**{"max_concurrency": count} | fields)
    for number in range(1, count + 1):
        state.call_arrived(0.0, call(f"warm-{number}"))
    for number in range(1, count + 1):
        state.copy_ready(0.0, number)
    for number in range(1, count + 1):
        assert state.call_finished(0.0, number) == []
    assert state.idle == count
    return state


def gauges(state: SupervisorState) -> tuple[int, int, int, int, int]:
    return state.waiting, state.starting, state.idle, state.busy, state.stopping


def near(seconds: float) -> Any:
    """A time that floats have rounded on their way."""
    return pytest.approx(seconds)
