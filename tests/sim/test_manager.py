"""The manager as its callers see it: functions and names, versions, numbers, arguments, loops."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Mapping
from typing import Any

import pytest

from hotfn_core import (
    ConfigError,
    Driver,
    DriverError,
    DriverUnavailable,
    Exit,
    FunctionSpec,
    InvalidCall,
    LaunchFailed,
    Manager,
    PluginError,
    Reply,
    TooLarge,
    UnknownFunction,
    hookimpl,
)
from hotfn_core.testing import Behaviour, FakeDriver, fake_spec, simulate

from .world import Recorder, make_manager, managed, now, outcome


def in_world(driver: FakeDriver, test: Callable[[Manager], Any], *plugins: object) -> None:
    """Run `test(manager)` in virtual time."""

    async def main() -> None:
        async with managed(driver, *plugins) as manager:
            await test(manager)

    simulate(main)


class TestNames:
    def test_a_registered_function_is_called_by_app_and_name_or_by_its_name_in_the_default_app(self) -> None:
        async def test(manager: Manager) -> None:
            manager.register(fake_spec("f"))
            manager.register(fake_spec("g", app="shop"))
            assert (await manager.call("f", b"1")).body == b"1"
            assert (await manager.call("default/f", b"2")).body == b"2"
            assert (await manager.call("shop/g", b"3")).body == b"3"
            assert set(manager.stats()) == {"default/f", "shop/g"}
            assert driver.launches == 2

        driver = FakeDriver()
        in_world(driver, test)

    def test_an_unknown_name_is_refused_with_the_nearest_one(self) -> None:
        async def test(manager: Manager) -> None:
            manager.register(fake_spec("thumbnails"))
            with pytest.raises(
                UnknownFunction, match='no function "default/thumbnail".*"default/thumbnails"'
            ) as caught:
                await manager.call("thumbnail")
            assert (caught.value.status, caught.value.function) == (404, "default/thumbnail")

        in_world(FakeDriver(), test)

    def test_what_is_neither_a_name_nor_a_spec_is_a_type_error(self) -> None:
        async def test(manager: Manager) -> None:
            with pytest.raises(TypeError, match="a function is a FunctionSpec or a name, not 7"):
                await manager.call(7)  # type: ignore[arg-type]

        in_world(FakeDriver(), test)

    def test_equal_specs_are_one_function_and_any_difference_is_another(self) -> None:
        async def test(manager: Manager) -> None:
            first = await manager.call(fake_spec(env={"A": "1", "B": "2"}))
            same = await manager.call(fake_spec(env={"B": "2", "A": "1"}))
            other = await manager.call(fake_spec(env={"A": "1", "B": "3"}))
            assert first.instance == same.instance != other.instance
            assert (first.cold, same.cold, other.cold) == (True, False, True)

        in_world(FakeDriver(), test)


class TestVersions:
    def test_the_old_version_serves_what_it_has_and_goes(self) -> None:
        async def test(manager: Manager) -> None:
            old, new = fake_spec(env={"V": "1"}), fake_spec(env={"V": "2"})
            manager.register(old)
            calls = [asyncio.create_task(manager.call("f")) for _ in range(3)]
            await asyncio.sleep(0.5)
            manager.register(new)
            later = await manager.call("f")
            assert now() == pytest.approx(1.5)  # not behind the three of the old version
            served = [(await call).instance[:12] for call in calls]
            assert served == [old.identity[:12]] * 3
            assert later.instance.startswith(new.identity[:12])
            await asyncio.sleep(0.1)
            assert [copy.spec.env["V"] for copy in driver.alive] == ["2"]
            assert manager.stats()["default/f"].calls == {"ok": 4}
            assert manager.stats()["default/f"].stopped == {"drained": 1}

        driver = FakeDriver(Behaviour(answer=1.0))
        in_world(driver, test)

    def test_the_same_version_again_changes_nothing(self) -> None:
        async def test(manager: Manager) -> None:
            manager.register(fake_spec())
            first = await manager.call("f")
            manager.register(fake_spec())
            assert (await manager.call("f")).instance == first.instance

        in_world(FakeDriver(), test)

    def test_an_old_version_that_comes_back_while_it_still_runs_has_copies_of_other_names(self) -> None:
        async def test(manager: Manager) -> None:
            one, two = fake_spec(env={"V": "1"}), fake_spec(env={"V": "2"})
            manager.register(one)
            running = asyncio.create_task(manager.call("f"))
            await asyncio.sleep(0.1)
            manager.register(two)
            manager.register(one)
            again = await manager.call("f")
            first = await running
            assert first.instance[:12] == again.instance[:12]
            assert first.instance != again.instance

        in_world(FakeDriver(Behaviour(answer=1.0)), test)

    def test_a_version_that_is_refused_leaves_the_old_one_in_its_place(self) -> None:
        async def test(manager: Manager) -> None:
            manager.register(fake_spec())
            with pytest.raises(ConfigError, match="none-such"):
                manager.register(fake_spec(driver="none-such"))
            assert (await manager.call("f", b"x")).body == b"x"

        in_world(FakeDriver(), test)


class TestMinInstances:
    def test_they_are_started_by_registering_and_kept_hot(self) -> None:
        async def test(manager: Manager) -> None:
            manager.register(fake_spec(max_concurrency=3, min_instances=2, idle_timeout=1.0))
            await asyncio.sleep(100.0)
            assert len(driver.alive) == 2
            reply = await manager.call("f")
            assert (reply.cold, now()) == (False, 100.0)
            for copy in list(driver.alive):
                copy.die(Exit(code=1))
            await asyncio.sleep(1.0)
            assert len(driver.alive) == 2

        driver = FakeDriver(Behaviour(start=0.1))
        in_world(driver, test)

    def test_a_cold_protocol_cannot_have_them(self) -> None:
        async def test(manager: Manager) -> None:
            with pytest.raises(ConfigError, match='"fake-cold" is cold') as caught:
                manager.register(fake_spec(format="fake-cold", min_instances=1))
            assert caught.value.field == "min_instances"

        in_world(FakeDriver(), test)

    def test_a_driver_that_is_down_is_met_again_by_the_next_call(self) -> None:
        async def test(manager: Manager) -> None:
            driver.troubles = [DriverUnavailable("start the engine")]
            manager.register(fake_spec(min_instances=1))
            await asyncio.sleep(1.0)
            assert not driver.alive
            assert (await manager.call("f")).status == 200
            assert len(driver.alive) == 1

        driver = MoodyDriver()
        in_world(driver, test)

    def test_a_version_replaced_before_its_driver_is_open_is_not_kept_hot(self) -> None:
        async def test(manager: Manager) -> None:
            driver.takes = 1.0
            manager.register(fake_spec(min_instances=1, env={"V": "1"}))
            manager.register(fake_spec(min_instances=1, env={"V": "2"}))
            await asyncio.sleep(10.0)
            assert [copy.spec.env["V"] for copy in driver.alive] == ["2"]
            assert driver.launches == 1

        driver = MoodyDriver()
        in_world(driver, test)


class MoodyDriver(FakeDriver):
    """Fails to open for each of its `troubles`, and takes its time."""

    def __init__(self, behaviour: Behaviour | None = None) -> None:
        super().__init__(behaviour)
        self.troubles: list[Exception] = []
        self.takes = 0.0

    async def open(self) -> None:
        await super().open()
        await asyncio.sleep(self.takes)
        if self.troubles:
            raise self.troubles.pop(0)


class TestOpening:
    def test_a_driver_is_opened_once_whoever_asks_and_however_many(self) -> None:
        async def test(manager: Manager) -> None:
            driver.takes = 1.0
            specs = [fake_spec(f"f{n}") for n in range(5)]
            await asyncio.gather(manager.open(specs[0]), *[manager.call(spec) for spec in specs])
            assert (driver.opened, now()) == (1, 1.0)

        driver = MoodyDriver()
        in_world(driver, test)

    def test_one_that_is_unavailable_is_a_failed_launch_that_says_what_to_do_and_the_next_call_tries_again(
        self,
    ) -> None:
        async def test(manager: Manager) -> None:
            driver.troubles = [DriverUnavailable("the engine is not running: start it with `engine up`")]
            with pytest.raises(LaunchFailed, match="default/f could not be started: .*engine up") as caught:
                await manager.call(fake_spec())
            assert caught.value.status == 503
            assert caught.value.function == "default/f"
            assert isinstance(caught.value.__cause__, DriverUnavailable)
            assert (await manager.call(fake_spec(), b"x")).body == b"x"
            assert driver.opened == 2

        driver = MoodyDriver()
        in_world(driver, test)

    def test_all_who_wait_for_it_are_told(self) -> None:
        async def test(manager: Manager) -> None:
            driver.takes, driver.troubles = 1.0, [DriverUnavailable("down")]
            ended = await asyncio.gather(*[outcome(manager.call(fake_spec())) for _ in range(3)])
            assert [type(one) for one in ended] == [LaunchFailed] * 3
            assert driver.opened == 1

        driver = MoodyDriver()
        in_world(driver, test)

    def test_the_one_who_gives_up_does_not_take_it_away_from_the_others(self) -> None:
        async def test(manager: Manager) -> None:
            driver.takes = 1.0
            first = asyncio.create_task(manager.call(fake_spec()))
            await asyncio.sleep(0.5)
            second = asyncio.create_task(manager.call(fake_spec(), b"x"))
            await asyncio.sleep(0.1)
            first.cancel()
            assert (await second).body == b"x"
            assert first.cancelled()
            assert driver.opened == 1

        driver = MoodyDriver()
        in_world(driver, test)

    def test_open_says_what_is_wrong_as_it_is(self) -> None:
        async def test(manager: Manager) -> None:
            driver.troubles = [DriverUnavailable("down"), OSError("odd")]
            with pytest.raises(DriverUnavailable, match="down"):
                await manager.open(fake_spec())
            with pytest.raises(DriverError, match='the driver "fake" could not be opened: OSError: odd'):
                await manager.open(fake_spec())
            manager.register(fake_spec())
            await manager.open("f")
            await manager.open("f")
            assert driver.opened == 3

        driver = MoodyDriver()
        in_world(driver, test)

    def test_a_driver_that_fails_in_its_own_way_is_a_failed_launch_too(self) -> None:
        async def test(manager: Manager) -> None:
            driver.troubles = [OSError("odd")]
            with pytest.raises(LaunchFailed, match="the driver failed: OSError: odd"):
                await manager.call(fake_spec())

        driver = MoodyDriver()
        in_world(driver, test)

    def test_a_broken_plugin_is_named(self) -> None:
        class Broken:
            @hookimpl
            def hotfn_register_drivers(self) -> Mapping[str, Callable[[], Driver]]:
                def make() -> Driver:
                    raise RuntimeError("no client library")

                return {"broken": make}

        async def test(manager: Manager) -> None:
            with pytest.raises(PluginError, match="no client library"):
                await manager.call(fake_spec(driver="broken"))

        in_world(FakeDriver(), test, Broken())


class TestLimits:
    def test_a_limit_that_the_driver_does_not_enforce_is_refused_unless_best_effort(self) -> None:
        class Weak(FakeDriver):
            enforces = frozenset({"memory"})

        async def test(manager: Manager) -> None:
            await manager.call(fake_spec(memory=64))
            with pytest.raises(ConfigError, match='the driver "fake" does not enforce cpus.*best_effort') as caught:
                await manager.call(fake_spec(memory=64, cpus=0.5))
            assert caught.value.field == "cpus"
            assert (await manager.call(fake_spec(cpus=0.5, best_effort=True))).status == 200
            assert driver.launched[-1].cpus == 0.5
            assert driver.launched[-1].best_effort is True

        driver = Weak()
        in_world(driver, test)

    def test_what_the_driver_says_of_a_function_counts(self) -> None:
        class Picky(FakeDriver):
            def validate(self, spec: FunctionSpec) -> None:
                if spec.driver_options:
                    raise ConfigError('the driver "fake" has no option "colour"', field="driver_options")

        async def test(manager: Manager) -> None:
            with pytest.raises(ConfigError, match="colour"):
                manager.register(fake_spec(driver_options={"colour": "red"}))
            with pytest.raises(ConfigError, match="colour"):
                await manager.call(fake_spec(driver_options={"colour": "red"}))

        in_world(Picky(), test)


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
