"""What a test of a function file means, and what is said of an answer that is not as expected."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hotfn_core import ConfigError
from hotfn_core.cli.trial.case import Answer, Case, cases, faults


def only(**keys: Any) -> Case:
    (case,) = cases([keys])
    return case


def said(case: Case, body: bytes = b"", error: str = "", log: tuple[str, ...] = ()) -> list[str]:
    return list(faults(case, Answer(body=body, error=error, log=log)))


class TestReading:
    def test_all_of_it(self) -> None:
        case = only(**{"name": "n", "in": "body", "out": "reply", "err": "oh", "env": {"A": "1", "B": 2}})
        assert case == Case(name="n", body=b"body", out="reply", err="oh", env={"A": "1", "B": "2"})

    def test_nothing_of_it(self) -> None:
        assert only() == Case(name="test 1", body=b"", out=None, err=None, env={})

    def test_a_table_is_json(self) -> None:
        assert only(**{"in": {"a": [1, "\u00fc"]}}).body == '{"a": [1, "\u00fc"]}'.encode()

    @pytest.mark.parametrize(
        ("test", "text"),
        [
            ({"inn": "x"}, 'the 2. test: unknown key "inn"; did you mean "in"'),
            ({"err": 3}, "err must be text, not 3"),
            ({"env": ["A"]}, "env must be a table"),
        ],
    )
    def test_what_is_wrong_is_named(self, test: dict[str, Any], text: str) -> None:
        with pytest.raises(ConfigError) as caught:
            cases([{}, test])
        assert text in caught.value.message


class TestAnswers:
    @pytest.mark.parametrize("body", [b"hello", b"hello\n"])
    @pytest.mark.parametrize("out", ["hello", "hello\n"])
    def test_a_last_line_break_does_not_count(self, out: str, body: bytes) -> None:
        assert said(only(out=out), body) == []

    def test_a_second_one_does(self) -> None:
        assert said(only(out="hello"), b"hello\n\n") != []

    @given(out=st.text(max_size=20), body=st.text(max_size=20))
    def test_what_differs_is_told(self, out: str, body: str) -> None:
        assert bool(said(only(out=out), body.encode())) == (out.removesuffix("\n") != body.removesuffix("\n"))

    def test_a_difference_can_be_read(self) -> None:
        found = said(only(out="one\ntwo\nthree"), b"one\n2\nthree")
        assert found == ["--- expected", "+++ found", "@@ -1,3 +1,3 @@", " one", "-two", "+2", " three"]

    def test_json_is_compared_by_its_meaning(self) -> None:
        assert said(only(out={"a": 1, "b": [True, None]}), b'{"b":[true,null],\n"a":1}') == []
        assert '+  "a": 2' in said(only(out={"a": 1}), b'{"a":2}')
        assert said(only(out={"a": 1}), b"no json") != []

    def test_any_reply_will_do_where_none_is_expected(self) -> None:
        assert said(only(), b"whatever") == []

    def test_a_call_that_fails_is_told_with_the_log(self) -> None:
        assert said(only(out="x"), error="it died", log=("a", "b")) == ["failed: it died", "  | a", "  | b"]

    def test_what_the_error_says_already_is_not_told_twice(self) -> None:
        found = said(only(out="x"), error="it died:\na\x1b[2J\nb", log=("a\x1b[2J", "b", "c"))
        assert found == ["failed: it died:", "  | a\\x1b[2J", "  | b", "  | c"]

    @pytest.mark.parametrize(("error", "log"), [("it broke", ()), ("else", ("it broke",)), ("", ("it broke",))])
    def test_an_expected_error_may_be_in_the_log(self, error: str, log: tuple[str, ...]) -> None:
        assert said(only(err="broke"), error=error, log=log) == []

    def test_an_error_that_does_not_come_is_told(self) -> None:
        assert said(only(err="broke"), b"fine") == ["expected an error with 'broke', got 'an answer'"]

    def test_control_characters_are_shown_as_such(self) -> None:
        assert "+a\\x1b[2Jb" in said(only(out="ab"), b"a\x1b[2Jb")
