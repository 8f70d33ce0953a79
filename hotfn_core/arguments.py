"""What a caller hands to `Manager.call`: checked and brought into the shape of a Call."""

from __future__ import annotations

import math
import os
import time

from .errors import TooLarge
from .model import FunctionSpec


class CallIds:
    """Makes ids of 26 characters: milliseconds and 32 random bits of when it was made, and a count of the calls."""

    def __init__(self) -> None:
        self._prefix = f"{time.time_ns() // 1_000_000:012x}"[-8:] + os.urandom(4).hex()
        self._count = 0

    def new(self) -> str:
        """Return the next id."""
        self._count += 1
        return f"{self._prefix}{self._count:010x}"


def checked_id(call_id: object) -> str:
    """Return a caller's own id. Raises TypeError unless it is a string that is not empty."""
    if isinstance(call_id, str) and call_id:
        return call_id
    raise TypeError(f"a call_id is a string that is not empty, not {call_id!r}")


def checked_deadline(deadline: object) -> float:
    """Return a deadline. Raises TypeError unless it is a number; NaN is none, and nothing is before or after it."""
    if isinstance(deadline, int | float) and not math.isnan(deadline):
        return float(deadline)
    raise TypeError(f"a deadline is a number of seconds, not {deadline!r}")


def check_texts(**arguments: object) -> None:
    """Raise TypeError for the first argument that is not a string. A subclass of str, as HTTPMethod is, will do."""
    for name, value in arguments.items():
        if not isinstance(value, str):
            raise TypeError(f"{name} is a string, not {value!r}")


def body_bytes(body: object) -> bytes:
    """Return a body that is not bytes yet as bytes. Raises TypeError for text."""
    if isinstance(body, bytearray | memoryview):
        return bytes(body)  # a copy: the caller may write to its buffer before the function has read it
    raise TypeError(f"a body is bytes, not {type(body).__name__}; text must be encoded first")


def too_large(size: int, spec: FunctionSpec) -> TooLarge:
    """Say by how much a body is too large."""
    return TooLarge(f"the body has {size} bytes, more than max_request of {spec.full_name}, {spec.max_request}")


def time_left(deadline: float | None, now: float) -> float | None:
    """Return the seconds until a deadline, 0 behind it, None without one. Raises TypeError for what is none."""
    return None if deadline is None else max(checked_deadline(deadline) - now, 0.0)
