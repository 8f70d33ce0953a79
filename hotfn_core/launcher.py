"""What one copy is made of: its instance, its environment, its container."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping

from .driver import Container, ContainerSpec, Driver, Receiver, SharingDriver
from .environment import copy_environment
from .errors import DriverError
from .hookspecs import StderrLine
from .instance import Instance, Owner
from .meeting import Launch, Meeting, Places
from .model import Call, FunctionSpec
from .observers import Observers
from .protocol import IOProtocol, Limits
from .stderr import LineSink, StderrReader


def container_spec(
    spec: FunctionSpec, protocol: IOProtocol, instance: str = "", per_call: Mapping[str, str] | None = None
) -> ContainerSpec:
    """Describe a copy of a function to a driver. `per_call` is what a cold protocol adds to the environment."""
    return ContainerSpec(
        function=spec.full_name,
        instance=instance,
        identity=spec.identity,
        image=spec.image,
        command=spec.command,
        env=copy_environment(spec, protocol, per_call or {}),
        memory=spec.memory,
        cpus=spec.cpus,
        options=spec.driver_options,
        best_effort=spec.best_effort,
        shares=protocol.listening is not None,
    )


def _meeting(launch: Launch, driver: Driver, protocol: IOProtocol, places: Places) -> Meeting | None:
    """Return how the streams meet of copies that listen; None for those with stdin and stdout."""
    if protocol.listening is None:
        return None
    assert isinstance(driver, SharingDriver)  # see admission
    return Meeting(launch, driver.shared_at, protocol, places)


class Launcher:
    """Makes the copies of one function. Whatever a stranger's protocol or driver raises goes through."""

    __slots__ = ("_clock", "_driver", "_meeting", "_observers", "_protocol", "_spec")

    def __init__(
        self,
        spec: FunctionSpec,
        driver: Driver,
        protocol: IOProtocol,
        observers: Observers,
        clock: Callable[[], float],
        places: Places,
    ) -> None:
        self._spec = spec
        self._driver = driver
        self._protocol = protocol
        self._observers = observers
        self._clock = clock
        self._meeting = _meeting(self._begin, driver, protocol, places)

    def instance(self, owner: Owner, number: int, serial: int) -> Instance:
        """Make the copy that the rules call `number`, without a container yet. `serial` sets it apart from all others:
        the rules of an older version of the function, which is still running, have such a number as well."""
        name = f"{self._spec.identity[:12]}-{serial}"
        connection = self._protocol.connect(Limits(max_body=self._spec.max_response))
        stderr = StderrReader(self._sink(name), self._clock)
        return Instance(owner, self._spec, number, name, connection, stderr, hot=self._protocol.hot)

    def _sink(self, instance: str) -> LineSink | None:
        hook = self._observers.stderr_line
        if hook is None:
            return None

        def sink(call_id: str, text: str, truncated: bool) -> None:
            hook(StderrLine(self._spec.full_name, instance, call_id, text, truncated))

        return sink

    def container_spec(self, instance: Instance, call: Call | None) -> ContainerSpec:
        """Describe the copy to the driver. `call` is the one that a copy of a cold protocol is started for."""
        per_call = self._protocol.call_environment(call, self._expires(call)) if call is not None else {}
        return container_spec(self._spec, self._protocol, instance.id, per_call)

    def _expires(self, call: Call) -> float:
        """Return the wall-clock time that the call will have at most."""
        left = self._spec.timeout
        if call.deadline is not None:
            left = min(left, call.deadline - self._clock())
        return time.time() + left

    async def launch(self, instance: Instance, spec: ContainerSpec) -> Container:
        """Start the copy's container, and wait until it listens where its protocol wants that."""
        if self._meeting is None:
            return await self._begin(spec, instance)
        try:
            return await self._meeting.launch(spec, instance)
        except DriverError as error:
            error.message += instance.last_words()
            raise

    async def _begin(self, spec: ContainerSpec, receiver: Receiver) -> Container:
        container = await self._driver.launch(spec, receiver)
        if not isinstance(container, Container):
            raise DriverError(f'the driver "{self._spec.driver}" returned {container!r}, not a Container')
        return container
