"""FunctionSpec: what is legal, what its identity depends on, what it keeps to itself. Calls, replies, exits."""

from __future__ import annotations

import copy
import dataclasses
import enum
import math
import pickle
from collections.abc import Mapping
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hotfn_core import Call, ConfigError, Exit, FunctionSpec, Headers, Reply
from hotfn_core.checks import NUMBERS
from hotfn_core.model import FIELD_NAMES

STABLE = "48b24109eb96daa33f4215989d3eaecdc6129242c793489c9eb51051fd3ff351"

# One legal value for every field, each different from the default.
OTHER: dict[str, Any] = {
    "name": "other",
    "app": "shop",
    "driver": "docker",
    "image": "alpine:3",
    "command": ("cat", "-u"),
    "format": "http",
    "env": {"A": "1"},
    "headers": {"X-A": "1"},
    "memory": 64,
    "cpus": 0.5,
    "timeout": 1.0,
    "idle_timeout": 0.0,
    "queue_timeout": 2.0,
    "start_timeout": 3.0,
    "stop_grace": 0.0,
    "max_concurrency": 2,
    "min_instances": 1,
    "max_queue": 0,
    "max_calls": 10,
    "freeze_after": 2.0,
    "max_age": 60.0,
    "max_request": 1000,
    "max_response": 1001,
    "driver_options": {"workdir": "/tmp"},
    "best_effort": True,
}


def spec(**fields: Any) -> FunctionSpec:
    return FunctionSpec(**({"name": "f", "command": ("cat",)} | fields))


def refused(**fields: Any) -> ConfigError:
    with pytest.raises(ConfigError) as caught:
        spec(**fields)
    return caught.value


class TestDefaults:
    def test_a_function_needs_a_name_and_something_to_run(self) -> None:
        with pytest.raises(ConfigError, match="needs a name") as caught:
            FunctionSpec(command=("cat",))  # type: ignore[call-arg]
        assert caught.value.field == "name"
        with pytest.raises(ConfigError, match="needs a command or an image; both are empty") as caught:
            FunctionSpec(name="f")
        assert caught.value.field == "command"
        assert FunctionSpec(name="f", image="alpine").command == ()

    def test_w28_the_defaults_keep_a_copy_for_half_a_minute(self) -> None:
        made = spec()
        assert (made.idle_timeout, made.timeout, made.queue_timeout, made.start_timeout) == (30.0, 30.0, 30.0, 30.0)
        assert (made.max_concurrency, made.min_instances, made.max_queue) == (1, 0, 1024)
        assert (made.driver, made.format, made.full_name) == ("local", "default", "default/f")
        assert spec(idle_timeout=0).idle_timeout == 0.0

    def test_the_table_of_this_file_covers_every_field(self) -> None:
        assert set(OTHER) == set(FIELD_NAMES)
        assert all(getattr(spec(), name) != value for name, value in OTHER.items())


class TestNumbers:
    @pytest.mark.parametrize("name", NUMBERS)
    def test_both_ends_of_the_range_are_legal(self, name: str) -> None:
        rule = NUMBERS[name]
        many = {"max_concurrency": 10_000} if name == "min_instances" else {}
        for value in (rule.low, rule.high):
            number = int(value) if rule.whole else value
            made = getattr(spec(**many | {name: number}), name)
            assert made == number
            assert type(made) is (int if rule.whole else float)

    @pytest.mark.parametrize("name", NUMBERS)
    def test_one_step_outside_is_refused_with_field_value_and_limit(self, name: str) -> None:
        rule = NUMBERS[name]
        step = 1 if rule.whole else 1e-4
        for value in (rule.low - step, rule.high + 1):
            number = int(value) if rule.whole else value
            error = refused(**{name: number})
            assert error.field == name
            assert name in error.message
            assert repr(number) in error.message
            assert f"from {rule.low:g} to {rule.high:.10g}" in error.message
            assert rule.unit in error.message

    @pytest.mark.parametrize("name", NUMBERS)
    @pytest.mark.parametrize("value", ["5", math.nan, math.inf, True, [1], 1j], ids=repr)
    def test_what_is_no_number_is_refused(self, name: str, value: object) -> None:
        error = refused(**{name: value})
        assert error.field == name
        assert repr(value) in error.message

    @pytest.mark.parametrize("name", NUMBERS)
    def test_none_means_no_limit_only_where_that_exists(self, name: str) -> None:
        if NUMBERS[name].optional:
            assert getattr(spec(**{name: None}), name) is None
        else:
            assert "not None" in refused(**{name: None}).message

    def test_a_count_is_whole(self) -> None:
        assert "a whole number of MB" in refused(memory=1.5).message

    def test_numbers_of_other_types_become_plain_ones(self) -> None:
        class Size(enum.IntEnum):
            SMALL = 64

        assert type(spec(memory=Size.SMALL).memory) is int
        assert spec(timeout=5).identity == spec(timeout=5.0).identity
        assert spec(idle_timeout=-0.0).identity == spec(idle_timeout=0).identity

    def test_no_more_copies_are_kept_than_may_exist(self) -> None:
        error = refused(min_instances=3, max_concurrency=2)
        assert error.field == "min_instances"
        assert error.message == "min_instances is 3, more than max_concurrency, 2"


