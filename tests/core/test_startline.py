"""Whose copy a driver starts next."""

from __future__ import annotations

import random

import pytest

from hotfn_core.startline import Turns


class Function:
    """Copies that write down when their turn came; some end at once, as those do that a protocol refuses."""

    def __init__(self, turns: Turns, name: str, book: list[str], *, fails: bool = False) -> None:
        self.turns, self.name, self.book, self.fails = turns, name, book, fails
        self.under_way: set[int] = set()

    def ask(self, *numbers: int) -> None:
        for number in numbers:
            if self.turns.ask(self, number):
                self.begin(number)

    def begin(self, number: int) -> None:
        self.book.append(f"{self.name}{number}")
        self.under_way.add(number)
        if self.fails:
            self.leave(number)

    def leave(self, number: int) -> None:
        self.under_way.discard(number)
        self.turns.leave(self, number)


def functions(most: int, names: str, **how: bool) -> tuple[list[Function], list[str]]:
    turns, book = Turns(most), list[str]()
    return [Function(turns, name, book, **how) for name in names], book


def test_so_many_at_a_time_and_the_oldest_first() -> None:
    (a,), book = functions(1, "a")
    a.ask(1, 2, 3)
    assert book == ["a1"]
    a.leave(1)
    a.leave(2)
    assert book == ["a1", "a2", "a3"]


def test_functions_take_turns() -> None:
    (a, b, c), book = functions(1, "abc")
    a.ask(1, 2, 3)
    b.ask(1, 2)
    c.ask(1)
    for one, number in ((a, 1), (a, 2), (b, 1), (c, 1), (a, 3)):
        one.leave(number)
    assert book == ["a1", "a2", "b1", "c1", "a3", "b2"]


def test_the_last_place_is_kept_for_a_function_that_has_none() -> None:
    (a, b, c), book = functions(3, "abc")
    a.ask(1, 2, 3, 4)
    assert book == ["a1", "a2"]
    b.ask(1, 2)
    assert book == ["a1", "a2", "b1"]
    a.leave(1)  # a has one left, b has one: the place stays free for a third function
    assert book == ["a1", "a2", "b1"]
    c.ask(1)
    assert book == ["a1", "a2", "b1", "c1"]


def test_what_leaves_the_line_is_never_begun() -> None:
    (a,), book = functions(1, "a")
    a.ask(1, 2, 3)
    a.leave(2)
    a.leave(2)
    a.leave(9)
    a.leave(1)
    assert book == ["a1", "a3"]


def test_a_forgotten_function_gives_its_places_back() -> None:
    (a, b), book = functions(1, "ab")
    a.ask(1, 2)
    b.ask(1)
    a.turns.forget(a)
    assert book == ["a1", "b1"]
    assert (a.turns.under_way, a.turns.waiting) == (1, 0)


def test_thousands_that_end_as_they_begin_are_no_recursion() -> None:
    (a, b), book = functions(1, "ab")
    b.ask(1)
    a.fails = True
    a.ask(*range(5000))
    b.leave(1)
    assert len(book) == 5001
    assert a.turns.under_way == a.turns.waiting == 0


@pytest.mark.parametrize("seed", range(30))
def test_random_histories(seed: int) -> None:
    """Never more than `most`; nobody waits beside a place that is free for it; a first start waits for at most one turn
    of each other function."""
    dice = random.Random(seed)
    most = dice.choice([1, 2, 3, 8])
    all_of_them, book = functions(most, "abcdef")
    turns, asked = all_of_them[0].turns, 0
    for step in range(600):
        one = dice.choice(all_of_them)
        if dice.random() < 0.5 and step < 500:
            asked += 1
            one.ask(asked)
        elif one.under_way and dice.random() < 0.9:
            one.leave(dice.choice(sorted(one.under_way)))
        else:
            turns.leave(one, dice.randint(1, asked + 1))
            one.under_way &= turns._under_way.get(one, set())
        assert turns.under_way == sum(len(each.under_way) for each in all_of_them) <= most
        assert all(turns._line.values())
        if turns.waiting and turns.under_way < most:
            assert turns.under_way == most - 1
            assert all(each.under_way for each in turns._line)  # type: ignore[attr-defined]
    while any(each.under_way for each in all_of_them):
        one = next(each for each in all_of_them if each.under_way)
        one.leave(min(one.under_way))
    assert turns.under_way == turns.waiting == 0
    assert len(set(book)) == len(book)
