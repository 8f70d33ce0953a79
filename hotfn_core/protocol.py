"""The contract of an IO protocol: how calls and replies are written as bytes.

A protocol is a value without IO of its own. `IOProtocol.connect` makes a `Connection` for one running copy;
bytes go in and come out of its methods, and hotfn moves them. Nothing here awaits, sleeps or reads a clock.

The life of a connection, for a hot protocol:

    encode(call)  ->  receive(chunk) ... -> [ReplyHead, ReplyBody..., ReplyEnd]  ->  encode(next call) ...

and for a cold one: encode, then stdin is closed, receive any number of times, `receive_eof(exit)`.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import ClassVar, NamedTuple

from .errors import RemoteProtocolError
from .model import Call, Exit, FunctionSpec


class Limits(NamedTuple):
    """What a connection may hold or pass on, in bytes."""

    max_body: int = 64 * 1024 * 1024
    max_head: int = 64 * 1024


class Listening(NamedTuple):
    """How the streams meet when a copy is not talked to over stdin and stdout: it listens on a unix socket.

    hotfn makes a fresh directory for each copy, tells the copy with `IOProtocol.listener_environment` where in it the
    socket is to be, and connects to it as soon as it is there: the socket `name`, or a link of that name to one in the
    same directory. A copy that does not listen `within` so many seconds of its start has failed; that is longer while
    more copies start than there are processors, and `start_timeout` counts as ever. One connection carries
    one call after another. hotfn closes it after `idle` to twice as many seconds without a call, and the next call gets
    a new one, as it does when the copy has closed it. What the copy writes to stdout is then part of its log.
    """

    name: str = "lsnr.sock"
    within: float = 5.0
    idle: float = 1.0


class ReplyHead(NamedTuple):
    """The reply has begun. Header names and values are text (latin-1 where the wire is bytes)."""

    status: int
    headers: Sequence[tuple[str, str]]


class ReplyBody(NamedTuple):
    """The next piece of the reply's body."""

    data: bytes


class ReplyEnd(NamedTuple):
    """The reply is complete.

    `reusable` is False when this copy must not get another call: because the function asked for that, because the
    protocol is cold, or because `excess` bytes that nobody asked for followed the reply in the same chunk. `hangup` is
    for copies that listen: the connection ends with this reply, and the next call gets another.
    """

    reusable: bool = True
    excess: int = 0
    hangup: bool = False


Event = ReplyHead | ReplyBody | ReplyEnd


class Connection(ABC):
    """The state of one conversation with one copy. One call at a time.

    After an exception from `receive` or `receive_eof` the connection is never used again.
    """

    @abstractmethod
    def encode(self, call: Call, expires: float) -> bytes | Sequence[bytes]:
        """Return the bytes that carry `call`, as one piece or as several that are written one after another.

        Called when no call is running. `expires` is when hotfn gives up on the call, in seconds since the epoch
        (wall clock), for the protocols that tell the function its deadline. Return a large body as a piece of its
        own (`[head, call.body]`), so that it is not copied.
        Raises LocalProtocolError when the protocol cannot carry this call; the connection is then unchanged and
        may be used for the next one.
        """

    @abstractmethod
    def receive(self, data: bytes) -> Sequence[Event]:
        """Take the next bytes of the function's stdout and return what they complete, possibly nothing.

        For one call: one ReplyHead, any number of ReplyBody, one ReplyEnd, and nothing after it. The events are
        the same however the bytes are cut, except for where ReplyBody is cut. Also called when no call is
        running: bytes that the protocol allows between replies (a newline) return no event, all others raise.
        Raises RemoteProtocolError when this is not a reply (ReplyTooLarge when a limit is passed). What is held
        of an incomplete reply is bounded by the limits.
        """

    def stream_closed(self) -> Sequence[Event]:
        """The copy has closed the stream of its replies and runs on. Return the events that complete its reply.

        Called only while a call is running, and after it only when it has completed the reply: then a copy that listens
        lives on, on another connection. Raises RemoteProtocolError when the reply is not complete, as this does.
        """
        raise RemoteProtocolError("it closed its stdout and kept running")

    @abstractmethod
    def receive_eof(self, exit: Exit) -> Sequence[Event]:
        """The copy has ended; nothing follows. Return the events that its end completes.

        An empty return while a call is running means that the call got no reply: its caller is told how the copy
        ended. Raises RemoteProtocolError when a reply was begun and is cut short in a way worth explaining.
        """


class IOProtocol(ABC):
    """A way to write calls and replies as bytes. Instances are shared by all functions and hold no state.

    `name` is what `format = "..."` names. `hot` says that one copy can serve many calls; the copy of a cold
    protocol gets one call: its environment carries the call, its stdin is closed behind the body. `listening` says
    that its copies, which must be hot, listen on a socket: what is stdin and stdout elsewhere is the connection then.
    """

    name: ClassVar[str]
    hot: ClassVar[bool] = True
    listening: ClassVar[Listening | None] = None

    @abstractmethod
    def connect(self, limits: Limits) -> Connection:
        """Return a fresh connection for one copy."""

    def environment(self, spec: FunctionSpec) -> Mapping[str, str]:
        """Return what this protocol adds to the environment of every copy. Nobody can override it."""
        return {}

    def listener_environment(self, path: str) -> Mapping[str, str]:
        """Return what tells a copy that listens where its socket is to be. Nobody can override it.

        `path` is absolute, as the copy sees it, and its directory is there. Asked only with `listening`.
        """
        return {}

    def call_environment(self, call: Call, expires: float) -> Mapping[str, str]:
        """Return what this protocol adds to the environment for one call. Asked for cold protocols only.

        `expires` is in seconds since the epoch. Raises LocalProtocolError when the call cannot be carried.
        """
        return {}