class TestText:
    @pytest.mark.parametrize("label", ["app", "name", "driver", "format"])
    @pytest.mark.parametrize("value", ["", "-x", ".x", "a/b", "a b", "ü", "a\n", "x" * 129, None, 3], ids=repr)
    def test_a_name_is_plain(self, label: str, value: object) -> None:
        error = refused(**{label: value})
        assert error.field == label
        assert repr(value) in error.message
        assert "1 to 128 letters" in error.message

    def test_a_name_may_be_128_letters_long(self) -> None:
        assert spec(name="x" * 128).name == "x" * 128

    @pytest.mark.parametrize("value", ["cat -u", b"cat", 3, None, {"cat": 1}], ids=repr)
    def test_a_command_is_argv_and_never_a_shell_line(self, value: object) -> None:
        error = refused(command=value)
        assert error.field == "command"
        assert "no shell" in error.message

    @pytest.mark.parametrize("value", [["a\0b"], ["a", 3], ["\ud800"], [b"cat"]], ids=repr)
    def test_an_argument_is_text_that_the_system_takes(self, value: list[object]) -> None:
        error = refused(command=value)
        assert error.field == "command"
        assert repr(value[-1]) in error.message

    def test_a_command_may_hold_undecodable_bytes_and_empty_arguments(self) -> None:
        assert spec(command=["cat", "\udcff", ""]).command == ("cat", "\udcff", "")

    def test_a_command_does_not_start_with_nothing(self) -> None:
        assert refused(command=[""]).message == "command starts with an empty string"

    @pytest.mark.parametrize("value", [3, None, "a\0b"], ids=repr)
    def test_an_image_is_text(self, value: object) -> None:
        error = refused(image=value)
        assert error.field == "image"
        assert repr(value) in error.message

    @pytest.mark.parametrize("value", [1, "yes", None], ids=repr)
    def test_best_effort_is_true_or_false(self, value: object) -> None:
        error = refused(best_effort=value)
        assert error.field == "best_effort"
        assert repr(value) in error.message


class TestTables:
    @pytest.mark.parametrize("label", ["env", "headers", "driver_options"])
    @pytest.mark.parametrize("value", [["A=1"], "A=1", None, {1: "x"}, {None: "x"}], ids=repr)
    def test_a_table_has_string_keys(self, label: str, value: object) -> None:
        error = refused(**{label: value})
        assert error.field == label
        assert "must be a table with string keys" in error.message

    @pytest.mark.parametrize("name", ["", "1A", "A-B", "A=B", "A B", "Ü", "A\n"], ids=repr)
    def test_a_variable_has_a_name_that_a_shell_could_set(self, name: str) -> None:
        error = refused(env={name: "x"})
        assert error.field == "env"
        assert repr(name) in error.message

    @pytest.mark.parametrize("value", [3, None, "a\0b", "\ud800"], ids=repr)
    def test_the_value_of_a_variable_is_text_that_the_system_takes(self, value: object) -> None:
        error = refused(env={"TOKEN": value})
        assert error.field == "env"
        assert "TOKEN" in error.message

    @pytest.mark.parametrize("name", ["", "a b", "a:", "ü", "a\r\n"], ids=repr)
    def test_a_header_has_a_name_that_http_allows(self, name: str) -> None:
        error = refused(headers={name: "x"})
        assert error.field == "headers"
        assert repr(name) in error.message

    @pytest.mark.parametrize("value", [3, None, "a\r\nb", "a\0"], ids=repr)
    def test_a_header_is_one_line(self, value: object) -> None:
        error = refused(headers={"X-A": value})
        assert error.field == "headers"
        assert repr(value) in error.message

    @pytest.mark.parametrize(
        "value", [{"a": {1, 2}}, {"a": math.nan}, {"a": object}, {"a": {1: 2}}, {"a": {1: 2, "1": 3}}], ids=repr
    )
    def test_driver_options_hold_what_a_file_can_hold(self, value: dict[str, object]) -> None:
        error = refused(driver_options=value)
        assert error.field == "driver_options"
        assert "strings, numbers, lists and tables only" in error.message

    def test_driver_options_that_contain_themselves_are_refused(self) -> None:
        loop: dict[str, object] = {}
        loop["self"] = loop
        assert refused(driver_options=loop).field == "driver_options"


