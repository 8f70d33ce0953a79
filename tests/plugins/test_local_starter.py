"""Many starts at a time: how far each may go, what is worked out once, and what one leaves that is called back."""

from __future__ import annotations

import asyncio
import math
import os
import signal
import sys
import threading
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from hotfn_core import FunctionSpec, Manager
from hotfn_core.driver import ContainerSpec
from hotfn_core.errors import DriverError
from hotfn_core.testing.check_driver import Kit
from hotfn_local import order, posix, starter
from hotfn_local.driver import LocalDriver
from hotfn_local.order import Orders

from .conftest import Local

ON: dict[str, Any] = {"zygote": True}


@pytest.fixture
def crowded(monkeypatch: pytest.MonkeyPatch) -> None:
    """Beside a copy, no start is by itself."""
    monkeypatch.setattr(starter, "CALM", math.inf)


def driver_of(kit: Kit) -> LocalDriver:
    assert isinstance(kit.driver, LocalDriver)
    return kit.driver


# Called back


@pytest.mark.parametrize("steps", range(12))
@pytest.mark.usefixtures("crowded")
def test_a_start_that_is_called_back_leaves_nothing(local: Local, steps: int) -> None:
    """Whatever it has come to: waiting for its place, made ready, in the thread, or just over."""

    async def body(kit: Kit) -> None:
        await kit.ready()
        before = len(os.listdir("/proc/self/fd"))
        launches = [asyncio.ensure_future(kit.driver.launch(kit.spec(), kit.recorder())) for _ in range(6)]
        for _ in range(steps):
            await asyncio.sleep(0)
        for launch in launches:
            launch.cancel()
        for result in await asyncio.gather(*launches, return_exceptions=True):
            if not isinstance(result, asyncio.CancelledError):
                assert not isinstance(result, BaseException)
                await result.stop(0)
        assert len(os.listdir("/proc/self/fd")) == before
        assert len(driver_of(kit)._alive) == 1
        assert driver_of(kit)._starter._starting == 0
        await kit.ready()  # no place is lost

    local(body)


@pytest.mark.usefixtures("crowded")
def test_a_start_in_the_thread_is_called_back_twice(local: Local) -> None:
    async def body(kit: Kit) -> None:
        await kit.ready()
        go = threading.Event()
        driver_of(kit)._starter._threads.submit(go.wait)
        launch = asyncio.ensure_future(kit.driver.launch(kit.spec(), kit.recorder()))
        for _ in range(2):
            for _ in range(10):
                await asyncio.sleep(0)
            launch.cancel()
        assert not launch.done()
        go.set()
        with pytest.raises(asyncio.CancelledError):
            await launch
        assert len(kit.seen()) == 1

    local(body)


# Places


@pytest.mark.usefixtures("crowded")
def test_plain_starts_go_on_two_at_a_time(local: Local, monkeypatch: pytest.MonkeyPatch) -> None:
    found: list[int] = []
    start = starter.Starter._start

    async def counted(self: starter.Starter, *what: Any) -> Any:
        found.append(self._starting)
        return await start(self, *what)

    async def body(kit: Kit) -> None:
        await kit.ready()
        monkeypatch.setattr(starter.Starter, "_start", counted)
        await asyncio.gather(*(kit.ready() for _ in range(20)))
        assert len(found) == 20
        assert max(found) == 2

    local(body)


def test_plain_starts_do_not_wait_for_imports(tmp_path: Path) -> None:
    """Three functions whose zygotes were killed, and import anew until they may go on: several starts of each."""
    go = tmp_path / "go"
    (tmp_path / "slow.py").write_text("import os, time\nwhile not os.path.exists('go'):\n    time.sleep(0.01)\n")
    answer = (
        "import json, sys\nfor line in sys.stdin: print(json.dumps({'body': json.loads(line)['body']}), flush=True)"
    )
    options = {"zygote": ["slow"], "cwd": str(tmp_path)}

    def function(name: str, **fields: Any) -> FunctionSpec:
        command = (sys.executable, "-c", answer)
        return FunctionSpec(name=name, command=command, format="json", idle_timeout=0, **fields)

    async def main() -> None:
        slow = [function(f"slow{n}", driver_options=options, env={"PYTHONHASHSEED": str(n)}) for n in range(3)]
        async with Manager() as manager:
            go.touch()  # for the first ones, which are made ready before anything is started
            await asyncio.gather(*(manager.call(one, b"") for one in slow))
            go.unlink()
            await without_zygotes(manager)
            waiting = [asyncio.ensure_future(manager.call(one, b"slow")) for one in slow for _ in range(3)]
            await asyncio.sleep(0)
            try:
                async with asyncio.timeout(20):
                    assert (await manager.call(function("plain"), b"plain")).body == b"plain"
                assert not any(one.done() for one in waiting)
            finally:
                go.touch()
            assert {reply.body for reply in await asyncio.gather(*waiting)} == {b"slow"}

    asyncio.run(main())


