"""The container driver `local`: every copy of a function is a subprocess in a session of its own."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

from hotfn_core.hookspecs import hookimpl

if TYPE_CHECKING:
    from hotfn_core.driver import Driver

__all__ = ["hotfn_register_drivers"]
__version__ = "0.1.0"


@hookimpl
def hotfn_register_drivers() -> Mapping[str, Callable[[], Driver]]:
    """Bring the driver `local`."""
    return {"local": _make}


def _make() -> Driver:
    from .driver import LocalDriver  # the hook is called for every command, the driver is needed by few

    return LocalDriver()
