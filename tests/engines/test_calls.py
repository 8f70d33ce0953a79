"""Calls of functions in containers, through the manager and the real protocols, on both engines."""

from __future__ import annotations

import asyncio
import hashlib
import json
import random

import psutil
import pytest

from hotfn_containers.drivers import DockerDriver, PodmanDriver
from hotfn_core import CallTimeout, LaunchFailed, Manager
from hotfn_core.driver import Container, ContainerSpec, Driver
from hotfn_core.model import Exit

from .calling import HOT, copies, echo, run, script, scripted, shell, stats, until
from .setup import Engine

MB = 1 << 20
NOISE = random.Random(20170325).randbytes(20 * MB)


@pytest.mark.parametrize("wire", HOT)
def test_fifty_calls_on_one_container(engine: Engine, wire: str) -> None:
    async def main() -> None:
        async with Manager() as manager:
            spec = scripted(engine, wire)
            replies = [await manager.call(spec, script()) for _ in range(50)]
            assert copies(engine) == {replies[0].instance: "running"}
        assert [json.loads(reply.body)["calls"] for reply in replies] == list(range(1, 51))
        assert [reply.cold for reply in replies] == [True] + [False] * 49
        assert replies[0].cold_reason == "first"
        assert replies[0].started > replies[1].started == 0 < replies[1].ran

    run(main())


def test_a_cold_function_has_a_container_and_an_environment_for_each_call(engine: Engine) -> None:
    async def main() -> None:
        async with Manager() as manager:
            spec = scripted(engine, "default", env={"FN_FORMAT": "mine", "KEPT": "mine"}, max_concurrency=2)
            bodies = [script(report=["env"]), b"plain"]
            first, second = await asyncio.gather(*[manager.call(spec, body, method="PUT") for body in bodies])
        assert second.body == b"plain"
        assert first.instance != second.instance
        env = json.loads(first.body)["env"]
        assert (env["FN_FORMAT"], env["FN_METHOD"], env["KEPT"]) == ("default", "PUT", "mine")
        assert env["FN_CALL_ID"] == first.call_id

    run(main())


BODIES = [b"", b"x", bytes(range(256)) * 40, b"\x10\x11" * 1000, b"\r\n\r\n", NOISE[:MB]]
"""Among them what a terminal would take for a command: 0x10 0x11 detaches."""


def test_bodies_arrive_and_return_whole_hot(engine: Engine) -> None:
    async def main() -> None:
        async with Manager() as manager:
            for body in [*BODIES, NOISE]:
                assert (await manager.call(echo(engine), body)).body == body
            for text in ("", "grüße, 世界 🎈\n", "\x10\x11\0", "x" * MB):
                assert (await manager.call(echo(engine, "json"), text.encode())).body == text.encode()
            assert len(copies(engine)) == 2

    run(main())


def test_bodies_arrive_and_return_whole_cold(engine: Engine) -> None:
    async def main() -> None:
        async with Manager() as manager:
            spec = echo(engine, "default", max_concurrency=2)
            bodies = [b"", BODIES[2], NOISE[:MB], NOISE]
            replies = await asyncio.gather(*[manager.call(spec, body) for body in bodies])
            assert [reply.body == body for reply, body in zip(replies, bodies, strict=True)] == [True] * 4

    run(main())


def test_parallel_calls_have_as_many_containers_as_they_may(engine: Engine) -> None:
    async def main() -> None:
        async with Manager() as manager:
            spec = scripted(engine, max_concurrency=4)
            bodies = [script(sleep=0.2, body=f"call {number}") for number in range(12)]
            replies = await asyncio.gather(*[manager.call(spec, body) for body in bodies])
            assert [reply.body for reply in replies] == [b"call %d" % number for number in range(12)]
            assert copies(engine) == dict.fromkeys({reply.instance for reply in replies}, "running")
            assert stats(manager, spec).launched == 4

    run(main())


def test_min_instances_are_there_before_the_first_call(engine: Engine) -> None:
    async def main() -> None:
        async with Manager() as manager:
            spec = echo(engine, min_instances=2, max_concurrency=2, idle_timeout=0.1)
            manager.register(spec)
            await until(lambda: stats(manager, spec).idle == 2)
            hot = set(copies(engine))
            reply = await manager.call("echo", b"warm")
            assert not reply.cold
            assert reply.instance in hot
            assert set(copies(engine)) == hot  # longer idle than idle_timeout, and kept on purpose

    run(main())


def test_an_idle_container_is_stopped_and_removed(engine: Engine) -> None:
    async def main() -> None:
        async with Manager() as manager:
            spec = echo(engine, idle_timeout=0.5)
            first = await manager.call(spec, b"one")
            assert (await manager.call(spec, b"two")).instance == first.instance
            await until(lambda: copies(engine) == {})
            third = await manager.call(spec, b"three")
            assert third.instance != first.instance
            assert stats(manager, spec).stopped == {"idle": 1}

    run(main())


def test_containers_are_recycled(engine: Engine) -> None:
    async def main() -> None:
        async with Manager() as manager:
            spec = scripted(engine, max_calls=2, max_concurrency=2)
            replies = [await manager.call(spec, script()) for _ in range(5)]
            assert [json.loads(reply.body)["calls"] for reply in replies] == [1, 2, 1, 2, 1]
            assert len({reply.instance for reply in replies}) == 3
            await until(lambda: stats(manager, spec).stopped["recycled"] == 2)
            await until(lambda: set(copies(engine)) == {replies[-1].instance})

    run(main())


