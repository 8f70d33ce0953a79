"""The report as text: of one function, or of several next to each other."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

from hotfn_core.cli.histogram import Histogram
from hotfn_core.cli.texts import calls_text, size_text, span_text

from .contender import NEEDED, Contender, Load
from .drawing import draw
from .session import Outcome
from .shape import PERCENTILES, cold, cpu, per_second, phases

_LABEL = 12


def lines(outcome: Outcome, load: Load) -> Iterator[str]:
    """Yield the lines of the report."""
    yield _load_text(load) + ("; interrupted" if outcome.interrupted else "")
    yield ""
    several = len(outcome.contenders) > 1
    yield from _table(outcome.contenders, load) if several else _single(outcome.contenders[0], load)
    for one in outcome.contenders:
        yield from _failures(one, several=several)
    yield ""
    yield from draw([one.record.latency for one in outcome.contenders])


def _load_text(load: Load) -> str:
    how = f"{load.rate:g} calls/s" if load.rate else f"{load.concurrency:,} at a time"
    ends = [calls_text(load.calls)] if load.calls else []
    ends += [f"{load.duration:g} s"] if load.duration else []
    warm = f" after {load.warmup:g} s of warm-up" if load.warmup else ""
    return f"{how}, {' or '.join(ends)}{warm}, a body of {size_text(len(load.body))}"


def _single(one: Contender, load: Load) -> Iterator[str]:
    record, spec = one.record, one.spec
    yield _row("function", f"{one.label}: driver {spec.driver}, {spec.format}, {_copies_text(spec.max_concurrency)}")
    yield _row("calls", f"{record.calls:,} in {span_text(one.seconds)}, {_rate(one)}")
    yield _row("bytes", f"{_sent(one)} sent, {_received(one)} received")
    yield _row("failed", f"{record.failures:,}{_warm_failures(one)}")
    if record.unmade:
        yield _row(
            "not made", f"{calls_text(record.unmade)} that should have been made: hotfn cannot make so many here"
        )
    if record.statuses:
        yield _row("statuses", ", ".join(f"{status}: {count:,}" for status, count in sorted(record.statuses.items())))
    yield _row("cold", _cold(one))
    yield _row("copies", f"{one.launched:,} launched; memory of each: {_memory(one)}")
    yield _row("hotfn", _own(one))
    if record.latency.count:
        yield _row("latency", _points(record.latency, PERCENTILES) + f"  max {span_text(record.latency.max)}")
        for name in phases(load):
            found = getattr(record, name)
            if found.count:
                yield _row(f"  {name}", _points(found, (50, 99)))


def _row(name: str, text: str) -> str:
    return f"{name:<{_LABEL}}{text}"


def _copies_text(most: int) -> str:
    return "1 copy at most" if most == 1 else f"{most:,} copies at most"


def _points(histogram: Histogram, percents: Sequence[float]) -> str:
    return "  ".join(f"p{percent:g} {span_text(histogram.percentile(percent))}" for percent in percents)


def _rate(one: Contender) -> str:
    rate = per_second(one.record.latency.count, one)
    return f"{rate:,.0f} ok/s" if rate >= 10 else f"{rate:.2g} ok/s"


def _sent(one: Contender) -> str:
    return f"{size_text(per_second(one.record.calls * len(one.load.body), one))}/s"


def _received(one: Contender) -> str:
    return f"{size_text(per_second(one.record.received, one))}/s"


def _warm_failures(one: Contender) -> str:
    return f" (and {one.warm.failures:,} in the warm-up)" if one.warm.failures else ""


def _cold(one: Contender) -> str:
    warm = f" (and {one.warm.cold_calls:,} in the warm-up)" if one.warm.cold_calls else ""
    found = cold(one)
    took = f": {_points(found, (50, 99))}  max {span_text(found.max)}" if found.count else ""
    return f"{one.record.cold_calls:,}{warm}{took}"


def _memory(one: Contender) -> str:
    if one.copies.mean is not None:
        return f"{size_text(one.copies.mean)}, most {size_text(one.copies.most)}"
    if one.copies.strange:
        return f"not known (for {one.spec.driver} a copy is no process below hotfn)"
    return "not known (no copy was there when it was looked for)"


def _own(one: Contender) -> str:
    per_call = cpu(one)
    memory = f"{size_text(one.memory_after)} of memory" if one.memory_after else "memory not known"
    growth = one.memory_after - one.memory_before
    grown = f" (grown by {size_text(growth)})" if growth > 0 else ""
    return f"{memory}{grown}, {span_text(per_call)} of processor time a call" if per_call else f"{memory}{grown}"


def _failures(one: Contender, *, several: bool) -> Iterator[str]:
    """Yield a line for each kind of failed calls, with an example."""
    label = f"{one.label}: " if several else ""
    for code, kind in one.record.failed.items():
        times = f"p50 {span_text(kind.spans.percentile(50))}  max {span_text(kind.spans.max)}"
        yield f"failed: {label}{code}, {calls_text(kind.spans.count)}, {times}, such as: {kind.message}"


def _table(found: Sequence[Contender], load: Load) -> Iterator[str]:
    """Yield what is compared, a row each: every value, and behind each but the first the median of its rounds' ratios
    to the first, and between what half of them are."""
    rows = [["", *_heads(found)]]
    rows += [[name, *_cells(found, tell, ratio)] for name, tell, ratio in _told(load)]
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    for row in rows:
        name, *cells = (cell.ljust(width) for cell, width in zip(row, widths, strict=True))
        yield "  ".join([name, *cells]).rstrip()
    yield from _too_few(found)


def _too_few(found: Sequence[Contender]) -> Iterator[str]:
    """Yield a line on the ratios that are not there because turns had too few calls."""
    others = [one for one in found[1:] if one.ratios]
    for percent, least in NEEDED.items():
        if any(f"p{percent}" not in one.ratios for one in others):
            yield f"no ratio of p{percent}: it needs {least} calls a turn; ask for more --calls or --duration"


def _heads(found: Sequence[Contender]) -> list[str]:
    first, *others = found
    return [first.label, *(cell for one in others for cell in (one.label, "ratio"))]


Tell = Callable[[Contender], str]


def _cells(found: Sequence[Contender], tell: Tell, ratio: str) -> list[str]:
    first, *others = found
    return [tell(first), *(cell for one in others for cell in (tell(one), _ratio(one, ratio)))]


def _ratio(one: Contender, name: str) -> str:
    found = one.ratios.get(name)
    if found is None:
        return ""
    return f"{found.percentile(50):.2f} ({found.percentile(25):.2f} - {found.percentile(75):.2f})"


def _told(load: Load) -> Iterator[tuple[str, Tell, str]]:
    """Yield the rows: the name, what to tell of a contender, and the ratio that goes with it."""
    yield "function", lambda one: one.spec.full_name, ""
    yield "driver, format", lambda one: f"{one.spec.driver}, {one.spec.format}", ""
    yield "calls", lambda one: f"{one.record.calls:,}", ""
    yield "failed", lambda one: f"{one.record.failures:,}{_warm_failures(one)}", ""
    if load.rate:
        yield "not made", lambda one: f"{one.record.unmade:,}", ""
    yield "per second", _rate, "calls_per_second"
    yield "sent", _sent, ""
    yield "received", _received, ""
    for percent in PERCENTILES:
        yield f"p{percent:g}", _percentile("latency", percent), f"p{percent:g}"
    yield "max", lambda one: span_text(one.record.latency.max), ""
    for name in phases(load):
        for percent in (50, 99):
            yield f"  {name} p{percent}", _percentile(name, percent), ""
    yield "cold", lambda one: f"{one.record.cold_calls:,} and {one.warm.cold_calls:,} in the warm-up", ""
    yield "  p50", lambda one: _span(cold(one), 50), ""
    yield "copies", lambda one: f"{one.launched:,} launched", ""
    yield "  memory", lambda one: "not known" if one.copies.mean is None else size_text(one.copies.mean), ""
    yield "hotfn's time", lambda one: f"{span_text(cpu(one) or 0)} a call", ""


def _percentile(name: str, percent: float) -> Tell:
    return lambda one: _span(getattr(one.record, name), percent)


def _span(histogram: Histogram, percent: float) -> str:
    return span_text(histogram.percentile(percent)) if histogram.count else "-"
