"""Ctrl-C while the main thread runs steps that it must not be interrupted in."""

from __future__ import annotations

import _signal  # type: ignore[import-not-found] # what `signal` wraps into enums, which costs more than all the rest of a turn
import signal
import threading
from collections.abc import Callable
from typing import Any

Handler = Callable[[int, Any], Any]

MAIN = threading.main_thread().ident

_INTERRUPT = int(signal.SIGINT)
_HARMLESS = (None, int(signal.SIG_IGN), int(signal.SIG_DFL))
_OTHERS = tuple(
    map(int, (signal.SIGTERM, signal.SIGALRM, signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2, signal.SIGQUIT))
)
"""Signals whose handlers raise in many programs. To look at all would cost as much as the rest of a turn."""


class Interrupts:
    """Holds back KeyboardInterrupt while it is asked to. For the main thread only, where handlers of signals run."""

    __slots__ = ("_handler", "_holds", "_wake", "seen")

    def __init__(self, wake: Callable[[], None]) -> None:
        """`wake` ends the waiting of the thread that is not interrupted now."""
        self._wake = wake
        self._handler: Handler = self._note  # one object, so that it is known again
        self._holds = False
        self.seen = False
        """There was one since `hold`."""

    def hold(self) -> bool:
        """Hold them back from now on. Returns False where a program handles a signal itself, by what may raise: in the
        middle of the loop that would be taken for a callback's, and in the middle of a turn it would never end."""
        for number in _OTHERS:
            if _signal.getsignal(number) not in _HARMLESS:
                return False
        handler = _signal.getsignal(_INTERRUPT)
        if handler is signal.default_int_handler:
            _signal.signal(_INTERRUPT, self._handler)
            self._holds = True
            return True
        return handler in _HARMLESS

    def let_go(self) -> None:
        """Hold them back no more. Raises KeyboardInterrupt when there was one."""
        if self._holds:
            self._holds = False
            if _signal.getsignal(_INTERRUPT) is self._handler:
                _signal.signal(_INTERRUPT, signal.default_int_handler)
        self.check()

    def check(self) -> None:
        """Raise KeyboardInterrupt when there was one."""
        if self.seen:
            self.seen = False
            raise KeyboardInterrupt

    def _note(self, number: int, frame: Any) -> None:
        self.seen = True
        self._wake()
