"""What the tests of the command line share: hotfn as a process of its own, and a function that does as it is told."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import textwrap
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

HOTFN = [sys.executable, "-m", "hotfn_core"]
GUEST = Path(__file__).with_name("guest.py")


@pytest.fixture
def hotfn(tmp_path: Path) -> Callable[..., subprocess.CompletedProcess[bytes]]:
    """Run `hotfn ARGS` to its end in an empty directory. Keywords go to subprocess.run."""

    def call(*args: str, **options: Any) -> subprocess.CompletedProcess[bytes]:
        if "stdin" not in options:
            options.setdefault("input", b"")
        options.setdefault("stdout", subprocess.PIPE)
        options.setdefault("stderr", subprocess.PIPE)
        options.setdefault("cwd", tmp_path)
        options["env"] = {**os.environ, **options.get("env", {})}
        return subprocess.run([*HOTFN, *args], timeout=60, check=False, **options)

    return call


@pytest.fixture
def spawn(tmp_path: Path) -> Iterator[Callable[..., subprocess.Popen[bytes]]]:
    """Start a program. It is ended with the test, and its pipes are closed."""
    started: list[subprocess.Popen[bytes]] = []

    def call(*argv: str, **options: Any) -> subprocess.Popen[bytes]:
        process = subprocess.Popen(argv, cwd=tmp_path, **options)
        started.append(process)
        return process

    yield call
    for process in started:
        process.kill()
        process.wait()
        for stream in (process.stdin, process.stdout, process.stderr):
            if stream is not None:
                with contextlib.suppress(OSError):  # what it had not taken yet
                    stream.close()


@pytest.fixture
def start(spawn: Callable[..., subprocess.Popen[bytes]]) -> Callable[..., subprocess.Popen[bytes]]:
    """Start `hotfn ARGS` with pipes."""

    def call(*args: str, **options: Any) -> subprocess.Popen[bytes]:
        return spawn(*HOTFN, *args, **dict.fromkeys(("stdin", "stdout", "stderr"), subprocess.PIPE) | options)

    return call


@pytest.fixture
def guest() -> list[str]:
    """The options that run the function of these tests hot, up to and with its command."""
    return ["--format", "http", "--", sys.executable, str(GUEST)]


@pytest.fixture
def install(tmp_path: Path) -> Callable[[str, str], dict[str, str]]:
    """Make a distribution with one plugin, as an installer would leave it. Returns the environment that has it."""
    site = tmp_path / "site"

    def call(name: str, source: str) -> dict[str, str]:
        info = site / f"{name}-1.5.dist-info"
        info.mkdir(parents=True)
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.5\n")
        (info / "entry_points.txt").write_text(f"[hotfn]\n{name} = {name}\n")
        (site / f"{name}.py").write_text("from hotfn_core import hookimpl\n" + textwrap.dedent(source))
        return {"PYTHONPATH": os.pathsep.join([str(site), os.environ.get("PYTHONPATH", "")])}

    return call
