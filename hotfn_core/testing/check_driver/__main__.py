"""`python -m hotfn_core.testing.check_driver NAME [CHECK...]`: check an installed driver and print the table."""

from __future__ import annotations

import argparse
import asyncio
import shlex
import sys

from hotfn_core.errors import ConfigError, did_you_mean
from hotfn_core.registry import Registry

from . import CHECKS, Guest, run_checks, table


def main() -> int:
    """Return 0 when no check failed."""
    parser = argparse.ArgumentParser(prog="python -m hotfn_core.testing.check_driver", description=__doc__)
    parser.add_argument("driver", help="the name of an installed driver")
    parser.add_argument("checks", nargs="*", help=f"some of: {', '.join(CHECKS)}")
    parser.add_argument("--image", default="", help="an image with the guest program")
    parser.add_argument("--command", help="the command that runs the guest, as a shell would split it")
    parser.add_argument("--patience", type=float, default=20.0, help="seconds that one step may take")
    args = parser.parse_args()
    command = tuple(shlex.split(args.command)) if args.command else Guest.command
    guest = Guest(image=args.image, command=command)
    registry = Registry()
    for name in args.checks:
        if name not in CHECKS:
            parser.error(f'there is no check "{name}"{did_you_mean(name, CHECKS)}')
    try:
        registry.driver(args.driver)
    except ConfigError as error:
        parser.error(error.message)
    outcomes = asyncio.run(
        run_checks(
            lambda: registry.driver(args.driver),
            guest=guest,
            only=args.checks,
            patience=args.patience,
            tell=lambda outcome: _say(table([outcome])),
        )
    )
    failed = sum(outcome.status == "FAILED" for outcome in outcomes)
    _say(f"{len(outcomes)} checks, {failed} failed")
    return 1 if failed else 0


def _say(text: str) -> None:
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