def test_a_reply_may_come_in_pieces(engine: Engine) -> None:
    async def main() -> None:
        async with Manager() as manager:
            for wire in HOT:
                reply = await manager.call(scripted(engine, wire), script(body="abc" * 50, pieces=40, pause=0.002))
                assert reply.body == b"abc" * 50

    run(main())


def test_a_closed_stdout_costs_the_timeout(engine: Engine) -> None:
    """Engines do not tell it: one connection carries both ways and both outputs."""

    async def main() -> None:
        async with Manager() as manager:
            spec = scripted(engine, timeout=0.7, stop_grace=0.2)
            with pytest.raises(CallTimeout):
                await manager.call(spec, script(close_stdout=True, hang=True))
            assert (await manager.call(spec, b"next")).body == b"next"

    run(main())


def test_closing_stdout_ends_no_cold_call(engine: Engine) -> None:
    async def main() -> None:
        async with Manager() as manager:
            spec = shell(engine, "cat; exec >&-; sleep 0.3; exit 0", "default")
            assert (await manager.call(spec, b"all of it")).body == b"all of it"

    run(main())


def test_options_of_the_driver_reach_the_container(engine: Engine) -> None:
    async def main() -> None:
        async with Manager() as manager:
            options = {"user": "0:0", "cwd": "/tmp", "entrypoint": ["sh", "-c"], "tmpfs": 8}
            line = "id -u; pwd; df -m /tmp | tail -1 | awk '{print $2}'"
            spec = scripted(engine, "default", command=(line,), driver_options=options)
            assert (await manager.call(spec)).body == b"0\n/tmp\n8\n"

    run(main())


def test_entrypoint_command_and_directory_of_the_image_count(engine: Engine) -> None:
    async def main() -> None:
        async with Manager() as manager:
            spec = scripted(engine, "default", image=engine.image_entrypoint, command=())
            assert json.loads((await manager.call(spec)).body) == ["one", "two words"]
            spec = spec.replace(command=("three", "$HOME"))
            assert json.loads((await manager.call(spec)).body) == ["three", "$HOME"]

    run(main())


def test_an_image_that_is_not_there(engine: Engine) -> None:
    async def main() -> None:
        async with Manager() as manager:
            spec = echo(engine, image="hotfn-test/absent", driver_options={"pull": "never"})
            with pytest.raises(LaunchFailed, match="hotfn-test/absent") as caught:
                await manager.call(spec)
            assert caught.value.status == 404

    run(main())


class Sums:
    """A receiver that counts and hashes, and keeps nothing."""

    def __init__(self) -> None:
        self.size = 0
        self.hash = hashlib.sha256()
        self.exit: asyncio.Future[Exit] = asyncio.get_running_loop().create_future()

    def stdout_received(self, data: bytes) -> None:
        self.size += len(data)
        self.hash.update(data)

    def stderr_received(self, data: bytes) -> None:
        raise AssertionError(data)

    def stdout_eof(self) -> None:
        raise AssertionError

    def exited(self, exit: Exit) -> None:
        self.exit.set_result(exit)


async def raw(engine: Engine, sums: Sums) -> tuple[Driver, Container]:
    """Open a driver of its own and launch a copy that sends back all of stdin as it comes."""
    driver = {"docker": DockerDriver, "podman": PodmanDriver}[engine.name]()
    await driver.open()
    spec = ContainerSpec(
        function="default/raw", instance="raw-1", identity="0" * 64, image=engine.image_echo, env={"FN_FORMAT": "raw"}
    )
    return driver, await driver.launch(spec, sums)


def test_a_hundred_megabytes_each_way_in_bounded_memory(engine: Engine) -> None:
    """The writer minds `writable`, the reader pauses now and then: neither hotfn nor the container holds it all."""
    size = 100 * MB
    piece = NOISE[: 256 * 1024]

    async def main() -> None:
        sums = Sums()
        driver, container = await raw(engine, sums)
        memory = psutil.Process().memory_info
        before = most = memory().rss
        for number in range(size // len(piece)):
            if number % 40 == 10:
                container.pause_reading()
            container.write(piece)
            if number % 40 == 30:
                container.resume_reading()
            await taken(container)
            most = max(most, memory().rss)
        container.write_eof()
        container.resume_reading()
        exit = await sums.exit
        await driver.aclose()
        assert exit.code == 0
        assert sums.size == size
        assert sums.hash.digest() == hashlib.sha256(piece * (size // len(piece))).digest()
        assert most - before < 30 * MB

    run(main())


async def taken(container: Container) -> None:
    """Wait until the container takes more. When it waits for us to read, we do."""
    end = asyncio.get_running_loop().time() + 0.05
    while not container.writable:
        if asyncio.get_running_loop().time() > end:
            container.resume_reading()
        await asyncio.sleep(0.001)


def test_what_would_detach_a_terminal_is_a_body_like_any_other(engine: Engine) -> None:
    """0x10 and 0x11 come in writes of their own, as from a keyboard."""

    async def main() -> None:
        sums = Sums()
        driver, container = await raw(engine, sums)
        for count, byte in enumerate(b"\x10\x11\x10\x11", 1):
            container.write(bytes([byte]))
            await until(lambda count=count: sums.size == count)  # type: ignore[misc]
        container.write_eof()
        assert (await sums.exit).code == 0
        assert sums.hash.digest() == hashlib.sha256(b"\x10\x11\x10\x11").digest()
        await driver.aclose()

    run(main())
