"""The kernel's inotify: told when something in a directory changes, without looking again and again.

What it says is only taken as a reason to look: where is enough, and which event it was does not matter.
"""

from __future__ import annotations

import ctypes
import errno
import os
import struct
from collections.abc import Iterator
from pathlib import Path

from hotfn_core.errors import ConfigError

# A file that is being written is of interest when its writer is done with it: there is no IN_MODIFY among these.
_CLOSE_WRITE, _MOVED, _CREATE, _DELETE, _GONE, _ATTRIB = 0x8, 0xC0, 0x100, 0x200, 0xC00, 0x4
_MASK = _CLOSE_WRITE | _MOVED | _CREATE | _DELETE | _GONE | _ATTRIB
_IGNORED = 0x8000
_EVENT = struct.Struct("iIII")  # watch, mask, cookie, length of the name that follows
_ROOM = 64 * 1024
UNKNOWN = Path()
_LIMITS = {
    errno.EMFILE: "too many programs watch files: raise fs.inotify.max_user_instances",
    errno.ENOSPC: "too many directories are watched: raise fs.inotify.max_user_watches",
}


class Inotify:
    """A descriptor that is readable when something in a watched directory has changed."""

    def __init__(self) -> None:
        self._libc = ctypes.CDLL(None, use_errno=True)
        if not hasattr(self._libc, "inotify_init1"):
            raise ConfigError("files can be watched on Linux only: there is no inotify here")
        self.fd = self._libc.inotify_init1(os.O_NONBLOCK | os.O_CLOEXEC)
        if self.fd < 0:
            raise _error("files cannot be watched")
        self._directories: dict[int, Path] = {}  # by the number of their watch

    def add(self, directory: Path) -> None:
        """Watch what is in a directory, and not what is below. Again does no harm; one that is gone is left out.

        May be called by another thread than the others.
        """
        number = self._libc.inotify_add_watch(self.fd, os.fsencode(directory), _MASK)
        if number >= 0:
            self._directories[number] = directory
        elif ctypes.get_errno() not in (errno.ENOENT, errno.ENOTDIR, errno.EACCES):
            raise _error(f"{directory} cannot be watched")

    def read(self) -> list[Path]:
        """Return what something happened to, `UNKNOWN` where that is not known; nothing when nothing happened."""
        paths: list[Path] = []
        while True:
            try:
                data = os.read(self.fd, _ROOM)
            except BlockingIOError:
                return paths
            paths += self._paths(data)

    def _paths(self, data: bytes) -> Iterator[Path]:
        at = 0
        while at < len(data):
            number, mask, _, length = _EVENT.unpack_from(data, at)
            at += _EVENT.size + length
            directory = self._directories.get(number, UNKNOWN)
            if mask & _IGNORED:  # the directory is gone, and its number with it
                self._directories.pop(number, None)
            yield directory / os.fsdecode(data[at - length : at].rstrip(b"\0"))

    def close(self) -> None:
        """Watch nothing any more."""
        os.close(self.fd)


def _error(what: str) -> ConfigError:
    number = ctypes.get_errno()
    return ConfigError(f"{what}: {_LIMITS.get(number, os.strerror(number))}")
