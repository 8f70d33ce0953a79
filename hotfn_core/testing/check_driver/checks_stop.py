"""Checks of `Container.stop`: ask, wait, kill, and nothing survives it."""

from __future__ import annotations

import asyncio
import contextlib
import signal

from hotfn_core.errors import DriverError

from .checks_exit import killed_by
from .kit import Copy, Kit
from .registry import check

LONG = 60.0
"""A grace that nothing here waits for."""

STUBBORN = {"term": "ignore", "eof": "ignore"}


@check
async def check_stop_closes_stdin(kit: Kit) -> None:
    """A copy that ends when its stdin ends is given the time for that."""
    copy = await kit.ready({"term": "ignore", "eof": {"sleep": 0.3, "stderr": "bye", "exit": 3}})
    took = await kit.stopped(copy, LONG)
    assert took < kit.patience, f"stopping took {took:.1f} s"
    assert copy.recorder.exit is not None
    assert copy.recorder.exit.code == 3, f"it {copy.recorder.exit}"
    assert copy.recorder.err == b"bye", "its last words were lost"


@check
async def check_stop_asks(kit: Kit) -> None:
    """A copy that minds SIGTERM only is sent it, and given the time to clean up."""
    copy = await kit.ready({"eof": "ignore", "term": {"sleep": 0.3, "stderr": "bye", "exit": 5}})
    took = await kit.stopped(copy, LONG)
    assert took < kit.patience, f"stopping took {took:.1f} s"
    assert copy.recorder.exit is not None
    assert copy.recorder.exit.code == 5, f"it {copy.recorder.exit}"
    assert copy.recorder.err == b"bye", "its last words were lost"


@check
async def check_stop_kills(kit: Kit) -> None:
    """A copy that minds nothing is killed when the grace is over, not before."""
    copy = await kit.ready(STUBBORN)
    took = await kit.stopped(copy, 1.0)
    assert took > 0.9, f"it was killed after {took:.2f} s of a grace of 1 s"
    assert took < 1.0 + kit.patience / 2, f"it was killed after {took:.1f} s"
    assert killed_by(copy.recorder.exit, signal.SIGKILL), f"it {copy.recorder.exit}"


@check
async def check_stop_without_grace(kit: Kit) -> None:
    """A grace of 0 kills at once."""
    copy = await kit.ready({"eof": {"sleep": 30}, "term": {"sleep": 30}})
    took = await kit.stopped(copy, 0)
    assert took < kit.patience / 2, f"stopping took {took:.1f} s"
    assert killed_by(copy.recorder.exit, signal.SIGKILL), f"it {copy.recorder.exit}"


@check
async def check_stop_again(kit: Kit) -> None:
    """Stop may be called many times at once: the shortest grace wins and every call returns."""
    copy = await kit.ready(STUBBORN)
    stops = [asyncio.ensure_future(copy.container.stop(grace)) for grace in (LONG, LONG)]
    await asyncio.sleep(0.1)
    stops += [asyncio.ensure_future(copy.container.stop(grace)) for grace in (0.4, 2 * LONG)]
    done, late = await asyncio.wait(stops, timeout=kit.patience)
    for task in late:
        task.cancel()
    assert not late, f"{len(late)} of {len(stops)} calls of stop did not return"
    for task in done:
        task.result()
    await kit.stopped(copy, LONG)


@check
async def check_stop_hurried(kit: Kit) -> None:
    """A stop that waits is brought forward by one with grace 0."""
    copy = await kit.ready(STUBBORN)
    patient = asyncio.ensure_future(copy.container.stop(LONG))
    await asyncio.sleep(0.3)
    assert copy.recorder.exit is None, "a copy with a long grace was killed"
    took = await kit.stopped(copy, 0)
    assert took < kit.patience / 2, f"the second stop took {took:.1f} s"
    await asyncio.wait_for(patient, kit.patience)


