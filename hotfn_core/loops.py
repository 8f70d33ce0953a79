"""The event loop for a program that leaves the choice to hotfn, and the clock and the dice of any loop."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Callable
from typing import Any


def new_event_loop() -> asyncio.AbstractEventLoop:
    """Return a new loop: uvloop's where that is installed, else Python's own."""
    try:
        import uvloop
    except ImportError:
        return asyncio.new_event_loop()
    return uvloop.new_event_loop()


def clock_and_dice(loop: asyncio.AbstractEventLoop) -> tuple[Callable[[], float], Callable[[], float]]:
    """Return what tells the time, in seconds, and what draws from 0 to 1: real ones, or those of a simulated loop.

    uvloop's own clock has steps of milliseconds.
    """
    virtual: Any = loop if getattr(loop, "virtual", False) else None
    return (virtual.time, virtual.dice) if virtual else (time.monotonic, random.random)
