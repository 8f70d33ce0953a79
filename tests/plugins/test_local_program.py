"""Finding the program of a function, and what is said when it cannot be started."""

from __future__ import annotations

import os
import re
import resource
from pathlib import Path
from typing import Any

import pytest

from hotfn_core.errors import DriverError
from hotfn_core.testing.check_driver import Kit
from hotfn_local import account, program

from .conftest import Local


def script(path: Path, text: str, mode: int = 0o755) -> str:
    path.write_text(text)
    path.chmod(mode)
    return str(path)


def refusal(local: Local, *command: str, **fields: Any) -> str:
    """Return what the driver says when it cannot launch `command`; a refused launch leaves no descriptor open."""

    async def body(kit: Kit) -> str:
        await kit.launch()  # starts the guardian
        before = len(os.listdir("/proc/self/fd"))
        with pytest.raises(DriverError) as error:
            await kit.launch(command=command, **fields)
        assert len(os.listdir("/proc/self/fd")) == before
        return error.value.message

    return str(local(body))


def test_a_program_that_is_nowhere(local_once: Local) -> None:
    said = refusal(local_once, "no-such-program", env={"PATH": "/usr/bin:/bin"})
    assert said == (
        'cannot start "no-such-program": program not found, it is in no directory of the PATH (/usr/bin:/bin); '
        "install it, or give its full path in `command`"
    )


def test_a_path_that_leads_nowhere(local_once: Local) -> None:
    assert "program not found, no file /no/such/file;" in refusal(local_once, "/no/such/file")


def test_a_file_that_is_not_executable(local_once: Local, tmp_path: Path) -> None:
    path = script(tmp_path / "f.py", "print()", 0o644)
    assert f"{path} is not executable; make it so with `chmod +x {path}`" in refusal(local_once, path)


def test_a_directory(local_once: Local, tmp_path: Path) -> None:
    assert f"{tmp_path} is a directory; name a program" in refusal(local_once, str(tmp_path))


def test_a_device(local_once: Local) -> None:
    assert "/dev/null is not a file" in refusal(local_once, "/dev/null")


