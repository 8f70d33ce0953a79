"""Containers made ready ahead, on real engines: a cold call pays for nothing but the start."""

from __future__ import annotations

import asyncio
import json
import logging
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

import pytest

from hotfn_containers import images, prepared
from hotfn_containers.driver import EngineDriver
from hotfn_core import FunctionSpec, Manager

from .calling import run, script, scripted, until
from .setup import Engine

SECRET = "a-word-that-no-log-may-have"


def cold_each_time(engine: Engine, count: int = 2, **fields: Any) -> FunctionSpec:
    """Return a function that stops as soon as nothing waits, and has so many containers ready."""
    given: dict[str, Any] = {"idle_timeout": 0, "stop_grace": 0.5, "driver_options": {"prepared": count}}
    return scripted(engine, **(given | fields))


def driver_of(manager: Manager, engine: Engine) -> EngineDriver:
    return cast("EngineDriver", manager._drivers.get(engine.name))


def ready(manager: Manager, engine: Engine) -> list[str]:
    """The ids of what is ready, the oldest first."""
    shop = driver_of(manager, engine)._prepared
    assert shop is not None
    return [one.full_id for shelf in shop._shelves.values() for one in shelf.ready]


async def filled(manager: Manager, engine: Engine, count: int = 2) -> list[str]:
    await until(lambda: len(ready(manager, engine)) == count, 60)
    return ready(manager, engine)


async def container_of(manager: Manager, spec: FunctionSpec) -> str:
    """Do a call, and return the id of the container that answered, as far as its host name tells."""
    reply = await manager.call(spec, script(report=["env"]))
    assert reply.cold
    return str(json.loads(reply.body)["env"]["HOSTNAME"])


def states(engine: Engine) -> dict[str, str]:
    return {one.id: one.state for one in engine.ps(label="hotfn.runtime")}


def test_the_first_is_made_before_the_first_call_and_the_rest_behind_it(engine: Engine) -> None:
    async def main() -> None:
        async with Manager() as manager:
            await manager.open(cold_each_time(engine))
            assert ready(manager, engine)
            both = await filled(manager, engine)
            assert set(states(engine)) == set(both)
            assert not set(states(engine).values()) & {"running", "exited"}
        assert states(engine) == {}

    run(main())


def test_the_oldest_is_taken_and_replaced(engine: Engine) -> None:
    spec = cold_each_time(engine)

    async def main() -> None:
        async with Manager() as manager:
            await manager.open(spec)
            for _ in range(3):
                first, second = await filled(manager, engine)
                assert first.startswith(await container_of(manager, spec))
                assert (await filled(manager, engine))[0] == second
                await until(lambda gone=first: gone not in states(engine))  # type: ignore[misc]

    run(main())


def test_more_calls_than_are_ready_are_all_served(engine: Engine) -> None:
    spec = cold_each_time(engine, max_concurrency=4)

    async def main() -> None:
        async with Manager() as manager:
            await manager.open(spec)
            await filled(manager, engine)
            bodies = [b"%d" % number for number in range(8)]
            replies = await asyncio.gather(*(manager.call(spec, body) for body in bodies))
            assert [reply.body for reply in replies] == bodies
            await filled(manager, engine)

    run(main())


def test_what_was_removed_from_outside_is_replaced_without_an_error(engine: Engine) -> None:
    spec = cold_each_time(engine)

    async def main() -> None:
        async with Manager() as manager:
            await manager.open(spec)
            before = await filled(manager, engine)
            await asyncio.to_thread(engine.remove_containers, before)
            used = await container_of(manager, spec)
            assert not [one for one in before if one.startswith(used)]
            assert not set(await filled(manager, engine)) & set(before)

    run(main())


@pytest.mark.timeout(240)
@pytest.mark.parametrize("how", ["restart", "kill"])
def test_what_a_restart_of_the_engine_spoiled_is_replaced_without_an_error(private_engine: Engine, how: str) -> None:
    engine = private_engine
    spec = cold_each_time(engine)

    def again() -> None:
        if how == "kill":
            engine.kill()
            engine.start()
        else:
            engine.restart()

    async def main() -> None:
        async with Manager() as manager:
            await manager.open(spec)
            before = await filled(manager, engine)
            await asyncio.to_thread(again)
            await container_of(manager, spec)
            assert not set(await filled(manager, engine)) & set(before)
            await until(lambda: not set(before) & set(states(engine)))
        assert states(engine) == {}

    run(main())


