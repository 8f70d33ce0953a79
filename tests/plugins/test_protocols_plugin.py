"""How the protocols enter hotfn."""

from __future__ import annotations

import subprocess
import sys

import pytest

from hotfn_core.protocol import IOProtocol
from hotfn_core.registry import Registry
from hotfn_protocols import plugin


def test_they_come_by_the_entry_point() -> None:
    registry = Registry()
    assert {"default", "http", "json", "cloudevent"} <= set(registry.protocols)
    (info,) = [info for info in registry.plugins if info.distribution == "hotfn-protocols"]
    assert (info.name, info.problems) == ("protocols", [])
    assert info.protocols == ("default", "http", "json", "cloudevent")


@pytest.mark.parametrize(("name", "hot"), [("default", False), ("http", True), ("json", True), ("cloudevent", True)])
def test_each_is_made_by_its_name(name: str, hot: bool) -> None:
    protocol = Registry([plugin], entry_points=False).protocol(name)
    assert isinstance(protocol, IOProtocol)
    assert (protocol.name, protocol.hot) == (name, hot)


def test_no_parser_is_imported_before_it_is_needed() -> None:
    script = (
        "import sys, hotfn_protocols.plugin as p; p.hotfn_register_protocols();"
        "print([m for m in ('httptools', 'msgspec', 'hotfn_protocols.http') if m in sys.modules])"
    )
    told = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert told.stdout == "[]\n"
