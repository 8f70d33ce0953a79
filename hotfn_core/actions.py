"""What the rules tell the supervisor to do: imperative values, compared whole in tests."""

from __future__ import annotations

from typing import Literal, NamedTuple

StopReason = Literal[
    "idle",
    "not_needed",
    "recycled",
    "timeout",
    "cancelled",
    "protocol_error",
    "excess_output",
    "exited",
    "drained",
    "start_failed",
    "freeze_failed",
    "thaw_failed",
]
LaunchReason = Literal["first", "all_busy", "recycled", "after_failure", "min_instances"]
FailCode = Literal[
    "saturated",
    "queue_timeout",
    "launch_failed",
    "shutting_down",
    "call_timeout",
    "instance_exited",
    "aborted",
]


CallEnd = Literal["answered", "broke", "refused"]
"""How a call of a copy has ended: with a reply, badly through the copy, or before anything of it was written."""


class Launch(NamedTuple):
    """Start copy number `copy`, as soon as its driver takes it: `copy_lined_up` and `copy_begun` tell when that is not
    at once. `call_id` is the call it is started for when the protocol is cold, else ""."""

    copy: int
    reason: LaunchReason
    call_id: str = ""


class Assign(NamedTuple):
    """Give the call to the copy, which is busy from now until `expires`.

    `cold` is why the call had to wait for this copy's start, "" when it did not wait for a start; `started` is how
    many seconds of its waiting were that start.
    """

    copy: int
    call_id: str
    expires: float
    cold: str = ""
    started: float = 0.0


class Stop(NamedTuple):
    """Ask the copy to end and kill it after `grace` seconds. Said again with `grace` 0 when that did not help."""

    copy: int
    grace: float
    reason: StopReason


class Freeze(NamedTuple):
    """Suspend the copy, which has no call. It is frozen from now on."""

    copy: int


class Thaw(NamedTuple):
    """Let the frozen copy run again. It starts again, as it were: it is given a call when it reports that it runs."""

    copy: int


class Fail(NamedTuple):
    """End the call with this error. `retry_after` in seconds, None where waiting does not help."""

    call_id: str
    code: FailCode
    retry_after: float | None = None


class Drop(NamedTuple):
    """The function has no copies and no calls and had none for a while: forget its supervisor."""


Action = Launch | Assign | Stop | Freeze | Thaw | Fail | Drop