class TestSecrets:
    SECRET = "hunter2"

    @pytest.mark.parametrize("fields", [{"env": {"TOKEN": SECRET}}, {"driver_options": {"auth": {"token": SECRET}}}])
    def test_a_secret_is_in_no_repr(self, fields: dict[str, Any]) -> None:
        assert self.SECRET not in repr(spec(**fields))
        assert self.SECRET not in str(spec(**fields))

    @pytest.mark.parametrize(
        "fields",
        [
            {"env": {"TOKEN": SECRET + "\0"}},
            {"env": ["TOKEN=" + SECRET]},
            {"env": {"TOKEN": SECRET, 1: "x"}},
            {"driver_options": [SECRET]},
            {"driver_options": {"token": SECRET, "bad": {1}}},
        ],
        ids=repr,
    )
    def test_a_secret_is_in_no_message(self, fields: dict[str, Any]) -> None:
        assert self.SECRET not in str(refused(**fields))

    def test_bodies_and_headers_are_in_no_repr(self) -> None:
        call = Call("c1", self.SECRET.encode(), (("Authorization", self.SECRET),))
        reply = Reply(200, Headers([("Set-Cookie", self.SECRET)]), self.SECRET.encode(), call_id="c1")
        assert self.SECRET not in repr(call) + repr(reply)
        assert repr(call) == "Call('c1', POST '/', 7 bytes)"
        assert repr(reply) == "Reply(200, 7 bytes, call 'c1')"


class TestUnknownFields:
    @pytest.mark.parametrize(
        ("wrong", "right"),
        [("idle_timout", "idle_timeout"), ("max_concurency", "max_concurrency"), ("memroy", "memory")],
    )
    def test_a_near_miss_is_named_with_what_was_meant(self, wrong: str, right: str) -> None:
        error = refused(**{wrong: 1})
        assert error.field == wrong
        assert error.message == f'a function has no field "{wrong}"; did you mean "{right}"?'

    def test_nonsense_gets_no_suggestion(self) -> None:
        assert refused(xyzzy=1).message == 'a function has no field "xyzzy"'

    def test_the_identity_is_not_given_but_computed(self) -> None:
        assert refused(identity="0" * 64).field == "identity"


class TestIdentity:
    @pytest.mark.parametrize("name", FIELD_NAMES)
    def test_w20_each_field_alone_makes_another_function(self, name: str) -> None:
        before = spec()
        after = before.replace(**{name: OTHER[name]})
        assert after.identity != before.identity
        assert after != before
        assert after.replace(**{name: getattr(before, name)}) == before

    @pytest.mark.parametrize("name", ["env", "headers", "driver_options"])
    def test_w20_the_order_of_keys_makes_none(self, name: str) -> None:
        there = spec(**{name: {"A": "1", "B": "2"}})
        back = spec(**{name: {"B": "2", "A": "1"}})
        assert there == back
        assert hash(there) == hash(back)
        assert there.identity == back.identity

    @pytest.mark.parametrize("name", ["env", "headers", "driver_options"])
    def test_w20_one_value_in_a_table_makes_another_function(self, name: str) -> None:
        assert spec(**{name: {"A": "1"}}) != spec(**{name: {"A": "2"}})

    def test_w21_two_fields_that_join_to_the_same_text_differ(self) -> None:
        assert spec(name="yofoo", image="ze-yo") != spec(name="yofo", image="oze-yo")
        assert spec(command=("a", "bc")) != spec(command=("ab", "c"))
        assert spec(command=("a", "b")) != spec(command=("a b",))
        assert spec(env={"A": "1", "B": "2"}) != spec(env={"A": '1","B":"2'})

    def test_the_identity_is_a_sha256_and_stays_the_same_between_processes(self) -> None:
        # A change of this number makes every running copy another function: on purpose only.
        assert spec().identity == STABLE

    def test_lists_and_tuples_are_the_same_command(self) -> None:
        assert spec(command=["cat"]) == spec(command=("cat",))
        assert spec(driver_options={"a": [1]}) == spec(driver_options={"a": (1,)})

    def test_it_equals_no_stranger(self) -> None:
        assert spec() != "default/f"
        assert spec() in {spec()}