async def without_zygotes(manager: Manager) -> None:
    """Kill all zygotes of the driver."""
    driver = manager._drivers.get("local")
    assert isinstance(driver, LocalDriver)
    for pid in driver.zygotes:
        os.kill(pid, signal.SIGKILL)
    async with asyncio.timeout(15):
        while driver.zygotes:  # noqa: ASYNC110 -- there is no event for what a process does
            await asyncio.sleep(0.005)


@pytest.mark.usefixtures("crowded")
def test_forks_of_a_zygote_do_not_wait_for_plain_starts(local: Local) -> None:
    async def body(kit: Kit) -> None:
        await kit.ready(options=ON)
        go = threading.Event()
        driver_of(kit)._starter._threads.submit(go.wait)
        plain = [asyncio.ensure_future(kit.ready()) for _ in range(5)]
        try:
            await kit.ready(options=ON)
            assert not any(one.done() for one in plain)
        finally:
            go.set()
        await asyncio.gather(*plain)

    local(body)


# What is worked out once


def described(**fields: Any) -> ContainerSpec:
    return ContainerSpec(**({"function": "a/f", "instance": "1", "identity": "i", "command": ("/bin/cat",)} | fields))


def test_an_order_is_made_once_and_follows_its_function() -> None:
    orders = Orders({"PATH": "/bin", "A": "0"})
    first = orders.make(described(env={"A": "1"}))
    ((_, kept),) = orders._known.values()
    assert kept.env == {}  # it may be of a call
    assert orders.make(described(env={"A": "1"}, instance="2")) == first
    second = orders.make(described(env={"B": "2"}))
    assert (second.env, second.program) == ({"PATH": "/bin", "A": "0", "B": "2"}, "/bin/cat")
    assert first.env == {"PATH": "/bin", "A": "1"}
    ((_, kept),) = orders._known.values()
    assert kept.env == {}
    third = orders.make(described(command=("/bin/sh", "x"), env={"B": "2"}))
    assert (third.program, third.argv) == ("/bin/sh", ["/bin/sh", "x"])
    fourth = orders.make(described(command=("/bin/sh", "x"), env={"B": "2"}, options={"cwd": "/"}))
    assert fourth == replace(third, cwd="/")
    limited = orders.make(described(command=("/bin/sh", "x"), env={"B": "2"}, memory=512))
    assert "/bin/sh" in limited.argv or limited.program != "/bin/sh"


def test_what_may_change_is_worked_out_each_time(tmp_path: Path) -> None:
    orders = Orders({"PATH": f"{tmp_path}:/bin"})
    assert orders.make(described(command=("cat",))).program == "/bin/cat"
    (tmp_path / "cat").write_text("#!/bin/sh\n")
    (tmp_path / "cat").chmod(0o755)
    assert orders.make(described(command=("cat",))).program == str(tmp_path / "cat")


def test_few_orders_are_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(order, "MOST_KNOWN", 3)
    orders = Orders({"PATH": "/bin"})
    for number in range(10):
        orders.make(described(identity=str(number)))
    assert list(orders._known) == ["7", "8", "9"]


def test_a_program_that_went_away_is_told_as_one_that_never_was(local: Local, tmp_path: Path) -> None:
    program = tmp_path / "program"

    async def told(kit: Kit) -> str:
        with pytest.raises(DriverError) as caught:
            await kit.launch(command=(str(program),))
        return caught.value.message

    async def body(kit: Kit) -> None:
        never = await told(kit)
        assert f"program not found, no file {program}" in never
        program.write_text("#!/bin/sh\nexec cat\n")
        program.chmod(0o755)
        await kit.launch(command=(str(program),))
        program.unlink()
        assert await told(kit) == never
        program.write_text("#!/no/such/shell\n")
        program.chmod(0o755)
        assert "names the interpreter '/no/such/shell'" in await told(kit)

    local(body)


def test_words_hold_what_an_environment_can_hold() -> None:
    words = posix.Words("/bin/x", ["x", "", "\udcff"], {"A": ""})
    assert list(words.argv) == [b"x", b"", b"\xff", None]
    assert list(words.with_variable("M", "1")) == [b"A=", b"M=1", None]
    assert list(posix.Words("/bin/x", [], {}).argv) == [None]
    for argv, env in ((["a\0b"], {}), (["\ud800"], {}), ([], {"A": "\0"}), ([], {"A=B": ""})):
        with pytest.raises(ValueError):
            posix.Words("/bin/x", argv, env)
