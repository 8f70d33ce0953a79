"""The examples of the docs, and what `hotfn init` writes, as images: what a newcomer types works on both engines."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import hotfn_function
import pytest

from .setup import Engine, EngineSet, images

ROOT = Path(__file__).parents[2]
EXAMPLES = ROOT / "docs" / "examples"
HOTFN = str(Path(sys.executable).with_name("hotfn"))
IMAGE = "hotfn-test/example"
Need = Callable[[str], None]
Done = subprocess.CompletedProcess[bytes]


def hotfn(*args: str, cwd: Path | None = None, body: bytes = b"") -> Done:
    return subprocess.run([HOTFN, *args], input=body, capture_output=True, timeout=60, check=False, cwd=cwd)


@contextmanager
def built(engine: Engine, folder: Path, base: str) -> Iterator[str]:
    """Build the image of a folder without a network, and remove it afterwards. Yields its name."""
    arguments = ["--build-arg", f"BASE={base}"] if "ARG BASE" in (folder / "Dockerfile").read_text() else []
    engine.cli("build", "--network=none", *arguments, "-t", IMAGE, str(folder), timeout=100)
    try:
        yield engine.repository + IMAGE
    finally:
        engine.cli("rmi", "-f", engine.repository + IMAGE)


def base_of(runtime: str, engine: Engine, engines: EngineSet, need: Need) -> str:
    """Return the image that a function of this runtime is built from. That of Node is made when it is asked for."""
    if runtime != "node":
        return engine.image_python  # it has a shell, too
    need("node")
    images.provide(engine, engines.archives, [images.NODE])
    return engine.image_node


def made(folder: Path, need: Need) -> Path:
    """Do what has to be done before `docker build`, as the first line of each Dockerfile has it."""
    if (folder / "Makefile").exists():
        need("make")
        need("rustc" if (folder / "function.rs").exists() else "cc")
        subprocess.run(["make"], cwd=folder, check=True, capture_output=True)
    elif (folder / "function.py").exists():
        shutil.copy(str(hotfn_function.__file__), folder)
    return folder


def test_the_dockerfile_of_lines_builds_and_answers_a_thousand_lines_hot(engine: Engine) -> None:
    with built(engine, EXAMPLES / "lines", engine.image_python) as image:
        options = ["--driver", engine.name, "--image", image, "--format", "http", "--each-line", "--stats"]
        done = hotfn("run", *options, body=b"the quick brown fox\n" * 1000)
    assert done.returncode == 0, done.stderr
    assert len(done.stdout.splitlines()) == 1000
    assert b"ok         1,000" in done.stderr
    assert b"cold       1" in done.stderr


@pytest.mark.parametrize("example", ["python", "node", "shell", "c", "rust"])
def test_an_example_passes_its_tests_in_a_container_and_stays_hot(
    example: str, engine: Engine, engines: EngineSet, need: Need, tmp_path: Path
) -> None:
    folder = made(Path(shutil.copytree(EXAMPLES / example, tmp_path / example)), need)
    with built(engine, folder, base_of(example, engine, engines, need)) as image:
        where = ["-c", str(folder / "func.yaml"), "--driver", engine.name, "--image", image]
        passes(where)
        big = hotfn("run", *where, body=b"ab " * 349_525)  # 1 MiB, but for a byte
        assert (big.returncode, big.stderr) == (0, b"")
        stays_hot(where, cold=example == "shell")


@pytest.mark.parametrize("runtime", ["python", "node", "shell", "c"])
def test_what_init_writes_is_an_image_that_passes_its_tests(
    runtime: str, engine: Engine, engines: EngineSet, need: Need, tmp_path: Path
) -> None:
    assert hotfn("init", "--runtime", runtime, "greet", cwd=tmp_path).returncode == 0
    folder = made(tmp_path / "greet", need)
    with built(engine, folder, base_of(runtime, engine, engines, need)) as image:
        where = ["-c", str(folder / "func.yaml"), "--driver", engine.name, "--image", image]
        passes(where)
        stays_hot(where, cold=runtime == "shell")


def passes(where: list[str]) -> None:
    done = hotfn("test", *where)
    assert (done.returncode, done.stderr) == (0, b""), done
    assert done.stdout.endswith(b"none failed\n")


def stays_hot(where: list[str], *, cold: bool) -> None:
    """One copy answers three calls; or, where the format is cold, one each."""
    done = hotfn("run", *where, "--calls", "3", "--output", "jsonl", body=b"one two")
    assert (done.returncode, done.stderr) == (0, b"")
    replies = [json.loads(line) for line in done.stdout.splitlines()]
    assert [one["status"] for one in replies] == [200] * 3
    assert [one["cold"] for one in replies] == [True, cold, cold]
    assert len({one["instance"] for one in replies}) == (3 if cold else 1)
