"""Checks of how exits are reported: `exited` last, exactly once, with the truth in it."""

from __future__ import annotations

import asyncio
import signal
import time

from hotfn_core.model import Exit

from .kit import Copy, Kit
from .registry import check

SOON = 5.0
"""Seconds within which an exit is known even on a slow machine."""


def killed_by(exit: Exit | None, number: int) -> bool:
    """Say whether `exit` tells of that signal; engines of containers say 128 + number."""
    return exit is not None and (exit.signal == number or exit.code == 128 + number)


@check
async def check_exit_codes(kit: Kit) -> None:
    """The exit code is passed on as it is."""
    for code in (0, 1, 3, 126, 255):
        copy = await kit.launch()
        copy.send({"exit": code})
        await copy.exited()
        exit = copy.recorder.exit
        assert exit is not None
        assert exit.code == code, f"a copy that exited with {code} is said to have {exit}"
        assert exit.signal is None, f"a copy that exited with {code} is said to have died by signal {exit.signal}"


@check
async def check_exit_signals(kit: Kit) -> None:
    """The signal that killed a copy is passed on."""
    for number in (signal.SIGKILL, signal.SIGSEGV, signal.SIGABRT):
        copy = await kit.launch()
        copy.send({"signal": int(number)})
        await copy.exited()
        assert killed_by(copy.recorder.exit, number), f"a copy killed by {number.name} is said: it {copy.recorder.exit}"


@check
async def check_exit_at_once(kit: Kit) -> None:
    """A program that ends at once is launched and exits, with all that it said."""
    for _ in range(5):
        copy = await kit.launch({"stdout": "out", "stderr": "err", "exit": 7})
        await copy.exited()
        assert copy.recorder.exit is not None
        assert copy.recorder.exit.code == 7, f"it {copy.recorder.exit}, not with 7"
        assert copy.recorder.out == b"out", f"its last words on stdout were lost: {copy.recorder}"
        assert copy.recorder.err == b"err", f"its last words on stderr were lost: {copy.recorder}"


@check
async def check_last_words(kit: Kit) -> None:
    """What a copy wrote before it exited arrives before `exited`, on both streams, whole."""
    for _ in range(10):
        copy = await kit.launch()
        copy.send({"stderr_bytes": 200_000, "size": 500_000, "exit_after": 0})
        await copy.exited()
        assert copy.recorder.out.count(b"x") == 500_000, f"the end of stdout was lost: {copy.recorder}"
        assert len(copy.recorder.err) == 200_000, f"the end of stderr was lost: {copy.recorder}"


@check
async def check_last_words_of_a_paused_copy(kit: Kit) -> None:
    """An exit is reported although reading was paused, and what is left comes before it."""
    copy = await kit.ready()
    copy.container.pause_reading()
    copy.send({"body": "last words", "exit_after": 4})
    await copy.exited()
    assert b"last words" in copy.recorder.out, "the last words were lost"


@check
async def check_exit_is_prompt(kit: Kit) -> None:
    """An exit is known at once, also when grandchildren hold the pipes open, and they end with the copy."""
    copy = await kit.ready({"spawn": {"count": 2, "token": kit.token}})
    began = time.monotonic()
    copy.send({"exit": 9})
    await copy.exited()
    took = time.monotonic() - began
    assert took < SOON, f"the exit was reported after {took:.1f} s"
    await kit.gone("the copy that exited")


@check
async def check_after_the_exit(kit: Kit) -> None:
    """Everything may be called when the copy is gone: it does nothing and raises nothing."""
    copy = await kit.launch({"exit": 0})
    await copy.exited()
    await _use_up(kit, copy)
    await asyncio.sleep(0.3)


async def _use_up(kit: Kit, copy: Copy) -> None:
    container = copy.container
    for _ in range(2):
        copy.write(b"too late")
        container.pause_reading()
        container.resume_reading()
        container.write_eof()
        assert isinstance(container.writable, bool)
        assert await kit.stopped(copy, 30) < SOON, "stopping what is gone takes long"


@check
async def check_race_with_the_exit(kit: Kit) -> None:
    """A copy may be used, stopped and told to exit at the same moment."""
    for delay in (0, 0.001, 0.003, 0.01):
        copy = await kit.ready()
        copy.send({"exit": 0})
        await asyncio.sleep(delay)
        await _use_up(kit, copy)
