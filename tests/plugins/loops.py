"""Running what a test does on each kind of event loop, with an eye on what goes astray there."""

from __future__ import annotations

import asyncio
import gc
from collections.abc import Awaitable, Callable
from typing import Any

import uvloop

LOOPS: dict[str, Callable[[], asyncio.AbstractEventLoop]] = {
    "asyncio": asyncio.new_event_loop,
    "uvloop": uvloop.new_event_loop,
}


def run_on(loop: str, body: Callable[[], Awaitable[None]]) -> None:
    """Run a coroutine function on a new loop of that kind; no callback goes astray, and no exception is lost."""
    astray: list[dict[str, Any]] = []

    async def main() -> None:
        asyncio.get_running_loop().set_exception_handler(lambda _, context: astray.append(context))
        await body()
        await asyncio.sleep(0)
        gc.collect()  # what nobody has looked at tells the handler when it is collected

    with asyncio.Runner(loop_factory=LOOPS[loop]) as runner:
        runner.run(main())
    assert not astray, astray
