"""The set-up itself: engines start, stop and leave nothing; both have the same images; no stranger is signalled."""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import asdict, replace
from pathlib import Path

import pytest

from . import conftest
from .conftest import NewEngine
from .setup import CommandFailed, DockerEngine, Engine, EngineFailed, EngineSet, PodmanEngine, Process, images, packages
from .setup.daemon import Daemon
from .setup.mounts import file_system, mounts_below
from .setup.process import descendants, processes_with
from .setup.sets import own_set, remove_orphans

HERE = Path(__file__).parent
# Ends at SIGTERM at once, as a function should; pid 1 has no such default.
WAITS = ("sh", "-c", "trap 'exit 0' TERM; sleep 1000 & wait")


@pytest.fixture
def short_path() -> Iterator[Path]:
    """A directory whose path is short enough for engines, which `tmp_path` is not."""
    folder = Path(tempfile.mkdtemp(prefix="hotfn-test-", dir="/tmp"))
    yield folder
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture
def sleeper() -> Iterator[subprocess.Popen[bytes]]:
    with subprocess.Popen(["/bin/sleep", "1000"]) as child:
        yield child
        child.kill()


class BrokenEngine(DockerEngine):
    def _prepare(self) -> list[str]:
        return ["/bin/sh", "-c", "echo the disk is on fire >&2; exit 1"]


def process_of(engine: Engine, container: str) -> Process:
    process = Process.of(engine.inspect(container)["State"]["Pid"])
    assert process is not None
    return process


def nothing_left(directory: Path) -> bool:
    return not directory.exists() and mounts_below(directory) == [] and processes_with(os.fspath(directory)) == []


class TestImages:
    def test_the_echo_answers(self, engine: Engine) -> None:
        assert engine.cli("run", "--rm", "-i", "--network=none", engine.image_echo, stdin=b"hello") == "hello"

    def test_python_has_its_library_and_a_shell(self, engine: Engine) -> None:
        script = "import asyncio, ctypes, hashlib, json, os, ssl, sys; print(os.getuid(), os.popen('id -un').read())"
        out = engine.cli("run", "--rm", "--network=none", "-u", "fn", engine.image_python, "python3", "-c", script)
        assert out.split() == ["1000", "fn"]

    def test_the_applets_that_tests_use_are_there(self, engine: Engine) -> None:
        applets = "ls cat id ps ip mount dd sleep sh kill head wget nslookup touch env"
        line = f"for one in {applets}; do command -v $one >/dev/null || echo $one; done"
        assert engine.cli("run", "--rm", "--network=none", engine.image_python, "sh", "-c", line) == ""

    def test_the_library_is_compiled(self, engine: Engine) -> None:
        script = "import json.decoder as it; print(it.__cached__, __import__('os').path.exists(it.__cached__))"
        out = engine.cli("run", "--rm", "--network=none", engine.image_python, "python3", "-vc", script)
        assert out.endswith("True")

    def test_an_image_with_an_entrypoint_keeps_its_command(self, engine: Engine) -> None:
        assert json.loads(engine.cli("run", "--rm", engine.image_entrypoint)) == ["one", "two words"]
        assert json.loads(engine.cli("run", "--rm", engine.image_entrypoint, "three")) == ["three"]

    def test_an_image_with_a_volume_makes_one(self, engine: Engine) -> None:
        container = engine.cli("create", engine.image_volume)
        kinds = [mount["Type"] for mount in engine.inspect(container)["Mounts"]]
        engine.remove_containers([container])
        assert kinds == ["volume"]

    @pytest.mark.parametrize("name", [images.PYTHON, images.ECHO])
    def test_both_engines_have_the_same_files(self, engines: EngineSet, name: str) -> None:
        replies = [one.api("GET", f"/images/{one.repository}{name}/json")[1] for one in engines.engines.values()]
        first, second = [reply["RootFS"]["Layers"] for reply in replies]
        assert first == second == [f"sha256:{digest(images.archive(name, engines.archives))}"]

    @pytest.mark.parametrize("name", [images.PYTHON, images.ECHO])
    def test_the_same_host_makes_the_same_archive(self, engines: EngineSet, tmp_path: Path, name: str) -> None:
        again = images.archive(name, tmp_path)
        assert digest(again) == digest(images.archive(name, engines.archives))


def digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


class TestAnEngine:
    def test_it_tells_its_version_and_its_pid(self, engine: Engine) -> None:
        assert engine.version()[0].isdigit()
        assert Path(f"/proc/{engine.pid}/cmdline").read_bytes().split(b"\0")[0].endswith((b"dockerd", b"podman"))

    def test_containers_are_listed_by_label(self, engine: Engine) -> None:
        made = [engine.cli("create", "--name", f"n{i}", "--label", f"i={i}", engine.image_echo) for i in range(2)]
        both, one, none = engine.ps(label="i"), engine.ps(label={"i": "1"}), engine.ps(label="j")
        running = engine.ps(all=False)
        engine.remove_containers(made)
        assert {row.id for row in both} == set(made)
        assert [(row.name, row.state, row.labels) for row in one] == [("n1", "created", {"i": "1"})]
        assert none == [] == running

    def test_a_command_that_fails_says_why(self, engine: Engine) -> None:
        with pytest.raises(CommandFailed, match=r"inspect nobody ended with \d+: .*(?i:no such)"):
            engine.cli("inspect", "nobody")

    def test_a_container_that_runs_out_of_memory_leaves_no_file_where_the_tests_run(
        self, engine: Engine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.chdir(tmp_path)
        limits = ("--network=none", "--memory=32m", "--memory-swap=32m")
        program = ("python3", "-c", "bytearray(200 << 20)")
        with pytest.raises(CommandFailed, match="ended with 137"):
            engine.cli("run", "--rm", *limits, engine.image_python, *program)
        container = engine.cli("create", *limits, engine.image_python, *program)
        engine.api("POST", f"/containers/{container}/start")
        assert engine.api("POST", f"/containers/{container}/wait")[1]["StatusCode"] == 137
        engine.remove_containers([container])
        assert Path(f"/proc/{engine.pid}/cwd").readlink() == engine.directory
        assert list(tmp_path.iterdir()) == []

    def test_clients_find_it_by_the_environment(self, engine: Engine) -> None:
        assert os.environ[engine.variable] == f"unix://{engine.directory}/sock"
        assert not {"DOCKER_CONTEXT", "DOCKER_TLS_VERIFY", "CONTAINER_SSHKEY"} & set(os.environ)

    def test_what_a_test_leaves_is_found(self, engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(conftest, "SETTLE", 0)
        before = engine.inventory()
        container = engine.cli("create", "--name", "left", engine.image_volume)
        left = conftest.left_since(engine, before)
        engine.remove_containers([container])
        assert next(what.split(" ")[:2] for what in left.values()) == ["container", "left"]
        assert len(left) == 2  # and its volume
        assert conftest.left_since(engine, before) == {}

    def test_a_start_that_fails_shows_the_log(self, short_path: Path) -> None:
        with pytest.raises(EngineFailed, match=r"(?s)docker ended at once.*the disk is on fire"):
            BrokenEngine(short_path / "d").start()

    @pytest.mark.parametrize("kind", [DockerEngine, PodmanEngine])
    def test_a_path_that_is_too_long_is_refused(self, kind: type[Engine]) -> None:
        with pytest.raises(EngineFailed, match="longer than 46 characters; set HOTFN_ENGINES or TMPDIR"):
            kind(Path("/tmp", "x" * 42))


class TestAPrivateEngine:
    def test_it_is_restarted_and_killed_and_goes_on(self, private_engine: Engine) -> None:
        first = private_engine.pid
        container = private_engine.cli("create", private_engine.image_echo)
        private_engine.restart()
        second = private_engine.pid
        private_engine.kill()
        assert not private_engine.answers()
        with pytest.raises(EngineFailed, match="does not run"):
            _ = private_engine.pid
        private_engine.start()
        assert len({first, second, private_engine.pid}) == 3
        assert [one.id for one in private_engine.ps()] == [container]
        assert private_engine.has_image(images.ECHO)

    def test_nothing_of_it_is_left(self, private_engine: Engine) -> None:
        names = ("running", "paused", "deaf")
        for name in names:
            program = WAITS if name != "deaf" else ("sh", "-c", "trap '' TERM; sleep 1000 & wait")
            private_engine.cli("run", "-d", "--init", "--name", name, private_engine.image_python, *program)
        private_engine.cli("pause", "paused")
        rows = {name: private_engine.inspect(name)["Id"] for name in names}
        processes = [process_of(private_engine, name) for name in names]
        private_engine.remove()
        assert not [one for one in processes if one.alive()]
        assert nothing_left(private_engine.directory)
        groups = [name for _, names, _ in os.walk("/sys/fs/cgroup") for name in names]  # others come and go meanwhile
        assert not [name for name in groups if any(one in name for one in rows.values())]

    def test_nothing_is_left_of_one_that_was_killed(self, private_engine: Engine) -> None:
        private_engine.cli("run", "-d", "--network=none", "--name", "one", private_engine.image_python, *WAITS)
        process = process_of(private_engine, "one")
        private_engine.kill()
        assert process.alive()
        private_engine.remove()
        assert not process.alive()
        assert nothing_left(private_engine.directory)

    def test_nothing_is_left_of_one_that_cannot_start_again(self, private_engine: Engine, engines: EngineSet) -> None:
        private_engine.cli("run", "-d", "--network=none", "--name", "one", private_engine.image_python, *WAITS)
        process = process_of(private_engine, "one")
        private_engine.kill()
        broken = BrokenEngine(private_engine.directory)
        broken.helpers = private_engine.helpers  # type: ignore[method-assign]
        broken.remove()
        assert process.wait(5)
        assert nothing_left(private_engine.directory)

    def test_engines_know_nothing_of_each_other(self, engine: Engine, new_engine: NewEngine) -> None:
        other = new_engine(engine.name, (images.ECHO,))
        container = other.cli("create", other.image_echo)
        assert [one.id for one in other.ps()] == [container]
        assert engine.ps() == []
        assert not other.has_image(images.PYTHON)


class TestAProcess:
    def test_one_with_the_same_pid_is_another(self, sleeper: subprocess.Popen[bytes]) -> None:
        process = Process.of(sleeper.pid)
        assert process is not None
        assert process.alive()
        for stranger in (replace(process, started=process.started - 1), replace(process, boot="another")):
            assert not stranger.alive()
            assert not stranger.signal(signal.SIGKILL)
            assert stranger.wait(0)
            stranger.end(0)
        assert sleeper.poll() is None

    def test_it_ends_when_it_is_told(self, sleeper: subprocess.Popen[bytes]) -> None:
        process = Process.of(sleeper.pid)
        assert process is not None
        assert not process.wait(0)
        process.end(10)
        assert Process.of(sleeper.pid) is None
        assert not process.signal(signal.SIGKILL)

    def test_what_it_started_is_found(self) -> None:
        with subprocess.Popen(["/bin/sh", "-c", "/bin/sleep 1000 & echo; wait"], stdout=subprocess.PIPE) as child:
            assert child.stdout is not None
            child.stdout.readline()
            process = Process.of(child.pid)
            assert process is not None
            (inner,) = descendants(process)
            inner.end(10)
        assert not process.alive()

    def test_one_of_this_machine_is_found_by_its_arguments(self, tmp_path: Path) -> None:
        with subprocess.Popen(["/bin/sh", "-c", "read line", os.fspath(tmp_path)], stdin=subprocess.PIPE) as child:
            assert processes_with(os.fspath(tmp_path)) == [Process.of(child.pid)]


class TestADaemon:
    def test_another_object_ends_it(self, tmp_path: Path) -> None:
        mine = Daemon(tmp_path, "one")
        mine.start(["/bin/sleep", "1000"], {})
        process = mine.process
        assert process is not None
        Daemon(tmp_path, "one").end(10)
        assert not process.alive()
        mine.end(0)
        assert not mine.alive

    def test_one_that_is_deaf_is_killed(self, tmp_path: Path) -> None:
        daemon = Daemon(tmp_path, "one")
        daemon.start(["/bin/sh", "-c", "trap '' TERM; echo ready; while :; do read line; done"], {})
        process = daemon.process
        assert process is not None
        while "ready" not in daemon.tail():
            assert daemon.alive
        daemon.end(0.1)
        assert not process.alive()

    def test_a_pid_that_somebody_else_has_now_is_left_alone(
        self, tmp_path: Path, sleeper: subprocess.Popen[bytes]
    ) -> None:
        process = Process.of(sleeper.pid)
        assert process is not None
        daemon = Daemon(tmp_path, "one")
        daemon.record.write_text(json.dumps(asdict(replace(process, started=process.started - 1))))
        assert not daemon.alive
        daemon.kill()
        daemon.record.write_text(json.dumps(asdict(replace(process, started=process.started - 1))))
        daemon.end(0)
        assert sleeper.poll() is None
        assert daemon.process is None


class TestASet:
    def test_up_when_it_is_up_changes_nothing(self, engines: EngineSet) -> None:
        before = [engine.pid for engine in engines.engines.values()]
        engines.up()
        assert [engine.pid for engine in engines.engines.values()] == before

    def test_one_run_of_the_tests_has_it_at_a_time(self, short_path: Path) -> None:
        one = EngineSet(short_path)
        with one.reserved() as first, EngineSet(short_path).reserved() as second:
            assert first
            assert not second
        with one.reserved() as again:
            assert again

    def test_none_that_is_not_there_is_reserved(self, short_path: Path) -> None:
        with EngineSet(short_path / "no").reserved() as got:
            assert not got

    def test_orphans_are_taken_down_and_no_others(self, short_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(tempfile, "tempdir", os.fspath(short_path))
        monkeypatch.setattr("engines.setup.sets.PREFIX", "s-")
        mine, orphan, somebody = own_set(), own_set(), EngineSet(short_path / "s-shared")
        somebody.directory.mkdir()
        owner = orphan.directory / "owner"
        owner.write_text(json.dumps(json.loads(owner.read_text()) | {"started": 1}))
        remove_orphans()
        assert {path.name for path in short_path.iterdir()} == {mine.directory.name, "s-shared"}

    def test_private_engines_go_down_with_it(self, short_path: Path) -> None:
        one = EngineSet(short_path)
        engine = one.new_engine("podman", (images.ECHO,))
        EngineSet(short_path).down()
        assert not engine.answers()
        assert nothing_left(short_path)


class TestTheCommand:
    def run(self, *arguments: str, directory: Path) -> subprocess.CompletedProcess[str]:
        environment = os.environ | {"HOTFN_ENGINES": os.fspath(directory)}
        argv = [sys.executable, "-I", os.fspath(HERE), *arguments]
        return subprocess.run(argv, env=environment, capture_output=True, text=True, timeout=110, check=False)

    def test_up_status_down(self, short_path: Path) -> None:
        up = self.run("up", directory=short_path)
        assert up.returncode == 0, up.stderr
        assert up.stdout.splitlines() == [
            f"export DOCKER_HOST=unix://{short_path}/docker/sock",
            f"export CONTAINER_HOST=unix://{short_path}/podman/sock",
            f"export HOTFN_ENGINES={short_path}",
        ]
        status = self.run("status", directory=short_path)
        assert status.returncode == 0
        assert [line.split(" ")[0] for line in status.stdout.splitlines()] == ["docker", "podman"]
        assert self.run("down", directory=short_path).returncode == 0
        assert nothing_left(short_path)

    def test_status_of_none_and_down_of_none(self, short_path: Path) -> None:
        status = self.run("status", directory=short_path)
        assert status.returncode == 1
        assert "docker does not run" in status.stdout
        assert "podman does not run" in status.stdout
        assert self.run("down", directory=short_path).returncode == 0

    def test_an_error_is_one_line(self) -> None:
        done = self.run("up", directory=Path("/tmp", "x" * 60))
        assert done.returncode == 1
        assert done.stderr.startswith("engines: /tmp/xxx")
        assert "Traceback" not in done.stderr


class TestWhatIsMissing:
    @pytest.fixture
    def bare_machine(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(packages, "_ROOT", tmp_path)

    @pytest.mark.usefixtures("bare_machine")
    def test_it_is_said_what_and_what_to_do(self) -> None:
        with pytest.raises(
            packages.Missing, match=r"not installed: docker\.io, podman, .*Run `python tests/engines up`"
        ):
            packages.require()

    @pytest.mark.usefixtures("bare_machine")
    def test_without_apt_nothing_is_installed(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("PATH", "")
        with pytest.raises(packages.Missing, match=r"this is no Debian, .*docker\.io, podman"):
            packages.install()

    @pytest.mark.usefixtures("bare_machine")
    def test_a_user_gets_the_command_for_root(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(os, "geteuid", lambda: 1000)
        with pytest.raises(packages.Missing, match=r"Run as root: apt-get install --no-install-recommends docker\.io"):
            packages.install()

    def test_a_user_is_told_that_root_is_needed(self, engines: EngineSet, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(os, "geteuid", lambda: 1000)
        with pytest.raises(packages.Missing, match="needs root"):
            packages.require()

    def test_nothing_is_done_when_all_is_there(self, engines: EngineSet, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("PATH", "")
        packages.install()
        assert packages.missing() == []

    @pytest.mark.parametrize("variables", [{"CI": "true"}, {"HOTFN_REQUIRE_ENGINES": "1"}])
    def test_where_engines_are_required_it_is_a_failure(
        self, monkeypatch: pytest.MonkeyPatch, variables: dict[str, str]
    ) -> None:
        set_only(monkeypatch, variables)
        with pytest.raises(pytest.fail.Exception, match="no engines: no luck"):
            conftest.unavailable("no luck")

    def test_it_is_said_once_for_all_tests(self) -> None:
        """In a run of its own, by a user who is not root; or whoever has no engines reads of nothing else."""
        program = "import os, sys, pytest; os.geteuid = lambda: 1000; sys.exit(pytest.main(sys.argv[1:]))"
        argv = [sys.executable, "-I", "-c", program, "-p", "no:cacheprovider", "-k", "TestImages", os.fspath(HERE)]
        environment = {name: value for name, value in os.environ.items() if not name.startswith(("CI", "HOTFN_"))}
        done = subprocess.run(argv, env=environment, capture_output=True, text=True, timeout=110, check=False)
        (line,) = [line for line in done.stdout.splitlines() if line.startswith("SKIPPED")]
        assert re.fullmatch(r"SKIPPED \[\d+\] tests/engines/conftest\.py:1: no engines: starting .* needs root.*", line)
        assert done.returncode == 0, done.stdout

    @pytest.mark.parametrize("variables", [{}, {"CI": "true", "HOTFN_REQUIRE_ENGINES": "0"}])
    def test_elsewhere_it_is_said(self, monkeypatch: pytest.MonkeyPatch, variables: dict[str, str]) -> None:
        set_only(monkeypatch, variables)
        with pytest.raises(pytest.skip.Exception, match="no engines: no luck"):
            conftest.unavailable("no luck")


def set_only(monkeypatch: pytest.MonkeyPatch, variables: dict[str, str]) -> None:
    for name in ("CI", "HOTFN_REQUIRE_ENGINES"):
        monkeypatch.delenv(name, raising=False)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)


def test_the_file_system_of_a_directory_is_known() -> None:
    assert file_system(Path("/proc/self")) == "proc"
    assert file_system(Path("/")) != ""