def test_what_is_not_used_is_removed_and_comes_back(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    spec = cold_each_time(engine)

    async def main() -> None:
        async with Manager() as manager:
            monkeypatch.setattr(prepared, "LIFETIME", 0.5)
            await manager.open(spec)
            await until(lambda: not ready(manager, engine) and not states(engine))
            monkeypatch.setattr(prepared, "LIFETIME", 600)
            await container_of(manager, spec)
            await filled(manager, engine)

    run(main())


def test_another_image_of_that_name_is_taken_at_once(
    engine: Engine, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(images, "FRESH", 0.0)
    name = f"hotfn-test/changing-{tmp_path.name.lower()}"
    spec = cold_each_time(engine, image=engine.repository + name)

    def build(version: int) -> None:
        (tmp_path / "Dockerfile").write_text(f"FROM {engine.image_python}\nENV VERSION={version}\n")
        engine.build_image(tmp_path, name)

    async def main() -> None:
        async with Manager() as manager:
            await manager.open(spec)
            before = await filled(manager, engine)
            await asyncio.to_thread(build, 2)
            for _ in range(2):
                reply = await manager.call(spec, script(report=["env"]))
                assert json.loads(reply.body)["env"]["VERSION"] == "2"
                assert not set(await filled(manager, engine)) & set(before)

    build(1)
    try:
        run(main())
    finally:
        engine.cli("rmi", "--force", engine.repository + name)


def test_a_cold_protocol_has_no_use_for_it_and_says_so_once(engine: Engine, caplog: pytest.LogCaptureFixture) -> None:
    spec = cold_each_time(engine, format="default")

    async def main() -> None:
        async with Manager() as manager:
            for number in range(3):
                body = b"%d" % number
                assert (await manager.call(spec, body)).body == body
            assert not ready(manager, engine)
            await until(lambda: not states(engine))

    run(main())
    assert caplog.text.count("`prepared` is of no use") == 1


def test_functions_have_their_own(engine: Engine) -> None:
    specs = [cold_each_time(engine, 1, name=f"f{number}", env={"WHO": f"{number}"}) for number in range(4)]

    async def main() -> None:
        async with Manager() as manager:
            await asyncio.gather(*(manager.open(spec) for spec in specs))
            await filled(manager, engine, 4)
            replies = await asyncio.gather(*(manager.call(spec, script(report=["env"])) for spec in specs))
            assert [json.loads(reply.body)["env"]["WHO"] for reply in replies] == ["0", "1", "2", "3"]
            await filled(manager, engine, 4)

    run(main())


def test_no_log_has_the_environment(engine: Engine, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    spec = cold_each_time(engine, env={"PASSWORD": SECRET})

    async def main() -> None:
        async with Manager() as manager:
            await manager.open(spec)
            gone = await filled(manager, engine)
            await asyncio.to_thread(engine.remove_containers, gone)
            reply = await manager.call(spec, script(report=["env"]))
            assert json.loads(reply.body)["env"]["PASSWORD"] == SECRET
            shop = driver_of(manager, engine)._prepared
            assert shop is not None
            assert SECRET not in repr(list(shop._shelves.values()))

    run(main())
    assert SECRET not in caplog.text


def test_closing_removes_them_also_while_they_are_made(engine: Engine) -> None:
    async def main() -> None:
        for patience in (0.0, 0.05, 0.3):
            async with Manager() as manager:
                opening = asyncio.create_task(manager.open(cold_each_time(engine, 8)))
                if patience:
                    await opening
                    await asyncio.sleep(patience)  # some are there, one is being made
                else:
                    await until(lambda: bool(states(engine)))  # the first is being made
            await asyncio.gather(opening, return_exceptions=True)
            assert states(engine) == {}

    run(main())


@pytest.mark.timeout(240)
def test_a_cold_call_pays_for_the_start_alone(engine: Engine) -> None:
    """The benchmarks have the bound; here it is shown, for podman by far enough that a busy machine does not matter."""
    with_none = cold_each_time(engine, 0, name="none")
    with_some = cold_each_time(engine, 2, name="some")
    times: dict[str, list[float]] = {"none": [], "some": []}

    async def measure(manager: Manager, spec: FunctionSpec) -> None:
        await until(lambda: idle(manager))
        begun = time.monotonic()
        assert (await manager.call(spec, b"x")).cold
        times[spec.name].append(time.monotonic() - begun)

    def idle(manager: Manager) -> bool:
        """Whether nothing goes on behind the last call."""
        return len(ready(manager, engine)) == 2 and set(states(engine)) == set(ready(manager, engine))

    async def main() -> None:
        async with Manager() as manager:
            await manager.open(with_none)
            await manager.open(with_some)
            for _ in range(7):  # in turns, so that what the machine does meanwhile happens to both
                await measure(manager, with_none)
                await measure(manager, with_some)

    run(main())
    middle: Callable[[str], float] = lambda name: statistics.median(times[name])  # noqa: E731
    ratio = middle("some") / middle("none")
    print(f"{engine.name}: cold {middle('none'):.3f} s, prepared {middle('some'):.3f} s, ratio {ratio:.2f}")
    print({name: [round(one, 3) for one in each] for name, each in times.items()})
    if engine.name == "podman":  # what docker can do ahead is the smaller part of a start
        assert ratio < 0.6
