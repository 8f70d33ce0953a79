"""What can go wrong with copies and answers, and a driver that does it and keeps its own books."""

from __future__ import annotations

import hashlib
import random
from collections import Counter
from collections.abc import Awaitable
from dataclasses import dataclass, field
from typing import ClassVar

from hotfn_core import (
    Container,
    ContainerSpec,
    Receiver,
)
from hotfn_core.testing import Behaviour, FakeContainer, FakeDriver

from .world import now


@dataclass
class Story:
    """What came of one seed: how many calls ended how, and everything that happened, in order."""

    ended: Counter[str] = field(default_factory=Counter)
    log: list[tuple[object, ...]] = field(default_factory=list)

    @property
    def digest(self) -> str:
        return hashlib.sha256(repr(self.log).encode()).hexdigest()


class Weather:
    """Draws copies and answers. Most are well, and each may be unwell in its own way, the oftener the fouler it is."""

    def __init__(self, foulness: float) -> None:
        self.foulness = foulness

    def copy(self, dice: random.Random) -> Behaviour:
        def bad(chance: float) -> bool:
            return dice.random() < chance * self.foulness

        return Behaviour(
            start=3.0 if bad(0.2) else dice.choice([0.0, 0.05, 0.5]),
            start_error="no room" if bad(0.1) else "",
            uncancellable=bad(0.1),
            early=b"?! hello\n" if bad(0.05) else b"",
            early_exit=1 if bad(0.05) else None,
            stop=dice.choice([0.0, 0.01, 1.0, 10.0]),
            deaf=bad(0.2),
            refusals=dice.choice([1, 2]) if bad(0.3) else 0,
            dies_idle=dice.choice([0.0, 0.3]) if bad(0.2) else None,
            freeze=1e9 if bad(0.02) else dice.choice([0.0, 0.0, 0.01, 0.3]),
            freeze_error="no freezer" if bad(0.03) else "",
            thaw=1e9 if bad(0.05) else dice.choice([0.0, 0.0, 0.01, 0.3]),
            thaw_error="no fire" if bad(0.1) else "",
            thaw_exit=9 if bad(0.1) else None,
        )

    def answer(self, dice: random.Random) -> Behaviour:
        def bad(chance: float) -> bool:
            return dice.random() < chance * self.foulness

        return Behaviour(
            answer=3.0 if bad(0.1) else dice.choice([0.0, 0.001, 0.01, 0.1]),
            sync=dice.random() < 0.05,
            never=bad(0.05),
            eof=bad(0.05),
            exit=dice.choice([0, 3]) if bad(0.1) else None,
            garbage=bad(0.1),
            late=dice.choice([0.0, 0.05]) if bad(0.1) else None,
            excess=bad(0.1),
            pieces=dice.choice([1, 1, 3]),
            gap=dice.choice([0.0, 0.01]),
            stderr=b"x" * 20_000 if bad(0.1) else dice.choice([b"", b"", b"oops\n", b"half a line", b"a line\n" * 20]),
        )


class WildDriver(FakeDriver):
    """Counts the copies of each function by itself, and writes down what it does."""

    name: ClassVar[str] = "wild"

    def __init__(self, story: Story, weather: Weather, seed: int) -> None:
        super().__init__(weather.copy, weather.answer, seed=seed)
        self.story = story
        self.crimes: list[str] = []
        self.reached: set[str] = set()  # calls that a copy was given
        self.caps: dict[str, int] = {}
        self.copies: Counter[str] = Counter()

    def note(self, what: str, copy: str) -> None:
        super().note(what, copy)
        self.story.log.append((now(), what, copy))

    def must(self, right: bool, message: str) -> None:
        """Write down what is wrong: raised here it would be taken for a driver's failure, and dealt with."""
        if not right:
            self.crimes.append(f"{now():.6f}: {message}")

    def make_copy(self, spec: ContainerSpec, receiver: Receiver, how: Behaviour) -> FakeContainer:
        return WildCopy(self, spec, receiver, how)

    async def launch(self, spec: ContainerSpec, receiver: Receiver) -> Container:
        self.must(self.copies[spec.identity] < self.caps[spec.identity], f"one copy too many of {spec.function}")
        self.copies[spec.identity] += 1
        try:
            return await super().launch(spec, _Counted(self, spec.identity, receiver))
        except BaseException:
            self.copies[spec.identity] -= 1
            raise


class WildCopy(FakeContainer):
    """Knows by itself when it may be given a call: when it has none, and never once it was out of step."""

    busy = False
    spoiled = False
    freezing = False  # or thawing

    def write(self, data: bytes) -> None:
        assert isinstance(self._driver, WildDriver)
        self._driver.must(not self.busy, f"{self.id} has two calls")
        self._driver.must(not self.spoiled, f"{self.id} is out of step and got another call")
        self._driver.must(not (self.frozen or self.freezing), f"{self.id} is frozen and got a call")
        self.busy = True
        self._driver.reached.add(data.split(b" ")[0].decode())
        super().write(data)

    async def freeze(self) -> None:
        assert isinstance(self._driver, WildDriver)
        self._driver.must(not self.busy, f"{self.id} has a call and was frozen")
        await self._one_at_a_time(super().freeze())

    async def thaw(self) -> None:
        await self._one_at_a_time(super().thaw())

    async def _one_at_a_time(self, work: Awaitable[None]) -> None:
        assert isinstance(self._driver, WildDriver)
        self._driver.must(not self.freezing, f"{self.id} was frozen and thawed at once")
        self.freezing = True
        try:
            await work
        finally:
            self.freezing = False

    def say(self, data: bytes) -> None:
        if self.spec.env["FN_FORMAT"] == "fake":  # a cold copy may answer before it was asked
            self.spoiled = self.spoiled or not self.busy or b"?" in data
        if b"\n" in data:
            self.busy = False
        super().say(data)


class CalmDriver(FakeDriver):
    """The same under another name, for a function that has nothing to do with the others."""

    name: ClassVar[str] = "calm"


class _Counted:
    """Passes on what a copy tells, and counts it out when it is gone."""

    def __init__(self, driver: WildDriver, identity: str, receiver: Receiver) -> None:
        self.stdout_received = receiver.stdout_received
        self.stderr_received = receiver.stderr_received
        self.stdout_eof = receiver.stdout_eof
        self._driver, self._identity, self._receiver = driver, identity, receiver

    def exited(self, exit: object) -> None:
        self._driver.copies[self._identity] -= 1
        self._receiver.exited(exit)  # type: ignore[arg-type]
