"""Starting copies that listen, and waiting until they do."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
from collections.abc import Awaitable, Callable
from dataclasses import replace

from ..driver import Container, ContainerSpec, Receiver
from ..errors import DriverError
from ..protocol import IOProtocol, Listening
from .container import SocketContainer, Talker
from .door import Door
from .places import Places
from .rounds import Rounds
from .watch import Watch

log = logging.getLogger("hotfn")

_PATH_MOST = 107
"""Bytes that the path of a socket may have."""
_ROOM = 5
"""Bytes more for the name by which a function may make its socket before it gives it the right one."""
_STOPS, _STOP_PAUSE = 5, 1.0
"""How often an engine is asked to stop a copy whose start has failed, and the seconds in between."""
_PROCESSORS = os.cpu_count() or 1
_AGAIN_FIRST, _AGAIN_MOST = 0.002, 0.05
"""Seconds until a socket is tried again on which nobody listens yet: nothing tells when that changes."""

Launch = Callable[[ContainerSpec, Receiver], Awaitable[Container]]


class Meeting:
    """The starts of one function's copies. `shared_at` is the driver's: where a copy sees its directory."""

    __slots__ = ("_launch", "_listening", "_places", "_protocol", "_rounds", "_shared_at")

    def __init__(self, launch: Launch, shared_at: str, protocol: IOProtocol, places: Places) -> None:
        assert protocol.listening is not None
        self._launch = launch
        self._shared_at = shared_at
        self._protocol = protocol
        self._listening: Listening = protocol.listening
        self._places = places
        self._rounds = Rounds(self._listening.idle)

    async def launch(self, spec: ContainerSpec, talker: Talker) -> Container:
        """Start one copy and return when it listens. As Driver.launch, of which it is one."""
        shared = self._places.make()
        try:
            return await self._launched(spec, talker, shared)
        except BaseException:
            self._places.remove(shared)
            raise

    async def _launched(self, spec: ContainerSpec, talker: Talker, shared: str) -> Container:
        path = f"{self._shared_at or shared}/{self._listening.name}"
        if len(os.fsencode(path)) + _ROOM > _PATH_MOST:
            raise DriverError(f"the path {path} is too long for a socket; set TMPDIR to a shorter one")
        env = {**spec.env, **self._protocol.listener_environment(path)}
        door = Door(shared, self._listening.name)
        copy = SocketContainer(talker, door, self._rounds, lambda: self._places.remove(shared))
        watch = Watch(shared, copy.news.set)
        try:
            copy.inner = await self._launch(replace(spec, env=env, shared=shared), copy)
            await self._listens(copy)
        except BaseException:
            await _undo(copy)
            raise
        finally:
            watch.close()
        return copy

    async def _listens(self, copy: SocketContainer) -> None:
        """Wait until the copy can be connected to. Raises DriverError when it cannot, or not soon enough."""
        loop = asyncio.get_running_loop()
        self._places.begun()
        begun, left = loop.time(), self._within()
        try:
            while left > 0:
                try:
                    async with asyncio.timeout(left):
                        return await _until_listening(copy)
                except TimeoutError:  # others may have started meanwhile, which gives it more time
                    left = begun + self._within() - loop.time()
        finally:
            self._places.ended()
        text = f"it did not listen on {self._listening.name} within {round(loop.time() - begun, 1):g} s of its start"
        raise DriverError(f"{text}: {copy.refusal}" if copy.refusal else text, status=504)

    def _within(self) -> float:
        """Return how long a start may take: longer where several share a processor."""
        return self._listening.within * max(1.0, self._places.crowd / _PROCESSORS)


async def _until_listening(copy: SocketContainer) -> None:
    pause = _AGAIN_FIRST
    while copy.exit is None and (state := copy.listen()) != "listens":
        if state == "refuses":
            await _sleep(copy.news, pause)
            pause = min(2 * pause, _AGAIN_MOST)
        else:
            await copy.news.wait()
        copy.news.clear()
    if copy.exit is not None:
        raise DriverError(f"it {copy.exit} before it listened", status=502)


async def _sleep(news: asyncio.Event, seconds: float) -> None:
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            await news.wait()


async def _undo(copy: SocketContainer) -> None:
    """End a copy whose start nobody wants any more, or which is of no use. It dies also when this is cancelled."""
    for left in reversed(range(_STOPS)):
        if copy.inner is None or copy.exit is not None:
            return
        try:
            await copy.inner.stop(0)
        except DriverError as error:  # what went wrong before this is what the caller is told
            log.warning("a copy that is of no use, %s, could not be stopped: %s", copy.id, error.message)
            if left:
                await asyncio.sleep(_STOP_PAUSE)
