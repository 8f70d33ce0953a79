"""Header fields: an immutable mapping without regard to case, and the shapes that are taken for one."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence

HeadersLike = Mapping[str, str | Sequence[str]] | Iterable[tuple[str, str]]


class Headers(Mapping[str, str]):
    """Header fields in the order they came, found without regard to case, immutable.

    `headers["x"]` is the first value, `get_all("x")` all of them, `items_all()` every (name, value) pair as it
    was sent. As a mapping it has each name once, in lower case.
    """

    __slots__ = ("_index", "_pairs")

    def __init__(self, headers: HeadersLike = ()) -> None:
        self._pairs: tuple[tuple[str, str], ...] = header_pairs(headers)
        self._index: dict[str, list[str]] | None = None

    @classmethod
    def of_pairs(cls, pairs: Sequence[tuple[str, str]]) -> Headers:
        """Wrap pairs that are known to be well-formed: the hot path's constructor."""
        new = cls.__new__(cls)
        new._pairs, new._index = tuple(pairs), None  # noqa: SLF001 - its own class
        return new

    def _lookup(self) -> dict[str, list[str]]:
        if self._index is None:
            index: dict[str, list[str]] = {}
            for name, value in self._pairs:
                index.setdefault(name.lower(), []).append(value)
            self._index = index
        return self._index

    def __getitem__(self, name: str) -> str:
        return self._lookup()[name.lower()][0]

    def __contains__(self, name: object) -> bool:
        return isinstance(name, str) and name.lower() in self._lookup()

    def __iter__(self) -> Iterator[str]:
        return iter(self._lookup())

    def __len__(self) -> int:
        return len(self._lookup())

    def __eq__(self, other: object) -> bool:
        if isinstance(other, Headers):
            return self._lookup() == other._lookup()
        if not isinstance(other, Mapping):
            return NotImplemented
        try:
            return self._lookup() == Headers(other)._lookup()
        except TypeError:  # what holds other things than strings is not equal to headers
            return False

    def __hash__(self) -> int:
        return hash(frozenset((name, tuple(values)) for name, values in self._lookup().items()))

    def __repr__(self) -> str:
        return f"Headers({list(self._pairs)!r})"

    def get_all(self, name: str) -> list[str]:
        """Return every value sent under `name`, in order; an empty list when there is none."""
        return list(self._lookup().get(name.lower(), ()))

    def items_all(self) -> tuple[tuple[str, str], ...]:
        """Return every (name, value) pair in the order and the spelling they came in."""
        return self._pairs


def header_pairs(headers: HeadersLike) -> tuple[tuple[str, str], ...]:
    """Flatten any accepted shape of headers to (name, value) pairs. Raises TypeError for anything else."""
    if isinstance(headers, Headers):
        return headers.items_all()
    if not headers:
        return ()
    pairs: list[tuple[object, object]] = []
    source = headers.items() if isinstance(headers, Mapping) else headers
    try:
        for name, value in source:
            several = isinstance(value, Iterable) and not isinstance(value, (str, bytes, bytearray))
            pairs.extend((name, one) for one in (value if several else (value,)))
    except (TypeError, ValueError):
        # What they hold may be secrets, so only types are named, and the names of headers.
        raise TypeError(f"headers are a mapping or pairs of strings, not {type(headers).__name__}") from None
    return tuple(_checked(name, value) for name, value in pairs)


def _checked(name: object, value: object) -> tuple[str, str]:
    if not isinstance(name, str):
        raise TypeError(f"headers are pairs of strings; the name {name!r} is {type(name).__name__}")
    if not isinstance(value, str):
        raise TypeError(f"headers are pairs of strings; the value of {name!r} is {type(value).__name__}")
    return name, value
