"""Functions in containers, for the tests that call them: some answer with the body, some do as they are told."""

from __future__ import annotations

import asyncio
import gc
import json
import time
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import uvloop

from hotfn_core import FunctionSpec, Manager, StderrLine, hookimpl
from hotfn_core.stats import FunctionStats
from hotfn_core.testing import guests

from .setup import Engine

GUEST = ("python3", "-I", "-S", "-c", guests.one_file())
"""The command of the scripted guest, see hotfn_core/testing/guests/guest.py, in an image that has Python."""

HOT = ("http", "json")


def scripted(engine: Engine, wire: str = "http", **fields: Any) -> FunctionSpec:
    """Return a function that does what the body of its call says."""
    given = {"name": "guest", "driver": engine.name, "image": engine.image_python, "command": GUEST, "format": wire}
    return FunctionSpec(**(given | fields))


def echo(engine: Engine, wire: str = "http", **fields: Any) -> FunctionSpec:
    """Return a function that answers with its call's body: one static program, which is all of its image."""
    given = {"name": "echo", "driver": engine.name, "image": engine.image_echo, "format": wire}
    return FunctionSpec(**(given | fields))


def shell(engine: Engine, line: str, wire: str = "http", **fields: Any) -> FunctionSpec:
    """Return a function that runs a line of busybox's shell."""
    return scripted(engine, wire, **({"name": "shell", "command": ("sh", "-c", line)} | fields))


def script(**steps: Any) -> bytes:
    """Return the body of a call to a scripted function."""
    return json.dumps(steps).encode()


def copies(engine: Engine) -> dict[str, str]:
    """Return the containers that hotfn has in the engine: the name of the copy and the state of each."""
    return {one.labels["hotfn.instance"]: one.state for one in engine.ps(label="hotfn.runtime")}


def stats(manager: Manager, spec: FunctionSpec) -> FunctionStats:
    """Return the numbers of a function; all are 0 as long as nobody has called it."""
    return manager.stats().get(spec.full_name, FunctionStats())


def run(coroutine: Coroutine[Any, Any, None]) -> None:
    """Run a test on a loop of its own; afterwards there is no task and no descriptor that was not there before."""
    uvloop.run(asyncio.sleep(0))  # libuv opens a pair of descriptors in its first loop, for the life of the process
    before = open_files()
    uvloop.run(_alone(coroutine))
    deadline = time.monotonic() + 5
    while gc.collect() >= 0 and open_files() > before:  # a thread may be about to end, which nobody waits for
        assert time.monotonic() < deadline, f"{open_files() - before} descriptors are left open"
        time.sleep(0.01)


async def _alone(coroutine: Coroutine[Any, Any, None]) -> None:
    await coroutine
    left = asyncio.all_tasks() - {asyncio.current_task()}
    assert not left, f"left behind: {left}"


def open_files() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


async def until(condition: Callable[[], bool], limit: float = 20.0) -> None:
    """Wait for something that no event tells: what an engine does to a container."""
    async with asyncio.timeout(limit):
        while not condition():  # noqa: ASYNC110  # the engine sets no event for us
            await asyncio.sleep(0.02)


class Log:
    """A plugin that keeps the stderr lines of functions."""

    def __init__(self) -> None:
        self.lines: list[StderrLine] = []

    @hookimpl
    def hotfn_stderr_line(self, line: StderrLine) -> None:
        self.lines.append(line)
