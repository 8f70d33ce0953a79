"""Random faults, callers, changes and ends, all from one seed: the same seed is the same story to the last event."""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from hotfn_core import (
    CallError,
    CallRejected,
    CallReport,
    Driver,
    FunctionSpec,
    InstanceChange,
    InvalidCall,
    IOProtocol,
    Manager,
    Reply,
    ShuttingDown,
    StderrLine,
    TooLarge,
    hookimpl,
)
from hotfn_core.testing import Behaviour, FakeColdProtocol, FakeDriver, FakeProtocol, fake_spec, simulate

from .weather import CalmDriver, Story, Weather, WildDriver
from .world import nothing_left, now

SPAN = 10.0  # seconds of virtual time over which the calls of one story come


CALLS = 200  # in one story


FROST = "( frozen idle)*"
PHASES = f"starting( idle{FROST}( busy{FROST})?( frozen)?)?( stopping)? gone"


@dataclass(eq=False)
class Witness:
    """A plugin that brings drivers and protocols, writes down what it is told, and fails in every tenth hook."""

    story: Story
    wild: WildDriver
    calm: FakeDriver
    reports: dict[str, CallReport] = field(default_factory=dict)
    phases: dict[str, list[str]] = field(default_factory=dict)
    told: int = 0

    @hookimpl
    def hotfn_register_drivers(self) -> Mapping[str, Callable[[], Driver]]:
        return {"wild": lambda: self.wild, "calm": lambda: self.calm}

    @hookimpl
    def hotfn_register_protocols(self) -> Mapping[str, Callable[[], IOProtocol]]:
        return {"fake": FakeProtocol, "fake-cold": FakeColdProtocol}

    @hookimpl
    def hotfn_call_finished(self, report: CallReport) -> None:
        assert report.call_id not in self.reports
        assert min(report.queued, report.started, report.ran) >= 0.0
        self.reports[report.call_id] = report
        self._tell(now(), report.function, report.call_id, report.instance, report.error)

    @hookimpl
    def hotfn_instance_changed(self, change: InstanceChange) -> None:
        self.phases.setdefault(change.instance, []).append(change.state)
        self._tell(now(), change.function, change.instance, change.state, change.reason)

    @hookimpl
    def hotfn_stderr_line(self, line: StderrLine) -> None:
        self._tell(now(), line.function, line.instance, line.call_id, line.text[:40])

    def _tell(self, *event: object) -> None:
        self.story.log.append(event)
        self.told += 1
        if self.told % 10 == 0:
            raise RuntimeError("an observer that fails")


def wild_spec(dice: random.Random, name: str) -> FunctionSpec:
    """Return a function of the wild driver; many are too small for their load."""
    cold = dice.random() < 0.25
    cap = dice.choice([1, 1, 2, 5])
    return fake_spec(
        name,
        driver="wild",
        format="fake-cold" if cold else "fake",
        max_concurrency=cap,
        min_instances=0 if cold else dice.choice([0, 0, 0, cap]),
        max_queue=dice.choice([0, 2, 10, 100]),
        queue_timeout=dice.choice([0.5, 2.0, 20.0]),
        start_timeout=dice.choice([0.4, 5.0]),
        timeout=dice.choice([0.5, 2.0]),
        idle_timeout=dice.choice([0.0, 0.1, 1.0, 30.0]),
        stop_grace=dice.choice([0.0, 0.5, 2.0]),
        freeze_after=dice.choice([None, None, 0.0, 0.02, 0.5]),
        max_calls=dice.choice([None, None, 1, 7]),
        max_age=dice.choice([None, None, 1.0]),
        max_request=1000,
    )


