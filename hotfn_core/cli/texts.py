"""Numbers and messages as people read them."""

from __future__ import annotations

_MESSAGE_CHARS = 1000


def span_text(seconds: float) -> str:
    """Return a span with three digits: `1.5 s`, `38.2 us`."""
    for unit, size in (("s", 1.0), ("ms", 1e-3)):
        if seconds >= size:
            return f"{seconds / size:.3g} {unit}" if seconds < 1000 * size else f"{seconds / size:.0f} {unit}"
    return f"{seconds / 1e-6:.3g} us"


def size_text(size: float) -> str:
    """Return a number of bytes with three digits: `512 B`, `9.81 MB`. A kB has 1,000 of them."""
    for unit, factor in (("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if size >= factor:
            return f"{size / factor:.3g} {unit}" if size < 1000 * factor else f"{size / factor:.0f} {unit}"
    return f"{size:.0f} B"


def calls_text(number: int) -> str:
    """Return `1 call`, `1,234 calls`."""
    return "1 call" if number == 1 else f"{number:,} calls"


def one_line(message: str) -> str:
    """Return a message without newlines, and not without end."""
    text = " | ".join(part for part in message.splitlines() if part.strip()).replace(": | ", ": ")
    return text if len(text) <= _MESSAGE_CHARS else text[:_MESSAGE_CHARS] + "..."


def refusal(body: bytes) -> str:
    """Say what a function answered that could not do its work."""
    return f"the function answered {body[:200].decode('utf-8', 'backslashreplace') or 'with an empty body'}"
