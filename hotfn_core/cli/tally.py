"""Keeping count of a run: what is said of each failed call, and the summary at the end."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterator

from hotfn_core.errors import CallError
from hotfn_core.model import Reply

from .histogram import Histogram
from .texts import one_line, refusal, span_text

_REPORTED = 10  # failed calls of one kind that get a line of their own


class Tally:
    """Counts outcomes. `say` gets a line for each failed call, for the first ten of each kind.

    A reply with a status of 500 or more is a failed call too: the function says so itself. Every other status is
    the function's answer to the input. `lines`: the input is lines, so the report names the line.
    """

    def __init__(self, say: Callable[[str], None], *, lines: bool) -> None:
        self._say = say
        self._lines = lines
        self._began = self._ended = time.monotonic()
        self._spans = Histogram()
        self._statuses: Counter[int] = Counter()
        self.calls = 0
        self.cold = 0
        self.failed: Counter[str] = Counter()

    def record(self, index: int, outcome: Reply | CallError) -> None:
        """Count one outcome."""
        self.calls += 1
        self._ended = time.monotonic()
        if not isinstance(outcome, Reply):
            if outcome.cold_reason:
                self.cold += 1
            self._failure(index, outcome.code, outcome.message)
            return
        self._spans.add(outcome.queued + outcome.started + outcome.ran)
        if outcome.cold:
            self.cold += 1
        if outcome.status >= 400:
            self._statuses[outcome.status] += 1
            if outcome.status >= 500:
                self._failure(index, f"status_{outcome.status}", refusal(outcome.body))

    def _failure(self, index: int, code: str, message: str) -> None:
        self.failed[code] += 1
        if self.failed[code] <= _REPORTED:
            line = f" (line {index + 1})" if self._lines else ""
            self._say(f"call {index}{line}: {code}: {one_line(message)}")

    def rest(self) -> Iterator[str]:
        """Yield a line for each kind of failure of which not every call was reported."""
        for code, count in self.failed.items():
            if count > _REPORTED:
                yield f"... and {count - _REPORTED:,} more of {code}"

    def summary(self, launched: int) -> Iterator[str]:
        """Yield the lines of --stats. `launched`: how many copies were started.

        The time is that to the last outcome: how long copies take to end afterwards is no part of a call.
        """
        seconds = max(self._ended - self._began, 1e-9)
        failed = self.failed.total()
        rate = f" in {span_text(seconds)}, {self.calls / seconds:,.0f} calls/s" if self.calls else ""
        yield f"calls      {self.calls:,}{rate}"
        yield f"ok         {self.calls - failed:,}"
        yield f"failed     {failed:,}{_listed(self.failed)}"
        if self._statuses:
            yield f"statuses   {_listed({str(status): n for status, n in sorted(self._statuses.items())}).strip(' ()')}"
        yield f"instances  {launched:,} launched"
        yield f"cold       {self.cold:,}"
        if self._spans.count:
            points = "  ".join(f"p{percent} {span_text(self._spans.percentile(percent))}" for percent in (50, 90, 99))
            yield f"latency    {points}  max {span_text(self._spans.max)}"


def _listed(counts: Counter[str] | dict[str, int]) -> str:
    text = ", ".join(f"{name}: {count:,}" for name, count in counts.items())
    return f" ({text})" if text else ""
