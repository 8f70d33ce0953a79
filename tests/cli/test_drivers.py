"""What the commands make of drivers: what they say of themselves, engines that are away, and `hotfn gc`."""

from __future__ import annotations

import asyncio
import json
import os
import re
import signal
import subprocess
import sys
import textwrap
import types
from collections.abc import Callable
from pathlib import Path

import pytest
from click.shell_completion import ShellComplete
from click.testing import CliRunner

from hotfn_core.cli import cli, gc, health
from hotfn_core.registry import Registry

Run = Callable[..., subprocess.CompletedProcess[bytes]]
Install = Callable[[str, str], dict[str, str]]

ENGINES = """
    import asyncio, os
    from hotfn_core import Driver, DriverError, DriverUnavailable

    class Base(Driver):
        async def launch(self, spec, receiver):
            raise AssertionError

    class Full(Base):
        name = "full"
        enforces = frozenset({"memory", "cpus"})

        async def open(self):
            self.version = "7.0"

        def describe(self):
            return f"Engine {self.version},\\n unix:///run/full"

        def confinement(self, spec):
            return ["network none", f"user {spec.driver_options.get('user', 'nobody')}"]

        async def sweep(self):
            with open("swept", "a") as file:
                file.write("full")
            return 3

    class Away(Base):
        name = "away"

        async def open(self):
            raise DriverUnavailable("the engine is not running; start it")

        async def sweep(self):
            raise AssertionError

    class Stuck(Base):
        name = "stuck"

        async def open(self):
            await asyncio.sleep(1000)

    class Refused(Base):
        name = "refused"

        async def sweep(self):
            raise DriverError("the container x could not be removed: busy; remove it by hand")

    class Odd(Base):
        name = "odd"

        def describe(self):
            raise ZeroDivisionError("odd")

        confinement = sweep = lambda self, *spec: 1 / 0

    class Unclosed(Base):
        name = "unclosed"

        async def aclose(self):
            raise OSError("no end")

        async def sweep(self):
            return 2

    DRIVERS = {one.name: one for one in (Full, Away, Stuck, Refused, Odd, Unclosed)}

    @hookimpl
    def hotfn_register_drivers():
        return {name: DRIVERS[name] for name in os.environ["ENGINES"].split()}
"""


@pytest.fixture
def engines(install: Install) -> Callable[[str], dict[str, str]]:
    """Install a plugin with these drivers. Returns the environment that has it."""
    env = install("engines", ENGINES)
    return lambda names: env | {"ENGINES": names}


Engines = Callable[[str], dict[str, str]]

OF_ENGINES = ("docker: ", "podman: ")
"""How lines begin that tell of engines that this machine may have or not."""


class TestPlugins:
    def test_the_engine_is_told_next_to_the_limits(self, hotfn: Run, engines: Engines, tmp_path: Path) -> None:
        result = hotfn("plugins", env=engines("full"))
        row = ["full", "ok", "enforces cpus, memory; Engine 7.0, unix:///run/full"]
        assert row in [line.split(maxsplit=2) for line in result.stdout.decode().splitlines()]
        assert not (tmp_path / "swept").exists()

    def test_one_that_cannot_say_what_it_is(self, hotfn: Run, engines: Engines) -> None:
        result = hotfn("plugins", "--json", env=engines("odd"))
        assert result.returncode == 1
        [odd] = [one for one in json.loads(result.stdout)["drivers"] if one["name"] == "odd"]
        assert (odd["state"], odd["detail"]) == ("broken", "failed in describe(): ZeroDivisionError: odd")

    def test_one_that_does_not_open_is_waited_for_a_while(self, monkeypatch: pytest.MonkeyPatch) -> None:
        found = fake_engines(monkeypatch, "stuck full")
        monkeypatch.setattr(health, "_OPEN_SECONDS", 0.01)
        full, stuck = health.examine_drivers(found, ["full", "stuck"])
        assert (full.state, full.about) == ("ok", "Engine 7.0, unix:///run/full")
        assert (stuck.state, stuck.detail) == ("unavailable", "did not open within 0.01 seconds")


def fake_engines(monkeypatch: pytest.MonkeyPatch, names: str) -> Registry:
    """A registry in this process whose plugin has these drivers."""
    monkeypatch.setenv("ENGINES", names)
    module = types.ModuleType("engines")
    exec("from hotfn_core import hookimpl\n" + textwrap.dedent(ENGINES), vars(module))  # noqa: S102
    return Registry([module], entry_points=False)


