"""Bytes in pieces, over the limit, and in the log."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from typing import ClassVar

from hotfn_core import (
    BadReply,
    Call,
    Connection,
    IOProtocol,
    Limits,
    hookimpl,
)
from hotfn_core.testing import Behaviour, FakeDriver, FakeProtocol, fake_spec, simulate
from hotfn_core.testing.fake_protocol import FakeColdConnection, FakeConnection

from .world import Recorder, ended, managed


class TestLog:
    def test_lines_of_hot_calls_are_tagged_with_function_copy_and_call(self) -> None:
        async def main() -> None:
            driver = FakeDriver(Behaviour(answer=1.0, stderr=b"one\ntwo\n"))
            async with managed(driver, recorder) as manager:
                first = await manager.call(fake_spec(), call_id="a")
                next(iter(driver.alive)).log(b"between\n")
                await manager.call(fake_spec(), call_id="b")
                copy = first.instance
                assert {(line.function, line.instance) for line in recorder.lines} == {("default/f", copy)}
                assert [(line.call_id, line.text) for line in recorder.lines] == [
                    ("a", "one"),
                    ("a", "two"),
                    ("", "between"),
                    ("b", "one"),
                    ("b", "two"),
                ]

        recorder = Recorder()
        simulate(main)

    def test_an_unfinished_line_comes_with_the_end_of_the_copy(self) -> None:
        recorder = Recorder()
        ended(Behaviour(exit=1, answer=1.0, stderr=b"dying"), recorder)
        assert [(line.call_id, line.text, line.truncated) for line in recorder.lines] == [("the-call", "dying", False)]

    def test_a_long_line_is_cut_and_a_flood_dropped_and_the_call_answers(self) -> None:
        async def main() -> None:
            driver = FakeDriver(Behaviour(answer=1.0, stderr=b"x" * 3_000_000))
            async with managed(driver, recorder) as manager:
                assert (await manager.call(fake_spec(), b"body")).body == b"body"
            assert [line.truncated for line in recorder.lines] == [True, True]
            assert "bytes of stderr dropped" in recorder.lines[1].text

        recorder = Recorder()
        simulate(main)


def plugin(*protocols: type[IOProtocol]) -> object:
    class Plugin:
        @hookimpl
        def hotfn_register_protocols(self) -> Mapping[str, Callable[[], IOProtocol]]:
            return {one.name: one for one in protocols}

    return Plugin()


class InPieces(FakeProtocol):
    """Writes a call in several pieces."""

    name: ClassVar[str] = "in-pieces"

    def connect(self, limits: Limits) -> Connection:
        return _InPieces(limits)


class _InPieces(FakeConnection):
    def encode(self, call: Call, expires: float) -> Sequence[bytes]:  # type: ignore[override]
        data = super().encode(call, expires)
        return [data[:3], data[3:5], data[5:]]


def test_b16_a_call_may_be_written_in_pieces_and_a_buffer_is_the_callers_again() -> None:
    async def main() -> None:
        async with managed(FakeDriver(Behaviour(answer=1.0)), plugin(InPieces)) as manager:
            body = bytearray(b"before")
            first = asyncio.create_task(manager.call(fake_spec(format="in-pieces"), b"first"))
            await asyncio.sleep(0.1)
            call = asyncio.create_task(
                manager.call(fake_spec(format="in-pieces"), body)
            )  # waits, and is not written yet
            await asyncio.sleep(0.5)
            body[:] = b"after!"
            assert ((await first).body, (await call).body) == (b"first", b"before")

    simulate(main)


class Big(FakeProtocol):
    """Cold, and holds its reply against no limit."""

    name: ClassVar[str] = "big"
    hot: ClassVar[bool] = False

    def connect(self, limits: Limits) -> Connection:
        return FakeColdConnection(Limits())


def test_b11_a_reply_over_the_limit_reaches_nobody_in_part_also_at_the_end_of_a_cold_copy() -> None:
    error = ended(Behaviour(answer=1.0), plugin(Big), format="big", max_response=0)
    assert isinstance(error, BadReply)
    assert error.message == "default/f gave a bad reply: its reply is larger than max_response, 0 bytes"
