"""What hotfn and the function say on stderr while calls run, without ever blocking the event loop."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from hotfn_core.hookspecs import StderrLine, hookimpl

from .output import Output

_DRAIN_SECONDS = 2.0
_ERASE = "\r\x1b[K"  # what stands in the terminal's line


class Messages:
    """Lines on a descriptor. When its reader is too slow, lines are dropped and counted.

    `divert`: while set, takes the lines instead: a progress bar that must print above itself.
    """

    def __init__(self, fd: int) -> None:
        self._output = Output(fd, lambda: None)
        self._output.eager = True
        self._dropped = 0
        self._live = ""
        self.divert: Callable[[str], None] | None = None

    def line(self, text: str) -> None:
        """Say one line."""
        if self.divert:
            self.divert(text)
        elif self._output.full:
            self._dropped += 1
        else:
            if self._dropped:
                text = f"[hotfn: {self._dropped} lines dropped: stderr is read too slowly]\n{text}"
                self._dropped = 0
            self._put(f"{_ERASE}{text}\n{self._live}" if self._live else f"{text}\n")

    def live(self, text: str) -> None:
        """Have `text` stand below all lines, in the place of what stood there. For terminals."""
        if text != self._live and not self._output.full:
            self._live = text
            self._put(_ERASE + text)

    def _put(self, text: str) -> None:
        self._output.put(text.encode("utf-8", "backslashreplace"))

    async def aclose(self) -> None:
        """Wait a moment for the last lines to be written."""
        try:
            async with asyncio.timeout(_DRAIN_SECONDS):
                await self._output.drained()
        except TimeoutError:
            pass  # nobody reads them; that must not hold up the end
        finally:
            self._output.close()


class FunctionStderr:
    """The plugin that shows what the function writes to its stderr.

    `tag`: name the function, the copy and the call before each line. Without it, only the copy, and that only
    where `several` may run.
    """

    def __init__(self, messages: Messages, *, tag: bool, several: bool) -> None:
        self._say = messages.line
        self._tag = tag
        self._several = several

    @hookimpl
    def hotfn_stderr_line(self, line: StderrLine) -> None:
        """Pass on one line."""
        text = f"{line.text} [cut]" if line.truncated else line.text
        if self._tag:
            call = f" {line.call_id}" if line.call_id else ""
            text = f"[{line.function} {line.instance}{call}] {text}"
        elif self._several:
            text = f"[{line.instance}] {text}"
        self._say(text)
