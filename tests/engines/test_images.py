"""Images are pulled, and what goes wrong with that is said, on both engines and with a registry that really answers."""

from __future__ import annotations

import asyncio
import base64
import json
import logging
import time
from collections.abc import Callable, Coroutine, Iterator
from pathlib import Path
from typing import Any

import pytest
import uvloop

from hotfn_containers.driver import EngineDriver
from hotfn_containers.drivers import DockerDriver, PodmanDriver
from hotfn_core import FunctionSpec, LaunchFailed, Manager
from hotfn_core.driver import ContainerSpec
from hotfn_core.errors import DriverError, DriverUnavailable

from .registry import Fault, Registry, Seen
from .setup import Engine, EngineSet, images

DRIVERS = {"docker": DockerDriver, "podman": PodmanDriver}

Logins = Callable[[Registry, str, str], Path]
QUICK = 10.0  # seconds in which an error is there on a machine that is busy, and far less than any limit here


@pytest.fixture(scope="module")
def echo(engines: EngineSet) -> Path:
    """The root of the image that the registries serve."""
    return images.archive(images.ECHO, engines.archives)


@pytest.fixture
def registry(echo: Path) -> Iterator[Registry]:
    one = Registry(echo, "/echo")
    yield one
    one.close()


@pytest.fixture
def careful(echo: Path, request: pytest.FixtureRequest) -> Iterator[Registry]:
    """A registry that wants a login."""
    one = Registry(echo, "/echo", getattr(request, "param", "basic"))
    yield one
    one.close()


