"""Running the checks, each with a driver of its own, and telling how they went."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Callable, Collection, Sequence
from typing import Any, NamedTuple
from unittest import mock

from hotfn_core.driver import Driver
from hotfn_core.errors import did_you_mean

from . import checks_exit, checks_launch, checks_sharing, checks_stop, checks_streams
from .kit import PRIVATE, Guest, Kit, Unsupported
from .registry import CHECKS, Check

__all__ = [
    "ConformanceError",
    "Outcome",
    "check_driver",
    "checks_exit",
    "checks_launch",
    "checks_sharing",
    "checks_stop",
    "checks_streams",
]

PASSED, FAILED, UNSUPPORTED = "passed", "FAILED", "not supported"
LoopFactory = Callable[[], asyncio.AbstractEventLoop]


class ConformanceError(AssertionError):
    """The driver breaks its contract. `outcomes` are those of all checks that ran."""

    def __init__(self, outcomes: Sequence[Outcome]) -> None:
        failed = [outcome for outcome in outcomes if outcome.status == FAILED]
        super().__init__(f"{len(failed)} of {len(outcomes)} checks of the driver failed\n{table(failed)}")
        self.outcomes = outcomes


class Outcome(NamedTuple):
    """How one check went. `detail` says what was wrong, or why it is not supported."""

    name: str
    sentence: str
    status: str
    detail: str
    seconds: float


def check_driver(
    factory: Callable[[], Driver],
    *,
    guest: Guest | None = None,
    only: Collection[str] = (),
    patience: float = 20.0,
    loop_factory: LoopFactory | None = None,
) -> list[Outcome]:
    """Run every check (or `only` those named), each with a driver that `factory` makes, on an event loop of its own.

    Raises ConformanceError unless all of them passed or are not supported. `patience` is how many seconds the
    slowest single step of the driver may take. Not for use inside a running event loop: see `run_checks`.
    """
    with asyncio.Runner(loop_factory=loop_factory) as runner:
        outcomes = runner.run(run_checks(factory, guest=guest, only=only, patience=patience))
    if any(outcome.status == FAILED for outcome in outcomes):
        raise ConformanceError(outcomes)
    return outcomes


async def run_checks(
    factory: Callable[[], Driver],
    *,
    guest: Guest | None = None,
    only: Collection[str] = (),
    patience: float = 20.0,
    tell: Callable[[Outcome], object] | None = None,
) -> list[Outcome]:
    """Run the checks one after the other and return their outcomes; `tell` hears of each when it is known."""
    outcomes: list[Outcome] = []
    for name in _chosen(only):
        outcomes.append(await _run(name, CHECKS[name], factory, guest or Guest(), patience))
        if tell:
            tell(outcomes[-1])
    return outcomes


def _chosen(only: Collection[str]) -> list[str]:
    for name in only:
        if name not in CHECKS:
            raise ValueError(f'there is no check "{name}"{did_you_mean(name, CHECKS)}')
    return [name for name in CHECKS if not only or name in only]


async def _run(name: str, check: Check, factory: Callable[[], Driver], guest: Guest, patience: float) -> Outcome:
    began = time.monotonic()
    status, detail = PASSED, ""
    try:
        with mock.patch.dict(os.environ, {PRIVATE: "of hotfn"}):
            await _perform(check, factory, guest, patience)
    except Unsupported as reason:
        status, detail = UNSUPPORTED, str(reason)
    except Exception as error:  # a stranger's driver may raise anything, and that is what we are here to find
        status, detail = FAILED, str(error) if isinstance(error, AssertionError) else f"{type(error).__name__}: {error}"
    sentence = (check.__doc__ or "").splitlines()[0]
    return Outcome(name, sentence, status, detail, time.monotonic() - began)


async def _perform(check: Check, factory: Callable[[], Driver], guest: Guest, patience: float) -> None:
    loop = asyncio.get_running_loop()
    unhandled: list[str] = []
    loop.set_exception_handler(lambda _, context: unhandled.append(_text(context)))
    driver = factory()
    await driver.open()
    kit = Kit(driver, guest, patience)
    try:
        async with asyncio.timeout(patience * 10):
            await check(kit)
        kit.verify()
    finally:
        await kit.close()
        loop.set_exception_handler(None)
    kit.verify()
    assert not unhandled, f"the event loop reports: {'; '.join(unhandled)}"


def _text(context: dict[str, Any]) -> str:
    error = context.get("exception")
    return f"{context.get('message')}: {error!r}" if error else str(context.get("message"))


def table(outcomes: Sequence[Outcome]) -> str:
    """Return one line for each outcome, and below it what there is to say."""
    width = max(map(len, CHECKS))
    lines = []
    for outcome in outcomes:
        lines.append(f"{outcome.name:<{width}}  {outcome.status:<13}  {outcome.seconds:6.2f} s  {outcome.sentence}")
        if outcome.detail:
            lines.append(" " * width + f"  -> {outcome.detail}")
    return "\n".join(lines)
