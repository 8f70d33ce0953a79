"""Starting processes while other threads go on: what the new program gets, and what it does not."""

from __future__ import annotations

import asyncio
import os
import signal
import time
from pathlib import Path

import pytest

from hotfn_local import posix, spawn

from .conftest import Local

# Where the checks run it must be there.
pytestmark = pytest.mark.skipif(
    posix.library() is None and not os.environ.get("CI"), reason="this C library cannot: Popen starts processes here"
)


MARKER = ("HOTFN_RUNTIME", "x")


def said(script: str, cwd: str | None = None, **env: str) -> str:
    """Return what a shell script says when it is started in that way."""
    start = spawn.Start(spawn.Order("/bin/sh", ["sh", "-c", script], {"PATH": os.defpath, **env}, cwd), MARKER)
    assert isinstance(start._run.__self__, posix.Spawn)  # type: ignore[attr-defined]
    try:
        child = start.child(start.run())
    finally:
        start.close()
    os.close(child.stdin)
    exit = spawn.reap(child.pidfd)
    os.set_blocking(child.stdout, True)
    text = os.read(child.stdout, 65536).decode()
    for fd in (child.stdout, child.stderr, child.pidfd):
        os.close(fd)
    assert exit.code == 0
    return text


def test_environment_and_directory(tmp_path: Path) -> None:
    assert said('echo "$A" "$B"; pwd', str(tmp_path), A="1=2", B="\u00e9") == f"1=2 \u00e9\n{tmp_path}\n"


def test_no_other_descriptor() -> None:
    fd = os.open("/dev/null", os.O_RDONLY)
    os.set_inheritable(fd, True)
    try:
        assert said("ls /proc/$$/fd").split() == ["0", "1", "2"]
    finally:
        os.close(fd)


def test_a_session_of_its_own() -> None:
    pid, session = said('echo $$; set -- $(cat /proc/$$/stat); echo "$6"').split()
    assert pid == session != str(os.getsid(0))


def test_signals_that_python_ignores_do_what_they_always_do() -> None:
    ignored = int(said("grep SigIgn /proc/$$/status").split()[1], 16)
    for number in (signal.SIGPIPE, signal.SIGXFSZ):
        assert not ignored & 1 << (number - 1)


@pytest.mark.parametrize("env", [{"A=B": "x"}, {"A": "x\0y"}, {"A": "\ud800"}])
def test_what_no_environment_can_hold(env: dict[str, str]) -> None:
    before = set(os.listdir("/proc/self/fd"))
    with pytest.raises(ValueError, match=r"null|illegal|encode"):
        spawn.Start(spawn.Order("/bin/true", ["true"], env), MARKER)
    assert set(os.listdir("/proc/self/fd")) == before


def test_a_program_that_cannot_be_started() -> None:
    start = spawn.Start(spawn.Order("/no/such/program", ["x"], {}), MARKER)
    with pytest.raises(FileNotFoundError):
        start.run()
    start.close()


def test_calls_go_on_in_a_storm_of_starts(local: Local) -> None:
    """The longest that the loop stands still is far below the time that the starts take."""

    async def body(kit: object) -> None:
        stalls, last, going = [0.0], time.monotonic(), True

        async def beat() -> None:
            nonlocal last
            while going:
                await asyncio.sleep(0)
                now = time.monotonic()
                stalls.append(now - last)
                last = now

        beating = asyncio.create_task(beat())
        begun = time.monotonic()
        copies = await asyncio.gather(*(kit.ready() for _ in range(40)))  # type: ignore[attr-defined]
        took, going = time.monotonic() - begun, False
        await beating
        assert sorted(stalls)[-2] < took / 2
        await asyncio.gather(*(copy.container.stop(0) for copy in copies))

    local(body)
