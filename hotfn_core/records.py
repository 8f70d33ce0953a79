"""What the rules remember about a call, a copy and an alarm. Plain slots: made and read on the hot path."""

from __future__ import annotations

from typing import Literal

from .actions import LaunchReason, StopReason
from .deadlines import NEVER
from .model import Call

Phase = Literal["starting", "idle", "frozen", "thawing", "busy", "stopping"]


class Alarm:
    """A thing with a deadline; see `deadlines.Timed`. By itself: a deadline of the function as a whole."""

    __slots__ = ("armed", "due", "entry")

    def __init__(self) -> None:
        self.due = self.armed = NEVER
        self.entry = 0


class Waiter(Alarm):
    """A call that has not ended. `copy` is the copy that has it or, in a cold protocol, starts for it."""

    __slots__ = ("arrived", "copy", "deadline", "id")

    def __init__(self, call: Call, now: float) -> None:
        self.due = self.armed = NEVER
        self.entry = 0
        self.id = call.id
        self.arrived = now
        self.deadline = NEVER if call.deadline is None else call.deadline
        self.copy: Copy | None = None


class Copy(Alarm):
    """One instance, as far as the rules know it."""

    __slots__ = (
        "aged",
        "call",
        "calls",
        "expires_at",
        "freeze_at",
        "grace",
        "idle_until",
        "last",
        "launched",
        "lined",
        "number",
        "phase",
        "proven",
        "reason",
        "replaces",
        "retry",
        "spare",
        "stop_reason",
    )

    def __init__(self, number: int, reason: LaunchReason, now: float, idle_until: float, retry: float) -> None:
        super().__init__()
        self.number = number
        self.reason = reason
        self.phase: Phase = "starting"
        self.launched = now  # or, if it had to wait in line, when its turn came
        self.lined = False  # it waits in line for its driver
        self.spare = False  # launched for no call: one that waits in line stays there when none waits
        self.calls = 0
        self.proven = False  # it has answered a call
        self.call: Waiter | None = None  # running; in a cold protocol also the one it starts for
        self.last = False  # the call it has is its last
        self.replaces: Copy | None = None
        self.aged = False  # over max_age, and a replacement is starting
        self.idle_until = idle_until  # a replacement that nobody calls lives no longer than what it replaced
        self.expires_at = NEVER  # max_age
        self.freeze_at = NEVER  # while it is idle
        self.stop_reason: StopReason = "idle"
        self.grace = 0.0  # left to it when it was last told to stop
        self.retry = retry  # seconds until it is told to stop again
