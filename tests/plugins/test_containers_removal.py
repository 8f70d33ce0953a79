"""Removing containers, with an engine that may refuse to: what is tried again, what a sweep takes and tells."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from hotfn_containers import labels, removal
from hotfn_containers.removal import Removals
from hotfn_containers.trouble import Refused
from hotfn_core.errors import DriverError, DriverUnavailable

from .containers_engine import MindEngine

ALIVE = labels.make("app/function", "1")
DEAD = ALIVE | {"hotfn.pid": str(2**22)}

Body = Callable[[MindEngine, Removals], Awaitable[Any]]


@pytest.fixture(autouse=True)
def soon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(removal, "PAUSES", (0.0, 0.001, 0.001))
    monkeypatch.setattr(removal, "LOOK_AGAIN", 0.01)
    monkeypatch.setattr(removal, "TRY_AGAIN", 0.02)


def with_engine(body: Body) -> list[str]:
    """Run a test body, then let the driver close; return the ids of what it was told is gone."""
    gone: list[str] = []

    async def main() -> None:
        engine = MindEngine()
        calls = engine.calls()
        removals = Removals(calls, gone.append)
        await body(engine, removals)
        removals.finish()
        await calls.aclose(5)
        assert asyncio.all_tasks() == {asyncio.current_task()}

    asyncio.run(main())
    return gone


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(20):
        while not condition():  # noqa: ASYNC110  # what threads do sets no event
            await asyncio.sleep(0.001)


class TestRemove:
    def test_the_driver_is_told_what_is_gone(self) -> None:
        async def body(engine: MindEngine, removals: Removals) -> None:
            engine.there = {"a": ALIVE, "b": ALIVE}
            await removals.remove("a")
            removals.soon("b")
            await until(lambda: not engine.there)

        assert with_engine(body) == ["a", "b"]

    def test_an_engine_that_refuses_for_a_moment_is_asked_again(self) -> None:
        async def body(engine: MindEngine, removals: Removals) -> None:
            engine.there = {"a": ALIVE}
            engine.refuse = lambda _: Refused("busy", 500) if len(engine.asked) < 3 else None
            await removals.remove("a")
            assert (engine.there, len(removals), len(engine.asked)) == ({}, 0, 3)

        with_engine(body)

    def test_an_engine_that_is_away_is_not_asked_three_times(self) -> None:
        async def body(engine: MindEngine, removals: Removals) -> None:
            engine.refuse = lambda _: DriverUnavailable("away")
            await removals.remove("a")
            assert (len(removals), engine.asked) == (1, ["a"])
            engine.refuse = lambda _: None

        with_engine(body)

    def test_what_could_not_be_removed_is_tried_again_with_the_next_one(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(removal, "TRY_AGAIN", 1000)

        async def body(engine: MindEngine, removals: Removals) -> None:
            engine.there = dict.fromkeys("abcd", ALIVE)
            engine.refuse = lambda _: DriverUnavailable("away")
            for one in "abc":
                await removals.remove(one)
            engine.refuse = lambda _: None
            await removals.remove("d")
            assert (engine.there, len(removals)) == ({}, 0)

        assert sorted(with_engine(body)) == ["a", "b", "c", "d"]

    def test_what_could_not_be_removed_is_tried_again_by_itself(self) -> None:
        async def body(engine: MindEngine, removals: Removals) -> None:
            engine.there = dict.fromkeys("abc", ALIVE)
            engine.refuse = lambda _: DriverUnavailable("away") if len(engine.asked) < 10 else None
            for one in "abc":
                await removals.remove(one)
            assert len(removals) == 3
            await until(lambda: not engine.there and not len(removals))

        assert sorted(with_engine(body)) == ["a", "b", "c"]

    def test_what_is_left_is_tried_at_the_end_and_what_stays_is_said(self, caplog: pytest.LogCaptureFixture) -> None:
        engines = []

        async def body(engine: MindEngine, removals: Removals) -> None:
            engines.append(engine)
            engine.there = dict.fromkeys("ab", ALIVE)
            engine.refuse = lambda _: DriverUnavailable("away")
            await removals.remove("a")
            await removals.remove("b")
            engine.refuse = lambda one: Refused("it is stuck", 500) if one == "b" else None

        assert with_engine(body) == ["a"]
        assert engines[0].there.keys() == {"b"}
        assert "container b could not be removed; `hotfn gc` removes it when this process has ended" in caplog.text

    def test_the_end_does_not_begin_anew(self) -> None:
        async def body(engine: MindEngine, removals: Removals) -> None:
            engine.refuse = lambda _: DriverUnavailable("away")
            removals.finish()
            await removals.remove("a")
            asked = len(engine.asked)
            await asyncio.sleep(0.1)  # longer than TRY_AGAIN
            assert len(engine.asked) == asked

        with_engine(body)


class TestDoubt:
    """The engine was asked for a container and did not say whether it made it."""

    def test_it_is_removed_when_the_engine_is_back(self) -> None:
        async def body(engine: MindEngine, removals: Removals) -> None:
            engine.there = {"hotfn-app-function-1": ALIVE}
            removals.doubt("hotfn-app-function-1")
            await until(lambda: not engine.there)

        with_engine(body)

    def test_that_there_is_none_yet_is_no_answer(self) -> None:
        async def body(engine: MindEngine, removals: Removals) -> None:
            removals.doubt("late")
            await until(lambda: len(engine.asked) >= 2)
            engine.there = {"late": ALIVE}
            await until(lambda: not engine.there)

        with_engine(body)

    def test_a_doubt_ends_when_the_engine_cannot_be_at_it_any_more(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(removal, "DOUBT_SECONDS", 0.05)

        async def body(engine: MindEngine, removals: Removals) -> None:
            removals.doubt("never")
            await until(lambda: not removals._doubtful)
            asked = len(engine.asked)
            assert asked
            await asyncio.sleep(0.1)  # longer than TRY_AGAIN
            assert len(engine.asked) == asked

        with_engine(body)

    def test_one_that_appears_only_later_is_removed_at_the_end(self) -> None:
        engines = []

        async def body(engine: MindEngine, removals: Removals) -> None:
            engines.append(engine)
            removals.doubt("late")
            await until(lambda: engine.asked == ["late"] and not len(removals))
            engine.there = {"late": ALIVE}

        with_engine(body)
        assert engines[0].there == {}

    def test_doubts_are_bounded(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(removal, "MOST_DOUBTS", 3)

        async def body(engine: MindEngine, removals: Removals) -> None:
            for number in range(10):
                removals.doubt(f"{number}")
            await until(lambda: not len(removals))
            engine.asked.clear()
            removals.finish()
            await until(lambda: len(engine.asked) == 3)
            assert sorted(engine.asked) == ["7", "8", "9"]

        with_engine(body)


class TestSweep:
    def test_w46_it_takes_what_is_dead_and_nothing_else(self) -> None:
        async def body(engine: MindEngine, removals: Removals) -> None:
            engine.there = {"dead": DEAD, "alive": ALIVE, "other": {"some": "label"}, "damaged": {labels.MARK: "x"}}
            assert await removals.sweep() == 1
            assert engine.there.keys() == {"alive", "other", "damaged"}
            assert engine.asked == ["dead"]

        with_engine(body)

    def test_it_looks_again_for_what_an_engine_was_still_making(self) -> None:
        async def body(engine: MindEngine, removals: Removals) -> None:
            engine.listed = [lambda: engine.there.update(late=DEAD), lambda: engine.there.update(later=DEAD)]
            assert await removals.sweep() == 2
            assert engine.there == {}

        with_engine(body)

    def test_it_does_not_look_for_ever(self) -> None:
        async def body(engine: MindEngine, removals: Removals) -> None:
            numbers = iter(range(1000))
            engine.listed = [lambda: engine.there.update({f"{next(numbers)}": DEAD})] * 1000
            assert await removals.sweep() == removal.MOST_LOOKS - 1

        with_engine(body)

    def test_what_cannot_be_removed_is_told_when_the_rest_was_tried(self) -> None:
        async def body(engine: MindEngine, removals: Removals) -> None:
            engine.there = {f"{number}": DEAD for number in range(20)}
            engine.refuse = lambda one: Refused(f"{one} is stuck", 500) if one in ("3", "17") else None
            with pytest.raises(DriverError) as caught:
                await removals.sweep()
            assert caught.value.message == (
                "2 containers of a dead hotfn could not be removed (name-3: 3 is stuck; name-17: 17 is stuck)"
            )
            assert engine.there.keys() == {"3", "17"}
            assert engine.asked.count("3") == len(removal.PAUSES)

        with_engine(body)

    def test_a_message_about_many_is_short(self) -> None:
        async def body(engine: MindEngine, removals: Removals) -> None:
            engine.there = {f"{number}": DEAD for number in range(200)}
            engine.refuse = lambda one: Refused("stuck", 500)
            with pytest.raises(DriverError, match="^200 containers") as caught:
                await removals.sweep()
            assert len(caught.value.message) < 200

        with_engine(body)

    def test_an_engine_that_goes_away_is_told(self) -> None:
        async def body(engine: MindEngine, removals: Removals) -> None:
            engine.there = {"a": DEAD}
            engine.refuse = lambda _: DriverUnavailable("it is away")
            with pytest.raises(DriverError, match="it is away"):
                await removals.sweep()

        with_engine(body)

    def test_launches_find_threads_beside_a_sweep_of_many(self) -> None:
        async def body(engine: MindEngine, removals: Removals) -> None:
            engine.there = {f"{number}": DEAD for number in range(100)}
            engine.removing = lambda _: time.sleep(0.001)
            assert await removals.sweep() == 100
            assert engine.most_at_once == removal.SWEEPING

        with_engine(body)

    def test_it_can_be_cancelled_and_done_later(self) -> None:
        async def body(engine: MindEngine, removals: Removals) -> None:
            engine.there = {f"{number}": DEAD for number in range(100)}
            begun, go_on = threading.Event(), threading.Event()

            def removing(_: str) -> None:
                begun.set()
                go_on.wait(20)

            engine.removing = removing
            sweep = asyncio.create_task(removals.sweep())
            await until(begun.is_set)
            sweep.cancel()
            with pytest.raises(asyncio.CancelledError):
                await sweep
            go_on.set()
            await until(lambda: engine.at_once == 0)
            left = len(engine.there)
            assert 0 < left < 100
            assert await removals.sweep() == left

        with_engine(body)
