"""How a container ended: what its engine says when its streams have ended."""

from __future__ import annotations

import asyncio
import logging
from dataclasses import replace

from hotfn_core.errors import DriverError, said
from hotfn_core.model import KILLED, Exit

from .attach import CUT
from .calls import Calls
from .engine import State
from .trouble import NoSuchContainer

log = logging.getLogger("hotfn")

PAUSES = (0.0, 0.005, 0.01, 0.02, 0.04, 0.08, 0.15, 0.3, 0.4)
"""Seconds between looks at a container whose streams have ended, until it counts as one that runs on without them."""

LOOK_AGAIN = 0.5
"""Seconds between looks at a container whose end cannot be seen by its streams."""

ANSWER_SECONDS = 30.0
"""How long an engine may take to say how a container is whose streams have ended."""

BROKEN_SECONDS = 6.0
"""The same when they broke: something is wrong with the engine itself, and a call waits to hear of it."""

ANEW = "its service was started anew"
REMOVED = "the container was removed from outside"

LAST_SIGNAL = 64


class ExitFinder:
    """Looks for the end of one container. `suspect` is the limit in MB that is suspected of a SIGKILL that the engine
    does not account for, None when hotfn sent one."""

    def __init__(self, calls: Calls, container: str, suspect: int | None) -> None:
        self._calls = calls
        self._id = container
        self._suspect = suspect
        self._oom = False  # what is seen while it runs may not be there to be seen when it has ended

    async def find(self, why: str) -> Exit:
        """Return how the container ended. Never raises, but for being cancelled.

        `why` is what was wrong with its streams, "" when they ended in order. A container that runs on without them is
        killed: nobody can talk to it any more. What it did after they ended is not heard, so its exit code says
        nothing then: a 0 would make half a reply a whole one.
        """
        began = asyncio.get_running_loop().time()
        try:
            state = await self._soon(why, began)
            if await self._calls.lifeline.broke(began):
                return Exit(detail=self._lost(ANEW))
        except NoSuchContainer:
            return Exit(detail=REMOVED)
        except TimeoutError:
            return Exit(detail=self._lost(why or f"it does not answer within {ANSWER_SECONDS:g} s"))
        except DriverError as error:
            return Exit(detail=self._lost(error.message))
        except Exception as error:  # an exit has to be reported, whatever went wrong
            log.exception("it could not be found out how container %s ended", self._id[:12])
            return Exit(detail=f"it could not be found out how: {said(error)}")
        exit = self._exit(state)
        return cut_off(exit) if why == CUT else exit

    async def running(self) -> bool:
        """Say whether it runs, as far as the engine can tell."""
        try:
            return (await self._look()).running
        except DriverError:
            return False

    async def ended(self) -> Exit | None:
        """Return how the container ended; None when it runs, or when the engine does not tell."""
        try:
            state = await self._look()
        except NoSuchContainer:
            return Exit(detail=REMOVED)
        except DriverError:
            return None
        return None if state.running else self._exit(state)

    async def _soon(self, why: str, began: float) -> State:
        """Return the state soon after the streams have ended. Raises DriverError also when it runs on; it is killed."""
        anew = False
        async with asyncio.timeout(BROKEN_SECONDS if why else ANSWER_SECONDS):
            state = State(running=True)
            for pause in PAUSES:
                await asyncio.sleep(pause)
                state = await self._look()
                if not state.running:
                    return state
                if anew := await self._calls.lifeline.broke(began):
                    break
            await self._calls(self._calls.engine.kill, self._id, "SIGKILL")
        raise DriverError(ANEW if anew else why or "its streams ended, and it ran on")

    def _exit(self, state: State) -> Exit:
        return as_exit(replace(state, oom=self._oom or state.oom), self._suspect)

    async def _look(self) -> State:
        state = await self._calls(self._calls.engine.state, self._id)
        self._oom = self._oom or state.oom is True
        return state

    def _lost(self, why: str) -> str:
        return f"the connection to {self._calls.engine.name} was lost: {why}"


def as_exit(state: State, suspect: int | None) -> Exit:
    """Say how it ended. Engines say 128 + n for a signal, and a program may exit with that number as well.

    `suspect` is the limit of memory in MB that a SIGKILL is put down to when the engine cannot tell.
    """
    code, detail = state.code, state.error
    if code is not None and code < 0:  # podman says -1 when what watched the container is gone
        code, detail = None, detail or "the engine does not know its exit code"
    if code is not None and 128 < code <= 128 + LAST_SIGNAL and not state.oom:
        detail = detail or f"as a program does that signal {code - 128} has killed"
    if code == KILLED and state.oom is None and suspect is not None:
        detail += f"; hotfn did not send it: it ran out of memory, limit {suspect} MB, or somebody killed the container"
    return Exit(code=code, oom=state.oom is True, detail=detail)


def cut_off(exit: Exit) -> Exit:
    """Say that the end of the outputs may be missing. Then there is no exit code 0, which would pass for a reply."""
    if exit.code == 0:
        return exit._replace(code=None, detail=f"it exited with code 0, but {CUT}: let it read all of its input")
    return exit._replace(detail="; ".join(filter(None, (exit.detail, CUT))))
