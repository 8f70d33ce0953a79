"""The command line of the set-up: `python tests/engines up`."""

from __future__ import annotations

import argparse
import subprocess
import sys
from pathlib import Path

from . import packages
from .engine import CommandFailed, EngineFailed
from .sets import EngineSet, default_directory, remove_orphans

_ABOUT = (
    "Docker and podman of their own for the tests, in one directory. Needs root, and Debian to install what is missing."
)


def main() -> int:
    """Do what the arguments say and return the status to exit with."""
    arguments = _parser().parse_args()
    try:
        engines = EngineSet(arguments.directory or default_directory())
        return {"up": _up, "down": _down, "status": _status}[arguments.what](engines)
    except (packages.Missing, EngineFailed, CommandFailed) as error:
        print(f"engines: {error}", file=sys.stderr)
    except subprocess.CalledProcessError as error:
        print(f"engines: {' '.join(map(str, error.cmd))} ended with {error.returncode}", file=sys.stderr)
    return 1


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser("python tests/engines", description=_ABOUT)
    parser.add_argument("what", choices=["up", "down", "status"], help="start what does not run; take all down; look")
    parser.add_argument("--directory", type=Path, help="where they live (default: HOTFN_ENGINES, or one for each user)")
    return parser


def _up(engines: EngineSet) -> int:
    packages.install()
    engines.up()
    for key, value in (engines.environment() | {"HOTFN_ENGINES": str(engines.directory)}).items():
        print(f"export {key}={value}")
    return 0


def _down(engines: EngineSet) -> int:
    engines.down()
    remove_orphans()
    return 0


def _status(engines: EngineSet) -> int:
    for engine in engines.engines.values():
        if engine.answers():
            print(f"{engine.name} {engine.version()} pid {engine.pid} {engine.host} containers {len(engine.ps())}")
        else:
            print(f"{engine.name} does not run in {engine.directory}")
    return 0 if engines.is_up() else 1
