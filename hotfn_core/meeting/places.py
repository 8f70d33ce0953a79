"""The private directories of the copies that listen: one for each and never the same twice, as functions leave files
behind and stumble over those of others."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import itertools
import json
import os
import shutil
import stat
import tempfile
from pathlib import Path

from ..errors import DriverError
from ..runtime import Runtime, fate

PREFIX = "hotfn-sockets-"
_OWNER = "owner.json"
_INNER = "s"
_FEW = 32
"""Files that are removed on the loop. Where a function has left more, a thread removes them."""


class Places:
    """The directories of one manager, below one of its own that says whose it is.

    What the copy sees lies in a directory that nobody else on this machine can enter, so it may be open to all: in a
    container anybody's number may need it.
    """

    def __init__(self) -> None:
        self.crowd = 0
        """How many copies at most, of all functions, were about to listen at a time, since there were none."""
        self._starting = 0
        self._base = ""
        self._numbers = itertools.count(1)

    def begun(self) -> None:
        """A copy is about to listen."""
        self._starting += 1
        self.crowd = max(self.crowd, self._starting)

    def ended(self) -> None:
        """It does, or it has failed to."""
        self._starting -= 1
        if not self._starting:
            self.crowd = 0

    def make(self) -> str:
        """Make the directory of one copy and return its path. Raises DriverError."""
        try:
            return self._make(self._base)
        except OSError as error:
            text = f"cannot make a directory for the socket of a copy in {tempfile.gettempdir()}: {error.strerror}"
            raise DriverError(f"{text}; set TMPDIR to one where that can be done") from error

    def _make(self, base: str) -> str:
        if not base or not Path(base).is_dir():  # the first one, or somebody cleans up in there
            asyncio.get_running_loop().run_in_executor(None, sweep)
            base = self._base = _new_base()
        shared = Path(base, str(next(self._numbers)), _INNER)
        shared.parent.mkdir(0o700)
        shared.mkdir(0o700)
        return str(shared)

    def remove(self, shared: str) -> None:
        """The copy is gone: remove its directory and whatever it has left there. Never raises."""
        place = Path(shared)
        if not _removed(place):
            remove = functools.partial(shutil.rmtree, place.parent, ignore_errors=True)
            asyncio.get_running_loop().run_in_executor(None, remove)

    async def aclose(self) -> None:
        """Remove all that is left."""
        base, self._base = self._base, ""
        if base:
            await asyncio.to_thread(_remove, Path(base))


def _new_base() -> str:
    base = tempfile.mkdtemp(prefix=PREFIX)
    Path(base, _OWNER).write_text(json.dumps(Runtime.current().as_labels()))
    Path(base).chmod(0o711)  # the account that a copy runs as must get through to the copy's own
    return base


def _removed(shared: Path) -> bool:
    """Remove a directory with the few files that a function leaves in it. False when there is more to it."""
    try:
        with os.scandir(shared) as found:
            left = [Path(entry) for entry in itertools.islice(found, _FEW + 1)]
        if len(left) > _FEW or not all(map(_is_quick, left)):
            return False
        for one in left:
            one.unlink()
        shared.rmdir()
        shared.parent.rmdir()
    except OSError:
        return False
    return True


def _is_quick(path: Path) -> bool:
    """Say whether it is removed in no time: a socket, a link, an empty file."""
    found = path.lstat()
    return not (stat.S_ISDIR(found.st_mode) or (stat.S_ISREG(found.st_mode) and found.st_size))


def _remove(base: Path) -> bool:
    """Remove the directory of a runtime. What says whose it is goes last: what could not be removed stays known."""
    with contextlib.suppress(OSError):
        for place in base.iterdir():
            if place.name != _OWNER:
                shutil.rmtree(place, ignore_errors=True)
        if [place.name for place in base.iterdir()] == [_OWNER]:
            (base / _OWNER).unlink()
            base.rmdir()
    return not base.exists()


def sweep() -> int:
    """Remove the directories of dead runtimes and return how many there were. Never raises; may take long."""
    removed = 0
    with contextlib.suppress(OSError), os.scandir(tempfile.gettempdir()) as found:
        for entry in found:
            if entry.name.startswith(PREFIX) and _is_left(entry):
                removed += _remove(Path(entry.path))
    return removed


def _is_left(entry: os.DirEntry[str]) -> bool:
    """Say whether it is the directory of a dead runtime of this user's; nobody else can tell us what to remove."""
    try:
        ours = entry.is_dir(follow_symlinks=False) and entry.stat(follow_symlinks=False).st_uid == os.geteuid()
        labels = json.loads(Path(entry.path, _OWNER).read_text()) if ours else None
    except (OSError, ValueError):
        return False
    return isinstance(labels, dict) and fate(labels) == "dead"
