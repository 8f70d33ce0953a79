"""The pluggy hooks. A plugin is a module or an object with functions of these names marked `@hookimpl`, named by an
entry point of the group `hotfn`.

Hooks introduce, objects work: the registering hooks are called once per manager and return factories by name; after
that hotfn calls methods of the drivers and protocols. Observers must not block: they run on the event loop, in
the path of the call they are told of. One that raises is logged and ignored.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, NamedTuple

import pluggy

from .driver import Driver
from .protocol import IOProtocol

if TYPE_CHECKING:
    import click

ENTRY_POINT_GROUP = "hotfn"

hookspec = pluggy.HookspecMarker("hotfn")
hookimpl = pluggy.HookimplMarker("hotfn")


class CallReport(NamedTuple):
    """How one call ended. `error` is the error's code, "" for a reply; `status` is the reply's or the error's.
    `instance` is "" for a call that reached none. Spans are in seconds, as in Reply."""

    function: str
    call_id: str
    instance: str
    status: int
    error: str
    cold_reason: str
    queued: float
    started: float
    ran: float


class InstanceChange(NamedTuple):
    """A copy came to a new state: `starting`, `idle`, `busy`, `frozen`, `stopping` or `gone`.

    `reason`: why it was started (`first`, `all_busy`, `recycled`, `after_failure`, `min_instances`) or stopped
    (`idle`, `recycled`, `timeout`, `cancelled`, `protocol_error`, `excess_output`, `exited`, `drained`,
    `start_failed`, `freeze_failed`, `thaw_failed`). Idle and busy are reported for the first time only, not for every
    call. Frozen is reported every time, and so is the end of it: idle, with the reason `thawed`.
    """

    function: str
    instance: str
    container: str
    state: str
    reason: str


class StderrLine(NamedTuple):
    """One line that a copy wrote to its stderr, without its newline. `call_id` is the call that was running, or
    "". `truncated` when the line was longer than the limit or stands for lines that were dropped."""

    function: str
    instance: str
    call_id: str
    text: str
    truncated: bool


@hookspec
def hotfn_register_drivers() -> Mapping[str, Callable[[], Driver]]:
    """Return the drivers that this plugin brings, as name -> factory without arguments (the class itself will do).

    Import an engine's client inside the factory: the hook is called for every command."""
    raise NotImplementedError


@hookspec
def hotfn_register_protocols() -> Mapping[str, Callable[[], IOProtocol]]:
    """Return the IO protocols that this plugin brings, as name -> factory without arguments."""
    raise NotImplementedError


@hookspec
def hotfn_register_commands(cli: click.Group) -> None:
    """Add commands to the `hotfn` command line."""


@hookspec
def hotfn_call_finished(report: CallReport) -> None:
    """A call ended, with a reply or with an error."""


@hookspec
def hotfn_instance_changed(change: InstanceChange) -> None:
    """A copy of a function was started, became ready, was frozen or thawed, is being stopped, or is gone."""


@hookspec
def hotfn_stderr_line(line: StderrLine) -> None:
    """A copy of a function wrote a line to its stderr."""
