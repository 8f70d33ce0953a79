"""Turns at an event loop that the threads which wait for it run themselves.

Handing a call to another thread and its reply back costs more than the call. So a caller that waits takes its turn at
running the loop, until what it waits for has come: it leads. A thread of the loop's own, the home thread, runs it
whenever nobody leads, and sleeps while somebody does. A caller that finds another at its turn follows: it hands its
work over and waits.

    home serves   until the thread that called last calls again, and no other has anything under way
    home naps     while callers lead, one turn after the other; after a nap without a turn it serves again
    home sleeps   while a turn is longer than a nap: nothing ticks
"""

from __future__ import annotations

import contextlib
import os
import threading
from asyncio import _get_running_loop  # it raises nothing where there is none
from collections.abc import Callable
from functools import partial
from threading import get_ident
from typing import Any, TypeVar

from .errors import ShuttingDown
from .interrupts import MAIN, Interrupts
from .steppedloop import SteppedLoop

OWN_THREAD = "this is the manager's own thread just now, which would wait for itself: use submit"
FORKED = "this Manager belongs to the process that this one was forked of: make another one"

NAP = 0.002
"""Seconds in which a thread that leads may come back before the home thread takes the loop."""

PATIENCE = 0.01
"""Seconds that a caller waits for its turn when the home thread was asked for it."""

T = TypeVar("T")


NOT_ENTERED = "a Manager must be entered first: with Manager() as manager"


class Closed(ShuttingDown, RuntimeError):
    """The manager is closed and takes nothing. What a RuntimeError tells programmers, a ShuttingDown tells callers: the
    function never saw the call."""

    def __init__(self) -> None:
        super().__init__("the manager is closed and takes no calls")


