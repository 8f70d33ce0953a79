"""Copies that are frozen while nobody calls them, on real engines."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from hotfn_core import FunctionSpec, Manager

from .calling import copies, echo, run, script, scripted, until
from .setup import Engine
from .setup.process import Process, descendants

SOON = 0.05
"""Seconds of idleness until a copy is frozen."""

RESTLESS = """
import json, sys, threading
def spin():
    while True:
        pass
threading.Thread(target=spin, daemon=True).start()
for line in sys.stdin:
    print(json.dumps({"body": "x"}), flush=True)
"""


async def frozen(manager: Manager, engine: Engine, spec: FunctionSpec) -> str:
    """Call a function, wait until its copy is frozen and the engine says so, and return the id of the container."""
    await manager.call(spec, script() if spec.name == "guest" else b"")
    await until(lambda: manager.stats()[spec.full_name].frozen == 1)
    await until(lambda: list(copies(engine).values()) == ["paused"])
    (ours,) = engine.ps(label="hotfn.runtime")
    return ours.id


def worked(engine: Engine, container: str) -> int:
    """Return the clock ticks that the processes of a container have run."""
    main = Process.of(engine.inspect(container)["State"]["Pid"])
    assert main is not None
    fields = [
        Path(f"/proc/{one.pid}/stat").read_text().rpartition(")")[2].split() for one in (main, *descendants(main))
    ]
    return sum(int(one[11]) + int(one[12]) for one in fields)


def test_a_call_thaws_the_copy_that_is_there(engine: Engine) -> None:
    async def main() -> None:
        async with Manager() as manager:
            spec = scripted(engine, freeze_after=SOON)
            first = await manager.call(spec, script())
            await frozen(manager, engine, spec)
            again = await manager.call(spec, script())
            assert json.loads(again.body)["calls"] == 3
            assert (again.instance, again.cold) == (first.instance, False)
            assert again.queued > 0
            assert set(copies(engine).values()) <= {"running", "paused"}

    run(main())


def test_a_frozen_copy_uses_no_cpu(engine: Engine) -> None:
    async def main() -> None:
        async with Manager() as manager:
            command = ("python3", "-c", RESTLESS)
            spec = scripted(engine, "json", name="restless", command=command, freeze_after=SOON, cpus=0.5)
            container = await frozen(manager, engine, spec)
            before = worked(engine, container)
            assert before > 0
            await asyncio.sleep(0.5)
            assert worked(engine, container) == before
            await manager.call(spec)
            await until(lambda: worked(engine, container) > before)

    run(main())


def test_it_is_off_unless_it_is_asked_for(engine: Engine) -> None:
    async def main() -> None:
        async with Manager() as manager:
            await manager.call(echo(engine))
            await asyncio.sleep(3 * SOON)
            assert list(copies(engine).values()) == ["running"]

    run(main())


@pytest.mark.parametrize("kill", [False, True])
def test_frozen_copies_end_with_the_manager(engine: Engine, kill: bool) -> None:
    """In less than their grace: they are thawed to end by themselves, or killed as they are."""

    async def main() -> None:
        manager = Manager()
        async with manager:
            await frozen(manager, engine, echo(engine, freeze_after=SOON, stop_grace=30))
            began = time.monotonic()
            await manager.aclose(kill=kill)
            assert time.monotonic() - began < 15
        assert not copies(engine)

    run(main())


def test_a_frozen_copy_that_minds_nothing_is_killed_behind_its_grace(engine: Engine) -> None:
    async def main() -> None:
        async with Manager() as manager:
            await frozen(manager, engine, scripted(engine, freeze_after=SOON, idle_timeout=0.5, stop_grace=0.5))
            await until(lambda: not copies(engine))

    run(main())


async def unpaused(engine: Engine, container: str) -> None:
    await asyncio.to_thread(engine.cli, "unpause", container)


async def removed(engine: Engine, container: str) -> None:
    await asyncio.to_thread(engine.cli, "rm", "-f", container)


@pytest.mark.parametrize("meddle", [unpaused, removed])
def test_a_call_that_meets_a_copy_that_does_not_thaw_gets_another(
    engine: Engine, meddle: Callable[[Engine, str], Any]
) -> None:
    async def main() -> None:
        async with Manager() as manager:
            spec = echo(engine, freeze_after=SOON, stop_grace=0.2)
            container = await frozen(manager, engine, spec)
            await meddle(engine, container)
            began = time.monotonic()
            assert (await manager.call(spec, b"hello")).body == b"hello"
            assert time.monotonic() - began < 10
            await until(lambda: container not in {one.id for one in engine.ps()})

    run(main())


def test_the_engine_is_started_anew_while_a_copy_is_frozen(
    private_engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("hotfn_containers.removal.TRY_AGAIN", 0.3)

    async def main() -> None:
        async with Manager() as manager:
            spec = echo(private_engine, freeze_after=SOON)
            container = await frozen(manager, private_engine, spec)
            await asyncio.to_thread(private_engine.kill)
            await until(lambda: manager.stats()[spec.full_name].frozen == 0)
            await asyncio.to_thread(private_engine.start)
            assert (await manager.call(spec, b"hello")).body == b"hello"
            await until(lambda: container not in {one.id for one in private_engine.ps()})

    run(main())
    assert not copies(private_engine)
