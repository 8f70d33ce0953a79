"""Which files are the function's, and what is in them."""

from __future__ import annotations

import fnmatch
import hashlib
import os
import stat
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from hotfn_core.errors import ConfigError

MOST_FILES = 10_000
_HASHED = 16 << 20  # bytes; of a larger file size and time are believed
_TOOLS = ("__pycache__", "node_modules", "venv")
_FOLDERS = (*_TOOLS, ".*")
_FILES = ("*.pyc", "*.pyo", "*~", "#*#", ".#*", ".*.sw?", "*.tmp", "4913")  # 4913: vim tries whether it may


class Mark(NamedTuple):
    """What is known of a file. `seen` says cheaply whether it must be read again; the rest is what counts."""

    seen: tuple[int, int, int]
    executable: bool
    content: bytes

    def same(self, other: Mark | None) -> bool:
        """Whether the file is as it was, whoever has touched it."""
        return other is not None and (self.executable, self.content) == (other.executable, other.content)


Marks = Mapping[Path, Mark]


class Files:
    """The files below some directories, and some files by name.

    Left out are hidden directories and those of tools, files that editors and compilers keep for themselves, and what
    matches `ignore`: patterns of names, or of paths below the directory.
    """

    def __init__(self, directories: Sequence[Path], files: Sequence[Path] = (), ignore: Sequence[str] = ()) -> None:
        self._directories = [located(one) for one in directories]
        self._files = [located(one) for one in files]
        self._ignore = tuple(pattern.rstrip("/") for pattern in ignore)

    def scan(self, before: Marks, directory: Callable[[Path], None]) -> dict[Path, Mark]:
        """Return what is there now. `directory` is told of each one before it is looked into.

        Raises ConfigError for more than `MOST_FILES`.
        """
        marks: dict[Path, Mark] = {}
        for path in self._paths(directory):
            mark = _mark(path, before.get(path))
            if mark is not None:
                marks[path] = mark
            if len(marks) > MOST_FILES:
                where = ", ".join(map(shown, self._directories))
                raise ConfigError(f"more than {MOST_FILES:,} files are in {where}: name what to watch with --watch")
        return marks

    def of_interest(self, path: Path) -> bool:
        """Whether something that happened there is worth a look. A path that is not known is."""
        if not path.is_absolute() or path in self._files:
            return True
        return any(
            path == top or not self._ignored(path.name, str(path.relative_to(top)), _FILES + _TOOLS)
            for top in self._directories
            if path.is_relative_to(top)
        )

    def _paths(self, directory: Callable[[Path], None]) -> Iterator[Path]:
        for path in self._files:
            directory(path.parent)
            yield path
        for top in self._directories:
            yield from self._below(top, directory)

    def _below(self, top: Path, directory: Callable[[Path], None]) -> Iterator[Path]:
        folders = [top]
        while folders:
            folder = folders.pop()
            directory(folder)  # first, so that nothing comes between the listing and the watching
            for path, is_folder in _listed(folder):
                if self._ignored(path.name, str(path.relative_to(top)), _FOLDERS if is_folder else _FILES):
                    continue
                if is_folder:
                    folders.append(path)
                else:
                    yield path

    def _ignored(self, name: str, path: str, patterns: Sequence[str]) -> bool:
        return any(fnmatch.fnmatchcase(name, one) for one in (*patterns, *self._ignore)) or any(
            fnmatch.fnmatchcase(path, one) for one in self._ignore
        )


def _listed(folder: Path) -> list[tuple[Path, bool]]:
    """Return what is in a directory, and whether it is a directory itself."""
    try:
        with os.scandir(folder) as entries:
            return [(folder / one.name, one.is_dir(follow_symlinks=False)) for one in entries]
    except OSError:  # it is gone, or not for us
        return []


def _mark(path: Path, before: Mark | None) -> Mark | None:
    """Return what is known of a file now, None when there is none that can be read."""
    try:
        status = path.stat()
        if not stat.S_ISREG(status.st_mode):
            return None
        seen = (status.st_mtime_ns, status.st_size, status.st_ino)
        executable = bool(status.st_mode & stat.S_IXUSR)
        if before is not None and before.seen == seen:
            return before._replace(executable=executable)
        return Mark(seen, executable, _content(path, seen))
    except OSError:
        return None


def _content(path: Path, seen: tuple[int, int, int]) -> bytes:
    if seen[1] > _HASHED:
        return repr(seen).encode()
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").digest()


def differences(before: Marks, after: Marks) -> list[Path]:
    """Return the files that are new, gone or have another content, in order."""
    both = sorted({*before, *after})
    return [path for path in both if path not in after or not after[path].same(before.get(path))]


def located(path: Path) -> Path:
    """Return where a file or directory is, whatever the way to it; a link stays one."""
    return path.resolve() if path.is_dir() else path.parent.resolve() / path.name


def shown(path: Path) -> str:
    """Return a path as somebody in this directory would write it."""
    there = located(path)
    return str(there.relative_to(Path.cwd())) if there.is_relative_to(Path.cwd()) else str(there)


def shown_all(paths: Sequence[Path]) -> str:
    """Return the first few of some paths, and how many there are besides."""
    names = [shown(path) for path in paths[:3]]
    return ", ".join(names) + (f" and {len(paths) - 3} more" if len(paths) > 3 else "")
