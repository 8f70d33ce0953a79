"""The parts of `hotfn dev` that need no function: what is watched, what counts as a change, and builds."""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import psutil
import pytest

from hotfn_core import ConfigError, FunctionSpec
from hotfn_core.cli.dev import files as files_module
from hotfn_core.cli.dev.build import BuildFailed, build
from hotfn_core.cli.dev.files import Files, differences
from hotfn_core.cli.dev.inotify import UNKNOWN, Inotify
from hotfn_core.cli.dev.plan import watched


def write(top: Path, *names: str) -> None:
    for name in names:
        path = top / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(name)


def scanned(files: Files, top: Path) -> set[str]:
    return {str(path.relative_to(top)) for path in files.scan({}, lambda _: None)}


class TestFiles:
    def test_what_belongs_to_a_function(self, tmp_path: Path) -> None:
        write(tmp_path, "function.py", "lib/part.py", ".env", "venv.py")
        write(tmp_path, ".git/HEAD", "lib/__pycache__/part.pyc", "lib/part.pyc", ".function.py.swp", "function.py~")
        write(tmp_path, "node_modules/x/x.js", ".venv/bin/python", "#function.py#", "4913")
        assert scanned(Files([tmp_path]), tmp_path) == {"function.py", "lib/part.py", ".env", "venv.py"}

    def test_patterns_are_of_names_or_of_paths(self, tmp_path: Path) -> None:
        write(tmp_path, "a.log", "lib/b.log", "data/x", "data/more/y", "lib/data", "out/z")
        files = Files([tmp_path], ignore=["*.log", "data/*", "out/"])
        assert scanned(files, tmp_path) == {"lib/data"}

    def test_files_by_name_and_nothing_around_them(self, tmp_path: Path) -> None:
        write(tmp_path, "one", "two")
        files = Files([], [tmp_path / "one", tmp_path / "not there yet"])
        assert scanned(files, tmp_path) == {"one"}
        assert files.of_interest(tmp_path / "not there yet")
        assert not files.of_interest(tmp_path / "two")

    def test_what_a_look_is_worth(self, tmp_path: Path) -> None:
        files = Files([tmp_path], ignore=["*.log"])
        assert files.of_interest(UNKNOWN)
        assert files.of_interest(tmp_path)
        assert files.of_interest(tmp_path / "new")
        assert not files.of_interest(tmp_path / "lib" / "x.log")
        assert not files.of_interest(tmp_path / "__pycache__")
        assert not files.of_interest(tmp_path.parent / "elsewhere")

    def test_a_change_is_another_content(self, tmp_path: Path) -> None:
        write(tmp_path, "same", "other", "gone", "program")
        files = Files([tmp_path])
        before = files.scan({}, lambda _: None)
        os.utime(tmp_path / "same")
        (tmp_path / "other").write_text("OTHER")
        (tmp_path / "gone").unlink()
        (tmp_path / "program").chmod(0o755)
        write(tmp_path, "new")
        after = files.scan(before, lambda _: None)
        assert [path.name for path in differences(before, after)] == ["gone", "new", "other", "program"]

    def test_of_a_large_file_the_time_counts(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(files_module, "_HASHED", 3)
        write(tmp_path, "large")
        before = Files([tmp_path]).scan({}, lambda _: None)
        os.utime(tmp_path / "large", (1, 1))
        assert len(differences(before, Files([tmp_path]).scan(before, lambda _: None))) == 1

    def test_pipes_and_links_to_nothing_are_no_files(self, tmp_path: Path) -> None:
        write(tmp_path, "file")
        os.mkfifo(tmp_path / "pipe")  # opening it would wait for ever
        (tmp_path / "dangling").symlink_to("nowhere")
        (tmp_path / "round").symlink_to(tmp_path)
        (tmp_path / "link").symlink_to("file")
        assert scanned(Files([tmp_path]), tmp_path) == {"file", "link"}


class TestInotify:
    def test_it_tells_where(self, tmp_path: Path) -> None:
        inotify = Inotify()
        try:
            inotify.add(tmp_path)
            inotify.add(tmp_path / "nowhere")
            assert inotify.read() == []
            write(tmp_path, "ä")
            assert set(inotify.read()) == {tmp_path / "ä"}
            (tmp_path / "ä").rename(tmp_path / "b")
            assert set(inotify.read()) == {tmp_path / "ä", tmp_path / "b"}
        finally:
            inotify.close()

    def test_a_directory_that_goes_is_forgotten(self, tmp_path: Path) -> None:
        inotify = Inotify()
        try:
            for _ in range(3):
                (tmp_path / "folder").mkdir()
                inotify.add(tmp_path / "folder")
                (tmp_path / "folder").rmdir()
                assert tmp_path / "folder" in inotify.read()
            assert inotify._directories == {}
        finally:
            inotify.close()

    def test_a_limit_of_the_kernel_is_named(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        inotify = Inotify()
        inotify.close()
        monkeypatch.setattr("ctypes.get_errno", lambda: 28)
        with pytest.raises(ConfigError, match="raise fs.inotify.max_user_watches"):
            inotify.add(tmp_path)


class TestWatched:
    def spec(self, *command: str, **fields: Any) -> FunctionSpec:
        return FunctionSpec(name="f", command=command, **fields)

    def test_the_directory_that_it_runs_in(self, tmp_path: Path) -> None:
        write(tmp_path, "functions.toml", "one/run.py")
        config = tmp_path / "functions.toml"
        spec = self.spec("python3", "run.py", driver_options={"cwd": str(tmp_path / "one")})
        seen = watched(spec, config, (), (), build=False)
        assert seen.directories == [tmp_path / "one"]
        assert list(seen.files) == [config, tmp_path / "one" / "run.py"]

    def test_without_one_that_of_the_configuration(self, tmp_path: Path) -> None:
        write(tmp_path, "func.yaml")
        assert watched(self.spec("x"), tmp_path / "func.yaml", (), (), build=False).directories == [tmp_path]

    def test_what_is_asked_for(self, tmp_path: Path) -> None:
        write(tmp_path, "func.yaml", "src/a", "b")
        paths = [tmp_path / "src", tmp_path / "b"]
        seen = watched(self.spec("x"), tmp_path / "func.yaml", paths, (), build=False)
        assert (seen.directories, seen.files) == ([paths[0]], [paths[1], tmp_path / "func.yaml"])

    def test_of_an_image_the_context_when_it_is_built(self, tmp_path: Path) -> None:
        write(tmp_path, "func.yaml")
        spec = self.spec(image="greet", driver="docker")
        seen = watched(spec, tmp_path / "func.yaml", (), (), build=True)
        assert (seen.directories, seen.note) == ([tmp_path], "")
        seen = watched(spec, tmp_path / "func.yaml", (), (), build=False)
        assert (seen.directories, seen.files) == ([], [tmp_path / "func.yaml"])
        assert "so only" in seen.note


def built(script: str, *args: str) -> Sequence[str]:
    return [sys.executable, "-c", script, *args]


class TestBuild:
    def test_its_last_lines_are_kept(self, tmp_path: Path) -> None:
        script = "for n in range(100_000): print('line', n)\nraise SystemExit(3)"
        with pytest.raises(BuildFailed, match="exited with status 3") as failure:
            asyncio.run(build(built(script), tmp_path))
        assert list(failure.value.lines) == [f"line {n}" for n in range(99_980, 100_000)]

    def test_what_it_leaves_running_is_not_waited_for(self, tmp_path: Path) -> None:
        script = "import subprocess; print(subprocess.Popen(['sleep', '600']).pid, file=open('pid', 'w'))"
        asyncio.run(build(built(script), tmp_path))
        psutil.Process(int((tmp_path / "pid").read_text())).kill()

    def test_cancelled_it_is_killed_with_its_children(self, tmp_path: Path) -> None:
        script = "import subprocess, time; subprocess.Popen(['sleep', '600']); time.sleep(600)"

        async def cancelled() -> list[psutil.Process]:
            task = asyncio.create_task(build(built(script), tmp_path))
            while len(children := psutil.Process().children(recursive=True)) < 2:  # noqa: ASYNC110  # nobody tells
                await asyncio.sleep(0.01)
            task.cancel()
            await asyncio.wait([task])
            return children

        assert psutil.wait_procs(asyncio.run(cancelled()), timeout=20)[1] == []

    def test_it_reads_nothing(self, tmp_path: Path) -> None:
        asyncio.run(build(built("import sys; assert sys.stdin.read() == ''"), tmp_path))
