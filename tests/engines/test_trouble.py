"""What becomes of calls when an engine is away, hangs, is full, or when somebody lays hands on containers."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import re
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from hotfn_containers.driver import EngineDriver
from hotfn_containers.drivers import DockerDriver, PodmanDriver
from hotfn_core import (
    CallFailed,
    CallRejected,
    CallTimeout,
    FunctionSpec,
    HotfnError,
    InstanceExited,
    LaunchFailed,
    Manager,
)
from hotfn_core.driver import Container, ContainerSpec
from hotfn_core.errors import DriverError, DriverUnavailable
from hotfn_core.testing.check_driver import Recorder

from .calling import copies, echo, run, script, scripted, until
from .conftest import lead_to, left_since
from .setup import Engine, EngineSet, images
from .setup.mounts import unmount_below
from .setup.process import Process, processes_with
from .setup.sets import KINDS

QUICK = 6.0
"""Seconds in which a cause that is known has to be told, on a machine that is busy with other tests."""

SLEEP = script(sleep=60)
DRIVERS: dict[str, type[EngineDriver]] = {"docker": DockerDriver, "podman": PodmanDriver}


@pytest.fixture(scope="module", params=list(KINDS))
def victim(request: pytest.FixtureRequest, engines: EngineSet) -> Iterator[Engine]:
    """An engine that the tests of this file may stop and kill, one after the other."""
    one = engines.new_engine(request.param, (images.ECHO, images.PYTHON))
    yield one
    one.remove()


@pytest.fixture
def away(victim: Engine, monkeypatch: pytest.MonkeyPatch) -> Iterator[Engine]:
    """The same, led to by the environment. It runs when a test begins; what the test leaves in it is a failure."""
    victim.start()
    lead_to(victim, monkeypatch)
    monkeypatch.setattr("hotfn_containers.removal.TRY_AGAIN", 0.3)
    before = victim.inventory()
    yield victim
    victim.start()
    left = left_since(victim, before)
    victim.remove_containers(list(left))
    assert not left, f"left behind: {list(left.values())}"


def hotfn(*arguments: str, stdin: str = "hello") -> subprocess.CompletedProcess[str]:
    """Run the command line, which may not take longer than what is quick."""
    argv = [os.fspath(Path(sys.executable).with_name("hotfn")), *arguments]
    return subprocess.run(argv, input=stdin, capture_output=True, text=True, timeout=30, check=False)


async def failure(manager: Manager, spec: FunctionSpec, body: bytes = b"") -> tuple[HotfnError, float]:
    """Return how a call fails, and after how many seconds."""
    began = time.monotonic()
    with pytest.raises(HotfnError) as caught:
        await manager.call(spec, body)
    return caught.value, time.monotonic() - began


async def served_again(manager: Manager, spec: FunctionSpec, body: bytes = b"") -> bytes:
    """Call as a client would that minds `retry_after`, until it is answered."""
    async with asyncio.timeout(30):
        while True:
            try:
                return (await manager.call(spec, body)).body
            except CallRejected as error:
                await asyncio.sleep(error.retry_after or 0.1)


async def busy(manager: Manager, engine: Engine, spec: FunctionSpec) -> asyncio.Task[Any]:
    """Return a call that its copy is working on."""
    call = asyncio.create_task(manager.call(spec, SLEEP))
    await until(lambda: (stats := manager.stats().get(spec.full_name)) is not None and stats.busy == 1)
    return call


async def lost(call: asyncio.Task[Any]) -> str:
    """Return what a call is told whose copy ended, which it has to be told at once."""
    with pytest.raises(InstanceExited) as caught:
        await asyncio.wait_for(call, QUICK)
    return caught.value.message


class TestAnEngineThatIsAway:
    def test_the_command_line_says_so_and_what_to_do(self, away: Engine) -> None:
        away.stop()
        began = time.monotonic()
        done = hotfn("run", "--driver", away.name, "--image", away.image_echo, "--format", "http")
        assert done.returncode == 3
        assert time.monotonic() - began < QUICK
        assert away.host in done.stderr
        assert "start it (systemctl" in done.stderr
        assert done.stdout == ""

    def test_calls_are_told_at_once_and_served_when_it_is_there(self, away: Engine) -> None:
        async def main() -> None:
            async with Manager() as manager:
                away.kill()
                for _ in range(2):
                    error, took = await failure(manager, echo(away))
                    assert isinstance(error, LaunchFailed)
                    assert isinstance(error.__cause__, DriverUnavailable)
                    assert "nobody listens" in error.message
                    assert took < QUICK
                await asyncio.to_thread(away.start)
                assert await served_again(manager, echo(away), b"hello") == b"hello"

        run(main())

    def test_another_user_may_not_use_its_socket(self, away: Engine) -> None:
        code = (
            "import asyncio, os, sys, http.cookiejar, encodings.idna\n"
            "from hotfn_containers.drivers import DockerDriver, PodmanDriver\n"
            "driver = {'docker': DockerDriver, 'podman': PodmanDriver}[sys.argv[1]](sys.argv[2])\n"
            "os.setgroups([]); os.setgid(65534); os.setuid(65534)\n"
            "asyncio.run(driver.open())\n"
        )
        done = subprocess.run(
            [sys.executable, "-c", code, away.name, away.host], capture_output=True, text=True, timeout=30, check=False
        )
        assert done.returncode == 1
        assert "DriverUnavailable: may not use" in done.stderr
        assert "permission denied" in done.stderr


class TestAnEngineThatEndsUnderCalls:
    @pytest.mark.parametrize("how", ["kill", "restart"])
    def test_busy_idle_and_next(self, away: Engine, how: str) -> None:
        """The busy call ends at once, the idle copy is forgotten, and the same manager goes on."""

        async def main() -> None:
            async with Manager() as manager:
                working, idle = scripted(away, name="working"), echo(away)
                call = await busy(manager, away, working)
                first = await manager.call(idle, b"one")
                ended = asyncio.to_thread(away.kill if how == "kill" else away.restart)
                _, why = await asyncio.gather(ended, lost(call))
                await until(lambda: manager.stats()["default/echo"].idle == 0)
                if how == "kill":
                    assert f"the connection to {away.name} was lost" in why
                    error, took = await failure(manager, idle)
                    assert isinstance(error, LaunchFailed)
                    assert isinstance(error.__cause__, DriverUnavailable)
                    assert took < QUICK
                    await asyncio.to_thread(away.start)
                assert await served_again(manager, idle, b"two") == b"two"
                assert (await manager.call(idle, b"three")).instance != first.instance
                assert json.loads(await served_again(manager, working, script()))["calls"] == 1
                await until(lambda: len(copies(away)) == 2)  # those that lived through it are removed

        run(main())

    def test_what_it_left_is_removed_when_nobody_calls(self, away: Engine) -> None:
        async def main() -> None:
            async with Manager() as manager:
                await manager.call(echo(away))
                assert len(copies(away)) == 1
                await asyncio.to_thread(away.kill)
                await asyncio.to_thread(away.start)
                await until(lambda: not copies(away))
                assert manager.stats()["default/echo"].idle == 0

        run(main())

    def test_every_call_ends_exactly_once_when_it_is_restarted_under_load(self, away: Engine) -> None:
        outcomes: Counter[str] = Counter()
        over = asyncio.Event()
        specs = [echo(away, wire, name=wire, max_concurrency=3, timeout=20) for wire in ("http", "json")]

        async def caller(manager: Manager, number: int) -> None:
            count = 0
            while not over.is_set():
                count += 1
                body = f"{number}:{count}".encode()
                spec = specs[number % 2]
                try:
                    reply = await manager.call(spec, body)
                except HotfnError as error:
                    outcomes[error.code] += 1
                    await asyncio.sleep(min(error.retry_after or 0.05, 0.5))
                else:
                    assert reply.body == body, "an answer crossed"
                    outcomes["ok"] += 1

        async def main() -> None:
            async with Manager() as manager:
                callers = [asyncio.create_task(caller(manager, number)) for number in range(6)]
                for trouble in (away.restart, away.kill, None):
                    served = outcomes["ok"] + 20
                    await until(lambda: outcomes["ok"] >= served, 40)  # noqa: B023  # awaited here
                    if trouble is not None:
                        await asyncio.to_thread(trouble)
                        await asyncio.to_thread(away.start)
                over.set()
                await asyncio.gather(*callers)
                counted: Counter[str] = sum((stats.calls for stats in manager.stats().values()), Counter())
                assert not any(stats.busy + stats.waiting for stats in manager.stats().values())
            assert set(outcomes) <= {"ok", "instance_exited", "launch_failed"}, outcomes
            assert counted <= outcomes  # what is refused before anything is opened is in nobody's books

        run(main())

    def test_one_that_hangs_holds_up_nothing_for_ever(self, away: Engine) -> None:
        """A call has its timeout, a start its own, and all is removed when the engine goes on."""

        async def main() -> None:
            async with Manager() as manager:
                spec = scripted(away, timeout=1, stop_grace=0.5)
                await manager.call(spec, script())
                other = echo(away, start_timeout=1)
                await manager.open(other)
                process = Process.of(away.pid)
                assert process is not None
                process.signal(signal.SIGSTOP)
                try:
                    error, took = await failure(manager, spec, SLEEP)
                    assert isinstance(error, CallTimeout)
                    assert took < 1 + QUICK
                    error, took = await failure(manager, other)
                    assert isinstance(error, LaunchFailed)
                    assert "start_timeout" in error.message
                    assert took < 1 + QUICK
                finally:
                    process.signal(signal.SIGCONT)
                assert json.loads(await served_again(manager, spec, script()))["calls"] == 1

        run(main())


async def removed(engine: Engine, container: str) -> None:
    await asyncio.to_thread(engine.cli, "rm", "-f", container)


async def killed(engine: Engine, container: str) -> None:
    await asyncio.to_thread(engine.cli, "kill", container)


async def killed_by_pid(engine: Engine, container: str) -> None:
    os.kill(engine.inspect(container)["State"]["Pid"], signal.SIGKILL)


async def stopped(engine: Engine, container: str) -> None:
    await asyncio.to_thread(engine.cli, "stop", "-t", "1", container)


WATCHERS = ("conm", "cont")  # conmon, containerd-shim


def unwatch(container: str) -> None:
    """End the process that the engine watches the container with."""
    found = [one for one in processes_with(container) if Path(f"/proc/{one.pid}/comm").read_text()[:4] in WATCHERS]
    assert found
    for one in found:
        one.signal(signal.SIGKILL)


class TestAContainerThatSomebodyElseEnds:
    @pytest.mark.parametrize(
        ("how", "says"),
        [
            (removed, "removed from outside|signal"),
            (killed, "signal 9"),
            (killed_by_pid, "signal 9"),
            (stopped, "exited with code|signal"),
        ],
    )
    def test_the_call_is_told_at_once(self, engine: Engine, how: Callable[[Engine, str], Any], says: str) -> None:
        async def main() -> None:
            async with Manager() as manager:
                call = await busy(manager, engine, scripted(engine))
                ours = [one for one in engine.ps(label="hotfn.runtime") if one.state == "running"]
                _, why = await asyncio.gather(how(engine, ours[0].id), lost(call))
                assert re.search(says, why), why
                assert json.loads((await manager.call(scripted(engine), script())).body)["calls"] == 1

        run(main())

    def test_an_idle_one_that_is_removed_costs_no_call(self, engine: Engine) -> None:
        async def main() -> None:
            async with Manager() as manager:
                first = await manager.call(echo(engine), b"one")
                (ours,) = engine.ps(label="hotfn.runtime")
                await removed(engine, ours.id)
                await until(lambda: manager.stats()["default/echo"].idle == 0)
                second = await manager.call(echo(engine), b"two")
                assert second.body == b"two"
                assert second.instance != first.instance

        run(main())

    def test_one_that_its_engine_lost_sight_of_is_ended(self, engine: Engine) -> None:
        """podman does not see that conmon is gone: the call has its timeout, and the copy is removed by force."""

        async def main() -> None:
            async with Manager() as manager:
                spec = scripted(engine, timeout=1.5, stop_grace=0)
                call = await busy(manager, engine, spec)
                (ours,) = engine.ps(label="hotfn.runtime")
                main = engine.inspect(ours.id)["State"]["Pid"]
                unwatch(ours.id)
                with pytest.raises(CallFailed):
                    await call
                await until(lambda: Process.of(main) is None)
                await until(lambda: ours.id not in {one.id for one in engine.ps()})
                assert json.loads((await manager.call(spec, script())).body)["calls"] == 1

        run(main())

    @pytest.mark.parametrize("grace", [0, 0.5])
    def test_one_that_is_paused_from_outside_times_out_and_ends(self, engine: Engine, grace: float) -> None:
        async def main() -> None:
            async with Manager() as manager:
                spec = scripted(engine, timeout=1.0, stop_grace=grace)
                await manager.call(spec, script())
                (ours,) = engine.ps(label="hotfn.runtime")
                await asyncio.to_thread(engine.cli, "pause", ours.id)
                error, took = await failure(manager, spec, script())
                assert isinstance(error, CallTimeout)
                assert took < 1 + QUICK
                await until(lambda: ours.id not in {one.id for one in engine.ps()})
                assert json.loads((await manager.call(spec, script())).body)["calls"] == 1

        run(main())

    def test_its_image_may_go_between_calls(self, engine: Engine) -> None:
        async def main() -> None:
            name = f"{engine.repository}hotfn-test/going"
            await asyncio.to_thread(engine.cli, "tag", engine.image_echo, name)
            spec = echo(engine, image=name, max_calls=2, driver_options={"pull": "never"})
            async with Manager() as manager:
                await manager.call(spec)
                await asyncio.to_thread(engine.cli, "rmi", "--force", name)
                await manager.call(spec)  # by the copy that is there
                error, took = await failure(manager, spec)
                assert isinstance(error, LaunchFailed)
                assert error.status == 404
                assert f"{engine.name} has no image {name}" in error.message
                assert took < QUICK

        run(main())


class TestAStartThatCannotBe:
    def test_a_name_that_is_taken(self, engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
        tokens = iter(["taken", "taken", "free"])
        monkeypatch.setattr("hotfn_containers.driver.secrets", SimpleNamespace(token_hex=lambda _: next(tokens)))
        name = "hotfn-default-echo-taken"
        theirs = engine.cli("create", "--name", name, "--network", "none", engine.image_echo).splitlines()[-1]

        async def main() -> None:
            async with Manager() as manager:
                assert (await manager.call(echo(engine), b"hello")).body == b"hello"
                names = {one.name for one in engine.ps()}
                assert names >= {name, "hotfn-default-echo-free"}

        run(main())
        assert name in {one.name for one in engine.ps()}
        engine.remove_containers([theirs])

    def test_nothing_to_run(self, engine: Engine) -> None:
        async def main() -> None:
            async with Manager() as manager:
                error, took = await failure(manager, scripted(engine, command=(), driver_options={"entrypoint": []}))
                assert isinstance(error, LaunchFailed)
                assert error.status == 400
                assert "give the function a `command`" in error.message
                assert took < QUICK

        run(main())

    def test_no_name_is_free(self, engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("hotfn_containers.driver.secrets", SimpleNamespace(token_hex=lambda _: "taken"))
        name = "hotfn-default-echo-taken"
        theirs = engine.cli("create", "--name", name, "--network", "none", engine.image_echo).splitlines()[-1]

        async def main() -> None:
            async with Manager() as manager:
                error, took = await failure(manager, echo(engine))
                assert "already in use" in error.message
                assert took < QUICK

        run(main())
        engine.remove_containers([theirs])

    def test_a_start_that_the_engine_refuses_leaves_nothing(self, engine: Engine) -> None:
        async def main() -> None:
            async with Manager() as manager:
                error, took = await failure(manager, scripted(engine, driver_options={"cwd": "/etc/passwd"}))
                assert isinstance(error, LaunchFailed)
                assert "correct driver_options cwd" in error.message
                assert took < QUICK
                await until(lambda: not copies(engine))

        run(main())


@pytest.mark.parametrize("name", list(KINDS))
def test_a_full_disk_is_told_with_what_to_do(
    engines: EngineSet, name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    directory = engines.directory / f"{name}-full"
    directory.mkdir()
    mount = ["/usr/bin/mount", "-t", "tmpfs", "-o", "size=48m,mode=700", "hotfn-test", os.fspath(directory)]
    subprocess.run(mount, check=True, timeout=30)
    one = KINDS[name](directory)
    try:
        one.start()
        images.provide(one, engines.archives, (images.ECHO,))
        lead_to(one, monkeypatch)
        before = one.inventory()
        run(_told_of_a_full_disk(one))
        assert not left_since(one, before)
    finally:
        (directory / "fill").unlink(missing_ok=True)
        try:
            one.remove()
        finally:
            unmount_below(directory)


def fill(path: Path) -> None:
    """Write until nothing more goes onto the disk."""
    with path.open("wb", buffering=0) as file:
        try:
            while True:
                file.write(b"x" * 4096)
        except OSError:
            return


async def _told_of_a_full_disk(engine: Engine) -> None:
    async with Manager() as manager:
        await manager.open(echo(engine))
        fill(engine.directory / "fill")
        error, took = await failure(manager, echo(engine))
        assert isinstance(error, LaunchFailed)
        assert "the engine's disk is full" in error.message
        assert f"{engine.name} system prune" in error.message
        assert took < QUICK
        (engine.directory / "fill").unlink()
        assert await served_again(manager, echo(engine), b"hello") == b"hello"


async def launched(engine: Engine) -> tuple[EngineDriver, Container, Recorder]:
    """Return a driver that is open, a scripted guest that it has launched, and who hears of it."""
    driver = DRIVERS[engine.name]()
    await driver.open()
    spec, recorder = scripted(engine), Recorder()
    facts: dict[str, Any] = {"function": "default/guest", "instance": "one", "identity": "0" * 64}
    container = await driver.launch(
        ContainerSpec(**facts, env={"FN_FORMAT": "http"}, image=spec.image, command=spec.command), recorder
    )
    return driver, container, recorder


def test_a_driver_that_is_closed_leaves_nothing_though_nothing_was_stopped(engine: Engine) -> None:
    async def main() -> None:
        driver, _, recorder = await launched(engine)
        assert len(copies(engine)) == 1
        await driver.aclose()
        assert not copies(engine)
        assert recorder.exit is None

    run(main())


class TestAStopWhileTheEngineIsAway:
    def test_it_returns_or_raises_and_what_is_left_goes_later(self, away: Engine) -> None:
        async def main() -> None:
            driver, container, recorder = await launched(away)
            await asyncio.to_thread(away.kill)
            began = time.monotonic()
            for grace in (0.5, 0):
                with contextlib.suppress(DriverError):
                    await asyncio.wait_for(container.stop(grace), QUICK)
            assert time.monotonic() - began < QUICK
            await recorder.until(lambda: recorder.exit is not None, "the exit", QUICK)
            assert not recorder.violations
            await asyncio.to_thread(away.start)
            began = time.monotonic()
            await driver.aclose()
            assert time.monotonic() - began < QUICK

        run(main())
