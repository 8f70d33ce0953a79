"""Resource limits that hold from the program's first instruction.

Setting them on a running process comes too late, and Python code between fork and exec is unsafe where there are
threads. So a small program sets them on itself and becomes the function: prlimit(1) of util-linux, a Python where
there is none.
"""

from __future__ import annotations

import os
import resource
import shutil
import sys
from collections.abc import Sequence
from functools import cache

from hotfn_core.errors import DriverError

from .options import Limit

Limits = Sequence[tuple[Limit, int]]

_SHIM = """
import os, resource, signal, sys
path, limits, argv = sys.argv[1], sys.argv[2], sys.argv[3:]
for part in limits.split(","):
    name, soft, hard = part.split(":")
    resource.setrlimit(getattr(resource, "RLIMIT_" + name.upper()), (int(soft), int(hard)))
for number in (signal.SIGPIPE, signal.SIGXFSZ):  # Python ignores them, and a program would inherit that
    signal.signal(number, signal.SIG_DFL)
try:
    os.execv(path, argv)
except OSError as error:
    os.write(2, f"{path}: {error.strerror}\\n".encode())
    os._exit(126)
"""


def check(limits: Limits) -> None:
    """Raise DriverError for a limit above the one that hotfn itself is under: limits can only be lowered."""
    for limit, value in limits:
        _, hard = resource.getrlimit(_constant(limit))
        if hard != resource.RLIM_INFINITY and value + limit.soft_gap > hard:
            raise DriverError(
                f"a limit of {value} {limit.unit} is above the {hard} that hotfn itself is under; "
                "lower it, or raise the hard limit of hotfn (`ulimit`, LimitNOFILE= and the like)"
            )


def wrap(path: str, argv: Sequence[str], limits: Limits) -> tuple[str, list[str]]:
    """Return the program and the arguments that set `limits` and then become `path` with `argv`."""
    prlimit = find_prlimit()
    if prlimit:
        flags = [f"--{limit.resource}={value}:{value + limit.soft_gap}" for limit, value in limits]
        return prlimit, ["prlimit", *flags, "--", path, *argv[1:]]
    text = ",".join(f"{limit.resource}:{value}:{value + limit.soft_gap}" for limit, value in limits)
    return sys.executable, [sys.executable, "-I", "-S", "-c", _SHIM, path, text, *argv]


@cache
def find_prlimit() -> str | None:
    """Return the path of prlimit(1), looked up in hotfn's own PATH; None where there is none."""
    return shutil.which("prlimit", path=os.environ.get("PATH", "") + ":/usr/bin:/bin")


def _constant(limit: Limit) -> int:
    return int(getattr(resource, "RLIMIT_" + limit.resource.upper()))
