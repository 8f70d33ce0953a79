"""Checks of a `SharingDriver`: the directory that a copy shares with hotfn."""

from __future__ import annotations

import asyncio
import contextlib
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

from hotfn_core.driver import SharingDriver

from .kit import Copy, Kit, Unsupported
from .registry import check

SOCKET = "check.sock"


@check
async def check_sharing(kit: Kit) -> None:
    """A copy finds `shared` at `shared_at`, may write there, and is reachable over a socket that it makes there."""
    with places(kit, 1) as (place,):
        await _listening(kit, place)
        assert await _echoed(kit, place, b"hello") == b"hello"


@check
async def check_sharing_alone(kit: Kit) -> None:
    """Each copy has a `shared` of its own, also beside another one."""
    with places(kit, 2) as both:
        for place in both:
            await _listening(kit, place)
        for place in both:
            assert _inside(place) == [SOCKET], f"a copy's directory has {_inside(place)}"
        await kit.stopped(kit.copies[0], 0)
        assert await _echoed(kit, both[1], b"still here") == b"still here"


@contextlib.contextmanager
def places(kit: Kit, count: int) -> Iterator[list[str]]:
    """Make directories as hotfn does. Raises Unsupported for a driver that gives its copies none."""
    if not isinstance(kit.driver, SharingDriver):
        raise Unsupported("this driver is no SharingDriver, and needs not be one")
    with ExitStack() as stack:
        yield [_place(stack) for _ in range(count)]


def _place(stack: ExitStack) -> str:
    around = Path(tempfile.mkdtemp(prefix="hotfn-check-"))
    stack.callback(shutil.rmtree, around, ignore_errors=True)
    shared = around / "s"
    shared.mkdir(0o700)
    return str(shared)


def _inside(place: str) -> list[str]:
    return [one.name for one in Path(place).iterdir()]


async def _listening(kit: Kit, place: str) -> Copy:
    """Launch a guest that listens in its directory."""
    assert isinstance(kit.driver, SharingDriver)
    seen = kit.driver.shared_at or place
    copy = await kit.launch(shared=place, shares=True)
    told = await copy.report({"listen": f"{seen}/{SOCKET}"})
    assert not told["errors"], f"the copy cannot listen in {seen}: {told['errors']}"
    return copy


async def _echoed(kit: Kit, place: str, data: bytes) -> bytes:
    """Return what the guest at a socket sends back. Raises AssertionError when it is not reached."""
    assert SOCKET in _inside(place), f"the copy listens, and its socket is not in {place}, which has been `shared`"
    async with asyncio.timeout(kit.patience):
        reader, writer = await asyncio.open_unix_connection(f"{place}/{SOCKET}")
        try:
            writer.write(data)
            return await reader.readexactly(len(data))
        finally:
            writer.close()
            await writer.wait_closed()
