"""The goals, and what is held of them. docs/developing.md says how a bound is judged."""

from __future__ import annotations

from bodies import SIZES
from cases import ALL, ONE
from verdict import Bound

KIB = 1024
POOL, PING, UVLOOP = "Pool", "ping-pong", "hotfn, uvloop"
LEAST_SPEED = {"1 KiB": 0.6, "64 KiB": 0.9, "1 MiB": 0.9, "16 MiB": 0.9}
"""The share of the bare pipe's bytes per second that a call must reach."""
HELD_BODIES = {"1 KiB": 8, "64 KiB": 6, "1 MiB": 1.5, "16 MiB": 1.8}

BOUNDS = [
    Bound("hot", ONE, UVLOOP, PING, "<=", 3.5, held=7),
    Bound("hot", ONE, "hotfn, asyncio", PING, "<=", 10),
    Bound("hot", ONE, POOL, UVLOOP, ">=", 8, held=4.5, guards=True),
    Bound("hot", ONE, POOL, "hotfn, asyncio", ">=", 3.5, guards=True),
    Bound("hot json", ONE, UVLOOP, PING, "<=", 4, held=8.5),
    Bound("hot json", ONE, POOL, UVLOOP, ">=", 3.4, guards=True),
    Bound("peers", ONE, "multiprocessing.Pool", "hotfn", ">=", 1, held=1),
    Bound("peers", ONE, "pebble", "hotfn", ">=", 8, held=4),
    Bound("peers", ONE, "loky", "hotfn", ">=", 15, held=4),
    Bound("peers", ONE, "functions-framework", "hotfn", ">=", 8, held=8),
    Bound("peers", ONE, "subprocess.run", "hotfn", ">=", 8, held=8),
    Bound("parallel", ALL, "Pool, 8 callers", UVLOOP, ">=", 6, held=3),
    Bound("parallel", ALL, "Pool, all at once", UVLOOP, ">=", 6, held=2.5),
    Bound("rate", ALL, "Pool, 64 callers", "hotfn, 64 callers", ">=", 6, held=3),
    Bound("rate", ALL, "Pool, all at once", "hotfn, 64 callers", ">=", 6, held=2.5),
    Bound("rate", ALL, "slowest of hotfn, N callers", "fastest of hotfn, N callers", "<=", 1.1, held=1.6, guards=True),
    Bound("blocking", ONE, POOL, "hotfn", ">=", 3, held=2.7, guards=True),
    *(
        Bound(
            "bodies",
            ONE,
            f"hotfn, {name}",
            f"bare pipe, {name}",
            "<=",
            round(1 / LEAST_SPEED[name], 3),
            held=HELD_BODIES[name],
            guards=name == "1 MiB",
        )
        for name in SIZES
    ),
    Bound("bodies", ONE, "hotfn, 64 KiB", "hotfn, 1 KiB", "<=", 6, guards=True),
    Bound("copies of a body", ONE, "request [bodies]", "", "<=", 2, guards=True),
    Bound("copies of a body", ONE, "reply [bodies]", "", "<=", 2.05, guards=True),
    Bound("copies of a body", ONE, "both, kept behind the call [bodies]", "", "<=", 0.05, guards=True),
    Bound("copies of a body", ONE, "many at once, for a copy [bodies]", "", "<=", 2.1, guards=True),
    Bound(
        "many functions",
        ONE,
        "most of called in turn: N functions",
        "called in turn: 1 functions",
        "<=",
        1.2,
        held=2.2,
        guards=True,
    ),
    Bound("many functions", ONE, "most of called again: 1 of N", "called in turn: 1 functions", "<=", 1.2, guards=True),
    Bound("memory of functions", ONE, "a registered spec [bytes]", "", "<=", 2 * KIB, held=3 * KIB),
    Bound(
        "memory of functions",
        ONE,
        "a supervisor with its idle copy, without the fake's own [bytes]",
        "",
        "<=",
        6 * KIB,
        held=8 * KIB,
    ),
    Bound("memory of functions", ONE, "a supervisor whose copy is gone [bytes]", "", "<=", 6 * KIB, held=8 * KIB),
    Bound("memory of functions", ONE, "cpu in 3 s of rest", "", "<=", 0.003),
    Bound("memory of functions", ONE, "wake-ups in 3 s of rest [times]", "", "<=", 0, held=3),
    Bound("many copies", ALL, "most of one caller, N copies", "one caller, 1 copies", "<=", 1.3),
    Bound("many copies", ALL, "most of a caller for each of N", "one caller, 1 copies", "<=", 1.3),
    Bound("memory of copies", ALL, "a hot copy [bytes]", "", "<=", 16 * KIB),
    Bound("many starts", ALL, "p99, while copies start", "p99, quiet", "<=", 2, held=60),
    Bound("fairness", ALL, "p50, beside a queue", "p50, alone", "<=", 1.5),
    Bound("fairness", ALL, "p99, beside a queue", "p99, alone", "<=", 1.5, held=6),
    Bound("fairness", ALL, "p50, beside a queue and a crash loop", "p50, alone", "<=", 1.5, held=3),
    Bound("fairness", ALL, "p99, beside a queue and a crash loop", "p99, alone", "<=", 1.5, held=8),
    Bound("cold http", ONE, UVLOOP, "Popen", "<=", 1.3, held=2.2),
    Bound("cold default", ONE, UVLOOP, "Popen", "<=", 1.3, held=1.9),
    Bound("cold Python", ALL, "zygote", "", "<=", 0.005, held=0.015),
    Bound("cold Python", ALL, "plain", "zygote", ">=", 10, held=5),
    Bound("socket", ONE, "http-stream", "http on stdin", "<=", 1.3, held=1.6),
    Bound("helper", ONE, "helper, http", "by hand, http", "<=", 1.6, held=1.3, guards=True),
    Bound("helper", ONE, "helper, json", "by hand, json", "<=", 1.6, held=1, guards=True),
    Bound("helper start", ONE, "beyond Python's own, http", "", "<=", 0.003),
    Bound("helper start", ONE, "beyond Python's own, json", "", "<=", 0.003),
    Bound("import", ONE, "import hotfn_core", "import asyncio, pluggy", "<=", 1.5),
    Bound("version", ONE, "hotfn --version", "import asyncio, click, pluggy", "<=", 1.5),
    Bound("long run", ONE, "latency, last fourth", "latency, second fourth", "<=", 1.1, held=1.25),
    Bound("long run", ONE, "growth of memory [bytes]", "", "<=", 256 * KIB),
    Bound("long run", ONE, "growth of descriptors [open]", "", "<=", 0),
    Bound("long run", ONE, "growth of tasks [alive]", "", "<=", 0),
]
# What is measured for the reader alone: the same with whatever cpu the kernel likes, and the other way round.
REPORTED = [
    ("hot", ALL),
    ("peers, two workers", ALL),
    ("bodies", ALL),
    ("blocking", ALL),
    ("parallel", ONE),
    ("cold http", ALL),
    ("cold default", ALL),
]