class Chaos:
    """One story."""

    def __init__(self, seed: int, calls: int = CALLS) -> None:
        self.dice = random.Random(seed)
        self.calls = calls
        self.story = Story()
        self.wild = WildDriver(self.story, Weather(self.dice.choice([0.1, 0.5, 1.0])), seed)
        self.calm = CalmDriver(Behaviour(start=0.1, answer=0.01))
        self.calm_spec = fake_spec("calm", driver="calm", max_concurrency=50)
        self.witness = Witness(self.story, self.wild, self.calm)
        self.manager: Manager = Manager(plugins=[self.witness], entry_points=False)
        self.specs = {f"default/{name}": self._draw(name) for name in ("a", "b", "c")}
        self.closing = False

    def _draw(self, name: str) -> FunctionSpec:
        spec = wild_spec(self.dice, name)
        self.wild.caps[spec.identity] = spec.max_concurrency
        return spec

    async def run(self) -> Story:
        async with self.manager:
            for spec in self.specs.values():
                self.manager.register(spec)
            callers = [self._caller(f"c{number}") for number in range(self.calls)]
            await asyncio.gather(self._changes(), self._end(), *callers)
            assert sum(self.story.ended.values()) == self.calls
        assert self.wild.crimes == []
        self._check_the_end()
        return self.story

    async def _changes(self) -> None:
        """Register other versions while calls run."""
        for _ in range(self.dice.choice([0, 0, 2, 5])):
            await asyncio.sleep(self.dice.uniform(0, SPAN / 3))
            name = self.dice.choice(list(self.specs))
            self.specs[name] = self._draw(name.partition("/")[2])
            if not self.closing:
                self.manager.register(self.specs[name])

    async def _end(self) -> None:
        """Some stories end in the middle."""
        end = self.dice.choice([""] * 7 + ["drain", "limit", "reject", "aclose", "twice"])
        if not end:
            return
        await asyncio.sleep(self.dice.uniform(0, SPAN))
        self.closing = True
        if end in ("drain", "limit", "reject"):
            await self.manager.drain({"limit": 0.7}.get(end), serve_waiting=end != "reject")
            assert not self.wild.alive
            assert not self.calm.alive
        else:
            await asyncio.gather(*[self.manager.aclose() for _ in range(2 if end == "twice" else 1)])

    async def _caller(self, name: str) -> None:
        await asyncio.sleep(self.dice.uniform(0, SPAN))
        if self.dice.random() < 0.25:
            code = await self._calm_call(name)
        else:
            code = await self._wild_call(name)
        self.story.ended[code] += 1
        self.story.log.append((now(), "ended", name, code))

    async def _calm_call(self, name: str) -> str:
        """No trouble of the others is felt here."""
        begun = now()
        try:
            reply = await self.manager.call(self.calm_spec, b"calm", call_id=name)
        except CallError as error:
            assert self.closing, error  # noqa: PT017 - most calls do not raise
            return f"calm {error.code}"
        assert reply.body == b"calm"
        assert now() - begun < 0.11 + 1e-6
        assert abs(reply.ran - 0.01) < 1e-6
        return "calm ok"

    async def _wild_call(self, name: str) -> str:
        spec = self.specs[self.dice.choice(list(self.specs))]
        body = name.encode() * self.dice.choice([1] * 17 + [50, 50, 500])
        method = "UNSAYABLE" if self.dice.random() < 0.02 else "POST"
        begun = now()
        deadline = begun + self.dice.uniform(-0.1, 1.0) if self.dice.random() < 0.1 else None
        function = spec.full_name if self.dice.random() < 0.5 else spec
        patience = self.dice.uniform(0, 1) if self.dice.random() < 0.15 else None
        call = self.manager.call(function, body, method=method, deadline=deadline, call_id=name)
        try:
            reply = await asyncio.wait_for(call, patience)
        except TimeoutError:
            assert patience is not None
            return "gave up"
        except CallError as error:
            self._check_error(error, name, spec, len(body), method)
            code = error.code
        else:
            self._check_reply(reply, name, body, begun)
            code = "ok"
        latest = begun + spec.queue_timeout + spec.timeout
        assert now() <= (latest if deadline is None else min(latest, max(deadline, begun))) + 1e-6
        return code

    def _check_reply(self, reply: Reply, name: str, body: bytes, begun: float) -> None:
        assert (reply.body, reply.call_id, reply.headers["x-call"]) == (body, name, name)
        assert abs(reply.queued + reply.started + reply.ran - (now() - begun)) < 1e-6
        report = self.witness.reports[name]
        assert (report.status, report.error, report.instance) == (200, "", reply.instance)
        assert (report.queued, report.started, report.ran) == (reply.queued, reply.started, reply.ran)

    def _check_error(self, error: CallError, name: str, spec: FunctionSpec, size: int, method: str) -> None:
        assert isinstance(error, TooLarge) == (size > 1000 and not isinstance(error, ShuttingDown))
        assert not isinstance(error, InvalidCall) or method == "UNSAYABLE"
        assert error.function == spec.full_name
        assert not (isinstance(error, CallRejected) and name in self.wild.reached), "rejected, and yet it was written"
        if name in self.witness.reports:
            assert (self.witness.reports[name].error, error.call_id) == (error.code, name)
        else:
            assert self.closing, error

    def _check_the_end(self) -> None:
        nothing_left(self.wild)
        nothing_left(self.calm)
        assert not +self.wild.copies
        stats = self.manager.stats()
        for name in self.specs:
            one = stats[name]
            assert (one.waiting, one.starting, one.idle, one.frozen, one.busy, one.stopping) == (0,) * 6
            assert one.launched == sum(one.stopped.values())
            reports = [report for report in self.witness.reports.values() if report.function == name]
            assert one.calls == Counter(report.error or "ok" for report in reports)
            assert sum(one.cold.values()) == sum(report.cold_reason != "" for report in reports)
        self.story.log.append(("phases", sorted(self.witness.phases.items())))


def run_chaos(seed: int, calls: int = CALLS) -> Story:
    """Run one story. A failure says how to see it again."""
    chaos = Chaos(seed, calls)
    try:
        return simulate(chaos.run, seed)
    except BaseException as error:
        error.add_note(f"again: HOTFN_SEED={seed} pytest tests/sim/test_chaos.py")
        raise
