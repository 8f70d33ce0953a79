"""The progress bar: on a terminal only, and only where rich is installed."""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections.abc import AsyncIterator
from typing import TYPE_CHECKING

from .messages import Messages
from .source import Source
from .tally import Tally
from .texts import calls_text

if TYPE_CHECKING:
    from rich.progress import Progress, TaskID

_REFRESH_SECONDS = 0.1


def wanted() -> bool:
    """Say whether a bar helps: someone looks at stderr, and the replies do not go to the same screen."""
    return os.isatty(2) and not os.isatty(1)


@contextlib.asynccontextmanager
async def shown(source: Source, tally: Tally, messages: Messages) -> AsyncIterator[None]:
    """Show a bar while the block runs, with messages above it. Does nothing where rich is absent."""
    bar = _bar()
    if bar is None:
        yield
        return
    console = bar.console
    with bar:
        messages.divert = lambda text: console.print(text, markup=False, highlight=False, emoji=False, soft_wrap=True)
        task = asyncio.create_task(_follow(bar, bar.add_task("", total=None, note=""), source, tally))
        try:
            yield
        finally:
            messages.divert = None
            task.cancel()


def _bar() -> Progress | None:
    try:
        from rich.console import Console
        from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeElapsedColumn
    except ImportError:
        return None
    columns = (BarColumn(), TaskProgressColumn(), TextColumn("{task.fields[note]}"), TimeElapsedColumn())
    return Progress(*columns, console=Console(stderr=True), transient=True, auto_refresh=False)


async def _follow(bar: Progress, task: TaskID, source: Source, tally: Tally) -> None:
    """Look at the counters now and then: the calls themselves know nothing of a bar."""
    loop = asyncio.get_running_loop()
    began = loop.time()
    while True:
        done, total = source.progress
        failed = f", {tally.failed.total():,} failed" if tally.failed else ""
        rate = tally.calls / max(loop.time() - began, _REFRESH_SECONDS)
        note = f"{calls_text(tally.calls)}{failed}, {rate:,.0f}/s"
        bar.update(task, completed=done, total=total or None, note=note, refresh=True)
        await asyncio.sleep(_REFRESH_SECONDS)
