"""The list of checks."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from .kit import Kit

Check = Callable[[Kit], Awaitable[None]]

CHECKS: dict[str, Check] = {}
"""Every check by its name, in the order they run. The first line of its docstring is the sentence that it checks."""


def check(function: Check) -> Check:
    """Add a coroutine function `check_<name>` to the list."""
    CHECKS[function.__name__.removeprefix("check_")] = function
    return function
