"""Containers made ready ahead, without an engine: which are made, taken, replaced and given up."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, cast

import pytest

from hotfn_containers import prepared
from hotfn_containers.container import EngineContainer
from hotfn_containers.engine import Image
from hotfn_containers.options import parse
from hotfn_containers.plan import Plan, make_plan
from hotfn_containers.prepared import Prepared
from hotfn_core.driver import ContainerSpec
from hotfn_core.errors import ConfigError, DriverError

from .containers_engine import MindEngine

IMAGE = Image("image-1", {}, "/", (), ("run",), ())
OTHER = Image("image-2", {}, "/", (), ("run",), ())


@pytest.fixture(autouse=True)
def soon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(prepared, "AFTER_START", 0)


class Ready:
    """What stands for a container."""

    def __init__(self, number: int, plan: Plan, image: Image) -> None:
        self.number = number
        self.function = plan.function
        self.image = image.id
        self.usable = True


class Shop:
    """Makes them and takes them back."""

    def __init__(self) -> None:
        self.calls = MindEngine().calls()
        self.prepared = Prepared(self.calls, self.make, self.discard)
        self.made: list[Ready] = []
        self.back: list[Ready] = []
        self.failing: DriverError | None = None
        self.gate = asyncio.Event()
        self.gate.set()
        self.at_once = self.most_at_once = 0

    async def make(self, plan: Plan, image: Image) -> EngineContainer:
        self.at_once += 1
        self.most_at_once = max(self.most_at_once, self.at_once)
        try:
            await asyncio.sleep(0)
            await self.gate.wait()
            if self.failing is not None:
                raise self.failing
        finally:
            self.at_once -= 1
        self.made.append(Ready(len(self.made), plan, image))
        return cast("EngineContainer", self.made[-1])

    def discard(self, container: EngineContainer) -> None:
        self.back.append(cast("Ready", container))

    async def prepare(self, name: str = "f", image: Image = IMAGE, **fields: Any) -> None:
        await self.prepared.prepare(name, plan(name, **fields), image)

    def take(self, name: str = "f", image: Image = IMAGE, **fields: Any) -> int | None:
        """Take one and say its number; another one is made behind that."""
        taken = self.prepared.take(name, plan(name, **fields), image)
        self.prepared.fill()
        return None if taken is None else cast("Ready", taken).number

    async def settled(self) -> None:
        """Wait until nothing more is being made."""
        filling = self.prepared._filling
        if filling is not None:
            await asyncio.wait([filling])

    def out(self) -> set[int]:
        """The numbers of those that are neither taken back nor ready."""
        ready: list[Any] = [one for shelf in self.prepared._shelves.values() for one in shelf.ready]
        return {one.number for one in self.made if one not in self.back and one not in ready}


def plan(name: str, count: int = 2, **env: str) -> Plan:
    spec = ContainerSpec(function=f"app/{name}", instance="", identity=name, image="image", env=env)
    return make_plan(spec, parse("docker", {"prepared": count}))


def shop(body: Callable[[Shop], Awaitable[Any]]) -> Shop:
    """Run a test body, close the shop, and see that everything came back that nobody took."""

    async def main() -> Shop:
        shop = Shop()
        await body(shop)
        taken = shop.out()
        shop.prepared.close()
        shop.gate.set()
        await shop.calls.aclose(5)
        assert len(shop.prepared) == 0
        assert {one.number for one in shop.made} - {one.number for one in shop.back} == taken
        assert asyncio.all_tasks() == {asyncio.current_task()}
        return shop

    return asyncio.run(main())


def test_prepare_returns_with_the_first_and_the_rest_follows() -> None:
    async def body(shop: Shop) -> None:
        await shop.prepare(count=3)
        assert len(shop.prepared) == 1
        await shop.settled()
        assert len(shop.prepared) == 3

    shop(body)


def test_none_is_made_where_none_is_asked_for() -> None:
    async def body(shop: Shop) -> None:
        await shop.prepare(count=0)
        assert shop.take(count=0) is None

    assert shop(body).made == []


def test_the_oldest_is_taken_first_and_another_one_made() -> None:
    async def body(shop: Shop) -> None:
        await shop.prepare()
        await shop.settled()
        for number in range(5):
            assert shop.take() == number
            await shop.settled()
            assert len(shop.prepared) == 2

    shop(body)


def test_when_all_are_taken_there_is_none() -> None:
    async def body(shop: Shop) -> None:
        await shop.prepare()
        await shop.settled()
        assert [shop.take() for _ in range(3)] == [0, 1, None]
        await shop.settled()
        assert shop.take() == 2

    shop(body)


def test_what_is_of_no_use_any_more_is_passed_over() -> None:
    async def body(shop: Shop) -> None:
        await shop.prepare(count=3)
        await shop.settled()
        shop.made[0].usable = shop.made[1].usable = False
        assert shop.take(count=3) == 2
        assert shop.back == shop.made[:2]
        await shop.settled()
        assert len(shop.prepared) == 3

    shop(body)


def test_when_one_could_not_be_started_all_are_made_anew() -> None:
    async def body(shop: Shop) -> None:
        await shop.prepare(count=3)
        await shop.settled()
        assert shop.prepared.take("f", plan("f", 3), IMAGE) is not None
        shop.prepared.spoiled("f")
        shop.prepared.spoiled("unknown")
        shop.prepared.fill()
        await shop.settled()
        assert shop.back == shop.made[1:3]
        assert len(shop.prepared) == 3

    shop(body)


def test_one_is_made_at_a_time_for_all_functions_together() -> None:
    async def body(shop: Shop) -> None:
        for name in "abcd":
            await shop.prepare(name, count=4)
        await shop.settled()
        assert len(shop.prepared) == 16
        assert shop.most_at_once <= 2  # one in prepare, one in the background

    shop(body)


def test_functions_with_fewer_ready_come_first() -> None:
    async def body(shop: Shop) -> None:
        await shop.prepare("a", count=8)
        await shop.settled()
        for _ in range(4):
            shop.take("a", count=8)
        await shop.prepare("b", count=3)
        await shop.settled()
        made = [one.function for one in shop.made[8:]]
        assert sorted(made) == ["app/a"] * 4 + ["app/b"] * 3
        assert made[-3:] == ["app/a"] * 3  # at most the one that was being made came before

    shop(body)


def test_what_prepare_is_making_counts_for_the_rest() -> None:
    async def body(shop: Shop) -> None:
        await shop.prepare("a", count=2)
        shop.gate.clear()
        opening = asyncio.create_task(shop.prepare("b", count=1))
        while shop.at_once < 2:  # noqa: ASYNC110  # the second of a, the first of b
            await asyncio.sleep(0)
        shop.gate.set()
        await opening
        await shop.settled()
        assert sorted(one.function for one in shop.made) == ["app/a", "app/a", "app/b"]

    shop(body)


def test_what_cannot_be_made_is_no_error_and_left_alone_until_the_next_start(caplog: pytest.LogCaptureFixture) -> None:
    async def body(shop: Shop) -> None:
        shop.failing = DriverError("the disk is full")
        await shop.prepare()
        await shop.settled()
        assert caplog.text.count("app/f: no container could be made ready: the disk is full") == 1
        shop.failing = None
        assert shop.take() is None
        await shop.settled()
        assert len(shop.prepared) == 2

    shop(body)


def test_one_function_that_fails_does_not_hold_up_another() -> None:
    async def body(shop: Shop) -> None:
        await shop.prepare("a")
        shop.failing = DriverError("no")
        await shop.settled()
        shop.failing = None
        await shop.prepare("b")
        await shop.settled()
        assert len(shop.prepared) == 1 + 2

    shop(body)


def test_another_image_drops_the_old_ones_and_makes_new_ones() -> None:
    async def body(shop: Shop) -> None:
        await shop.prepare()
        await shop.settled()
        assert shop.take(image=OTHER) is None
        assert shop.back == shop.made[:2]
        await shop.settled()
        assert [one.image for one in shop.made[2:]] == ["image-2", "image-2"]
        assert shop.take(image=OTHER) == 2

    shop(body)


def test_a_function_whose_containers_differ_is_given_up_once(caplog: pytest.LogCaptureFixture) -> None:
    async def body(shop: Shop) -> None:
        await shop.prepare()
        await shop.settled()
        for number in range(5):
            assert shop.take(FN_CALL=f"{number}") is None
            await shop.settled()
            await shop.prepare()
        assert (len(shop.made), len(shop.back)) == (2, 2)

    shop(body)
    assert caplog.text.count("app/f: `prepared` is of no use") == 1


def test_those_that_were_given_up_are_remembered_within_bounds(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(prepared, "MOST_USELESS", 3)

    async def body(shop: Shop) -> None:
        for number in range(9):
            await shop.prepare(f"{number}", count=1)
            shop.take(f"{number}", count=1, FN_CALL="x")
        assert list(shop.prepared._useless) == ["6", "7", "8"]

    shop(body)


def test_there_is_a_most_for_all_functions_together(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(prepared, "MOST", 5)

    async def body(shop: Shop) -> None:
        for name in "abcd":
            await shop.prepare(name, count=4)
            await shop.settled()
            assert len(shop.prepared) + shop.at_once <= 5
        assert len(shop.prepared) == 5
        assert shop.take("d", count=4) in (None, 4)

    shop(body)


def test_functions_that_are_kept_ready_are_bounded_and_the_longest_unused_goes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(prepared, "MOST", 3)

    async def body(shop: Shop) -> None:
        for name in "abc":
            await shop.prepare(name, count=1)
        assert shop.take("a", count=1) == 0
        await shop.settled()
        await shop.prepare("d", count=1)
        await shop.settled()
        assert set(shop.prepared._shelves) == {"c", "a", "d"}

    shop(body)


def test_what_is_not_used_goes_and_comes_back_with_the_next_start(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(prepared, "LIFETIME", 0.05)

    async def body(shop: Shop) -> None:
        await shop.prepare()
        await shop.settled()
        while len(shop.back) < 2:  # noqa: ASYNC110  # a timer sets no event
            await asyncio.sleep(0.01)
        assert len(shop.prepared) == 0
        monkeypatch.setattr(prepared, "LIFETIME", 600)
        assert shop.take() is None
        await shop.settled()
        assert len(shop.prepared) == 2

    shop(body)


def test_each_start_puts_the_end_off(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(prepared, "LIFETIME", 5)

    async def body(shop: Shop) -> None:
        await shop.prepare()
        expiry = shop.prepared._shelves["f"].expiry
        assert shop.take() == 0
        assert expiry is not None
        assert expiry.cancelled()

    shop(body)


def test_what_is_being_made_when_the_driver_closes_is_taken_back() -> None:
    async def body(shop: Shop) -> None:
        await shop.prepare()
        shop.gate.clear()
        while not shop.at_once:  # noqa: ASYNC110  # until the second is being made
            await asyncio.sleep(0)
        shop.prepared.close()
        assert len(shop.made) == 1
        shop.gate.set()
        await shop.settled()
        assert shop.back == shop.made
        await shop.prepare()
        assert shop.take() is None

    assert len(shop(body).made) == 2


@pytest.mark.parametrize("count", [-1, 33, 1.5, True, "3"])
def test_how_many_is_checked(count: object) -> None:
    with pytest.raises(
        ConfigError, match="driver_options: prepared must be a whole number of containers, from 0 to 32"
    ):
        parse("docker", {"prepared": count})


def test_the_most_of_one_function() -> None:
    assert parse("docker", {"prepared": 32}).prepared == 32
