"""The log of a copy: whole lines, tagged with their call, bounded in length, rate and memory."""

from __future__ import annotations

import itertools
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hotfn_core.stderr import MAX_LINE, MAX_RATE, TAIL, StderrReader


class Log:
    """A reader with a clock that is set by hand, and what it passed on."""

    def __init__(self) -> None:
        self.now = 0.0
        self.lines: list[tuple[str, str, bool]] = []
        self.reader = StderrReader(self.take, lambda: self.now)

    def take(self, call_id: str, text: str, truncated: bool) -> None:
        self.lines.append((call_id, text, truncated))

    def feed(self, *pieces: tuple[bytes, str]) -> Log:
        for data, call_id in pieces:
            self.reader.feed(data, call_id)
        return self


@pytest.fixture
def log() -> Log:
    return Log()


def test_w31_lines_are_tagged_with_the_call_that_ran_and_with_none_in_between(log: Log) -> None:
    log.feed((b"boot\n", ""), (b"one\ntwo\n", "a"), (b"between\n", ""), (b"three\n", "b"))
    assert log.lines == [
        ("", "boot", False),
        ("a", "one", False),
        ("a", "two", False),
        ("", "between", False),
        ("b", "three", False),
    ]


def test_o9_what_a_call_left_unfinished_is_not_blamed_on_the_next(log: Log) -> None:
    log.feed((b"half", "a"), (b" a line\nfresh\n", "b"))
    assert log.lines == [("a", "half a line", False), ("b", "fresh", False)]


def test_an_empty_line_belongs_to_its_call_too(log: Log) -> None:
    assert log.feed((b"\n", "a"), (b"x\n\ny\n", "b")).lines == [
        ("a", "", False),
        ("b", "x", False),
        ("b", "", False),
        ("b", "y", False),
    ]


def test_a_carriage_return_before_the_newline_is_no_part_of_the_line(log: Log) -> None:
    assert log.feed((b"dos\r\n", ""), (b"a\rb\n", "")).lines == [("", "dos", False), ("", "a\rb", False)]


def test_what_is_no_text_is_replaced(log: Log) -> None:
    assert log.feed((b"\xff\xfe!\n", "")).lines == [("", "��!", False)]


def test_a_character_cut_in_two_is_whole_again(log: Log) -> None:
    assert log.feed((b"caf\xc3", ""), (b"\xa9\n", "")).lines == [("", "café", False)]


def test_w29_a_line_of_a_megabyte_is_cut_once_and_the_next_is_whole(log: Log) -> None:
    piece = b"x" * 4096
    for _ in range(200):
        log.feed((piece, "a"))
    log.feed((b"end\nnext\n", "a"))
    assert log.lines == [("a", "x" * MAX_LINE, True), ("a", "next", False)]


def test_a_line_of_exactly_the_limit_is_whole(log: Log) -> None:
    assert log.feed((b"x" * MAX_LINE + b"\n", "")).lines == [("", "x" * MAX_LINE, False)]
    assert Log().feed((b"x" * (MAX_LINE + 1) + b"\n", "")).lines == [("", "x" * MAX_LINE, True)]


def test_the_end_of_the_copy_ends_the_line(log: Log) -> None:
    log.feed((b"last words", "a")).reader.finish()
    log.reader.finish()
    assert log.lines == [("a", "last words", False)]


def test_b08_what_is_over_the_rate_is_dropped_and_counted_and_it_goes_on_afterwards(log: Log) -> None:
    line = b"x" * 1023 + b"\n"
    for _ in range(MAX_RATE // 1024 + 500):
        log.feed((line, "a"))
    assert len(log.lines) == MAX_RATE // 1024
    log.now = 0.999
    log.feed((b"too soon\n", "a"))
    log.now = 1.0
    log.feed((b"after\n", "b"))
    dropped = 500 * 1024 + len(b"too soon\n")
    assert log.lines[MAX_RATE // 1024 :] == [
        ("", f"[hotfn: {dropped} bytes of stderr dropped, over {MAX_RATE} bytes a second]", True),
        ("b", "after", False),
    ]


def test_what_was_dropped_is_told_at_the_end_too(log: Log) -> None:
    log.feed((b"y\n" * MAX_RATE, "")).reader.finish()
    assert log.lines[-1] == ("", f"[hotfn: {MAX_RATE} bytes of stderr dropped, over {MAX_RATE} bytes a second]", True)


class TestTail:
    def tail(self, *pieces: bytes, sink: Callable[[str, str, bool], None] | None = None) -> str:
        reader = StderrReader(sink, lambda: 0.0)
        for piece in pieces:
            reader.feed(piece, "")
        return reader.tail()

    def test_it_is_the_last_lines_without_the_one_that_was_cut(self) -> None:
        assert self.tail() == ""
        assert self.tail(b"Traceback\n", b"ValueError: x\n") == "Traceback\nValueError: x"
        lines = [f"line {n}\n".encode() for n in range(2000)]
        tail = self.tail(*lines)
        assert tail.endswith("line 1999")
        assert TAIL - 20 < len(tail) < TAIL
        assert tail.split("\n")[0] in {f"line {n}" for n in range(2000)}

    def test_one_endless_line_is_shown_from_where_it_is_known(self) -> None:
        assert self.tail(b"x" * 100_000) == "x" * TAIL

    def test_it_is_kept_with_a_sink_and_over_the_rate_as_well(self) -> None:
        assert self.tail(b"y\n" * MAX_RATE, b"the end\n", sink=lambda *_: None).endswith("the end")


@given(
    text=st.text(st.characters(codec="utf-8", exclude_characters="\r\n"), max_size=30).flatmap(
        lambda one: st.lists(st.sampled_from([one, "", "x", "\n"]), max_size=12)
    ),
    cuts=st.lists(st.integers(0, 200)),
)
def test_however_the_bytes_are_cut_the_lines_are_the_same(text: list[str], cuts: list[int]) -> None:
    data = "".join(text).encode()
    whole, cut = Log(), Log()
    whole.feed((data, "a")).reader.finish()
    places = sorted({0, len(data), *[place for place in cuts if place < len(data)]})
    for start, end in itertools.pairwise(places):
        cut.feed((data[start:end], "a"))
    cut.reader.finish()
    assert whole.lines == cut.lines
    assert [line for _, line, _ in whole.lines] == [
        one.decode() for one in data.removesuffix(b"\n").split(b"\n") if data
    ]
