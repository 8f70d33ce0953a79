"""One container of an engine that does what a test says, and its streams: what a real engine cannot be made to do."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from typing import Any, cast

from hotfn_containers.attach import Attachment
from hotfn_containers.calls import Calls
from hotfn_containers.container import EngineContainer
from hotfn_containers.engine import Engine, State
from hotfn_core.testing.check_driver import Recorder

ID = "0123456789ab" + "0" * 52
RUNS = State(running=True)


class Puppet:
    """An engine with one container. `did` are the requests, in order: "kill SIGTERM".

    `on` has what a request does beside: it may raise, and wait for a threading.Event (`hold` makes one). It runs in the
    thread of the request.
    """

    name = "docker"

    def __init__(self) -> None:
        self.did: list[str] = []
        self.on: dict[str, Callable[[], object]] = {}
        self.current = RUNS
        self.closed = False

    def hold(self, request: str) -> threading.Event:
        """Let a request wait until the event is set, or for ten seconds."""
        event = threading.Event()
        self.on[request] = lambda: event.wait(10)
        return event

    def _do(self, request: str) -> None:
        self.did.append(request)
        self.on.get(request, lambda: None)()

    def start(self, container: str) -> None:
        self._do("start")

    def kill(self, container: str, signal: str) -> None:
        self._do(f"kill {signal}")

    def pause(self, container: str) -> None:
        self._do("pause")

    def unpause(self, container: str) -> None:
        self._do("unpause")

    def remove(self, container: str) -> None:
        self._do("remove")

    def state(self, container: str) -> State:
        self.on.get("state", lambda: None)()
        return self.current

    def close(self) -> None:
        self.closed = True


class Wire:
    """What stands for the streams: what the container does with them."""

    cut = False
    held = 0

    def __init__(self) -> None:
        self.did: list[str] = []
        self.written = b""
        self.paused = False

    def write(self, data: bytes) -> None:
        self.written += data

    def write_eof(self) -> None:
        self.did.append("eof")

    def pause(self) -> None:
        self.paused = True

    def resume(self) -> None:
        self.paused = False

    def abort(self) -> None:
        self.did.append("abort")


class Stage:
    """A container that was made, with all around it: `recorder` hears of it, `discarded` says that the driver did."""

    def __init__(self) -> None:
        self.engine = Puppet()
        self.calls = Calls(cast("Engine", self.engine))
        self.recorder = Recorder()
        self.wire = Wire()
        self.discarded = 0
        self.container = EngineContainer(self, ID, "hotfn-test")
        self.container.streams = cast("Attachment", self.wire)

    def discard(self, container: EngineContainer) -> None:
        self.discarded += 1
        container.disown()

    async def started(self) -> EngineContainer:
        """Start it."""
        await self.container.start(self.recorder)
        return self.container

    def end(self, why: str = "", **state: Any) -> None:
        """Let it end, as an engine tells: its streams end, and its state says how."""
        self.engine.current = State(running=False, **({"code": 0} | state))
        self.container.streams_ended(why)

    async def exited(self) -> str:
        """Wait for the exit, and return it as text. It came once, and last."""
        await self.recorder.until(lambda: self.recorder.exit is not None, "the exit", 5)
        assert not self.recorder.violations
        return str(self.recorder.exit)

    async def asked(self, *requests: str) -> None:
        """Wait until these requests were made, in this order and no others."""
        await until(lambda: len(self.engine.did) >= len(requests))
        assert self.engine.did == list(requests)


async def until(condition: Callable[[], bool]) -> None:
    """Wait for what happens in a thread."""
    async with asyncio.timeout(5):
        while not condition():  # noqa: ASYNC110  # a thread sets no event of the loop
            await asyncio.sleep(0.001)
