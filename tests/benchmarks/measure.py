"""Measures one case in a process of its own: `python measure.py CASE --rounds N [--cpu N]` prints JSON.

The contenders of a case take turns, a round each, so that whatever the machine does meanwhile happens to all of them.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import sys
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import NamedTuple

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

HOTFN = str(Path(sys.executable).with_name("hotfn"))


class Entry(NamedTuple):
    """A contender: how it is made, and how many calls are a round of it.

    A round takes some milliseconds: long against the clock, short against what disturbs a machine, so that most rounds
    are not disturbed at all.
    """

    make: Callable[[Path], Contender]
    calls: int


def python(code: str) -> Entry:
    """Return a contender that starts Python for one line."""
    return Entry(lambda _: Command(sys.executable, "-c", code), 1)


CASES: dict[str, dict[str, Entry]] = {
    "hot": {
        "Pool": Entry(lambda _: Pool(1), 50),  # first, so that its workers are forked from a process without loops
        "ping-pong": Entry(PingPong, 500),
        "bare uvloop": Entry(lambda guest: BareLoop(guest, uvloop.new_event_loop), 400),
        "hotfn, uvloop": Entry(lambda guest: Hot(guest, uvloop.new_event_loop), 300),
        "hotfn, asyncio": Entry(lambda guest: Hot(guest, asyncio.new_event_loop), 200),
    },
    "parallel": {
        "Pool, all at once": Entry(lambda _: Pool(2, at_once=True), 160),
        "Pool, 8 callers": Entry(lambda _: PoolCallers(2, uvloop.new_event_loop, callers=8), 160),
        "hotfn, uvloop": Entry(lambda guest: Hot(guest, uvloop.new_event_loop, callers=8, copies=2), 480),
        "hotfn, asyncio": Entry(lambda guest: Hot(guest, asyncio.new_event_loop, callers=8, copies=2), 320),
    },
    "blocking": {
        "Pool": Entry(lambda _: Pool(1), 50),
        "hotfn": Entry(Blocking, 100),
        "hotfn, executor": Entry(lambda _: BlockingPool(), 50),
    },
    "cold http": {
        "Popen": Entry(PopenHttp, 5),
        "hotfn, uvloop": Entry(lambda guest: Cold(guest, uvloop.new_event_loop, "http"), 5),
        "hotfn, asyncio": Entry(lambda guest: Cold(guest, asyncio.new_event_loop, "http"), 5),
    },
    "cold default": {
        "Popen": Entry(PopenDefault, 5),
        "hotfn, uvloop": Entry(lambda guest: Cold(guest, uvloop.new_event_loop, "default"), 5),
        "hotfn, asyncio": Entry(lambda guest: Cold(guest, asyncio.new_event_loop, "default"), 5),
    },
    "import": {
        "import asyncio, pluggy": python("import asyncio, pluggy"),
        "import hotfn_core": python("import hotfn_core"),
    },
    "version": {
        "import asyncio, click, pluggy": python("import asyncio, click, pluggy"),
        "hotfn --version": Entry(lambda _: Command(HOTFN, "--version"), 1),
    },
}


def measure(entries: dict[str, Entry], guest: Path, rounds: int) -> dict[str, list[float]]:
    """Return the seconds of one call, round by round, for every contender."""
    with ExitStack() as stack:
        contenders = {}
        for name, entry in entries.items():
            contenders[name] = contender = entry.make(guest)
            stack.callback(contender.close)
            contender.calls(max(1, entry.calls // 2))  # warm: the copy is started, the caches are full
        times: dict[str, list[float]] = {name: [] for name in entries}
        for _ in range(rounds):
            for name, contender in contenders.items():
                times[name].append(contender.calls(entries[name].calls))
        return times


def main() -> None:
    """Measure as the command line says."""
    parser = argparse.ArgumentParser()
    parser.add_argument("case", choices=CASES)
    parser.add_argument("--guest", type=Path, required=True)
    parser.add_argument("--rounds", type=int, required=True)
    parser.add_argument("--cpu", type=int, help="the one cpu that this process and its children run on")
    options = parser.parse_args()
    if options.cpu is not None:
        os.sched_setaffinity(0, {options.cpu})  # before there are threads or children, which inherit it
    json.dump(measure(CASES[options.case], options.guest, options.rounds), sys.stdout)


if __name__ == "__main__":
    main()
