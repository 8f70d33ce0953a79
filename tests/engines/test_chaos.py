"""Ten minutes, or some seconds, of everything at once: every call ends once, no answer crosses, nothing is left."""

from __future__ import annotations

import asyncio
import gc
import logging
import os
import random
import threading
import time
from typing import Any

import pytest

from .calling import open_files
from .monkey import MARK, Tally, chaos
from .setup import Engine

SHORT = 20.0
LONG = float(os.environ.get("HOTFN_CHAOS_SECONDS", "600"))
SETTLE = 20.0  # seconds for threads and connections to end that nobody waits for


def survive(engine: Engine, seconds: float, caplog: pytest.LogCaptureFixture) -> None:
    seed = int(os.environ.get("HOTFN_SEED") or random.randrange(2**32))
    print(f"HOTFN_SEED={seed}")
    caplog.set_level(logging.WARNING)
    tally = Tally()
    threads, files = threading.active_count(), open_files()
    astray: list[dict[str, Any]] = []

    async def main() -> None:
        asyncio.get_running_loop().set_exception_handler(lambda _, context: astray.append(context))
        await chaos(engine, seed, seconds, tally)
        left = asyncio.all_tasks() - {asyncio.current_task()}
        if left:
            tally.wrong.append(f"tasks are left: {left}")

    asyncio.run(main())
    print(f"{engine.name}, {seconds:g} s: {tally}")
    assert not tally.wrong, "\n".join(tally.wrong[:20])
    assert not astray, astray[:3]
    faults = [record.getMessage() for record in caplog.records if record.levelno >= logging.ERROR]
    assert not faults, faults[:3]
    assert not engine.ps(label=MARK)
    assert tally.calls["ok"] > seconds, tally
    assert tally.deeds.total() > seconds / 5, tally  # an engine that is busy takes its time for each
    settled(threads, files)


def settled(threads: int, files: int) -> None:
    """No thread and no descriptor is there that was not before, once they had the time to go."""
    deadline = time.monotonic() + SETTLE
    while (threading.active_count(), open_files()) > (threads, files) or open_files() > files:
        gc.collect()  # an exception may hold a connection
        assert time.monotonic() < deadline, (threading.enumerate(), threads, open_files(), files)
        time.sleep(0.1)


@pytest.mark.timeout(300)
def test_some_seconds_of_chaos(private_engine: Engine, caplog: pytest.LogCaptureFixture) -> None:
    survive(private_engine, SHORT, caplog)


@pytest.mark.slow
@pytest.mark.timeout(LONG + 600)
def test_ten_minutes_of_chaos(private_engine: Engine, caplog: pytest.LogCaptureFixture) -> None:
    survive(private_engine, LONG, caplog)
