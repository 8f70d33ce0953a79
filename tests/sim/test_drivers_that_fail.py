"""Drivers of strangers may fail in any way: the caller is told, and nothing else is harmed."""

from __future__ import annotations

import asyncio
import logging

import pytest

from hotfn_core import (
    BadReply,
    CallFailed,
    CallTimeout,
    Container,
    ContainerSpec,
    DriverError,
    Exit,
    LaunchFailed,
    Receiver,
)
from hotfn_core.testing import Behaviour, FakeDriver, fake_spec, simulate

from .world import Recorder, codes, managed, now, outcome


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

    def test_a_copy_that_is_stopped_in_its_launch_counts_until_it_is_gone(self) -> None:
        async def main() -> None:
            copies = iter([Behaviour(early=b"Welcome!\n", refusals=2), Behaviour()])
            driver = FakeDriver(lambda _: next(copies), Behaviour())
            async with managed(driver) as manager:
                assert codes([await outcome(manager.call(fake_spec()))]) == ["launch_failed"]
                await asyncio.sleep(1.5)
                assert manager.stats()["default/f"].stopping == 1  # it is told again after one second and after two
                assert (await manager.call(fake_spec(), b"x")).body == b"x"
                assert (now(), driver.most_alive) == (2.0, 1)

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

    def test_what_a_copy_says_while_it_is_being_stopped_is_of_no_interest(
        self, caplog: pytest.LogCaptureFixture
    ) -> None:
        async def main() -> None:
            driver = FakeDriver(Behaviour(stop=10.0), Behaviour(answer=1.5))
            async with managed(driver) as manager:
                with pytest.raises(CallTimeout):
                    await manager.call(fake_spec(timeout=1.0, stop_grace=60.0))
                await asyncio.sleep(1.0)
                assert manager.stats()["default/f"].stopped == {"timeout": 1}

        simulate(main)
        assert caplog.text == ""
