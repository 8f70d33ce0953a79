"""What goes on, in one line that is written anew: on a terminal only."""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections.abc import AsyncIterator
from typing import TYPE_CHECKING

from hotfn_core.cli.hosting import STDERR
from hotfn_core.cli.messages import Messages
from hotfn_core.cli.texts import span_text

from .record import Record

if TYPE_CHECKING:
    from .session import Session

_REFRESH_SECONDS = 0.25


def wanted() -> bool:
    """Say whether someone looks at stderr, on a terminal that can go back in a line."""
    return os.isatty(STDERR) and os.environ.get("TERM", "dumb") != "dumb"


@contextlib.asynccontextmanager
async def shown(session: Session, messages: Messages) -> AsyncIterator[None]:
    """Show how it goes while the block runs, below the messages."""
    if not wanted():
        yield
        return
    task = asyncio.create_task(_follow(session, messages))
    try:
        yield
    finally:
        task.cancel()
        messages.live("")


async def _follow(session: Session, messages: Messages) -> None:
    while True:
        messages.live(text(session))
        await asyncio.sleep(_REFRESH_SECONDS)


def text(session: Session) -> str:
    """Return the line."""
    one = session.current
    calls, failed = one.record.calls, one.record.failures
    record: Record | None = one.turn.record if one.turn else None
    if record is not None:
        calls, failed = calls + record.calls, failed + record.failures
    parts = [session.stage, f"{calls:,} calls"]
    if len(session.contenders) > 1:
        parts.insert(0, one.label)
    if failed:
        parts.append(f"{failed:,} failed")
    if record is not None and record.latency.max:
        parts += [f"p{percent} {span_text(record.latency.percentile(percent))}" for percent in (50, 99)]
    return "  ".join(parts)
