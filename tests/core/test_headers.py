"""Headers: found without regard to case, kept in order, immutable."""

from __future__ import annotations

import pickle
from collections.abc import Mapping
from typing import Any

import pytest

from hotfn_core import Headers
from hotfn_core.model import header_pairs

PAIRS = [("Set-Cookie", "a=1"), ("X-A", "1"), ("set-cookie", "b=2")]


def test_w44_every_value_of_a_name_is_kept_in_order() -> None:
    headers = Headers(PAIRS)
    assert headers["SET-COOKIE"] == "a=1"
    assert headers.get_all("set-cookie") == ["a=1", "b=2"]
    assert headers.get_all("absent") == []
    assert headers.items_all() == tuple(PAIRS)


def test_as_a_mapping_it_has_each_name_once() -> None:
    headers = Headers(PAIRS)
    assert isinstance(headers, Mapping)
    assert dict(headers) == {"set-cookie": "a=1", "x-a": "1"}
    assert len(headers) == 2
    assert "x-A" in headers
    assert "absent" not in headers
    assert not headers.__contains__(3)
    assert headers.get("absent") is None
    with pytest.raises(KeyError):
        headers["absent"]


@pytest.mark.parametrize(
    "shape",
    [
        [("a", "1"), ("b", "2"), ("b", "3")],
        (("a", "1"), ("b", ["2", "3"])),
        {"a": "1", "b": ("2", "3")},
        Headers([("a", "1"), ("b", "2"), ("b", "3")]),
        iter([("a", "1"), ("b", "2"), ("b", "3")]),
    ],
    ids=lambda shape: type(shape).__name__,
)
def test_every_shape_gives_the_same_pairs(shape: Any) -> None:
    assert header_pairs(shape) == (("a", "1"), ("b", "2"), ("b", "3"))


def test_nothing_gives_no_pairs() -> None:
    assert header_pairs({}) == header_pairs([]) == Headers().items_all() == ()


@pytest.mark.parametrize(
    "shape",
    ["a: 1", ["a: 1"], [("a",)], [("a", "b", "c")], {"a": None}, {"a": b"1"}, {1: "a"}, [("a", 1)], {"a": [1]}, 3],
    ids=repr,
)
def test_any_other_shape_is_a_type_error(shape: Any) -> None:
    with pytest.raises(TypeError, match="headers are"):
        header_pairs(shape)


@pytest.mark.parametrize("shape", ["Authorization: hunter2", {"Authorization": b"hunter2"}, [("A", "hunter2", "x")]])
def test_no_error_repeats_a_value_which_may_be_a_secret(shape: Any) -> None:
    with pytest.raises(TypeError) as caught:
        header_pairs(shape)
    assert "hunter2" not in str(caught.value)


def test_equality_disregards_the_case_of_names_and_their_order() -> None:
    assert Headers({"A": "1", "B": "2"}) == Headers({"b": "2", "a": "1"}) == {"B": "2", "A": "1"}
    assert hash(Headers({"A": "1", "B": "2"})) == hash(Headers({"b": "2", "a": "1"}))
    assert Headers({"A": "x"}) != Headers({"A": "X"})
    assert Headers([("a", "1"), ("a", "2")]) != Headers([("a", "2"), ("a", "1")])
    assert Headers({"A": "1"}) != {"A": 1}
    assert Headers() != []


def test_wrapped_pairs_are_the_pairs() -> None:
    assert Headers.of_pairs(PAIRS).items_all() == tuple(PAIRS)
    assert Headers.of_pairs(PAIRS) == Headers(PAIRS)


def test_it_shows_and_copies_itself_whole() -> None:
    headers = Headers(PAIRS)
    assert repr(headers) == f"Headers({PAIRS!r})"
    assert pickle.loads(pickle.dumps(headers)).items_all() == headers.items_all()


def test_it_takes_no_new_attributes_and_no_items() -> None:
    headers = Headers(PAIRS)
    with pytest.raises(AttributeError):
        headers.extra = 1  # type: ignore[attr-defined]
    with pytest.raises(TypeError):
        headers["x"] = "1"  # type: ignore[index]
