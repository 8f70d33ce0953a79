"""Flaws of the systems before this one, held on engines: calls and their ends. docs/flaws.md says what each was."""

from __future__ import annotations

import asyncio
import gc
import json
import threading
import time
from collections.abc import Coroutine
from typing import Any

import pytest

from hotfn_core import (
    BadReply,
    CallAborted,
    CallTimeout,
    InstanceExited,
    Manager,
    ShuttingDown,
    TooLarge,
)

from .calling import HOT, Log, copies, echo, open_files, run, script, scripted, shell, stats, until
from .setup import Engine

PROMPT = 10.0
"""Seconds that are far below every timeout here, and that a busy machine does not take for what takes one."""


async def took(call: Coroutine[Any, Any, object], expected: type[Exception], match: str | None = None) -> Any:
    """Await a call that fails, promptly, and return its error."""
    began = time.monotonic()
    with pytest.raises(expected, match=match) as caught:
        await call
    assert time.monotonic() - began < PROMPT
    return caught.value


async def killed(engine: Engine, instance: str) -> None:
    """Kill the container of a copy from outside."""
    (container,) = [one for one in engine.ps() if one.labels.get("hotfn.instance") == instance]
    status, _ = engine.api("POST", f"/containers/{container.id}/kill")
    assert status == 204


def tell(line: str) -> bytes:
    """Return the body of a call that writes to stderr and has its reply come a little later.

    Engines carry the two outputs side by side: of what is written at once either may come first.
    """
    return script(stderr=line, body="here", pieces=2, pause=0.15)


def test_w01_a_function_whose_only_container_is_busy_delays_no_other(engine: Engine) -> None:
    async def main() -> None:
        async with Manager() as manager:
            busy = scripted(engine, name="busy", stop_grace=0)
            held = [asyncio.ensure_future(manager.call(busy, script(hang=True))) for _ in range(3)]
            await until(lambda: stats(manager, busy).busy == 1)
            assert (await manager.call(echo(engine), b"other")).body == b"other"
            assert not any(one.done() for one in held)
            for one in held:
                one.cancel()
            await asyncio.wait(held)

    run(main())


def test_w04_and_w05_calls_around_the_end_of_the_idle_time_are_served(engine: Engine) -> None:
    idle = 0.05

    async def one_function(manager: Manager, number: int) -> list[bool]:
        spec = echo(engine, name=f"echo{number}", idle_timeout=idle)
        colds = []
        for count in range(6):
            reply = await manager.call(spec, b"%d" % count)
            assert reply.body == b"%d" % count
            colds.append(reply.cold)
            await asyncio.sleep(idle * (0.5 + 0.1 * (count + number)))
        return colds

    async def main() -> None:
        async with Manager() as manager:
            first, second = await asyncio.gather(*[one_function(manager, number) for number in range(2)])
        assert {*first, *second} == {True, False}

    run(main())


def test_w06_a_container_that_exits_in_mid_call_ends_the_call_at_once(engine: Engine) -> None:
    async def main() -> None:
        async with Manager() as manager:
            spec = scripted(engine)
            error = await took(
                manager.call(spec, script(stderr="about to go\n", exit=3)), InstanceExited, "exited with code 3"
            )
            assert "about to go" in error.message
            assert (error.code, error.status) == ("instance_exited", 502)
            await took(manager.call(spec, script(exit=0)), InstanceExited, "exited with code 0")
            assert (await manager.call(spec, script())).cold_reason == "after_failure"

    run(main())


def test_w06_a_container_that_is_killed_from_outside_in_mid_call_ends_the_call_at_once(engine: Engine) -> None:
    async def main() -> None:
        async with Manager() as manager:
            spec = scripted(engine)
            first = await manager.call(spec, script())
            call = asyncio.ensure_future(manager.call(spec, script(hang=True)))
            await until(lambda: stats(manager, spec).busy == 1)
            await killed(engine, first.instance)
            await took(call, InstanceExited, "signal 9")  # type: ignore[arg-type]

    run(main())


