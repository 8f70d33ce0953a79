"""The life of a zygote: started when needed, replaced when it is out of date or dead, ended when not needed."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import logging
import math
import os
import signal
import socket
import sys
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest

from hotfn_core import FunctionSpec, LaunchFailed, Manager
from hotfn_core.errors import DriverError
from hotfn_core.model import Exit
from hotfn_core.testing.check_driver import Copy, Kit
from hotfn_local import reaper
from hotfn_local.driver import LocalDriver
from hotfn_local.zygote import pool, process

from .conftest import Local
from .test_local_guardian import Victim, alive

ON: dict[str, Any] = {"zygote": True}
WAITS = "import sys\nprint('up', flush=True)\nsys.stdin.read()\n"


def zygotes(kit: Kit) -> list[int]:
    assert isinstance(kit.driver, LocalDriver)
    return kit.driver.zygotes


def zygote(kit: Kit) -> int:
    (pid,) = zygotes(kit)
    return pid


async def until(happened: Callable[[], object]) -> None:
    async with asyncio.timeout(15):
        while not happened():  # noqa: ASYNC110 - there is no event for what a process does
            await asyncio.sleep(0.005)


async def fails(kit: Kit, text: str, **how: Any) -> str:
    with pytest.raises(DriverError) as caught:
        await kit.launch(**({"command": (sys.executable, "-c", text), "options": ON} | how))
    return caught.value.message


# What dies


def test_a_copy_outlives_its_zygote(local: Local) -> None:
    async def body(kit: Kit) -> None:
        copy, other = await kit.ready(options=ON), await kit.ready(options=ON)
        first = zygote(kit)
        os.kill(first, signal.SIGKILL)
        await until(lambda: first not in zygotes(kit))
        assert await copy.call("still there?") == "still there?"
        copy.send({"exit": 3})
        await copy.exited()
        assert copy.recorder.exit == process.LOST
        await kit.stopped(other, 5)
        assert other.recorder.exit == process.LOST
        await kit.ready(options=ON)  # there is a new one
        assert zygote(kit) != first

    local(body)


def test_a_copy_that_was_forked_long_ahead_is_stopped_without_its_zygote(local: Local) -> None:
    async def body(kit: Kit) -> None:
        await kit.ready(options=ON)  # behind it the next one is forked
        forked = reaper.ticks()
        await until(lambda: reaper.ticks() > forked + 20)
        copy = await kit.ready(options=ON)
        os.kill(zygote(kit), signal.SIGKILL)
        await until(lambda: not zygotes(kit))
        await kit.stopped(copy, 0)

    local(body)


def test_the_group_of_a_copy_without_a_zygote_is_killed(local_once: Local) -> None:
    async def body(kit: Kit) -> None:
        copy = await kit.ready({"spawn": {"count": 2, "token": kit.token}}, options=ON)
        os.kill(zygote(kit), signal.SIGKILL)
        await until(lambda: not zygotes(kit))
        copy.send({"exit": 0})
        await copy.exited()
        await kit.gone("the copy")

    local_once(body)


def test_a_killed_copy_is_told_as_any(local: Local) -> None:
    async def body(kit: Kit) -> None:
        copy = await kit.ready(options=ON)
        os.kill(int(copy.container.id), signal.SIGKILL)
        await copy.exited()
        assert copy.recorder.exit == Exit(signal=signal.SIGKILL)
        with pytest.raises(ProcessLookupError):  # not even a zombie
            os.kill(int(copy.container.id), 0)

    local(body)


@pytest.mark.parametrize("kind", ["stubborn", "spawning", "escaping"])
def test_kill_9_of_hotfn_takes_zygote_and_copies(kind: str) -> None:
    victim = Victim(kind, "asyncio", "0", "zygote")
    assert victim.line() == "launched"
    pids = [int(pid) for pid in victim.line().split()]
    parent = int(Path(f"/proc/{pids[0]}/stat").read_text().rpartition(")")[2].split()[1])
    assert parent != victim.process.pid
    spares = children(parent)
    assert len(spares) == 2
    victim.kill()
    victim.assert_no_survivor()
    assert not any(alive(pid) for pid in {*pids, parent, *spares})


def children(pid: int) -> set[int]:
    return {int(one) for one in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()}


def test_a_stuck_zygote_is_killed(local_once: Local, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(process, "SILENCE", 0.2)

    async def body(kit: Kit) -> None:
        copy = await kit.ready(options=ON)
        first = zygote(kit)
        os.kill(first, signal.SIGSTOP)
        copy.send({"exit": 0})
        await copy.exited()
        assert copy.recorder.exit == process.LOST
        await kit.ready(options=ON)
        assert zygote(kit) != first

    local_once(body)


def full(monkeypatch: pytest.MonkeyPatch, times: float, code: int = errno.EAGAIN) -> list[bytes]:
    """Have the kernel refuse so many of the messages that ask for an exit status. Returns what was refused."""
    refused: list[bytes] = []
    send = socket.send_fds

    def send_fds(link: Any, messages: list[bytes], fds: list[int]) -> int:
        if messages[0].startswith(b"reap") and len(refused) < times:
            refused.append(messages[0])
            raise OSError(code, os.strerror(code))
        return send(link, messages, fds)

    monkeypatch.setattr(socket, "send_fds", send_fds)
    return refused


@pytest.mark.parametrize("code", [errno.EAGAIN, errno.ENOBUFS])
def test_an_exit_is_asked_for_again_when_the_socket_is_full(
    local: Local, monkeypatch: pytest.MonkeyPatch, code: int
) -> None:
    async def body(kit: Kit) -> None:
        copies = [await kit.ready(options=ON) for _ in range(2)]
        first, refused = zygote(kit), full(monkeypatch, 3, code)
        for copy in copies:
            copy.send({"exit": 3})
        for copy in copies:
            await copy.exited()
            assert copy.recorder.exit == Exit(3)
            with pytest.raises(ProcessLookupError):  # not even a zombie
                os.kill(int(copy.container.id), 0)
        assert len(refused) == 3
        assert zygote(kit) == first

    local(body)


def test_a_zygote_whose_socket_stays_full_is_killed(local_once: Local, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(process, "SILENCE", 0.3)

    async def body(kit: Kit) -> None:
        copy = await kit.ready(options=ON)
        first = zygote(kit)
        full(monkeypatch, math.inf)
        copy.send({"exit": 3})
        await copy.exited()
        assert copy.recorder.exit == process.LOST
        assert first not in zygotes(kit)
        await kit.ready(options=ON)

    local_once(body)


def test_a_start_goes_on_with_another_zygote(local_once: Local, monkeypatch: pytest.MonkeyPatch) -> None:
    """The zygote is killed while it has the request."""

    async def body(kit: Kit) -> None:
        await kit.ready(options=ON)
        first = zygote(kit)
        os.kill(first, signal.SIGSTOP)
        launch = asyncio.ensure_future(kit.ready(options=ON))
        await asyncio.sleep(0.05)
        os.kill(first, signal.SIGKILL)
        await launch
        assert zygote(kit) != first

    local_once(body)


def test_a_spare_that_was_killed(local_once: Local) -> None:
    async def body(kit: Kit) -> None:
        copy = await kit.ready(options=ON)
        first = zygote(kit)
        await until(lambda: len(children(first)) == 2)
        (spare,) = children(first) - {int(copy.container.id)}
        os.kill(spare, signal.SIGKILL)
        await kit.ready(options=ON)
        assert await copy.call("still there?") == "still there?"

    local_once(body)


def test_a_cancelled_start_leaves_nothing(local: Local) -> None:
    async def body(kit: Kit) -> None:
        await kit.ready(options=ON)
        before = len(os.listdir("/proc/self/fd"))
        for delay in (0, 0, 0.0005, 0.001, 0.002, 0.003, 0.005):
            launches = [
                asyncio.ensure_future(kit.driver.launch(kit.spec(options=ON), kit.recorder())) for _ in range(20)
            ]
            await asyncio.sleep(delay)
            for launch in launches:
                launch.cancel()
            for result in await asyncio.gather(*launches, return_exceptions=True):
                if not isinstance(result, BaseException):
                    await result.stop(0)
        await until(lambda: len(kit.seen()) == 1)
        assert all(recorder.exit is None or recorder.out == b"" for recorder in kit.recorders)
        assert len(os.listdir("/proc/self/fd")) == before

    local(body)


# What cannot be imported


def test_an_import_that_fails_is_told_with_what_to_do(local_once: Local) -> None:
    async def body(kit: Kit) -> None:
        said = await fails(kit, WAITS, options={"zygote": ["json", "no_such.module"]})
        assert f"the zygote of `{sys.executable} -c ...` cannot import no_such.module" in said
        assert "ModuleNotFoundError: No module named 'no_such'" in said
        assert "mend that, or take the option `zygote` out" in said

    local_once(body)


def test_with_true_a_failing_import_is_left_to_the_copy(local_once: Local, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "hotfn.local")

    async def body(kit: Kit) -> Copy:
        copy = await kit.launch(command=(sys.executable, "-c", "import json\nimport no_such_module\n"), options=ON)
        await copy.exited()
        return copy

    copy = local_once(body)
    assert copy.recorder.exit == Exit(1)
    assert b"ModuleNotFoundError: No module named 'no_such_module'" in copy.recorder.err
    assert "No module named 'no_such_module' (this import is left to the copies)" in caplog.text


@pytest.mark.parametrize("end", ["raise ValueError('no luck')", "import time; time.sleep(100)"])
def test_what_an_import_says_before_it_fails_is_told(
    local_once: Local, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, end: str
) -> None:
    (tmp_path / "talks.py").write_text(f"import sys\nprint('no licence here', file=sys.stderr, flush=True)\n{end}\n")
    if "sleep" in end:
        monkeypatch.setattr(process, "PATIENCE", 2.0)

    async def body(kit: Kit) -> None:
        said = await fails(kit, WAITS, options={"zygote": ["talks"], "cwd": str(tmp_path)})
        assert "; it said: no licence here; mend that" in said
        assert ("ValueError: no luck" in said) == ("raise" in end)

    local_once(body)


def test_what_an_import_says_is_logged(local_once: Local, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "hotfn.local")
    (tmp_path / "talks.py").write_text("import os\nos.write(2, b'be warned')\n")

    async def body(kit: Kit) -> None:
        await kit.driver.prepare(
            kit.spec(command=(sys.executable, "-c", WAITS), options={"zygote": ["talks"], "cwd": str(tmp_path)})
        )
        assert "said: be warned" in caplog.text

    local_once(body)


BAD = {
    "import threading as t\nt.Thread(target=t.Event().wait, name='mine', daemon=True).start()": "threads (mine)",
    "import os\nopened = open(os.devnull)\nsock = __import__('socket').socket()": "left socket:",
    "import os\npipe = os.pipe()": "left pipe:",
    "import tempfile\nfile = open(tempfile.mktemp(), 'w')": "/tmp",
    "import os\nos.kill(os.getpid(), 9)": "was killed by signal 9 before it was ready",
    "import os\nos.write(2, b'my words'); os._exit(4)": "exited with code 4 before it was ready; it said: my words",
    "raise SystemExit(5)": "SystemExit: 5",
}


@pytest.mark.parametrize("text", BAD)
def test_imports_that_no_fork_goes_with(local_once: Local, tmp_path: Path, text: str) -> None:
    (tmp_path / "bad_one.py").write_text(text)

    async def body(kit: Kit) -> None:
        how = {"zygote": ["bad_one"], "cwd": str(tmp_path)}
        assert BAD[text] in await fails(kit, WAITS, options=how)

    local_once(body)


def test_a_refused_import_reads_well(local_once: Local, tmp_path: Path) -> None:
    (tmp_path / "bad_one.py").write_text(next(text for text in BAD if "threading" in text))

    async def body(kit: Kit) -> None:
        said = await fails(kit, WAITS, options={"zygote": ["bad_one"], "cwd": str(tmp_path)})
        assert "-c ...` cannot be forked: an import started threads (mine), which no copy would have; mend that" in said

    local_once(body)


def test_imports_that_end_what_they_started_at_a_fork(local_once: Local, tmp_path: Path) -> None:
    """As the libraries of numpy do with their threads. What stays open harmlessly, stays."""
    (tmp_path / "polite.py").write_text(
        "import os, threading\n"
        "null, me = open(os.devnull, 'w'), open(__file__)\n"
        "event = threading.Event()\n"
        "thread = threading.Thread(target=event.wait)\nthread.start()\n"
        "os.register_at_fork(before=lambda: (event.set(), thread.join()))\n"
    )

    async def body(kit: Kit) -> None:
        copy = await kit.launch(
            command=(sys.executable, "-c", WAITS), options={"zygote": ["polite"], "cwd": str(tmp_path)}
        )
        await copy.until(lambda: b"up" in copy.recorder.out, "the start")

    local_once(body)


def test_an_import_that_hangs_is_given_up(local_once: Local, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(process, "PATIENCE", 0.5)
    (tmp_path / "hangs.py").write_text("import time\ntime.sleep(100)\n")

    async def body(kit: Kit) -> None:
        said = await fails(kit, WAITS, options={"zygote": ["hangs"], "cwd": str(tmp_path)})
        assert "has not answered for 0.5 s and was killed" in said
        await until(lambda: not zygotes(kit))

    local_once(body)


def test_a_start_that_nobody_waits_for_ends_the_imports(local_once: Local, tmp_path: Path) -> None:
    (tmp_path / "hangs.py").write_text("import time\ntime.sleep(100)\n")

    async def body(kit: Kit) -> None:
        options = {"zygote": ["hangs"], "cwd": str(tmp_path)}
        spec = kit.spec(command=(sys.executable, "-c", WAITS), options=options)
        waiting = [asyncio.ensure_future(kit.driver.prepare(spec)) for _ in range(2)]
        await asyncio.sleep(0.05)
        waiting[0].cancel()
        await asyncio.sleep(0)
        assert len(zygotes(kit)) == 1
        waiting[1].cancel()
        await asyncio.gather(*waiting, return_exceptions=True)
        await until(lambda: not zygotes(kit))

    local_once(body)


def test_zygotes_that_fail_are_not_started_all_the_time(local_once: Local) -> None:
    started: list[int] = []

    async def body(kit: Kit) -> None:
        options = {"zygote": ["no_such_module"]}
        for _ in range(50):
            with contextlib.suppress(DriverError):
                await kit.launch(options=options)
            started.extend(pid for pid in zygotes(kit) if pid not in started)
        with pytest.raises(DriverError) as caught:
            await kit.launch(options=options)
        assert caught.value.retry_after is None or caught.value.retry_after > 0

    local_once(body)
    assert len(started) <= 8


def test_a_caller_sees_launch_failed() -> None:
    async def main() -> None:
        command = (sys.executable, "-c", WAITS)
        spec = FunctionSpec(name="f", command=command, format="json", driver_options={"zygote": ["no_such_module"]})
        async with Manager() as manager:
            with pytest.raises(LaunchFailed, match="cannot import no_such_module: .*mend that"):
                await manager.call(spec, b"x")

    asyncio.run(main())


# What is out of date, what is not needed


def test_a_changed_file_makes_a_new_zygote(local_once: Local, tmp_path: Path) -> None:
    module, script = tmp_path / "mine.py", tmp_path / "f.py"
    module.write_text("version = 1\n")
    script.write_text("import mine\nprint(mine.version)\n")

    async def told(kit: Kit) -> bytes:
        copy = await kit.launch(command=(sys.executable, str(script)), options=ON)
        await copy.exited()
        return bytes(copy.recorder.out)

    async def body(kit: Kit) -> None:
        assert [await told(kit), await told(kit)] == [b"1\n"] * 2
        first = zygote(kit)
        module.write_text("version = 10\n")
        assert [await told(kit), await told(kit)] == [b"10\n"] * 2
        await until(lambda: first not in zygotes(kit))
        script.write_text("import mine\nprint('new', mine.version)\n")
        assert await told(kit) == b"new 10\n"

    local_once(body)


def test_one_that_is_not_needed_is_ended(local_once: Local, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pool, "IDLE", 0.3)

    async def body(kit: Kit) -> None:
        copy = await kit.ready(options=ON)
        await asyncio.sleep(0.5)
        assert len(zygotes(kit)) == 1  # it has a copy
        await kit.stopped(copy, 5)
        assert len(zygotes(kit)) == 1
        await until(lambda: not zygotes(kit))
        await kit.ready(options=ON)

    local_once(body)


def test_few_are_kept_that_nobody_uses(local_once: Local, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pool, "MOST_IDLE", 3)

    async def body(kit: Kit) -> None:
        used = await kit.ready(options=ON)
        for number in range(6):
            await kit.driver.prepare(kit.spec(options=ON, env={"PYTHONHASHSEED": str(number)}))
        await until(lambda: len(zygotes(kit)) == 4)
        assert await used.call("mine?") == "mine?"

    local_once(body)


def test_closing_the_driver_ends_all(local: Local) -> None:
    async def body(kit: Kit) -> None:
        copies = [await kit.ready(options=ON) for _ in range(3)]
        pid = zygote(kit)
        family = {pid, *children(pid)}
        await kit.driver.aclose()
        assert all(copy.recorder.exit for copy in copies)
        assert not zygotes(kit)
        await until(lambda: not any(alive(one) for one in family))
        with pytest.raises(ProcessLookupError):
            os.kill(pid, 0)

    local(body)


def test_an_ended_function_leaves_no_zygote(tmp_path: Path) -> None:
    """With everything around it: prepared before the first call, a cold call each, gone with the manager."""
    script = tmp_path / "f.py"
    script.write_text(
        "import json, sys\n"
        "for line in sys.stdin:\n"
        "    print(json.dumps({'body': json.loads(line)['body']}), flush=True)\n"
    )

    async def main() -> None:
        command = (sys.executable, str(script))
        spec = FunctionSpec(name="f", command=command, format="json", idle_timeout=0, driver_options=ON)
        async with managed() as manager:
            for number in range(10):
                reply = await manager.call(spec, str(number).encode())
                assert (reply.body, reply.cold) == (str(number).encode(), True)

    asyncio.run(main())


@contextlib.asynccontextmanager
async def managed() -> AsyncIterator[Manager]:
    mine = {os.getpid()}
    async with Manager() as manager:
        yield manager
    assert not [pid for pid in children(os.getpid()) if pid not in mine and alive(pid)]
