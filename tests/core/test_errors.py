"""The error tree: codes are stable, statuses are right, and each error says whether to retry."""

from __future__ import annotations

import inspect
import pickle

import pytest

import hotfn_core
from hotfn_core import errors
from hotfn_core.errors import CallError, CallFailed, CallRejected, ConfigError, HotfnError, PluginError, did_you_mean

# Class, code, HTTP status. Clients branch on these: a change of a line here is a change of the interface.
TABLE: list[tuple[str, str, int]] = [
    ("HotfnError", "error", 500),
    ("CallError", "call_error", 500),
    ("CallRejected", "rejected", 503),
    ("UnknownFunction", "unknown_function", 404),
    ("InvalidCall", "invalid_call", 400),
    ("TooLarge", "too_large", 413),
    ("Saturated", "saturated", 503),
    ("QueueTimeout", "queue_timeout", 503),
    ("LaunchFailed", "launch_failed", 502),
    ("ShuttingDown", "shutting_down", 503),
    ("CallFailed", "failed", 502),
    ("CallTimeout", "call_timeout", 504),
    ("InstanceExited", "instance_exited", 502),
    ("BadReply", "bad_reply", 502),
    ("CallAborted", "aborted", 503),
    ("DriverError", "driver_error", 502),
    ("DriverUnavailable", "driver_unavailable", 503),
    ("ProtocolError", "protocol_error", 500),
    ("LocalProtocolError", "local_protocol_error", 400),
    ("RemoteProtocolError", "remote_protocol_error", 502),
    ("ReplyTooLarge", "reply_too_large", 502),
    ("ConfigError", "config_error", 400),
    ("PluginError", "plugin_error", 500),
]
REJECTED = {
    "UnknownFunction", "InvalidCall", "TooLarge", "Saturated", "QueueTimeout", "LaunchFailed", "ShuttingDown",
}  # fmt: skip
FAILED = {"CallTimeout", "InstanceExited", "BadReply", "CallAborted"}


def error_classes() -> dict[str, type[HotfnError]]:
    return {
        name: thing for name, thing in vars(errors).items() if inspect.isclass(thing) and issubclass(thing, HotfnError)
    }


def test_the_table_has_every_error_and_no_other() -> None:
    assert set(error_classes()) == {name for name, _, _ in TABLE}


@pytest.mark.parametrize(("name", "code", "status"), TABLE)
def test_code_and_status_are_stable(name: str, code: str, status: int) -> None:
    error = error_classes()[name]("what happened")
    assert (error.code, error.status) == (code, status)
    assert str(error) == error.message == "what happened"
    assert error.retry_after is None


def test_every_code_belongs_to_one_class() -> None:
    codes = [error.code for error in error_classes().values()]
    assert len(codes) == len(set(codes))


def test_every_error_can_be_imported_from_the_package() -> None:
    assert all(getattr(hotfn_core, name) is error for name, error in error_classes().items())


def test_a_call_is_either_rejected_or_failed() -> None:
    kinds = error_classes()
    assert {name for name, kind in kinds.items() if issubclass(kind, CallRejected)} - {"CallRejected"} == REJECTED
    assert {name for name, kind in kinds.items() if issubclass(kind, CallFailed)} - {"CallFailed"} == FAILED
    calls = {name for name, kind in kinds.items() if issubclass(kind, CallError)}
    assert calls == REJECTED | FAILED | {"CallError", "CallRejected", "CallFailed"}


def test_no_error_swallows_cancellation_or_an_interrupt() -> None:
    assert all(issubclass(kind, Exception) for kind in error_classes().values())


def test_a_call_error_names_its_call_and_its_function() -> None:
    error = errors.CallTimeout("late", call_id="c1", function="app/f")
    assert (error.call_id, error.function) == ("c1", "app/f")
    assert (errors.CallTimeout("late").call_id, errors.CallTimeout("late").function) == ("", "")


def test_a_status_and_a_retry_can_be_given() -> None:
    error = errors.LaunchFailed("no such image", status=404, retry_after=1.5)
    assert (error.status, error.retry_after) == (404, 1.5)
    assert errors.LaunchFailed.default_status == 502  # the class is as it was
    driver = errors.DriverError("pulling", status=401, retry_after=0.0)
    assert (driver.status, driver.retry_after) == (401, 0.0)


def test_a_config_error_names_its_field_and_a_plugin_error_its_plugin() -> None:
    assert ConfigError("bad", field="memory").field == "memory"
    assert ConfigError("bad").field == ""
    error = PluginError("broken", plugin="p", distribution="p-dist")
    assert (error.plugin, error.distribution) == ("p", "p-dist")


@pytest.mark.parametrize(
    "error",
    [
        errors.Saturated("full", call_id="c1", function="a/f", retry_after=2.0),
        errors.LaunchFailed("no", status=404),
        ConfigError("bad", field="memory"),
        PluginError("broken", plugin="p", distribution="d"),
    ],
    ids=lambda error: type(error).__name__,
)
def test_an_error_crosses_a_process_border_whole(error: HotfnError) -> None:
    copy = pickle.loads(pickle.dumps(error))
    assert type(copy) is type(error)
    assert vars(copy) == vars(error)
    assert str(copy) == str(error)


def test_every_error_says_what_it_means() -> None:
    assert all(inspect.cleandoc(kind.__doc__ or "") for kind in error_classes().values())


def test_a_near_miss_gets_a_suggestion_and_nonsense_does_not() -> None:
    assert did_you_mean("memroy", ["memory", "timeout"]) == '; did you mean "memory"?'
    assert did_you_mean("zzz", ["memory", "timeout"]) == ""
    assert did_you_mean("memory", []) == ""
