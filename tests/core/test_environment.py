"""The environment of a copy: what the user says, what the protocol adds, and what nobody can override."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

from hotfn_core import FunctionSpec
from hotfn_core.environment import RESERVED, copy_environment, reserved
from hotfn_core.testing import FakeProtocol, fake_spec


class Loud(FakeProtocol):
    name: ClassVar[str] = "loud"

    def environment(self, spec: FunctionSpec) -> Mapping[str, str]:
        return {"LOUD": "protocol", "FN_FORMAT": "protocol"}


def test_the_reserved_variables_have_the_values_of_the_function() -> None:
    spec = fake_spec("thumb", app="shop", memory=256, cpus=0.5)
    assert reserved(spec) == {
        "FN_FORMAT": "fake",
        "FN_APP_NAME": "shop",
        "FN_PATH": "/thumb",
        "FN_FN_ID": spec.identity[:26],
        "FN_TYPE": "sync",
        "FN_MEMORY": "256",
        "FN_CPUS": "500m",
    }


def test_a_limit_that_was_not_asked_for_is_not_told() -> None:
    assert set(reserved(fake_spec())) == {"FN_FORMAT", "FN_APP_NAME", "FN_PATH", "FN_FN_ID", "FN_TYPE"}
    assert reserved(fake_spec(cpus=0.1))["FN_CPUS"] == "100m"
    assert reserved(fake_spec(cpus=1.9999))["FN_CPUS"] == "2000m"


def test_reserved_variables_cannot_be_overridden_by_anybody() -> None:
    evil = dict.fromkeys(RESERVED, "evil")
    for memory in (64, None):  # a limit that was not asked for is not told by anybody
        spec = fake_spec(env={**evil, "MINE": "1"}, memory=memory)
        env = copy_environment(spec, Loud(), evil)
        assert env["MINE"] == "1"
        assert {name: env[name] for name in RESERVED.intersection(env)} == reserved(spec)


def test_what_is_reserved_is_what_may_be_set() -> None:
    assert set(reserved(fake_spec(memory=64, cpus=0.5))) == RESERVED


def test_the_protocol_goes_over_the_call_and_the_call_over_the_user() -> None:
    spec = fake_spec(env={"LOUD": "user", "CALL": "user", "USER": "user"})
    env = copy_environment(spec, Loud(), {"LOUD": "call", "CALL": "call"})
    assert (env["LOUD"], env["CALL"], env["USER"]) == ("protocol", "call", "user")


def test_w22_every_copy_has_an_environment_of_its_own() -> None:
    spec = fake_spec(env={"A": "1"})
    first, second = copy_environment(spec, FakeProtocol(), {}), copy_environment(spec, FakeProtocol(), {})
    first["A"] = "changed"
    assert (second["A"], spec.env["A"]) == ("1", "1")
