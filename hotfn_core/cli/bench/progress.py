"""What goes on, in one line that is written anew: on a terminal only."""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections.abc import AsyncIterator, Callable

from hotfn_core.cli.hosting import STDERR
from hotfn_core.cli.messages import Messages
from hotfn_core.cli.texts import calls_text, span_text

from .contender import Contender

_REFRESH_SECONDS = 0.25


def wanted() -> bool:
    """Say whether someone looks at stderr, on a terminal that can go back in a line."""
    return os.isatty(STDERR) and os.environ.get("TERM", "dumb") != "dumb"


@contextlib.asynccontextmanager
async def shown(now: Callable[[], str], messages: Messages) -> AsyncIterator[None]:
    """Show what `now` returns, time and again, while the block runs, below the messages."""
    if not wanted():
        yield
        return
    task = asyncio.create_task(_follow(now, messages))
    try:
        yield
    finally:
        task.cancel()
        messages.live("")


async def _follow(now: Callable[[], str], messages: Messages) -> None:
    while True:
        messages.live(now())
        await asyncio.sleep(_REFRESH_SECONDS)


def text(stage: str, one: Contender, *, several: bool) -> str:
    """Return the line. `several`: the contender is not the only one, so it is named."""
    calls, failed = one.record.calls, one.record.failures
    record = one.turn.record if one.turn else None
    if record is not None:
        calls, failed = calls + record.calls, failed + record.failures
    parts = [*([one.label] if several else []), stage, f"{calls_text(calls)}"]
    if failed:
        parts.append(f"{failed:,} failed")
    if record is not None and record.latency.max:
        parts += [f"p{percent} {span_text(record.latency.percentile(percent))}" for percent in (50, 99)]
    return "  ".join(parts)
