"""A function's stderr: drained always, read by lines, bounded in length and in rate, never in the way of a call."""

from __future__ import annotations

from collections.abc import Callable

MAX_LINE = 8 * 1024  # bytes; the rest of a longer line is dropped
MAX_RATE = 1024 * 1024  # bytes a second that are passed on; what is over it is dropped and counted
TAIL = 4 * 1024  # bytes kept for error messages

LineSink = Callable[[str, str, bool], None]
"""Takes (call id or "", text, truncated)."""


class StderrReader:
    """Reads one copy's stderr. `sink` gets the lines; without one only the tail is kept.

    A line belongs to the call that was running when its first byte came, so that what one call left unfinished is
    never blamed on the next.
    """

    __slots__ = ("_call_id", "_clock", "_cut", "_dropped", "_line", "_sent", "_sink", "_tail", "_window")

    def __init__(self, sink: LineSink | None, clock: Callable[[], float]) -> None:
        self._sink = sink
        self._clock = clock
        self._tail = b""
        self._line = b""
        self._call_id = ""
        self._cut = False  # the rest of the line is being dropped
        self._window = float("-inf")
        self._sent = 0
        self._dropped = 0

    def feed(self, data: bytes, call_id: str) -> None:
        """Take the next bytes, which came while `call_id` was running ("" for none)."""
        self._tail = (self._tail + data[-TAIL:])[-TAIL:]
        if self._sink is None:
            return
        data = self._within_rate(data)
        if not data:
            return
        first, *rest = data.split(b"\n")
        self._extend(first, call_id)
        for piece in rest:
            self._end_line()
            self._extend(piece, call_id)

    def finish(self) -> None:
        """The copy is gone: pass on an unfinished line, and say what was dropped."""
        self._report_dropped()
        if self._line:
            self._end_line()

    def tail(self) -> str:
        """Return the last lines, for an error message; a line that was cut at its start is left out."""
        text = self._tail
        if len(text) == TAIL and b"\n" in text:
            text = text.split(b"\n", 1)[1]
        return text.decode("utf-8", "replace").strip()

    def _within_rate(self, data: bytes) -> bytes:
        now = self._clock()
        if now - self._window >= 1.0:
            self._report_dropped()
            self._window, self._sent = now, 0
        taken = data[: max(MAX_RATE - self._sent, 0)]
        self._sent += len(taken)
        self._dropped += len(data) - len(taken)
        return taken

    def _report_dropped(self) -> None:
        if self._dropped:
            text = f"[hotfn: {self._dropped} bytes of stderr dropped, over {MAX_RATE} bytes a second]"
            self._dropped = 0
            self._emit(text, "", True)

    def _extend(self, piece: bytes, call_id: str) -> None:
        if self._cut:
            return
        if not self._line:
            self._call_id = call_id
        room = MAX_LINE - len(self._line)
        self._line += piece[:room]
        if len(piece) > room:
            self._cut = True
            self._emit(self._line.decode("utf-8", "replace"), self._call_id, True)
            self._line = b""

    def _end_line(self) -> None:
        if not self._cut:
            text = self._line.removesuffix(b"\r").decode("utf-8", "replace")
            self._emit(text, self._call_id, False)
        self._line = b""
        self._cut = False

    def _emit(self, text: str, call_id: str, truncated: bool) -> None:
        assert self._sink is not None  # without one nothing is collected
        self._sink(call_id, text, truncated)
