"""Nothing is left behind: what a sweep and `hotfn gc` take from an engine, and what they leave alone."""

from __future__ import annotations

import asyncio
import json
import os
import random
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from typing import Any

import pytest

from hotfn_containers import labels
from hotfn_containers.drivers import DockerDriver, PodmanDriver
from hotfn_core import Manager
from hotfn_core.runtime import Runtime

from .calling import GUEST, run, scripted, until
from .setup import Engine

SEED = int(os.environ.get("HOTFN_SEED", "20170325"))
OURS = labels.make("default/left", "left-1")
LAST_PID = str(2**22)  # of any Linux, and no process has it: the kernel begins anew before it

ME = "import json, sys; from hotfn_core.runtime import Runtime; print(json.dumps(Runtime.current().as_labels()))\n"
"""A process that says who it is."""

HOT = """
import asyncio, sys
from hotfn_core import FunctionSpec, Manager
async def main():
    driver, image, *command = sys.argv[1:]
    async with Manager() as manager:
        spec = FunctionSpec(name="other", driver=driver, image=image, command=tuple(command), format="http",
                            driver_options={"prepared": 2}, idle_timeout=600)
        while await asyncio.to_thread(sys.stdin.readline):
            print((await manager.call(spec, b"from another")).body.decode(), flush=True)
asyncio.run(main())
"""
"""A hotfn that does a call for each line it is sent, and closes when there are no more."""

BUSY = """
import asyncio, random, sys
from hotfn_core import CallError, FunctionSpec, Manager
from hotfn_core.runtime import Runtime
async def main():
    driver, image, seed, *command = sys.argv[1:]
    dice = random.Random(int(seed))
    shape = {"driver": driver, "image": image, "command": tuple(command)}
    specs = [
        FunctionSpec(name="hot", format="http", max_concurrency=3, idle_timeout=0.3, stop_grace=0.2,
                     driver_options={"prepared": 3}, **shape),
        FunctionSpec(name="cold", format="default", max_concurrency=2, **shape),
        FunctionSpec(name="resting", format="json", max_concurrency=2, freeze_after=0.05, **shape),
    ]
    async with Manager() as manager:
        async def forever(spec):
            while True:
                try:
                    await manager.call(spec, b"x")
                except CallError as error:
                    print(error, file=sys.stderr)
                await asyncio.sleep(dice.random() * 0.4)
        print(Runtime.current().runtime, flush=True)
        await asyncio.gather(*[forever(spec) for spec in specs for _ in range(3)])
asyncio.run(main())
"""
"""A hotfn with all that a container of it can be: starting, hot, cold, idle, frozen, ready ahead, being removed."""


def program(code: str, *args: str) -> subprocess.Popen[str]:
    argv = [sys.executable, "-c", code, *args]
    return subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)


