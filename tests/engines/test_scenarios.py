"""What the tests of the systems before this one held, on engines. The numbers are those of the list of such scenarios;
7, 43 and 44 are in test_images.py, 6, 13, 36 and 41 in test_limits.py, 42 in test_gc.py, 46 in test_prepared.py."""

from __future__ import annotations

import asyncio
import json

import pytest

from hotfn_containers.drivers import DockerDriver, PodmanDriver
from hotfn_core import BadReply, CallTimeout, InstanceExited, Manager
from hotfn_core.driver import ContainerSpec
from hotfn_core.model import Exit

from .calling import HOT, copies, echo, run, script, scripted, stats, until
from .setup import Engine

FORMATS = ("default", *HOT)


def test_scenario_1_each_format_answers_each_caller(engine: Engine) -> None:
    async def main() -> None:
        async with Manager() as manager:
            for wire in FORMATS:
                for number in range(2):
                    marker = f"{wire}-{number}".encode()
                    reply = await manager.call(echo(engine, wire), marker)
                    assert (reply.status, reply.body) == (200, marker)

    run(main())


def test_scenario_2_what_is_no_reply_names_the_format(engine: Engine) -> None:
    async def main() -> None:
        async with Manager() as manager:
            for wire, word in (("http", "HTTP"), ("json", "JSON")):
                with pytest.raises(BadReply, match=word) as caught:
                    await manager.call(scripted(engine, wire), script(garbage="nonsense, and a lot of it\n"))
                assert caught.value.status == 502
                assert (await manager.call(scripted(engine, wire), script())).status == 200

    run(main())


def test_scenario_3_and_4_content_type_and_the_functions_own_headers(engine: Engine) -> None:
    async def main() -> None:
        async with Manager() as manager:
            for wire in HOT:
                spec = scripted(engine, wire, headers={"X-Static": "always"})
                for body, kind in ((script(content_type="a/b"), "a/b"), (script(), None)):
                    reply = await manager.call(spec, body)
                    assert reply.headers.get("content-type") == kind
                    assert reply.headers.get("x-static") == "always"

    run(main())


def test_scenario_5_a_crash_of_a_cold_function_is_told_with_its_code(engine: Engine) -> None:
    async def main() -> None:
        async with Manager() as manager:
            spec = scripted(engine, "default", max_concurrency=2)
            crash, killed = await asyncio.gather(
                manager.call(spec, script(stderr="no more\n", exit=7)),
                manager.call(spec, script(signal=11)),
                return_exceptions=True,
            )
            assert isinstance(crash, InstanceExited)
            assert (crash.status, "exited with code 7" in crash.message) == (502, True)
            assert "no more" in crash.message
            assert isinstance(killed, InstanceExited)
            assert "signal 11" in killed.message

    run(main())


def test_scenario_8_an_empty_reply_once_cold_and_twice_hot(engine: Engine) -> None:
    async def main() -> None:
        async with Manager() as manager:
            assert (await manager.call(scripted(engine, "default"), script(body=""))).body == b""
            for wire in HOT:
                first, second = [await manager.call(scripted(engine, wire), script(body="")) for _ in range(2)]
                assert (first.body, second.body, second.instance) == (b"", b"", first.instance)

    run(main())


def test_scenario_9_the_limit_of_a_cold_reply_is_exact(engine: Engine) -> None:
    async def main() -> None:
        async with Manager() as manager:
            spec = scripted(engine, "default", max_response=1000, max_concurrency=2, stop_grace=0.2)
            sizes = [1000, 1001, 10_000_000]
            results = await asyncio.gather(
                *[manager.call(spec, script(size=size)) for size in sizes], return_exceptions=True
            )
            assert len(getattr(results[0], "body", b"")) == 1000
            assert [type(result) for result in results[1:]] == [BadReply, BadReply]

    run(main())


def test_scenario_10_and_11_headers_are_bounded_and_those_of_the_connection_stay(engine: Engine) -> None:
    async def main() -> None:
        async with Manager() as manager:
            spec = scripted(engine)
            reply = await manager.call(spec, script(headers={"Keep-Alive": "timeout=5", "X-Mine": "1"}))
            assert (reply.headers.get("x-mine"), reply.headers.get("keep-alive")) == ("1", None)
            with pytest.raises(BadReply) as caught:
                await manager.call(spec, script(headers={"X-Long": "x" * 1_000_000}))
            assert caught.value.status == 502
            assert (await manager.call(spec, script())).status == 200

    run(main())


