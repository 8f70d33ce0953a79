"""IO protocols of strangers may fail in any way: the caller is told, and nothing else is harmed."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar

import pytest

from hotfn_core import (
    BadReply,
    Call,
    Connection,
    Event,
    Exit,
    FunctionSpec,
    InstanceExited,
    InvalidCall,
    IOProtocol,
    LaunchFailed,
    Limits,
    LocalProtocolError,
    PluginError,
    Reply,
    ReplyBody,
    ReplyEnd,
    ReplyHead,
    hookimpl,
)
from hotfn_core.testing import Behaviour, FakeColdProtocol, FakeDriver, FakeProtocol, fake_spec, simulate

from .world import Recorder, codes, managed, outcome

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

    def test_what_it_says_early_is_counted_once(self) -> None:
        reply, _ = self.ended(Behaviour(start=0.5, early=b"12345", early_exit=0), max_response=5)
        assert isinstance(reply, Reply)
        assert reply.body == b"12345"

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
