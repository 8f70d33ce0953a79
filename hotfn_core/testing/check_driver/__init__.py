"""Holds a container driver to its contract, whatever it runs functions in.

    check_driver(MyDriver)
    check_driver(MyDriver, guest=Guest(image="python:3-slim", command=("python3", "-c", guests.one_file())))

starts real copies of a guest program with it, in all ways that the contract speaks of, and raises ConformanceError
with a table of what went wrong. `run_checks` returns the outcomes instead; run as a program it prints them:

    python -m hotfn_core.testing.check_driver local
"""

from __future__ import annotations

from .kit import Copy, Guest, Kit, Unsupported
from .recorder import Recorder
from .registry import CHECKS, check
from .run import ConformanceError, Outcome, check_driver, run_checks, table

__all__ = [
    "CHECKS",
    "ConformanceError",
    "Copy",
    "Guest",
    "Kit",
    "Outcome",
    "Recorder",
    "Unsupported",
    "check",
    "check_driver",
    "run_checks",
    "table",
]
