"""What a command that calls functions needs around it: an event loop, three open descriptors, signals."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import signal
from collections.abc import Callable, Coroutine, Iterator
from typing import Any, TypeVar

from hotfn_core.loops import new_event_loop

STDIN, STDOUT, STDERR = 0, 1, 2
DRAIN_LIMIT = 30.0
"""Seconds from the first signal until what it waits for is ended."""
WRITE_LIMIT = 1.0
"""Seconds from the second signal until replies that nobody takes are given up."""

T = TypeVar("T")


def run_on_loop(work: Callable[[], Coroutine[Any, Any, T]]) -> T:
    """Run to the end on an event loop of its own, uvloop's where it is installed."""
    _occupy_standard_descriptors()
    if not logging.root.handlers:  # nobody asked for more: what goes wrong with calls is reported, not logged
        logging.getLogger("hotfn").setLevel(logging.ERROR)
    with asyncio.Runner(loop_factory=new_event_loop) as runner:
        return runner.run(work())


def _occupy_standard_descriptors() -> None:
    """Open what the parent has closed (`hotfn run <&-`), so that nothing else gets the number: reading it finds the
    end, writing it fails."""
    for fd in (STDIN, STDOUT, STDERR):
        try:
            os.fstat(fd)
        except OSError:
            os.open(os.devnull, os.O_RDONLY)  # takes the lowest number, which is this one


@contextlib.contextmanager
def handling_signals(signalled: Callable[[signal.Signals], None]) -> Iterator[None]:
    """Have Ctrl-C and SIGTERM told on the running loop while the block runs."""
    loop = asyncio.get_running_loop()
    numbers = (signal.SIGINT, signal.SIGTERM)
    for number in numbers:
        loop.add_signal_handler(number, signalled, number)
    try:
        yield
    finally:
        for number in numbers:
            loop.remove_signal_handler(number)
