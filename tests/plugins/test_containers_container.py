"""One container with an engine that does as it is told: its start, its streams, its frost and its end."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from hotfn_containers import container as module
from hotfn_containers import exits
from hotfn_containers.engine import State
from hotfn_containers.trouble import NoSuchContainer, Refused
from hotfn_core.errors import DriverError, DriverUnavailable

from .puppet import RUNS, Stage, until

GONE = State(running=False, code=137)


@pytest.fixture(autouse=True)
def soon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(exits, "PAUSES", (0.0, 0.001))
    monkeypatch.setattr(exits, "LOOK_AGAIN", 0.01)
    monkeypatch.setattr(module, "LOOK_AGAIN", 0.01)
    monkeypatch.setattr(module, "KILLED_LOOK", 0.01)
    monkeypatch.setattr(module, "POLITE", 0.01)


def play(body: Callable[[Stage], Awaitable[Any]]) -> None:
    """Run a test body; afterwards nothing goes on, and no callback has failed unseen."""

    async def main() -> None:
        loop, astray = asyncio.get_running_loop(), []
        loop.set_exception_handler(lambda _, context: astray.append(context))
        stage = Stage()
        await body(stage)
        async with asyncio.timeout(5):
            await stage.calls.aclose(2)
        assert asyncio.all_tasks() == {asyncio.current_task()}
        assert not astray, astray
        assert not stage.recorder.violations

    asyncio.run(main())


def refuse(error: Exception) -> Callable[[], None]:
    def request() -> None:
        raise error

    return request


class TestStart:
    def test_an_exit_during_the_start_is_told_once_behind_it(self) -> None:
        async def body(stage: Stage) -> None:
            gate = stage.engine.hold("start")
            starting = asyncio.create_task(stage.started())
            await stage.asked("start")
            stage.container.stdout(b"words")
            stage.end(code=3)
            await asyncio.sleep(0.02)
            assert stage.recorder.exit is None
            gate.set()
            await starting
            assert await stage.exited() == "exited with code 3"
            assert stage.recorder.out == b"words"
            assert stage.discarded == 1

        play(body)

    def test_a_start_that_fails_is_all_that_is_told(self) -> None:
        async def body(stage: Stage) -> None:
            stage.engine.on["start"] = refuse(Refused("no", 500))
            with pytest.raises(Refused):
                await stage.started()
            stage.container.stdout(b"late")
            stage.end()
            await asyncio.sleep(0.02)
            assert stage.recorder.exit is None
            assert stage.recorder.out == b""

        play(body)

    def test_nobody_hears_of_one_that_is_disowned(self) -> None:
        async def body(stage: Stage) -> None:
            container = await stage.started()
            container.disown()
            container.stdout(b"late")
            container.stderr(b"late")
            stage.end()
            await asyncio.sleep(0.02)
            assert stage.recorder.exit is None
            assert stage.recorder.out == stage.recorder.err == b""
            assert stage.wire.did == ["abort"]

        play(body)


class TestStop:
    def test_the_ladder(self) -> None:
        async def body(stage: Stage) -> None:
            container = await stage.started()
            stage.engine.on["kill SIGKILL"] = lambda: setattr(stage.engine, "current", GONE)
            await container.stop(0.1)
            assert stage.wire.did[0] == "eof"
            await stage.asked("start", "kill SIGTERM", "kill SIGKILL")
            assert "code 137" in await stage.exited()

        play(body)

    def test_one_that_ends_by_itself_is_not_killed(self) -> None:
        async def body(stage: Stage) -> None:
            container = await stage.started()
            stopping = asyncio.create_task(container.stop(0.05))
            await until(lambda: "eof" in stage.wire.did)
            stage.end(code=0)
            await stopping
            await asyncio.sleep(0.1)
            assert "kill SIGKILL" not in stage.engine.did
            await container.stop(0)  # and none of this is done again

        play(body)

    def test_the_shorter_grace_wins_and_every_stop_returns(self) -> None:
        async def body(stage: Stage) -> None:
            container = await stage.started()
            stage.engine.on["kill SIGKILL"] = lambda: setattr(stage.engine, "current", GONE)
            stops = [asyncio.create_task(container.stop(grace)) for grace in (60, 30, 60, 0)]
            await asyncio.wait_for(asyncio.gather(*stops), 5)
            assert stage.engine.did.count("kill SIGKILL") == 1

        play(body)

    def test_a_stop_that_is_cancelled_goes_on(self) -> None:
        async def body(stage: Stage) -> None:
            container = await stage.started()
            stopping = asyncio.create_task(container.stop(0.05))
            await asyncio.sleep(0)
            stopping.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await stopping
            stage.engine.on["kill SIGKILL"] = lambda: setattr(stage.engine, "current", GONE)
            await stage.exited()

        play(body)

    def test_an_exit_that_the_streams_do_not_tell_is_asked_for(self) -> None:
        async def body(stage: Stage) -> None:
            container = await stage.started()
            stage.engine.on["kill SIGKILL"] = lambda: setattr(stage.engine, "current", GONE)
            await asyncio.wait_for(container.stop(0), 5)
            assert "code 137" in await stage.exited()
            assert stage.discarded == 1

        play(body)

    def test_one_that_the_engine_lost_sight_of_is_removed(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(module, "FORCE", 0.05)

        async def body(stage: Stage) -> None:
            container = await stage.started()
            stage.engine.on["remove"] = refuse(Refused("busy", 500))
            stopping = asyncio.create_task(container.stop(0))
            await until(lambda: "remove" in stage.engine.did)
            del stage.engine.on["remove"]
            await asyncio.wait_for(stopping, 5)
            assert "did not see it end" in await stage.exited()

        play(body)

    def test_one_that_is_gone_already(self) -> None:
        async def body(stage: Stage) -> None:
            container = await stage.started()
            stage.engine.on["kill SIGKILL"] = refuse(NoSuchContainer("what?", 404))
            await container.stop(0)
            assert "removed from outside" in await stage.exited()
            stage.end()  # the streams tell it as well
            assert stage.discarded == 1

        play(body)

    @pytest.mark.parametrize("error", [Refused("no", 500), DriverUnavailable("away")])
    def test_a_kill_that_is_refused_is_told_and_may_be_asked_for_again(self, error: DriverError) -> None:
        async def body(stage: Stage) -> None:
            container = await stage.started()
            stage.engine.on["kill SIGKILL"] = refuse(error)
            stops = [asyncio.create_task(container.stop(grace)) for grace in (0, 5)]
            done, _ = await asyncio.wait(stops, timeout=5)
            assert [type(one.exception()) for one in done] == [type(error)] * 2
            stage.engine.on["kill SIGKILL"] = lambda: setattr(stage.engine, "current", GONE)
            await container.stop(0)
            assert stage.discarded == 1

        play(body)

    def test_a_kill_that_hangs_is_given_up_and_not_asked_for_twice(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(module, "STUCK", 0.05)

        async def body(stage: Stage) -> None:
            container = await stage.started()
            gate = stage.engine.hold("kill SIGKILL")
            for _ in range(3):
                with pytest.raises(DriverError, match="does not end by SIGKILL"):
                    await container.stop(0)
            assert stage.engine.did.count("kill SIGKILL") == 1
            stage.engine.current = GONE
            gate.set()
            await container.stop(0)
            await stage.exited()

        play(body)

    def test_an_old_patience_does_not_end_a_later_stop(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(module, "STUCK", 0.05)

        async def body(stage: Stage) -> None:
            container = await stage.started()
            stage.engine.on["kill SIGKILL"] = refuse(Refused("no", 500))
            with pytest.raises(Refused):
                await container.stop(0)
            stopping = asyncio.create_task(container.stop(60))
            await asyncio.sleep(0.15)
            assert not stopping.done()
            stage.end()
            await stopping

        play(body)

    def test_nothing_is_done_behind_the_end(self) -> None:
        async def body(stage: Stage) -> None:
            container = await stage.started()
            stopping = asyncio.create_task(container.stop(0.5))
            await stage.asked("start", "kill SIGTERM")
            stage.end()
            await stopping
            await asyncio.sleep(0.6)
            assert stage.engine.did == ["start", "kill SIGTERM"]

        play(body)


class TestFrost:
    def test_freeze_and_thaw(self) -> None:
        async def body(stage: Stage) -> None:
            container = await stage.started()
            await container.freeze()
            await container.thaw()
            await stage.asked("start", "pause", "unpause")
            stage.end()
            await stage.exited()

        play(body)

    def test_what_the_engine_refuses_is_raised(self) -> None:
        async def body(stage: Stage) -> None:
            container = await stage.started()
            stage.engine.on |= {one: refuse(Refused(one, 409)) for one in ("pause", "unpause")}
            with pytest.raises(Refused, match="pause"):
                await container.freeze()
            with pytest.raises(Refused, match="unpause"):
                await container.thaw()
            stage.end()
            await stage.exited()

        play(body)

    def test_a_frozen_one_is_thawed_to_hear_that_it_is_to_end(self) -> None:
        async def body(stage: Stage) -> None:
            container = await stage.started()
            await container.freeze()
            stopping = asyncio.create_task(container.stop(5))
            await stage.asked("start", "pause", "unpause", "kill SIGTERM")
            assert stage.wire.did == ["eof"]
            stage.end()
            await stopping

        play(body)

    def test_one_that_cannot_be_thawed_is_asked_all_the_same_and_killed(self) -> None:
        async def body(stage: Stage) -> None:
            container = await stage.started()
            await container.freeze()
            stage.engine.on["unpause"] = refuse(Refused("no", 500))
            stage.engine.on["kill SIGKILL"] = lambda: setattr(stage.engine, "current", GONE)
            await container.stop(0.05)
            assert "eof" in stage.wire.did

        play(body)

    def test_a_frozen_one_is_killed_as_it_is(self) -> None:
        async def body(stage: Stage) -> None:
            container = await stage.started()
            await container.freeze()
            stage.engine.on["kill SIGKILL"] = lambda: setattr(stage.engine, "current", GONE)
            await container.stop(0)
            await stage.asked("start", "pause", "kill SIGKILL")

        play(body)

    def test_a_stop_waits_for_a_freeze_that_is_under_way_though_nobody_waits_for_that(self) -> None:
        async def body(stage: Stage) -> None:
            container = await stage.started()
            gate = stage.engine.hold("pause")
            freezing = asyncio.create_task(container.freeze())
            await stage.asked("start", "pause")
            freezing.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await freezing
            stopping = asyncio.create_task(container.stop(5))
            await asyncio.sleep(0.05)
            assert stage.wire.did == []
            gate.set()
            await stage.asked("start", "pause", "unpause", "kill SIGTERM")
            stage.end()
            await stopping

        play(body)

    def test_what_was_killed_while_it_was_being_frozen_is_killed_again(self) -> None:
        """A process that is paused does not die of a signal that came just before."""

        async def body(stage: Stage) -> None:
            container = await stage.started()
            gate = stage.engine.hold("pause")
            freezing = asyncio.create_task(container.freeze())
            await stage.asked("start", "pause")
            stopping = asyncio.create_task(container.stop(0))
            await stage.asked("start", "pause", "kill SIGKILL")
            stage.engine.on["kill SIGKILL"] = lambda: setattr(stage.engine, "current", GONE)
            gate.set()
            await freezing
            await stopping
            await stage.asked("start", "pause", "kill SIGKILL", "kill SIGKILL")

        play(body)

    def test_one_that_is_ending_is_not_frozen(self) -> None:
        async def body(stage: Stage) -> None:
            container = await stage.started()
            stopping = asyncio.create_task(container.stop(5))
            await asyncio.sleep(0)
            await container.freeze()
            assert "pause" not in stage.engine.did
            stage.end()
            await stopping

        play(body)


class TestReading:
    def test_what_is_kept_comes_first_and_in_order(self) -> None:
        async def body(stage: Stage) -> None:
            container = await stage.started()
            container.pause_reading()
            for one in range(100):
                container.stdout(b"%d," % one)
            container.stderr(b"not held back")
            assert stage.recorder.out == b""
            assert stage.recorder.err == b"not held back"
            container.resume_reading()
            container.stdout(b"100,")
            await asyncio.sleep(0)
            container.stdout(b"101,")
            assert stage.recorder.out == b"".join(b"%d," % one for one in range(102))
            stage.end()
            await stage.exited()

        play(body)

    def test_an_exit_comes_behind_what_was_kept(self) -> None:
        async def body(stage: Stage) -> None:
            container = await stage.started()
            container.pause_reading()
            container.stdout(b"kept")
            stage.end()
            await stage.exited()
            assert stage.recorder.out == b"kept"

        play(body)

    @pytest.mark.parametrize("size", [1, 65536])
    def test_no_more_is_taken_than_may_be_kept(self, size: int) -> None:
        async def body(stage: Stage) -> None:
            container = await stage.started()
            container.pause_reading()
            pieces = 0
            while not stage.wire.paused:
                container.stdout(b"x" * size)
                pieces += 1
            assert pieces * (size + 64) <= module.MAX_BACKLOG + 3 * (size + 64)
            container.resume_reading()
            await asyncio.sleep(0)
            assert not stage.wire.paused
            assert len(stage.recorder.out) == pieces * size
            stage.end()
            await stage.exited()

        play(body)

    def test_one_that_is_ending_is_read_and_no_more_is_kept(self) -> None:
        async def body(stage: Stage) -> None:
            container = await stage.started()
            container.pause_reading()
            while not stage.wire.paused:
                container.stdout(b"x" * 65536)
            stopping = asyncio.create_task(container.stop(5))
            await asyncio.sleep(0)
            for _ in range(100):
                assert not stage.wire.paused
                container.stdout(b"x" * 65536)
            stage.end()
            await stopping
            assert len(stage.recorder.out) < 2 * module.MAX_BACKLOG

        play(body)

    def test_the_end_of_one_that_is_not_read_is_noticed(self) -> None:
        async def body(stage: Stage) -> None:
            container = await stage.started()
            container.pause_reading()
            while not stage.wire.paused:
                container.stdout(b"x" * 65536)
            await asyncio.sleep(0.05)
            assert stage.wire.paused  # it runs
            stage.engine.current = GONE
            await until(lambda: not stage.wire.paused)
            container.streams_ended("")
            await stage.exited()

        play(body)

    def test_one_that_runs_on_without_streams_is_killed_and_told_as_lost(self) -> None:
        async def body(stage: Stage) -> None:
            await stage.started()
            stage.container.streams_ended("")
            assert "the connection to docker was lost" in await stage.exited()
            assert "kill SIGKILL" in stage.engine.did
            assert stage.recorder.eofs == 0

        play(body)

    def test_closing_the_driver_ends_all_looking(self) -> None:
        async def body(stage: Stage) -> None:
            container = await stage.started()
            container.pause_reading()
            while not stage.wire.paused:
                container.stdout(b"x" * 65536)
            assert stage.engine.current is RUNS
            loop = asyncio.get_running_loop()
            began = loop.time()
            await stage.calls.aclose(20)
            assert loop.time() - began < 5

        play(body)
