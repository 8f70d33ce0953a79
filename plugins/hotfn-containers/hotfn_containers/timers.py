"""Timers by name, of one thing that ends."""

from __future__ import annotations

import asyncio
from collections.abc import Callable


class Timers:
    """At most one timer for each name. All of it belongs to one event loop."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._handles: dict[str, asyncio.TimerHandle] = {}
        self._closed = False

    def set(self, name: str, delay: float, action: Callable[[], None]) -> None:
        """Do something in `delay` seconds, instead of what this name stood for. Nothing is set after `close`."""
        self.cancel(name)
        if not self._closed:
            self._handles[name] = self._loop.call_later(delay, action)

    def cancel(self, *names: str) -> None:
        """Let these not ring. Idempotent."""
        for name in names:
            handle = self._handles.pop(name, None)
            if handle is not None:
                handle.cancel()

    def close(self) -> None:
        """Let nothing ring any more. Idempotent."""
        self._closed = True
        self.cancel(*list(self._handles))
