"""The other commands: what is installed, is a configuration right, and what a shell completes."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import click
import pytest
from click.shell_completion import ShellComplete
from click.testing import CliRunner

from hotfn_core import __version__
from hotfn_core.cli import cli
from hotfn_core.cli.options import split_dashes
from hotfn_core.registry import Registry

Run = Callable[..., subprocess.CompletedProcess[bytes]]


Install = Callable[[str, str], dict[str, str]]
BROKEN = "raise RuntimeError('no such engine')"
COMMANDS = """
    import click

    @click.command()
    def hello():
        "Say hello."
        click.echo("hello from a plugin")

    @hookimpl
    def hotfn_register_commands(cli):
        cli.add_command(hello)
        cli.add_command(hello, "run")
"""


class TestTop:
    def test_the_version(self, hotfn: Run) -> None:
        result = hotfn("--version")
        assert (result.returncode, result.stdout.decode()) == (0, f"hotfn, version {__version__}\n")

    def test_the_command_is_installed(self) -> None:
        program = shutil.which("hotfn", path=str(Path(sys.executable).parent))
        assert program is not None
        assert subprocess.check_output([program, "--version"], text=True).endswith(f"{__version__}\n")

    @pytest.mark.parametrize(
        "args",
        [
            ["--help"],
            ["-h"],
            ["run", "--help"],
            ["call", "-h"],
            ["init", "--help"],
            ["test", "-h"],
            ["plugins", "-h"],
            ["bench", "-h"],
            ["check", "-h"],
            ["gc", "-h"],
            ["completion", "-h"],
        ],
    )
    def test_help(self, args: list[str]) -> None:
        result = CliRunner().invoke(cli, args, prog_name="hotfn")
        assert (result.exit_code, result.output.startswith("Usage: hotfn ")) == (0, True)
        assert max(map(len, result.output.splitlines())) <= 100
        assert "\\b" not in result.output  # click's mark of lines that stay as they are, misspelt

    def test_every_option_has_a_help_text(self) -> None:
        context = click.Context(cli)
        for name in ("run", "bench", "plugins", "check", "gc", "completion"):
            command = cli.get_command(context, name)
            assert command is not None
            assert command.help
            assert [one.name for one in command.params if isinstance(one, click.Option) and not one.help] == []

    def test_a_near_miss(self, hotfn: Run) -> None:
        result = hotfn("rnu")
        assert (result.returncode, b'did you mean "run"?' in result.stderr) == (2, True)

    def test_the_version_loads_no_plugin_and_nothing_that_is_not_needed(self, hotfn: Run, install: Install) -> None:
        env = install("loud", "import sys; sys.stderr.write('loaded')")
        assert hotfn("--version", env=env).stderr == b""
        script = (
            "from hotfn_core.cli import cli; cli(['--version'], standalone_mode=False); import sys; print(*sys.modules)"
        )
        bare = {name: value for name, value in os.environ.items() if not name.startswith("COVERAGE")}
        modules = subprocess.check_output([sys.executable, "-c", script], text=True, env=bare).split()
        unneeded = {"rich", "yaml", "tomllib", "uvloop", "hotfn_local", "httptools", "importlib.metadata"}
        assert unneeded & set(modules) == set()


class TestDashes:
    @pytest.mark.parametrize(
        ("args", "before", "command"),
        [
            (["a"], ["a"], ()),
            (["--", "cat"], [], ("cat",)),
            (["f", "-x", "--", "cat", "--", "-v"], ["f", "-x"], ("cat", "--", "-v")),
            (["f", "--"], ["f"], ()),
        ],
    )
    def test_the_command_is_untouched(self, args: list[str], before: list[str], command: Sequence[str]) -> None:
        assert split_dashes(args) == (before, command)

    def test_options_of_the_command_are_the_commands(self, hotfn: Run) -> None:
        assert hotfn("run", "--", "echo", "--stats", "--", "-c").stdout == b"--stats -- -c\n"


class TestPlugins:
    def test_what_is_installed(self, hotfn: Run) -> None:
        result = hotfn("plugins")
        assert result.returncode == 0
        rows = [line.split() for line in result.stdout.decode().splitlines()]
        assert ["local", "ok", "enforces", "memory;", "Linux", f"{os.uname().release},"] in [row[:6] for row in rows]
        assert ["http", "ok", "hot"] in rows
        assert ["default", "ok", "cold"] in rows

    def test_as_json(self, hotfn: Run) -> None:
        health = json.loads(hotfn("plugins", "--json").stdout)
        kinds = {one["name"]: one["kind"] for one in health["protocols"]}
        assert {name: kinds[name] for name in ("default", "http", "json", "cloudevent")} == {
            "default": "cold",
            "http": "hot",
            "json": "hot",
            "cloudevent": "hot",
        }
        [local] = [one for one in health["drivers"] if one["name"] == "local"]
        assert local.pop("about").startswith("Linux ")
        assert local == {"name": "local", "plugin": "local", "enforces": ["memory"], "state": "ok", "detail": ""}

    def test_a_broken_plugin_is_named_and_hurts_nobody(self, hotfn: Run, install: Install) -> None:
        env = install("badly", BROKEN)
        result = hotfn("plugins", env=env)
        assert result.returncode == 1
        text = result.stdout.decode()
        assert 'plugin "badly" (badly 1.5) could not be imported: RuntimeError: no such engine' in text
        assert "enforces memory" in text
        assert hotfn("run", "--", "echo", "still", env=env).stdout == b"still\n"

    def test_a_driver_whose_engine_is_away(self, hotfn: Run, install: Install) -> None:
        env = install(
            "away",
            """
            from hotfn_core import Driver, DriverUnavailable

            class Away(Driver):
                name = "away"

                async def open(self):
                    raise DriverUnavailable("the engine is not running; start it")

                async def launch(self, spec, receiver):
                    raise AssertionError

            @hookimpl
            def hotfn_register_drivers():
                return {"away": Away}
            """,
        )
        result = hotfn("plugins", env=env)
        assert result.returncode == 0  # no plugin is at fault
        row = ["away", "unavailable", "the engine is not running; start it"]
        assert row in [line.split(maxsplit=2) for line in result.stdout.decode().splitlines()]
        result = hotfn("run", "--driver", "away", "--", "x", env=env)
        assert (result.returncode, result.stderr) == (3, b"Error: the engine is not running; start it\n")

    def test_a_driver_that_raises_anything(self, hotfn: Run, install: Install) -> None:
        env = install(
            "odd",
            """
            from hotfn_core import Driver

            class Odd(Driver):
                name = "odd"

                async def open(self):
                    raise ZeroDivisionError("odd")

                async def launch(self, spec, receiver):
                    raise AssertionError

            class Unmade(Driver):
                name = "unmade"

            @hookimpl
            def hotfn_register_drivers():
                return {"odd": Odd, "unmade": Unmade}
            """,
        )
        health = json.loads(hotfn("plugins", "--json", env=env).stdout)
        drivers = {one["name"]: one for one in health["drivers"]}
        assert drivers["odd"]["detail"] == "failed in open(): ZeroDivisionError: odd"
        assert [drivers[name]["state"] for name in ("local", "odd", "unmade")] == ["ok", "broken", "broken"]


class TestNoPlugin:
    def test_it_says_what_to_install(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("hotfn_core.cli.plugins.Registry", lambda: Registry(entry_points=False))
        result = CliRunner().invoke(cli, ["plugins"])
        assert result.exit_code == 0
        assert "no plugin is installed" in result.output
        assert "hotfn-local" in result.output


class TestPluginCommands:
    def test_they_are_listed_and_run(self, hotfn: Run, install: Install) -> None:
        env = install("greeter", COMMANDS)
        assert b"Say hello." in hotfn("--help", env=env).stdout
        assert hotfn("hello", env=env).stdout == b"hello from a plugin\n"

    def test_they_do_not_replace_ours(self, hotfn: Run, install: Install) -> None:
        env = install("greeter", COMMANDS)
        assert b'"run" exists already and is left out' in hotfn("--help", env=env).stderr
        result = hotfn("run", "--", "echo", "ours", env=env)
        assert (result.stdout, result.stderr) == (b"ours\n", b"")  # built-in commands do not even ask plugins

    def test_one_that_breaks_is_named_and_the_others_are_there(self, hotfn: Run, install: Install) -> None:
        install("greeter", COMMANDS)
        env = install("worse", "@hookimpl\ndef hotfn_register_commands(cli):\n    raise KeyError('x')\n")
        result = hotfn("--help", env=env)
        assert result.returncode == 0
        assert b"Say hello." in result.stdout
        assert b'plugin "worse" (worse 1.5): failed in hotfn_register_commands: KeyError' in result.stderr

    def test_a_plugin_that_cannot_be_imported(self, hotfn: Run, install: Install) -> None:
        env = install("badly", BROKEN)
        assert hotfn("--help", env=env).returncode == 0

    def test_one_that_ends_the_program_does_not_end_ours(self, hotfn: Run, install: Install) -> None:
        env = install("quits", "import sys\n@hookimpl\ndef hotfn_register_commands(cli):\n    sys.exit(7)\n")
        result = hotfn("--help", env=env)
        assert result.returncode == 0
        assert b"failed in hotfn_register_commands: SystemExit: 7" in result.stderr


class TestCheck:
    def test_a_right_file(self, hotfn: Run, tmp_path: Path) -> None:
        (tmp_path / "functions.toml").write_text(
            '[functions.a]\ncommand=["x"]\nmemory=64\n'
            '[functions.b]\ncommand=["x"]\nformat="http"\ncpus=1\nbest_effort=true\n'
        )
        result = hotfn("check")
        *said, driver, end = result.stdout.decode().splitlines()
        assert driver.startswith("ok     driver local: enforces memory; Linux ")
        assert (result.returncode, [*said, end]) == (
            0,
            [
                "ok     default/a: driver local, default (cold), memory 64, enforced, cpus not asked for",
                "ok     default/b: driver local, http (hot), memory not asked for, cpus 1, not enforced (best_effort)",
                "functions.toml: checked",
            ],
        )

    def test_everything_that_is_wrong_is_said_at_once(self, hotfn: Run, tmp_path: Path) -> None:
        path = tmp_path / "mine.toml"
        path.write_text(
            '[functions.good]\ncommand=["x"]\n[functions.one]\ncomand=["x"]\n[functions.two]\ncommand=["x"]\ncpus=1\n'
            '[functions.three]\ncommand=["x"]\ndriver="docke"\n[functions.four]\ncommand=["x"]\nformat="hhtp"\n'
            '[functions.five]\ncommand=["x"]\ndriver_options={cdw="x"}\n'
            '[functions.six]\ncommand=["x"]\nmin_instances=1\n'
        )
        result = hotfn("check", "-c", str(path), "--json")
        assert result.returncode == 2
        problems = {one["function"]: one["problem"] for one in json.loads(result.stdout)["functions"]}
        assert problems.pop("default/good") == ""
        assert f'{path}:4: functions.one.comand: unknown key; did you mean "command"?' in problems["one"]
        assert 'the driver "local" does not enforce cpus' in problems["default/two"]
        assert 'there is no driver "docke"' in problems["default/three"]
        assert 'did you mean "http"' in problems["default/four"]
        assert 'did you mean "cwd"' in problems["default/five"]
        assert 'the IO protocol "default" is cold' in problems["default/six"]

    def test_a_func_yaml_with_notes(self, hotfn: Run, tmp_path: Path) -> None:
        (tmp_path / "func.yaml").write_text(
            "name: a\ndriver: local\ncmd: cat\nbuild:\n- make\nconfig:\n  TOKEN: hunter2\n"
        )
        result = hotfn("check")
        assert result.returncode == 0
        assert "note   func.yaml:4: build is not used: hotfn runs what is built" in result.stdout.decode()
        assert b"hunter2" not in result.stdout + result.stderr

    def test_no_file(self, hotfn: Run) -> None:
        result = hotfn("check")
        assert (result.returncode, b"no functions.toml or func.yaml here" in result.stderr) == (2, True)

    def test_a_file_that_cannot_be_understood(self, hotfn: Run, tmp_path: Path) -> None:
        (tmp_path / "functions.toml").write_text("[[[")
        result = hotfn("check")
        assert (result.returncode, result.stderr.startswith(b"Error: functions.toml: is not TOML")) == (2, True)


class TestCompletion:
    @pytest.mark.parametrize(
        ("shell", "word"), [("bash", "complete -o"), ("zsh", "compdef"), ("fish", "complete --no-files")]
    )
    def test_the_scripts(self, hotfn: Run, shell: str, word: str) -> None:
        script = hotfn("completion", shell).stdout.decode()
        assert word in script
        assert "_HOTFN_COMPLETE" in script

    def test_another_shell(self, hotfn: Run) -> None:
        assert hotfn("completion", "tcsh").returncode == 2

    def test_functions_of_the_configuration_are_offered(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.chdir(tmp_path)
        completion = ShellComplete(cli, {}, "hotfn", "_HOTFN_COMPLETE")
        assert completion.get_completions(["run"], "l") == []
        (tmp_path / "functions.toml").write_text('[functions.lines]\ncommand=["x"]\n[functions.other]\ncommand=["x"]\n')
        assert [one.value for one in completion.get_completions(["run"], "l")] == ["lines"]
        assert [one.value for one in completion.get_completions([], "ch")] == ["check"]
        (tmp_path / "functions.toml").write_text("wrong")
        assert completion.get_completions(["run"], "l") == []

    def test_in_bash(self, tmp_path: Path) -> None:
        program = str(Path(sys.executable).parent)
        script = (
            f'export PATH={program}:$PATH; eval "$(hotfn completion bash)"; '
            "COMP_WORDS=(hotfn run --each); COMP_CWORD=2; _hotfn_completion hotfn; echo ${COMPREPLY[@]}"
        )
        result = subprocess.run(["bash", "-c", script], capture_output=True, text=True, timeout=60, check=True)
        assert result.stdout == "--each-line\n"


class TestLogging:
    def test_nothing_is_logged_unless_asked_for(self, hotfn: Run) -> None:
        assert b"WARNING" not in hotfn("run", "--", "/does/not/exist").stderr

    @pytest.mark.parametrize("args", [["-v", "run"], ["run", "-v"], ["--log-level", "warning", "run"]])
    def test_before_or_behind_the_command(self, hotfn: Run, args: list[str]) -> None:
        assert b" WARNING hotfn: " in hotfn(*args, "--", "/does/not/exist").stderr
