"""One test of a function file: what it says, and whether an answer is what it expects. Pure."""

from __future__ import annotations

import difflib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from hotfn_core.errors import ConfigError, did_you_mean

_KEYS = ("name", "in", "out", "err", "env")


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """A call and what is expected of it.

    `out` is the whole reply: text or, when the file has a table or a list there, JSON; None when anything will do.
    `err` is a text that the error or the function's log must have, and makes a failed call the right one; None when
    the call must be answered.
    """

    name: str
    body: bytes
    out: Any
    err: str | None
    env: Mapping[str, str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """How a call ended. `error` is "" for one that was answered with a status below 400."""

    body: bytes
    error: str
    log: Sequence[str]


def cases(tests: Sequence[Mapping[str, Any]]) -> list[Case]:
    """Read the `tests` of a function file. Raises ConfigError."""
    return [_case(number, test) for number, test in enumerate(tests, 1)]


def _case(number: int, test: Mapping[str, Any]) -> Case:
    for key in test:
        if key not in _KEYS:
            raise _wrong(number, f'unknown key "{key}"{did_you_mean(str(key), _KEYS)}')
    env = test.get("env") or {}
    if not isinstance(env, Mapping):
        raise _wrong(number, "env must be a table")
    err = test.get("err")
    if err is not None and not isinstance(err, str):
        raise _wrong(number, f"err must be text, not {err!r}")
    return Case(
        name=str(test.get("name") or f"test {number}"),
        body=_text(test.get("in")).encode(),
        out=test.get("out"),
        err=err or None,
        env={str(name): _text(value) for name, value in env.items()},
    )


def _wrong(number: int, text: str) -> ConfigError:
    return ConfigError(f"tests: the {number}. test: {text}", field="tests")


def _text(value: Any) -> str:
    """Return what stands in the file as the text that it is meant to be: a table or a list is JSON."""
    if value is None:
        return ""
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def faults(case: Case, answer: Answer) -> Iterator[str]:
    """Yield what is wrong with the answer, line by line; nothing when it is as expected."""
    if case.err is None and answer.error:
        yield from _failure(answer)
        return
    if case.err is not None and case.err not in "\n".join([answer.error, *answer.log]):
        yield f"expected an error with {case.err!r}, got {answer.error or 'an answer'!r}"
    if case.out is not None and not _as_expected(case.out, answer.body):
        yield from _difference(case.out, answer.body)


def _failure(answer: Answer) -> Iterator[str]:
    """Yield the error, and what the function said that is not in it already."""
    first, *rest = answer.error.splitlines()
    yield f"failed: {_visible(first)}"
    yield from (f"  | {_visible(line)}" for line in (*rest, *(one for one in answer.log if one not in rest)))


def _visible(line: str) -> str:
    """Return a line with its control characters written out."""
    return line if line.isprintable() else repr(line)[1:-1]


def _as_expected(out: Any, body: bytes) -> bool:
    if isinstance(out, str):
        return body.decode("utf-8", "replace").removesuffix("\n") == out.removesuffix("\n")
    try:
        return bool(json.loads(body) == out)
    except ValueError:
        return False


def _difference(out: Any, body: bytes) -> Iterator[str]:
    """Yield the lines that differ, `-` for what was expected and `+` for what came."""
    expected, found = _text(out), body.decode("utf-8", "replace")
    if not isinstance(out, str):
        expected, found = _pretty(expected), _pretty(found)
    lines = difflib.unified_diff(expected.splitlines(), found.splitlines(), "expected", "found", lineterm="", n=2)
    yield from map(_visible, lines)


def _pretty(text: str) -> str:
    try:
        return json.dumps(json.loads(text), indent=2, ensure_ascii=False, sort_keys=True)
    except ValueError:
        return text