def test_scenario_12_a_timeout_and_the_next_call(engine: Engine) -> None:
    async def main() -> None:
        async with Manager() as manager:
            spec = scripted(engine, timeout=0.5, stop_grace=0.2)
            with pytest.raises(CallTimeout) as caught:
                await manager.call(spec, script(sleep=5), call_id="the-slow-one")
            assert (caught.value.status, caught.value.call_id) == (504, "the-slow-one")
            reply = await manager.call(spec, script(report=["request"]), call_id="the-next-one")
            assert (reply.status, reply.call_id) == (200, "the-next-one")
            assert json.loads(reply.body)["request"]["id"] == "the-next-one"

    run(main())


def test_scenario_15_what_comes_behind_a_reply(engine: Engine) -> None:
    """White space is none of anybody's concern; garbage at once costs the container, later garbage an idle one."""

    async def main() -> None:
        async with Manager() as manager:
            spec = scripted(engine, "json")
            replies = [await manager.call(spec, script(garbage_after=" \r\n \n")) for _ in range(2)]
            assert replies[0].instance == replies[1].instance
            at_once = await manager.call(spec, script(body="good", garbage_after="nonsense"))
            assert (at_once.body, at_once.instance) == (b"good", replies[0].instance)
            delayed = await manager.call(spec, script(body="good", late="nonsense", late_after=0.2))
            assert delayed.body == b"good"
            await until(lambda: stats(manager, spec).idle == 0)
            last = await manager.call(spec, script(body="good"))
            assert len({at_once.instance, delayed.instance, last.instance}) == 3
            assert stats(manager, spec).calls == {"ok": 5}

    run(main())


def test_scenario_17_and_18_half_a_reply_of_a_call_that_timed_out_is_in_no_other_reply(engine: Engine) -> None:
    async def main() -> None:
        async with Manager() as manager:
            spec = scripted(engine, timeout=1, stop_grace=1, max_concurrency=2)
            slow = script(term="ignore", eof="ignore", body="one" * 100, pieces=2, pause=1.5)
            results = await asyncio.gather(
                *[manager.call(spec, body) for body in (slow, script(body="two"), script(body="three"))],
                return_exceptions=True,
            )
            assert isinstance(results[0], CallTimeout)
            assert [getattr(result, "body", result) for result in results[1:]] == [b"two", b"three"]
            while stats(manager, spec).stopping:
                assert (await manager.call(spec, script(sleep=0.05, body="mine"))).body == b"mine"

    run(main())


def test_scenario_20_parallel_calls_on_hot_containers(engine: Engine) -> None:
    async def main() -> None:
        async with Manager() as manager:
            spec = scripted(engine, max_concurrency=4, min_instances=4)
            manager.register(spec)
            await until(lambda: stats(manager, spec).idle == 4)
            replies = await asyncio.gather(*[manager.call(spec, script(sleep=0.1)) for _ in range(4)])
            assert [(reply.status, reply.cold) for reply in replies] == [(200, False)] * 4
            assert {reply.instance for reply in replies} == set(copies(engine))

    run(main())


class Outputs:
    """A receiver that keeps what it hears."""

    def __init__(self) -> None:
        self.out = self.err = b""
        self.exit: asyncio.Future[Exit] = asyncio.get_running_loop().create_future()

    def stdout_received(self, data: bytes) -> None:
        self.out += data

    def stderr_received(self, data: bytes) -> None:
        self.err += data

    def stdout_eof(self) -> None:
        raise AssertionError

    def exited(self, exit: Exit) -> None:
        self.exit.set_result(exit)


def test_scenario_40_run_and_stdout_is_captured(engine: Engine) -> None:
    async def main() -> None:
        driver = {"docker": DockerDriver, "podman": PodmanDriver}[engine.name]()
        await driver.open()
        outputs = Outputs()
        spec = ContainerSpec(
            function="default/hello",
            instance="hello-1",
            identity="0" * 64,
            image=engine.image_python,
            command=("sh", "-c", "echo hello; echo there >&2"),
        )
        await driver.launch(spec, outputs)
        exit = await outputs.exit
        await driver.aclose()
        assert (exit.code, exit.signal, exit.oom) == (0, None, False)
        assert (outputs.out, outputs.err) == (b"hello\n", b"there\n")

    run(main())
