"""`python tests/benchmarks/parts.py`: where the time of a hot call goes, as a Markdown table. Takes some seconds.

Each part is measured by itself, on one cpu, in turns with the others; what is left of the call is hotfn's own steps
between them.
"""

from __future__ import annotations

import os
import statistics
import subprocess
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import uvloop
from contenders import BODY, BareLoop, Hot, PingPong

from hotfn_core import Call, FunctionSpec, Limits
from hotfn_core.registry import Registry
from hotfn_core.state import SupervisorState

ROUNDS = 41
"""Of each part."""
CALLS = 400
"""In a round."""


def protocol(name: str) -> Callable[[], None]:
    """Write a request and read its reply, as a copy's connection does."""
    connection = Registry().protocol(name).connect(Limits())
    text = BODY.decode()
    reply = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(BODY), BODY)
    if name == "json":
        reply = b'{"body":"%b"}\n' % text.encode()

    def step() -> None:
        connection.encode(Call("0" * 26, BODY), 2e9)
        connection.receive(reply)

    return step


def rules() -> Callable[[], None]:
    """Let a call arrive and end, for a function with a copy that is idle."""
    state = SupervisorState(FunctionSpec(name="echo", command=("echo",)))
    state.call_arrived(0.0, Call("first", BODY))
    state.copy_ready(0.0, 1)
    state.call_finished(0.0, 1)
    call, now = Call("0" * 26, BODY), 0.0

    def step() -> None:
        nonlocal now
        now += 1e-5
        state.call_arrived(now, call)
        state.call_finished(now, 1)

    return step


def per_call(step: Callable[[], None]) -> Callable[[int], float]:
    """Return what times so many steps."""

    def calls(count: int) -> float:
        begin = time.perf_counter()
        for _ in range(count):
            step()
        return (time.perf_counter() - begin) / count

    return calls


def measure(guest: Path) -> dict[str, float]:
    """Return the median microseconds of each part."""
    pingpong, bare, hot = PingPong(guest), BareLoop(guest, uvloop.new_event_loop), Hot(guest, uvloop.new_event_loop)
    parts = {
        "ping-pong": pingpong.calls,
        "bare uvloop": bare.calls,
        "hot": hot.calls,
        "http": per_call(protocol("http")),
        "json": per_call(protocol("json")),
        "rules": per_call(rules()),
    }
    times: dict[str, list[float]] = {name: [] for name in parts}
    for _ in range(ROUNDS):
        for name, calls in parts.items():
            times[name].append(calls(CALLS))
    for one in (pingpong, bare, hot):
        one.close()
    return {name: statistics.median(values) * 1e6 for name, values in times.items()}


def table(us: dict[str, float]) -> str:
    """Return the parts of a hot call."""
    loop = us["bare uvloop"] - us["ping-pong"]
    rest = us["hot"] - us["bare uvloop"] - us["http"] - us["rules"]
    rows = [
        ("two pipes, two context switches, the guest", us["ping-pong"], "what the blocking ping-pong takes"),
        ("the event loop", loop, "a future, a wake-up, `epoll`: bare uvloop with the same guest"),
        ("`http`: writing the request, reading the reply", us["http"], f"`json` takes {us['json']:.1f} us"),
        ("the rules", us["rules"], "`call_arrived`, `call_finished`"),
        ("manager, supervisor, instance, driver", rest, "all the rest"),
    ]
    lines = [f"| of a hot call of {us['hot']:.1f} us | us | share | |", "|---|---:|---:|---|"]
    lines += [f"| {what} | {spent:.1f} | {100 * spent / us['hot']:.0f} % | {why} |" for what, spent, why in rows]
    return "\n".join(lines)


if __name__ == "__main__":
    os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})
    with tempfile.TemporaryDirectory() as folder:
        guest = Path(folder) / "guest"
        subprocess.run(["cc", "-O2", "-o", guest, Path(__file__).with_name("guest.c")], check=True)
        print(table(measure(guest)))