def test_w07_a_container_that_is_killed_between_calls_is_replaced(engine: Engine) -> None:
    async def main() -> None:
        async with Manager() as manager:
            spec = scripted(engine)
            for _ in range(2):
                reply = await manager.call(spec, script())
                assert json.loads(reply.body)["calls"] == 1
                await killed(engine, reply.instance)
                await until(lambda: stats(manager, spec).idle == 0)
            assert stats(manager, spec).calls == {"ok": 2}

    run(main())


def test_w09_a_late_answer_of_a_container_is_nobodys(engine: Engine) -> None:
    async def main() -> None:
        async with Manager() as manager:
            # It minds neither the end of stdin nor SIGTERM, so it lives to say its answer.
            spec = scripted(engine, timeout=0.8, stop_grace=0.6, max_concurrency=2)
            first = await manager.call(spec, script(body="early"))
            with pytest.raises(CallTimeout) as caught:
                await manager.call(spec, script(term="ignore", eof="ignore", sleep=1.0, body="late"))
            assert caught.value.status == 504
            assert stats(manager, spec).stopping == 1
            while stats(manager, spec).stopping:
                reply = await manager.call(spec, script(sleep=0.05, body="mine"))
                assert reply.body == b"mine"
                assert reply.instance != first.instance
            assert stats(manager, spec).launched == 2

    run(main())


def test_w10_and_w11_garbage_of_a_container_fails_its_call_at_once_and_ends_it(engine: Engine) -> None:
    async def main() -> None:
        async with Manager() as manager:
            spec = scripted(engine, stop_grace=0.2)
            for broken in ({"garbage": "nonsense\n"}, {"garbage_before": "nonsense\n"}):
                first = await manager.call(spec, script())
                error = await took(manager.call(spec, script(**broken)), BadReply)
                assert error.status == 502
                await until(lambda first=first: first.instance not in copies(engine))  # type: ignore[misc]
            assert (await manager.call(spec, script(body="fine"))).body == b"fine"
            assert stats(manager, spec).stopped == {"protocol_error": 2}

    run(main())


def test_w12_and_b21_calls_that_time_out_leave_no_task_and_no_connection(engine: Engine) -> None:
    """But for one connection to the engine in each thread, of which there are a few."""

    async def main() -> None:
        async with Manager() as manager:
            spec = shell(engine, "sleep 60", timeout=0.05, stop_grace=0, max_concurrency=4)
            marks = []
            for _ in range(3):
                errors = await asyncio.gather(*[manager.call(spec, b"x") for _ in range(4)], return_exceptions=True)
                assert {type(error) for error in errors} == {CallTimeout}
                await until(lambda: copies(engine) == {} and len(asyncio.all_tasks()) == 1)
                gc.collect()
                marks.append(open_files() - threading.active_count())
            assert stats(manager, spec).calls == {"call_timeout": 12}
            assert max(marks) <= marks[0]

    run(main())


def test_w13_a_container_whose_caller_left_in_the_middle_of_a_body_is_not_used_again(engine: Engine) -> None:
    async def main() -> None:
        async with Manager() as manager:
            spec = scripted(engine, stop_grace=0.2)
            first = await manager.call(spec, script())
            call = asyncio.ensure_future(manager.call(spec, script(hang=True) + b" " * 10_000_000))
            await until(lambda: stats(manager, spec).busy == 1)
            call.cancel()
            second = await manager.call(spec, script(body="mine"))
            assert second.body == b"mine"
            assert copies(engine).keys() <= {first.instance, second.instance}
            assert first.instance != second.instance
            assert stats(manager, spec).stopped == {"cancelled": 1}

    run(main())


def test_w14_what_is_glued_to_a_reply_ends_the_container_but_not_the_call(engine: Engine) -> None:
    async def main() -> None:
        async with Manager() as manager:
            spec = scripted(engine)
            first = await manager.call(spec, script(body="good", garbage_after="more"))
            second = await manager.call(spec, script(body="good"))
            assert (first.body, second.body) == (b"good", b"good")
            assert first.instance != second.instance
            assert stats(manager, spec).stopped == {"excess_output": 1}

    run(main())


