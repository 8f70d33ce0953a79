"""Each error says what happened, whose fault it was and whether to try again: with code, status and its last words."""

from __future__ import annotations

import asyncio
import logging
from typing import Any

import pytest

from hotfn_core import (
    CallError,
    CallFailed,
    CallRejected,
    DriverError,
    DriverUnavailable,
    Exit,
    FunctionSpec,
    InstanceExited,
    Manager,
    hookimpl,
)
from hotfn_core.testing import Behaviour, FakeDriver, fake_spec, simulate

from .world import ended, managed, now, outcome


@pytest.mark.parametrize(
    ("behaviour", "fields", "kind", "code", "status", "when", "message"),
    [
        (
            Behaviour(start_error="no such image"),
            {},
            CallRejected,
            "launch_failed",
            502,
            0,
            "default/f could not be started: no such image",
        ),
        (
            Behaviour(start=9.0),
            {"start_timeout": 2.0},
            CallRejected,
            "launch_failed",
            504,
            2,
            "default/f could not be started: it took longer to start than start_timeout, 2 s",
        ),
        (
            Behaviour(start=9.0),
            {"queue_timeout": 2.0},
            CallRejected,
            "queue_timeout",
            503,
            2,
            "no copy of default/f became free in time (queue_timeout 2 s, or the call's own deadline)",
        ),
        (
            Behaviour(never=True),
            {"timeout": 2.0},
            CallFailed,
            "call_timeout",
            504,
            2,
            "default/f did not answer in time (timeout 2 s, or the call's own deadline); its copy is stopped",
        ),
        (
            Behaviour(never=True),
            {"timeout": 2.0, "format": "fake-cold"},
            CallFailed,
            "call_timeout",
            504,
            2,
            "default/f did not answer in time",
        ),
        (
            Behaviour(exit=3, answer=1.0),
            {},
            CallFailed,
            "instance_exited",
            502,
            1,
            "default/f exited with code 3 before it had answered",
        ),
        (
            Behaviour(exit=0, answer=1.0),
            {"format": "fake-cold"},
            CallFailed,
            "instance_exited",
            502,
            1,
            "default/f exited with code 0 before it had answered (b'' is not one line)",
        ),
        (
            Behaviour(garbage=True, answer=1.0),
            {},
            CallFailed,
            "bad_reply",
            502,
            1,
            "default/f gave a bad reply: b'?! no reply' is no reply",
        ),
        (
            Behaviour(eof=True, answer=1.0),
            {},
            CallFailed,
            "bad_reply",
            502,
            1,
            "default/f gave a bad reply: it closed its stdout and kept running",
        ),
    ],
)
def test_each_has_its_kind_its_code_its_status_its_time_and_its_words(
    behaviour: Behaviour,
    fields: dict[str, Any],
    kind: type[CallError],
    code: str,
    status: int,
    when: float,
    message: str,
) -> None:
    error = ended(behaviour, **fields)
    assert isinstance(error, kind)
    assert (error.code, error.status) == (code, status)
    assert error.message.startswith(message)
    assert error.__notes__ == [f"{when:g}"]


class TestLastWords:
    """What the function said on stderr is what its author needs."""

    def test_they_are_told_with_an_exit_a_bad_reply_and_a_timeout(self) -> None:
        said = b"Traceback\nKeyError: 'x'\n"
        for behaviour in (
            Behaviour(exit=3, answer=1.0, stderr=said),
            Behaviour(garbage=True, answer=1.0, stderr=said),
            Behaviour(answer=100.0, stderr=said),
        ):
            error = ended(behaviour, timeout=60.0)
            assert error.message.endswith("; its last lines on stderr:\nTraceback\nKeyError: 'x'"), error.message
            assert str(error) == error.message

    def test_a_flood_of_them_is_cut(self) -> None:
        error = ended(Behaviour(exit=3, answer=1.0, stderr=b"line\n" * 100_000))
        assert len(error.message) < 5000

    def test_a_copy_that_dies_while_idle_is_why_the_next_start_is_needed(self) -> None:
        async def main() -> None:
            driver = FakeDriver(Behaviour(dies_idle=0.5, start=1.0))
            async with managed(driver) as manager:
                manager.register(fake_spec(min_instances=1))
                await asyncio.sleep(1.2)
                next(iter(driver.alive)).log(b"licence expired\n")
                await asyncio.sleep(0.31)
                error = await outcome(manager.call("f"))
                assert isinstance(error, CallError)
                assert "a copy exited with code 0 while it was idle" in error.message
                assert error.message.endswith("licence expired")
                assert error.retry_after is not None

        simulate(main)


RAISE = "raise memory, or have it use less"


