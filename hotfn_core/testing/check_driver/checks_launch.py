"""Checks of `Driver.launch`, of the driver as a whole, and of `validate`."""

from __future__ import annotations

import asyncio
import contextlib
import json
import socket
import subprocess
import sys
from pathlib import Path

from hotfn_core.driver import Container
from hotfn_core.errors import ConfigError, DriverError

from .kit import PRIVATE, Kit, Unsupported
from .recorder import Recorder
from .registry import check

ODD_VALUES = {
    "CHECK_EMPTY": "",
    "CHECK_QUOTES": "'\"`$HOME $(id) \\ %s",
    "CHECK_LINES": "one\ntwo\r\n\tthree",
    "CHECK_EQUALS": "=a=b=",
    "CHECK_UNICODE": "grün ☃ 日本",
    "CHECK_LONG": "x" * 8000,
    "FN_HEADER_Content-Type": "a/b",
}
MISSING = "/no/such/program-of-a-check"
DELAYS = (0, 0.001, 0.005, 0.02, 0.05, 0.1, 0.3)


@check
async def check_answers(kit: Kit) -> None:
    """A launched copy takes bytes on stdin and what it answers arrives."""
    copy = await kit.launch()
    assert await copy.call("hello") == "hello"
    assert await copy.call("again") == "again"


@check
async def check_environment(kit: Kit) -> None:
    """The copy's environment holds what the function says, byte for byte, and nothing secret of hotfn's own."""
    copy = await kit.launch(env=ODD_VALUES)
    env = (await copy.report({"report": ["env"]}))["env"]
    for name, value in ODD_VALUES.items():
        assert env.get(name) == value, f"the environment has {name}={env.get(name)!r} instead of {value!r}"
    assert PRIVATE not in env, "the copy inherits the environment of hotfn"


@check
async def check_arguments(kit: Kit) -> None:
    """The command's arguments arrive one by one and unchanged."""
    odd = ("", "two words", "$HOME", "'\"", "--x=*", "ü")
    copy = await kit.launch(command=(*kit.guest.command, *odd))
    arrived = (await copy.report({"report": ["argv"]}))["argv"]
    assert tuple(arrived) == odd, f"the arguments {odd} arrived as {arrived}"


@check
async def check_ids(kit: Kit) -> None:
    """Every container is a Container with an id of its own."""
    copies = [await kit.launch(), await kit.launch()]
    for copy in copies:
        assert isinstance(copy.container, Container), f"launch returned {copy.container!r}"
        assert isinstance(copy.container.id, str), f"the id is {copy.container.id!r}, not a string"
    first, second = (copy.container.id for copy in copies)
    assert first, "the id is empty"
    assert first != second, f"two containers have the id {first}"


@check
async def check_missing_program(kit: Kit) -> None:
    """A program that does not exist is a DriverError that names it, and leaves nothing."""
    recorder = kit.recorder()
    try:
        await kit.driver.launch(kit.spec(command=(MISSING,)), recorder)
        message = ""
    except DriverError as error:
        message = error.message
    assert message, "launch did not raise"
    assert MISSING in message, f"the message does not name the program: {message}"
    await asyncio.sleep(0.2)
    assert recorder.exit is None, "exited was called although launch raised"
    await kit.gone("the failed launch")


@check
async def check_cancelled_launch(kit: Kit) -> None:
    """A cancelled launch leaves nothing behind and never reports an exit."""
    await kit.ready()
    kit.must_see()
    await kit.stopped(kit.copies.pop(), 0)
    for delay in DELAYS:
        await _cancel_launch(kit, delay)
        await kit.gone(f"the launch that was cancelled after {delay:g} s")


async def _cancel_launch(kit: Kit, delay: float) -> None:
    recorder = Recorder()
    task = asyncio.ensure_future(kit.driver.launch(kit.spec(), recorder))
    await asyncio.sleep(delay)
    if task.done():
        await task.result().stop(0)
        return
    task.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await (await task).stop(0)  # it was faster than the cancellation
        return
    await asyncio.sleep(0.2)
    assert recorder.exit is None, "exited was called although launch was cancelled"