@pytest.mark.parametrize("wire", HOT)
def test_w15_w16_w19_and_w44_a_call_and_its_reply_pass_whole_and_leave_nothing(engine: Engine, wire: str) -> None:
    """Status, method, url and every value of a header pass; what a caller sent is not in the copy's environment."""

    async def main() -> None:
        async with Manager() as manager:
            spec = scripted(engine, wire, env={"CONFIG": "blue"})
            headers = {"X-Token": "first-callers-secret"}
            reply = await manager.call(spec, script(report=["request"]), method="PUT", url="/a?b=c", headers=headers)
            request = json.loads(reply.body)["request"]
            assert (request["method"], request["url"][-6:]) == ("PUT", "/a?b=c")
            assert "blue" not in reply.body.decode()
            body = script(status=418, headers={"X-Kettle": ["one", "two"]}, report=["env", "request"])
            second = await manager.call(spec, body)
            assert (second.status, second.headers.get_all("x-kettle")) == (418, ["one", "two"])
            assert b"first-callers-secret" in json.dumps(request).encode()
            assert b"first-callers-secret" not in second.body
            assert second.instance == reply.instance

    run(main())


def test_w17_and_b35_replies_and_requests_are_bounded_and_the_limit_itself_passes(engine: Engine) -> None:
    async def main() -> None:
        async with Manager() as manager:
            spec = scripted(engine, max_request=1000, max_response=1000)
            with pytest.raises(TooLarge) as caught:
                await manager.call(spec, b"x" * 1001)
            assert caught.value.status == 413
            for _ in range(2):
                assert len((await manager.call(spec, script(size=1000))).body) == 1000
                await took(manager.call(spec, script(size=1001)), BadReply, "1000")

    run(main())


def test_w20_another_configuration_is_another_container(engine: Engine) -> None:
    async def main() -> None:
        async with Manager() as manager:
            one = scripted(engine, env={"A": "1", "B": "2"})
            same = scripted(engine, env={"B": "2", "A": "1"})
            other = scripted(engine, env={"A": "1", "B": "3"})
            replies = [await manager.call(spec, script(report=["env"])) for spec in (one, same, other)]
            assert replies[0].instance == replies[1].instance != replies[2].instance
            assert [json.loads(reply.body)["env"]["B"] for reply in replies] == ["2", "2", "3"]

    run(main())


def test_w23_and_o11_a_drain_has_an_end_and_every_caller_returns(engine: Engine) -> None:
    async def main() -> None:
        async with Manager() as manager:
            spec = scripted(engine, stop_grace=0.2)
            bodies = [script(hang=True), *[script()] * 3]
            calls = [asyncio.ensure_future(manager.call(spec, body)) for body in bodies]
            await until(lambda: stats(manager, spec).busy == 1)
            began = time.monotonic()
            await manager.drain(0.3, serve_waiting=False)
            assert time.monotonic() - began < PROMPT
            results = await asyncio.gather(*calls, return_exceptions=True)
            assert [type(result) for result in results] == [CallAborted, *[ShuttingDown] * 3]
            await until(lambda: copies(engine) == {})

    run(main())


def test_w28_idle_zero_serves_what_waits_and_leaves_no_container(engine: Engine) -> None:
    async def main() -> None:
        async with Manager() as manager:
            spec = scripted(engine, idle_timeout=0)
            replies = await asyncio.gather(*[manager.call(spec, script()) for _ in range(3)])
            assert [json.loads(reply.body)["calls"] for reply in replies] == [1, 2, 3]
            await until(lambda: copies(engine) == {})

    run(main())


def test_w29_and_b08_a_flood_on_stderr_of_a_container_hurts_nobody(engine: Engine) -> None:
    async def main() -> None:
        log = Log()
        async with Manager(plugins=[log]) as manager:
            spec = scripted(engine)
            assert (await manager.call(spec, script(stderr_bytes=1_048_576, body="here"))).body == b"here"
            assert log.lines[0].truncated
            assert len(log.lines[0].text) <= 8192
            assert (await manager.call(spec, script(stderr_bytes=20_000_000, body="there"))).body == b"there"
            assert stats(manager, spec).launched == 1

    run(main())


