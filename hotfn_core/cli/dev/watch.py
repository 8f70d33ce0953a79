"""Telling that the files of a function have changed: at once that something is going on, and then what."""

from __future__ import annotations

import asyncio
from pathlib import Path

from .files import Files, Marks, differences
from .inotify import Inotify

_QUIET = 0.1  # seconds without another event after which somebody has saved what there is to save
_LONGEST = 1.0  # seconds after which a look is taken although events go on


class Watch:
    """The files of a function, watched.

    Whoever deals with changes asks for the next ones (`changes`) and says when they are dealt with (`dealt_with`).
    Until then `stirred` is true, from the moment that the first file was saved.
    """

    def __init__(self, files: Files) -> None:
        self._files = files
        self._loop = asyncio.get_running_loop()
        self._inotify = Inotify()
        self._known: Marks = {}
        self._event = asyncio.Event()  # something happened that nobody has looked at
        self._calm = asyncio.Event()
        self._calm.set()
        self._last = 0.0
        self._given_up = False

    async def open(self) -> int:
        """Begin. Returns how many files there are. Raises ConfigError when they cannot be watched."""
        self._loop.add_reader(self._inotify.fd, self._readable)
        self._known = await self._scan()
        return len(self._known)

    def close(self) -> None:
        """Watch nothing any more."""
        self._loop.remove_reader(self._inotify.fd)
        self._inotify.close()

    @property
    def stirred(self) -> bool:
        """Whether something has happened that is not dealt with, up to this very moment."""
        self._readable()
        return not (self._calm.is_set() or self._given_up)

    async def calm(self) -> None:
        """Wait until what has happened is dealt with."""
        await self._calm.wait()

    def dealt_with(self) -> None:
        """What `changes` has told is dealt with."""
        if not self._event.is_set():
            self._calm.set()

    def give_up(self) -> None:
        """Nobody deals with changes any more: nothing waits for that."""
        self._given_up = True
        self._calm.set()

    async def changes(self) -> list[Path]:
        """Wait for files to change, and until no more do. Returns which did, none when all are as they were."""
        await self._event.wait()
        await self._quiet()
        return await self.look()

    async def look(self) -> list[Path]:
        """Return which files have changed since the last look, without waiting for any."""
        self._readable()
        self._event.clear()
        before, self._known = self._known, await self._scan()
        return differences(before, self._known)

    async def _scan(self) -> Marks:
        return await asyncio.to_thread(self._files.scan, self._known, self._inotify.add)

    async def _quiet(self) -> None:
        end = self._loop.time() + _LONGEST
        while (left := min(self._last + _QUIET, end) - self._loop.time()) > 0:  # noqa: ASYNC110  # it waits for silence
            await asyncio.sleep(left)

    def _readable(self) -> None:
        if any(map(self._files.of_interest, self._inotify.read())):
            self._last = self._loop.time()
            self._event.set()
            self._calm.clear()