@check
async def check_stop_cancelled(kit: Kit) -> None:
    """Cancelling a stop stops the waiting, not the copy's end."""
    copy = await kit.ready(STUBBORN)
    waiting = asyncio.ensure_future(copy.container.stop(0.5))
    await asyncio.sleep(0.1)
    waiting.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await waiting
    assert copy.recorder.exit is None, "the grace was not waited for"
    await copy.exited()


@check
async def check_stop_takes_all(kit: Kit) -> None:
    """What a copy has started ends with it, also when it ignores SIGTERM."""
    for grace, script in ((0.3, STUBBORN), (LONG, {}), (0, {})):
        spawn = {"spawn": {"count": 3, "token": kit.token}}
        copy = await kit.ready(script | spawn)
        kit.must_see()
        await kit.stopped(copy, grace)
        await kit.gone(f"stop({grace:g})")


@check
async def check_stop_busy(kit: Kit) -> None:
    """A copy in the middle of a call is stopped as well, whatever it was doing."""
    for script in ({"spin": 1000}, {"sleep": 1000}, {"size": 50_000_000, "pieces": 1000, "pause": 1}):
        copy = await kit.ready()
        copy.send(script)
        await asyncio.sleep(0.1)
        took = await kit.stopped(copy, LONG)
        assert took < kit.patience, f"stopping took {took:.1f} s"


@check
async def check_stop_paused(kit: Kit) -> None:
    """A copy whose output nobody takes is stopped as well."""
    copy = await kit.ready()
    copy.container.pause_reading()
    copy.send({"size": 20_000_000})
    await asyncio.sleep(0.1)
    took = await kit.stopped(copy, 1.0)
    assert took < 1.0 + kit.patience / 2, f"stopping took {took:.1f} s"


@check
async def check_stop_frozen(kit: Kit) -> None:
    """A frozen copy is given its grace: it runs again, minds that it is asked, and ends by itself."""
    for script in (
        {"eof": "ignore", "term": {"sleep": 0.3, "exit": 5}},
        {"term": "ignore", "eof": {"sleep": 0.3, "exit": 5}},
    ):
        copy = await kit.ready(script)
        await kit.freeze(copy)
        took = await kit.stopped(copy, LONG)
        assert took < kit.patience, f"stopping took {took:.1f} s"
        assert copy.recorder.exit is not None
        assert copy.recorder.exit.code == 5, f"it {copy.recorder.exit}"


@check
async def check_stop_frozen_at_once(kit: Kit) -> None:
    """A frozen copy is killed: at once without a grace, and when it minds nothing, after it. Nothing of it is left."""
    for grace in (0, 0.5):
        copy = await kit.ready(STUBBORN | {"spawn": {"count": 2, "token": kit.token}})
        await kit.freeze(copy)
        took = await kit.stopped(copy, grace)
        assert took < grace + kit.patience / 2, f"stop({grace:g}) took {took:.1f} s"
        assert killed_by(copy.recorder.exit, signal.SIGKILL), f"it {copy.recorder.exit}"
    await kit.gone("stopping frozen copies")


@check
async def check_stop_while_freezing(kit: Kit) -> None:
    """A copy may be stopped while it is being frozen or thawed."""
    for thaw in (False, True):
        for wait in (0.0, 0.005, 0.05):
            copy = await kit.ready()
            if thaw:
                await kit.freeze(copy)
            frost = asyncio.ensure_future(copy.container.thaw() if thaw else kit.freeze(copy))
            await asyncio.sleep(wait)
            frost.cancel()
            took = await kit.stopped(copy, 5)
            assert took < kit.patience, f"stopping took {took:.1f} s"
            with contextlib.suppress(asyncio.CancelledError, DriverError):  # the copy has gone meanwhile
                await frost


@check
async def check_stop_at_any_moment(kit: Kit) -> None:
    """A copy may be stopped as soon as it is launched."""
    copies: list[Copy] = [await kit.launch() for _ in range(5)]
    for copy in copies:
        await kit.stopped(copy, 2)
    await kit.gone("stop")
