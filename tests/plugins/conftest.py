"""Runs a coroutine on both event loops, and gives it a driver `local` with a guest to launch."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from hotfn_core.testing.check_driver import Guest, Kit
from hotfn_local.driver import LocalDriver

from .loops import LOOPS

Body = Callable[[Kit], Awaitable[Any]]
Local = Callable[[Body], Any]


def run_with_kit(body: Body, loop_factory: Callable[[], asyncio.AbstractEventLoop]) -> Any:
    """Run `body` with a fresh driver; whatever happens, nothing of it lives afterwards and no callback went astray."""

    async def main() -> Any:
        astray: list[dict[str, Any]] = []
        asyncio.get_running_loop().set_exception_handler(lambda _, context: astray.append(context))
        driver = LocalDriver()
        await driver.open()
        kit = Kit(driver, Guest(), 20)
        try:
            result = await body(kit)
        finally:
            await kit.close()
        kit.verify()
        assert not astray, astray
        return result

    with asyncio.Runner(loop_factory=loop_factory) as runner:
        return runner.run(main())


@pytest.fixture(params=list(LOOPS))
def local(request: pytest.FixtureRequest) -> Local:
    """Run a coroutine function with a Kit, on each event loop."""
    return lambda body: run_with_kit(body, LOOPS[request.param])


@pytest.fixture
def local_once() -> Local:
    """The same on asyncio alone, for what does not depend on the loop."""
    return lambda body: run_with_kit(body, asyncio.new_event_loop)