@pytest.mark.parametrize("wire", HOT)
def test_w30_and_w31_lines_of_a_container_carry_the_call_that_they_belong_to(engine: Engine, wire: str) -> None:
    async def main() -> None:
        log = Log()
        async with Manager(plugins=[log]) as manager:
            spec = scripted(engine, wire)
            replies = [await manager.call(spec, tell(f"line {n}\n")) for n in range(3)]
            await until(lambda: len(log.lines) == 3)
        assert [(line.call_id, line.text) for line in log.lines] == [
            (reply.call_id, f"line {n}") for n, reply in enumerate(replies)
        ]
        assert {(line.function, line.instance) for line in log.lines} == {("default/guest", replies[0].instance)}

    run(main())


def test_o9_what_a_call_left_unfinished_on_stderr_is_not_the_next_ones(engine: Engine) -> None:
    async def main() -> None:
        log = Log()
        async with Manager(plugins=[log]) as manager:
            spec = scripted(engine)
            first = await manager.call(spec, tell("half of "))
            second = await manager.call(spec, tell("a line\nwhole\n"))
            await until(lambda: len(log.lines) == 2)
        assert [(line.call_id, line.text) for line in log.lines] == [
            (first.call_id, "half of a line"),
            (second.call_id, "whole"),
        ]

    run(main())


@pytest.mark.parametrize("wire", ["default", "http"])
def test_w32_and_w33_a_timeout_is_504_and_told_before_the_container_has_ended(engine: Engine, wire: str) -> None:
    async def main() -> None:
        async with Manager() as manager:
            spec = scripted(engine, wire, timeout=0.4, stop_grace=2)
            with pytest.raises(CallTimeout) as caught:
                await manager.call(spec, script(term="ignore", eof="ignore", hang=True))
            assert caught.value.status == 504
            assert caught.value.ran < 1.4  # within a second of its time
            assert list(copies(engine).values()) == ["running"]  # it still has its grace
            await manager.aclose(kill=True)

    run(main())


def test_w45_gauges_return_to_zero_after_all_kinds_of_ends(engine: Engine) -> None:
    async def main() -> None:
        async with Manager() as manager:
            spec = scripted(engine, timeout=1, stop_grace=0.2, max_concurrency=2)
            bodies = [script(), script(exit=1), script(garbage="x\n"), script(hang=True), script(status=500)]
            await asyncio.gather(*[manager.call(spec, body) for body in bodies], return_exceptions=True)
            numbers = stats(manager, spec)
            assert numbers.calls == {"ok": 2, "instance_exited": 1, "bad_reply": 1, "call_timeout": 1}
            assert (numbers.waiting, numbers.busy, numbers.starting) == (0, 0, 0)
            await manager.drain()
            await until(lambda: copies(engine) == {})
            assert sum(stats(manager, spec).stopped.values()) == stats(manager, spec).launched

    run(main())


async def is_frozen(engine: Engine, instance: str) -> None:
    await until(lambda: copies(engine)[instance] == "paused")


def test_a_container_that_is_frozen_is_thawed_for_the_next_call(engine: Engine) -> None:
    async def main() -> None:
        async with Manager() as manager:
            spec = scripted(engine, freeze_after=0.1)
            first = await manager.call(spec, script())
            for number in range(2):
                await is_frozen(engine, first.instance)
                reply = await manager.call(spec, script())
                assert (reply.instance, reply.cold) == (first.instance, False)
                assert json.loads(reply.body)["calls"] == number + 2
            await is_frozen(engine, first.instance)  # and is closed as it is

    run(main())


def test_o3_a_call_whose_container_was_removed_while_it_was_frozen_gets_another(engine: Engine) -> None:
    async def main() -> None:
        async with Manager() as manager:
            spec = scripted(engine, freeze_after=0.1)
            first = await manager.call(spec, script())
            await is_frozen(engine, first.instance)
            engine.remove_containers([one.id for one in engine.ps() if one.labels["hotfn.instance"] == first.instance])
            second = await manager.call(spec, script(body="mine"))
            assert second.body == b"mine"
            assert second.instance != first.instance

    run(main())
