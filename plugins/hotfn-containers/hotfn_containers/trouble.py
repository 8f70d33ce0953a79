"""What can go wrong with an engine, as errors that say what to do about it."""

from __future__ import annotations

from collections.abc import Iterable

from hotfn_core.errors import DriverError


class Refused(DriverError):
    """The engine answered a request with an error. `answer` is its HTTP status."""

    def __init__(self, message: str, answer: int, *, status: int | None = None) -> None:
        super().__init__(message, status=status)
        self.answer = answer


class NoSuchContainer(Refused):
    """The engine does not know the container: somebody has removed it."""


class NoSuchImage(Refused):
    """The engine does not have the image."""

    default_status = 404


HINTS: tuple[tuple[str, str], ...] = (
    (
        "no space left on device",
        "the engine's disk is full: make room there (`{engine} system prune` removes what is unused)",
    ),
    ("disk quota exceeded", "the engine's disk quota is used up: make room there"),
    (
        "lookup init binary",
        "this engine has no init program: install catatonit or tini, or set driver_options init = false",
    ),
    ("docker-init", "this engine has no init program: install tini, or set driver_options init = false"),
    ("network not found", "create the network first, or correct driver_options network"),
    ("unable to find network", "create the network first, or correct driver_options network"),
    ("minimum memory limit", "raise memory"),
    ("rlimit", "the engine may not give so much: lower driver_options max_files or ulimits"),
)
"""What an engine's error text contains, in lower case, and what to do about that."""


def explain(engine: str, text: str) -> str:
    """Return an engine's own error text, with what to do about it where that is known."""
    lower = text.lower()
    for part, hint in HINTS:
        if part in lower:
            return f"{text.strip()}; {hint.format(engine=engine)}"
    return text.strip()


def first_line(texts: Iterable[str]) -> str:
    """Return the first of these texts that says anything."""
    return next((text.strip() for text in texts if text and text.strip()), "")
