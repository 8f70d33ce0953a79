"""The hooks: each one is written down, typed and known under its name."""

from __future__ import annotations

import inspect
from types import FunctionType

import pluggy
import pytest

import hotfn_core
from hotfn_core import hookspecs
from hotfn_core.registry import OBSERVER_HOOKS

HOOKS: dict[str, FunctionType] = {name: hook for name, hook in vars(hookspecs).items() if name.startswith("hotfn_")}


def test_every_hook_is_marked_and_no_other_function_is() -> None:
    manager = pluggy.PluginManager("hotfn")
    manager.add_hookspecs(hookspecs)
    assert {name for name in vars(manager.hook) if not name.startswith("_")} == set(HOOKS)


@pytest.mark.parametrize("name", HOOKS)
def test_every_hook_says_what_it_is_for_and_is_typed(name: str) -> None:
    assert len(inspect.getdoc(HOOKS[name]) or "") > 20
    signature = inspect.signature(HOOKS[name])
    assert signature.return_annotation is not inspect.Signature.empty
    assert all(one.annotation is not inspect.Parameter.empty for one in signature.parameters.values())


def test_a_hook_registers_or_observes_or_adds_commands() -> None:
    registering = {name for name in HOOKS if name.startswith("hotfn_register_")}
    assert set(HOOKS) == registering | set(OBSERVER_HOOKS)


def test_what_an_observer_is_given_can_be_imported_from_the_package() -> None:
    given = {
        parameter.annotation
        for name in OBSERVER_HOOKS
        for parameter in inspect.signature(HOOKS[name]).parameters.values()
    }
    assert given == {"CallReport", "InstanceChange", "StderrLine"}
    assert given <= set(hotfn_core.__all__)
