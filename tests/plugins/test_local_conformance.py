"""The driver `local` passes every check of the kit, on both event loops, and is found as any plugin is."""

from __future__ import annotations

import pytest

from hotfn_core.registry import Registry
from hotfn_core.testing.check_driver import CHECKS, Guest, check_driver
from hotfn_local.driver import LocalDriver

from .loops import LOOPS


@pytest.mark.parametrize("loop", LOOPS)
@pytest.mark.parametrize("name", CHECKS)
def test_conformance(name: str, loop: str) -> None:
    (outcome,) = check_driver(LocalDriver, only=[name], loop_factory=LOOPS[loop])
    assert outcome.status == "passed", outcome  # the driver can do all that is optional


@pytest.mark.parametrize("loop", LOOPS)
@pytest.mark.parametrize("name", CHECKS)
def test_conformance_with_a_zygote(name: str, loop: str) -> None:
    guest = Guest(options={"zygote": True})
    (outcome,) = check_driver(LocalDriver, guest=guest, only=[name], loop_factory=LOOPS[loop])
    assert outcome.status == "passed", outcome


def test_the_entry_point_brings_the_driver() -> None:
    registry = Registry()
    assert isinstance(registry.driver("local"), LocalDriver)
    (info,) = [plugin for plugin in registry.plugins if "local" in plugin.drivers]
    assert (info.distribution, info.problems) == ("hotfn-local", [])