class TestCheck:
    def check(self, hotfn: Run, tmp_path: Path, env: dict[str, str], *functions: str) -> tuple[int, str]:
        (tmp_path / "functions.toml").write_text(
            "".join(f'[functions.{one}]\nimage="x"\ndriver="{one}"\n' for one in functions)
        )
        result = hotfn("check", env=env)
        assert result.stderr == b""
        assert not (tmp_path / "swept").exists()
        return result.returncode, result.stdout.decode()

    def test_what_a_copy_is_confined_to(self, hotfn: Run, engines: Engines, tmp_path: Path) -> None:
        status, text = self.check(hotfn, tmp_path, engines("full away"), "full")
        assert status == 0
        assert text.splitlines() == [
            "ok     default/full: driver full, default (cold), memory not asked for, cpus not asked for",
            "       confined to: network none, user nobody",
            "ok     driver full: enforces cpus, memory; Engine 7.0, unix:///run/full",
            "functions.toml: checked",
        ]

    def test_a_configuration_is_right_while_the_engine_is_away(
        self, hotfn: Run, engines: Engines, tmp_path: Path
    ) -> None:
        status, text = self.check(hotfn, tmp_path, engines("full away"), "away")
        assert status == 0
        assert "ok     default/away: driver away" in text
        assert "note   driver away is unavailable now: the engine is not running; start it\n" in text

    def test_a_driver_at_fault(self, hotfn: Run, engines: Engines, tmp_path: Path) -> None:
        status, text = self.check(hotfn, tmp_path, engines("odd unclosed"), "odd", "unclosed")
        assert status == 2
        assert 'wrong  default/odd: the driver "odd" failed in confinement(): ZeroDivisionError' in text
        assert 'wrong  driver odd: failed in describe(): ZeroDivisionError: odd (plugin "engines")' in text
        assert 'wrong  driver unclosed: failed in aclose(): OSError: no end (plugin "engines")' in text

    def test_as_json(self, hotfn: Run, engines: Engines, tmp_path: Path) -> None:
        (tmp_path / "functions.toml").write_text('[functions.f]\nimage="x"\ndriver="full"\nmemory=64\n')
        report = json.loads(hotfn("check", "--json", env=engines("full")).stdout)
        [function], [driver] = report["functions"], report["drivers"]
        assert function["confinement"] == ["network none", "user nobody"]
        assert function["limits"] == {"memory": "64, enforced", "cpus": "not asked for"}
        assert driver == {
            "name": "full",
            "plugin": "engines",
            "enforces": ["cpus", "memory"],
            "state": "ok",
            "detail": "",
            "about": "Engine 7.0, unix:///run/full",
        }


