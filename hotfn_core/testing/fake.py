"""A driver and an IO protocol that need no process: for tests of functions, of plugins and of hotfn itself.

`FakeDriver` starts copies that run a `Behaviour`: how long a start takes, how long an answer takes, and what goes
wrong. Whatever it draws comes from its own seed. Everything it does is noted, so that a test can look at it:
`launched`, `alive`, `most_alive`, `events`.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import ClassVar

from ..driver import Container, ContainerSpec, Driver, Receiver
from ..errors import DriverError, LocalProtocolError, RemoteProtocolError
from ..hookspecs import hookimpl
from ..model import Call, Exit, FunctionSpec
from ..protocol import Connection, Event, IOProtocol, Limits, ReplyBody, ReplyEnd, ReplyHead


@dataclass(slots=True)
class Behaviour:
    """What one copy does, or what one answer is like. All times are in seconds.

    Of the copy: `start` is how long `launch` takes, `start_error` makes it fail, `stop` how long the copy takes to end
    when it is asked, `deaf` that it has to be killed, `dies_idle` after how long without a call it exits.
    Of each answer: `answer` is how long it takes, `never` that it does not come, `exit` that the copy exits with that
    code instead, `garbage` that it is no reply, `late` that a second reply follows after that time, `excess` that bytes
    follow in the same chunk, `pieces` in how many chunks it comes, `stderr` what is written to the log.
    """

    start: float = 0.0
    start_error: str = ""
    stop: float = 0.0
    deaf: bool = False
    dies_idle: float | None = None
    answer: float = 0.0
    never: bool = False
    exit: int | None = None
    garbage: bool = False
    late: float | None = None
    excess: bool = False
    pieces: int = 1
    stderr: bytes = b""


Script = Callable[[random.Random], Behaviour]
"""Draws the behaviour of a new copy, and of each answer."""


class FakeContainer(Container):
    """A copy that exists in the test's mind."""

    def __init__(self, driver: FakeDriver, spec: ContainerSpec, receiver: Receiver, behaviour: Behaviour) -> None:
        self.id = spec.instance
        self.spec = spec
        self.exited = False
        self.exit_event = asyncio.Event()
        self._driver = driver
        self._receiver = receiver
        self._behaviour = behaviour
        self._loop = asyncio.get_running_loop()
        self._inbox = b""
        self._timers: set[asyncio.TimerHandle] = set()
        self._dying: asyncio.TimerHandle | None = None
        self._be_idle()

    def write(self, data: bytes) -> None:
        if self.exited:
            return
        self._inbox += data
        while b"\n" in self._inbox:
            line, self._inbox = self._inbox.split(b"\n", 1)
            self._asked(line)

    @property
    def writable(self) -> bool:
        return True

    def write_eof(self) -> None:
        """A fake cold copy has its one call by then."""

    def pause_reading(self) -> None:
        """A fake copy has no pipe that could fill."""

    def resume_reading(self) -> None:
        """A fake copy has no pipe that could fill."""

    async def stop(self, grace: float) -> None:
        self._driver.note("stop", self.id)
        after = self._behaviour.stop
        if self._behaviour.deaf or after > grace:
            after = grace
        self._later(after, self.die, Exit(signal=9 if after == grace else 15))
        await self.exit_event.wait()

    def die(self, exit: Exit) -> None:
        """End the copy, as a test may also do from outside."""
        if self.exited:
            return
        self.exited = True
        for timer in self._timers:
            timer.cancel()
        self._driver.alive.discard(self)
        self._driver.note("exited", self.id)
        self._receiver.exited(exit)
        self.exit_event.set()

    def say(self, data: bytes) -> None:
        """Write to stdout, as a test may also do from outside."""
        if not self.exited:
            self._receiver.stdout_received(data)

    def _asked(self, line: bytes) -> None:
        if self._dying is not None:
            self._dying.cancel()
        how = self._driver.draw_answer()
        if how.stderr:
            self._later(how.answer / 2, self._receiver.stderr_received, how.stderr)
        if how.exit is not None:
            self._later(how.answer, self.die, Exit(code=how.exit))
        elif not how.never:
            self._later(how.answer, self._answer, line, how)

    def _answer(self, line: bytes, how: Behaviour) -> None:
        reply = b"?! no reply\n" if how.garbage else b"=" + line + b"\n"
        if how.excess:
            reply += b"?! more\n"
        size = max(1, -(-len(reply) // how.pieces))
        for start in range(0, len(reply), size):
            self.say(reply[start : start + size])
        if how.late is not None:
            self._later(how.late, self.say, b"=" + line + b"\n")
        self._be_idle()

    def _be_idle(self) -> None:
        if self._behaviour.dies_idle is not None and not self.exited:
            self._dying = self._later(self._behaviour.dies_idle, self.die, Exit(code=0))

    def _later(self, seconds: float, callback: Callable[..., None], *arguments: object) -> asyncio.TimerHandle:
        def ring() -> None:
            self._timers.discard(timer)
            callback(*arguments)

        timer = self._loop.call_later(seconds, ring)
        self._timers.add(timer)
        return timer


class FakeDriver(Driver):
    """Starts fake copies.

    `copies` and `answers` draw behaviours; a plain Behaviour stands for one that is always the same. `alive` are the
    copies that run now, `most_alive` the most there ever were, `launched` the specs of all launches that were tried.
    `events` keeps the last thousand (time, what, copy).
    """

    name: ClassVar[str] = "fake"
    enforces: ClassVar[frozenset[str]] = frozenset({"memory", "cpus"})

    def __init__(
        self, copies: Behaviour | Script = Behaviour(), answers: Behaviour | Script | None = None, *, seed: int = 0
    ) -> None:
        self.launched: list[ContainerSpec] = []
        self.alive: set[FakeContainer] = set()
        self.most_alive = 0
        self.starting = 0
        self.closed = False
        self.events: list[tuple[float, str, str]] = []
        self._copies = copies
        self._answers = copies if answers is None else answers
        self._random = random.Random(seed)

    def note(self, what: str, copy: str) -> None:
        """Keep an event."""
        self.events.append((asyncio.get_running_loop().time(), what, copy))
        del self.events[:-1000]

    def draw_answer(self) -> Behaviour:
        """Draw what the next answer is like."""
        return self._answers if isinstance(self._answers, Behaviour) else self._answers(self._random)

    async def launch(self, spec: ContainerSpec, receiver: Receiver) -> FakeContainer:
        how = self._copies if isinstance(self._copies, Behaviour) else self._copies(self._random)
        self.launched.append(spec)
        del self.launched[:-1000]
        self.note("launch", spec.instance)
        self.starting += 1
        self.most_alive = max(self.most_alive, self.starting + len(self.alive))
        try:
            if how.start:
                await asyncio.sleep(how.start)
            if how.start_error:
                raise DriverError(how.start_error)
            container = FakeContainer(self, spec, receiver, how)
        finally:
            self.starting -= 1
        self.alive.add(container)
        return container

    async def aclose(self) -> None:
        self.closed = True


class FakeConnection(Connection):
    """Lines: a call is "id hex-of-body", its reply "=" and the same line. Every reply names its call, so a late answer to
    another call is a protocol error here (in `http` and `json` nothing on the wire could tell)."""

    def __init__(self, limits: Limits, *, hot: bool) -> None:
        self._limits = limits
        self._hot = hot
        self._buffer = b""
        self._asked: bytes | None = None

    def encode(self, call: Call, expires: float) -> bytes:
        if call.method == "UNSAYABLE":
            raise LocalProtocolError("the fake protocol cannot say UNSAYABLE")
        self._asked = f"{call.id} {call.body.hex()}".encode()
        return self._asked + b"\n"

    def receive(self, data: bytes) -> Sequence[Event]:
        self._buffer += data
        if self._asked is None:
            raise RemoteProtocolError(f"nobody asked for {self._buffer[:40]!r}")
        if len(self._buffer) > 2 * self._limits.max_body + self._limits.max_head:
            raise RemoteProtocolError("the line is too long")
        if b"\n" not in self._buffer:
            return []
        line, rest = self._buffer.split(b"\n", 1)
        if not line.startswith(b"="):
            raise RemoteProtocolError(f"{line[:40]!r} is no reply")
        if line[1:] != self._asked:
            raise RemoteProtocolError(f"{line[:40]!r} answers another call")
        self._buffer = b""
        self._asked = None
        call_id, _, body = line[1:].partition(b" ")
        head = ReplyHead(200, [("X-Call", call_id.decode())])
        end = ReplyEnd(reusable=self._hot and not rest, excess=len(rest))
        return [head, ReplyBody(bytes.fromhex(body.decode())), end]

    def receive_eof(self, exit: Exit) -> Sequence[Event]:
        return []


class FakeProtocol(IOProtocol):
    """The protocol of the fake copies, hot."""

    name: ClassVar[str] = "fake"

    def connect(self, limits: Limits) -> FakeConnection:
        return FakeConnection(limits, hot=self.hot)


class FakeColdProtocol(FakeProtocol):
    """The same for one call per copy, which its environment names as well."""

    name: ClassVar[str] = "fake-cold"
    hot: ClassVar[bool] = False

    def call_environment(self, call: Call, expires: float) -> Mapping[str, str]:
        return {"FAKE_CALL_ID": call.id}


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