def line_of(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    return process.stdout.readline().strip()


@contextmanager
def ended_at_last(process: subprocess.Popen[str]) -> Iterator[subprocess.Popen[str]]:
    with process:
        try:
            yield process
        finally:
            process.kill()


@pytest.fixture(scope="module")
def dead() -> dict[str, str]:
    """The labels of a process that has ended."""
    done = subprocess.run([sys.executable, "-c", ME], stdout=subprocess.PIPE, text=True, check=True)
    return OURS | {f"hotfn.{name}": text for name, text in json.loads(done.stdout).items()}


@pytest.fixture(scope="module")
def living() -> Iterator[dict[str, str]]:
    """The labels of another process, which lives."""
    with ended_at_last(program(f"{ME}sys.stdout.flush()\nsys.stdin.read()")) as process:
        yield OURS | {f"hotfn.{name}": text for name, text in json.loads(line_of(process)).items()}


def container(engine: Engine, marks: Mapping[str, str], state: str = "created") -> str:
    """Make a container that is in this state, and return its id."""
    command = ["true"] if state == "exited" else ["sleep", "600"]
    body = {"Image": engine.image_python, "Cmd": command, "Labels": dict(marks), "HostConfig": {"NetworkMode": "none"}}
    status, made = engine.api("POST", "/containers/create", body)
    assert status == 201, made
    id = str(made["Id"])
    if state == "ready":
        if engine.name == "podman":
            engine.cli("init", id)
        return id
    steps = {"created": [], "running": ["start"], "paused": ["start", "pause"], "exited": ["start", "wait"]}[state]
    for step in steps:
        status, answer = engine.api("POST", f"/containers/{id}/{step}")
        assert status in (200, 204), (step, answer)
    return id


def ids(engine: Engine) -> set[str]:
    return {one.id for one in engine.ps()}


def gc(engine: Engine) -> dict[str, Any]:
    """Run `hotfn gc` for the engine's driver, and return what it reports of that."""
    argv = [sys.executable, "-m", "hotfn_core", "gc", "--driver", engine.name, "--json"]
    done = subprocess.run(argv, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode in (0, 1), done.stdout + done.stderr
    (report,) = json.loads(done.stdout)["drivers"]
    return dict(report)


def sweep(engine: Engine) -> int:
    """Sweep once, and return how many containers are gone."""

    async def main() -> int:
        driver = DockerDriver() if engine.name == "docker" else PodmanDriver()
        await driver.open()
        try:
            return await driver.sweep()
        finally:
            await driver.aclose()

    return asyncio.run(main())


@pytest.mark.parametrize("state", ["created", "ready", "running", "paused", "exited"])
def test_w46_a_container_of_a_dead_hotfn_is_removed_whatever_it_does(
    engine: Engine, dead: dict[str, str], state: str
) -> None:
    id = container(engine, dead, state)
    assert sweep(engine) == 1
    assert id not in ids(engine)


def test_w46_what_is_kept_and_what_is_removed(engine: Engine, dead: dict[str, str], living: dict[str, str]) -> None:
    """Scenario 42: another label, a living runtime, a dead one, one whose pid another process has now, and more."""
    me = Runtime.current()
    keep = {
        "no label": {},
        "another label": {"com.example.runtime": dead["hotfn.runtime"]},
        "labels that begin like ours": {"hotfn.app": "default", "hotfn.function": "left", "hotfnx.runtime": "x"},
        "ours": OURS,
        "another living hotfn's": living,
        "another host's": dead | {"hotfn.host": "another", "hotfn.boot": "another"},
        "another pid namespace's": dead | {"hotfn.pidns": "1"},
        "without a pid": {name: text for name, text in dead.items() if name != "hotfn.pid"},
        "with a damaged pid": dead | {"hotfn.pid": "x"},
        "with a damaged start": dead | {"hotfn.started": ""},
        "with no more than the mark": {labels.MARK: dead["hotfn.runtime"]},
    }
    remove = {
        "a dead hotfn's": dead,
        "one that was made ready": dead | {"hotfn.instance": ""},
        "its pid is ours now": dead | {"hotfn.pid": str(me.pid)},
        "its pid is another hotfn's now": living | {"hotfn.started": str(int(living["hotfn.started"]) - 1)},
        "its pid is nobody's": OURS | {"hotfn.pid": LAST_PID},
        "before this boot": OURS | {"hotfn.boot": "an earlier one"},
    }
    kept = {name: container(engine, marks) for name, marks in keep.items()}
    removed = {name: container(engine, marks) for name, marks in remove.items()}
    try:
        assert sweep(engine) == len(remove)
        there = ids(engine)
        assert {name for name, id in kept.items() if id not in there} == set()
        assert {name for name, id in removed.items() if id in there} == set()
        assert sweep(engine) == 0
        assert ids(engine) == there
    finally:
        engine.remove_containers(kept.values())


def test_w46_many_are_removed_by_the_command(engine: Engine, dead: dict[str, str]) -> None:
    many = {container(engine, dead) for _ in range(50)}
    mine = container(engine, OURS)
    try:
        report = gc(engine)
        assert (report["state"], report["removed"]) == ("ok", 50), report
        assert not many & ids(engine)
        assert mine in ids(engine)
    finally:
        engine.remove_containers([mine])


def test_two_sweeps_at_once_do_not_disturb_each_other(engine: Engine, dead: dict[str, str]) -> None:
    many = {container(engine, dead, state) for state in ("created", "running") for _ in range(4)}

    async def main() -> None:
        drivers = [DockerDriver() if engine.name == "docker" else PodmanDriver() for _ in range(3)]
        await asyncio.gather(*(driver.open() for driver in drivers))
        counts = await asyncio.gather(*(driver.sweep() for driver in drivers))
        assert sum(counts) >= len(many)
        await asyncio.gather(*(driver.aclose() for driver in drivers))

    asyncio.run(main())
    assert not many & ids(engine)


def test_a_sweep_takes_nothing_of_a_hotfn_that_launches(engine: Engine, dead: dict[str, str]) -> None:
    """Copies start, are ready ahead, end and are removed while one sweep follows another."""
    spec = scripted(engine, max_concurrency=3, idle_timeout=0.1, stop_grace=1, driver_options={"prepared": 2})

    async def caller(manager: Manager, number: int, stop: asyncio.Event) -> int:
        count = 0
        while not stop.is_set():
            count += 1
            body = b"%d.%d" % (number, count)
            assert (await manager.call(spec, body)).body == body  # else its copy was taken from it
            await asyncio.sleep(0.15)  # its copy ends meanwhile, so that the next call starts one
        return count

    async def sweeper(driver: Any, stop: asyncio.Event) -> None:
        for _ in range(3):
            left = await asyncio.to_thread(container, engine, dead)
            assert await driver.sweep() == 1
            assert left not in await asyncio.to_thread(ids, engine)
        stop.set()

    async def main() -> None:
        stop = asyncio.Event()
        async with Manager() as manager:
            await manager.open(spec)
            driver = manager._drivers.get(engine.name)
            callers = asyncio.gather(*(caller(manager, number, stop) for number in range(3)))
            await sweeper(driver, stop)
            assert min(await callers) > 1

    run(main())


def test_two_hotfns_side_by_side_until_one_is_killed(engine: Engine) -> None:
    """A manager sweeps by itself when it opens the driver: the containers of the other one stay while it lives."""

    def others() -> dict[str, str]:
        return {one.id: one.state for one in engine.ps(label="hotfn.function=other")}

    async def main(other: subprocess.Popen[str]) -> None:
        async with Manager() as manager:
            await manager.open(scripted(engine))
            await asyncio.gather(*manager._drivers._sweeps.values())
            assert gc(engine)["removed"] == 0
            assert others().keys() >= hot.keys()
            assert (await manager.call(scripted(engine), b"here")).body == b"here"
            assert ask(other) == "from another"
            mine = {one.id for one in engine.ps(label="hotfn.function=guest")}
            assert mine
            left = others()
            other.kill()
            other.wait()
            assert gc(engine)["removed"] == len(left)
            assert not others()
            assert {one.id for one in engine.ps(label="hotfn.function=guest")} == mine

    def ask(other: subprocess.Popen[str]) -> str:
        assert other.stdin is not None
        other.stdin.write("\n")
        other.stdin.flush()
        return line_of(other)

    with ended_at_last(program(HOT, engine.name, engine.image_python, *GUEST)) as other:
        assert ask(other) == "from another"
        asyncio.run(until(lambda: len(others()) == 3))  # one that is hot, two that are ready
        hot = others()
        asyncio.run(main(other))


def test_a_hotfn_that_ends_in_order_leaves_nothing(engine: Engine) -> None:
    with ended_at_last(program(HOT, engine.name, engine.image_python, *GUEST)) as other:
        assert other.stdin is not None
        other.stdin.write("\n")
        other.stdin.flush()
        assert line_of(other) == "from another"
        other.stdin.close()
        assert other.wait(60) == 0
    assert not engine.ps(label="hotfn.function=other")


def kill_and_clean(engine: Engine, times: int) -> None:
    """Kill hotfn at random moments; `hotfn gc` leaves none of its containers each time."""
    dice = random.Random(SEED)
    print(f"HOTFN_SEED={SEED}")
    seen = [kill_once(engine, number, dice) for number in range(times)]
    late = sum(removed > there for there, removed in seen)
    print(f"{engine.name}: {times} kills; containers just behind each, and how many gc removed: {seen}; late: {late}")
    assert sum(there for there, _ in seen) > times, "it was nearly always killed before it had started anything"


def kill_once(engine: Engine, number: int, dice: random.Random) -> tuple[int, int]:
    """Return how many containers there were just behind the kill, and how many gc removed."""
    with ended_at_last(program(BUSY, engine.name, engine.image_python, str(number), *GUEST)) as victim:
        mine = partial(engine.ps, label={labels.MARK: line_of(victim)})
        if number % 4:  # from its first container on; else from before that
            asyncio.run(until(lambda: bool(mine())))
        time.sleep(dice.random() * dice.choice([0.3, 1.0, 3.0]))  # the random moment
        victim.kill()
        victim.wait()
        there = len(mine())
        report = gc(engine)
        assert not mine(), f"kill {number} left {mine()}; gc said {report}"
        assert report["state"] == "ok"
        return there, report["removed"]


@pytest.mark.timeout(400)
def test_w46_gc_leaves_nothing_of_a_hotfn_that_was_killed(engine: Engine) -> None:
    kill_and_clean(engine, 6)


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_w46_gc_leaves_nothing_of_a_hotfn_that_was_killed_fifty_times(engine: Engine) -> None:
    kill_and_clean(engine, 50)