@check
async def check_several_at_once(kit: Kit) -> None:
    """Several launches and copies at once do not disturb each other."""
    copies = await asyncio.gather(*(kit.launch(env={"CHECK_NUMBER": str(number)}) for number in range(6)))
    reports = await asyncio.gather(*(copy.report({"report": ["env"]}) for copy in copies))
    assert [report["env"]["CHECK_NUMBER"] for report in reports] == list("012345"), "copies are mixed up"
    assert len({copy.container.id for copy in copies}) == len(copies), "copies share an id"
    await asyncio.gather(*(kit.stopped(copy, 5) for copy in copies))


@check
async def check_validate(kit: Kit) -> None:
    """`validate` accepts the guest, and refuses an unknown option with a ConfigError that names it."""
    kit.driver.validate(kit.function())
    options = dict(kit.guest.options) | {"no_such_option": 1}
    try:
        kit.driver.validate(kit.function(driver_options=options))
        message = ""
    except ConfigError as error:
        message = error.message
    assert message, "an unknown option is accepted"
    assert "no_such_option" in message, f"the message does not name the option: {message}"


@check
async def check_sweep(kit: Kit) -> None:
    """`sweep` spares the living copies of a living runtime, and what is not hotfn's."""
    copy = await kit.ready()
    stranger = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)  # noqa: ASYNC220
    try:
        removed = await kit.driver.sweep()
        assert isinstance(removed, int), f"sweep returned {removed!r}, not a number"
        assert await copy.call("alive?") == "alive?", "the copy was swept away"
        assert stranger.poll() is None, "sweep killed a process that is not hotfn's"
    finally:
        stranger.kill()
        stranger.communicate()


@check
async def check_closing(kit: Kit) -> None:
    """`aclose` may be called again; no task, no descriptor and no process is left."""
    await _first_stream()
    tasks = asyncio.all_tasks()
    descriptors = _descriptors()
    copies = [await kit.ready() for _ in range(3)]
    kit.must_see()
    for copy in copies:
        await kit.stopped(copy, 5)
    await kit.driver.aclose()
    await kit.driver.aclose()
    await kit.gone("the driver")
    left = asyncio.all_tasks() - tasks
    assert not left, f"the driver left {len(left)} tasks: {left}"
    more = _descriptors() - descriptors
    assert more <= 0, f"the driver left {more} file descriptors open"


async def _first_stream() -> None:
    """Have a stream come and go: some loops open a descriptor with their first one and keep it as long as they live."""
    ours, theirs = socket.socketpair()
    _, writer = await asyncio.open_connection(sock=ours)
    writer.close()
    await writer.wait_closed()
    theirs.close()


def _descriptors() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


@check
async def check_limits(kit: Kit) -> None:
    """A memory limit that the driver says it enforces is enforced."""
    enforces = type(kit.driver).enforces
    assert enforces <= {"memory", "cpus"}, f"enforces names unknown limits: {set(enforces)}"
    if "memory" not in enforces:
        raise Unsupported("this driver enforces no memory limit")
    copy = await kit.launch(memory=256)
    copy.send({"memory": 1024})
    await copy.until(lambda: copy.recorder.exit is not None or b"\n" in copy.recorder.out, "an answer")
    if copy.recorder.exit is None:
        assert json.loads(await copy.reply())["errors"], "a copy limited to 256 MB took 1024 MB"


@check
async def check_freezing(kit: Kit) -> None:
    """A frozen copy does nothing, and goes on where it was when thawed."""
    copy = await kit.ready()
    await kit.freeze(copy)
    before = len(copy.recorder.out)
    copy.send("frozen?")
    await asyncio.sleep(0.3)
    assert len(copy.recorder.out) == before, "a frozen copy answered"
    await copy.container.thaw()
    assert await copy.reply() == "frozen?"
    for _ in range(3):
        await kit.freeze(copy)
        await copy.container.thaw()
    assert await copy.call("again?") == "again?"
