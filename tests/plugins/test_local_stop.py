"""The stop ladder of the driver `local`, where it is more than the contract says."""

from __future__ import annotations

import asyncio
import os
import signal

import pytest

from hotfn_core.errors import DriverError
from hotfn_core.model import Exit
from hotfn_core.testing.check_driver import Copy, Kit
from hotfn_local import process

from .conftest import Local

STUBBORN = {"term": "ignore", "eof": "ignore"}


async def outcome(kit: Kit, copy: Copy, grace: float) -> tuple[int | None, int | None]:
    await kit.stopped(copy, grace)
    assert copy.recorder.exit is not None
    return copy.recorder.exit.code, copy.recorder.exit.signal


def test_the_end_of_stdin_comes_before_sigterm(local: Local) -> None:
    """A program without a handler for SIGTERM, which is most, ends by itself and runs its own clean-up."""

    async def body(kit: Kit) -> None:
        copy = await kit.ready({"eof": {"stderr": "cleaned up"}})
        assert await outcome(kit, copy, 5) == (0, None)
        assert copy.recorder.err == b"cleaned up"

    local(body)


def test_sigterm_comes_soon_after(local: Local) -> None:
    async def body(kit: Kit) -> None:
        copy = await kit.ready({"eof": "ignore"})
        took = await kit.stopped(copy, 30)
        assert process.POLITE <= took < 5
        assert copy.recorder.exit == Exit(signal=signal.SIGTERM)

    local(body)


def test_a_short_grace_is_shared_out(local: Local) -> None:
    async def body(kit: Kit) -> None:
        copy = await kit.ready({"eof": "ignore", "term": {"stderr": "termed", "hang": True}})
        took = await kit.stopped(copy, 0.4)
        assert 0.35 < took < 5
        assert copy.recorder.err == b"termed"

    local(body)


def test_the_whole_group_is_asked(local: Local) -> None:
    """A shell waits for its child with SIGTERM pending; only because the child is asked as well does it end."""

    async def body(kit: Kit) -> None:
        copy = await kit.launch(command=("sh", "-c", "trap 'echo trapped; exit 6' TERM; echo up; sleep 100; true"))
        await copy.until(lambda: b"up" in copy.recorder.out, "the shell")
        assert await outcome(kit, copy, 30) == (6, None)
        assert copy.recorder.out == b"up\ntrapped\n"

    local(body)


def test_what_is_held_for_a_copy_is_dropped_when_it_is_stopped(local: Local) -> None:
    async def body(kit: Kit) -> None:
        copy = await kit.launch({"sleep": 0.5}, wire="raw")
        copy.write(bytes(1 << 20))
        copy.container.write_eof()
        assert await outcome(kit, copy, 0.05) == (None, signal.SIGTERM)

    local(body)


def test_a_frozen_copy_obeys(local: Local) -> None:
    async def body(kit: Kit) -> None:
        copy = await kit.ready({"term": {"exit": 5}, "eof": "ignore"})
        await copy.container.freeze()
        assert await outcome(kit, copy, 30) == (5, None)

    local(body)


def test_a_process_of_another_user_is_told(local_once: Local, monkeypatch: pytest.MonkeyPatch) -> None:
    async def body(kit: Kit) -> None:
        copy = await kit.ready(STUBBORN)
        with monkeypatch.context() as patch:
            patch.setattr(os, "killpg", _refuse)
            with pytest.raises(DriverError, match="runs as another user now"):
                await copy.container.stop(0)
            with pytest.raises(DriverError, match=f"may not signal process {copy.container.id}"):
                await copy.container.stop(0.2)
        await kit.stopped(copy, 0)  # it may be tried again

    local_once(body)


def _refuse(pid: int, number: int) -> None:
    raise PermissionError


def test_a_process_that_hangs_in_the_kernel_is_told(local_once: Local, monkeypatch: pytest.MonkeyPatch) -> None:
    async def body(kit: Kit) -> None:
        copy = await kit.ready(STUBBORN)
        with monkeypatch.context() as patch:
            patch.setattr(process, "STUCK", 0.1)
            patch.setattr(os, "killpg", lambda pid, number: None)
            with pytest.raises(DriverError, match="does not die of SIGKILL"):
                await copy.container.stop(0.2)
        await kit.stopped(copy, 0)

    local_once(body)


def test_stops_that_are_cancelled_or_late_are_not_in_the_way(local: Local) -> None:
    async def body(kit: Kit) -> None:
        copy = await kit.ready(STUBBORN)
        stops = [asyncio.ensure_future(copy.container.stop(0.3)) for _ in range(5)]
        await asyncio.sleep(0.05)
        for task in stops[:3]:
            task.cancel()
        await copy.exited()
        done = await asyncio.gather(*stops, return_exceptions=True)
        assert [isinstance(one, asyncio.CancelledError) for one in done] == [True] * 3 + [False] * 2

    local(body)


def test_closing_the_driver_kills_what_still_runs(local: Local) -> None:
    """Against the contract, but nothing may be left."""

    async def body(kit: Kit) -> None:
        copies = [await kit.ready(STUBBORN) for _ in range(3)]
        await kit.driver.aclose()
        assert all(copy.recorder.exit for copy in copies)
        assert kit.seen() == []

    local(body)


def test_a_receiver_that_raises_does_not_keep_the_copy(local_once: Local) -> None:
    async def body(kit: Kit) -> None:
        loop = asyncio.get_running_loop()
        raised: list[object] = []
        loop.set_exception_handler(lambda _, context: raised.append(context["exception"]))
        copy = await kit.launch({"sleep": 0.1, "stdout": "last words", "exit": 0})
        copy.container.pause_reading()
        copy.container._stdout._deliver = _fail  # type: ignore[attr-defined]
        await copy.exited()
        assert [str(one) for one in raised] == ["a bug of the receiver"]
        await kit.stopped(copy, 0)

    local_once(body)


def _fail(data: bytes) -> None:
    raise RuntimeError("a bug of the receiver")


def test_the_guardian_ends_what_the_driver_could_not(local_once: Local, monkeypatch: pytest.MonkeyPatch) -> None:
    async def body(kit: Kit) -> None:
        copy = await kit.ready(STUBBORN)
        with monkeypatch.context() as patch:
            patch.setattr(os, "killpg", _refuse)
            with pytest.raises(DriverError, match="runs as another user now"):
                await kit.driver.aclose()
            await copy.exited()  # after its driver was closed, which must not matter
        assert copy.recorder.exit == Exit(signal=signal.SIGKILL)

    local_once(body)
