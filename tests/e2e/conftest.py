"""Functions that really run, for the end-to-end tests."""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import Callable, Coroutine, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
import uvloop

from hotfn_core import FunctionSpec
from hotfn_core.testing.guests import SCRIPTED, build_echo

Run = Callable[[Coroutine[Any, Any, None]], None]


@pytest.fixture(params=["asyncio", "uvloop"])
def run(request: pytest.FixtureRequest) -> Run:
    """Run a coroutine on a fresh loop of either kind."""
    return asyncio.run if request.param == "asyncio" else uvloop.run


@pytest.fixture(scope="session", autouse=True)
def warm_uvloop() -> None:
    """libuv opens a pair of descriptors in its first loop and keeps them for the life of the process."""
    uvloop.run(asyncio.sleep(0))


@pytest.fixture(scope="session")
def echo(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The path of the fast guest in C."""
    return build_echo(tmp_path_factory.mktemp("echo"))


@pytest.fixture(autouse=True)
def nothing_left_behind() -> Iterator[None]:
    """After every test: no child process and no file descriptor that was not there before."""
    before = open_files()
    yield
    children = psutil.Process().children(recursive=True)
    assert not children, f"left behind: {[child.cmdline() for child in children]}"
    assert open_files() == before


def open_files() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


def scripted(wire: str = "http", **fields: Any) -> FunctionSpec:
    """Return a function that does what its call tells it to; see hotfn_core/testing/guests/guest.py."""
    command = (sys.executable, "-I", "-S", SCRIPTED)
    return FunctionSpec(**({"name": "guest", "format": wire, "command": command} | fields))


def script(**steps: Any) -> bytes:
    """Return the body of a call to a scripted function."""
    return json.dumps(steps).encode()


def alive(pid: int) -> bool:
    """Say whether a process runs; a zombie does not."""
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False
