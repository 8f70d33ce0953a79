"""Measures one case in a process of its own: `python measure.py CASE --rounds N [--cpu N]` prints JSON.

The contenders of a case take turns, a round each, so that whatever the machine does meanwhile happens to all of them.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from contextlib import ExitStack
from pathlib import Path

from cases import CASES, FEWER, SIZED, STUDIES, Entries, Sizes, entries_of


def measure(entries: Entries, guest: Path, rounds: int) -> dict[str, list[float]]:
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


def found(case: str, guest: Path, rounds: int, sizes: Sizes) -> dict[str, list[float]]:
    """Measure a case or make a study."""
    if case in STUDIES:
        study, size = STUDIES[case]
        return study(guest, rounds, size(sizes))
    return measure(entries_of(case, sizes), guest, max(3, rounds // FEWER.get(case, 1)))


def main() -> None:
    """Measure as the command line says."""
    parser = argparse.ArgumentParser()
    parser.add_argument("case", choices=[*CASES, *SIZED, *STUDIES])
    parser.add_argument("--guest", type=Path, required=True)
    parser.add_argument("--rounds", type=int, required=True)
    parser.add_argument("--cpu", type=int, help="the one cpu that this process and its children run on")
    parser.add_argument("--sizes", type=int, nargs=3, default=tuple(Sizes()), metavar=("FUNCTIONS", "COPIES", "CALLS"))
    options = parser.parse_args()
    if options.cpu is not None:
        os.sched_setaffinity(0, {options.cpu})  # before there are threads or children, which inherit it
    json.dump(found(options.case, options.guest, options.rounds, Sizes(*options.sizes)), sys.stdout)


if __name__ == "__main__":
    main()
