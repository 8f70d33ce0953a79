"""Starting programs: how they are found, what they get, and what is said when they cannot be started."""

from __future__ import annotations

import asyncio
import contextlib
import os
import pwd
import signal
import threading
from pathlib import Path
from typing import Any

import psutil
import pytest

from hotfn_core.errors import ConfigError, DriverError, DriverUnavailable
from hotfn_core.model import Exit, FunctionSpec
from hotfn_core.testing.check_driver import Guest, Kit, Recorder
from hotfn_local import environment
from hotfn_local.driver import LocalDriver

from .conftest import Local

IGNORED_BY_PYTHON = 1 << (signal.SIGPIPE - 1) | 1 << (signal.SIGXFSZ - 1)  # which no program expects


def script(path: Path, text: str, mode: int = 0o755) -> str:
    path.write_text(text)
    path.chmod(mode)
    return str(path)


# What the program gets


def test_the_environment_is_a_short_list(local_once: Local, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {
        "LC_ALL": "C.UTF-8",
        "TZ": "UTC",
        "AWS_SECRET": "s",
        "PYTHONPATH": "/x",
        "LD_PRELOAD": "",
    }.items():
        monkeypatch.setenv(name, value)

    async def body(kit: Kit) -> dict[str, str]:
        copy = await kit.launch(env={"TZ": "Asia/Tokyo", "MINE": "1"})
        return dict((await copy.report({"report": ["env"]}))["env"])

    env = local_once(body)
    own = {"FN_FORMAT", "CHECK_TOKEN", "MINE", "HOTFN_RUNTIME"}
    assert set(env) - own <= {*environment.INHERITED, *(name for name in os.environ if name.startswith("LC_"))}
    assert (env["LC_ALL"], env["TZ"], env["PATH"]) == ("C.UTF-8", "Asia/Tokyo", os.environ["PATH"])


def test_a_path_is_there_in_any_case() -> None:
    assert environment.inherited({}) == {"PATH": os.defpath}


def test_the_working_directory(local_once: Local, tmp_path: Path) -> None:
    script(tmp_path / "here", "#!/bin/sh\npwd\n")

    async def body(kit: Kit) -> bytes:
        copy = await kit.launch(command=("./here",), options={"cwd": os.path.relpath(tmp_path)})
        await copy.exited()
        return bytes(copy.recorder.out)

    assert local_once(body) == f"{tmp_path}\n".encode()


def test_dev_stdout_works(local: Local) -> None:
    """Sockets could not be opened by that name; pipes can."""

    async def body(kit: Kit) -> None:
        copy = await kit.launch(command=("sh", "-c", "cat /dev/stdin > /dev/stdout; echo e > /dev/stderr"), wire="raw")
        copy.write(b"through\n")
        copy.container.write_eof()
        await copy.exited()
        assert copy.recorder.out == b"through\n"
        assert copy.recorder.err == b"e\n"

    local(body)


def test_a_session_of_its_own_and_clean_signals(local: Local) -> None:
    async def body(kit: Kit) -> None:
        copy = await kit.ready()
        pid = int(copy.container.id)
        assert os.getpgid(pid) == pid
        assert os.getsid(pid) == pid
        shell = await kit.launch(command=("cat", "/proc/self/status"))
        await shell.exited()
        status = dict(line.split(":", 1) for line in shell.recorder.out.decode().splitlines())
        assert not int(status["SigIgn"], 16) & IGNORED_BY_PYTHON
        assert int(status["SigBlk"], 16) == 0

    local(body)


def test_descriptors_of_hotfn_stay_with_hotfn(local: Local) -> None:
    async def body(kit: Kit) -> None:
        inheritable = os.open("/dev/null", os.O_RDONLY)
        os.set_inheritable(inheritable, True)
        await kit.ready()
        copy = await kit.launch(command=("ls", "/proc/self/fd"))
        await copy.exited()
        os.close(inheritable)
        assert copy.recorder.out.split() == [b"0", b"1", b"2", b"3"]  # the last is ls looking

    local(body)


def test_another_user(local_once: Local) -> None:
    nobody = pwd.getpwnam("nobody")

    async def body(kit: Kit) -> str:
        command = ("sh", "-c", "id -u; id -g; id -G; echo $HOME $USER")
        copy = await kit.launch(command=command, options={"user": "nobody"})
        await copy.exited()
        return copy.recorder.out.decode()

    uid, gid, groups, names = local_once(body).splitlines()
    assert (int(uid), int(gid), int(groups)) == (nobody.pw_uid, nobody.pw_gid, nobody.pw_gid)
    assert names == f"{nobody.pw_dir} nobody"


def test_numbers_for_user_and_group(local_once: Local) -> None:
    async def body(kit: Kit) -> bytes:
        options = {"user": 54321, "group": 12345}
        copy = await kit.launch(command=("sh", "-c", "id -u; id -g; id -G"), options=options)
        await copy.exited()
        return bytes(copy.recorder.out)

    assert local_once(body) == b"54321\n12345\n12345\n"


# The driver


def test_a_driver_that_is_not_open_says_so() -> None:
    async def main() -> None:
        driver = LocalDriver()
        await driver.aclose()
        with pytest.raises(DriverUnavailable, match="not open"):
            await driver.launch(Kit(driver, Guest(), 1).spec(), Recorder())

    asyncio.run(main())


def test_a_system_without_pidfd_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(os, "pidfd_open")
    with pytest.raises(DriverUnavailable, match=r"needs Linux 5\.4"):
        asyncio.run(LocalDriver().open())


def spec(**fields: Any) -> FunctionSpec:
    return FunctionSpec(**({"name": "f", "command": ["cat"]} | fields))


def test_validate() -> None:
    driver = LocalDriver()
    driver.validate(spec(driver_options={"cwd": "/", "max_files": 64, "user": "nobody", "group": 0}))
    with pytest.raises(ConfigError, match='no option "max_file"; did you mean "max_files"') as error:
        driver.validate(spec(driver_options={"max_file": 1}))
    assert error.value.field == "driver_options"
    with pytest.raises(ConfigError, match='no option "zzz"; it has cwd, user, group, max_files'):
        driver.validate(spec(driver_options={"zzz": 1}))
    with pytest.raises(ConfigError, match="`image` is for drivers of containers"):
        driver.validate(spec(command=[], image="x"))
    with pytest.raises(ConfigError, match="HOTFN_RUNTIME is reserved"):
        driver.validate(spec(env={"HOTFN_RUNTIME": "x"}))


@pytest.mark.parametrize(
    "options",
    [
        {"max_files": 7},
        {"max_files": "64"},
        {"max_processes": 0},
        {"cpu_time": 1.5},
        {"max_file_size": -1},
        {"max_core_size": True},
        {"cwd": ""},
        {"cwd": 5},
        {"user": ""},
        {"user": -1},
        {"group": True},
    ],
    ids=str,
)
def test_options_out_of_range_are_named(options: dict[str, Any]) -> None:
    ((name, value),) = options.items()
    with pytest.raises(ConfigError, match=f"driver_options: {name} must be .* not ") as error:
        LocalDriver().validate(spec(driver_options=options))
    assert repr(value) in error.value.message


def test_one_thread_and_no_signal_handler(local: Local) -> None:
    """A child watcher of asyncio starts a thread for each child, or takes SIGCHLD from the program around.
    Here one thread does for all."""

    async def body(kit: Kit) -> None:
        handler = signal.getsignal(signal.SIGCHLD)
        before = set(threading.enumerate())
        copies = [await kit.ready() for _ in range(5)]
        assert len(set(threading.enumerate()) - before) <= 1
        assert signal.getsignal(signal.SIGCHLD) is handler
        for copy in copies:
            await kit.stopped(copy, 5)

    local(body)


def test_somebody_else_takes_the_exit_status(local_once: Local) -> None:
    async def body(kit: Kit) -> None:
        copy = await kit.launch({"exit": 3})
        assert os.waitpid(int(copy.container.id), 0)[1] >> 8 == 3
        await copy.exited()
        assert copy.recorder.exit is not None
        assert str(copy.recorder.exit) == "was lost (another part of this program took its exit status)"

    local_once(body)


def test_a_program_that_ignores_its_children(local_once: Local) -> None:
    """With SIGCHLD ignored the kernel reaps, and a pid may be gone before it can be watched."""

    async def body(kit: Kit) -> None:
        await kit.launch()
        handler = signal.signal(signal.SIGCHLD, signal.SIG_IGN)
        try:
            for _ in range(20):
                with contextlib.suppress(DriverError):
                    copy = await kit.launch(command=("/bin/true",))
                    await copy.exited()
                    assert copy.recorder.exit == Exit(detail="another part of this program took its exit status")
        finally:
            signal.signal(signal.SIGCHLD, handler)

    local_once(body)


def test_five_hundred_launches_leave_nothing(local: Local) -> None:
    async def body(kit: Kit) -> None:
        async def one() -> None:
            copy = await kit.launch(command=("cat",), wire="raw")
            copy.write(b"x")
            await copy.until(lambda: copy.recorder.out == b"x", "an echo")
            await kit.stopped(copy, 5)

        await asyncio.gather(*(one() for _ in range(10)))
        before = sorted(os.listdir("/proc/self/fd"))
        for _ in range(50):
            await asyncio.gather(*(one() for _ in range(10)))
        assert sorted(os.listdir("/proc/self/fd")) == before
        assert not kit.driver._alive  # type: ignore[attr-defined]
        assert [child.name() for child in psutil.Process().children() if child.name() == "cat"] == []

    local(body)
