"""An asyncio event loop in which time is a number and the order of ready callbacks comes from a seed.

Nothing sleeps: when nothing is ready, the clock jumps to the next timer. Callbacks that are ready at the same moment,
timers among them, run in an order drawn from the seed, so one seed is one schedule: a failure is replayed by running
the same seed again, and a thousand seeds are a thousand schedules. There is no IO; a loop with nothing left to do and
somebody still waiting raises `Deadlock` instead of hanging.
"""

from __future__ import annotations

import asyncio
import contextlib
import heapq
import math
import random
from collections import deque
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

T = TypeVar("T")


class Deadlock(RuntimeError):
    """The program waits for something that can never happen."""


class RunawayLoop(RuntimeError):
    """More steps than allowed: something spins without time going by."""


class SimulatedLoop(asyncio.BaseEventLoop):
    """The loop. `seed` None keeps asyncio's own order. `max_steps` bounds a run that never ends. `watch` is called
    after every step, which is where an invariant is to hold.

    `virtual` tells a Manager to go by this loop's clock and dice.
    """

    virtual = True
    _timer_cancelled_count: int  # asyncio's own

    def __init__(
        self,
        seed: int | None = None,
        *,
        max_steps: int = 10_000_000,
        watch: Callable[[], None] | None = None,
    ) -> None:
        super().__init__()
        self.watch = watch
        self.steps = 0
        self._now = 0.0
        self._seed = seed
        self._random = random.Random(seed)
        self._dice = random.Random(seed)
        self.max_steps = max_steps
        self._clock_resolution = 1e-9
        self._selector = _NoIO(self)

    def time(self) -> float:
        """Return the virtual time in seconds since the loop was made."""
        return self._now

    def dice(self) -> float:
        """Draw a number from 0 to 1, of which the order of callbacks is independent."""
        return self._dice.random()

    def jump(self, seconds: float | None) -> None:
        """Nothing is ready: let the time to the next timer pass. None means that there is no timer either."""
        if seconds is None:
            raise Deadlock("nothing is ready, no timer is set, and the program has not ended")
        self._now += seconds
        # After a week of virtual time floats are coarser than this; a timer that is due must still be seen as due.
        self._clock_resolution = max(1e-9, 2 * math.ulp(self._now))

    def _run_once(self) -> None:
        ready: deque[asyncio.Handle] = self._ready  # type: ignore[attr-defined]
        self.steps += 1
        if self.steps > self.max_steps:
            raise RunawayLoop(f"{self.max_steps} steps by {self._now:.3f} s of virtual time; seed {self._seed}")
        if self._seed is not None:
            self._ring_timers(ready)
            if len(ready) > 1:
                handles = list(ready)
                self._random.shuffle(handles)
                ready.clear()
                ready.extend(handles)
        super()._run_once()  # type: ignore[misc]
        if self.watch is not None:
            self.watch()

    @property
    def timers(self) -> int:
        """How many timers are set and not cancelled."""
        return sum(not timer.cancelled() for timer in self._scheduled)  # type: ignore[attr-defined]

    def _ring_timers(self, ready: deque[asyncio.Handle]) -> None:
        """Make due timers ready now, so that they are shuffled with the rest: asyncio would run them after it."""
        timers: list[asyncio.TimerHandle] = self._scheduled  # type: ignore[attr-defined]
        while timers and timers[0].cancelled():
            self._timer_cancelled_count -= 1
            self._pop_timer(timers)
        if timers and not ready and not self._stopping:  # type: ignore[attr-defined]
            self.jump(max(timers[0].when() - self._now, 0.0))
        while timers and timers[0].when() < self._now + self._clock_resolution:
            timer = self._pop_timer(timers)
            if timer.cancelled():
                self._timer_cancelled_count -= 1
            else:
                ready.append(timer)

    def _pop_timer(self, timers: list[asyncio.TimerHandle]) -> asyncio.TimerHandle:
        timer = heapq.heappop(timers)
        timer._scheduled = False  # type: ignore[attr-defined]  # noqa: SLF001 - as asyncio's own loop does
        return timer

    def _process_events(self, event_list: list[Any]) -> None:
        """There is no IO."""

    def _write_to_self(self) -> None:
        """Nobody calls from another thread."""


class _NoIO:
    """All that asyncio needs of a selector. Virtual time passes where a real one would wait."""

    def __init__(self, loop: SimulatedLoop) -> None:
        self._loop = loop

    def select(self, timeout: float | None) -> list[Any]:
        if timeout is None or timeout > 0:
            self._loop.jump(timeout)
        return []


def simulate(
    main: Callable[[], Coroutine[Any, Any, T]],
    seed: int | None = None,
    *,
    max_steps: int = 10_000_000,
    watch: Callable[[], None] | None = None,
) -> T:
    """Run `main()` on a simulated loop and return its result. The arguments are those of SimulatedLoop.

    Raises what it raises, with the seed in a note; Deadlock; RunawayLoop; and AssertionError when tasks are left.
    """
    loop = SimulatedLoop(seed, max_steps=max_steps, watch=watch)
    failures: list[BaseException] = []

    def remember(_loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        failures.append(context.get("exception") or RuntimeError(context["message"]))

    loop.set_exception_handler(remember)
    try:
        result = loop.run_until_complete(main())
        left = [task for task in asyncio.all_tasks(loop) if not task.done()]
        assert not left, f"tasks are left behind: {left}"
        if failures:
            raise failures[0]
        return result
    except BaseException as error:  # whatever it is, it goes on its way
        error.add_note(f"simulated with seed {seed}, at {loop.time():.6f} s of virtual time")
        raise
    finally:
        _cancel_rest(loop)
        loop.close()


def _cancel_rest(loop: SimulatedLoop) -> None:
    """End what a failed run has left, so that no warning about it comes up in the next test."""
    left = asyncio.all_tasks(loop)
    for task in left:
        task.cancel()
    if left:
        loop.watch = None
        loop.max_steps = loop.steps + 100_000
        with contextlib.suppress(Deadlock, RunawayLoop):  # the failure that brought us here says more
            loop.run_until_complete(asyncio.gather(*left, return_exceptions=True))