class Turns:
    """Who runs the loop; see the module. Every method may be called from any thread."""

    loop: SteppedLoop
    _home: threading.Thread

    def __init__(self) -> None:
        self._gate = threading.Lock()  # nothing is handed to the loop behind its end
        self._turn = threading.Lock()  # whoever has it runs the loop
        self._bell = threading.Event()  # wakes the home thread
        self._interrupts = Interrupts(partial(self._soon, _nothing))
        self._runner = 0  # the thread that runs the loop
        self._hooks: Any = None  # its own, meanwhile
        self._last = 0  # the thread that called last
        self._turns = 0  # that callers have had
        self._serving = False  # the home thread runs the loop
        self._asked = False  # it was asked to let a caller lead
        self._asleep = False  # it waits for the end of a turn
        self._followers: set[threading.Lock] = set()
        self._submitted = 0  # that have not ended
        self._open = False
        self._pid = 0

    # ---- life

    def start(self) -> None:
        """Make the loop and start the home thread. Once. Raises what keeps either from being made, and then it is as if
        it had not been tried."""
        with self._gate:
            if self._pid:
                raise RuntimeError("a Manager is entered only once")
            self._pid = os.getpid()
            try:
                self.loop = SteppedLoop()
                self._home = threading.Thread(target=self._live, name="hotfn", daemon=True)
                self._open = True
                self._home.start()
            except BaseException:  # no thread or no descriptor is left, or an interrupt
                self._undo()
                raise

    def _undo(self) -> None:
        """Leave nothing of a start that has failed. A home thread that runs already finds an end to its loop."""
        self._pid, self._open = 0, False
        if "_home" in vars(self) and self._home.is_alive():
            self._wake()
            self._home.join()
        elif "loop" in vars(self):
            self.loop.close()

    @property
    def opened(self) -> bool:
        """It takes work: it is started, not stopped yet, and this is the process that has started it."""
        return self._open and self.is_ours()

    def is_ours(self) -> bool:
        """Say whether this process has started it, and not the one that this one was forked of."""
        return self._pid == os.getpid()

    def stop(self) -> None:
        """End the loop and the home thread, and wait for that. What is left on the loop has some seconds to end."""
        with self._gate:
            if self._open:
                self._open = False
                self._wake()
        self._home.join()

    def is_running_here(self) -> bool:
        """Say whether this thread runs the loop just now, so that nobody on it may wait for it."""
        return self._runner == get_ident()

    # ---- leading

    def _lead(self, mine: int = 0, *, ask: bool = True) -> bool:
        """Take the turn, if that is possible at once or, with `ask`, nearly. `mine` of what was submitted is the
        caller's."""
        me = get_ident()
        if self._pid != os.getpid():
            raise RuntimeError(FORKED if self._pid else NOT_ENTERED)
        if self._runner == me:
            raise RuntimeError(OWN_THREAD)
        if _get_running_loop() is not None or (me == MAIN and not self._interrupts.hold()):
            return False
        again, self._last = self._last == me, me
        if not self._turn.acquire(blocking=False) and not (ask and again and self._ask(mine)):
            self._interrupts_again(me)
            return False
        if not self._open:
            self._turn.release()
            self._interrupts_again(me)
            raise Closed
        self._runner = me
        self._hooks = self.loop.enter(me)
        return True

    def _ask(self, mine: int) -> bool:
        """Have the home thread leave the loop to a caller that is alone, and take the turn."""
        with self._gate:
            if not self._serving or self._asked or self._followers or self._submitted > mine or not self._open:
                return False
            self._asked = True
            self._wake()
        return self._turn.acquire(timeout=PATIENCE)

    def _leave(self) -> None:
        """Give the turn back."""
        me = self._runner
        self.loop.leave(self._hooks)
        self._runner = 0
        self._turns += 1
        self._turn.release()
        if self._followers or self._asleep:
            self._bell.set()
        self._interrupts_again(me)

    def _interrupts_again(self, me: int) -> None:
        if me == MAIN:
            self._interrupts.let_go()

    def _round(self) -> None:
        self.loop.round()
        if self._interrupts.seen and self._runner == MAIN:
            self._interrupts.check()

    # ---- handing over

    def _post(self, begin: Callable[[], None], follower: threading.Lock | None) -> None:
        """Hand something to the loop, if that is there to take it."""
        if self._pid and self._pid != os.getpid():
            raise RuntimeError(FORKED)
        with self._gate:
            if not self._open:
                raise Closed if self._pid else RuntimeError(NOT_ENTERED)
            if follower is None:
                self._submitted += 1
            else:
                self._followers.add(follower)
            self.loop.call_soon_threadsafe(begin)
        if follower is not None and not self._turn.locked():
            self._bell.set()

    def _soon(self, step: Callable[[], object]) -> None:
        with contextlib.suppress(RuntimeError):  # the loop has ended, and all work with it
            self.loop.call_soon_threadsafe(step)

    # ---- the home thread

    def _wake(self) -> None:
        self._soon(_nothing)
        self._bell.set()

    def _live(self) -> None:
        while self._open:
            self._serve()
            self._nap()
        with self._turn:
            self._runner = get_ident()
            self._finish()

    def _finish(self) -> None:
        """Run what is left on the loop to its end: those who wait are told."""
        self.loop.finish(())

    def _serve(self) -> None:
        """Run the loop until a caller wants to, or to its end."""
        with self._turn:
            self._asked = False
            self._runner = get_ident()
            self._serving = True
            hooks = self.loop.enter(self._runner)
            while self._open and not self._asked:
                self.loop.survive(self.loop.round)
            self.loop.leave(hooks)
            self._serving = False
            self._runner = 0

    def _nap(self) -> None:
        """Leave the loop to those who lead, until nobody has for a while."""
        self._bell.clear()
        seen = self._turns
        while self._open and not self._followers:
            if self._bell.wait(NAP):
                self._bell.clear()
            elif self._turn.locked():
                if self._turns == seen:
                    self._sleep()
            elif self._turns == seen or self._submitted:
                return
            seen = self._turns

    def _sleep(self) -> None:
        """Wait until the turn that goes on has ended."""
        self._asleep = True
        if self._turn.locked():
            self._bell.wait()
        self._asleep = False


def _nothing() -> None:
    """Wakes the loop."""
