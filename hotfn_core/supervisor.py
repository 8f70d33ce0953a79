"""Everything about one function: feeds facts to the rules, carries out their actions.

All methods run on the manager's event loop and none of them awaits, so a fact and its actions are one step. What takes
time (starting and stopping a copy) runs in a task of its own and comes back as a fact.
"""

from __future__ import annotations

import asyncio
import logging
import random
import time
from collections import Counter
from collections.abc import Callable, Coroutine, Sequence
from typing import Any, Protocol

from .actions import Action, Assign, Drop, Fail, Launch, Stop, StopReason
from .deadlines import NEVER
from .driver import Container, ContainerSpec, Driver
from .environment import copy_environment
from .errors import CallError, CallRejected, DriverError, InvalidCall, LocalProtocolError
from .failures import call_error
from .hookspecs import CallReport, InstanceChange, StderrLine
from .instance import Instance
from .model import Call, FunctionSpec, Headers, Reply, header_pairs
from .protocol import IOProtocol, Limits, ReplyHead
from .state import SupervisorState
from .stats import FunctionStats
from .stderr import StderrReader

log = logging.getLogger("hotfn")


class Host(Protocol):
    """What a supervisor needs of its manager. A hook is None when no plugin listens to it."""

    loop: asyncio.AbstractEventLoop
    clock: Callable[[], float]
    call_finished: Callable[[CallReport], None] | None
    instance_changed: Callable[[InstanceChange], None] | None
    stderr_line: Callable[[StderrLine], None] | None

    def spawn(self, work: Coroutine[Any, Any, None], name: str) -> asyncio.Task[None]: ...

    def dropped(self, supervisor: Supervisor) -> None: ...


class _Pending:
    """A call that has not ended, and how it went so far."""

    __slots__ = ("arrived", "assigned", "call", "cold", "future", "instance", "started")

    def __init__(self, call: Call, future: asyncio.Future[Reply], arrived: float) -> None:
        self.call = call
        self.future = future
        self.arrived = arrived
        self.assigned = arrived
        self.started = 0.0
        self.cold = ""
        self.instance: Instance | None = None


