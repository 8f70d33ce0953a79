"""Finding the end of a JSON object in pieces of bytes, in time that grows with their length only.

No JSON parser at hand says where a value ended or takes it in pieces. Where an object ends is told by its brackets and
strings alone; whether it is JSON at all is for the parser that gets the whole of it.
"""

from __future__ import annotations

import re

from hotfn_core.errors import RemoteProtocolError

MAX_DEPTH = 200

_MARK = re.compile(rb'["{}\[\]]')
# Possessive, so that a body of sixteen million escapes leaves nothing behind to come back to.
_IN_STRING = re.compile(rb'(?:[^"\\]++|\\.)*+', re.DOTALL)
_QUOTE, _BACKSLASH = b'"\\'


class ObjectEnd:
    """Looks for the end of one object. The bytes it is given start with the object's brace."""

    __slots__ = ("_depth", "_escaped", "_in_string")

    def __init__(self) -> None:
        self._depth = 0
        self._in_string = False
        self._escaped = False  # the last byte was the backslash of a string's escape

    def feed(self, data: bytes) -> int:
        """Take the next bytes and return where in them the object ends, or -1.

        Raises RemoteProtocolError when it is nested deeper than MAX_DEPTH.
        """
        at = 0
        while at < len(data):
            if self._in_string:
                at = self._through_string(data, at)
                continue
            found = _MARK.search(data, at)
            if found is None:
                return -1
            at = found.end()
            if self._closes(data[at - 1]):
                return at
        return -1

    def _through_string(self, data: bytes, at: int) -> int:
        """Return the position behind the string's quote, or the end of the data."""
        if self._escaped:
            self._escaped = False
            at += 1
        found = _IN_STRING.match(data, at)
        assert found is not None
        at = found.end()
        if at < len(data):
            self._in_string = data[at] != _QUOTE
            self._escaped = data[at] == _BACKSLASH
        return at + 1

    def _closes(self, mark: int) -> bool:
        """Take a quote or a bracket outside of strings; say whether it ends the object."""
        if mark == _QUOTE:
            self._in_string = True
        elif mark in b"{[":
            self._depth += 1
            if self._depth > MAX_DEPTH:
                raise RemoteProtocolError(f"the function's JSON reply is nested deeper than {MAX_DEPTH}")
        else:
            self._depth -= 1
        return not self._depth
