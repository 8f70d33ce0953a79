"""`hotfn init`: what it writes is a function that runs, in three commands, and what is there is never touched."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import CliRunner

from hotfn_core import ConfigError
from hotfn_core.cli import cli
from hotfn_core.cli.start import files
from hotfn_core.cli.start.files import RUNTIMES
from hotfn_core.config import load_config

Run = Callable[..., subprocess.CompletedProcess[bytes]]
EVERY = [(runtime, spoken) for runtime, one in RUNTIMES.items() for spoken in one.formats]


@pytest.fixture
def refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., str]:
    """Run `hotfn init ARGS` in an empty directory, have it end with status 2, and return what it said."""
    monkeypatch.chdir(tmp_path)

    def call(*args: str) -> str:
        done = CliRunner().invoke(cli, ["init", *args], prog_name="hotfn")
        assert done.exit_code == 2, done.output
        return done.output

    return call


Refused = Callable[..., str]


@pytest.mark.parametrize(("runtime", "spoken"), EVERY)
def test_a_newcomers_three_commands(
    runtime: str, spoken: str, hotfn: Run, need: Callable[[str], None], tmp_path: Path
) -> None:
    """hotfn init greet, hotfn test, hotfn call; and `make` where there is something to be made. Then it stays hot."""
    need({"node": "node", "c": "make"}.get(runtime, "sh"))
    first = hotfn("init", "--runtime", runtime, "--format", spoken, "greet")
    assert first.returncode == 0, first.stderr
    folder = tmp_path / "greet"
    for step in RUNTIMES[runtime].next:
        subprocess.run([step], cwd=folder, check=True, capture_output=True)
    second = hotfn("test", cwd=folder)
    assert (second.returncode, second.stderr) == (0, b""), second.stdout
    assert second.stdout.splitlines()[-1] == b"2 tests, none failed"
    third = hotfn("call", "-d", "hotfn", cwd=folder)
    assert (third.returncode, third.stdout, third.stderr) == (0, b"hello hotfn\n", b"")
    fourth = hotfn("run", "--each-line", "--stats", input=b"a\nb\nc\n", cwd=folder)
    assert (fourth.returncode, fourth.stdout) == (0, b"hello a\nhello b\nhello c\n")
    assert f"instances  {3 if spoken == 'default' else 1} launched".encode() in fourth.stderr
    assert load_config(folder / "func.yaml").function("greet").format == spoken


def test_it_says_what_it_wrote_and_what_to_try(hotfn: Run, tmp_path: Path) -> None:
    done = hotfn("init", "--runtime", "c", "greet")
    written = sorted(str(path.relative_to(tmp_path)) for path in (tmp_path / "greet").iterdir())
    assert done.stdout.decode().splitlines() == written
    assert written == ["greet/Dockerfile", "greet/Makefile", "greet/func.yaml", "greet/function.c"]
    assert done.stderr == b"Try it: cd greet && make && hotfn test\n"
    assert "\n# make builds it, before the first call.\ncmd: ./function\n" in (tmp_path / "greet/func.yaml").read_text()


def test_a_format_is_chosen_where_none_is_given(hotfn: Run, tmp_path: Path) -> None:
    for runtime, spoken in (("python", "http"), ("shell", "default")):
        hotfn("init", "--runtime", runtime, runtime)
        assert load_config(tmp_path / runtime / "func.yaml").function().format == spoken


def test_a_script_can_be_executed(hotfn: Run, tmp_path: Path) -> None:
    hotfn("init", "--runtime", "shell", "greet")
    assert os.access(tmp_path / "greet" / "function.sh", os.X_OK)


@pytest.mark.parametrize("name", ["123", "1.0", "null", "yes", "a.b-c_d", "deep/down/greet"])
def test_names_that_look_like_something_else(name: str, hotfn: Run, tmp_path: Path) -> None:
    assert hotfn("init", name).returncode == 0
    done = hotfn("test", cwd=tmp_path / name)
    assert done.returncode == 0, done
    assert list(load_config(tmp_path / name / "func.yaml").functions) == [name.rpartition("/")[2]]


@pytest.mark.parametrize("name", ["Greet", "a b", "", "/", "-", "_x", "gr\u00fc\u00df", "a:b", "a\nb"])
def test_what_is_no_name_is_refused(name: str, refused: Refused, tmp_path: Path) -> None:
    said = refused("--", name)
    assert said.startswith("Error: ")
    assert "is no name: lower-case letters, digits" in said
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("there", ["function.py", "func.yaml", "Dockerfile", "hotfn_function.py"])
def test_what_is_there_is_kept_and_nothing_is_written(there: str, refused: Refused, tmp_path: Path) -> None:
    mine = tmp_path / "greet" / there
    mine.parent.mkdir()
    mine.write_text("mine")
    assert refused("greet") == f"Error: greet/{there}: is there already, and nothing was written\n"
    assert {path.name: path.read_text() for path in mine.parent.iterdir()} == {there: "mine"}


def test_a_link_that_leads_nowhere_is_not_followed(refused: Refused, tmp_path: Path) -> None:
    (tmp_path / "greet").mkdir()
    (tmp_path / "greet" / "function.py").symlink_to(tmp_path / "elsewhere")
    refused("greet")
    assert not (tmp_path / "elsewhere").exists()


@pytest.mark.parametrize("typed", [".", "./", "..", "inner/.."])
def test_a_directory_that_has_its_name(typed: str, hotfn: Run, tmp_path: Path) -> None:
    folder = tmp_path / "greet"
    (folder / "inner").mkdir(parents=True)
    done = hotfn("init", "--runtime", "shell", typed, cwd=folder / "inner" if typed == ".." else folder)
    assert done.returncode == 0, done
    assert load_config(folder / "func.yaml").function().name == "greet"
    steps = b"hotfn test" if typed in {".", "./"} else f"cd {typed} && hotfn test".encode()
    assert done.stderr == b"Try it: " + steps + b"\n"


def test_a_directory_whose_name_is_none(hotfn: Run, tmp_path: Path) -> None:
    (tmp_path / "My Function").mkdir()
    done = hotfn("init", ".", cwd=tmp_path / "My Function")
    assert done.returncode == 2
    assert done.stderr.startswith(b"Error: '.' is the directory 'My Function', which is no name: lower-case letters")
    assert list((tmp_path / "My Function").iterdir()) == []


def test_other_files_are_no_obstacle(hotfn: Run, tmp_path: Path) -> None:
    (tmp_path / "greet").mkdir()
    (tmp_path / "greet" / "README").write_text("mine")
    assert hotfn("init", "greet").returncode == 0
    assert (tmp_path / "greet" / "README").read_text() == "mine"


def test_a_file_in_the_place_of_the_directory(refused: Refused, tmp_path: Path) -> None:
    (tmp_path / "greet").write_text("mine")
    assert refused("greet") == "Error: greet: File exists\n"
    assert (tmp_path / "greet").read_text() == "mine"


@pytest.mark.parametrize(
    ("args", "text"),
    [
        (["--runtime", "cobol", "greet"], "'cobol' is not one of 'python', 'node', 'shell', 'c'"),
        (["--format", "htpp", "greet"], "of the runtime python speaks http or json or default, not htpp"),
        (["--runtime", "shell", "--format", "http", "greet"], "of the runtime shell speaks default, not http"),
        ([], "Missing argument 'NAME'"),
    ],
)
def test_what_it_cannot_write_it_says(args: list[str], text: str, refused: Refused, tmp_path: Path) -> None:
    assert text in refused(*args)
    assert list(tmp_path.iterdir()) == []


def test_without_the_helper_it_says_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(files, "find_spec", lambda _: None)
    with pytest.raises(ConfigError, match="not installed: pip install plugins/hotfn-function"):
        files.files("greet", "python", "http")
    assert "function.sh" in files.files("greet", "shell", "default")  # which does not need it
