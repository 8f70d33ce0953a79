"""Random loads with times of their own, the driver that serves them and writes down when, and what to expect of it."""

from __future__ import annotations

import asyncio
import heapq
import random
from collections import deque
from dataclasses import dataclass, field
from typing import NamedTuple

from hotfn_core import CallError, Container, ContainerSpec, Exit, FunctionSpec, Manager, Receiver, Reply
from hotfn_core.testing import Behaviour, FakeContainer, FakeDriver

from .world import now


class Job(NamedTuple):
    """One call of a load: when it comes, and for how long the function has it."""

    id: str
    arrives: float
    takes: float


def random_jobs(dice: random.Random, count: int, span: float, longest: float) -> list[Job]:
    """Return jobs in order of arrival. No two of their times are the same, so there is one right order of events."""
    arrivals = sorted(dice.uniform(0, span) for _ in range(count))
    return [Job(f"c{n}", arrives, dice.uniform(0.001, longest)) for n, arrives in enumerate(arrivals)]


@dataclass
class Life:
    """What the driver saw of one copy."""

    instance: str
    started: float
    idle_since: float | None = None
    idle_spans: list[tuple[float, float]] = field(default_factory=list)
    stopped: float | None = None
    ended: float | None = None

    def rest(self) -> None:
        self.idle_since = now()

    def wake(self) -> None:
        if self.idle_since is not None:
            self.idle_spans.append((self.idle_since, now()))
            self.idle_since = None


class LoadDriver(FakeDriver):
    """Serves jobs. `begun` has (call, when) in the order in which calls reached a copy; `lives` every copy that was;
    `asked_for` the calls that copies of a cold protocol were started for."""

    def __init__(self, jobs: list[Job], start: float = 0.0, stop: float = 0.0) -> None:
        super().__init__(Behaviour(start=start, stop=stop), lambda _: Behaviour(answer=self.next_takes))
        self.takes = {job.id: job.takes for job in jobs}
        self.next_takes = 0.0
        self.begun: list[tuple[str, float]] = []
        self.lives: dict[str, Life] = {}
        self.asked_for: list[str] = []

    async def launch(self, spec: ContainerSpec, receiver: Receiver) -> Container:
        if "FAKE_CALL_ID" in spec.env:
            self.asked_for.append(spec.env["FAKE_CALL_ID"])
        return await super().launch(spec, receiver)

    def make_copy(self, spec: ContainerSpec, receiver: Receiver, how: Behaviour) -> FakeContainer:
        life = self.lives[spec.instance] = Life(spec.instance, now())
        life.rest()
        return _Container(self, spec, _Watcher(receiver, life), how)

    def idle(self) -> list[Life]:
        """The copies that have nothing to do and have not been told to end."""
        lives = [self.lives[copy.id] for copy in self.alive]
        return [life for life in lives if life.idle_since is not None and life.stopped is None]


class _Container(FakeContainer):
    """A fake copy whose answers take as long as the call's job says."""

    def write(self, data: bytes) -> None:
        call_id = data.split(b" ")[0].decode()
        driver = self._driver
        assert isinstance(driver, LoadDriver)
        driver.lives[self.id].wake()
        driver.begun.append((call_id, now()))
        driver.next_takes = driver.takes[call_id]
        super().write(data)

    async def stop(self, grace: float) -> None:
        assert isinstance(self._driver, LoadDriver)
        life = self._driver.lives[self.id]
        life.wake()
        life.stopped = now() if life.stopped is None else life.stopped
        await super().stop(grace)


class _Watcher:
    """Passes on what a copy tells, and notes when it is idle: when its line is out and it was not asked again."""

    def __init__(self, receiver: Receiver, life: Life) -> None:
        self._receiver = receiver
        self._life = life
        self.stderr_received = receiver.stderr_received
        self.stdout_eof = receiver.stdout_eof

    def stdout_received(self, data: bytes) -> None:
        self._life.rest()
        self._receiver.stdout_received(data)

    def exited(self, exit: Exit) -> None:
        self._life.wake()
        self._life.ended = now()
        self._receiver.exited(exit)


class Ended(NamedTuple):
    """How one job ended, and when."""

    code: str
    at: float


async def run_jobs(manager: Manager, spec: FunctionSpec, jobs: list[Job]) -> dict[str, Ended]:
    """Make every call at its time and return how each ended. A call that is answered twice or wrongly fails here."""

    async def one(job: Job) -> tuple[str, Ended]:
        await asyncio.sleep(job.arrives - now())
        try:
            reply: Reply = await manager.call(spec, job.id.encode(), call_id=job.id)
        except CallError as error:
            assert error.call_id == job.id  # noqa: PT017 - most jobs do not raise
            return job.id, Ended(error.code, now())
        assert (reply.body, reply.call_id) == (job.id.encode(), job.id)
        return job.id, Ended("ok", now())

    return dict(await asyncio.gather(*[one(job) for job in jobs]))


class Forecast(NamedTuple):
    """What must come of a job: its code, when a copy has it (None: never), when it ends."""

    code: str
    begins: float | None
    ends: float


def forecast(spec: FunctionSpec, jobs: list[Job]) -> dict[str, Forecast]:
    """Foretell a load when copies start and stop in no time: a queue in front of `max_concurrency` servers.

    Nothing here knows of copies, phases or settling: it is the text-book queue with a bound and with patience.
    """
    free_at = [0.0] * spec.max_concurrency
    heapq.heapify(free_at)
    queue: deque[Job] = deque()
    found: dict[str, Forecast] = {}

    def serve_until(moment: float) -> None:
        while queue and free_at[0] <= moment:
            job, free = queue.popleft(), free_at[0]
            if free > job.arrives + spec.queue_timeout:
                gives_up = job.arrives + spec.queue_timeout
                found[job.id] = Forecast("queue_timeout", None, gives_up)
                continue
            begins = max(free, job.arrives)
            ends = begins + job.takes
            if job.takes > spec.timeout:
                found[job.id] = Forecast("call_timeout", begins, begins + spec.timeout)
                ends = begins + spec.timeout
            else:
                found[job.id] = Forecast("ok", begins, ends)
            heapq.heapreplace(free_at, ends)

    for job in jobs:
        serve_until(job.arrives)
        while queue and queue[0].arrives + spec.queue_timeout <= job.arrives:
            late = queue.popleft()
            found[late.id] = Forecast("queue_timeout", None, late.arrives + spec.queue_timeout)
        if free_at[0] > job.arrives and len(queue) >= spec.max_queue:
            found[job.id] = Forecast("saturated", None, job.arrives)
        else:
            queue.append(job)
            serve_until(job.arrives)
    serve_until(float("inf"))
    return found
