"""What a driver does once for a function before its first copy: `Driver.prepare`, once, whoever asks."""

from __future__ import annotations

import asyncio

from .driver import ContainerSpec, Driver
from .errors import PluginError, said
from .failures import not_in_time
from .launcher import container_spec
from .model import FunctionSpec
from .protocol import IOProtocol

MOST_READY = 1024
"""Functions that are remembered as ready without being used."""


class Preparing:
    """The functions of one manager that are being made ready, by identity."""

    def __init__(self) -> None:
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._ready: dict[str, None] = {}  # in order

    @staticmethod
    def needed(driver: Driver) -> bool:
        """Say whether the driver makes anything ready at all: most do not."""
        return type(driver).prepare is not Driver.prepare

    async def ready(self, driver: Driver, spec: FunctionSpec, protocol: IOProtocol, patience: float | None) -> bool:
        """Wait until the function can be launched, together with all who ask meanwhile.

        Returns whether it can: False when the manager is closed instead. Raises what the driver raises, PluginError
        when the protocol fails, and QueueTimeout after `patience` seconds (None: as long as it takes). Giving up and
        being cancelled stop the waiting only: others may wait, and whoever asks next finds it further on.
        """
        if spec.identity in self._ready:
            return True
        task = self._tasks.get(spec.identity)
        if task is None:
            task = asyncio.create_task(
                driver.prepare(_described(spec, protocol)), name=f"hotfn prepare {spec.full_name}"
            )
            self._tasks[spec.identity] = task
            task.add_done_callback(lambda task: self._done(spec.identity, task))
        if not task.done():
            await asyncio.wait([task], timeout=patience)
        if not task.done():
            raise not_in_time(spec)
        if task.cancelled():
            return False
        task.result()
        return True

    def forget(self, identity: str) -> None:
        """The function is not used any more: whoever wants it again asks again."""
        self._ready.pop(identity, None)

    async def aclose(self, patience: float) -> None:
        """End what goes on; who waits is told. Gives up on what does not mind that for `patience` seconds."""
        tasks = list(self._tasks.values())
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks, timeout=patience)

    def _done(self, identity: str, task: asyncio.Task[None]) -> None:
        del self._tasks[identity]
        if task.cancelled() or task.exception() is not None:
            return  # nobody may be waiting any more; whoever asks next tries again
        self._ready[identity] = None
        if len(self._ready) > MOST_READY:
            del self._ready[next(iter(self._ready))]


def _described(spec: FunctionSpec, protocol: IOProtocol) -> ContainerSpec:
    try:
        return container_spec(spec, protocol)
    except Exception as error:  # a stranger's protocol that fails in its own way
        raise PluginError(f'the IO protocol "{spec.format}" failed: {said(error)}') from error
