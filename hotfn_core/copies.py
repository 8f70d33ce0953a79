"""The copies of one function: starting, freezing and stopping them, and noticing what became of them.

What takes time runs in a task of its own and comes back as a fact for the rules.
"""

from __future__ import annotations

import asyncio
import functools
import logging
from collections.abc import Callable, Coroutine, Iterator, Sequence
from typing import Any, Protocol

from .actions import Action, Freeze, Launch, Stop, StopReason, Thaw
from .driver import Container, ContainerSpec, Driver
from .errors import CallError, DriverError, InvalidCall, LocalProtocolError, PluginError, said
from .hookspecs import InstanceChange
from .instance import Instance, Owner
from .launcher import Launcher
from .meeting import Places
from .model import Call, FunctionSpec
from .observers import Observers
from .protocol import IOProtocol
from .startline import Turns
from .state import SupervisorState

log = logging.getLogger("hotfn")


class Host(Protocol):
    """What copies need of the manager.

    `clock` is in seconds and never goes back; `dice` draws from 0 to 1; `copies` numbers all copies of the manager;
    `turns` are those of a driver, by its name, `places` where copies listen.
    """

    loop: asyncio.AbstractEventLoop
    clock: Callable[[], float]
    dice: Callable[[], float]
    copies: Iterator[int]
    observers: Observers
    places: Places

    def spawn(self, work: Coroutine[Any, Any, None], name: str) -> asyncio.Task[None]: ...

    def turns(self, name: str) -> Turns: ...


class Keeper(Owner, Protocol):
    """Who keeps the copies: the supervisor."""

    state: SupervisorState

    def perform(self, actions: Sequence[Action]) -> None: ...

    def call_unsayable(self, call_id: str, error: CallError) -> None: ...


