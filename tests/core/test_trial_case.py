"""What a test of a function file means, and what is said of an answer that is not as expected."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hotfn_core import ConfigError, StderrLine
from hotfn_core.cli.trial.case import Answer, Case, cases, faults
from hotfn_core.cli.trial.trial import Log
from hotfn_core.config import load_config


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
            ({"env": {"A": None}}, "env: A must be text, not null"),
            ({"env": {"A": ["b"]}}, 'env: A must be text, not ["b"]'),
            ({"env": {"A": {"b": 1}}}, 'env: A must be text, not {"b": 1}'),
        ],
    )
    def test_what_is_wrong_is_named(self, test: dict[str, Any], text: str) -> None:
        with pytest.raises(ConfigError) as caught:
            cases([{}, test])
        assert text in caught.value.message


class TestTheFile:
    """What is written in the tests of a func.yaml, and what a test then has."""

    def read(self, folder: Path, *tests: str) -> list[Case]:
        path = folder / "func.yaml"
        listed = "".join(f"- {test}\n" for test in tests)
        path.write_text(f"name: f\ndriver: local\ncmd: cat\ntests:\n{listed}")
        return cases(load_config(path).tests["f"])

    @pytest.mark.parametrize("text", ["2026-01-01", "2026-13-45", "2026-01-01 10:00:00", "1.10", "yes", "12:30", "="])
    def test_a_text_is_what_is_written(self, text: str, tmp_path: Path) -> None:
        (case,) = self.read(tmp_path, f"{{name: {text}, in: {text}, err: {text}, env: {{A: {text}}}}}")
        assert case == Case(name=text, body=text.encode(), out=None, err=text, env={"A": text})

    @pytest.mark.parametrize(
        ("out", "means"),
        [
            ("2026-01-01", "2026-01-01"),
            ("{a: [2026-01-01, 1, true, null]}", {"a": ["2026-01-01", 1, True, None]}),
            ("{1: a, 2026-01-01: b, yes: c}", {"1": "a", "2026-01-01": "b", "yes": "c"}),
            (".nan", ".nan"),
            ("4", 4),
            ("true", True),
            ("null", None),
        ],
    )
    def test_a_reply_is_json_or_text(self, out: str, means: object, tmp_path: Path) -> None:
        (case,) = self.read(tmp_path, f"out: {out}")
        assert (case.out, type(case.out)) == (means, type(means))

    def test_a_table_as_body_may_have_dates(self, tmp_path: Path) -> None:
        (case,) = self.read(tmp_path, "in: {on: 2026-01-01}")
        assert case.body == b'{"on": "2026-01-01"}'

    @pytest.mark.parametrize("key", ["in", "out", "err", "name"])
    @pytest.mark.parametrize(("tag", "value"), [("!!binary", "aGk="), ("!!set", "{a, b}"), ("!mine", "x")])
    def test_what_is_no_json_and_no_text_is_refused(self, key: str, tag: str, value: str, tmp_path: Path) -> None:
        with pytest.raises(ConfigError) as caught:
            self.read(tmp_path, "in: x", f"{key}: {tag} {value}")
        assert f"func.yaml:6: tests: {tag} means nothing in a test" in caught.value.message

    @pytest.mark.parametrize("value", ["[b]", "{b: c}", "null", "~"])
    def test_a_variable_is_text(self, value: str, tmp_path: Path) -> None:
        with pytest.raises(ConfigError, match="the 1. test: env: A must be text"):
            self.read(tmp_path, f"env: {{A: {value}}}")


class TestAnswers:
    @pytest.mark.parametrize("body", [b"hello", b"hello\n"])
    @pytest.mark.parametrize("out", ["hello", "hello\n"])
    def test_a_last_line_break_does_not_count(self, out: str, body: bytes) -> None:
        assert said(only(out=out), body) == []

    def test_a_second_one_does(self) -> None:
        assert said(only(out="hello"), b"hello\n\n") != []

    @pytest.mark.parametrize("end", ["\r", "\r\n", "\f", "\v", "\x1c", "\x85", "\u2028", "\u2029"])
    def test_no_other_character_is_a_line_break(self, end: str) -> None:
        assert said(only(out="a\nb"), f"a{end}b".encode()) != []
        assert said(only(out="a"), f"a{end}".encode()) != []
        assert said(only(out=f"a{end}b"), f"a{end}b".encode()) == []

    def test_bytes_are_not_taken_for_others(self) -> None:
        assert said(only(out="\ufffd"), b"\xff") != []
        assert said(only(out="\\xff"), b"\xff") != []
        assert said(only(out="\udcff"), "\udcff".encode("utf-8", "surrogatepass")) == []

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
        assert said(only(out={"a": 1}), b"[" * 100_000) != []

    @pytest.mark.parametrize(
        ("out", "body"),
        [([True], "[1]"), ({"a": False}, '{"a": 0}'), ([1], "[true]"), (True, "1"), ([0], "[false]"), ([1], "[1, 2]")],
    )
    def test_json_has_types(self, out: object, body: str) -> None:
        assert said(only(out=out), body.encode()) != []

    @pytest.mark.parametrize(("out", "body"), [([1], "[1.0]"), ({"a": [{}]}, '{"a": [{}]}'), (True, "true\n")])
    def test_what_is_the_same_in_json(self, out: object, body: str) -> None:
        assert said(only(out=out), body.encode()) == []

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
        expected = "expected an error with 'broke', got "
        assert said(only(err="broke"), b"fine") == [f"{expected}status 200 with the reply 'fine'"]
        assert said(only(err="broke")) == [f"{expected}status 200 with an empty reply"]
        assert said(only(err="broke"), error="status 500: no") == [f"{expected}'status 500: no'"]
        assert said(only(err="broke"), b"x" * 501) == [f"{expected}status 200 with the reply '{'x' * 500}'..."]

    def test_the_log_is_told_with_what_is_wrong_and_not_without_end(self) -> None:
        assert said(only(out="a"), b"b", log=("x\x1b", "y"))[-2:] == ["  | x\\x1b", "  | y"]
        assert said(only(err="broke"), b"b", log=("x",))[1:] == ["  | x"]
        assert said(only(out="a"), b"a", log=("x",)) == []
        shown = [line for line in said(only(out="a"), b"b", log=tuple(map(str, range(60)))) if line[:4] == "  | "]
        assert (len(shown), shown[:2], shown[-1]) == (51, ["  | ... 10 lines before", "  | 10"], "  | 59")

    def test_control_characters_are_shown_as_such(self) -> None:
        assert "+a\\x1b[2Jb" in said(only(out="ab"), b"a\x1b[2Jb")


class TestTheLog:
    def test_it_is_that_of_one_call(self) -> None:
        log = Log()
        for call in ("test-1", "test-2"):
            log.begin(call)
            for said in ("test-1", "test-2", ""):
                log.hotfn_stderr_line(StderrLine("f", "i", said, f"{said} during {call}", truncated=False))
        assert list(log.lines) == ["test-2 during test-2", " during test-2"]

    def test_it_is_bounded(self) -> None:
        log = Log()
        log.begin("c")
        for number in range(5000):
            log.hotfn_stderr_line(StderrLine("f", "i", "c", str(number), truncated=False))
        assert (len(log.lines), log.lines[-1]) == (1000, "4999")