class TestGc:
    @pytest.mark.parametrize(
        ("installed", "asked", "status", "said"),
        [
            ("full", "", 0, ["full: 3 removed", "local: 0 removed"]),
            ("full away", "full", 0, ["full: 3 removed"]),
            ("full", "full full", 0, ["full: 3 removed"]),
            ("away", "", 0, ["away: unavailable: the engine is not running; start it", "local: 0 removed"]),
            (
                "away full",
                "full away",
                3,
                ["full: 3 removed", "away: unavailable: the engine is not running; start it"],
            ),
            (
                "refused",
                "refused",
                1,
                ["refused: failed: the container x could not be removed: busy; remove it by hand"],
            ),
            ("refused away", "refused away", 1, None),
            ("odd", "odd", 1, ["odd: broken: failed in sweep(): ZeroDivisionError: division by zero"]),
            ("unclosed", "unclosed", 1, ["unclosed: broken: failed in aclose(): OSError: no end"]),
        ],
    )
    def test_what_is_said_and_how_it_ends(
        self, hotfn: Run, engines: Engines, installed: str, asked: str, status: int, said: list[str] | None
    ) -> None:
        names = [word for name in asked.split() for word in ("--driver", name)]
        result = hotfn("gc", *names, env=engines(installed))
        assert (result.returncode, result.stderr) == (status, b"")
        if said is not None:
            assert [line for line in result.stdout.decode().splitlines() if not line.startswith(OF_ENGINES)] == said

    def test_each_driver_is_swept_once(self, hotfn: Run, engines: Engines, tmp_path: Path) -> None:
        hotfn("gc", env=engines("full"))
        assert (tmp_path / "swept").read_text() == "full"

    def test_a_driver_that_is_not_there(self, hotfn: Run, engines: Engines, tmp_path: Path) -> None:
        result = hotfn("gc", "--driver", "full", "--driver", "fulll", env=engines("full"))
        assert (result.returncode, result.stdout) == (2, b"")
        assert re.search(
            rb'there is no driver "fulll" \(did you mean "full"\?\); installed: [a-z, ]*\bfull, local\b', result.stderr
        )
        assert not (tmp_path / "swept").exists()

    def test_as_json(self, hotfn: Run, engines: Engines) -> None:
        result = hotfn("gc", "--json", env=engines("full away unclosed"))
        assert result.returncode == 1
        report = json.loads(result.stdout)
        assert report["problems"] == []
        wanted = {"full": ("ok", 3), "away": ("unavailable", None), "unclosed": ("broken", 2), "local": ("ok", 0)}
        found = {one["name"]: (one["state"], one["removed"]) for one in report["drivers"]}
        assert {name: found.get(name) for name in wanted} == wanted

    def test_broken_plugins_are_named(self, hotfn: Run, engines: Engines, install: Install) -> None:
        env = engines("full")
        install("badly", "raise RuntimeError('no client')")
        result = hotfn("gc", env=env)
        assert result.returncode == 1
        assert 'broken: plugin "badly" (badly 1.5) could not be imported: RuntimeError: no client' in (
            result.stdout.decode()
        )
        result = hotfn("gc", "--driver", "full", env=env)  # which has nothing to do with it
        assert (result.returncode, result.stdout) == (0, b"full: 3 removed\n")

    def test_a_driver_that_cannot_be_made(self, hotfn: Run, install: Install) -> None:
        env = install("unmade", "@hookimpl\ndef hotfn_register_drivers():\n    return {'unmade': dict}\n")
        result = hotfn("gc", "--driver", "unmade", env=env)
        assert result.returncode == 1
        assert result.stdout.startswith(b'unmade: broken: plugin "unmade" (unmade 1.5): the driver "unmade" is {}')

    def test_a_sweep_without_an_end(self, monkeypatch: pytest.MonkeyPatch) -> None:
        registry = fake_engines(monkeypatch, "full")
        monkeypatch.setattr(gc, "_SWEEP_SECONDS", 0.01)

        async def endless(self: object) -> int:
            await asyncio.sleep(1000)
            return 0

        monkeypatch.setattr(type(registry.driver("full")), "sweep", endless)
        monkeypatch.setattr(gc, "Registry", lambda: registry)
        result = CliRunner().invoke(cli, ["gc"])
        assert (result.exit_code, result.output) == (1, "full: failed: did not end within 0.01 seconds; run it again\n")

    def test_without_plugins(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(gc, "Registry", lambda: Registry(entry_points=False))
        result = CliRunner().invoke(cli, ["gc"])
        assert (result.exit_code, result.output) == (0, "no driver is installed\n")

    def test_the_shell_completes_drivers(self) -> None:
        completion = ShellComplete(cli, {}, "hotfn", "_HOTFN_COMPLETE")
        assert "local" in [one.value for one in completion.get_completions(["gc", "--driver"], "lo")]
        assert completion.get_completions(["gc", "--driver"], "x") == []
        assert [one.value for one in completion.get_completions([], "g")] == ["gc"]

    def test_w46_what_a_dead_hotfn_left_is_killed(self, hotfn: Run) -> None:
        script = "from hotfn_local.guardian import new_runtime; print(new_runtime())"
        dead = subprocess.check_output([sys.executable, "-c", script], text=True).strip()
        orphan, stranger = (
            subprocess.Popen(["sleep", "100"], env={"PATH": os.environ["PATH"], **mark})
            for mark in ({"HOTFN_RUNTIME": f"{dead}:1"}, {})
        )
        try:
            assert hotfn("gc", "--driver", "local").returncode == 0
            assert orphan.wait(15) == -signal.SIGKILL
            assert stranger.poll() is None
        finally:
            for process in (orphan, stranger):
                process.kill()
                process.wait()
