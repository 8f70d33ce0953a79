"""Gives the tests engines that really run: those that `python tests/engines up` left running, or a set of their own.

CI=true or HOTFN_REQUIRE_ENGINES=1 make an engine that is not there a failure; else those tests are skipped and say why.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Generator, Iterator
from contextlib import ExitStack
from typing import Any

import pytest

from .setup import Engine, EngineSet, images, packages
from .setup.sets import KINDS, default_directory, own_set, remove_orphans

collect_ignore = [] if "HOTFN_KITS" in os.environ else ["test_kits.py"]  # the env `real` has the kits
NO_ENGINES = "no engines"
SETTLE = 10.0  # seconds for an engine to finish a removal that it does on its own
NewEngine = Callable[..., Engine]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark what needs engines, so that `-m "not engines"` leaves it out."""
    for item in items:
        if "engines" in getattr(item, "fixturenames", ()):
            item.add_marker("engines")


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(call: pytest.CallInfo[None]) -> Generator[None, Any, Any]:
    """Report the skips for want of engines from one place, so that the summary says it once and not for each test."""
    report = yield
    if report.skipped and call.excinfo is not None and str(call.excinfo.value).startswith(NO_ENGINES):
        report.longrepr = (__file__, 1, f"Skipped: {call.excinfo.value}")
    return report


@pytest.fixture(scope="session")
def engines() -> Iterator[EngineSet]:
    """Both engines, up for the whole run; what this run started it takes down."""
    try:
        packages.require()
        why_not = ""
    except packages.Missing as error:
        why_not = str(error)
    if why_not:
        unavailable(why_not)
    with ExitStack() as stack:
        yield running_set(stack)


@pytest.fixture(params=list(KINDS))
def engine(request: pytest.FixtureRequest, engines: EngineSet, monkeypatch: pytest.MonkeyPatch) -> Iterator[Engine]:
    """One engine after the other; clients find it by the environment. The test leaves nothing in it."""
    one = engines.engines[request.param]
    lead_to(one, monkeypatch)
    before = one.inventory()
    yield one
    left = left_since(one, before)
    one.remove_containers(list(left))
    assert not left, f"left behind: {list(left.values())}"


@pytest.fixture
def new_engine(engines: EngineSet) -> Iterator[NewEngine]:
    """Start engines that the test may restart and kill: `new_engine("docker", wanted=(images.ECHO,))`."""
    with ExitStack() as stack:

        def start(name: str, wanted: tuple[str, ...] = (images.ECHO, images.PYTHON)) -> Engine:
            one = engines.new_engine(name, wanted)
            stack.callback(one.remove)
            return one

        yield start


@pytest.fixture(params=list(KINDS))
def private_engine(request: pytest.FixtureRequest, new_engine: NewEngine, monkeypatch: pytest.MonkeyPatch) -> Engine:
    """One engine after the other that only this test has; clients find it by the environment."""
    one = new_engine(request.param)
    lead_to(one, monkeypatch)
    return one


def running_set(stack: ExitStack) -> EngineSet:
    """Return the set that is up and that no other run uses, or a new one that goes down with `stack`."""
    shared = EngineSet(default_directory())
    if stack.enter_context(shared.reserved()) and shared.is_up():
        shared.up()
        return shared
    remove_orphans()
    mine = own_set()
    stack.callback(mine.down)
    mine.up()
    return mine


def lead_to(one: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    """Make the environment lead every client to this engine, with no login and no configuration of the user's."""
    for variable in [name for name in os.environ if name.startswith(("DOCKER_", "CONTAINER_", "CONTAINERS_"))]:
        monkeypatch.delenv(variable)
    for variable, value in one.client_environment().items():
        monkeypatch.setenv(variable, value)


def left_since(one: Engine, before: dict[str, str]) -> dict[str, str]:
    """Return what is in the engine and was not there before, once it had the time to finish."""
    deadline = time.monotonic() + SETTLE
    while True:
        left = {key: what for key, what in one.inventory().items() if key not in before}
        if not left or time.monotonic() > deadline:
            return left
        time.sleep(0.1)  # the engine does not tell when it is done


def unavailable(reason: str) -> None:
    """Fail or skip, depending on whether engines are required."""
    required = os.environ.get("HOTFN_REQUIRE_ENGINES", "1" if os.environ.get("CI") else "0")
    if required != "0":
        pytest.fail(f"{NO_ENGINES}: {reason}", pytrace=False)
    pytest.skip(f"{NO_ENGINES}: {reason}")
