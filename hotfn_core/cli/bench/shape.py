"""What `hotfn bench --json` prints. docs/cli.md describes it; a change that breaks a reader raises `VERSION`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from hotfn_core import __version__
from hotfn_core.cli.histogram import Histogram

from .contender import Contender, Load
from .record import Record
from .session import Outcome

VERSION = 1
PERCENTILES = (50, 90, 99, 99.9)


def report(outcome: Outcome, load: Load) -> dict[str, Any]:
    """Return the one object. Spans are in seconds, sizes in bytes; what is not known is null."""
    first = outcome.contenders[0]
    return {
        "version": VERSION,
        "hotfn": __version__,
        "interrupted": outcome.interrupted,
        "load": _load(load),
        "results": [_result(one) for one in outcome.contenders],
        "comparison": [_compared(one, first) for one in outcome.contenders[1:]],
    }


def _load(load: Load) -> dict[str, Any]:
    return {
        "mode": "rate" if load.rate else "concurrency",
        "concurrency": None if load.rate else load.concurrency,
        "rate": load.rate,
        "duration": load.duration,
        "calls": load.calls,
        "warmup": load.warmup,
        "body_bytes": len(load.body),
    }


def _result(one: Contender) -> dict[str, Any]:
    record, spec = one.record, one.spec
    return {
        "label": one.label,
        "function": spec.full_name,
        "driver": spec.driver,
        "format": spec.format,
        "max_concurrency": spec.max_concurrency,
        "seconds": one.seconds,
        **_counts(record),
        "unmade": record.unmade,
        "calls_per_second": per_second(record.latency.count, one),
        "sent_bytes_per_second": per_second(record.calls * len(one.load.body), one),
        "received_bytes_per_second": per_second(record.received, one),
        "latency": {**spans(record.latency), "histogram": record.latency.buckets()},
        "phases": {name: spans(getattr(record, name)) for name in phases(one.load)},
        "cold": {
            "calls": record.cold_calls,
            "warmup_calls": one.warm.cold_calls,
            "latency": spans(cold(one)),
        },
        "errors": [_errors(code, record) for code in record.failed],
        "statuses": {str(status): count for status, count in sorted(record.statuses.items())},
        "warmup": _counts(one.warm),
        "copies": _copies(one),
        "hotfn": {
            "memory": one.memory_after or None,
            "memory_growth": one.memory_after - one.memory_before if one.memory_after else None,
            "cpu_per_call": cpu(one),
        },
    }


def phases(load: Load) -> tuple[str, ...]:
    """Return the parts of a call's latency; how late it was made is one only where it is due at a moment."""
    return ("late", "queued", "started", "ran") if load.rate else ("queued", "started", "ran")


def cold(one: Contender) -> Histogram:
    """Return the latency of cold calls, also of those in the warm-up: that is where most copies start."""
    both = Histogram()
    both.merge(one.warm.cold)
    both.merge(one.record.cold)
    return both


def per_second(amount: float, one: Contender) -> float:
    """Return an amount by the time that the turns took."""
    return amount / one.seconds if one.seconds else 0.0


def cpu(one: Contender) -> float | None:
    """Return the processor seconds that hotfn, with what makes the load, took for a call."""
    return one.cpu / one.record.calls if one.record.calls else None


def spans(histogram: Histogram) -> dict[str, float | None]:
    """Return what is said of spans, all but their count null when there are none. The maximum is exact, the rest to
    within 1 %."""
    points = {"mean": histogram.mean, **{f"p{percent:g}": histogram.percentile(percent) for percent in PERCENTILES}}
    points["max"] = histogram.max
    count = histogram.count
    return {"count": count, **{name: span if count else None for name, span in points.items()}}


def _counts(record: Record) -> dict[str, int]:
    failed = record.failures
    return {"calls": record.calls, "ok": record.calls - failed, "failed": failed}


def _errors(code: str, record: Record) -> dict[str, Any]:
    kind = record.failed[code]
    return {"code": code, "calls": kind.spans.count, "message": kind.message, "latency": spans(kind.spans)}


def _copies(one: Contender) -> dict[str, Any]:
    copies = one.copies
    return {
        "launched": one.launched,
        "memory_mean": copies.mean,
        "memory_max": copies.most if copies.samples else None,
        "memory_samples": copies.samples,
    }


def _compared(one: Contender, first: Contender) -> dict[str, Any]:
    ratios: Mapping[str, Histogram] = one.ratios
    return {
        "label": one.label,
        "to": first.label,
        "rounds": max((found.count for found in ratios.values()), default=0),
        "ratios": {
            name: {"median": found.percentile(50), "low": found.percentile(25), "high": found.percentile(75)}
            for name, found in ratios.items()
        },
    }
