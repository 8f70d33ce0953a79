"""One copy of a function: a process group that is written to, read from, and ended."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
from collections.abc import Callable

from hotfn_core.driver import Container, Receiver
from hotfn_core.errors import DriverError
from hotfn_core.model import Exit

from .pipes import HIGH_WATER, PipeReader, PipeWriter
from .spawn import Child

POLITE = 0.1
"""Seconds from closing a copy's stdin to SIGTERM, which kills most programs without their own clean-up. A tenth of
the grace where that is shorter."""

EOF_PAUSE = 0.25
"""Seconds that a copy has for its exit after its stdout ended, before that counts as closing stdout on purpose."""

STUCK = 10.0
"""Seconds after SIGKILL when waiting for the exit is given up: the process hangs in the kernel."""


class LocalContainer(Container):
    """A running subprocess. `ended` is called once, just before the receiver hears of the exit."""

    def __init__(
        self, loop: asyncio.AbstractEventLoop, child: Child, receiver: Receiver, ended: Callable[[], None]
    ) -> None:
        self.id = str(child.pid)
        self._loop = loop
        self._child = child
        self._receiver = receiver
        self._ended = ended
        self._alive = True
        self._led = True
        self._stdin = PipeWriter(loop, child.stdin)
        self._stdout = PipeReader(loop, child.stdout, receiver.stdout_received, self._stdout_ended)
        self._stderr = PipeReader(loop, child.stderr, receiver.stderr_received, lambda: None)
        self._waiters: set[asyncio.Future[None]] = set()
        self._kill_at: float | None = None
        self._timers: dict[str, asyncio.TimerHandle] = {}
        loop.add_reader(child.pidfd, self._exit_seen)
        self._stdout.resume()
        self._stderr.resume()

    def write(self, data: bytes) -> None:
        self._stdin.write(data)

    @property
    def writable(self) -> bool:
        return self._stdin.held < HIGH_WATER

    def write_eof(self) -> None:
        self._stdin.end()

    def pause_reading(self) -> None:
        self._stdout.pause()

    def resume_reading(self) -> None:
        self._stdout.resume()

    async def stop(self, grace: float) -> None:
        """Close stdin, then SIGTERM to the group, after `grace` SIGKILL to the group. See Container.stop."""
        if not self._alive:
            return
        self._hurry(grace)
        waiter: asyncio.Future[None] = self._loop.create_future()
        self._waiters.add(waiter)
        try:
            await waiter
        finally:
            self._waiters.discard(waiter)

    async def freeze(self) -> None:
        """Suspend the group with SIGSTOP."""
        self._signal(signal.SIGSTOP)

    async def thaw(self) -> None:
        self._signal(signal.SIGCONT)

    def _hurry(self, grace: float) -> None:
        """Begin the end, or bring it forward; a longer grace than the one that runs changes nothing."""
        kill_at = self._loop.time() + grace
        if self._kill_at is not None and kill_at >= self._kill_at:
            return
        first = self._kill_at is None
        self._kill_at = kill_at
        if grace <= 0:
            self._kill()
            return
        self._stdin.close()
        if first:
            self._later("term", min(POLITE, grace / 10), self._terminate)
        self._later("kill", grace, self._kill_or_tell)

    def _terminate(self) -> None:
        with contextlib.suppress(DriverError):  # SIGKILL is refused as well then, and that is told
            self._signal(signal.SIGTERM)
            self._signal(signal.SIGCONT)  # a frozen copy cannot obey

    def _kill(self) -> None:
        try:
            self._signal(signal.SIGKILL)
        except DriverError:
            self._kill_at = None  # stop may be called again
            raise
        self._later("stuck", STUCK, self._give_up)

    def _kill_or_tell(self) -> None:
        try:
            self._kill()
        except DriverError as error:
            self._fail_waiters(error)

    def _give_up(self) -> None:
        self._kill_at = None
        self._fail_waiters(DriverError(f"process {self.id} does not die of SIGKILL: it hangs inside the kernel"))

    def _fail_waiters(self, error: DriverError) -> None:
        for waiter in self._waiters:
            if not waiter.done():
                waiter.set_exception(error)

    def _signal(self, number: int) -> None:
        """Signal the whole group. The leader is not reaped yet, so the group's number is nobody else's."""
        if not self._led or not self._child.parent.leads(self._child):
            return
        try:
            os.killpg(self._child.pid, number)
        except ProcessLookupError:
            return
        except PermissionError:
            raise DriverError(
                f"may not signal process {self.id}: it runs as another user now; end it by hand"
            ) from None

    def _stdout_ended(self) -> None:
        self._later("eof", EOF_PAUSE, self._receiver.stdout_eof)

    def _later(self, name: str, delay: float, action: Callable[[], None]) -> None:
        self._cancel_timer(name)
        self._timers[name] = self._loop.call_later(delay, action)

    def _cancel_timer(self, name: str) -> None:
        timer = self._timers.pop(name, None)
        if timer:
            timer.cancel()

    def _exit_seen(self) -> None:
        """The leader has exited: end its group, and have its status."""
        self._loop.remove_reader(self._child.pidfd)
        with contextlib.suppress(DriverError):  # another user's process stays, the copy is gone all the same
            self._signal(signal.SIGKILL)
        self._led = False
        self._child.parent.collect(self._child, self._finish)

    def _finish(self, exit: Exit) -> None:
        """Pass on what it had said, and tell."""
        self._alive = False
        os.close(self._child.pidfd)
        for name in list(self._timers):
            self._cancel_timer(name)
        self._stdin.close()
        try:
            self._stdout.finish()
            self._stderr.finish()
        finally:
            self._ended()
            self._receiver.exited(exit)
            self._release_waiters()

    def _release_waiters(self) -> None:
        for waiter in self._waiters:
            if not waiter.done():
                waiter.set_result(None)
