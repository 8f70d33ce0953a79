"""Counters and gauges of one function."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import Any


@dataclass(slots=True)
class FunctionStats:
    """What happened to one function so far, and what there is of it now.

    `calls` counts ended calls by outcome: "ok" or the error's code. `cold` counts calls that waited for a start, by
    reason. `launched` and `stopped` (by reason) count copies; a start that failed is in both. The gauges `waiting`
    (calls), `starting`, `idle`, `frozen`, `busy` and `stopping` (copies) are of this moment; a copy that is being
    thawed counts as starting.
    """

    calls: Counter[str] = field(default_factory=Counter)
    cold: Counter[str] = field(default_factory=Counter)
    stopped: Counter[str] = field(default_factory=Counter)
    launched: int = 0
    waiting: int = 0
    starting: int = 0
    idle: int = 0
    frozen: int = 0
    busy: int = 0
    stopping: int = 0

    def add(self, other: FunctionStats) -> None:
        """Add another version's numbers to these."""
        self.calls += other.calls
        self.cold += other.cold
        self.stopped += other.stopped
        for name in ("launched", "waiting", "starting", "idle", "frozen", "busy", "stopping"):
            setattr(self, name, getattr(self, name) + getattr(other, name))

    def as_dict(self) -> dict[str, Any]:
        """Return plain dicts and numbers, for JSON."""
        return {
            "calls": dict(self.calls),
            "cold": dict(self.cold),
            "stopped": dict(self.stopped),
            "launched": self.launched,
            "waiting": self.waiting,
            "starting": self.starting,
            "idle": self.idle,
            "frozen": self.frozen,
            "busy": self.busy,
            "stopping": self.stopping,
        }
