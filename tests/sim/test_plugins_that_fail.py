"""Drivers, protocols and observers of strangers may fail in any way: the caller is told, and nothing else is harmed."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar

import pytest

from hotfn_core import (
    BadReply,
    Call,
    CallFailed,
    CallReport,
    Connection,
    Container,
    ContainerSpec,
    DriverError,
    Event,
    Exit,
    FunctionSpec,
    InstanceChange,
    InstanceExited,
    InvalidCall,
    IOProtocol,
    LaunchFailed,
    Limits,
    LocalProtocolError,
    Manager,
    PluginError,
    Receiver,
    Reply,
    ReplyBody,
    ReplyEnd,
    ReplyHead,
    StderrLine,
    hookimpl,
)
from hotfn_core.testing import Behaviour, FakeColdProtocol, FakeDriver, FakeProtocol, fake_spec, simulate

from .world import Recorder, codes, managed, nothing_left, now, outcome

HEAD = ReplyHead(200, [])


def protocol_plugin(protocol: type[IOProtocol]) -> object:
    class Plugin:
        @hookimpl
        def hotfn_register_protocols(self) -> Mapping[str, Callable[[], IOProtocol]]:
            return {protocol.name: protocol}

    return Plugin()


class Scripted(Connection):
    """Says the same events for every chunk."""

    def __init__(self, events: Sequence[Any]) -> None:
        self.events = events

    def encode(self, call: Call, expires: float) -> bytes:
        return b"x\n"

    def receive(self, data: bytes) -> Sequence[Event]:
        return self.events

    def receive_eof(self, exit: Exit) -> Sequence[Event]:
        return []


def scripted(*events: Any) -> object:
    class Protocol(IOProtocol):
        name: ClassVar[str] = "scripted"

        def connect(self, limits: Limits) -> Connection:
            return Scripted(events)

    return protocol_plugin(Protocol)


class TestProtocolsThatBreakTheContract:
    @pytest.mark.parametrize(
        ("events", "message"),
        [
            ([HEAD, ReplyEnd(), ReplyBody(b"more")], "more after the end of a reply"),
            ([HEAD, ReplyEnd(), ReplyEnd()], "more after the end of a reply"),
            ([ReplyBody(b"x"), ReplyEnd()], "a reply without a head"),
            ([ReplyEnd()], "a reply without a head"),
            ([HEAD, "what?"], "'what\\?', which is no event"),
            ([None], "None, which is no event"),
            (7, "the protocol 'scripted' failed: TypeError"),
        ],
    )
    def test_the_call_gets_a_bad_reply_and_its_copy_goes(self, events: Any, message: str) -> None:
        async def main() -> None:
            driver = FakeDriver(Behaviour())
            async with managed(driver, scripted(*events) if isinstance(events, list) else number()) as manager:
                with pytest.raises(BadReply, match=message) as caught:
                    await manager.call(fake_spec(format="scripted"))
                assert caught.value.status == 502
                await asyncio.sleep(0.01)
                assert not driver.alive
                assert manager.stats()["default/f"].stopped == {"protocol_error": 1}

        simulate(main)

    def test_a_reply_in_parts_is_put_together(self) -> None:
        async def main() -> None:
            events = [HEAD, ReplyBody(b"a"), ReplyBody(b"b"), ReplyBody(b""), ReplyEnd()]
            async with managed(FakeDriver(), scripted(*events)) as manager:
                reply = await manager.call(fake_spec(format="scripted"))
                assert (reply.status, reply.body) == (200, b"ab")

        simulate(main)

    def test_a_reply_without_a_body_is_empty(self) -> None:
        async def main() -> None:
            async with managed(FakeDriver(), scripted(HEAD, ReplyEnd())) as manager:
                assert (await manager.call(fake_spec(format="scripted"))).body == b""

        simulate(main)

    def test_a_copy_that_asks_for_it_is_not_used_again(self) -> None:
        async def main() -> None:
            async with managed(FakeDriver(), scripted(HEAD, ReplyEnd(reusable=False))) as manager:
                spec = fake_spec(format="scripted")
                first, second = await manager.call(spec), await manager.call(spec)
                assert first.instance != second.instance
                assert second.cold_reason == "recycled"
                assert manager.stats()["default/f"].stopped == {"recycled": 2}

        simulate(main)

    def test_an_answer_to_nothing_ends_the_idle_copy(self) -> None:
        async def main() -> None:
            driver = FakeDriver(Behaviour(late=1.0))
            async with managed(driver, scripted(HEAD, ReplyEnd())) as manager:
                assert (await manager.call(fake_spec(format="scripted"))).status == 200
                await asyncio.sleep(1.5)
                assert not driver.alive
                assert manager.stats()["default/f"].stopped == {"excess_output": 1}

        simulate(main)

    def test_a_body_over_the_limit_is_cut_off_even_if_the_protocol_lets_it_through(self) -> None:
        async def main() -> None:
            driver = FakeDriver(Behaviour(pieces=3, gap=0.1))
            async with managed(driver, scripted(HEAD, ReplyBody(b"12345"))) as manager:
                with pytest.raises(BadReply, match="larger than max_response, 9 bytes"):
                    await manager.call(fake_spec(format="scripted", max_response=9))
                assert manager.stats()["default/f"].stopped == {"excess_output": 1}

        simulate(main)

    def test_b35_a_body_of_exactly_the_limit_passes(self) -> None:
        async def main() -> None:
            async with managed(FakeDriver(), scripted(HEAD, ReplyBody(b"12345"), ReplyEnd())) as manager:
                assert (await manager.call(fake_spec(format="scripted", max_response=5))).body == b"12345"
                with pytest.raises(BadReply, match="larger than max_response, 4 bytes"):
                    await manager.call(fake_spec(format="scripted", max_response=4))

        simulate(main)


def number() -> object:
    class Protocol(IOProtocol):
        name: ClassVar[str] = "scripted"

        def connect(self, limits: Limits) -> Connection:
            connection = Scripted([])
            connection.receive = lambda data: 7  # type: ignore[assignment, method-assign, return-value]
            return connection

    return protocol_plugin(Protocol)


class Faulty(FakeProtocol):
    """Fails where it is told to, in its own way."""

    name: ClassVar[str] = "faulty"
    where: ClassVar[str] = ""
    error: ClassVar[Exception] = ZeroDivisionError("its own way")

    def connect(self, limits: Limits) -> Connection:
        self.fail("connect")
        connection = super().connect(limits)
        for method in ("encode", "receive", "receive_eof"):
            if method == self.where:
                setattr(connection, method, lambda *_: self.fail(self.where))
        return connection

    def environment(self, spec: FunctionSpec) -> Mapping[str, str]:
        self.fail("environment")
        return {}

    def fail(self, where: str) -> None:
        if where == self.where:
            raise self.error


class TestProtocolsThatRaise:
    def ended(self, where: str, error: Exception, behaviour: Behaviour | None = None) -> tuple[Any, FakeDriver]:
        protocol: type[Faulty] = type("Protocol", (Faulty,), {"where": where, "error": error})
        driver = FakeDriver(behaviour)

        async def main() -> tuple[Any, FakeDriver]:
            async with managed(driver, protocol_plugin(protocol)) as manager:
                ended = await outcome(manager.call(fake_spec(format="faulty")))
                await asyncio.sleep(0.01)
                stats = manager.stats()["default/f"]
                assert (stats.waiting, stats.starting, stats.busy, stats.stopping) == (0, 0, 0, 0)
                # and the function works again when the protocol does
                protocol.where = ""
                await asyncio.sleep(1.0)
                assert isinstance(await outcome(manager.call(fake_spec(format="faulty"))), Reply) or behaviour
                return ended, driver

        return simulate(main)

    @pytest.mark.parametrize("where", ["connect", "environment"])
    def test_before_the_start_it_is_a_failed_launch_that_names_the_protocol(self, where: str) -> None:
        ended, driver = self.ended(where, ZeroDivisionError("its own way"))
        assert isinstance(ended, LaunchFailed)
        assert ended.message == (
            'default/f could not be started: the IO protocol "faulty" failed: ZeroDivisionError: its own way'
        )
        assert isinstance(ended.__cause__, PluginError)
        assert driver.launches == 1  # only the second call's

    def test_in_connect_also_with_an_error_of_ours(self) -> None:
        ended, _ = self.ended("connect", LocalProtocolError("no"))
        assert isinstance(ended, LaunchFailed)

    def test_in_encode_the_caller_is_told_and_the_copy_goes(self) -> None:
        ended, driver = self.ended("encode", ZeroDivisionError("its own way"))
        assert isinstance(ended, InvalidCall)
        assert "could not be written: ZeroDivisionError: its own way" in ended.message
        assert driver.launches == 2

    def test_in_receive_it_is_a_bad_reply(self) -> None:
        ended, _ = self.ended("receive", ZeroDivisionError("its own way"))
        assert isinstance(ended, BadReply)
        assert "the protocol 'faulty' failed: ZeroDivisionError: its own way" in ended.message
        assert isinstance(ended.__cause__, ZeroDivisionError)

    @pytest.mark.parametrize("error", [ZeroDivisionError("its own way"), LocalProtocolError("its own way")])
    def test_at_the_end_the_caller_is_told_how_the_copy_ended_and_this(self, error: Exception) -> None:
        ended, _ = self.ended("receive_eof", error, Behaviour(exit=3))
        assert isinstance(ended, InstanceExited)
        assert "exited with code 3 before it had answered" in ended.message
        assert "its own way" in ended.message


class TestCallsThatCannotBeSaid:
    @pytest.mark.parametrize("protocol", ["fake", "fake-cold"])
    def test_the_caller_is_told_and_the_others_are_served(self, protocol: str) -> None:
        async def main() -> None:
            driver = FakeDriver(Behaviour(answer=0.5))
            async with managed(driver) as manager:
                spec = fake_spec(format=protocol)
                calls = [manager.call(spec, b"x", method=method) for method in ("POST", "UNSAYABLE", "POST")]
                ended = await asyncio.gather(*[outcome(call) for call in calls])
                assert codes(ended) == ["ok", "invalid_call", "ok"]
                error = ended[1]
                assert isinstance(error, InvalidCall)
                assert (error.status, error.function) == (400, "default/f")
                assert error.message == "the fake protocol cannot say UNSAYABLE"
                assert manager.stats()["default/f"].waiting == 0

        simulate(main)

    def test_a_hot_copy_is_as_good_as_before(self) -> None:
        async def main() -> None:
            driver = FakeDriver()
            async with managed(driver) as manager:
                first = await manager.call(fake_spec())
                assert codes([await outcome(manager.call(fake_spec(), method="UNSAYABLE"))]) == ["invalid_call"]
                assert (await manager.call(fake_spec())).instance == first.instance

        simulate(main)

    def test_a_cold_copy_is_not_even_launched(self) -> None:
        async def main() -> None:
            recorder = Recorder()
            driver = FakeDriver()
            async with managed(driver, recorder) as manager:
                spec = fake_spec(format="fake-cold")
                assert codes([await outcome(manager.call(spec, method="UNSAYABLE"))]) == ["invalid_call"]
                assert driver.launches == 0
                assert [one.error for one in recorder.reports] == ["invalid_call"]
                assert [one.state for one in recorder.changes] == ["starting", "stopping", "gone"]

        simulate(main)


class Early(FakeColdProtocol):
    """A cold protocol in which the reply is whatever was written, so that it may be written before the call is."""

    name: ClassVar[str] = "early"

    def connect(self, limits: Limits) -> Connection:
        return _EarlyConnection([])


class _EarlyConnection(Scripted):
    def __init__(self, events: Sequence[Any]) -> None:
        super().__init__(events)
        self.said = b""

    def receive(self, data: bytes) -> Sequence[Event]:
        self.said += data
        return []

    def receive_eof(self, exit: Exit) -> Sequence[Event]:
        return [HEAD, ReplyBody(self.said), ReplyEnd()] if exit.code == 0 else []


class TestColdCopiesThatAreFasterThanTheCall:
    """A cold function need not read its stdin to answer."""

    def ended(self, behaviour: Behaviour, **fields: Any) -> tuple[Any, Any]:
        async def main() -> tuple[Any, Any]:
            async with managed(FakeDriver(behaviour), protocol_plugin(Early)) as manager:
                ended = await outcome(manager.call(fake_spec(format="early", **fields)))
                await asyncio.sleep(0.01)
                return ended, manager.stats()["default/f"]

        return simulate(main)

    def test_what_it_says_early_is_part_of_the_reply(self) -> None:
        reply, _ = self.ended(Behaviour(early=b"quick "))
        assert reply.body == b"quick =x\n"

    def test_it_may_even_be_gone_by_then(self) -> None:
        reply, stats = self.ended(Behaviour(start=0.5, early=b"quick", early_exit=0))
        assert (reply.status, reply.body, reply.cold) == (200, b"quick", True)
        assert stats.stopped == {"recycled": 1}

    def test_an_early_failure_is_the_calls(self) -> None:
        error, stats = self.ended(Behaviour(early=b"quick", early_exit=7))
        assert isinstance(error, InstanceExited)
        assert "exited with code 7" in error.message
        assert stats.stopped == {"exited": 1}

    def test_what_it_says_is_bounded(self) -> None:
        error, stats = self.ended(Behaviour(early=b"12345678"), max_response=7)
        assert isinstance(error, LaunchFailed)
        assert "larger than max_response, 7 bytes" in error.message
        assert stats.stopped == {"excess_output": 1}


class TestDrivers:
    def test_w25_a_driver_that_returns_nothing_is_an_error(self) -> None:
        class Nothing(FakeDriver):
            async def launch(self, spec: ContainerSpec, receiver: Receiver) -> Container:
                return None  # type: ignore[return-value]

        async def main() -> None:
            async with managed(Nothing()) as manager:
                with pytest.raises(LaunchFailed, match='the driver "fake" returned None, not a Container') as caught:
                    await manager.call(fake_spec())
                assert isinstance(caught.value.__cause__, DriverError)

        simulate(main)

    def test_one_that_fails_in_its_own_way_is_named_with_its_error(self) -> None:
        class Odd(FakeDriver):
            async def launch(self, spec: ContainerSpec, receiver: Receiver) -> Container:
                raise ZeroDivisionError("odd")

        async def main() -> None:
            async with managed(Odd()) as manager:
                with pytest.raises(LaunchFailed, match="the driver failed: ZeroDivisionError: odd"):
                    await manager.call(fake_spec())

        simulate(main)

    def test_w24_ten_thousand_starts_that_fail_at_once_are_ten_thousand_errors(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(logging.getLogger("hotfn"), "disabled", True)  # each start has a line in the log

        async def main() -> None:
            driver = FakeDriver(Behaviour(start_error="no such image"))
            async with managed(driver) as manager:
                for n in range(10_000):
                    error = await outcome(manager.call(fake_spec(f"f{n}")))
                    assert isinstance(error, LaunchFailed)
                    assert "no such image" in error.message
                    if n % 1000 == 0:
                        await asyncio.sleep(100.0)
                assert driver.launches == 10_000

        simulate(main)

    def test_a_write_that_raises_fails_the_call_and_not_the_manager(self) -> None:
        class Torn(FakeDriver):
            async def launch(self, spec: ContainerSpec, receiver: Receiver) -> Container:
                container = await super().launch(spec, receiver)

                def write(data: bytes) -> None:
                    raise OSError("torn")

                container.write = write  # type: ignore[method-assign]
                return container

        async def main() -> None:
            async with managed(Torn()) as manager:
                with pytest.raises(CallFailed, match="the call could not be written: OSError: torn"):
                    await manager.call(fake_spec())
                assert manager.stats()["default/f"].stopped == {"protocol_error": 1}

        simulate(main)

    def test_an_exit_before_launch_returns_is_a_failed_launch(self) -> None:
        async def main() -> None:
            async with managed(FakeDriver(Behaviour(early_exit=1))) as manager:
                with pytest.raises(LaunchFailed, match="a copy exited with code 1 at once") as caught:
                    await manager.call(fake_spec())
                assert caught.value.retry_after is not None
                assert manager.stats()["default/f"].stopped == {"start_failed": 1}

        simulate(main)

    def test_an_exit_in_a_launch_that_never_returns_ends_with_start_timeout(self) -> None:
        class Stuck(FakeDriver):
            async def launch(self, spec: ContainerSpec, receiver: Receiver) -> Container:
                receiver.exited(Exit(code=1))
                await asyncio.sleep(1e6)
                raise AssertionError("never")

        async def main() -> None:
            driver = Stuck()
            async with managed(driver) as manager:
                with pytest.raises(LaunchFailed):
                    await manager.call(fake_spec(start_timeout=2.0))
                assert now() == 2.0
                await asyncio.sleep(0.01)
                assert manager.stats()["default/f"].stopping == 0

        simulate(main)

    def test_garbage_before_launch_returns_stops_the_copy(self) -> None:
        async def main() -> None:
            driver = FakeDriver(Behaviour(early=b"Welcome!\n"))
            async with managed(driver) as manager:
                with pytest.raises(LaunchFailed, match="a fresh copy was useless: nobody asked for b'Welcome!"):
                    await manager.call(fake_spec())
                await asyncio.sleep(0.01)
                assert not driver.alive
                assert manager.stats()["default/f"].stopped == {"excess_output": 1}

        simulate(main)

    def test_a_start_that_takes_too_long_is_called_back(self) -> None:
        async def main() -> None:
            recorder = Recorder()
            driver = FakeDriver(Behaviour(start=1e6))
            async with managed(driver, recorder) as manager:
                with pytest.raises(LaunchFailed):
                    await manager.call(fake_spec(start_timeout=2.0))
                await asyncio.sleep(0.01)
                assert now() == pytest.approx(2.01)
                assert driver.starting == 0
                assert [(one.state, one.reason) for one in recorder.changes] == [
                    ("starting", "first"),
                    ("stopping", "start_failed"),
                    ("gone", "start_failed"),
                ]

        simulate(main)

    def test_a_driver_that_answers_from_inside_of_write_is_survived(self) -> None:
        async def main() -> None:
            driver = FakeDriver(Behaviour(sync=True))
            async with managed(driver) as manager:
                spec = fake_spec(max_concurrency=2)
                replies = await asyncio.gather(*[manager.call(spec, str(n).encode()) for n in range(50)])
                assert [reply.body for reply in replies] == [str(n).encode() for n in range(50)]

        for seed in range(5):
            simulate(main, seed)

    def test_a_copy_that_closes_its_stdout_and_lives_on_is_stopped(self) -> None:
        async def main() -> None:
            driver = FakeDriver(Behaviour(), Behaviour(eof=True))
            async with managed(driver) as manager:
                with pytest.raises(BadReply, match="closed its stdout and kept running"):
                    await manager.call(fake_spec())
                assert manager.stats()["default/f"].stopped == {"protocol_error": 1}

        simulate(main)

    def test_also_when_it_was_idle_and_a_cold_one_is_left_to_its_end(self) -> None:
        async def main() -> None:
            driver = FakeDriver(Behaviour(), Behaviour(answer=1.0))
            async with managed(driver) as manager:
                await manager.call(fake_spec())
                (copy,) = driver.alive
                copy._receiver.stdout_eof()
                await asyncio.sleep(0.01)
                assert manager.stats()["default/f"].stopped == {"protocol_error": 1}
                copy._receiver.stdout_eof()  # of one that is gone
                cold = asyncio.create_task(manager.call(fake_spec("c", format="fake-cold"), b"x"))
                await asyncio.sleep(0.5)
                next(iter(driver.alive))._receiver.stdout_eof()
                assert (await cold).body == b"x"

        simulate(main)

    def test_a_deaf_copy_is_told_again_and_again(self) -> None:
        async def main() -> None:
            recorder = Recorder()
            driver = FakeDriver(Behaviour(refusals=4))
            async with managed(driver, recorder) as manager:
                await manager.call(fake_spec(idle_timeout=0, stop_grace=2.0))
                await asyncio.sleep(60.0)
                assert [when for when, what, _ in driver.events if what == "stop"] == [0.0, 2.0, 3.0, 5.0, 9.0]
                assert [one.state for one in recorder.changes].count("stopping") == 1
                assert [one.reason for one in recorder.changes if one.state == "gone"] == ["idle"]

        simulate(main)


class Hostile:
    """An observer that raises whatever it is told, and looks at the manager while it is told."""

    def __init__(self) -> None:
        self.told = 0
        self.manager: Manager | None = None

    def fail(self) -> None:
        self.told += 1
        if self.manager is not None:
            self.manager.stats()
        raise RuntimeError("I do not like it")

    @hookimpl
    def hotfn_call_finished(self, report: CallReport) -> None:
        self.fail()

    @hookimpl
    def hotfn_instance_changed(self, change: InstanceChange) -> None:
        self.fail()

    @hookimpl
    def hotfn_stderr_line(self, line: StderrLine) -> None:
        self.fail()


class TestObservers:
    def test_one_that_raises_is_logged_and_harms_nobody(self, caplog: pytest.LogCaptureFixture) -> None:
        async def main() -> None:
            driver = FakeDriver(Behaviour(stderr=b"line\n"))
            async with managed(driver, hostile) as hostile.manager:
                for _ in range(3):
                    assert (await hostile.manager.call(fake_spec(), b"x")).body == b"x"
            assert hostile.told == 3 + 3 + len(["starting", "idle", "busy", "stopping", "gone"])

        hostile = Hostile()
        simulate(main)
        assert caplog.text.count("a plugin failed in hotfn_call_finished") == 3
        assert "I do not like it" in caplog.text

    def test_reports_are_complete_and_in_order(self) -> None:
        async def main() -> None:
            driver = FakeDriver(Behaviour(start=0.5, stop=0.25))
            async with managed(driver, recorder) as manager:
                await manager.call(fake_spec(idle_timeout=1.0), call_id="one")
                await manager.call(fake_spec(idle_timeout=1.0), call_id="two")
                await asyncio.sleep(2.0)
            (first, second) = recorder.reports
            assert (first.call_id, second.call_id) == ("one", "two")
            assert (first.function, first.status, first.error) == ("default/f", 200, "")
            assert (first.cold_reason, second.cold_reason) == ("first", "")
            copy = first.instance
            assert second.instance == copy
            assert recorder.changes == [
                InstanceChange("default/f", copy, "", "starting", "first"),
                InstanceChange("default/f", copy, copy, "idle", ""),
                InstanceChange("default/f", copy, copy, "busy", "first"),
                InstanceChange("default/f", copy, copy, "stopping", "idle"),
                InstanceChange("default/f", copy, copy, "gone", "idle"),
            ]

        recorder = Recorder()
        simulate(main)

    def test_of_a_copy_that_goes_by_itself_or_cannot_start_the_reason_is_told(self) -> None:
        async def main() -> None:
            copies = iter([Behaviour(start_error="boom"), Behaviour(dies_idle=1.0), Behaviour()])
            driver = FakeDriver(lambda _: next(copies), Behaviour())
            async with managed(driver, recorder) as manager:
                await outcome(manager.call(fake_spec()))
                await asyncio.sleep(1.0)
                await manager.call(fake_spec())
                await asyncio.sleep(2.0)
            assert [one.reason for one in recorder.changes if one.state == "gone"] == ["start_failed", "exited"]

        recorder = Recorder()
        simulate(main)

    def test_no_more_copies_are_ever_reported_than_there_may_be(self) -> None:
        class Counting(Recorder):
            alive = most = 0

            @hookimpl
            def hotfn_instance_changed(self, change: InstanceChange) -> None:
                self.alive += {"starting": 1, "gone": -1}.get(change.state, 0)
                self.most = max(self.most, self.alive)

        async def main() -> None:
            async with managed(FakeDriver(Behaviour(stop=0.1), Behaviour(exit=1)), counting) as manager:
                spec = fake_spec(max_concurrency=3)
                await asyncio.gather(*[outcome(manager.call(spec)) for _ in range(30)])
            assert (counting.most, counting.alive) == (3, 0)

        counting = Counting()
        simulate(main)

    def test_where_nobody_listens_nothing_is_made(self) -> None:
        async def main() -> None:
            async with managed(FakeDriver()) as manager:
                observers = manager.observers
                assert (observers.call_finished, observers.instance_changed, observers.stderr_line) == (None,) * 3
                await manager.call(fake_spec())

        simulate(main)

    def test_an_observer_may_call_the_manager_from_a_task(self) -> None:
        class Again:
            manager: Manager

            def __init__(self) -> None:
                self.tasks: list[asyncio.Task[Reply]] = []

            @hookimpl
            def hotfn_call_finished(self, report: CallReport) -> None:
                if len(self.tasks) < 3:
                    self.tasks.append(asyncio.create_task(self.manager.call(fake_spec(), b"again")))

        async def main() -> None:
            async with managed(FakeDriver(), again) as again.manager:
                await again.manager.call(fake_spec())
                await asyncio.sleep(1.0)
                assert [(await task).body for task in again.tasks] == [b"again"] * 3

        again = Again()
        simulate(main)

    def test_an_observer_may_end_what_it_is_told_of(self) -> None:
        """The worst case of re-entrance: a copy is killed while the call is on its way to it."""

        class Killer:
            @hookimpl
            def hotfn_instance_changed(self, change: InstanceChange) -> None:
                if change.state == "idle" and len(driver.alive) == 2:
                    for copy in list(driver.alive):
                        copy.die(Exit(signal=9))

        async def main() -> None:
            async with managed(driver, Killer()) as manager:
                spec = fake_spec(max_concurrency=2, max_queue=10)
                ended = await asyncio.gather(*[outcome(manager.call(spec, bytes([n]))) for n in range(6)])
                assert len(ended) == 6
                stats = manager.stats()["default/f"]
                assert (stats.waiting, stats.starting, stats.busy) == (0, 0, 0)
            nothing_left(driver)

        driver = FakeDriver(Behaviour(answer=0.1))
        for seed in range(20):
            simulate(main, seed)
