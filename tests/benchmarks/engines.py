"""`python tests/benchmarks/engines.py [--guard] [--engine docker]`: the drivers for containers against their engines.

Starts a Docker and a podman of its own (root, Debian; see tests/engines), measures hotfn and the bare API of the same
engine in turns, and prints two Markdown tables like those of the other benchmarks.
"""

from __future__ import annotations

import argparse
import importlib
import json
import subprocess
import sys
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any, NamedTuple

import uvloop
from contenders import Contender
from crowd import crowd
from engine_contenders import (
    BareCold,
    BareFrozen,
    BareHot,
    EngineCold,
    EngineFrozen,
    EngineHot,
    EngineListening,
    EnginePrepared,
    Where,
)
from verdict import Bound, Times, Verdict, bounds_table, judge, times_table

ENGINES = ("docker", "podman")
HOTFN, BARE, READY, STREAM = "hotfn", "bare API", "hotfn, prepared", "hotfn, http-stream"
MOST_MEMORY = 50 * 1024
"""Bytes of hotfn's own memory for each hot container."""


class Entry(NamedTuple):
    """A contender, and how many calls are a round of it."""

    make: Callable[[Where], Contender]
    calls: int


CASES: dict[str, dict[str, Entry]] = {
    "hot": {
        BARE: Entry(BareHot, 200),
        HOTFN: Entry(lambda where: EngineHot(where, uvloop.new_event_loop), 200),
        STREAM: Entry(lambda where: EngineListening(where, uvloop.new_event_loop), 200),
    },
    "cold": {
        BARE: Entry(BareCold, 1),
        HOTFN: Entry(lambda where: EngineCold(where, uvloop.new_event_loop), 1),
        READY: Entry(lambda where: EnginePrepared(where, uvloop.new_event_loop), 1),
    },
    "frozen": {
        BARE: Entry(BareFrozen, 2),
        HOTFN: Entry(lambda where: EngineFrozen(where, uvloop.new_event_loop), 2),
    },
}
BOUNDS = [
    *(Bound("hot", name, HOTFN, BARE, "<=", 1.5) for name in ENGINES),
    *(Bound("hot", name, STREAM, HOTFN, "<=", 1.0) for name in ENGINES),
    *(Bound("cold", name, HOTFN, BARE, "<=", 1.15) for name in ENGINES),
    Bound("cold", "podman", READY, BARE, "<=", 0.334),
    *(Bound("frozen", name, HOTFN, BARE, "<=", 1.5) for name in ENGINES),
]
Measured = dict[tuple[str, str], dict[str, list[float]]]


def measure(case: str, where: Where, rounds: int) -> dict[str, list[float]]:
    """Measure a case in a process of its own."""
    argv = [sys.executable, __file__, "--one", case, "--where", json.dumps(where), "--rounds", str(rounds)]
    found = subprocess.run(argv, check=True, stdout=subprocess.PIPE, timeout=600)
    times: dict[str, list[float]] = json.loads(found.stdout)
    return times


def turns(case: str, where: Where, rounds: int) -> dict[str, list[float]]:
    """Return the seconds of one call, round by round, for every contender of a case."""
    with ExitStack() as stack:
        contenders = {}
        for name, entry in CASES[case].items():
            contenders[name] = contender = entry.make(where)
            stack.callback(contender.close)
            contender.calls(entry.calls)  # warm
        times: dict[str, list[float]] = {name: [] for name in contenders}
        for _ in range(rounds):
            for name, contender in contenders.items():
                times[name].append(contender.calls(CASES[case][name].calls))
        return times


def judged(measured: Measured) -> list[tuple[Bound, list[float], Verdict]]:
    """Return every bound of what was measured, with its ratios and what they say."""
    found = []
    for bound in BOUNDS:
        if (bound.case, bound.cpus) in measured:
            ratios = bound.ratios(measured[bound.case, bound.cpus])
            found.append((bound, ratios, judge(bound, ratios)))
    return found


def engine_set() -> Any:
    """Return a set of engines for this run, started."""
    sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
    sets = importlib.import_module("engines.setup.sets")
    sets.remove_orphans()
    return sets.own_set()


def run(options: argparse.Namespace) -> int:
    """Measure everything that was asked for, print, and judge."""
    measured: Measured = {}
    crowds: dict[str, dict[str, float]] = {}
    engines = engine_set()
    try:
        engines.up()
        for name in options.engine or ENGINES:
            one = engines.engines[name]
            where = Where(name, str(one.socket), one.image_echo)
            for case in CASES:
                print(f"measuring: {case}, {name}", file=sys.stderr)
                measured[case, name] = measure(case, where, options.rounds)
            print(f"measuring: {options.crowd} containers, {name}", file=sys.stderr)
            crowds[name] = crowd(where, options.crowd)
    finally:
        engines.down()
    times: dict[tuple[str, str], Times] = dict(measured)
    text = f"{times_table(times)}\n\n{bounds_table(judged(measured))}\n\n{crowd_table(crowds)}\n"
    print(text)
    if options.json:
        found = [{"case": case, "engine": name, "times": one} for (case, name), one in measured.items()]
        options.json.write_text(json.dumps({"times": found, "crowds": crowds}, indent=1) + "\n", encoding="utf-8")
    if options.markdown:
        options.markdown.write_text(text, encoding="utf-8")
    missed = any(verdict == "MISS" for _, _, verdict in judged(measured))
    heavy = any(one["failed"] or one["bytes per container"] > MOST_MEMORY for one in crowds.values())
    return 1 if options.guard and (missed or heavy) else 0


def crowd_table(crowds: dict[str, dict[str, float]]) -> str:
    """Return what many hot containers cost as a Markdown table."""
    lines = [
        "| engine | containers | calls | failed | calls/s | hotfn's memory for each | bound |",
        "|---|---:|---:|---:|---:|---:|---|",
    ]
    for name, one in crowds.items():
        memory = f"{one['bytes per container'] / 1024:.1f} KiB"
        numbers = f"{one['containers']:.0f} | {one['calls']:.0f} | {one['failed']:.0f} | {one['calls per second']:.0f}"
        lines.append(f"| {name} | {numbers} | {memory} | <= {MOST_MEMORY // 1024} KiB |")
    return "\n".join(lines)


def main() -> int:
    """Measure as the command line says."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--guard", action="store_true", help="end with status 1 when a bound is missed")
    parser.add_argument("--engine", action="append", choices=ENGINES, help="only this one")
    parser.add_argument("--rounds", type=int, default=21, help="rounds of each case (21)")
    parser.add_argument("--crowd", type=int, default=200, help="hot containers at the same time (200)")
    parser.add_argument("--json", type=Path, help="write every round to this file")
    parser.add_argument("--markdown", type=Path, help="write the tables to this file")
    parser.add_argument("--one", choices=CASES, help=argparse.SUPPRESS)
    parser.add_argument("--where", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.one:
        json.dump(turns(options.one, Where(*json.loads(options.where)), options.rounds), sys.stdout)
        return 0
    return run(options)


if __name__ == "__main__":
    sys.exit(main())
