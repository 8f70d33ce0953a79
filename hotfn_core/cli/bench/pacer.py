"""Waking up on time.

The timers of an event loop go in steps of a millisecond, which is fifty times what a hot call takes. A timer of the
kernel that is a descriptor (timerfd) is right to some microseconds, and wakes the loop as any other descriptor does.
"""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import os
import time
from typing import Any

_MONOTONIC, _ABSOLUTE = 1, 1
_FLAGS = os.O_NONBLOCK | os.O_CLOEXEC


class Pacer:
    """Wakes the one that waits at a moment of `time.monotonic()`. Where there is no timerfd, by the loop's timers."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._waiting: asyncio.Future[None] | None = None
        self._fd, self._libc = _timerfd()
        if self._fd >= 0:
            self._loop.add_reader(self._fd, self._rung)

    async def until(self, when: float) -> None:
        """Return at `when`, or at once when that is past. May return too early: look at the clock again."""
        self._waiting = self._loop.create_future()
        timer = None
        if self._fd < 0:
            timer = self._loop.call_later(max(when - time.monotonic(), 0), self.wake)
        else:
            self._arm(when)
        try:
            await self._waiting
        finally:
            self._waiting = None
            if timer is not None:
                timer.cancel()

    def wake(self) -> None:
        """Have `until` return now."""
        if self._waiting is not None and not self._waiting.done():
            self._waiting.set_result(None)

    def close(self) -> None:
        """Let go of the timer. Idempotent."""
        if self._fd >= 0:
            self._loop.remove_reader(self._fd)
            os.close(self._fd)
            self._fd = -1

    def _arm(self, when: float) -> None:
        seconds = int(when)
        spec = (ctypes.c_long * 4)(0, 0, seconds, max(int((when - seconds) * 1e9), 1))  # all zero would disarm it
        self._libc.timerfd_settime(self._fd, _ABSOLUTE, ctypes.byref(spec), None)

    def _rung(self) -> None:
        with contextlib.suppress(BlockingIOError):  # it was set anew before this was looked at
            os.read(self._fd, 8)
            self.wake()


def _timerfd() -> tuple[int, Any]:
    """Return a timer's descriptor and the library that sets it; -1 where there is none."""
    if ctypes.sizeof(ctypes.c_long) != 8:  # a timespec of 32 bits has more than one layout
        return -1, None
    try:
        libc = ctypes.CDLL(None, use_errno=True)
        return libc.timerfd_create(_MONOTONIC, _FLAGS), libc
    except (OSError, AttributeError):
        return -1, None
