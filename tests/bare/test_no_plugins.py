"""The core by itself, as `pip install hotfn-core` leaves it. Run by the tox env `core` only, where no plugin is."""

from __future__ import annotations

import asyncio
import importlib.util
import json
import subprocess
import sys
from importlib.metadata import entry_points, packages_distributions

import pytest

from hotfn_core import ConfigError, FunctionSpec, Manager
from hotfn_core.registry import Registry


def test_no_plugin_is_registered() -> None:
    assert list(entry_points(group="hotfn")) == []
    registry = Registry()
    assert (registry.plugins, registry.drivers, registry.protocols) == ([], [], [])


@pytest.mark.parametrize("module", ["hotfn_local", "hotfn_protocols", "hotfn_containers"])
def test_no_plugin_can_be_imported(module: str) -> None:
    assert importlib.util.find_spec(module) is None


def test_no_other_distribution_of_the_family_is_there() -> None:
    names = {name for found in packages_distributions().values() for name in found}
    assert {name for name in names if name.startswith("hotfn")} == {"hotfn-core"}


@pytest.mark.parametrize("module", ["httptools", "msgspec", "orjson", "docker"])
def test_nothing_that_only_a_plugin_needs_is_installed(module: str) -> None:
    assert importlib.util.find_spec(module) is None


def test_a_call_says_what_is_missing() -> None:
    async def call() -> None:
        async with Manager() as manager:
            await manager.call(FunctionSpec(name="f", command=("cat",)), b"")

    with pytest.raises(ConfigError, match="no (driver|protocol) is installed"):
        asyncio.run(call())


def test_the_command_line_works() -> None:
    shown = subprocess.run(
        [sys.executable, "-m", "hotfn_core", "--version"], capture_output=True, text=True, check=True
    )
    assert "hotfn" in shown.stdout
    listed = subprocess.run(
        [sys.executable, "-m", "hotfn_core", "plugins", "--json"], capture_output=True, text=True, check=False
    )
    assert json.loads(listed.stdout) is not None