@pytest.fixture(autouse=True)
def nobody(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """There is no login but those of a test."""
    monkeypatch.setenv("DOCKER_CONFIG", str(tmp_path / "logins"))
    monkeypatch.setenv("REGISTRY_AUTH_FILE", str(tmp_path / "logins" / "config.json"))


@pytest.fixture
def logins(tmp_path: Path, engine: Engine, monkeypatch: pytest.MonkeyPatch) -> Logins:
    """Log in: leave user and password where the engine's command line would."""
    monkeypatch.setenv("DOCKER_CONFIG", str(tmp_path / "logins"))  # `engine` has taken it away

    def write(registry: Registry, user: str, password: str) -> Path:
        file = tmp_path / "logins" / "config.json"
        file.parent.mkdir(exist_ok=True)
        auth = base64.b64encode(f"{user}:{password}".encode()).decode()
        file.write_text(json.dumps({"auths": {registry.host: {"auth": auth}}}))
        return file

    return write


@pytest.fixture(autouse=True)
def no_images_left(request: pytest.FixtureRequest) -> Iterator[None]:
    """Remove what was pulled."""
    engine: Engine | None = request.getfixturevalue("engine") if "engine" in request.fixturenames else None
    yield
    if engine is not None:
        remove_pulled(engine)


def remove_pulled(engine: Engine) -> None:
    for row in engine.api("GET", "/images/json")[1]:
        names = [*(row.get("RepoTags") or ()), *(row.get("RepoDigests") or ())]
        if any(name.startswith("127.0.0.1:") for name in names):
            status, body = engine.api("DELETE", f"/images/{row['Id']}?force=true")
            assert status == 200, body


def function(engine: Engine, image: str, name: str = "pulled", **options: Any) -> FunctionSpec:
    return FunctionSpec(name=name, driver=engine.name, image=image, format="http", driver_options=options)


def copy(image: str, **options: Any) -> ContainerSpec:
    return ContainerSpec(function="app/pulled", instance="", identity="0" * 64, image=image, options=options)


def run(coroutine: Coroutine[Any, Any, None]) -> None:
    async def alone() -> None:
        await coroutine
        assert len(asyncio.all_tasks()) == 1

    uvloop.run(alone())


def with_driver(engine: Engine, body: Callable[[EngineDriver], Coroutine[Any, Any, None]]) -> None:
    """Run `body` with a driver of this engine, and close it."""

    async def main() -> None:
        driver = DRIVERS[engine.name]()
        await driver.open()
        try:
            await body(driver)
        finally:
            await driver.aclose()

    run(main())


def failed(engine: Engine, image: str, **options: Any) -> DriverError:
    """Return what making an image ready comes to, quickly."""
    errors: list[DriverError] = []

    async def body(driver: EngineDriver) -> None:
        began = time.monotonic()
        with pytest.raises(DriverError) as caught:
            await driver.prepare(copy(image, **options))
        assert time.monotonic() - began < QUICK
        errors.append(caught.value)

    with_driver(engine, body)
    return errors[0]


async def until(condition: Callable[[], bool], what: str) -> None:
    deadline = time.monotonic() + QUICK
    while not condition():
        assert time.monotonic() < deadline, what
        await asyncio.sleep(0.01)  # nothing tells


def waiting(driver: EngineDriver) -> int:
    """Return how many wait for a pull."""
    assert driver._images is not None
    return sum(flight.waiting for flight in driver._images._pulls._flights.values())


# ---- a pull that works


@pytest.mark.parametrize(
    "name", ["good/echo", "good/echo:1.0", "a/b/c/d:x", "good/echo@DIGEST", "good/echo:1.0@DIGEST"]
)
def test_pulls_what_is_missing_and_answers(engine: Engine, registry: Registry, name: str) -> None:
    image = f"{registry.host}/{name.replace('DIGEST', registry.digest)}"

    async def main() -> None:
        seen: list[Seen] = []
        for _ in range(2):
            async with Manager() as manager:
                replies = [await manager.call(function(engine, image), b"hello") for _ in range(2)]
                assert [reply.body for reply in replies] == [b"hello"] * 2
            assert len(registry.seen) == len(seen or registry.seen) > 0  # never pulls when the image is there
            seen = list(registry.seen)

    run(main())


def test_an_image_that_is_there_needs_no_registry(engine: Engine) -> None:
    async def main() -> None:
        async with Manager() as manager:
            for name in (images.ECHO, f"{images.ECHO}:latest", engine.image_echo):
                assert (await manager.call(function(engine, name, pull="never"), b"here")).body == b"here"

    run(main())


def test_always_pulls_each_time_a_function_is_made_ready(engine: Engine, registry: Registry) -> None:
    image = f"{registry.host}/good/echo:1"

    async def main() -> None:
        for times in (1, 2):
            async with Manager() as manager:
                spec = function(engine, image, pull="always").replace(max_calls=1)
                for _ in range(3):
                    await manager.call(spec, b"")
            assert registry.pulls("good/echo") == times

    run(main())


def test_an_image_that_was_removed_is_pulled_again(engine: Engine, registry: Registry) -> None:
    image = f"{registry.host}/good/echo:1"

    async def main() -> None:
        async with Manager() as manager:
            spec = function(engine, image).replace(idle_timeout=0.0)
            await manager.call(spec, b"")
            await until(lambda: not engine.ps(label="hotfn.runtime"), "the copy does not go")
            remove_pulled(engine)
            assert (await manager.call(spec, b"again")).body == b"again"
        assert registry.pulls("good/echo") == 2

    run(main())


# ---- logins


@pytest.mark.parametrize("careful", ["basic", "bearer"], indirect=True)
def test_a_login_is_used_and_never_shown(
    engine: Engine, careful: Registry, logins: Logins, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    image = f"{careful.host}/good/echo:1"
    error = failed(engine, image)
    assert error.status == 401
    assert f"{engine.name} login {careful.host}" in error.message
    assert "without a login: there is none in" in error.message

    file = logins(careful, careful.user[0], "wrong by a mile")
    error = failed(engine, image)
    assert error.status == 401
    assert f"with the login of {file}" in error.message

    logins(careful, *careful.user)

    async def main() -> None:
        async with Manager() as manager:
            assert (await manager.call(function(engine, image), b"in")).body == b"in"

    run(main())
    assert any(one.user == careful.user[0] for one in careful.seen)
    for text in (*careful.user, "wrong by a mile", base64.b64encode(":".join(careful.user).encode()).decode()):
        assert text == "hotfn" or text not in caplog.text + error.message


def test_a_login_of_a_helper_program(
    engine: Engine, careful: Registry, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, logins: Logins
) -> None:
    program = tmp_path / "docker-credential-tests"
    answer = json.dumps({"Username": careful.user[0], "Secret": careful.user[1]})
    program.write_text(f"#!/bin/sh\necho '{answer}'\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    logins(careful, "nobody", "nothing").write_text(json.dumps({"credHelpers": {careful.host: "tests"}}))
    with_driver(engine, lambda driver: driver.prepare(copy(f"{careful.host}/good/echo:1")))


# ---- what goes wrong


@pytest.mark.parametrize(
    ("fault", "status", "says"),
    [
        ("missing", 404, "there is no image"),
        ("unauthorized", 401, "refuses to give"),
        ("denied", 401, "refuses to give"),
        ("busy", 503, "wait a while"),
        ("garbage", 502, "failed to pull"),
        ("broken", 502, "failed to pull"),
    ],
)
def test_scenario_7_what_a_registry_answers(
    engine: Engine, registry: Registry, fault: Fault, status: int, says: str
) -> None:
    registry.faults["some/app"] = fault
    image = f"{registry.host}/some/app:1"
    error = failed(engine, image)
    assert (error.status, error.retry_after) == (status, 60.0 if fault == "busy" else None)
    assert says in error.message
    words = {
        "missing": "manifest unknown to the stand-in",
        "unauthorized": "wants another login",
        "denied": "is denied",
    }
    assert words.get(fault, "") in error.message


def test_scenario_7_no_registry_answers(engine: Engine, registry: Registry) -> None:
    registry.close()
    error = failed(engine, f"{registry.host}/some/app:1")
    assert error.status == 502
    assert f"cannot reach the registry {registry.host}" in error.message
    assert "connection refused" in error.message


def test_scenario_7_no_registry_of_that_name(engine: Engine) -> None:
    error = failed(engine, "no-such-registry.invalid/some/app:1")
    assert error.status == 502
    assert "check the name no-such-registry.invalid" in error.message


def test_scenario_7_a_registry_that_hangs(engine: Engine, registry: Registry) -> None:
    registry.faults["some/app"] = "hang"
    error = failed(engine, f"{registry.host}/some/app:1", pull_timeout=1)
    assert error.status == 504
    assert "within 1 s (driver_options pull_timeout)" in error.message


def test_w08_a_call_of_a_missing_image_is_told_at_once(engine: Engine, registry: Registry) -> None:
    registry.faults["some/app"] = "missing"

    async def main() -> None:
        async with Manager() as manager:
            began = time.monotonic()
            with pytest.raises(LaunchFailed, match="there is no image") as caught:
                await manager.call(function(engine, f"{registry.host}/some/app:1"), b"")
            assert time.monotonic() - began < QUICK
            assert caught.value.status == 404

    run(main())


@pytest.mark.parametrize("engine", ["podman"], indirect=True)
@pytest.mark.parametrize("name", [images.PYTHON, f"localhost/{images.PYTHON}"])
def test_what_was_built_here_is_in_no_registry(engine: Engine, name: str) -> None:
    error = failed(engine, name, pull="always")
    assert f"cannot reach the registry localhost to pull localhost/{images.PYTHON}" in error.message
    assert "no registry has them" in error.message


def test_never_says_so_at_once(engine: Engine, registry: Registry) -> None:
    error = failed(engine, f"{registry.host}/good/echo:1", pull="never")
    assert error.status == 404
    assert 'pull or build it, or set driver_options pull = "missing"' in error.message
    assert registry.seen == []


def test_an_id_is_not_looked_for_in_a_registry(engine: Engine) -> None:
    error = failed(engine, "sha256:" + "0" * 64)
    assert error.status == 404
    assert "no registry knows an id" in error.message


def test_a_short_name_that_podman_knows_no_registry_for(engines: EngineSet, monkeypatch: pytest.MonkeyPatch) -> None:
    podman = engines.engines["podman"]
    monkeypatch.setenv(podman.variable, podman.host)
    error = failed(podman, "surely-not-here")
    assert error.status == 404
    assert "write docker.io/library/surely-not-here:latest" in error.message


def test_scenario_43_an_image_with_a_volume(engine: Engine) -> None:
    error = failed(engine, engine.image_volume)
    assert error.status == 400
    assert "declares volumes (/data)" in error.message
    with_driver(engine, lambda driver: driver.prepare(copy(engine.image_volume, volumes=True)))


def test_an_engine_that_goes_away_during_a_pull(private_engine: Engine, registry: Registry) -> None:
    registry.faults["some/app"] = "hang"

    async def body(driver: EngineDriver) -> None:
        pull = asyncio.create_task(driver.prepare(copy(f"{registry.host}/some/app:1")))
        await asyncio.to_thread(registry.wait_for, "some/app")
        private_engine.kill()
        with pytest.raises(DriverUnavailable, match=private_engine.name):
            await asyncio.wait_for(pull, QUICK)

    with_driver(private_engine, body)


# ---- one for all


def test_scenario_44_twenty_callers_of_two_tags(engine: Engine, registry: Registry) -> None:
    async def body(driver: EngineDriver) -> None:
        registry.open.clear()
        tags = [f"{registry.host}/good/echo{tag}" for tag in ("", ":latest", ":1", ":1")]
        calls = [asyncio.create_task(driver.prepare(copy(tag))) for tag in tags * 5]
        await until(lambda: waiting(driver) == 20, "not all wait")
        registry.open.set()
        await asyncio.gather(*calls)
        assert registry.pulls("good/echo") == 2

    with_driver(engine, body)


def test_scenario_44_ten_callers_of_a_pull_that_fails(engine: Engine, registry: Registry) -> None:
    registry.faults["some/app"] = "missing"

    async def body(driver: EngineDriver) -> None:
        registry.open.clear()
        calls = [asyncio.create_task(driver.prepare(copy(f"{registry.host}/some/app:1"))) for _ in range(10)]
        await until(lambda: waiting(driver) == 10, "not all wait")
        registry.open.set()
        errors = await asyncio.gather(*calls, return_exceptions=True)
        assert [getattr(error, "status", error) for error in errors] == [404] * 10
        assert registry.pulls("some/app") == 1  # and B10: nobody tries again by himself

    with_driver(engine, body)


def test_b10_a_pull_that_failed_is_tried_again_only_for_the_next_call(engine: Engine, registry: Registry) -> None:
    registry.faults["some/app"] = "missing"

    async def body(driver: EngineDriver) -> None:
        for times in (1, 2):
            with pytest.raises(DriverError):
                await driver.prepare(copy(f"{registry.host}/some/app:1"))
            assert registry.pulls("some/app") == times

    with_driver(engine, body)


def test_scenario_44_a_registry_that_is_busy_once(engine: Engine, registry: Registry) -> None:
    registry.faults["good/echo"] = "busy once"

    async def body(driver: EngineDriver) -> None:
        statuses = []
        while 200 not in statuses:  # podman tries again by itself, docker for some of the URLs
            tried = await asyncio.gather(driver.prepare(copy(f"{registry.host}/good/echo:1")), return_exceptions=True)
            statuses.append(getattr(tried[0], "status", 200))
            assert len(statuses) < 6
        assert statuses[:-1] == ([503] * (len(statuses) - 1) if engine.name == "docker" else [])
        assert (len(statuses) > 1) == (engine.name == "docker")

    with_driver(engine, body)


def test_another_login_is_another_pull(engine: Engine, careful: Registry, logins: Logins) -> None:
    async def body(driver: EngineDriver) -> None:
        careful.open.clear()
        calls = []
        for number in (1, 2):
            logins(careful, *careful.user).touch()
            calls += [asyncio.create_task(driver.prepare(copy(f"{careful.host}/good/echo:1"))) for _ in range(3)]
            await until(lambda number=number: waiting(driver) == 3 * number, "not all wait")  # type: ignore[misc]
            assert driver._images is not None
            assert len(driver._images._pulls._flights) == number
        careful.open.set()
        await asyncio.gather(*calls)

    with_driver(engine, body)


def test_w40_a_hundred_first_calls(engine: Engine, registry: Registry) -> None:
    async def main() -> None:
        spec = function(engine, f"{registry.host}/good/echo:1").replace(max_concurrency=2, max_queue=100)
        async with Manager() as manager:
            replies = await asyncio.gather(*(manager.call(spec, b"%d" % number) for number in range(100)))
            assert [reply.body for reply in replies] == [b"%d" % number for number in range(100)]
            assert len({reply.instance for reply in replies}) <= 2
        assert registry.pulls("good/echo") == 1

    run(main())


def test_a_pull_is_not_charged_to_the_start(engine: Engine, registry: Registry) -> None:
    async def main() -> None:
        registry.open.clear()
        async with Manager() as manager:
            spec = function(engine, f"{registry.host}/good/echo:1").replace(start_timeout=2.0, queue_timeout=60.0)
            call = asyncio.create_task(manager.call(spec, b"late"))
            await until(lambda: len(registry.seen) > 0, "it is not pulled")
            await asyncio.wait([call], timeout=3.0)  # longer than the start may take
            assert not call.done()
            registry.open.set()
            assert (await call).body == b"late"

    run(main())


# ---- cancelled, closed, hanging


def test_who_is_cancelled_leaves_the_others_alone(engine: Engine, registry: Registry) -> None:
    async def body(driver: EngineDriver) -> None:
        registry.open.clear()
        image = f"{registry.host}/good/echo:1"
        first, second = (asyncio.create_task(driver.prepare(copy(image))) for _ in range(2))
        await until(lambda: waiting(driver) == 2, "not both wait")
        first.cancel()
        await asyncio.wait([first])
        assert first.cancelled()
        registry.open.set()
        await second
        assert registry.pulls("good/echo") == 1

    with_driver(engine, body)


def test_a_pull_that_nobody_wants_any_more_is_ended(engine: Engine, registry: Registry) -> None:
    async def body(driver: EngineDriver) -> None:
        registry.faults["some/app"] = "hang"
        call = asyncio.create_task(driver.prepare(copy(f"{registry.host}/some/app:1")))
        await until(lambda: waiting(driver) == 1, "it does not wait")
        call.cancel()
        await asyncio.wait([call])
        assert driver._images is not None
        await until(lambda: not driver._images._pulls._tasks, "it goes on")  # type: ignore[union-attr]

    with_driver(engine, body)


def test_a_pull_of_a_start_goes_on_for_the_next_one(engine: Engine, registry: Registry) -> None:
    async def body(driver: EngineDriver) -> None:
        registry.open.clear()
        image = f"{registry.host}/good/echo:1"
        start = asyncio.create_task(driver.launch(copy(image), None))  # type: ignore[arg-type]
        await until(lambda: waiting(driver) == 1, "it does not wait")
        start.cancel()
        await asyncio.wait([start])
        registry.open.set()
        await driver.prepare(copy(image))
        assert registry.pulls("good/echo") == 1

    with_driver(engine, body)


def test_closing_ends_pulls_and_tells_who_waits(engine: Engine, registry: Registry) -> None:
    registry.faults["some/app"] = "hang"

    async def main() -> None:
        driver = DRIVERS[engine.name]()
        await driver.open()
        call = asyncio.create_task(driver.prepare(copy(f"{registry.host}/some/app:1")))
        await until(lambda: waiting(driver) == 1, "it does not wait")
        began = time.monotonic()
        await driver.aclose()
        with pytest.raises(DriverUnavailable, match="the driver was closed"):
            await call
        assert time.monotonic() - began < QUICK

    run(main())


def test_a_manager_closes_during_a_pull(engine: Engine, registry: Registry) -> None:
    registry.faults["some/app"] = "hang"

    async def main() -> None:
        async with Manager() as manager:
            call = asyncio.create_task(manager.call(function(engine, f"{registry.host}/some/app:1"), b""))
            await until(lambda: len(registry.seen) > 0, "it is not pulled")
        assert isinstance((await asyncio.gather(call, return_exceptions=True))[0], Exception)

    run(main())


def test_pulls_that_hang_hold_up_nobody(engine: Engine, registry: Registry) -> None:
    hanging = [f"hanging/app{number}" for number in range(20)]
    registry.faults |= dict.fromkeys(hanging, "hang")

    async def main() -> None:
        async with Manager() as manager:
            calls = [
                asyncio.create_task(manager.call(function(engine, f"{registry.host}/{name}:1", f"f{number}"), b""))
                for number, name in enumerate(hanging)
            ]
            await until(lambda: len(registry.seen) > 3, "nothing is pulled")
            spec = function(engine, engine.image_echo, "here").replace(start_timeout=20.0)
            assert (await manager.call(spec, b"here")).body == b"here"
            assert not any(call.done() for call in calls)
        await asyncio.gather(*calls, return_exceptions=True)

    run(main())
