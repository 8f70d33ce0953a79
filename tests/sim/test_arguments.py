"""What a caller may hand in, from where, and what is refused."""

from __future__ import annotations

import asyncio
import threading
from typing import Any

import pytest

from hotfn_core import (
    InvalidCall,
    Manager,
    Reply,
    TooLarge,
)
from hotfn_core.testing import Behaviour, FakeDriver, fake_spec, simulate

from .world import Recorder, in_world, make_manager, now


class TestArguments:
    @pytest.mark.parametrize("body", [b"abc", bytearray(b"abc"), memoryview(b"abc"), memoryview(b"axbxc")[::2]])
    def test_a_body_is_bytes_of_any_kind(self, body: Any) -> None:
        async def test(manager: Manager) -> None:
            assert (await manager.call(fake_spec(), body)).body == b"abc"

        in_world(FakeDriver(), test)

    @pytest.mark.parametrize(
        ("arguments", "message"),
        [
            ({"body": "text"}, "a body is bytes, not str; text must be encoded first"),
            ({"body": None}, "a body is bytes, not NoneType"),
            ({"headers": {"a": 1}}, "headers are"),
            ({"headers": [1]}, "headers are"),
            ({"deadline": "soon"}, "a deadline is a number of seconds, not 'soon'"),
            ({"deadline": float("nan")}, "a deadline is a number of seconds, not nan"),
            ({"call_id": 7}, "a call_id is a string that is not empty, not 7"),
            ({"call_id": ""}, "a call_id is a string that is not empty, not ''"),
        ],
    )
    def test_a_wrong_type_is_a_type_error_that_harms_nobody(self, arguments: dict[str, Any], message: str) -> None:
        async def test(manager: Manager) -> None:
            waiting = asyncio.create_task(manager.call(fake_spec(), b"x"))
            await asyncio.sleep(0.5)
            with pytest.raises(TypeError, match=message):
                await manager.call(fake_spec(), **arguments)
            assert (await waiting).body == b"x"
            assert (await manager.call(fake_spec(), b"y")).body == b"y"
            assert manager.stats()["default/f"].calls == {"ok": 2}

        in_world(FakeDriver(Behaviour(answer=1.0)), test)

    def test_headers_are_a_mapping_or_pairs(self) -> None:
        async def test(manager: Manager) -> None:
            for headers in ({"a": "b"}, {"a": ["b", "c"]}, [("a", "b")], None, {}):
                assert (await manager.call(fake_spec(), headers=headers)).status == 200

        in_world(FakeDriver(), test)

    def test_a_body_over_max_request_is_refused_and_one_of_exactly_that_size_is_not(self) -> None:
        async def test(manager: Manager) -> None:
            spec = fake_spec(max_request=4)
            assert (await manager.call(spec, b"1234")).body == b"1234"
            with pytest.raises(TooLarge, match="the body has 5 bytes, more than max_request of default/f, 4") as caught:
                await manager.call(spec, b"12345", call_id="mine")
            assert (caught.value.status, caught.value.function, caught.value.call_id) == (413, "default/f", "mine")
            assert manager.stats()["default/f"].calls == {"ok": 1, "too_large": 1}
            assert [(one.call_id, one.error, one.status) for one in recorder.reports[1:]] == [
                ("mine", "too_large", 413)
            ]

        recorder = Recorder()
        in_world(FakeDriver(), test, recorder)

    def test_ids_are_unique_and_a_caller_may_bring_its_own(self) -> None:
        async def test(manager: Manager) -> None:
            replies = [await manager.call(fake_spec()) for _ in range(100)]
            ids = [reply.call_id for reply in replies]
            assert len(set(ids)) == 100
            assert {len(one) for one in ids} == {26}
            assert (await manager.call(fake_spec(), call_id="mine")).call_id == "mine"

        in_world(FakeDriver(), test)

    def test_an_id_of_a_call_that_has_not_ended_is_refused_and_both_keep_their_own(self) -> None:
        async def test(manager: Manager) -> None:
            first = asyncio.create_task(manager.call(fake_spec(), b"first", call_id="x"))
            await asyncio.sleep(0.5)
            with pytest.raises(InvalidCall, match="a call 'x' of default/f has not ended") as caught:
                await manager.call(fake_spec(), b"second", call_id="x")
            assert caught.value.call_id == "x"
            assert (await first).body == b"first"
            assert (await manager.call(fake_spec(), b"third", call_id="x")).body == b"third"

        in_world(FakeDriver(Behaviour(answer=1.0)), test)


class TestTheLoop:
    def test_a_manager_that_is_not_entered_says_so(self) -> None:
        async def main() -> None:
            manager = make_manager(FakeDriver())
            for use in (manager.call(fake_spec()), manager.open(fake_spec()), manager.drain()):
                with pytest.raises(RuntimeError, match="must be entered first"):
                    await use
            with pytest.raises(RuntimeError, match="must be entered first"):
                manager.register(fake_spec())
            await manager.aclose()  # there is nothing to close
            with pytest.raises(RuntimeError, match="entered only once"):
                async with manager:
                    pass

        simulate(main)

    def test_a_manager_is_entered_only_once(self) -> None:
        async def main() -> None:
            async with make_manager(FakeDriver()) as manager:
                with pytest.raises(RuntimeError, match="entered only once"):
                    await manager.__aenter__()
            with pytest.raises(RuntimeError, match="entered only once"):
                await manager.__aenter__()

        simulate(main)

    def test_on_another_loop_it_refuses_and_from_another_thread_it_is_reached_by_run_coroutine_threadsafe(self) -> None:
        async def main() -> None:
            async with make_manager(FakeDriver()) as manager:
                await manager.call(fake_spec())
                answers = await asyncio.to_thread(elsewhere, manager, asyncio.get_running_loop())
                assert "another event loop" in str(answers[0])
                assert "another event loop" in str(answers[1])
                assert answers[2] == b"threads"

        asyncio.run(main())  # a simulated loop has no threads

    def test_the_clock_of_the_manager_is_the_one_of_deadlines(self) -> None:
        async def test(manager: Manager) -> None:
            assert manager.time() == now() == 0.0
            await asyncio.sleep(2.5)
            assert manager.time() == 2.5

        in_world(FakeDriver(), test)

    def test_many_tasks_may_use_it_at_once(self) -> None:
        async def test(manager: Manager) -> None:
            spec = fake_spec(max_concurrency=7)
            replies: list[Reply] = await asyncio.gather(*[manager.call(spec, str(n).encode()) for n in range(500)])
            assert [reply.body for reply in replies] == [str(n).encode() for n in range(500)]

        in_world(FakeDriver(Behaviour(answer=0.01)), test)


def elsewhere(manager: Manager, loop: asyncio.AbstractEventLoop) -> list[object]:
    """Use a manager from another thread: with a loop of its own, and as it should be."""

    async def call() -> object:
        try:
            return await manager.call(fake_spec())
        except RuntimeError as error:
            return error

    async def register() -> object:
        try:
            manager.register(fake_spec())
        except RuntimeError as error:
            return error
        return None

    assert threading.current_thread() is not threading.main_thread()
    right = asyncio.run_coroutine_threadsafe(manager.call(fake_spec(), b"threads"), loop).result(10)
    return [asyncio.run(call()), asyncio.run(register()), right.body]