class Copies:
    """The instances of one function by their numbers, and the tasks that start, freeze, thaw and stop them. A copy that
    waits in line for its driver has neither.

    `launch_error` is why the last start failed, until one succeeds.
    """

    __slots__ = (
        "_frost",
        "_host",
        "_instances",
        "_keeper",
        "_launcher",
        "_lined",
        "_spec",
        "_turns",
        "_work",
        "get",
        "launch_error",
    )

    def __init__(self, keeper: Keeper, host: Host, spec: FunctionSpec, driver: Driver, protocol: IOProtocol) -> None:
        self.launch_error: BaseException | None = None
        self._instances: dict[int, Instance] = {}
        self._lined: dict[int, tuple[Launch, Call | None]] = {}
        self._work: dict[int, asyncio.Task[None]] = {}  # the start or the stop of a copy
        self._frost: dict[int, asyncio.Task[None]] = {}  # its last freeze or thaw
        self._keeper = keeper
        self._host = host
        self._spec = spec
        self._turns = host.turns(spec.driver)
        self._launcher = Launcher(spec, driver, protocol, host.observers, host.clock, host.places)
        self.get = self._instances.get

    def launch(self, action: Launch, call: Call | None) -> None:
        """Start a copy as soon as the driver takes it; `call` is the one that it is started for when the protocol is
        cold."""
        self._lined[action.copy] = (action, call)
        if self._turns.ask(self, action.copy):
            del self._lined[action.copy]
            self._begin(action, call)
        elif action.copy in self._lined:  # its turn may have come inside of `ask`
            self._keeper.perform(self._keeper.state.copy_lined_up(self._host.clock(), action.copy))

    def begin(self, number: int) -> None:
        """The turn of a copy has come that waited in line."""
        action, call = self._lined.pop(number)
        self._keeper.perform(self._keeper.state.copy_begun(self._host.clock(), number))
        if self._keeper.state.phase(number) == "starting":  # else its Stop is on its way
            self._begin(action, call)
        else:
            self._exited(number)

    def _begin(self, action: Launch, call: Call | None) -> None:
        try:
            instance = self._launcher.instance(self._keeper, action.copy, next(self._host.copies))
            self._instances[action.copy] = instance
            self.changed(instance, "starting", action.reason)
            spec = self._launcher.container_spec(instance, call)
        except Exception as error:  # LocalProtocolError, or a stranger's protocol that fails in its own way
            self._not_launched(action, error, call)
            return
        work = self._host.spawn(self._start(instance, spec), f"hotfn start {instance.id}")
        work.add_done_callback(functools.partial(self._start_cancelled, instance))
        self._work[action.copy] = work

    def _not_launched(self, action: Launch, error: Exception, call: Call | None) -> None:
        """The IO protocol will not have this call, or no copy at all."""
        instance = self._instances.get(action.copy)
        if call is not None and instance is not None and isinstance(error, LocalProtocolError):
            self._keeper.call_unsayable(call.id, InvalidCall(error.message))
            return
        self.launch_error = PluginError(f'the IO protocol "{self._spec.format}" failed: {said(error)}')
        self.launch_error.__cause__ = error
        if instance is not None:
            self.gone(instance)
        else:
            self._exited(action.copy)

    async def _start(self, instance: Instance, spec: ContainerSpec) -> None:
        """Launch one copy and report what became of it."""
        try:
            instance.container = await self._launcher.launch(instance, spec)
        except Exception as error:  # DriverError, or a stranger's driver that fails in its own way
            log.warning("%s: copy %s could not be started: %s", self._spec.full_name, instance.id, error)
            self.launch_error = error
            self.gone(instance)
        else:
            self._launched(instance)

    def _start_cancelled(self, instance: Instance, work: asyncio.Task[None]) -> None:
        """A task that is cancelled before its first step never knows, so this is not left to the task. One that was
        cancelled in its last step has launched the copy all the same."""
        if work.cancelled() and instance.container is None:
            self.gone(instance)

    def _launched(self, instance: Instance) -> None:
        del self._work[instance.number]
        exit = instance.exit
        if exit is not None and (instance.closing or self._keeper.state.hot):
            self.launch_error = DriverError(f"a copy {exit} at once{instance.last_words()}")
            self.gone(instance)
        elif instance.closing:  # it could not be called back in time
            self.stop(Stop(instance.number, 0.0, instance.stop_reason or "cancelled"))
        else:
            self._ready(instance)
            if exit is not None:  # cold: it answered before it was asked, and its exit is the end of the reply
                instance.exited(exit)
        self._turns.leave(self, instance.number)  # as in _exited

    def _ready(self, instance: Instance) -> None:
        self.launch_error = None  # of no interest for what fails from now on
        self.changed(instance, "idle", "")
        self._keeper.perform(self._keeper.state.copy_ready(self._host.clock(), instance.number))

    def useless(self, instance: Instance) -> None:
        """Remember that the copy did what it must not while it had no call."""
        log.warning("%s: copy %s is stopped: %s", self._spec.full_name, instance.id, instance.trouble)
        self.launch_error = DriverError(f"a fresh copy was useless: {instance.trouble}{instance.last_words()}")

    def stop(self, action: Stop) -> None:
        """Ask a copy to end, or call its start back; again with less grace when that did not help."""
        instance = self._instances.get(action.copy)
        if instance is None:
            self._leave_line(action.copy)
            return
        told = instance.stop_reason
        instance.stop_reason = told or action.reason
        if instance.exit is not None and instance.container is not None:
            return  # its own end is what this is about
        if not told:
            self.changed(instance, "stopping", action.reason)
        elif instance.container is None:  # its driver does not call it back: others have waited for it for long enough
            self._turns.leave(self, action.copy)
        if action.reason == "start_failed":
            self._too_slow(instance)
        instance.closing = True
        instance.end_call()
        work = self._work.get(action.copy)
        if work is not None:
            work.cancel()  # a start that nobody wants any more, or an earlier stop with more grace
        self._let_go(action.copy)
        if instance.container is not None:
            self._work[action.copy] = self._host.spawn(
                self._end_copy(instance, instance.container, action.grace), f"hotfn stop {instance.id}"
            )
        elif work is None:  # it was never started
            self.gone(instance)

    def _leave_line(self, number: int) -> None:
        if self._lined.pop(number, None) is not None:
            self._exited(number)

    def _too_slow(self, instance: Instance) -> None:
        """Remember that the start took too long: the driver, whose start is called back, can say nothing about it."""
        text = f"it took longer to start than start_timeout, {self._spec.start_timeout:g} s"
        log.warning("%s: copy %s could not be started: %s", self._spec.full_name, instance.id, text)
        self.launch_error = DriverError(text, status=504)

    async def _end_copy(self, instance: Instance, container: Container, grace: float) -> None:
        try:
            await container.stop(grace)
        except Exception as error:  # the rules say Stop again when the grace has passed
            log.warning("%s: copy %s could not be stopped: %s", self._spec.full_name, instance.id, error)

    # ---- freezing

    def freeze(self, action: Freeze) -> None:
        """Suspend a copy. Nothing is reported unless it fails: the copy counts as frozen already."""
        instance = self._instances.get(action.copy)
        if instance is None or instance.container is None:  # it left while this action waited for its turn
            return
        work = self._freeze(instance, instance.container)
        self._frost[action.copy] = self._host.spawn(work, f"hotfn freeze {instance.id}")
        self.changed(instance, "frozen", "")

    def thaw(self, action: Thaw) -> None:
        """Let a copy run again, behind a freeze that still goes on."""
        instance, freezing = self._instances.get(action.copy), self._frost.get(action.copy)
        if instance is None or instance.container is None or freezing is None:  # as in freeze
            return
        work = self._thaw(instance, instance.container, freezing)
        self._frost[action.copy] = self._host.spawn(work, f"hotfn thaw {instance.id}")

    async def _freeze(self, instance: Instance, container: Container) -> None:
        try:
            await container.freeze()
        except Exception as error:  # DriverError, or a stranger's driver that fails in its own way
            self._freezing_failed(instance, "freeze_failed", error)

    async def _thaw(self, instance: Instance, container: Container, freezing: asyncio.Task[None]) -> None:
        try:
            await freezing  # whoever cancels this cancels that as well
            if instance.number not in self._frost:  # it could not be frozen, or it was stopped meanwhile
                return
            await container.thaw()
        except Exception as error:  # as in _freeze
            self._freezing_failed(instance, "thaw_failed", error)
        else:
            self._thawed(instance)

    def _thawed(self, instance: Instance) -> None:
        if instance.number in self._frost:
            self.changed(instance, "idle", "thawed")
            self._keeper.perform(self._keeper.state.copy_thawed(self._host.clock(), instance.number))

    def _freezing_failed(self, instance: Instance, reason: StopReason, error: Exception) -> None:
        if instance.number not in self._frost:  # nobody wants to know any more
            return
        what = "frozen" if reason == "freeze_failed" else "thawed"
        log.warning("%s: copy %s could not be %s: %s", self._spec.full_name, instance.id, what, said(error))
        self._keeper.perform(self._keeper.state.freezing_failed(self._host.clock(), instance.number, reason))

    def _let_go(self, number: int) -> None:
        """The copy is stopped or gone: what becomes of a freeze or a thaw of it is of no interest."""
        frost = self._frost.pop(number, None)
        if frost is not None:
            frost.cancel()

    def gone(self, instance: Instance) -> None:
        """Nothing is left of the copy."""
        if self._instances.pop(instance.number, None) is None:
            return
        self._work.pop(instance.number, None)
        self._let_go(instance.number)
        phase = self._keeper.state.phase(instance.number)
        if phase in ("idle", "frozen", "thawing") and not instance.closing:
            self.launch_error = DriverError(f"a copy {instance.exit} while it was {phase}{instance.last_words()}")
        self.changed(instance, "gone", instance.stop_reason or ("start_failed" if phase == "starting" else "exited"))
        self._exited(instance.number)

    def _exited(self, number: int) -> None:
        self._keeper.perform(self._keeper.state.copy_exited(self._host.clock(), number, self._host.dice()))
        self._turns.leave(self, number)  # when the rules know: what waits behind it may be of no use now

    def abandon(self) -> None:
        """Let go of copies that could not be stopped, and of the tasks that tried."""
        for task in [*self._work.values(), *self._frost.values()]:
            task.cancel()
        self._instances.clear()
        self._lined.clear()
        self._turns.forget(self)

    def changed(self, instance: Instance, state: str, reason: str) -> None:
        """Tell those who listen that the copy came to a new state."""
        log.debug("%s: copy %s is %s %s", self._spec.full_name, instance.id, state, reason)
        if self._host.observers.instance_changed is not None:
            container = instance.container.id if instance.container is not None else ""
            self._host.observers.instance_changed(
                InstanceChange(self._spec.full_name, instance.id, container, state, reason)
            )
