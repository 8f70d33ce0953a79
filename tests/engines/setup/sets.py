"""Both engines in one directory, with the images that they share."""

from __future__ import annotations

import fcntl
import json
import os
import shutil
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path

from . import images, packages
from .docker import DockerEngine
from .engine import Engine
from .mounts import unmount_below
from .podman import PodmanEngine
from .process import Process

KINDS: dict[str, type[Engine]] = {kind.name: kind for kind in (DockerEngine, PodmanEngine)}

PREFIX = "hotfn-engines-"


def default_directory() -> Path:
    """Return HOTFN_ENGINES, or a directory for the one set of this user: it is the same for `up` and for the tests."""
    given = os.environ.get("HOTFN_ENGINES")
    base = os.environ.get("XDG_RUNTIME_DIR") or tempfile.gettempdir()
    return Path(given) if given else Path(base) / f"{PREFIX}{os.geteuid()}"


class EngineSet:
    """A docker and a podman below `directory`, the archives of their images, and engines that single tests make."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory.resolve()  # as the kernel spells it in its table of mounts
        self.archives = self.directory / "images"
        self.engines = {name: kind(self.directory / name) for name, kind in KINDS.items()}
        self._owner = self.directory / "owner"

    def up(self) -> None:
        """Start what does not run and give it the images. Raises packages.Missing, EngineFailed and CommandFailed."""
        packages.require()
        self._make_directory()
        for engine in self.engines.values():
            engine.start()
            images.provide(engine, self.archives)

    def is_up(self) -> bool:
        """Say whether both engines answer."""
        return all(engine.answers() for engine in self.engines.values())

    def down(self) -> None:
        """Leave nothing of the set. Nothing happens when there is none."""
        for engine in (*self._private(), *self.engines.values()):
            engine.remove()
        if self.directory.exists():
            unmount_below(self.directory)  # what a test that was killed has mounted
            shutil.rmtree(self.directory)

    def new_engine(self, name: str, wanted: Iterable[str] = images.ALL) -> Engine:
        """Start one more engine, for a test that restarts or kills it. It ends with `remove`, or with the set."""
        engine = KINDS[name](Path(tempfile.mkdtemp(prefix=f"{name}-", dir=self.directory)))
        try:
            engine.start()
            images.provide(engine, self.archives, wanted)
        except BaseException:
            engine.remove()
            raise
        return engine

    @contextmanager
    def reserved(self) -> Iterator[bool]:
        """Hold the set for one run of the tests; False when another run has it, or when there is no such set."""
        try:
            handle = os.open(self.directory, os.O_RDONLY | os.O_DIRECTORY)
        except FileNotFoundError:
            yield False
            return
        try:
            yield _locked(handle)
        finally:
            os.close(handle)

    def belongs_to_this_process(self) -> None:
        """Note that the set has no use when this process has ended; `remove_orphans` takes it down then."""
        self._make_directory()
        process = Process.of(os.getpid())
        assert process is not None
        self._owner.write_text(json.dumps(asdict(process)))

    def is_orphan(self) -> bool:
        """Say whether the set belonged to a process that has ended."""
        try:
            return not Process(**json.loads(self._owner.read_text())).alive()
        except FileNotFoundError:
            return False

    def environment(self) -> dict[str, str]:
        """Return what the clients of both engines need to find them."""
        return {key: value for engine in self.engines.values() for key, value in engine.client_environment().items()}

    def _private(self) -> list[Engine]:
        """Return the engines of `new_engine`, and what is left of them."""
        return [kind(folder) for name, kind in KINDS.items() for folder in sorted(self.directory.glob(f"{name}-*"))]

    def _make_directory(self) -> None:
        """Make the directory; one that somebody else made in a place for all is refused."""
        self.directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        if self.directory.stat().st_uid != os.geteuid():
            raise packages.Missing(f"{self.directory} belongs to somebody else; set HOTFN_ENGINES to another one")


def own_set() -> EngineSet:
    """Return a new set that belongs to this process."""
    engines = EngineSet(Path(tempfile.mkdtemp(prefix=PREFIX)))
    engines.belongs_to_this_process()
    return engines


def remove_orphans() -> None:
    """Take down what test runs that were killed have left."""
    for folder in Path(tempfile.gettempdir()).glob(f"{PREFIX}*"):
        if folder.stat().st_uid == os.geteuid() and (orphan := EngineSet(folder)).is_orphan():
            orphan.down()


def _locked(handle: int) -> bool:
    """Lock an open file until it is closed; False when another one has the lock."""
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