class TestExits:
    @pytest.mark.parametrize(
        ("exit", "message"),
        [
            (Exit(code=1), "default/f exited with code 1 before it had answered"),
            (Exit(signal=9), "default/f was killed by signal 9 before it had answered"),
            (Exit(), "default/f was lost before it had answered"),
            (Exit(detail="engine gone"), "default/f was lost (engine gone) before it had answered"),
            (
                Exit(code=137, oom=True),
                "default/f ran out of memory, limit 64 MB, and was killed before it had answered; " + RAISE,
            ),
            (
                Exit(code=3, oom=True, memory=32),
                "default/f ran out of memory, limit 32 MB, and exited with code 3 before it had answered; " + RAISE,
            ),
        ],
    )
    def test_how_it_ended_is_told(self, exit: Exit, message: str) -> None:
        async def main() -> None:
            driver = FakeDriver(Behaviour(never=True))
            async with managed(driver) as manager:
                call = asyncio.create_task(outcome(manager.call(fake_spec(memory=64))))
                await asyncio.sleep(1.0)
                next(iter(driver.alive)).die(exit)
                error = await call
                assert isinstance(error, InstanceExited)
                assert error.message == message
                assert now() == 1.0

        simulate(main)

    def test_out_of_memory_without_a_limit_of_ours_names_none(self) -> None:
        async def main() -> None:
            driver = FakeDriver(Behaviour(never=True))
            async with managed(driver) as manager:
                call = asyncio.create_task(outcome(manager.call(fake_spec())))
                await asyncio.sleep(1.0)
                next(iter(driver.alive)).die(Exit(oom=True))
                error = await call
                assert isinstance(error, InstanceExited)
                assert error.message == "default/f ran out of memory and was killed before it had answered"

        simulate(main)


class TestRetryAfter:
    def test_during_back_off_calls_are_rejected_at_once_with_the_time_that_is_left(self) -> None:
        async def main() -> None:
            driver = FakeDriver(Behaviour(start_error="boom"))
            async with managed(driver) as manager:
                for failures in range(1, 6):
                    launched = driver.launches
                    error = await outcome(manager.call(fake_spec()))
                    assert isinstance(error, CallError)
                    assert driver.launches == launched + 1
                    delay = 0.1 * 2 ** (failures - 1)
                    assert error.retry_after is not None
                    assert delay / 2 <= error.retry_after <= delay
                    rejected = await outcome(manager.call(fake_spec()))
                    assert isinstance(rejected, CallError)
                    assert (rejected.code, rejected.retry_after) == ("launch_failed", error.retry_after)
                    assert "boom" in rejected.message
                    assert driver.launches == launched + 1  # not even tried
                    await asyncio.sleep(error.retry_after + 0.001)

        simulate(main, 5)

    def test_an_unavailable_engine_keeps_its_status(self) -> None:
        class Down(FakeDriver):
            async def launch(self, *_: object) -> Any:
                raise DriverUnavailable("the engine is gone")

        async def main() -> None:
            async with managed(Down()) as manager:
                error = await outcome(manager.call(fake_spec()))
                assert isinstance(error, CallError)
                assert (error.code, error.status) == ("launch_failed", 503)
                assert isinstance(error.__cause__, DriverUnavailable)

        simulate(main)


def test_what_is_too_large_is_counted_where_nobody_listens() -> None:
    assert ended(Behaviour(), max_request=0).code == "too_large"


def test_b45_an_error_has_the_words_of_the_function_and_no_traceback_of_ours() -> None:
    class Broken(FakeDriver):
        async def launch(self, *_: object) -> Any:
            raise KeyError("secret", {"token": "abc"})

    async def main() -> None:
        async with managed(Broken()) as manager:
            error = await outcome(manager.call(fake_spec(env={"TOKEN": "hunter2"})))
            assert isinstance(error, CallError)
            assert "hunter2" not in error.message
            assert "Traceback" not in error.message

    simulate(main)


def test_a_plugin_that_is_broken_is_said_when_the_manager_is_made(caplog: pytest.LogCaptureFixture) -> None:
    class Odd:
        @hookimpl
        def hotfn_register_drivers(self) -> Any:
            return ["not", "a", "mapping"]

    with caplog.at_level(logging.WARNING, "hotfn"):
        Manager(plugins=[Odd()], entry_points=False)
    assert "Odd" in caplog.text


def test_driver_errors_are_not_call_errors() -> None:
    """Who catches CallError catches all that a call can end in, and nothing else."""

    async def main() -> None:
        async with managed(FakeDriver(Behaviour(start_error="boom"))) as manager:
            with pytest.raises(CallError) as caught:
                await manager.call(FunctionSpec(name="f", driver="fake", format="fake", command=("x",)))
            assert not isinstance(caught.value, DriverError)
            assert isinstance(caught.value.__cause__, DriverError)

    simulate(main)


def test_an_error_says_which_copy_had_the_call_and_for_how_long() -> None:
    async def main() -> None:
        async with managed(FakeDriver(Behaviour(start=0.5), Behaviour(answer=0.25, exit=3))) as manager:
            with pytest.raises(InstanceExited) as caught:
                await manager.call(fake_spec(), b"x")
        error = caught.value
        assert error.instance
        assert (error.cold_reason, error.queued, error.started, error.ran) == ("first", 0.0, 0.5, 0.25)

    simulate(main)
