"""Limits of the driver `local`: they hold from the first instruction, and reaching one is told, not hidden."""

from __future__ import annotations

import os
import resource
import secrets
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from hotfn_core.errors import DriverError
from hotfn_core.model import FunctionSpec
from hotfn_core.testing import guests
from hotfn_core.testing.check_driver import Kit
from hotfn_local import limits
from hotfn_local.driver import LocalDriver

from .conftest import Local

MB = 1 << 20
ALL = {"max_files": 32, "max_processes": 500, "max_file_size": 4096, "max_core_size": 0, "cpu_time": 7}
AS_NUMBERS = {
    "RLIMIT_NOFILE": [32, 32],
    "RLIMIT_NPROC": [500, 500],
    "RLIMIT_FSIZE": [4096, 4096],
    "RLIMIT_CORE": [0, 0],
    "RLIMIT_CPU": [7, 8],
    "RLIMIT_AS": [300 * MB, 300 * MB],
}


@pytest.fixture(params=["prlimit", "python"])
def means(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Set limits with prlimit(1), and as it is done where there is none."""
    if request.param == "python":
        monkeypatch.setattr(limits, "find_prlimit", lambda: None)
    else:
        assert limits.find_prlimit()
    return str(request.param)


@pytest.mark.usefixtures("means")
def test_every_limit_arrives(local_once: Local) -> None:
    async def body(kit: Kit) -> dict[str, Any]:
        copy = await kit.launch(memory=300, options=ALL)
        return dict((await copy.report({"report": ["limits"]}))["limits"])

    found = local_once(body)
    assert {name: found[name] for name in AS_NUMBERS} == AS_NUMBERS


def test_what_confines_a_copy_is_told() -> None:
    def told(**options: Any) -> list[str]:
        return list(LocalDriver().confinement(FunctionSpec(name="f", command=("x",), driver_options=options)))

    assert told() == []
    assert told(cwd="/", max_files=8, user=0, max_core_size=0) == ["user 0", "max_files 8", "max_core_size 0"]
    assert {one.split()[0] for one in told(**ALL)} == set(ALL)


def test_what_sets_the_limits_is_told(means: str) -> None:
    kernel, _, how = LocalDriver().describe().partition(", limits set by ")
    assert kernel == f"Linux {os.uname().release}"
    assert how.endswith("/prlimit" if means == "prlimit" else "there is no prlimit")


@pytest.mark.usefixtures("means")
def test_what_sets_the_limits_leaves_no_trace(local_once: Local) -> None:
    async def body(kit: Kit) -> None:
        copy = await kit.launch(command=("cat", "/proc/self/status", "/proc/self/cmdline"), memory=300)
        await copy.exited()
        out = copy.recorder.out.decode()
        assert "Name:\tcat\n" in out
        ignored = int(out.partition("\nSigIgn:\t")[2].split()[0], 16)
        assert not ignored & (1 << (signal.SIGPIPE - 1) | 1 << (signal.SIGXFSZ - 1))  # Python ignores them
        assert out.endswith("cat\0/proc/self/status\0/proc/self/cmdline\0")
        assert int(copy.container.id) == int(out.partition("\nPid:\t")[2].split()[0])

    local_once(body)


def test_no_limit_no_detour(local_once: Local, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "wrap", None)

    async def body(kit: Kit) -> None:
        await kit.ready(options={"cwd": "/"})

    local_once(body)


def test_memory(local_once: Local) -> None:
    async def body(kit: Kit) -> None:
        copy = await kit.launch(memory=128)
        assert (await copy.report({"memory": 40}))["errors"] == []
        assert (await copy.report({"memory": 400}))["errors"] == ["MemoryError: "]

    local_once(body)


def test_less_memory_than_a_program_needs(local_once: Local) -> None:
    async def body(kit: Kit) -> None:
        copy = await kit.launch(memory=1)
        await copy.exited()
        assert copy.recorder.exit is not None
        assert copy.recorder.exit.code != 0

    local_once(body)


def test_open_files(local_once: Local) -> None:
    async def body(kit: Kit) -> None:
        copy = await kit.launch(options={"max_files": 20})
        errors = (await copy.report({"open_files": 30}))["errors"]
        assert len(errors) >= 10
        assert all("Too many open files" in error for error in errors)

    local_once(body)


def test_file_size(local_once: Local, tmp_path: Path) -> None:
    async def body(kit: Kit) -> None:
        copy = await kit.launch(options={"max_file_size": 1000})
        (error,) = (await copy.report({"write_file": [str(tmp_path / "f"), 2000]}))["errors"]
        assert "File too large" in error

    local_once(body)
    assert (tmp_path / "f").stat().st_size == 1000


def test_processor_time(local_once: Local) -> None:
    async def body(kit: Kit) -> None:
        copy = await kit.ready(options={"cpu_time": 1})
        copy.send({"spin": 60})
        await copy.exited()
        assert copy.recorder.exit is not None
        assert copy.recorder.exit.signal == signal.SIGXCPU

    local_once(body)


BOMB = (
    "import os\nwhile True:\n  try: os.fork()\n  except OSError as e: os.write(2, (str(e)+chr(10)).encode()); break\n"
)


def test_a_fork_bomb_runs_into_its_limit_and_leaves_nothing(local: Local) -> None:
    """RLIMIT_NPROC counts the processes of a user and does not bind root, so the bomb runs as one nobody else is."""

    async def body(kit: Kit) -> None:
        nobody_else = 100_000 + secrets.randbelow(1_000_000)
        options = {"max_processes": 40, "user": nobody_else, "group": nobody_else}
        python = os.path.realpath("/usr/bin/python3")
        copy = await kit.launch(command=(python, "-c", BOMB + "import time; time.sleep(60)"), options=options)
        await copy.until(lambda: b"unavailable" in copy.recorder.err, "the limit")
        assert 2 <= len(kit.seen()) <= 40
        await kit.stopped(copy, 0.2)
        await kit.gone("the fork bomb")

    local(body)


def test_a_limit_cannot_be_raised(local_once: Local) -> None:
    async def body(kit: Kit) -> None:
        _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        await kit.ready(options={"max_files": hard})
        with pytest.raises(DriverError, match=f"{hard + 1} open files is above the {hard} that hotfn itself is under"):
            await kit.launch(options={"max_files": hard + 1})

    local_once(body)


def test_limits_and_another_user_together(local_once: Local) -> None:
    async def body(kit: Kit) -> None:
        command = ("/usr/bin/python3", "-c", guests.one_file())
        copy = await kit.launch(command=command, options={"user": "nobody", "max_files": 20}, memory=200)
        report = await copy.report({"report": ["limits"]})
        assert report["limits"]["RLIMIT_NOFILE"] == [20, 20]
        assert os.stat(f"/proc/{copy.container.id}").st_uid == 65534

    local_once(body)


def test_without_limits_asked_nothing_is_taken_away(local_once: Local) -> None:
    async def body(kit: Kit) -> dict[str, Any]:
        copy = await kit.launch()
        return dict((await copy.report({"report": ["limits"]}))["limits"])

    found = local_once(body)
    assert found == {name: list(resource.getrlimit(getattr(resource, name))) for name in found}


def test_the_shim_tells_a_failing_exec(tmp_path: Path) -> None:
    command = [sys.executable, "-I", "-S", "-c", limits._SHIM, str(tmp_path), "nofile:20:20", "x"]
    result = subprocess.run(command, capture_output=True, text=True)
    assert (result.returncode, result.stderr) == (126, f"{tmp_path}: Permission denied\n")
