"""`python tests/benchmarks [--guard]`: measures hotfn against its bounds and against its peers.

Prints two Markdown tables: what each call took, and the ratios with their bounds. `--guard` ends with status 1 when a
bound is missed. docs/developing.md says how that is decided, and why hot calls are judged on one cpu.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import sys
import tempfile
from importlib.metadata import version
from pathlib import Path
from typing import Any

from verdict import Bound, Times, Verdict, bounds_table, judge, times_table

HERE = Path(__file__).parent
MOST_TRIES = 3  # a bound that is not clearly held is measured again, with the rounds before it counted in

ONE, ALL = "one cpu", "all cpus"
UVLOOP, ASYNCIO, POOL, PING = "hotfn, uvloop", "hotfn, asyncio", "Pool", "ping-pong"
BOUNDS = [
    Bound("hot", ONE, UVLOOP, PING, "<=", 3.5),
    Bound("hot", ONE, POOL, UVLOOP, ">=", 8, held=4.5),
    Bound("hot", ONE, ASYNCIO, PING, "<=", 10),
    Bound("parallel", ALL, "Pool, 8 callers", UVLOOP, ">=", 6, held=3),
    Bound("parallel", ALL, "Pool, all at once", UVLOOP, ">=", 6, held=2.5),
    Bound("blocking", ONE, POOL, "hotfn", ">=", 3, held=2),
    Bound("cold http", ONE, UVLOOP, "Popen", "<=", 1.3, held=2.2),
    Bound("cold default", ONE, UVLOOP, "Popen", "<=", 1.3, held=1.9),
    Bound("import", ONE, "import hotfn_core", "import asyncio, pluggy", "<=", 1.5),
    Bound("version", ONE, "hotfn --version", "import asyncio, click, pluggy", "<=", 1.5),
]
# What is measured for the reader alone: the same with whatever cpu the kernel likes, and the other way round.
REPORTED = [("hot", ALL), ("blocking", ALL), ("parallel", ONE), ("cold http", ALL), ("cold default", ALL)]


def build(folder: Path) -> Path:
    """Compile the guest."""
    guest = folder / "guest"
    subprocess.run(["cc", "-O2", "-Wall", "-o", guest, HERE / "guest.c"], check=True)
    return guest


def measure(case: str, cpus: str, guest: Path, rounds: int) -> dict[str, list[float]]:
    """Measure a case in a process of its own, on one cpu (the last, which has the fewest interrupts) or on all."""
    argv: list[str | Path] = [sys.executable, HERE / "measure.py", case, "--guest", guest, "--rounds", str(rounds)]
    if cpus == ONE:
        argv += ["--cpu", str(max(os.sched_getaffinity(0)))]
    found = subprocess.run(argv, check=True, stdout=subprocess.PIPE, timeout=300)
    times: dict[str, list[float]] = json.loads(found.stdout)
    return times


def run(guest: Path, rounds: int, *, reported: bool) -> dict[tuple[str, str], dict[str, list[float]]]:
    """Measure every case once, and again those of which a bound does not clearly hold."""
    wanted = list(dict.fromkeys((bound.case, bound.cpus) for bound in BOUNDS))
    measured = {}
    for case, cpus in [*wanted, *(REPORTED if reported else [])]:
        print(f"measuring: {case}, {cpus}", file=sys.stderr)
        measured[case, cpus] = measure(case, cpus, guest, rounds)
    for _ in range(MOST_TRIES - 1):
        for key in dict.fromkeys(
            (bound.case, bound.cpus) for bound, _, verdict in judged(measured) if verdict in {"near", "MISS"}
        ):
            print(f"measuring again: {key[0]}, {key[1]}", file=sys.stderr)
            for who, values in measure(*key, guest, rounds).items():
                measured[key][who] += values
    return measured


def judged(measured: dict[tuple[str, str], dict[str, list[float]]]) -> list[tuple[Bound, list[float], Verdict]]:
    """Return every bound with its ratios and what they say."""
    found = []
    for bound in BOUNDS:
        ratios = bound.ratios(measured[bound.case, bound.cpus])
        found.append((bound, ratios, judge(bound, ratios)))
    return found


def machine() -> dict[str, Any]:
    """Return where and with what the numbers were made."""
    packages = ("hotfn-core", "uvloop", "httptools", "pluggy", "click")
    return {
        "python": platform.python_version(),
        "kernel": platform.release(),
        "cpu": cpu_model(),
        "cpus": len(os.sched_getaffinity(0)),
        **{name: version(name) for name in packages},
    }


def cpu_model() -> str:
    """Return the kernel's name for the first cpu."""
    lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    return next((line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), platform.machine())


def as_json(measured: dict[tuple[str, str], dict[str, list[float]]]) -> dict[str, Any]:
    """Return everything that was measured, round by round, and what it was judged to be."""
    return {
        "machine": machine(),
        "seconds per call": [{"case": case, "cpus": cpus, "times": times} for (case, cpus), times in measured.items()],
        "bounds": [
            bound._asdict() | {"ratios": ratios, "verdict": verdict} for bound, ratios, verdict in judged(measured)
        ],
    }


def main() -> int:
    """Measure, print, and judge."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--guard", action="store_true", help="end with status 1 when a bound is missed; leave out the rest"
    )
    parser.add_argument("--rounds", type=int, default=41, help="rounds of each case (41)")
    parser.add_argument("--json", type=Path, help="write every round to this file")
    parser.add_argument("--markdown", type=Path, help="write the tables to this file")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        measured = run(build(Path(folder)), options.rounds, reported=not options.guard)
    everything: dict[tuple[str, str], Times] = dict(measured)
    where = ", ".join(f"{name} {value}" for name, value in machine().items())
    text = f"{where}\n\n{times_table(everything)}\n\n{bounds_table(judged(measured))}\n"
    print(text)
    if options.json:
        options.json.write_text(json.dumps(as_json(measured), indent=1) + "\n", encoding="utf-8")
    if options.markdown:
        options.markdown.write_text(text, encoding="utf-8")
    return 1 if options.guard and any(verdict == "MISS" for _, _, verdict in judged(measured)) else 0


if __name__ == "__main__":
    sys.exit(main())
