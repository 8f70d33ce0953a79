"""An event loop that is run one round at a time, by one thread after another."""

from __future__ import annotations

import asyncio
import logging
import sys
from asyncio import _set_running_loop  # Python's own name for what other loops may call
from collections.abc import Callable, Collection
from functools import partial
from typing import Any

from .work import Work

log = logging.getLogger("hotfn")

RAISED = "what runs on the manager's loop has to raise nothing that ends a thread"

END_SECONDS = 5.0
"""How long what is left on the loop behind its end may take."""


class SteppedLoop(asyncio.SelectorEventLoop):
    """Python's own loop. No two threads may run it at once: its owner sees to that.

    uvloop cannot be run in this way: in the main thread its every beginning costs as much as several calls.
    """

    def enter(self, thread: int) -> Any:
        """The thread is about to run rounds. Returns what `leave` needs."""
        self._thread_id = thread
        hooks = sys.get_asyncgen_hooks()
        sys.set_asyncgen_hooks(self._asyncgen_firstiter_hook, self._asyncgen_finalizer_hook)  # type: ignore[attr-defined]
        _set_running_loop(self)
        return hooks

    def leave(self, hooks: Any) -> None:
        """The thread has run its rounds."""
        _set_running_loop(None)
        sys.set_asyncgen_hooks(*hooks)
        self._thread_id = None  # type: ignore[assignment]

    def round(self) -> None:
        """Wait until there is something to do, and do it."""
        try:
            self._run_once()  # type: ignore[attr-defined]
        except SystemExit:  # of an observer or of a future's callback, whose business the thread is not
            log.exception(RAISED)

    def finish(self, going: Collection[Work]) -> None:
        """Run what is left to its end, and close. What goes on for ever is cancelled, of plugins as well."""
        for patience in (END_SECONDS, 1.0):
            self.survive(lambda: self.run_until_complete(asyncio.sleep(0)))  # what was handed over begins
            if tasks := asyncio.all_tasks(self):
                self.survive(partial(self.run_until_complete, asyncio.wait(tasks, timeout=patience)))
            for task in asyncio.all_tasks(self):
                task.cancel()
            for one in [*going]:
                self.survive(one.cancel)  # it tells a future, whose callbacks are anybody's
        self.survive(lambda: self.run_until_complete(self.shutdown_asyncgens()))
        self.survive(lambda: self.run_until_complete(self.shutdown_default_executor()))  # as asyncio.run does
        self.close()

    @staticmethod
    def survive(step: Callable[[], object]) -> None:
        """Do what a thread must not end by."""
        try:
            step()
        except BaseException:  # KeyboardInterrupt and its like, raised by an observer or by a future's callback
            log.exception(RAISED)
