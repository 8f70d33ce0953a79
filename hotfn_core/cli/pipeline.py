"""The middle of `hotfn run`: bodies in, calls in flight, outcomes out in the order of the bodies.

`parallel` workers take a body, call, and hand in the outcome. Everything is bounded: how far a worker may be ahead of
the oldest outcome that is missing, how many bytes of outcomes wait for it, and how many bytes wait to be written.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable

from hotfn_core.errors import CallError, LaunchFailed
from hotfn_core.model import Reply

from .formats import Format
from .output import Output
from .source import Source

_HELD_BYTES = 64 << 20
_LAUNCH_TRIES = 5
_LAUNCH_PAUSE = 0.1


Recorder = Callable[[int, Reply | CallError], None]
"""Who keeps count: told of each outcome as it comes, with its index."""


class CannotStart(Exception):
    """The function does not start (any more). The LaunchFailed is the `__cause__`."""


class Pipeline:
    """One run of a source through a function.

    `call` answers one body. Outcomes are told to `record` as they come, and written to `output` as `form` says, in
    the order of the bodies. `stays`: a function that does not start ends nothing, its calls fail.
    """

    def __init__(
        self,
        source: Source,
        call: Callable[[bytes], Awaitable[Reply]],
        record: Recorder,
        form: Format,
        output_fd: int,
        parallel: int,
        *,
        stays: bool = False,
    ) -> None:
        self._source = source
        self._call = call
        self._record = record
        self._form = form
        self._output = Output(output_fd, self._room_again)
        self._parallel = parallel
        self._stays = stays
        self._window = max(64, 4 * parallel)
        self._begun = 0
        self._written = 0
        self._held: dict[int, bytes] = {}
        self._held_bytes = 0
        self._has_run = False
        self._stopping = False
        self._cannot_start: LaunchFailed | None = None
        self._workers: list[asyncio.Task[None]] = []
        self._waiters: deque[asyncio.Future[None]] = deque()

    @property
    def in_flight(self) -> int:
        """How many calls have no outcome yet."""
        return self._begun - self._written - len(self._held)

    @property
    def output_error(self) -> OSError | None:
        """Why the output could not be written to its end, or None."""
        return self._output.error

    def stop(self) -> None:
        """Take no more input. Calls in flight go on."""
        self._stopping = True
        self._wake(len(self._waiters))

    async def run(self) -> None:
        """Return when every outcome is written, after `stop`, or when nobody reads the output any more.

        Raises CannotStart. Cancelling it cancels the calls in flight.
        """
        self._source.start(self._arrived)
        self._output.watch()
        try:
            async with asyncio.TaskGroup() as group:
                self._workers = [group.create_task(self._work()) for _ in range(self._parallel)]
            await self._output.drained()
        except BaseExceptionGroup as errors:  # a worker raised what no call should: one is enough to tell
            raise errors.exceptions[0] from None
        finally:
            self._output.close()
        if self._cannot_start:
            raise CannotStart(self._cannot_start.message) from self._cannot_start

    async def _work(self) -> None:
        source, call = self._source, self._call
        while not (self._stopping or source.ended):
            if not self._may_begin():
                await self._wait()
                continue
            body = source.take()
            if body is None:
                await self._dry()
                continue
            index = self._begun
            self._begun += 1
            if not isinstance(body, bytes):
                self._hand_in(index, body)
                continue
            try:
                outcome: Reply | CallError = await call(body)
            except LaunchFailed as error:
                outcome = error if self._stays else await self._launch_again(body, error)
            except CallError as error:
                outcome = error
            self._hand_in(index, outcome)
        self._wake(len(self._waiters))  # those who wait for room have nothing to wait for

    def _may_begin(self) -> bool:
        return self._begun - self._written < self._window and self._held_bytes < _HELD_BYTES and not self._output.full

    async def _dry(self) -> None:
        """Nothing to do until more input comes: whoever makes it may be waiting for what we have."""
        self._output.eager = True
        self._output.flush()
        await self._wait()

    async def _launch_again(self, body: bytes, error: LaunchFailed) -> Reply | CallError:
        """Call again where the function has run before: a rejected call never reached it, and the input is dear.

        When no copy has ever run, or after some tries, the run is over.
        """
        for _ in range(_LAUNCH_TRIES if self._has_run else 0):
            await asyncio.sleep(error.retry_after or _LAUNCH_PAUSE)
            try:
                return await self._call(body)
            except LaunchFailed as again:
                error = again
            except CallError as other:
                return other
        self._cannot_start = error
        self._abandon()
        return error

    def _abandon(self) -> None:
        """End now: what is in flight is of no use any more."""
        self._stopping = True
        for worker in self._workers:
            worker.cancel()

    def _hand_in(self, index: int, outcome: Reply | CallError) -> None:
        if isinstance(outcome, Reply):
            self._has_run = True
        self._record(index, outcome)
        self._finish(index, self._form(index, outcome))

    def _finish(self, index: int, data: bytes) -> None:
        """Write an outcome if it is the next, and then all that have waited for it."""
        if index != self._written:
            self._held[index] = data
            self._held_bytes += len(data)
            return
        self._output.put(data)
        self._written += 1
        while self._held and (waiting := self._held.pop(self._written, None)) is not None:
            self._held_bytes -= len(waiting)
            self._output.put(waiting)
            self._written += 1
        if self._waiters and self._source.ready:
            self._wake(len(self._waiters))

    def _arrived(self, count: int) -> None:
        self._output.eager = False
        self._wake(count or len(self._waiters))

    def _room_again(self) -> None:
        if self._output.error:
            self._abandon()
        self._wake(len(self._waiters))

    async def _wait(self) -> None:
        waiter = asyncio.get_running_loop().create_future()
        self._waiters.append(waiter)
        await waiter

    def _wake(self, count: int) -> None:
        for _ in range(min(count, len(self._waiters))):
            waiter = self._waiters.popleft()
            if not waiter.done():
                waiter.set_result(None)
