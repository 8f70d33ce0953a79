"""Noticing that something appears in a directory, without looking again and again: inotify."""

from __future__ import annotations

import asyncio
import ctypes
import os
from collections.abc import Callable
from functools import cache

from ..errors import DriverError

_ATTRIBUTES, _MOVED_TO, _CREATE = 0x4, 0x80, 0x100
_ONLY_DIRECTORY = 0x01000000
_CHUNK = 4096
"""Bytes of events that are read at once; what they say does not matter."""


class Watch:
    """Calls `seen` whenever a file has come to a directory or may be used by others than before."""

    def __init__(self, directory: str, seen: Callable[[], None]) -> None:
        """Raises DriverError."""
        self._seen = seen
        self._loop = asyncio.get_running_loop()
        self._fd = _checked(_libc().inotify_init1(os.O_NONBLOCK | os.O_CLOEXEC))
        try:
            wanted = _ATTRIBUTES | _MOVED_TO | _CREATE | _ONLY_DIRECTORY
            _checked(_libc().inotify_add_watch(self._fd, os.fsencode(directory), wanted))
            self._loop.add_reader(self._fd, self._ready)
        except BaseException:
            os.close(self._fd)
            raise

    def close(self) -> None:
        """Look no more. Once."""
        self._loop.remove_reader(self._fd)
        os.close(self._fd)

    def _ready(self) -> None:
        try:
            os.read(self._fd, _CHUNK)
        except BlockingIOError:
            return
        self._seen()


@cache
def _libc() -> ctypes.CDLL:
    return ctypes.CDLL(None, use_errno=True)


def _checked(result: int) -> int:
    if result < 0:
        what = os.strerror(ctypes.get_errno())
        raise DriverError(f"cannot watch the directory of a copy: {what}; see fs.inotify.max_user_instances in sysctl")
    return result