def test_a_link_that_leads_nowhere(local_once: Local, tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to("/no/such/file")
    assert "is a link that leads nowhere" in refusal(local_once, str(tmp_path / "link"))


def test_a_better_place_further_down_the_path_is_found(local_once: Local, tmp_path: Path) -> None:
    (tmp_path / "cat").mkdir()

    async def body(kit: Kit) -> None:
        copy = await kit.launch(wire="raw", command=("cat",), env={"PATH": f"{tmp_path}:/usr/bin:/bin"})
        copy.write(b"meow")
        await copy.until(lambda: copy.recorder.out == b"meow", "an echo")

    local_once(body)


@pytest.mark.parametrize("limits", [{}, {"max_files": 50}], ids=["direct", "through prlimit"])
def test_an_interpreter_that_is_missing(local_once: Local, tmp_path: Path, limits: dict[str, int]) -> None:
    path = script(tmp_path / "f", "#!/no/such/python -u\nprint()\n")
    said = refusal(local_once, path, options=limits)
    assert said.endswith(f"the first line of {path} names the interpreter '/no/such/python', which does not exist")


@pytest.mark.parametrize("limits", [{}, {"max_files": 50}], ids=["direct", "through prlimit"])
def test_an_interpreter_that_is_not_executable(local_once: Local, tmp_path: Path, limits: dict[str, int]) -> None:
    path = script(tmp_path / "f", "#! /etc/passwd\n")
    assert "the interpreter '/etc/passwd', which is not executable" in refusal(local_once, path, options=limits)


def test_windows_line_ends(local_once: Local, tmp_path: Path) -> None:
    path = script(tmp_path / "f", "#!/bin/sh\r\necho\r\n")
    assert "ends in a carriage return; give it Unix line ends" in refusal(local_once, path)


@pytest.mark.parametrize("limits", [{}, {"max_files": 50}], ids=["direct", "through prlimit"])
def test_a_script_without_its_first_line(local_once: Local, tmp_path: Path, limits: dict[str, int]) -> None:
    path = script(tmp_path / "f", "echo hello\n")
    assert "neither a binary of this machine nor a script" in refusal(local_once, path, options=limits)


def test_a_binary_whose_loader_is_missing(local_once: Local, tmp_path: Path) -> None:
    data = Path("/bin/true").read_bytes()
    (loader,) = set(re.findall(rb"/lib[\w/.-]*/ld-[\w.-]+", data))
    data = data.replace(loader, b"/no" + b"x" * (len(loader) - 3))
    (tmp_path / "f").write_bytes(data)
    (tmp_path / "f").chmod(0o755)
    assert "its loader is not here" in refusal(local_once, str(tmp_path / "f"))


def test_arguments_that_are_too_long(local_once: Local) -> None:
    assert "larger than the system allows" in refusal(local_once, "/bin/true", "x" * 3_000_000)


def test_an_environment_that_cannot_be_one(local_once: Local) -> None:
    assert 'cannot start "/bin/true"' in refusal(local_once, "/bin/true", env={"A=B": "C"})
    assert 'cannot start "/bin/true"' in refusal(local_once, "/bin/true", env={"A": "\ud800"})


def test_no_descriptors_left(local_once: Local) -> None:
    async def body(kit: Kit) -> None:
        await kit.launch()
        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        for more in range(7):  # at each of the steps of a launch
            before = len(os.listdir("/proc/self/fd"))
            resource.setrlimit(resource.RLIMIT_NOFILE, (before - 1 + more, hard))
            try:
                with pytest.raises(DriverError, match="raise `ulimit -n`"):
                    await kit.launch()
            finally:
                resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
            assert len(os.listdir("/proc/self/fd")) == before, f"at step {more}"
        await kit.ready()

    local_once(body)


@pytest.mark.parametrize("number", [11, 12, 24, 23], ids=os.strerror)
def test_shortages_say_what_to_raise(number: int) -> None:
    said = program.explain("f", "/bin/f", OSError(number, os.strerror(number))).message
    assert said.startswith('cannot start "f": ')
    assert said.removeprefix('cannot start "f": ') in program._SHORTAGES.values()


def test_a_working_directory_that_is_none(local_once: Local, tmp_path: Path) -> None:
    said = refusal(local_once, "/bin/true", options={"cwd": str(tmp_path / "no")})
    assert said == f"the option `cwd` names '{tmp_path}/no', which is not a directory; make it, or correct the option"


def test_users_and_groups_that_do_not_exist(local_once: Local) -> None:
    assert 'there is no user "nobody2"' in refusal(local_once, "/bin/true", options={"user": "nobody2"})
    assert 'there is no group "nogroup2"' in refusal(local_once, "/bin/true", options={"group": "nogroup2"})
    assert "set the option `group` as well" in refusal(local_once, "/bin/true", options={"user": 54321})


def test_only_root_may_become_others(monkeypatch: pytest.MonkeyPatch) -> None:
    account.resolve.cache_clear()
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    monkeypatch.setattr(os, "getegid", lambda: 1000)
    with pytest.raises(DriverError, match=r"only root may start functions as another user \(nobody\)"):
        account.resolve("nobody", None)
    with pytest.raises(DriverError, match=r"only root may start functions as another group \(1\)"):
        account.resolve(None, 1)
    assert account.resolve(1000, 1000) == account.Account(entry=account.resolve(1000, 1000).entry)
    assert account.resolve(None, 1000).group == 1000
    account.resolve.cache_clear()


def test_what_cannot_be_reached_is_not_said_to_be_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(path: str) -> os.stat_result:
        raise PermissionError

    monkeypatch.setattr(os, "stat", refuse)
    assert "may not be entered by this user" in program._problem("/root/f")


def test_what_the_system_says_is_passed_on_where_nothing_explains_it(tmp_path: Path) -> None:
    path = script(tmp_path / "f", f"#!{os.path.realpath('/bin/sh')}\n")
    assert program.explain("f", path, PermissionError(13, "Permission denied")).message.endswith(
        f"{path}: Permission denied"
    )
    assert program.explain("f", path, OSError(5, "Input/output error")).message.endswith(f"{path}: Input/output error")
    assert program.interpreter_problem(str(tmp_path / "gone")) == ""


def test_a_process_that_cannot_be_watched_is_not_left(local_once: Local, monkeypatch: pytest.MonkeyPatch) -> None:
    async def body(kit: Kit) -> None:
        await kit.stopped(await kit.ready(), 5)

        def refuse(pid: int) -> int:
            raise OSError(24, "Too many open files")

        with monkeypatch.context() as patch:
            patch.setattr(os, "pidfd_open", refuse)
            with pytest.raises(DriverError, match="no file descriptors left"):
                await kit.launch()
        await kit.gone("the failed launch")

    local_once(body)
