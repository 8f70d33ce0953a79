"""A call that has not ended."""

from __future__ import annotations

import asyncio

from .errors import CallError
from .hookspecs import CallReport
from .instance import Instance
from .model import Call, Reply


class Pending:
    """A call, who waits for it, and how it went so far.

    `arrived` and `assigned` are when it came and when a copy got it; `started` is how long of that it waited for a
    start, `cold` why. `instance` is the copy that has it.
    """

    __slots__ = ("arrived", "assigned", "call", "cold", "future", "instance", "started")

    def __init__(self, call: Call, future: asyncio.Future[Reply], arrived: float) -> None:
        self.call = call
        self.future = future
        self.arrived = arrived
        self.assigned = arrived
        self.started = 0.0
        self.cold = ""
        self.instance: Instance | None = None

    def explain(self, error: CallError, now: float) -> None:
        """Write down in the error how the call went until now."""
        report = self.report("", now, 0, "")
        error.call_id, error.instance, error.cold_reason = report.call_id, report.instance, report.cold_reason
        error.queued, error.started, error.ran = report.queued, report.started, report.ran

    def report(self, function: str, now: float, status: int, error: str) -> CallReport:
        """Return how it ended, now, for those who listen."""
        name, assigned = ("", now) if self.instance is None else (self.instance.id, self.assigned)
        return CallReport(
            function,
            self.call.id,
            name,
            status,
            error,
            self.cold,
            max(assigned - self.arrived - self.started, 0.0),  # a difference of sums may end up below zero
            self.started,
            now - assigned,
        )
