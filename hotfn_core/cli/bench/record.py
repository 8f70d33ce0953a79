"""Counting what became of calls, in bounded memory."""

from __future__ import annotations

from collections import Counter

from hotfn_core.cli.histogram import Histogram
from hotfn_core.cli.texts import one_line, refusal
from hotfn_core.errors import CallError
from hotfn_core.model import Reply

_KINDS = 50  # of failures that are told apart; a function may answer with any status
OTHERS = "others"


class Failures:
    """The failed calls of one kind: an example of what was said, and how long they took."""

    def __init__(self, message: str) -> None:
        self.message = message
        self.spans = Histogram()


class Record:
    """What became of the calls of one contender.

    A call that got an error, or a reply with a status of 500 or more, has failed. `latency` and the phases are of those
    that have not; `started` and `cold` of those that waited for a start. Latency is what the caller waited; where calls
    arrive at a rate it counts from the moment when they were due, and `late` is the part until they were made. `unmade`
    were due and could not be made at all.
    """

    def __init__(self) -> None:
        self.calls = 0
        self.received = 0
        self.latency, self.cold = Histogram(), Histogram()
        self.late, self.queued, self.started, self.ran = Histogram(), Histogram(), Histogram(), Histogram()
        self.failed: dict[str, Failures] = {}
        self.statuses: Counter[int] = Counter()
        self.cold_calls = 0
        self.unmade = 0

    @property
    def failures(self) -> int:
        """How many calls have failed."""
        return sum(kind.spans.count for kind in self.failed.values())

    def reply(self, reply: Reply, seconds: float) -> None:
        """Count a reply, `seconds` after its call."""
        self.calls += 1
        self.received += len(reply.body)
        if reply.status >= 400:
            self.statuses[reply.status] += 1
            if reply.status >= 500:
                self.cold_calls += reply.cold
                self._failed(f"status_{reply.status}", refusal(reply.body), seconds)
                return
        self.latency.add(seconds)
        self.queued.add(reply.queued)
        self.ran.add(reply.ran)
        if reply.cold:
            self.cold_calls += 1
            self.started.add(reply.started)
            self.cold.add(seconds)

    def error(self, error: CallError, seconds: float) -> None:
        """Count a call that got no reply."""
        self.calls += 1
        self.cold_calls += error.cold_reason != ""
        self._failed(error.code, error.message, seconds)

    def merge(self, other: Record) -> None:
        """Count all that `other` has counted."""
        self.calls += other.calls
        self.received += other.received
        self.cold_calls += other.cold_calls
        self.unmade += other.unmade
        self.statuses += other.statuses
        for name in ("latency", "cold", "late", "queued", "started", "ran"):
            getattr(self, name).merge(getattr(other, name))
        for code, kind in other.failed.items():
            self._kind(code, kind.message).spans.merge(kind.spans)

    def _failed(self, code: str, message: str, seconds: float) -> None:
        self._kind(code, message).spans.add(seconds)

    def _kind(self, code: str, message: str) -> Failures:
        kind = self.failed.get(code)
        if kind is None:
            code = code if len(self.failed) < _KINDS else OTHERS
            kind = self.failed.setdefault(code, Failures(one_line(message)))
        return kind
