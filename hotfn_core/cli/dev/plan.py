"""What `hotfn dev` was asked to do, and what there is to watch for it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from hotfn_core.cli.spec import Found
from hotfn_core.model import FunctionSpec

from .files import Files, located, shown_all


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What `hotfn dev` was asked to do.

    `read` reads the function anew and raises ConfigError; `found` is what it gave at first. `config` is the file that
    it stands in, if any. `build` is run in `directory`.
    """

    found: Found
    read: Callable[[], Found]
    config: Path | None
    directory: Path
    watched: Watched
    build: tuple[str, ...] = ()
    test: bool = False
    jsonl: bool = False
    parallel: int = 1
    stderr: str = "show"
    # What Manager.call gets besides the body; headers may hold secrets.
    call: dict[str, Any] = field(default_factory=dict, repr=False)


@dataclass(frozen=True, kw_only=True)
class Watched:
    """What is watched: all that is in `directories`, and `files`. `note` says what is not, and what to do about it."""

    directories: Sequence[Path]
    files: Sequence[Path]
    ignore: Sequence[str] = ()
    note: str = ""

    def as_files(self) -> Files:
        """Return what finds them."""
        return Files(self.directories, self.files, self.ignore)

    def __str__(self) -> str:
        return shown_all(self.directories or self.files)


def watched(
    spec: FunctionSpec, config: Path | None, paths: Sequence[Path], ignore: Sequence[str], *, build: bool
) -> Watched:
    """Say what to watch for a function: `paths` when there are any, else the directory that it runs in or that its
    configuration is in; in any case the configuration, and files that its command names."""
    here = config.parent if config else Path()
    cwd = Path(str(spec.driver_options.get("cwd", ""))) if not spec.image else here
    directories = [one for one in paths if one.is_dir()]
    files = [one for one in paths if not one.is_dir()] + ([config] if config else [])
    note = ""
    if not spec.image:
        files += [cwd / word for word in spec.command if (cwd / word).is_file()]
    if spec.image and not build:
        only = f"only {shown_all(files)}" if files else "nothing"
        note = (
            f"a changed file does not change the image {spec.image}, so {only} is watched; "
            f"--build 'docker build -t {spec.image} .' builds it whenever a file changes"
        )
    elif not paths:
        run_in = here if cwd == Path() else cwd
        directories = _tops([here, run_in] if build else [run_in])
    return Watched(directories=directories, files=files, ignore=ignore, note=note)


def _tops(directories: Sequence[Path]) -> list[Path]:
    """Leave out what is within another of them."""
    found = sorted({located(one) for one in directories})
    return [one for one in found if not any(one != other and one.is_relative_to(other) for other in found)]
