"""How a container ended, as its callers are told."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Awaitable, Callable
from typing import Any, cast

import pytest

from hotfn_containers import exits
from hotfn_containers.attach import CUT
from hotfn_containers.engine import State
from hotfn_containers.exits import ExitFinder, as_exit, cut_off
from hotfn_containers.lifeline import Lifeline
from hotfn_containers.trouble import NoSuchContainer, Refused
from hotfn_core.errors import DriverUnavailable
from hotfn_core.model import Exit

from .puppet import ID, Puppet, Stage


@pytest.mark.parametrize(
    ("exit", "words"),
    [
        (Exit(code=0), ["was lost", "exited with code 0", "read all of its input"]),
        (Exit(code=3), ["exited with code 3"]),
        (Exit(code=137, oom=True, memory=64), ["out of memory, limit 64 MB"]),
    ],
)
def test_when_the_end_of_the_outputs_may_be_missing_it_is_no_reply(exit: Exit, words: list[str]) -> None:
    cut = cut_off(exit)
    assert cut.code != 0
    for word in (CUT, *words):
        assert word in str(cut)


# ---- finding it


@pytest.fixture(autouse=True)
def soon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(exits, "PAUSES", (0.0, 0.001, 0.001))
    monkeypatch.setattr(exits, "LOOK_AGAIN", 0.005)


class Search:
    """A look for the end of a container."""

    def __init__(self) -> None:
        self.stage = Stage()
        self.engine: Puppet = self.stage.engine
        self.finder = ExitFinder(self.stage.calls, ID, None)

    async def find(self, why: str = "") -> Exit:
        return await asyncio.wait_for(self.finder.find(why), 5)


def search(body: Callable[[Search], Awaitable[Any]]) -> None:
    async def main() -> None:
        one = Search()
        await body(one)
        await one.stage.calls.aclose(5)

    asyncio.run(main())


def test_one_that_has_ended() -> None:
    async def body(one: Search) -> None:
        one.engine.current = State(running=False, code=5)
        assert await one.find() == Exit(code=5)

    search(body)


def test_the_end_of_the_streams_may_come_a_moment_before_the_end() -> None:
    async def body(one: Search) -> None:
        looks = iter([None, None])

        def look() -> None:
            if next(looks, "end") == "end":
                one.engine.current = State(running=False, code=5)

        one.engine.on["state"] = look
        assert await one.find() == Exit(code=5)

    search(body)


class Service:
    """What stands for the lifeline: `gone` says that the service went when the streams ended."""

    def __init__(self) -> None:
        self.gone = True

    async def broke(self, when: float) -> bool:
        assert when <= asyncio.get_running_loop().time()
        return self.gone

    async def aclose(self) -> None: ...


def test_what_ended_while_its_service_was_started_anew_is_not_believed() -> None:
    """What it did behind that is not heard: exit code 0 would make half a reply a whole one."""

    async def body(one: Search) -> None:
        one.stage.calls.lifeline = cast("Lifeline", service := Service())
        one.engine.current = State(running=False, code=0)
        found = await one.find()
        assert found.code is None
        assert "the connection to docker was lost: its service was started anew" in found.detail
        service.gone = False
        assert await one.find() == Exit(code=0)

    search(body)


def test_what_runs_on_behind_a_service_that_was_started_anew_is_killed_at_once() -> None:
    async def body(one: Search) -> None:
        looks: list[None] = []
        one.engine.on["state"] = lambda: looks.append(None)
        one.stage.calls.lifeline = cast("Lifeline", Service())
        found = await one.find()
        assert one.engine.did == ["kill SIGKILL"]
        assert "started anew" in found.detail
        assert len(looks) == 1

    search(body)


@pytest.mark.parametrize("why", ["Connection reset by peer", ""])
def test_one_that_runs_and_cannot_be_reached_any_more_is_killed(why: str) -> None:
    async def body(one: Search) -> None:
        found = await one.find(why)
        assert one.engine.did == ["kill SIGKILL"]
        assert found.code is None
        assert "the connection to docker was lost" in found.detail
        assert (why or "it ran on") in found.detail

    search(body)


@pytest.mark.parametrize(
    ("error", "text"),
    [
        (NoSuchContainer("x", 404), "removed from outside"),
        (DriverUnavailable("nobody listens"), "was lost: nobody listens"),
        (Refused("it is broken", 500), "was lost: it is broken"),
        (KeyError("State"), "could not be found out how: KeyError"),
    ],
)
def test_an_engine_that_does_not_tell(error: Exception, text: str) -> None:
    """Whatever it does instead: an exit is reported."""

    async def body(one: Search) -> None:
        def look() -> None:
            raise error

        one.engine.on["state"] = look
        found = await one.find()
        assert found.code is None
        assert text in found.detail

    search(body)


def test_an_engine_that_hangs_behind_streams_that_broke(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(exits, "BROKEN_SECONDS", 0.05)
    gate = threading.Event()

    async def body(one: Search) -> None:
        one.engine.on["state"] = lambda: gate.wait(10)
        assert "was lost: Connection reset by peer" in (await one.find("Connection reset by peer")).detail
        gate.set()

    search(body)


def test_the_end_of_one_that_was_killed() -> None:
    async def body(one: Search) -> None:
        assert await one.finder.ended() is None
        one.engine.current = State(running=False, code=137)
        ended = await one.finder.ended()
        assert ended is not None
        assert ended.code == 137

        def look() -> None:
            raise DriverUnavailable("away")

        one.engine.on["state"] = look
        assert await one.finder.ended() is None
        assert not await one.finder.running()

    search(body)


@pytest.mark.parametrize(
    ("state", "suspect", "text"),
    [
        (State(running=False, code=0), None, "exited with code 0"),
        (State(running=False, code=143), None, "exited with code 143 (as a program does that signal 15 has killed)"),
        (State(running=False, code=255), None, "exited with code 255"),
        (State(running=False, code=-1), None, "was lost (the engine does not know its exit code)"),
        (State(running=False, code=None), None, "was lost"),
        (State(running=False, code=1, error="exec failed"), None, "exited with code 1 (exec failed)"),
        (State(running=False, code=137, oom=True), None, "was killed"),
    ],
)
def test_what_an_engine_says_as_an_exit(state: State, suspect: int | None, text: str) -> None:
    assert text in str(as_exit(state, suspect))
