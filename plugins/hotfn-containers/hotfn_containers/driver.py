"""What the drivers `docker` and `podman` share: everything but the engine's own calls."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import secrets
from abc import abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import ClassVar

from hotfn_core.driver import Container, ContainerSpec, Receiver, SharingDriver
from hotfn_core.errors import ConfigError, DriverUnavailable
from hotfn_core.model import FunctionSpec

from . import labels
from .attach import attach
from .calls import Calls
from .container import EngineContainer
from .endpoint import Endpoint
from .engine import Engine, Image
from .images import Images, check_image
from .machine import check_machine
from .networks import Networks
from .options import parse
from .plan import Plan, check_memory, confinement, make_plan
from .prepared import Prepared
from .removal import Removals
from .sharing import NOT_AHEAD, SHARED_AT, check_sharing, open_up
from .trouble import NameTaken, NoSuchImage, Refused

log = logging.getLogger("hotfn")

NAMES = 3
"""Names that are tried for one container."""

SWAP = "boot its machine with swapaccount=1 or with cgroup v2, or without swap"

CLOSE_SECONDS = 20.0
"""How long `aclose` waits for removals that are under way."""


class EngineDriver(SharingDriver):
    """Copies are containers of one engine.

    `host` is the engine's address, "" for the one that the engine's own client would take.
    """

    enforces: ClassVar[frozenset[str]] = frozenset({"memory", "cpus"})
    freezes: ClassVar[bool] = True
    shared_at: ClassVar[str] = SHARED_AT

    def __init__(self, host: str = "") -> None:
        self._host = host
        self._calls: Calls | None = None
        self._images: Images | None = None
        self._prepared: Prepared | None = None
        self._networks = Networks()
        self._removals: Removals | None = None
        self._running: set[EngineContainer] = set()

    # ---- what differs

    @abstractmethod
    def _find(self) -> Endpoint:
        """Find the engine. Raises DriverUnavailable. Blocks."""

    @abstractmethod
    def _engine(self, endpoint: Endpoint) -> Engine:
        """Make the engine's calls."""

    # ---- the contract

    async def open(self) -> None:
        endpoint = await asyncio.to_thread(self._endpoint)
        engine = self._engine(endpoint)
        calls = Calls(engine)
        try:
            await calls(engine.connect)
        except BaseException:
            await calls.aclose(0)
            raise
        if "swap" in engine.about.lacks:
            log.warning("%s cannot limit swap, so the memory of a copy is bounded without it: %s", self.name, SWAP)
        self._calls, self._images = calls, Images(calls)
        self._prepared = Prepared(calls, self._make_ready, self.discard)
        self._removals = Removals(calls, self._networks.left)

    def _endpoint(self) -> Endpoint:
        return Endpoint.parse(self.name, self._host, "its `host`") if self._host else self._find()

    @property
    def calls(self) -> Calls:
        """The way to the engine. Raises DriverUnavailable before `open` and after `aclose`."""
        if self._calls is None:
            raise DriverUnavailable(f'the driver "{self.name}" is not open')
        return self._calls

    @property
    def endpoint(self) -> Endpoint:
        """Where the engine is."""
        return self.calls.engine.endpoint

    def validate(self, spec: FunctionSpec) -> None:
        if not spec.image:
            raise ConfigError(f'the driver "{self.name}" needs `image`, the name of a container image', field="image")
        check_image(spec.image)
        check_memory(spec.memory, parse(self.name, spec.driver_options))

    def describe(self) -> str:
        about = self.calls.engine.about
        lacks = f"cannot limit {', '.join(sorted(about.lacks))}" if about.lacks else ""
        return ", ".join(filter(None, (f"{self.name} {about.version} at {self.endpoint.url}", *about.detail, lacks)))

    def confinement(self, spec: FunctionSpec) -> Sequence[str]:
        return list(confinement(spec.memory, parse(self.name, spec.driver_options)))

    async def prepare(self, spec: ContainerSpec) -> None:
        plan = self._plan(spec)
        if spec.shares and spec.options.get("prepared"):
            log.warning("%s: `prepared` is of no use: %s", spec.function, NOT_AHEAD)
        assert self._images is not None
        assert self._prepared is not None
        image = await self._images.prepare(plan)
        if plan.options.prepared:  # seen through to its end also when it is cancelled: a container may be half made
            await asyncio.shield(self.calls.work(self._prepared.prepare(spec.identity, plan, image), "prepare"))

    async def launch(self, spec: ContainerSpec, receiver: Receiver) -> Container:
        plan = self._plan(spec)
        assert self._images is not None
        image = await self._images.ready(plan)
        if plan.shared:
            open_up(plan.shared)
        try:
            return await self._launched(spec, plan, image, receiver)
        except NoSuchImage:  # it was removed since it was looked at
            image = await self._images.ready(plan)
            return await self._launched(spec, plan, image, receiver)

    async def _launched(self, spec: ContainerSpec, plan: Plan, image: Image, receiver: Receiver) -> Container:
        """Start one copy; when it is cancelled that is seen through and undone."""
        calls = self.calls
        work = calls.work(self._bring_up(spec, plan, image, receiver), f"start {spec.instance}")
        try:
            return await asyncio.shield(work)
        except asyncio.CancelledError:
            await asyncio.shield(calls.work(self._take_back(work), f"take back {spec.instance}"))
            raise

    async def sweep(self) -> int:
        return await self._removing().sweep()

    async def aclose(self) -> None:
        calls = self._calls
        if calls is None or self._prepared is None or self._images is None:
            return
        self._prepared.close()
        for container in list(self._running):  # the manager gave up on stopping them
            self.discard(container)
        await self._images.aclose()
        self._removing().finish()
        await calls.aclose(CLOSE_SECONDS)
        self._calls = None

    # ---- starting

    def _plan(self, spec: ContainerSpec) -> Plan:
        """Say what the container is to be like. Raises DriverError for what this engine cannot do."""
        options = parse(self.name, spec.options)
        if spec.shares or spec.shared:
            check_sharing(self.endpoint, options)
        plan = make_plan(spec, options)
        check_machine(plan, self.calls.engine.about)
        return plan

    async def _bring_up(self, spec: ContainerSpec, plan: Plan, image: Image, receiver: Receiver) -> EngineContainer:
        """Make and start one container; leaves none behind when it cannot be done."""
        assert self._prepared is not None
        ready = self._prepared.take(spec.identity, plan, image)
        try:
            if ready is not None and await self._started(ready, receiver):
                return ready
            if ready is not None:
                self._prepared.spoiled(spec.identity)
            container = await self._make(plan, image, spec.instance)
            await self._start(container, receiver)
            return container
        finally:
            self._prepared.fill()

    async def _started(self, ready: EngineContainer, receiver: Receiver) -> bool:
        """Start a container that was made ready; False when it turns out to be of no use, as one that is gone."""
        try:
            await self._start(ready, receiver)
        except Refused as error:
            log.info("container %s was ready and could not be started, so another one is made: %s", ready.id, error)
            return False
        return True

    async def _start(self, container: EngineContainer, receiver: Receiver) -> None:
        """Start a container; leaves none behind when it cannot be done."""
        try:
            await container.start(receiver)
        except BaseException:
            container.disown()
            await self._removing().remove(container.full_id)
            raise
        self._running.add(container)

    async def _make_ready(self, plan: Plan, image: Image) -> EngineContainer:
        """Make a container of which nothing but the start is left to do."""
        container = await self._make(plan, image, "")
        try:
            await self.calls(self.calls.engine.init, container.full_id)
        except BaseException:
            container.disown()
            await self._removing().remove(container.full_id)
            raise
        return container

    async def _make(self, plan: Plan, image: Image, instance: str) -> EngineContainer:
        """Create a container and attach to it."""
        calls = self.calls
        name, id = await self._named(plan, labels.make(plan.function, instance))
        container = EngineContainer(self, id, name, plan.memory)
        try:
            assert self._images is not None
            await self._images.check_program(plan, image, id)
            await calls.lifeline.hold()
            container.streams = await attach(self.endpoint, calls.engine.attach_target(id), container)
            await calls.lifeline.hold()  # one that is gone by now was the streams', whose end is seen; the next is ours
        except BaseException:
            await self._removing().remove(id)
            raise
        return container

    async def _named(self, plan: Plan, marks: Mapping[str, str]) -> tuple[str, str]:
        """Create a container by a name that no other has. Returns its name and its id."""
        for left in reversed(range(NAMES)):
            name = f"hotfn-{plan.function.replace('/', '-')}-{secrets.token_hex(4)}"
            try:
                return name, await self._create(plan, name, marks)
            except NameTaken:  # one of four billion; whoever has it keeps it
                if not left:
                    raise
        raise AssertionError

    async def _create(self, plan: Plan, name: str, marks: Mapping[str, str]) -> str:
        """Create a container in the least used of its networks and return its id."""
        network = self._networks.choose(plan.options.network)
        try:
            id = await self.calls(self.calls.engine.create, replace(plan, network=network), name, marks)
        except BaseException as error:
            self._networks.unused(network)
            if isinstance(error, NoSuchImage) and self._images is not None:
                self._images.forget(plan.image)
            elif isinstance(error, DriverUnavailable | asyncio.CancelledError):
                self._removing().doubt(name)
            raise
        self._networks.joined(id, network)
        return id

    async def _take_back(self, work: asyncio.Task[EngineContainer]) -> None:
        """A launch was cancelled: see it through, and undo it."""
        with contextlib.suppress(Exception):  # what went wrong with it is of no interest any more
            container = await work
            container.disown()
            self._running.discard(container)
            await self._removing().remove(container.full_id)

    # ---- removing

    def discard(self, container: EngineContainer) -> None:
        """Remove a container that has ended, or that nobody wants."""
        container.disown()
        self._running.discard(container)
        if self._calls is not None:
            self._removing().soon(container.full_id)

    def _removing(self) -> Removals:
        assert self._removals is not None
        return self._removals
