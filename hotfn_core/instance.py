"""One running copy: a container and a conversation with it, one call at a time.

An `Instance` is the container's receiver. It moves bytes between the container and the protocol's connection and tells
its owner, the supervisor, how each call ended. Errors of drivers and protocols are translated here, once.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, Protocol

from .actions import StopReason
from .driver import Container
from .errors import (
    BadReply,
    CallError,
    InstanceExited,
    InvalidCall,
    LocalProtocolError,
    RemoteProtocolError,
    ReplyTooLarge,
    said,
)
from .model import Call, Exit, FunctionSpec, Headers
from .protocol import Connection, Event, ReplyBody, ReplyEnd, ReplyHead
from .stderr import StderrReader


class Owner(Protocol):
    """Whom an instance reports to. Every method may hand the instance its next call before it returns."""

    def reply_received(
        self, instance: Instance, call_id: str, head: ReplyHead, body: bytes, retire: StopReason | None
    ) -> None: ...

    def call_broke(self, instance: Instance, call_id: str, error: CallError, retire: StopReason) -> None: ...

    def disturbed(self, instance: Instance, reason: StopReason) -> None: ...

    def exited(self, instance: Instance) -> None: ...


class Instance:
    """One copy of a function.

    `number` is its name in the rules, `id` its name for people. `container` is there once it was launched. `exit` is
    there once it is gone. `stop_reason` is why it was told to end, "" before. `trouble` is what it did wrong while it
    had no call, for a log and an error message. `heard` is for the owner: the last head and what it made of it.
    """

    __slots__ = (
        "_body",
        "_connection",
        "_early",
        "_head",
        "_hot",
        "_max_response",
        "_owner",
        "_size",
        "_spec",
        "_stderr",
        "call",
        "closing",
        "container",
        "exit",
        "heard",
        "id",
        "number",
        "served",
        "stop_reason",
        "trouble",
    )

    def __init__(
        self,
        owner: Owner,
        spec: FunctionSpec,
        number: int,
        id: str,
        connection: Connection,
        stderr: StderrReader,
        *,
        hot: bool,
    ) -> None:
        self.number = number
        self.id = id
        self.container: Container | None = None
        self.call: Call | None = None
        self.closing = False  # it is being stopped: what it still says is nobody's
        self.exit: Exit | None = None
        self.heard: tuple[ReplyHead | None, Headers | None] = (None, None)
        self.served = 0
        self.stop_reason: StopReason | Literal[""] = ""
        self.trouble = ""
        self._early: list[bytes] = []  # what a cold copy wrote before it was given its call
        self._owner = owner
        self._spec = spec
        self._connection = connection
        self._stderr = stderr
        self._hot = hot
        self._max_response = spec.max_response
        self._head: ReplyHead | None = None
        self._body: list[bytes] = []
        self._size = 0

    # ---- what the supervisor calls

    def begin(self, call: Call, expires: float) -> None:
        """Write the call to the copy. `expires` is wall-clock time.

        Raises InvalidCall when the protocol cannot carry it; nothing was written then and the copy is as it was.
        Whatever else a stranger's protocol or driver raises goes through; `call` says whether it began to be written.
        """
        try:
            data = self._connection.encode(call, expires)
        except LocalProtocolError as error:
            raise InvalidCall(error.message) from error
        container = self.container
        assert container is not None
        self.call = call
        self.served += 1
        if isinstance(data, bytes):
            container.write(data)
        else:
            for piece in data:
                container.write(piece)
        if not self._hot:
            container.write_eof()
            early, self._early, self._size = self._early, [], 0  # counted again as it is read again
            for piece in early:
                self.stdout_received(piece)

    def end_call(self) -> None:
        """The call is over for its caller; whatever of its reply is here or still comes is dropped."""
        self.call = None
        self._head = None
        self._body = []
        self._size = 0

    def exit_error(self) -> InstanceExited:
        """Explain to a caller how the copy ended under its call."""
        exit = self.exit or Exit()
        if exit.memory is None:
            exit = exit._replace(memory=self._spec.memory)
        text = f"{self._spec.full_name} {exit} before it had answered"
        if exit.oom and exit.memory is not None:
            text += "; raise memory, or have it use less"
        if self.trouble:
            text += f" ({self.trouble})"
        return InstanceExited(text + self.last_words())

    def last_words(self) -> str:
        """Return the last lines of stderr as the end of an error message, "" when there are none."""
        tail = self._stderr.tail()
        return f"; its last lines on stderr:\n{tail}" if tail else ""

    # ---- what the container calls (the Receiver)

    def stdout_received(self, data: bytes) -> None:
        """Take bytes of a reply, and hand it over when it is whole."""
        if self.closing:
            return
        call = self.call
        if call is None and not self._hot:
            self._hold(data)
            return
        reply: tuple[ReplyHead, bytes, ReplyEnd] | None = None
        try:
            events = self._connection.receive(data)
            if len(events) == 3 and call is not None and not self._body:  # as most come: looked at in one step
                reply = self._whole(*events)
            end = self._collect(events) if events and reply is None else None
        except Exception as error:  # RemoteProtocolError, or a stranger's protocol that fails in its own way
            self._broken(error)
            return
        if reply is not None:
            self._hand_over(call, *reply)  # type: ignore[arg-type]
        elif end is not None:
            self._finish(end)

    def stderr_received(self, data: bytes) -> None:
        """Take bytes of the log."""
        call = self.call
        self._stderr.feed(data, call.id if call is not None else "")

    def stdout_eof(self) -> None:
        """No more of a reply can come. A cold protocol waits for the exit code all the same."""
        if not self._hot or self.closing:
            return
        if self.call is None:
            self._broken(RemoteProtocolError("it closed its stdout and kept running"), idle="protocol_error")
            return
        try:
            end = self._ended()
        except Exception as error:  # as in stdout_received
            self._broken(error)
            return
        self._finish(end)

    def stream_ended(self) -> bool:
        """Take the end of a connection for the end of the reply, if it can be that. Returns whether it was."""
        try:
            end = self._ended()
        except Exception:  # as in stdout_received; if it stays at that, `stdout_eof` says so
            return False
        self._finish(end)
        return True

    def _ended(self) -> ReplyEnd:
        end = self._collect(self._connection.stream_closed())
        if end is None:
            raise RemoteProtocolError("the protocol reports no end of a reply whose stream has ended")
        return end

    def exited(self, exit: Exit) -> None:
        """The copy is gone. Its end may be what completes the reply."""
        self.exit = exit
        if self.call is not None and not self.closing:
            self._last_events(exit)
        self._stderr.finish()
        self._owner.exited(self)

    # ---- replies

    def _hold(self, data: bytes) -> None:
        """A cold copy need not read its stdin to answer, so it may be faster than the call that is written to it."""
        self._early.append(data)
        self._size += len(data)
        if self._size > self._max_response:
            self._broken(self._too_large())

    def _too_large(self) -> ReplyTooLarge:
        return ReplyTooLarge(f"its reply is larger than max_response, {self._spec.max_response} bytes")

    def _collect(self, events: Sequence[Event]) -> ReplyEnd | None:
        """Take parts of a reply and return its end when it is whole. Raises RemoteProtocolError for what is none."""
        if self.call is None:
            raise RemoteProtocolError("it answered when nobody had asked")
        end: ReplyEnd | None = None
        for event in events:
            if end is not None:
                raise RemoteProtocolError("the protocol reports more after the end of a reply")
            kind = event.__class__
            if kind is ReplyBody:
                data: bytes = event[0]  # type: ignore[assignment]
                self._body.append(data)
                self._size += len(data)
            elif kind is ReplyHead:
                self._head = event  # type: ignore[assignment]
            elif kind is ReplyEnd:
                end = event  # type: ignore[assignment]
            else:
                raise RemoteProtocolError(f"the protocol reports {event!r}, which is no event")
        if self._size > self._max_response:
            raise self._too_large()
        if end is not None and self._head is None:
            raise RemoteProtocolError("the protocol reports a reply without a head")
        return end

    def _whole(self, head: Event, piece: Event, end: Event) -> tuple[ReplyHead, bytes, ReplyEnd] | None:
        """Return a whole reply, None for what must be looked at event by event."""
        if head.__class__ is ReplyHead and piece.__class__ is ReplyBody and end.__class__ is ReplyEnd:
            body: bytes = piece[0]
            if len(body) <= self._max_response:
                return head, body, end
        return None

    def _finish(self, end: ReplyEnd) -> None:
        """Hand over the reply that has come in pieces."""
        body = self._body[0] if len(self._body) == 1 else b"".join(self._body)
        assert self.call is not None
        assert self._head is not None
        self._body, self._size = [], 0
        self._hand_over(self.call, self._head, body, end)

    def _hand_over(self, call: Call, head: ReplyHead, body: bytes, end: ReplyEnd) -> None:
        """Tell the owner, who may begin the next call inside of that."""
        retire: StopReason | None = None
        if end.excess:
            retire = "excess_output"
        elif not (end.reusable and self._hot):
            retire = "recycled"
        if end.hangup and self.container is not None:
            self.container.write_eof()
        self.call = self._head = None
        self._owner.reply_received(self, call.id, head, body, retire)

    def _broken(self, error: Exception, idle: StopReason = "excess_output") -> None:
        """The copy is out of step: it ends, and the call it has with it. `idle` is the reason when it has none."""
        if isinstance(error, RemoteProtocolError):
            what = error.message
        else:
            what = f"the protocol {self._spec.format!r} failed: {type(error).__name__}: {error}"
        self.trouble = what
        call, self.closing = self.call, True
        if call is None:
            self._owner.disturbed(self, idle)
            return
        self.end_call()
        broke = BadReply(f"{self._spec.full_name} gave a bad reply: {what}{self.last_words()}")
        broke.__cause__ = error
        too_large = isinstance(error, ReplyTooLarge)
        self._owner.call_broke(self, call.id, broke, "excess_output" if too_large else "protocol_error")

    def _last_events(self, exit: Exit) -> None:
        try:
            events = self._connection.receive_eof(exit)
        except Exception as error:  # as in stdout_received; the caller is told how the copy ended and this
            self.trouble = said(error)
            return
        try:
            end = self._collect(events) if events else None
        except Exception as error:  # as in stdout_received
            self._broken(error)
            return
        if end is not None:
            self._finish(end._replace(reusable=False))  # whatever a stranger's protocol says: nothing is left to reuse
