"""One test of a function file: what it says, and whether an answer is what it expects. Pure."""

from __future__ import annotations

import difflib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from hotfn_core.errors import ConfigError, did_you_mean

_KEYS = ("name", "in", "out", "err", "env")
_MOST_LINES = 50  # of the log that are shown, the last ones
_MOST_TEXT = 500  # characters of an error or a reply in one line


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
    """How a call ended. `error` is "" for one that was answered with a status below 400. `log` is what the function
    said meanwhile."""

    body: bytes
    error: str
    log: Sequence[str]
    status: int = 200


def cases(tests: Sequence[Mapping[str, Any]]) -> list[Case]:
    """Read the `tests` of a function file. Raises ConfigError."""
    return [_case(number, test) for number, test in enumerate(tests, 1)]


def _case(number: int, test: Mapping[str, Any]) -> Case:
    for key in test:
        if key not in _KEYS:
            raise _wrong(number, f'unknown key "{key}"{did_you_mean(str(key), _KEYS)}')
    err = test.get("err")
    if err is not None and not isinstance(err, str):
        raise _wrong(number, f"err must be text, not {err!r}")
    return Case(
        name=str(test.get("name") or f"test {number}"),
        body=_text(test.get("in")).encode(),
        out=test.get("out"),
        err=err or None,
        env=_env(number, test.get("env") or {}),
    )


def _env(number: int, env: Any) -> dict[str, str]:
    if not isinstance(env, Mapping):
        raise _wrong(number, "env must be a table")
    for name, value in env.items():
        if value is None or isinstance(value, Mapping | list | tuple):
            raise _wrong(number, f"env: {name} must be text, not {'null' if value is None else _text(value)}")
    return {str(name): _text(value) for name, value in env.items()}


def _wrong(number: int, text: str) -> ConfigError:
    return ConfigError(f"tests: the {number}. test: {text}", field="tests")


def _text(value: Any) -> str:
    """Return what stands in the file as the text that it is meant to be: a table or a list is JSON."""
    if value is None:
        return ""
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def faults(case: Case, answer: Answer) -> Iterator[str]:
    """Yield what is wrong with the answer, line by line, and then the log; nothing when it is as expected."""
    if case.err is None and answer.error:
        yield from _failure(answer)
        return
    wrong = False
    if case.err is not None and case.err not in "\n".join([answer.error, *answer.log]):
        wrong = True
        yield f"expected an error with {case.err!r}, got {_ending(answer)}"
    if case.out is not None and not _as_expected(case.out, answer.body):
        wrong = True
        yield from _difference(case.out, answer.body)
    if wrong:
        yield from _said(answer.log)


def _failure(answer: Answer) -> Iterator[str]:
    """Yield the error, and what the function said that is not in it already."""
    first, *rest = answer.error.splitlines()
    yield f"failed: {_visible(first)}"
    yield from _said((*rest, *(one for one in answer.log if one not in rest)))


def _said(lines: Sequence[str]) -> Iterator[str]:
    if len(lines) > _MOST_LINES:
        yield f"  | ... {len(lines) - _MOST_LINES} lines before"
    yield from (f"  | {_visible(line)}" for line in lines[-_MOST_LINES:])


def _ending(answer: Answer) -> str:
    """Say in one line how the call ended."""
    if answer.error:
        return _short(answer.error)
    reply = _short(_shown(answer.body))
    return f"status {answer.status} with {'the reply ' + reply if answer.body else 'an empty reply'}"


def _short(text: str) -> str:
    return repr(text) if len(text) <= _MOST_TEXT else f"{text[:_MOST_TEXT]!r}..."


def _visible(line: str) -> str:
    """Return a line with its control characters written out."""
    return line if line.isprintable() else repr(line)[1:-1]


def _shown(body: bytes) -> str:
    """Return a reply as text. Bytes that are none are written out, so that they are not taken for others."""
    return body.decode("utf-8", "backslashreplace")


def _as_expected(out: Any, body: bytes) -> bool:
    if isinstance(out, str):
        return body.removesuffix(b"\n") == out.removesuffix("\n").encode("utf-8", "surrogatepass")
    try:
        return _same(out, json.loads(body))
    except (ValueError, RecursionError):
        return False


def _same(one: Any, other: Any) -> bool:
    """Say whether two values are the same in JSON, where true is not 1 as it is in Python, and 1.0 is."""
    if isinstance(one, bool) or isinstance(other, bool):
        return one is other
    if isinstance(one, dict) and isinstance(other, dict):
        return one.keys() == other.keys() and all(_same(value, other[key]) for key, value in one.items())
    if isinstance(one, list) and isinstance(other, list):
        return len(one) == len(other) and all(map(_same, one, other))
    return bool(one == other)


def _difference(out: Any, body: bytes) -> Iterator[str]:
    """Yield the lines that differ, `-` for what was expected and `+` for what came. A line ends with a line feed and
    with nothing else: a difference in other characters, seen or not, is one."""
    expected, found = _text(out), _shown(body)
    if not isinstance(out, str):
        expected, found = _pretty(expected), _pretty(found)
    before, after = (text.removesuffix("\n").split("\n") for text in (expected, found))
    if before == after:  # as text, but not in its bytes
        before, after = [repr(expected)], [repr(body[:_MOST_TEXT])]
    yield from map(_visible, difflib.unified_diff(before, after, "expected", "found", lineterm="", n=2))


def _pretty(text: str) -> str:
    try:
        return json.dumps(json.loads(text), indent=2, ensure_ascii=False, sort_keys=True)
    except (ValueError, RecursionError):
        return text
