"""Everything about one function: feeds facts to the rules, carries out their actions.

All methods run on the manager's event loop and none of them awaits, so a fact and its actions are one step. What takes
time (starting and stopping a copy) runs in a task of its own and comes back as a fact.
"""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from collections.abc import Sequence
from time import time as wall_clock
from typing import Protocol

from . import copies
from .actions import Action, Assign, CallEnd, Drop, Fail, Freeze, Launch, Stop, StopReason, Thaw
from .deadlines import NEVER
from .driver import Driver
from .errors import CallError, CallFailed, InvalidCall, said
from .failures import call_error, held_back
from .instance import Instance
from .model import Call, FunctionSpec, Headers, Reply, header_pairs, new_tuple
from .pending import Pending
from .protocol import IOProtocol, ReplyHead
from .state import SupervisorState
from .stats import FunctionStats
from .timekeeper import Timekeeper

log = logging.getLogger("hotfn")


class Host(copies.Host, Protocol):
    """What a supervisor needs of its manager."""

    timekeeper: Timekeeper

    def dropped(self, supervisor: Supervisor) -> None: ...


class Supervisor:
    """The copies and calls of one function. Made by the manager; ends with `Host.dropped`.

    `due`, `armed` and `entry` are the timekeeper's.
    """

    __slots__ = (
        "_calls",
        "_clock",
        "_cold",
        "_copies",
        "_dice",
        "_host",
        "_later",
        "_new_future",
        "_observers",
        "_ok",
        "_pending",
        "_performing",
        "_static",
        "armed",
        "due",
        "entry",
        "spec",
        "state",
    )

    def __init__(self, host: Host, spec: FunctionSpec, driver: Driver, protocol: IOProtocol) -> None:
        self.spec = spec
        self.state = SupervisorState(spec, hot=protocol.hot, freezes=driver.freezes)
        self._host = host
        self._observers = host.observers
        self._clock = host.clock
        self._new_future = host.loop.create_future
        self._dice = host.dice
        self._copies = copies.Copies(self, host, spec, driver, protocol)
        self._static = header_pairs(spec.headers)
        self._pending: dict[str, Pending] = {}
        self.due = self.armed = NEVER
        self.entry = 0
        self._performing = False
        self._later: list[Action] = []
        self._calls: Counter[str] | None = None
        self._ok = 0
        self._cold: Counter[str] = Counter()

    # ---- what the manager calls

    def start(self) -> None:
        """Launch what is kept hot on purpose."""
        self.perform(self.state.started(self._clock()))

    def submit(self, call: Call, since: float | None = None) -> asyncio.Future[Reply]:
        """Take a call, which has waited `since` then, or not yet. The future gets a Reply or a CallError.

        Raises InvalidCall when another call of its id has not ended.
        """
        if call.id in self._pending:
            raise self._blamed(InvalidCall(f"a call {call.id!r} of {self.spec.full_name} has not ended"), call)
        now = self._clock()
        future: asyncio.Future[Reply] = self._new_future()
        self._pending[call.id] = Pending(call, future, now if since is None else since)
        self.perform(self.state.call_arrived(now, call))
        return future

    def refused(self, call: Call, error: CallError) -> CallError:
        """Count and report a call that is not even taken. Returns the error, for the caller to raise."""
        self._count(error.code)
        if self._observers.call_finished is not None:
            pending = Pending(call, self._host.loop.create_future(), self._clock())
            self._report(pending, error.status, error.code)
        return self._blamed(error, call)

    def cancel(self, call: Call) -> None:
        """The caller has gone. Does nothing when the call has ended, also when another has its id by now."""
        pending = self._pending.get(call.id)
        if pending is None or pending.call is not call:
            return
        del self._pending[call.id]
        self._count("cancelled")
        if pending.instance is not None:
            pending.instance.end_call()
        self.perform(self.state.call_cancelled(self._clock(), call.id))
        self._report(pending, 499, "cancelled")

    def drain(self, limit: float | None, *, serve_waiting: bool) -> None:
        """Take no more calls and end; `Host.dropped` says when. `limit` in seconds bounds the running calls."""
        self.perform(self.state.drain_requested(self._clock(), limit, serve_waiting=serve_waiting))

    def kill(self) -> None:
        """Take no more calls and end without any grace; `Host.dropped` says when."""
        self.perform(self.state.kill_requested(self._clock()))

    def abandon(self) -> None:
        """Give up on copies that could not be stopped. Nothing of this function runs or rings afterwards."""
        self._copies.abandon()
        self._drop()

    def stats(self) -> FunctionStats:
        """Return the numbers of this moment."""
        state = self.state
        calls = Counter(self._calls or ())
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
            frozen=state.frozen,
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
        self.perform(self.state.call_finished(now, instance.number, retire))
        self._ok += 1
        future, assigned, cold = pending.future, pending.assigned, pending.cold
        if not future.done():
            if instance.heard[0] is head:  # a protocol may give the same one again, when nothing in it has changed
                headers = instance.heard[1]
            else:
                headers = Headers.of_pairs((*self._static, *head.headers) if self._static else head.headers)
                instance.heard = (head, headers)
            queued, started = assigned - pending.arrived, 0.0
            if cold:
                started = pending.started
                queued = max(queued - started, 0.0)  # a difference of sums may end up below zero
            fields = (
                head.status,
                headers,
                body,
                cold != "",
                cold,
                instance.id,
                call_id,
                queued,
                started,
                now - assigned,
            )
            future.set_result(new_tuple(Reply, fields))
        if self._observers.call_finished is not None:
            self._report(pending, head.status, "", now)

    def call_broke(self, instance: Instance, call_id: str, error: CallError, retire: StopReason) -> None:
        """The running call ended badly and its copy must go."""
        now = self._clock()
        self._end(self._pending.pop(call_id), error)
        self.perform(self.state.call_finished(now, instance.number, retire, "broke"))

    def disturbed(self, instance: Instance, reason: StopReason) -> None:
        """A copy without a call did what it must not."""
        self._copies.useless(instance)
        self.perform(self.state.copy_disturbed(self._clock(), instance.number, reason, self._dice()))

    def exited(self, instance: Instance) -> None:
        """A copy is gone. One that is not launched yet is dealt with when `launch` returns."""
        if instance.container is not None:
            self._copies.gone(instance)

    # ---- what copies report

    def call_unsayable(self, call_id: str, error: CallError) -> None:
        """The copy for this call was not launched, because the call cannot be carried."""
        self._end(self._pending.pop(call_id), error)
        self.perform(self.state.call_cancelled(self._clock(), call_id))

    # ---- facts and time

    def perform(self, actions: Sequence[Action]) -> None:
        """Carry out actions. What they cause in turn waits its turn: a plugin may call back from anywhere."""
        if self._performing:
            self._later.extend(actions)
            return
        if actions:
            self._performing = True
            try:
                for action in actions:
                    if action.__class__ is Assign:  # nearly always
                        self._assign(action)
                    else:
                        self._do(action)
                while self._later:
                    self._do(self._later.pop(0))
            finally:
                self._performing = False
        wake = self.state.wake_at()
        if wake < self.due:  # set again only when something is due before it: it may ring too early
            self._host.timekeeper.wake(self, wake)

    def _do(self, action: Action) -> None:
        kind = action.__class__
        if kind is Assign:
            self._assign(action)  # type: ignore[arg-type]
        elif kind is Fail:
            self._fail(action)  # type: ignore[arg-type]
        elif kind is Launch:
            self._launch(action)  # type: ignore[arg-type]
        elif kind is Stop:
            self._copies.stop(action)  # type: ignore[arg-type]
        elif kind is Freeze:
            self._copies.freeze(action)  # type: ignore[arg-type]
        elif kind is Thaw:
            self._copies.thaw(action)  # type: ignore[arg-type]
        else:
            assert kind is Drop
            self._drop()

    def ring(self) -> None:
        """Something is due, or was when the timekeeper was asked for this."""
        actions = self.state.time_passed(self._clock(), self._dice())
        self.state.next_deadline()  # moves entries that are too early, so that the timer is set for a real one
        self.perform(actions)

    # ---- actions on calls

    def _assign(self, action: Assign) -> None:
        pending, instance = self._pending.get(action.call_id), self._copies.get(action.copy)
        if pending is None or instance is None:  # the one left while this action waited for its turn
            return
        now = self._clock()
        pending.instance = instance
        pending.assigned = now
        if action.cold:
            pending.cold, pending.started = action.cold, action.started
            self._cold[action.cold] += 1
        try:
            instance.begin(pending.call, wall_clock() + action.expires - now)
        except Exception as error:  # InvalidCall, or a stranger's protocol or driver that fails in its own way
            self._not_begun(pending, instance, error)
            return
        if instance.served == 1:
            self._copies.changed(instance, "busy", action.cold)

    def _not_begun(self, pending: Pending, instance: Instance, error: Exception) -> None:
        """The call could not be written. Its copy is as good as before only when the protocol refused the call."""
        del self._pending[pending.call.id]
        retire: StopReason | None = None
        if not isinstance(error, InvalidCall):
            retire, instance.trouble = "protocol_error", said(error)
            kind = InvalidCall if instance.call is None else CallFailed  # some of it was written, perhaps
            error = kind(f"{self.spec.full_name}: the call could not be written: {instance.trouble}")
        self._end(pending, error)
        how: CallEnd = "broke" if retire else "refused"
        self.perform(self.state.call_finished(self._clock(), instance.number, retire, how))

    def _fail(self, action: Fail) -> None:
        pending = self._pending.pop(action.call_id, None)
        if pending is None:
            return
        if action.code == "instance_exited" and pending.instance is not None:
            self._end(pending, held_back(pending.instance.exit_error(), self.state.paced))
            return
        error = call_error(action, self.spec, self._copies.launch_error, self.state.paced)
        if action.code == "call_timeout" and pending.instance is not None:
            error.message += self._why_mute(pending.instance) + pending.instance.last_words()
            error.args = (error.message,)
        self._end(pending, error)

    def _why_mute(self, instance: Instance) -> str:
        """Say what is usually wrong with a function that never answers."""
        if instance.served > 1 or not self.state.hot:
            return ""
        return "; that copy has never answered: does the function flush each reply, and not wait for its stdin to end?"

    def _end(self, pending: Pending, error: CallError) -> None:
        """Give a call its error."""
        now = self._clock()
        self._blamed(error, pending.call)
        pending.explain(error, now)
        self._count(error.code)
        if pending.instance is not None:
            pending.instance.end_call()
        if not pending.future.done():
            pending.future.set_exception(error)
        self._report(pending, error.status, error.code, now)

    def _count(self, code: str) -> None:
        self._calls = self._calls or Counter()  # most functions never fail
        self._calls[code] += 1

    def _blamed(self, error: CallError, call: Call) -> CallError:
        error.call_id, error.function = call.id, self.spec.full_name
        return error

    # ---- the rest

    def _launch(self, action: Launch) -> None:
        pending = self._pending.get(action.call_id)  # of a cold protocol; None as well when it was cancelled meanwhile
        self._copies.launch(action, pending.call if pending else None)

    def _drop(self) -> None:
        self._host.timekeeper.forget(self)
        self.due = -NEVER  # nothing is earlier, so it is never set again
        self._host.dropped(self)

    def _report(self, pending: Pending, status: int, error: str, now: float | None = None) -> None:
        if self._observers.call_finished is not None:
            now = self._clock() if now is None else now
            self._observers.call_finished(pending.report(self.spec.full_name, now, status, error))
