"""What runs Python calls in a copy: calls in, outcomes out, and a program that nobody's prints can disturb."""

from __future__ import annotations

import os
import pickle
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from hotfn_core import worker

HERE = pickle.dumps(("", "", ""))


def double(number: int, *, plus: int = 0) -> int:
    return 2 * number + plus


def refuse(number: int) -> int:
    raise ValueError(number)


class Odd(Exception):
    """Can be pickled, and not be unpickled."""

    def __init__(self, one: int, two: int) -> None:
        super().__init__(one)


def odd() -> None:
    raise Odd(1, 2)


def outcome(function: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
    return pickle.loads(worker.run(worker.pack_call(HERE, function, args, kwargs), set()))


def test_a_result() -> None:
    assert outcome(double, 4, plus=1) == (True, 9)


def test_an_error_comes_with_its_traceback() -> None:
    ok, (error, text) = outcome(refuse, 4)
    assert not ok
    assert isinstance(error, ValueError)
    assert error.args == (4,)
    assert "in refuse" in text


def test_an_exit_is_the_call_s_error() -> None:
    ok, (error, _) = outcome(sys.exit, 3)
    assert (ok, type(error), error.code) == (False, SystemExit, 3)


def test_what_cannot_be_pickled_is_told_as_text() -> None:
    ok, (error, text) = outcome(odd)
    assert (ok, str(error)) == (False, "tests.core.test_worker.Odd: 1")
    assert "in odd" in text
    ok, (error, _) = outcome(threading.Lock)
    assert not ok
    assert "cannot pickle" in str(error)


@pytest.mark.parametrize("body", [b"", b"x", b"3\n", b"3\nabcdef", b"-1\n"])
def test_a_body_that_is_no_call(body: bytes) -> None:
    ok, _ = pickle.loads(worker.run(body, set()))
    assert not ok


def request(function: Callable[..., Any], *args: Any, place: bytes) -> bytes:
    body = worker.pack_call(place, function, args, {})
    return b"POST / HTTP/1.1\r\ncontent-Length: %d\r\nX: y\r\n\r\n%b" % (len(body), body)


def test_the_program_answers_in_order_and_keeps_prints_out_of_its_replies(tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text("import os\ndef loud():\n    print('loud')\n    os.system('echo louder')\n")
    place = pickle.dumps(([str(tmp_path)], "", ""))
    sys.path.insert(0, str(tmp_path))
    try:
        from mine import loud  # type: ignore[import-not-found]
    finally:
        sys.path.remove(str(tmp_path))
    said = b"".join(request(*one, place=place) for one in ((abs, -1), (loud,), (len, b"x" * 1_000_000), (input,)))
    done = subprocess.run(
        [sys.executable, "-I", worker.__file__], input=said, capture_output=True, timeout=30, check=True
    )
    bodies = [pickle.loads(one.partition(b"\r\n\r\n")[2]) for one in done.stdout.split(b"HTTP/1.1 200 OK\r\n")[1:]]
    assert bodies[:3] == [(True, 1), (True, None), (True, 1_000_000)]
    assert isinstance(bodies[3][1][0], EOFError)
    assert done.stderr == b"louder\nloud\n"


def test_only_the_first_child_closes_what_is_not_its_own() -> None:
    one, other = os.pipe()
    held = [one, other]
    worker.leave_alone(held)
    for number in (one, other):
        with pytest.raises(OSError, match="Bad file"):
            os.fstat(number)
    worker.leave_alone(held)
    assert not held
