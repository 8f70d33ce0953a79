"""The drivers `docker` and `podman` pass every check of the kit, unchanged, and are found as any plugin is."""

from __future__ import annotations

import asyncio

import pytest
import uvloop

from hotfn_containers.drivers import DockerDriver, PodmanDriver
from hotfn_core.registry import Registry
from hotfn_core.testing.check_driver import CHECKS, Guest, check_driver

from .calling import GUEST
from .setup import Engine

DRIVERS = {"docker": DockerDriver, "podman": PodmanDriver}

ON_ASYNCIO = ("bytes", "last_words_of_a_paused_copy", "closing")
"""Checks that run on asyncio's own loop as well: one of each way in which the loops differ."""

UNSEEN = {"closed_stdout"}
"""What engines do not tell: a connection has both outputs, and the init process holds them open beside the program."""


def conform(engine: Engine, name: str, loop_factory: type[asyncio.AbstractEventLoop]) -> None:
    # The guests of some checks take more than the 128 MB that a copy has when nothing else is said.
    guest = Guest(image=engine.image_python, command=GUEST, options={"memory": "unlimited"})
    (outcome,) = check_driver(DRIVERS[engine.name], guest=guest, only=[name], loop_factory=loop_factory)
    assert outcome.status == ("not supported" if name in UNSEEN else "passed"), outcome


@pytest.mark.parametrize("name", CHECKS)
def test_conformance(engine: Engine, name: str) -> None:
    conform(engine, name, uvloop.Loop)


@pytest.mark.parametrize("name", ON_ASYNCIO)
def test_conformance_on_asyncio(engine: Engine, name: str) -> None:
    conform(engine, name, asyncio.SelectorEventLoop)


@pytest.mark.parametrize("name", DRIVERS)
def test_the_entry_point_brings_the_driver(name: str) -> None:
    registry = Registry()
    assert isinstance(registry.driver(name), DRIVERS[name])
    (info,) = [plugin for plugin in registry.plugins if name in plugin.drivers]
    assert (info.distribution, info.problems) == ("hotfn-containers", [])
