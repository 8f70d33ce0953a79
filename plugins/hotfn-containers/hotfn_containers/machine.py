"""What an engine's machine can give, and what it can hold a copy to."""

from __future__ import annotations

from collections.abc import Iterator

from hotfn_core.errors import DriverError

from .engine import About
from .plan import Plan


def check_machine(plan: Plan, about: About) -> None:
    """Raise DriverError for what this engine cannot give or cannot hold a copy to."""
    if about.cpus and plan.cpus is not None and plan.cpus > about.cpus:
        raise DriverError(f"cpus is {plan.cpus:g}, and the engine's machine has {about.cpus}: lower cpus", status=400)
    if plan.best_effort:
        return
    for limit, way in _unheld(plan, about.lacks):
        raise DriverError(
            f"this engine cannot limit {limit} (`hotfn plugins` shows the engine): {way}, or let the function say "
            f"best_effort = true",
            status=400,
        )


def _unheld(plan: Plan, lacks: frozenset[str]) -> Iterator[tuple[str, str]]:
    """Yield the limits of a plan that nothing would enforce, and how to do without each."""
    if "memory" in lacks and plan.memory is not None:
        yield "memory", 'set driver_options memory = "unlimited" and no memory'
    if "cpus" in lacks and plan.cpus is not None:
        yield "cpus", "set no cpus"
    if "pids" in lacks and plan.options.max_processes is not None:
        yield "the number of processes", 'set driver_options max_processes = "unlimited"'