class Supervisor:
    """The copies and calls of one function. Made by the manager; ends with `Host.dropped`."""

    def __init__(self, host: Host, spec: FunctionSpec, driver: Driver, protocol: IOProtocol) -> None:
        self.spec = spec
        self.state = SupervisorState(spec, hot=protocol.hot)
        self._host = host
        self._clock = host.clock
        self._driver = driver
        self._protocol = protocol
        self._static = header_pairs(spec.headers)
        self._pending: dict[str, _Pending] = {}
        self._instances: dict[int, Instance] = {}
        self._work: dict[int, asyncio.Task[None]] = {}  # the start or the stop of a copy
        self._timer: asyncio.TimerHandle | None = None
        self._armed = NEVER
        self._performing = False
        self._later: list[Action] = []
        self._launch_error: BaseException | None = None
        self._calls: Counter[str] = Counter()
        self._ok = 0
        self._cold: Counter[str] = Counter()

    # ---- what the manager calls

    def start(self) -> None:
        """Launch what is kept hot on purpose."""
        self._perform(self.state.started(self._clock()))

    def submit(self, call: Call) -> asyncio.Future[Reply]:
        """Take a call. The future gets a Reply or a CallError."""
        now = self._clock()
        future: asyncio.Future[Reply] = self._host.loop.create_future()
        self._pending[call.id] = _Pending(call, future, now)
        self._perform(self.state.call_arrived(now, call))
        return future

    def cancel(self, call_id: str) -> None:
        """The caller has gone. Does nothing when the call has ended."""
        pending = self._pending.pop(call_id, None)
        if pending is None:
            return
        self._calls["cancelled"] += 1
        if pending.instance is not None:
            pending.instance.end_call()
        self._perform(self.state.call_cancelled(self._clock(), call_id))
        self._report(pending, 499, "cancelled")

    def drain(self, limit: float | None, *, serve_waiting: bool) -> None:
        """Take no more calls and end; `Host.dropped` says when. `limit` in seconds bounds the running calls."""
        self._perform(self.state.drain_requested(self._clock(), limit, serve_waiting=serve_waiting))

    def stats(self) -> FunctionStats:
        """Return the numbers of this moment."""
        state = self.state
        calls = Counter(self._calls)
        if self._ok:
            calls["ok"] = self._ok
        return FunctionStats(
            calls=calls,
            cold=Counter(self._cold),
            stopped=Counter(state.stopped),
            launched=state.launched,
            waiting=state.waiting,
            starting=state.starting,
            idle=state.idle,
            busy=state.busy,
            stopping=state.stopping,
        )

    # ---- what instances report (the Owner)

    def reply_received(
        self, instance: Instance, call_id: str, head: ReplyHead, body: bytes, retire: StopReason | None
    ) -> None:
        """A call is answered. The next waiting one is written before this caller is woken."""
        now = self._clock()
        pending = self._pending.pop(call_id)
        self._perform(self.state.call_finished(now, instance.number, retire))
        self._ok += 1
        if not pending.future.done():
            pairs = (*self._static, *head.headers) if self._static else head.headers
            queued = pending.assigned - pending.arrived - pending.started
            pending.future.set_result(
                Reply(
                    head.status,
                    Headers.of_pairs(pairs),
                    body,
                    pending.cold != "",
                    pending.cold,
                    instance.id,
                    pending.call.id,
                    queued,
                    pending.started,
                    now - pending.assigned,
                )
            )
        if self._host.call_finished is not None:
            self._report(pending, head.status, "", now)

    def call_broke(self, instance: Instance, call_id: str, error: CallError, retire: StopReason) -> None:
        """The running call ended badly and its copy must go."""
        now = self._clock()
        self._end(self._pending.pop(call_id), error)
        self._perform(self.state.call_finished(now, instance.number, retire))

    def disturbed(self, instance: Instance, reason: StopReason) -> None:
        """A copy without a call did what it must not."""
        log.warning("%s: copy %s is stopped: %s", self.spec.full_name, instance.id, instance.trouble)
        self._launch_error = DriverError(f"a fresh copy was useless: {instance.trouble}{instance.last_words()}")
        self._perform(self.state.copy_disturbed(self._clock(), instance.number, reason, random.random()))

    def exited(self, instance: Instance) -> None:
        """A copy is gone. One that is not launched yet is dealt with when `launch` returns."""
        if instance.container is not None:
            self._gone(instance)

    # ---- facts and time

    def _perform(self, actions: Sequence[Action]) -> None:
        """Carry out actions. What they cause in turn waits its turn: a plugin may call back from anywhere."""
        if self._performing:
            self._later.extend(actions)
            return
        self._performing = True
        try:
            for action in actions:
                self._do(action)
            while self._later:
                self._do(self._later.pop(0))
        finally:
            self._performing = False
        wake = self.state.wake_at()
        if wake < self._armed:
            self._arm(wake)

    def _do(self, action: Action) -> None:
        kind = action.__class__
        if kind is Assign:
            self._assign(action)  # type: ignore[arg-type]
        elif kind is Fail:
            self._fail(action)  # type: ignore[arg-type]
        elif kind is Launch:
            self._launch(action)  # type: ignore[arg-type]
        elif kind is Stop:
            self._stop(action)  # type: ignore[arg-type]
        elif kind is Drop:
            self._drop()

    def _arm(self, wake: float) -> None:
        """One timer per function, set again only when something is due before it: it may ring too early."""
        if self._timer is not None:
            self._timer.cancel()
        self._armed = wake
        self._timer = self._host.loop.call_later(max(wake - self._clock(), 0.0), self._ring)

    def _ring(self) -> None:
        self._timer = None
        self._armed = NEVER
        actions = self.state.time_passed(self._clock(), random.random())
        self.state.next_deadline()  # moves entries that are too early, so that the timer is set for a real one
        self._perform(actions)

    # ---- actions on calls

    def _assign(self, action: Assign) -> None:
        pending = self._pending.get(action.call_id)
        instance = self._instances[action.copy]
        if pending is None:  # its caller left while this action waited for its turn
            return
        now = self._clock()
        pending.instance = instance
        pending.assigned = now
        if action.cold:
            pending.cold, pending.started = action.cold, action.started
            self._cold[action.cold] += 1
        if instance.served == 0:
            self._changed(instance, "busy", action.cold)
        try:
            instance.begin(pending.call, time.time() + action.expires - now)
        except CallRejected as error:  # nothing was written, the copy is as good as before
            del self._pending[action.call_id]
            self._end(pending, error)
            self._perform(self.state.call_finished(now, action.copy))
        except Exception as error:  # a stranger's protocol or driver that fails in its own way
            del self._pending[action.call_id]
            instance.trouble = f"{type(error).__name__}: {error}"
            self._end(pending, InvalidCall(f"{self.spec.full_name}: the call could not be written: {instance.trouble}"))
            self._perform(self.state.call_finished(now, action.copy, "protocol_error"))

    def _fail(self, action: Fail) -> None:
        pending = self._pending.pop(action.call_id, None)
        if pending is None:
            return
        if action.code == "instance_exited" and pending.instance is not None:
            self._end(pending, pending.instance.exit_error())
            return
        error = call_error(action, self.spec, self._launch_error)
        if action.code == "call_timeout" and pending.instance is not None:
            error.args = (error.message + pending.instance.last_words(),)
            error.message = error.args[0]
        self._end(pending, error)

    def _end(self, pending: _Pending, error: CallError) -> None:
        """Give a call its error."""
        error.call_id = pending.call.id
        error.function = self.spec.full_name
        self._calls[error.code] += 1
        if pending.instance is not None:
            pending.instance.end_call()
        if not pending.future.done():
            pending.future.set_exception(error)
        self._report(pending, error.status, error.code)

    # ---- actions on copies

    def _launch(self, action: Launch) -> None:
        instance = self._new_instance(action.copy)
        self._instances[action.copy] = instance
        self._changed(instance, "starting", action.reason)
        try:
            spec = self._container_spec(instance, action.call_id)
        except LocalProtocolError as error:  # a cold protocol cannot carry the call in the environment
            self._perform(self.state.call_cancelled(self._clock(), action.call_id))
            self._end(self._pending.pop(action.call_id), InvalidCall(error.message))
            return
        self._work[action.copy] = self._host.spawn(self._start(instance, spec), f"hotfn start {instance.id}")

    def _new_instance(self, number: int) -> Instance:
        connection = self._protocol.connect(Limits(max_body=self.spec.max_response))
        hook = self._host.stderr_line
        name = self.spec.full_name
        sink = None
        if hook is not None:

            def sink(call_id: str, text: str, truncated: bool) -> None:
                hook(StderrLine(name, instance.id, call_id, text, truncated))

        stderr = StderrReader(sink, self._clock)
        instance = Instance(self, self.spec, number, connection, stderr, hot=self._protocol.hot)
        return instance

    def _container_spec(self, instance: Instance, call_id: str) -> ContainerSpec:
        per_call: dict[str, str] = {}
        if call_id:
            call = self._pending[call_id].call
            left = self.spec.timeout
            if call.deadline is not None:
                left = min(left, call.deadline - self._clock())
            per_call = dict(self._protocol.call_environment(call, time.time() + left))
        return ContainerSpec(
            function=self.spec.full_name,
            instance=instance.id,
            identity=self.spec.identity,
            image=self.spec.image,
            command=self.spec.command,
            env=copy_environment(self.spec, self._protocol, per_call),
            memory=self.spec.memory,
            cpus=self.spec.cpus,
            options=self.spec.driver_options,
            best_effort=self.spec.best_effort,
        )

    async def _start(self, instance: Instance, spec: ContainerSpec) -> None:
        """Launch one copy and report what became of it."""
        try:
            container = await self._driver.launch(spec, instance)
            if not isinstance(container, Container):
                raise DriverError(f"the driver {self.spec.driver!r} returned {container!r}, not a Container")
        except asyncio.CancelledError:
            self._gone(instance)
            if not instance.closing:  # not by us: the loop is ending
                raise
        except Exception as error:  # DriverError, or a stranger's driver that fails in its own way
            log.warning("%s: copy %s could not be started: %s", self.spec.full_name, instance.id, error)
            self._launch_error = error
            self._gone(instance)
        else:
            instance.container = container
            self._launched(instance)

    def _launched(self, instance: Instance) -> None:
        del self._work[instance.number]
        if instance.exit is not None and not self._protocol.hot and not instance.closing:
            exit, instance.exit = instance.exit, None  # it answered before it was asked: its exit is the reply
            self._perform(self.state.copy_ready(self._clock(), instance.number))
            instance.exited(exit)
        elif instance.exit is not None:
            self._launch_error = DriverError(f"a copy {instance.exit} at once{instance.last_words()}")
            self._gone(instance)
        elif self.state.phase(instance.number) == "stopping":  # it could not be called back in time
            self._stop(Stop(instance.number, 0.0, "cancelled"))
        else:
            self._changed(instance, "idle", "")
            self._perform(self.state.copy_ready(self._clock(), instance.number))

    def _stop(self, action: Stop) -> None:
        instance = self._instances.get(action.copy)
        if instance is None or instance.exit is not None:
            return
        if not instance.closing or instance.container is None:
            self._changed(instance, "stopping", action.reason)
        instance.closing = True
        instance.end_call()
        work = self._work.pop(action.copy, None)
        if work is not None:
            work.cancel()  # a start that nobody wants any more, or an earlier stop with more grace
        if instance.container is not None:
            self._work[action.copy] = self._host.spawn(
                self._end_copy(instance, instance.container, action.grace), f"hotfn stop {instance.id}"
            )
        elif work is None:  # it was never started
            self._gone(instance)
        else:
            self._work[action.copy] = work

    async def _end_copy(self, instance: Instance, container: Container, grace: float) -> None:
        try:
            await container.stop(grace)
        except Exception as error:  # the rules say Stop again when the grace has passed
            log.warning("%s: copy %s could not be stopped: %s", self.spec.full_name, instance.id, error)

    def _gone(self, instance: Instance) -> None:
        """Nothing is left of the copy."""
        if self._instances.pop(instance.number, None) is None:
            return
        self._work.pop(instance.number, None)
        if not instance.closing and self.state.phase(instance.number) == "idle":
            self._launch_error = DriverError(f"a copy {instance.exit} while it was idle{instance.last_words()}")
        reason = "start_failed" if instance.container is None else "exited"
        self._perform(self.state.copy_exited(self._clock(), instance.number, random.random()))
        self._changed(instance, "gone", "" if instance.closing else reason)

    def _drop(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self._host.dropped(self)

    # ---- observers

    def _changed(self, instance: Instance, state: str, reason: str) -> None:
        log.debug("%s: copy %s is %s %s", self.spec.full_name, instance.id, state, reason)
        if self._host.instance_changed is not None:
            container = instance.container.id if instance.container is not None else ""
            self._host.instance_changed(InstanceChange(self.spec.full_name, instance.id, container, state, reason))

    def _report(self, pending: _Pending, status: int, error: str, now: float | None = None) -> None:
        if self._host.call_finished is None:
            return
        now = self._clock() if now is None else now
        reached = pending.instance is not None
        waited = (pending.assigned if reached else now) - pending.arrived
        self._host.call_finished(
            CallReport(
                self.spec.full_name,
                pending.call.id,
                pending.instance.id if pending.instance is not None else "",
                status,
                error,
                pending.cold,
                waited - pending.started,
                pending.started,
                now - pending.assigned if reached else 0.0,
            )
        )
