"""The labels of our containers, and whose containers may be removed by them."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hotfn_containers import labels
from hotfn_core.runtime import Runtime

OURS = labels.make("app/resize", "instance-1")


class TestMake:
    def test_they_name_runtime_host_boot_process_function_and_app(self) -> None:
        me = Runtime.current()
        assert labels.make("app/resize", "instance-1") == {
            "hotfn.runtime": me.runtime,
            "hotfn.host": me.host,
            "hotfn.boot": me.boot,
            "hotfn.pid": str(me.pid),
            "hotfn.started": str(me.started),
            "hotfn.pidns": me.pidns,
            "hotfn.app": "app",
            "hotfn.function": "resize",
            "hotfn.instance": "instance-1",
        }

    def test_the_mark_is_one_of_them(self) -> None:
        assert labels.MARK in OURS

    def test_all_of_one_process_have_the_same_runtime(self) -> None:
        assert labels.make("other/function", "")[labels.MARK] == OURS[labels.MARK]

    def test_names_are_what_engines_take_as_labels(self) -> None:
        assert all(re.fullmatch(r"[a-z][a-z.]*[a-z]", name) for name in OURS)


class TestFate:
    """W46."""

    @pytest.mark.parametrize(
        ("changed", "expected"),
        [
            ({}, "alive"),
            ({"hotfn.app": "another", "hotfn.instance": ""}, "alive"),
            ({"hotfn.runtime": "0123456789abcdef"}, "alive"),  # another runtime of a process that lives
            ({"hotfn.started": str(Runtime.current().started - 1)}, "dead"),  # the pid was another process's then
            ({"hotfn.pid": str(2**22)}, "dead"),
            ({"hotfn.boot": "an earlier one"}, "dead"),
            ({"hotfn.host": "another"}, "unknown"),
            ({"hotfn.host": "another", "hotfn.boot": "another"}, "unknown"),
            ({"hotfn.pidns": "1"}, "unknown"),  # its pid means another process there
            ({"hotfn.pid": ""}, "unknown"),
            ({"hotfn.pid": "-1"}, "unknown"),
            ({"hotfn.pid": "1e3"}, "unknown"),
            ({"hotfn.started": "then"}, "unknown"),
        ],
    )
    def test_w46_only_what_is_surely_dead_is_dead(self, changed: dict[str, str], expected: str) -> None:
        assert labels.fate_of(OURS | changed) == expected

    @pytest.mark.parametrize("lost", [name for name in OURS if name not in {f"hotfn.{one}" for one in labels.ABOUT}])
    def test_w46_a_runtime_that_lacks_a_label_is_unknown(self, lost: str) -> None:
        dead = OURS | {"hotfn.pid": str(2**22)}
        assert labels.fate_of({name: text for name, text in dead.items() if name != lost}) == "unknown"

    @pytest.mark.parametrize("lost", [f"hotfn.{one}" for one in labels.ABOUT])
    def test_w46_what_a_container_is_for_does_not_decide(self, lost: str) -> None:
        dead = OURS | {"hotfn.pid": str(2**22)}
        assert labels.fate_of({name: text for name, text in dead.items() if name != lost}) == "dead"

    def test_w46_labels_of_others_are_not_looked_at(self) -> None:
        plain = {name.removeprefix("hotfn."): text for name, text in OURS.items()}
        dead = plain | {"pid": str(2**22)}
        assert labels.fate_of(dead) == "unknown"
        assert labels.fate_of(OURS | dead) == "alive"
        assert labels.fate_of({f"com.example.{name}": text for name, text in OURS.items()}) == "unknown"

    @given(st.dictionaries(st.sampled_from(sorted(OURS)) | st.text(max_size=9), st.text(max_size=30)))
    def test_w46_no_damage_makes_it_fail_or_takes_a_stranger(self, damaged: dict[str, str]) -> None:
        assert labels.fate_of(damaged) in ("unknown", "alive")
        assert labels.fate_of(OURS | damaged | {"hotfn.host": "another"}) == "unknown"
