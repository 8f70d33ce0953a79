"""A driver that needs no process: for tests of functions, of plugins and of hotfn itself.

`FakeDriver` starts copies that run a `Behaviour`: how long a start takes, how long an answer takes, and what goes
wrong. Whatever it draws comes from its own seed. Everything it does is noted, so that a test can look at it:
`launched`, `alive`, `most_alive`, `events`.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import ClassVar

from ..driver import Container, ContainerSpec, Driver, Receiver
from ..errors import DriverError
from ..hookspecs import hookimpl
from ..model import Exit, FunctionSpec
from ..protocol import IOProtocol
from .behaviour import Behaviour, Script
from .fake_protocol import FakeColdProtocol, FakeProtocol


class FakeContainer(Container):
    """A copy that exists in the test's mind. It takes lines; when its stdin is closed it exits behind its answer."""

    def __init__(self, driver: FakeDriver, spec: ContainerSpec, receiver: Receiver, behaviour: Behaviour) -> None:
        self.id = spec.instance
        self.spec = spec
        self.exited = False
        self.frozen = self._ending = False
        self.calls = 0
        self._driver = driver
        self._receiver = receiver
        self._behaviour = behaviour
        self._refusals = behaviour.refusals
        self._loop = asyncio.get_running_loop()
        self._gone: asyncio.Future[None] | None = None  # made for who waits for it
        self._inbox = b""
        self._eof = False
        self._unanswered = 0
        self._timers: set[asyncio.TimerHandle] = set()
        self._dying: asyncio.TimerHandle | None = None
        self._held: list[Callable[[], None]] = []  # what it would have done, were it not frozen
        self._be_idle()

    def write(self, data: bytes) -> None:
        if self.exited:
            return
        self._inbox += data
        if not self.frozen:
            self._read()

    def _read(self) -> None:
        while b"\n" in self._inbox and not self.exited:
            line, self._inbox = self._inbox.split(b"\n", 1)
            self._asked(line)

    @property
    def writable(self) -> bool:
        return True

    def write_eof(self) -> None:
        self._eof = True
        if self.calls and not self._unanswered:
            self.later(0.0, self.die, Exit(code=0))

    def pause_reading(self) -> None:
        """A fake copy has no pipe that could fill."""

    def resume_reading(self) -> None:
        """A fake copy has no pipe that could fill."""

    async def stop(self, grace: float) -> None:
        self._driver.note("stop", self.id)
        if self.exited:
            return
        if self._refusals:
            self._refusals -= 1
            raise DriverError("the engine refuses")
        self._ending = True
        self._run_again()
        killed = self._behaviour.deaf or self._behaviour.stop > grace
        self.later(grace if killed else self._behaviour.stop, self.die, Exit(signal=9 if killed else 15))
        if self._gone is None:
            self._gone = self._loop.create_future()
        await asyncio.shield(self._gone)

    async def freeze(self) -> None:
        self._driver.note("freeze", self.id)
        await asyncio.sleep(self._behaviour.freeze)
        if self._behaviour.freeze_error:
            raise DriverError(self._behaviour.freeze_error)
        self.frozen = not self._ending

    async def thaw(self) -> None:
        self._driver.note("thaw", self.id)
        await asyncio.sleep(self._behaviour.thaw)
        if self._behaviour.thaw_exit is not None:
            self.die(Exit(code=self._behaviour.thaw_exit))
        if self._behaviour.thaw_error:
            raise DriverError(self._behaviour.thaw_error)
        self._run_again()

    def _run_again(self) -> None:
        self.frozen = False
        for one in self._held:
            self._loop.call_soon(one)
        self._held = []
        self._read()

    def die(self, exit: Exit) -> None:
        """End the copy, as a test may also do from outside."""
        if self.exited:
            return
        self.exited = True
        for timer in self._timers:
            timer.cancel()
        self._driver.alive.pop(self, None)
        self._driver.note("exited", self.id)
        self._receiver.exited(exit)
        if self._gone is not None:
            self._gone.set_result(None)

    def say(self, data: bytes) -> None:
        """Write to stdout, as a test may also do from outside."""
        if not self.exited:
            self._receiver.stdout_received(data)

    def log(self, data: bytes) -> None:
        """Write to stderr, as a test may also do from outside."""
        if not self.exited:
            self._receiver.stderr_received(data)

    def later(self, seconds: float, callback: Callable[..., None], *arguments: object) -> asyncio.TimerHandle:
        """Do something after a while, unless the copy is gone by then; a frozen one does it when it runs again."""

        def ring() -> None:
            self._timers.discard(timer)
            if self.frozen:
                self._held.append(ring)
            elif not self.exited:
                callback(*arguments)

        timer = self._loop.call_later(seconds, ring)
        self._timers.add(timer)
        return timer

    def _asked(self, line: bytes) -> None:
        self.calls += 1
        self._unanswered += 1
        if self._dying is not None:
            self._dying.cancel()
        how = self._driver.draw_answer()
        if how.stderr:
            self.later(how.answer / 2, self.log, how.stderr)
        if how.exit is not None:
            self.later(how.answer, self.die, Exit(code=how.exit))
        elif how.eof:
            self.later(how.answer, self._receiver.stdout_eof)
        elif how.sync:
            self._answer(line, how)
        elif not how.never:
            self.later(how.answer, self._answer, line, how)

    def _answer(self, line: bytes, how: Behaviour) -> None:
        reply = b"?! no reply\n" if how.garbage else b"=" + line + b"\n"
        if how.late is not None:
            self.later(how.late + how.gap * how.pieces, self.say, b"=" + line + b"\n")
        self._say_in_pieces(reply + b"?! more\n" if how.excess else reply, how.pieces, how.gap)

    def _say_in_pieces(self, data: bytes, pieces: int, gap: float) -> None:
        size = -(-len(data) // pieces)
        self.say(data[:size])
        if self.exited:
            return
        if data[size:] and gap:
            self.later(gap, self._say_in_pieces, data[size:], pieces - 1, gap)
        elif data[size:]:
            self._say_in_pieces(data[size:], pieces - 1, gap)
        else:
            self._answered()

    def _answered(self) -> None:
        self._unanswered -= 1
        if self._eof:
            self.die(Exit(code=0))
        elif not self._unanswered:
            self._be_idle()

    def _be_idle(self) -> None:
        if self._behaviour.dies_idle is not None and not self.exited:
            self._dying = self.later(self._behaviour.dies_idle, self.die, Exit(code=0))


class FakeDriver(Driver):
    """Starts fake copies.

    `copies` and `answers` draw behaviours; a plain Behaviour stands for one that is always the same, none for a perfect
    one. `alive` are the copies that run now, in the order they were started, `starting` how many more are being
    launched, `most_alive` the most of both there ever were. `launches` counts launches that were tried; `launched`
    keeps the specs of the last thousand, `events` the last thousand (time, what, copy).
    """

    name: ClassVar[str] = "fake"
    enforces: ClassVar[frozenset[str]] = frozenset({"memory", "cpus"})
    freezes: ClassVar[bool] = True

    def __init__(
        self, copies: Behaviour | Script | None = None, answers: Behaviour | Script | None = None, *, seed: int = 0
    ) -> None:
        self.launches = 0
        self.launched: list[ContainerSpec] = []
        self.alive: dict[FakeContainer, None] = {}
        self.most_alive = 0
        self.starting = 0
        self.opened = 0
        self.closed = False
        self.events: list[tuple[float, str, str]] = []
        self._copies = Behaviour() if copies is None else copies
        self._answers = self._copies if answers is None else answers
        self._random = random.Random(seed)

    def note(self, what: str, copy: str) -> None:
        """Keep an event."""
        self.events.append((asyncio.get_running_loop().time(), what, copy))
        if len(self.events) > 2000:
            del self.events[:-1000]

    def draw_copy(self) -> Behaviour:
        """Draw what the next copy is like."""
        return self._copies if isinstance(self._copies, Behaviour) else self._copies(self._random)

    def draw_answer(self) -> Behaviour:
        """Draw what the next answer is like."""
        return self._answers if isinstance(self._answers, Behaviour) else self._answers(self._random)

    def make_copy(self, spec: ContainerSpec, receiver: Receiver, how: Behaviour) -> FakeContainer:
        """Make a copy that was launched; for a driver whose copies do more."""
        return FakeContainer(self, spec, receiver, how)

    async def open(self) -> None:
        self.opened += 1

    async def launch(self, spec: ContainerSpec, receiver: Receiver) -> Container:
        how = self.draw_copy()
        self.launches += 1
        self.launched.append(spec)
        del self.launched[:-1000]
        self.note("launch", spec.instance)
        self.starting += 1
        self.most_alive = max(self.most_alive, self.starting + len(self.alive))
        try:
            await self._starting(how)
        finally:
            self.starting -= 1
        container = self.make_copy(spec, receiver, how)
        self.alive[container] = None
        if how.early:
            container.say(how.early)
        if how.early_exit is not None:
            container.die(Exit(code=how.early_exit))
        return container

    async def _starting(self, how: Behaviour) -> None:
        if how.uncancellable:
            await _whatever_happens(how.start)
        elif how.start:
            await asyncio.sleep(how.start)
        if how.start_error:
            raise DriverError(how.start_error)

    async def aclose(self) -> None:
        self.closed = True


async def _whatever_happens(seconds: float) -> None:
    """Sleep, and take no notice of a cancellation, as code does that waits for a thread."""
    loop = asyncio.get_running_loop()
    end = loop.time() + seconds
    while loop.time() < end:
        try:
            await asyncio.sleep(end - loop.time())
        except asyncio.CancelledError:
            continue


@dataclass(slots=True, eq=False)
class FakePlugin:
    """A plugin object that brings one fake driver and both fake protocols: `Manager(plugins=[FakePlugin(driver)])`."""

    driver: FakeDriver = field(default_factory=FakeDriver)

    @hookimpl
    def hotfn_register_drivers(self) -> Mapping[str, Callable[[], Driver]]:
        return {"fake": lambda: self.driver}

    @hookimpl
    def hotfn_register_protocols(self) -> Mapping[str, Callable[[], IOProtocol]]:
        return {"fake": FakeProtocol, "fake-cold": FakeColdProtocol}


def fake_spec(name: str = "f", **fields: object) -> FunctionSpec:
    """Return a function that runs on the fake driver."""
    defaults: dict[str, object] = {"driver": "fake", "format": "fake", "command": ("fake",)}
    return FunctionSpec(name=name, **(defaults | fields))  # type: ignore[arg-type]
