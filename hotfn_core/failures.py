"""From the rules' short codes to errors that a caller can read: what happened, whose fault, what to do."""

from __future__ import annotations

from collections.abc import Callable

from .actions import Fail
from .errors import (
    CallAborted,
    CallError,
    CallTimeout,
    HotfnError,
    InstanceExited,
    LaunchFailed,
    QueueTimeout,
    Saturated,
    ShuttingDown,
    said,
)
from .model import FunctionSpec


def call_error(action: Fail, spec: FunctionSpec, cause: BaseException | None, paced: int = 0) -> CallError:
    """Make the error for a Fail. `cause` is the last failed start's error, `paced` the crashes for which launches are
    held back, 0 when they are not. Of an exit the instance can say more."""
    error = _MAKERS[action.code](spec, cause)
    if action.code in ("queue_timeout", "saturated"):
        held_back(error, paced)
    if action.retry_after is not None:  # the longer of hotfn's own back-off and what the driver says
        error.retry_after = max(action.retry_after, error.retry_after or 0.0)
    return error


def held_back(error: CallError, paced: int) -> CallError:
    """Say in the error that so many crashes in a row hold starts back; nothing when that is 0."""
    if paced:
        error.message += f"; the last {paced} copies ended under their first call, so starts are held back"
        error.args = (error.message,)
    return error


def _saturated(spec: FunctionSpec, _cause: BaseException | None) -> CallError:
    return Saturated(
        f"{spec.full_name} is saturated: max_concurrency ({spec.max_concurrency}) copies are busy and max_queue "
        f"({spec.max_queue}) calls wait; call again later or raise one of them"
    )


def _queue_timeout(spec: FunctionSpec, cause: BaseException | None) -> CallError:
    text = (
        f"no copy of {spec.full_name} became free in time (queue_timeout {spec.queue_timeout:g} s, or the call's own "
        f"deadline); call again later or raise max_concurrency"
    )
    return QueueTimeout(text + (f"; the last start failed: {_text(cause)}" if cause else ""))


def _launch_failed(spec: FunctionSpec, cause: BaseException | None) -> CallError:
    error = LaunchFailed(f"{spec.full_name} could not be started: {_text(cause)}")
    if isinstance(cause, HotfnError):
        error.status, error.retry_after = cause.status, cause.retry_after
    error.__cause__ = cause
    return error


def _shutting_down(spec: FunctionSpec, _cause: BaseException | None) -> CallError:
    return ShuttingDown(f"{spec.full_name} takes no calls: it is shutting down")


def _call_timeout(spec: FunctionSpec, _cause: BaseException | None) -> CallError:
    return CallTimeout(
        f"{spec.full_name} did not answer in time (timeout {spec.timeout:g} s, or the call's own deadline); "
        f"its copy is stopped"
    )


def _aborted(spec: FunctionSpec, _cause: BaseException | None) -> CallError:
    return CallAborted(f"{spec.full_name} was shut down before it had answered")


def _exited(spec: FunctionSpec, _cause: BaseException | None) -> CallError:
    return InstanceExited(f"a copy of {spec.full_name} ended just as it was given the call")


def _text(cause: BaseException | None) -> str:
    if cause is None:
        return "its copies end before their first call"
    return said(cause) if isinstance(cause, HotfnError) else f"the driver failed: {said(cause)}"


_MAKERS: dict[str, Callable[[FunctionSpec, BaseException | None], CallError]] = {
    "saturated": _saturated,
    "queue_timeout": _queue_timeout,
    "launch_failed": _launch_failed,
    "shutting_down": _shutting_down,
    "call_timeout": _call_timeout,
    "aborted": _aborted,
    "instance_exited": _exited,
}


def not_in_time(spec: FunctionSpec) -> CallError:
    """The call's own deadline passed while its function was made ready."""
    error = QueueTimeout(
        f"{spec.full_name} was still being made ready when the call's own deadline passed; call it later"
    )
    error.function = spec.full_name
    return error


def unavailable(spec: FunctionSpec, cause: Exception) -> CallError:
    """The driver could not be opened: no call can reach the function."""
    error = _launch_failed(spec, cause)
    error.function = spec.full_name
    return error


def closing(spec: FunctionSpec) -> ShuttingDown:
    """The manager takes no calls any more."""
    return ShuttingDown(f"{spec.full_name} takes no calls: the manager is shutting down", function=spec.full_name)
