"""The command `hotfn`. Each command is a module of its own and is imported when it is used."""

from __future__ import annotations

from collections.abc import Sequence

from .group import cli

__all__ = ["cli", "main"]


def main(args: Sequence[str] | None = None) -> None:
    """Run the command line and exit with its status."""
    cli.main(args, prog_name="hotfn")
