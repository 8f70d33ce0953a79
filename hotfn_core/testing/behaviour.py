"""What the copies of a `FakeDriver` do: how long everything takes, and what goes wrong."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass


@dataclass(slots=True)
class Behaviour:
    """What one copy does, or what one answer is like. All times are in seconds.

    Of the copy: `start` is how long `launch` takes, `start_error` makes it fail, `uncancellable` that it cannot be
    called back. `early` is said and `early_exit` exited with before `launch` returns. `stop` is how long the copy takes
    to end when it is asked, `deaf` that it has to be killed, `refusals` how often the engine refuses to stop it. After
    `dies_idle` without a call it exits. `freeze` and `thaw` are how long those take, `freeze_error` and
    `thaw_error` make them fail after that, `thaw_exit` that the copy exits when it is thawed.

    Of each answer: `answer` is how long it takes, `sync` that it comes from inside of the write (which no driver may
    do), `never` that it does not come, `eof` that stdout is closed instead, `exit` that the copy exits with that code
    instead, `garbage` that it is no reply, `late` that a second reply follows after that time, `excess` that bytes
    follow in the same chunk, `pieces` in how many chunks it comes and `gap` the time between them, `stderr` what is
    written to the log halfway.
    """

    start: float = 0.0
    start_error: str = ""
    uncancellable: bool = False
    early: bytes = b""
    early_exit: int | None = None
    stop: float = 0.0
    deaf: bool = False
    refusals: int = 0
    dies_idle: float | None = None
    freeze: float = 0.0
    freeze_error: str = ""
    thaw: float = 0.0
    thaw_error: str = ""
    thaw_exit: int | None = None
    answer: float = 0.0
    sync: bool = False
    never: bool = False
    eof: bool = False
    exit: int | None = None
    garbage: bool = False
    late: float | None = None
    excess: bool = False
    pieces: int = 1
    gap: float = 0.0
    stderr: bytes = b""


Script = Callable[[random.Random], Behaviour]
"""Draws the behaviour of a new copy, and of each answer."""
