"""Telling plugins what happens. Nothing is made or called for a hook that no plugin has."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

from .hookspecs import CallReport, InstanceChange, StderrLine
from .registry import Registry

log = logging.getLogger("hotfn")


class Observers:
    """The observer hooks as plain functions that never raise; None where no plugin listens."""

    def __init__(self, registry: Registry) -> None:
        self.call_finished: Callable[[CallReport], None] | None = _teller(registry, "hotfn_call_finished", "report")
        self.instance_changed: Callable[[InstanceChange], None] | None = _teller(
            registry, "hotfn_instance_changed", "change"
        )
        self.stderr_line: Callable[[StderrLine], None] | None = _teller(registry, "hotfn_stderr_line", "line")


def _teller(registry: Registry, hook: str, argument: str) -> Callable[[Any], None] | None:
    if not registry.observed(hook):
        return None
    caller = getattr(registry.pm.hook, hook)

    def tell(value: Any) -> None:
        try:
            caller(**{argument: value})
        except Exception:  # an observer must not hurt a call
            log.exception("a plugin failed in %s", hook)

    return tell
