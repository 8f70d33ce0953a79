"""The error tree: whose fault was it, and may I retry?

`CallRejected`: the call never reached the function; calling again is safe.
`CallFailed`: the function may have run; only the caller knows whether calling again is safe.
Every error carries a stable `code`, the HTTP `status` a server would answer with, and `retry_after` in
seconds where waiting helps. Cancellation is never wrapped in any of these.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import ClassVar


class HotfnError(Exception):
    """Base of everything hotfn raises on purpose.

    `message` is written for the person who reads it: what happened, whose fault, what to do.
    `retry_after` is in seconds, or None where waiting does not help.
    """

    code: ClassVar[str] = "error"
    default_status: ClassVar[int] = 500

    def __init__(self, message: str, *, status: int | None = None, retry_after: float | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.status = self.default_status if status is None else status
        self.retry_after = retry_after


class CallError(HotfnError):
    """A call that got no reply.

    Filled in by the supervisor: `call_id`, `function` ("app/name"), `instance` ("" when no copy had the call), and how
    it went, as in a Reply: `cold_reason`, `queued`, `started` and `ran`, the spans in seconds.
    """

    code = "call_error"

    def __init__(
        self,
        message: str,
        *,
        call_id: str = "",
        function: str = "",
        status: int | None = None,
        retry_after: float | None = None,
    ) -> None:
        super().__init__(message, status=status, retry_after=retry_after)
        self.call_id = call_id
        self.function = function
        self.instance = ""
        self.cold_reason = ""
        self.queued = self.started = self.ran = 0.0


class CallRejected(CallError):
    """The call never reached the function. Calling again is safe."""

    code = "rejected"
    default_status = 503


class UnknownFunction(CallRejected):
    """No function of that name is registered."""

    code = "unknown_function"
    default_status = 404


class InvalidCall(CallRejected):
    """The call cannot be written in the function's IO protocol: the caller must change it."""

    code = "invalid_call"
    default_status = 400


class TooLarge(CallRejected):
    """The request body is larger than `max_request`."""

    code = "too_large"
    default_status = 413


class Saturated(CallRejected):
    """All `max_concurrency` instances are busy and `max_queue` calls wait already."""

    code = "saturated"


class QueueTimeout(CallRejected):
    """The call waited `queue_timeout` (or until its own deadline) and no instance became free."""

    code = "queue_timeout"


class LaunchFailed(CallRejected):
    """No instance could be started. The driver's own error is the `__cause__` where there is one."""

    code = "launch_failed"
    default_status = 502


class ShuttingDown(CallRejected):
    """The manager drains or is closed and takes no calls."""

    code = "shutting_down"


class CallFailed(CallError):
    """The function may have run. Calling again may run it twice."""

    code = "failed"
    default_status = 502


class CallTimeout(CallFailed):
    """The function had the call for `timeout` seconds (or until the call's deadline) without answering."""

    code = "call_timeout"
    default_status = 504


class InstanceExited(CallFailed):
    """The function's process or container ended before it had answered. The message ends with its last stderr lines."""

    code = "instance_exited"


class BadReply(CallFailed):
    """The function answered something that is not a reply in its IO protocol, or too much of it."""

    code = "bad_reply"


class CallAborted(CallFailed):
    """The manager was closed, or its drain limit passed, while the function had the call."""

    code = "aborted"
    default_status = 503


class DriverError(HotfnError):
    """A container driver could not do what it was asked. Raised by drivers; callers see `LaunchFailed`."""

    code = "driver_error"
    default_status = 502


class DriverUnavailable(DriverError):
    """The driver's engine is missing, stopped or out of reach. The message says what to do about it."""

    code = "driver_unavailable"
    default_status = 503


class ProtocolError(HotfnError):
    """Base of the two errors an IO protocol raises."""

    code = "protocol_error"


class LocalProtocolError(ProtocolError):
    """The caller asked for something the IO protocol cannot carry. Nothing was written; callers see `InvalidCall`."""

    code = "local_protocol_error"
    default_status = 400


class RemoteProtocolError(ProtocolError):
    """The function broke the IO protocol. Its instance is stopped; callers see `BadReply`."""

    code = "remote_protocol_error"
    default_status = 502


class ReplyTooLarge(RemoteProtocolError):
    """The function sent a head or a body over the limit."""

    code = "reply_too_large"


class ConfigError(HotfnError):
    """A description of a function is wrong. `field` names the culprit ("" when it is not one field)."""

    code = "config_error"
    default_status = 400

    def __init__(self, message: str, *, field: str = "") -> None:
        super().__init__(message)
        self.field = field


class PluginError(HotfnError):
    """A plugin is broken. `plugin` and `distribution` name it."""

    code = "plugin_error"

    def __init__(self, message: str, *, plugin: str = "", distribution: str = "") -> None:
        super().__init__(message)
        self.plugin = plugin
        self.distribution = distribution


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """Return `; did you mean "x"?` for the nearest known word, or an empty string."""
    import difflib  # costs 3 ms to import and is only needed on the way to an error

    near = difflib.get_close_matches(word, list(known), n=1, cutoff=0.6)
    return f'; did you mean "{near[0]}"?' if near else ""


def said(error: BaseException) -> str:
    """Return the message of one of our errors; of a stranger's also its type, without which it may say nothing."""
    return error.message if isinstance(error, HotfnError) else f"{type(error).__name__}: {error}"
