"""`python tests/benchmarks [--quick] [--guard] [--page]`: measures hotfn against its bounds and against its peers.

Prints two Markdown tables: what each call took, and the ratios with their bounds. `--guard` ends with status 1 when
what is held was lost, and leaves out what has no bound. `--quick` takes less than a minute: the steadiest ratios,
fewer rounds, less of everything. `--page` writes docs/benchmarks.md anew, and its plots. docs/developing.md says how
it is decided what a miss is, and why hot calls are judged on one cpu.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import sys
import sysconfig
import tempfile
import time
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import page
from bounds import BOUNDS, REPORTED
from cases import CASES, ONE, SIZED, STUDIES, Sizes
from verdict import Bound, Times, Verdict, bounds_table, judge, times_table

HERE = Path(__file__).parent
MOST_TRIES = 3  # a bound that is not clearly held is measured again, with the rounds before it counted in
ROUNDS, QUICK_ROUNDS = 41, 15
SIZES, QUICK_SIZES, LONG = Sizes(), Sizes(functions=1000, copies=100, calls=20_000), 2_000_000
PACKAGES = ("hotfn-core", "uvloop", "httptools", "msgspec", "pluggy", "click", "pebble", "loky", "functions-framework")

Key = tuple[str, str]
Measured = dict[Key, dict[str, list[float]]]


def build(folder: Path) -> Path:
    """Compile the guest."""
    guest = folder / "guest"
    subprocess.run(["cc", "-O2", "-Wall", "-o", guest, HERE / "guest.c"], check=True)
    return guest


class Bench:
    """One run: what is measured, how often, and what came out."""

    def __init__(self, options: argparse.Namespace, guest: Path) -> None:
        self._guest = guest
        self._rounds: int = options.rounds or (QUICK_ROUNDS if options.quick else ROUNDS)
        self._sizes = QUICK_SIZES if options.quick else SIZES
        self._unclear = {"MISS"} if options.quick else {"near", "MISS"}
        if options.long:
            self._sizes = self._sizes._replace(calls=LONG)
        self._sizes = self._sizes._replace(**{name: getattr(options, name) for name in given(options)})
        self.bounds = [one for one in BOUNDS if (one.guards or not options.quick) and chosen(one.case, options.case)]
        bounded = [(bound.case, bound.cpus) for bound in self.bounds]
        reported = [] if options.guard or options.quick else [one for one in REPORTED if chosen(one[0], options.case)]
        self._keys = list(dict.fromkeys([*bounded, *reported]))
        self.measured: Measured = {}

    def run(self) -> None:
        """Measure every case once, and again those of which a bound does not clearly hold; the quick ones only when it
        looks like a miss."""
        for key in self._keys:
            self.measured[key] = self._measure(key, "measuring")
        for _ in range(MOST_TRIES - 1):
            unclear = [(bound.case, bound.cpus) for bound, _, verdict in self.judged() if verdict in self._unclear]
            for key in dict.fromkeys(unclear):
                for who, values in self._measure(key, "measuring again").items():
                    self.measured[key][who] += values

    def _measure(self, key: Key, what: str) -> dict[str, list[float]]:
        """Measure a case in a process of its own, on one cpu (the last: it has the fewest interrupts) or on all."""
        (case, cpus), begin = key, time.monotonic()
        argv: list[str | Path] = [sys.executable, HERE / "measure.py", case, "--guest", self._guest]
        argv += ["--rounds", str(self._rounds), "--sizes", *map(str, self._sizes)]
        if cpus == ONE:
            argv += ["--cpu", str(max(os.sched_getaffinity(0)))]
        found = subprocess.run(argv, check=True, stdout=subprocess.PIPE, timeout=1200)
        print(f"{what}: {case}, {cpus}: {time.monotonic() - begin:.1f} s", file=sys.stderr)
        times: dict[str, list[float]] = json.loads(found.stdout)
        return times

    def judged(self) -> list[tuple[Bound, list[float], Verdict]]:
        """Return every bound with its ratios and what they say."""
        found = []
        for bound in self.bounds:
            ratios = bound.ratios(self.measured[bound.case, bound.cpus])
            found.append((bound, ratios, judge(bound, ratios)))
        return found

    def as_json(self) -> dict[str, Any]:
        """Return everything that was measured, round by round, and what it was judged to be."""
        return {
            "machine": machine(),
            "measured": [{"case": case, "cpus": cpus, "times": times} for (case, cpus), times in self.measured.items()],
            "bounds": [
                bound._asdict() | {"ratios": ratios, "verdict": verdict} for bound, ratios, verdict in self.judged()
            ],
        }


def chosen(case: str, wanted: list[str] | None) -> bool:
    return wanted is None or case in wanted


def given(options: argparse.Namespace) -> list[str]:
    return [name for name in Sizes._fields if getattr(options, name) is not None]


def machine() -> dict[str, Any]:
    """Return where and with what the numbers were made."""
    return {
        "python": f"{platform.python_version()} ({how_built()})",
        "kernel": platform.release(),
        "cpu": cpu_model(),
        "cpus": len(os.sched_getaffinity(0)),
        **{name: found for name in PACKAGES if (found := installed(name))},
    }


def how_built() -> str:
    """Say whether Python itself was built to be fast, which is worth a third of a hot call."""
    options = sysconfig.get_config_var("CONFIG_ARGS") or ""
    return "built with optimizations" if "--enable-optimizations" in options else "built without optimizations"


def installed(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return ""


def cpu_model() -> str:
    """Return the kernel's name for the first cpu."""
    lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    return next((line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), platform.machine())


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--guard", action="store_true", help="end with status 1 when what is held was lost")
    parser.add_argument("--quick", action="store_true", help="only the steadiest ratios, in less than a minute")
    parser.add_argument("--long", action="store_true", help=f"make the long run with {LONG:,} calls: minutes")
    parser.add_argument("--case", action="append", choices=[*CASES, *SIZED, *STUDIES], help="only this one")
    parser.add_argument("--rounds", type=int, help=f"rounds of each case ({ROUNDS}; {QUICK_ROUNDS} with --quick)")
    parser.add_argument("--functions", type=int, help=f"of `many functions` ({SIZES.functions})")
    parser.add_argument("--copies", type=int, help=f"of `many copies`: four descriptors each ({SIZES.copies})")
    parser.add_argument("--calls", type=int, help=f"of the long run ({SIZES.calls})")
    parser.add_argument("--json", type=Path, help="write every round to this file")
    parser.add_argument("--markdown", type=Path, help="write the tables to this file")
    parser.add_argument("--page", action="store_true", help="write the tables and plots of docs/benchmarks.md anew")
    parser.add_argument("--from", dest="source", type=Path, help="with --page: do not measure, take this JSON file")
    return parser.parse_args()


def main() -> int:
    """Measure, print, and judge."""
    options = arguments()
    if options.source:
        page.write(json.loads(options.source.read_text(encoding="utf-8")))
        return 0
    with tempfile.TemporaryDirectory() as folder:
        bench = Bench(options, build(Path(folder)))
        bench.run()
    everything: dict[Key, Times] = dict(bench.measured)
    where = ", ".join(f"{name} {value}" for name, value in machine().items())
    text = f"{where}\n\n{times_table(everything)}\n\n{bounds_table(bench.judged())}\n"
    print(text)
    if options.json:
        options.json.write_text(json.dumps(bench.as_json(), indent=1) + "\n", encoding="utf-8")
    if options.markdown:
        options.markdown.write_text(text, encoding="utf-8")
    if options.page:
        page.write(bench.as_json())
    return 1 if options.guard and any(verdict == "MISS" for _, _, verdict in bench.judged()) else 0


if __name__ == "__main__":
    sys.exit(main())