class TestFrozen:
    @pytest.mark.parametrize("name", [*FIELD_NAMES, "identity"])
    def test_no_field_can_be_set(self, name: str) -> None:
        with pytest.raises(dataclasses.FrozenInstanceError):
            setattr(spec(), name, OTHER.get(name))

    def test_w22_what_was_given_can_change_without_changing_it(self) -> None:
        env, options, command = {"A": "1"}, {"list": [1], "table": {"x": 1}}, ["cat"]
        made = spec(env=env, driver_options=options, command=command)
        identity = made.identity
        env["A"] = "2"
        options["list"].append(2)  # type: ignore[attr-defined]
        options["table"]["x"] = 2  # type: ignore[index]
        command.append("-u")
        assert (made.env, made.command) == ({"A": "1"}, ("cat",))
        assert made.as_dict()["driver_options"] == {"list": [1], "table": {"x": 1}}
        assert made.replace().identity == identity

    def test_b31_what_it_hands_out_cannot_be_changed(self) -> None:
        made = spec(env={"A": "1"}, headers={"X": "1"}, driver_options={"table": {"x": 1}})
        for table in (made.env, made.headers, made.driver_options, made.driver_options["table"]):
            assert isinstance(table, Mapping)
            with pytest.raises(TypeError):
                table["new"] = "x"  # type: ignore[index]

    def test_as_dict_is_a_copy_that_makes_the_same_function(self) -> None:
        made = FunctionSpec(**OTHER)
        fields = made.as_dict()
        assert FunctionSpec(**fields) == made
        fields["env"]["A"] = "2"
        fields["driver_options"]["x"] = 1
        assert made.as_dict() != fields

    def test_replace_checks_like_the_constructor(self) -> None:
        assert spec().replace(timeout=1).timeout == 1.0
        with pytest.raises(ConfigError, match="out of range"):
            spec().replace(timeout=-1)
        with pytest.raises(ConfigError, match="no field"):
            spec().replace(timeuot=1)
        assert dataclasses.replace(spec(env={"A": "1"}), timeout=1.0) == spec(env={"A": "1"}, timeout=1)

    @pytest.mark.parametrize(
        "through",
        [copy.copy, copy.deepcopy, *(lambda x, n=n: pickle.loads(pickle.dumps(x, n)) for n in range(2, 6))],
    )
    def test_it_can_be_copied_and_pickled(self, through: Any) -> None:
        made = FunctionSpec(**OTHER)
        again = through(made)
        assert again == made
        assert again.as_dict() == made.as_dict()

    @given(
        env=st.dictionaries(st.from_regex(r"[A-Za-z_][A-Za-z0-9_]{0,5}", fullmatch=True), st.text("ab\n=ü\udcff")),
        options=st.dictionaries(
            st.text(max_size=5),
            st.recursive(
                st.none()
                | st.booleans()
                | st.integers()
                | st.floats(allow_nan=False, allow_infinity=False)
                | st.text(),
                lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
                max_leaves=8,
            ),
            max_size=4,
        ),
    )
    def test_any_table_survives_the_round_trip(self, env: dict[str, str], options: dict[str, Any]) -> None:
        made = spec(env=env, driver_options=options)
        assert made.as_dict()["env"] == env
        assert made.as_dict()["driver_options"] == options
        assert pickle.loads(pickle.dumps(made)) == made == FunctionSpec(**made.as_dict())


class TestExit:
    @pytest.mark.parametrize(
        ("exit", "text"),
        [
            (Exit(code=3), "exited with code 3"),
            (Exit(code=0), "exited with code 0"),
            (Exit(signal=9), "was killed by signal 9"),
            (Exit(code=137, oom=True), "ran out of memory and was killed"),
            (Exit(signal=9, oom=True, memory=64), "ran out of memory, limit 64 MB, and was killed"),
            (Exit(code=3, oom=True, memory=64), "ran out of memory, limit 64 MB, and exited with code 3"),
            (Exit(signal=11, oom=True), "ran out of memory and was killed by signal 11"),
            (Exit(code=3, memory=64), "exited with code 3"),
            (Exit(), "was lost"),
            (Exit(detail="engine restarted"), "was lost (engine restarted)"),
        ],
    )
    def test_it_reads_as_the_end_of_a_sentence(self, exit: Exit, text: str) -> None:
        assert str(exit) == text
