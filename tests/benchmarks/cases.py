"""What is measured: the contenders of each case, who take turns, and the studies, which keep their own time."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import bodies
import crowded
import helped
import longrun
import many
import peers
import uvloop
from contenders import (
    BareLoop,
    Blocking,
    BlockingPool,
    Cold,
    Command,
    Contender,
    Hot,
    PingPong,
    Pool,
    PoolCallers,
    PopenDefault,
    PopenHttp,
)

from hotfn_core.testing.guests import build_echo

HOTFN = str(Path(sys.executable).with_name("hotfn"))
ONE, ALL = "one cpu", "all cpus"
CALLERS = (2, 8, 64, 250, 1000)


class Sizes(NamedTuple):
    """How much of what there is much of."""

    functions: int = 10_000
    copies: int = 1_000
    calls: int = 200_000


class Entry(NamedTuple):
    """A contender: how it is made, and how many calls are a round of it.

    A round takes some milliseconds: long against the clock, short against what disturbs a machine, so that most rounds
    are not disturbed at all.
    """

    make: Callable[[Path], Contender]
    calls: int


Entries = dict[str, Entry]


def python(code: str) -> Entry:
    """Return a contender that starts Python for one line."""
    return Entry(lambda _: Command(sys.executable, "-c", code), 1)


def hot(calls: int, protocol: str = "http", **how: int) -> Entry:
    return Entry(lambda guest: Hot(guest, uvloop.new_event_loop, protocol, **how), calls)


def rate(_: Sizes) -> Entries:
    """Many callers on two copies: does their number matter?"""
    pools: Entries = {
        "Pool, 64 callers": Entry(lambda _: PoolCallers(2, uvloop.new_event_loop, callers=64), 320),
        "Pool, all at once": Entry(lambda _: Pool(2, at_once=True), 320),
    }
    hots = {f"hotfn, {count} callers": hot(max(1600, 10 * count), callers=count, copies=2) for count in CALLERS}
    return pools | hots


def bare(size: int, calls: int, *, kept: bool) -> Entry:
    return Entry(lambda guest: bodies.BarePipe(guest, size, kept=kept), calls)


def body(size: int, calls: int) -> Entry:
    return Entry(lambda guest: bodies.HotBody(guest, uvloop.new_event_loop, size), calls)


def sizes_of_bodies(_: Sizes) -> Entries:
    """Bodies both ways, for each size on a bare pipe and by a call."""
    entries: Entries = {}
    for (name, size), calls in zip(bodies.SIZES.items(), (200, 50, 4, 1), strict=True):
        entries |= {
            f"bare pipe, {name}": bare(size, calls, kept=True),
            f"bare pipe, overwritten, {name}": bare(size, calls, kept=False),
            f"hotfn, {name}": body(size, calls),
        }
    return entries


def powers(most: int) -> list[int]:
    """Return 1, 10, 100 and so on, and `most`."""
    return [*(10**power for power in range(len(str(most - 1)))), most]


def functions(count: int, *, turns: bool) -> Entry:
    return Entry(lambda _: many.Functions(count, turns=turns), 400)


def many_functions(sizes: Sizes) -> Entries:
    turns = {f"called in turn: {count:,} functions": functions(count, turns=True) for count in powers(sizes.functions)}
    return turns | {f"called again: 1 of {sizes.functions:,}": functions(sizes.functions, turns=False)}


def crowd(copies: int, calls: int, callers: int = 1) -> Entry:
    return Entry(lambda guest: many.Crowd(guest, uvloop.new_event_loop, copies, callers=callers), calls)


def many_copies(sizes: Sizes) -> Entries:
    crowds = {f"one caller, {count:,} copies": crowd(count, 200) for count in powers(sizes.copies)}
    most = sizes.copies
    return crowds | {f"a caller for each of {most:,}": crowd(most, 2 * most, callers=most)}


def cold(new_loop: Callable[[], asyncio.AbstractEventLoop], protocol: str) -> Entry:
    return Entry(lambda guest: Cold((str(guest),), new_loop, protocol), 5)


def cold_python(**driver_options: object) -> Entry:
    """Return a function in Python whose imports take most of its start."""
    command = (sys.executable, str(Path(__file__).with_name("cold_echo.py")))
    return Entry(lambda _: Cold(command, uvloop.new_event_loop, "http", **driver_options), 2)


def guest(code: str, protocol: str) -> Entry:
    """Return a hot function in Python."""
    return Entry(lambda _: helped.Guest(code, protocol), 200)


def echo(protocol: str) -> Entry:
    """Return the guest that is shipped, which also listens."""
    return Entry(lambda guest: Hot(Path(build_echo(guest.parent)), uvloop.new_event_loop, protocol), 300)


def start(protocol: str) -> Entry:
    return Entry(lambda _: helped.Start(protocol), 5)


CASES: dict[str, Entries] = {
    "hot": {
        "Pool": Entry(lambda _: Pool(1), 50),  # first, so that its workers are forked from a process without loops
        "ping-pong": Entry(PingPong, 500),
        "bare uvloop": Entry(lambda guest: BareLoop(guest, uvloop.new_event_loop), 400),
        "hotfn, uvloop": hot(300),
        "hotfn, asyncio": Entry(lambda guest: Hot(guest, asyncio.new_event_loop), 200),
    },
    "hot json": {
        "Pool": Entry(lambda _: Pool(1), 50),
        "ping-pong": Entry(lambda guest: PingPong(guest, "json"), 500),
        "hotfn, uvloop": hot(300, "json"),
    },
    "peers": {
        "multiprocessing.Pool": Entry(lambda _: peers.MultiprocessingPool(1), 50),
        "pebble": Entry(lambda _: peers.pebble(1), 50),
        "loky": Entry(lambda _: peers.loky(1), 30),
        "functions-framework": Entry(lambda _: peers.FunctionsFramework(), 10),
        "subprocess.run": Entry(peers.SubprocessRun, 5),
        "hotfn": hot(300),
    },
    "peers, two workers": {
        "multiprocessing.Pool": Entry(lambda _: peers.MultiprocessingPool(2, at_once=True), 160),
        "pebble": Entry(lambda _: peers.pebble(2, at_once=True), 100),
        "loky": Entry(lambda _: peers.loky(2, at_once=True), 100),
        "hotfn": hot(640, callers=64, copies=2),
    },
    "parallel": {
        "Pool, all at once": Entry(lambda _: Pool(2, at_once=True), 160),
        "Pool, 8 callers": Entry(lambda _: PoolCallers(2, uvloop.new_event_loop, callers=8), 160),
        "hotfn, uvloop": hot(480, callers=8, copies=2),
        "hotfn, asyncio": Entry(lambda guest: Hot(guest, asyncio.new_event_loop, callers=8, copies=2), 320),
    },
    "blocking": {
        "Pool": Entry(lambda _: Pool(1), 50),
        "hotfn": Entry(Blocking, 100),
        "hotfn, executor": Entry(lambda _: BlockingPool(), 50),
    },
    "cold http": {
        "Popen": Entry(PopenHttp, 5),
        "hotfn, uvloop": cold(uvloop.new_event_loop, "http"),
        "hotfn, asyncio": cold(asyncio.new_event_loop, "http"),
    },
    "cold default": {
        "Popen": Entry(PopenDefault, 5),
        "hotfn, uvloop": cold(uvloop.new_event_loop, "default"),
        "hotfn, asyncio": cold(asyncio.new_event_loop, "default"),
    },
    "cold Python": {
        "plain": cold_python(),
        "zygote": cold_python(zygote=True),
    },
    "socket": {
        "http on stdin": echo("http"),
        "http-stream": echo("http-stream"),
    },
    "helper": {
        f"{who}, {protocol}": guest(code, protocol)
        for protocol in helped.BY_HAND
        for who, code in (("by hand", helped.BY_HAND[protocol]), ("helper", helped.HELPED))
    },
    "helper start": {f"beyond Python's own, {protocol}": start(protocol) for protocol in helped.BY_HAND},
    "import": {
        "import asyncio, pluggy": python("import asyncio, pluggy"),
        "import hotfn_core": python("import hotfn_core"),
    },
    "version": {
        "import asyncio, click, pluggy": python("import asyncio, click, pluggy"),
        "hotfn --version": Entry(lambda _: Command(HOTFN, "--version"), 1),
    },
}
SIZED: dict[str, Callable[[Sizes], Entries]] = {
    "rate": rate,
    "bodies": sizes_of_bodies,
    "many functions": many_functions,
    "many copies": many_copies,
}
FEWER = {"rate": 3, "many copies": 2, "bodies": 2, "cold Python": 2, "import": 2, "version": 2}
"""Cases whose rounds are long: by how much there are fewer."""

Study = Callable[[Path, int, int], dict[str, list[float]]]
STUDIES: dict[str, tuple[Study, Callable[[Sizes], int]]] = {
    "copies of a body": (bodies.copies, lambda _: 0),
    "memory of functions": (many.functions, lambda sizes: sizes.functions),
    "memory of copies": (many.copies, lambda sizes: sizes.copies),
    "many starts": (crowded.starts, lambda sizes: sizes.copies),
    "fairness": (crowded.fairness, lambda _: 0),
    "long run": (longrun.long_run, lambda sizes: sizes.calls),
}


def entries_of(case: str, sizes: Sizes) -> Entries:
    return SIZED[case](sizes) if case in SIZED else CASES[case]
