"""Whole lines of one stream for a log that another stream is written to as well."""

from __future__ import annotations

from collections.abc import Callable

MOST = 8 * 1024
"""Bytes of a line that are waited for."""


class Lines:
    """Passes on what is fed to it up to the last line end, and the rest when that has come or is too long to wait."""

    __slots__ = ("_passed", "_rest")

    def __init__(self, passed: Callable[[bytes], None]) -> None:
        self._passed = passed
        self._rest = b""

    def feed(self, data: bytes) -> None:
        """Take the next bytes."""
        data = self._rest + data
        end = data.rfind(b"\n") + 1
        if len(data) - end > MOST:
            end = len(data)
        self._rest = data[end:]
        if end:
            self._passed(data[:end])

    def finish(self) -> None:
        """Pass on what is left."""
        rest, self._rest = self._rest, b""
        if rest:
            self._passed(rest + b"\n")
