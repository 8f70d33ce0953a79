"""Finding the end of a JSON object in pieces of bytes, in time that grows with their length only.

No JSON parser at hand says where a value ended or takes it in pieces. Where an object ends is told by its brackets and
strings alone; whether it is JSON at all is for the parser that gets the whole of it.
"""

from __future__ import annotations

import re

from hotfn_core.errors import RemoteProtocolError

MAX_DEPTH = 200

# Atomic groups throughout, of so many turns at most, so that a body of sixteen million escapes leaves nothing behind to
# come back to. A possessive group, (?:...)*+, would say it shorter; Python 3.11 up to 3.11.3 reads those wrongly.
_TURNS = rb"{0,1000}"
_TEXT = rb'(?>(?:[^"\\]++|\\.)' + _TURNS + rb")"
_FLAT = rb'[^"{}\[\]]++|"' + _TEXT + rb'"'
_FLATS = rb"(?>(?:" + _FLAT + rb")" + _TURNS + rb")"
_IN_STRING = re.compile(_TEXT, re.DOTALL)
_TO_BRACKET = re.compile(_FLATS, re.DOTALL)
# The same, and over whole lists and objects that hold no others: most of the brackets in real data are theirs.
_OVER_LEAVES = re.compile(rb"(?>(?:" + _FLAT + rb"|[{\[]" + _FLATS + rb"[}\]])" + _TURNS + rb")", re.DOTALL)
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
        at = self._through_string(data, 0) if self._in_string else 0
        while (at := _skip(self._pattern(), data, at)) < len(data):
            mark = data[at]
            at += 1
            if mark == _QUOTE:  # of a string that goes on in the next bytes
                self._in_string = True
                at = self._through_string(data, at)
            elif mark in b"{[":
                self._depth += 1
                if self._depth > MAX_DEPTH:
                    raise RemoteProtocolError(f"the function's JSON reply is nested deeper than {MAX_DEPTH}")
            elif mark in b"}]":
                self._depth -= 1
                if not self._depth:
                    return at
            else:  # the pattern had its turns and goes on from here
                at -= 1
        return -1

    def _pattern(self) -> re.Pattern[bytes]:
        # The object itself is no leaf to pass over, and nothing may be where it would be nested too deep.
        return _OVER_LEAVES if 0 < self._depth < MAX_DEPTH else _TO_BRACKET

    def _through_string(self, data: bytes, at: int) -> int:
        """Return the position behind the string's quote, or the end of the data when it is not there."""
        if self._escaped and data:
            self._escaped = False
            at += 1
        while (at := _skip(_IN_STRING, data, at)) < len(data):
            if data[at] == _QUOTE:
                self._in_string = False
                return at + 1
            if data[at] == _BACKSLASH and at + 1 == len(data):
                self._escaped = True
                return at + 1
        return at


def _skip(pattern: re.Pattern[bytes], data: bytes, at: int) -> int:
    found = pattern.match(data, at)
    assert found is not None, "the pattern matches nothing at all, too"
    return found.end()
