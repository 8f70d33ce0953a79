"""Spans of time as people write them."""

from __future__ import annotations

import re

_UNITS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
_PART = re.compile(r"(\d+(?:\.\d+)?)(ms|s|m|h|d)", re.ASCII)
_NUMBER = re.compile(r"\d+(?:\.\d+)?", re.ASCII)


def parse_duration(text: str) -> float:
    """Return the seconds that `30`, `1.5`, `30s`, `500ms`, `1m30s`, `2h` or `1d` mean.

    Raises ValueError for anything else; each unit may come once, the larger before the smaller.
    """
    if _NUMBER.fullmatch(text):
        return float(text)
    parts = _PART.findall(text)
    sizes = [_UNITS[unit] for _, unit in parts]
    if "".join(number + unit for number, unit in parts) != text or not parts or sizes != sorted(set(sizes))[::-1]:
        raise ValueError(f'{text!r} is not a span of time; write seconds as a number, or "30s", "500ms", "1m30s"')
    return sum(float(number) * size for (number, _), size in zip(parts, sizes, strict=True))
