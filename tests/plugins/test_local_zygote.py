"""A copy that a zygote was forked for is what a plain start would have made: what it is, gets, and how it ends."""

from __future__ import annotations

import asyncio
import json
import os
import resource
import signal
import sys
import zipfile
from pathlib import Path
from typing import Any

import pytest

from hotfn_core.model import Exit
from hotfn_core.testing.check_driver import Copy, Kit

from .conftest import Local

MB = 1 << 20
ON: dict[str, Any] = {"zygote": True}

SELF = r"""'''A docstring.'''
from __future__ import annotations
import json, sys
import os.path as path
import sibling
main = sys.modules["__main__"]
def status():
    with open("/proc/self/status") as file:
        lines = dict(line.split(":", 1) for line in file.read().splitlines())
    names = ("Umask", "SigBlk", "SigIgn", "SigCgt", "Name", "Uid", "Gid", "Groups")
    found = {name: lines[name].strip() for name in names}
    # Signals 32 and 33 are the C library's own: its posix_spawn leaves them ignored.
    return {**found, "SigIgn": hex(int(found["SigIgn"], 16) & ~(3 << 31))}
def streams():
    def one(s):
        raw = s.buffer
        return [s.encoding, s.errors, s.line_buffering, s.seekable(), raw.seekable(), s.name, s.mode, s.isatty()]
    return [one(s) for s in (sys.stdin, sys.stdout, sys.stderr)]
def descriptors():
    kinds = {int(fd): os.readlink("/proc/self/fd/" + fd).split(":")[0] for fd in os.listdir("/proc/self/fd")
             if os.path.exists("/proc/self/fd/" + fd)}
    return sorted(kinds.items())
import os
def work(depth=0):
    marker = os.environ.pop("HOTFN_RUNTIME")
    return {
        "argv": sys.argv, "orig": sys.orig_argv, "path": sys.path, "flags": str(sys.flags), "cwd": os.getcwd(),
        "executable": sys.executable, "prefix": sys.prefix,
        "main": {name: str(type(value)) for name, value in vars(main).items()},
        "file": globals().get("__file__"), "name": __name__, "package": __package__,
        "spec": __spec__ and [__spec__.name, __spec__.origin],
        "doc": __doc__, "annotations": work.__annotations__, "marked": marker.count(":"),
        "status": status(), "streams": streams(), "fds": descriptors(),
        "leads": [os.getpgid(0) == os.getpid(), os.getsid(0) == os.getpid()], "env": dict(os.environ),
        "getenv": os.popen("echo $MINE").read(), "sibling": sibling.__file__,
    }
print(json.dumps(work()))
"""


def write(path: Path, text: str) -> str:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return str(path)


async def finished(copy: Copy) -> Any:
    """Return what a copy printed, when it has exited."""
    copy.container.write_eof()
    await copy.exited()
    assert copy.recorder.exit == Exit(0), (copy.recorder.exit, copy.recorder.err.decode())
    return json.loads(copy.recorder.out)


def of_kind(kind: str, at: Path) -> list[str]:
    """Write a program of that kind and return the end of its command."""
    write(at / "sibling.py", "")
    script = write(at / "function.py", SELF)
    write(at / "package/__init__.py", "")
    write(at / "package/function.py", SELF)
    write(at / "directory/__main__.py", SELF)
    write(at / "directory/sibling.py", "")
    with zipfile.ZipFile(at / "packed.zip", "w") as packed:
        packed.writestr("__main__.py", SELF)
        packed.writestr("sibling.py", "")
    (at / "linked").mkdir(exist_ok=True)
    (at / "linked/link.py").symlink_to(script)
    return {
        "script": [script],
        "relative": ["./function.py"],
        "link": ["linked/link.py"],
        "module": ["-m", "package.function"],
        "joined": ["-Bmpackage.function"],
        "text": ["-c", SELF],
        "directory": ["directory"],
        "zip": ["packed.zip"],
        "isolated": ["-I", "-c", "import sys; sys.path.insert(0, '.')\n" + SELF.replace("from __future__", "#")],
        "flags": ["-u", "-W", "error", "-X", "utf8", "-sO", "function.py"],
    }[kind]


@pytest.mark.parametrize(
    "kind",
    ["script", "relative", "link", "module", "joined", "text", "directory", "zip", "isolated", "flags"],
)
def test_a_copy_cannot_tell_the_difference(local_once: Local, tmp_path: Path, kind: str) -> None:
    command = (sys.executable, *of_kind(kind, tmp_path), "an argument", "", "-x")

    async def body(kit: Kit) -> tuple[Any, Any]:
        how: dict[str, Any] = {"command": command, "env": {"MINE": "1", "TZ": "Asia/Tokyo"}}
        plain = await kit.launch(**how, options={"cwd": str(tmp_path)})
        forked = await kit.launch(**how, options={"cwd": str(tmp_path)} | ON)
        return await finished(plain), await finished(forked)

    plain, forked = local_once(body)
    for name in plain:
        assert forked[name] == plain[name], name


def test_the_process_shows_its_command_and_its_environment(local: Local, tmp_path: Path) -> None:
    script = write(tmp_path / "waits.py", "import sys\nprint('up', flush=True)\nsys.stdin.read()\n")

    async def body(kit: Kit) -> None:
        copies = []
        for number in range(3):
            env = {"NUMBER": str(number), "LONG": "x" * 20_000}
            copies.append(await kit.launch(command=(sys.executable, script, f"{number}"), env=env, options=ON))
        for number, copy in enumerate(copies):
            await copy.until(lambda copy=copy: b"up" in copy.recorder.out, "the start")  # type: ignore[misc]
            shown = Path(f"/proc/{copy.container.id}/environ").read_bytes()
            assert f"\0NUMBER={number}\0".encode() in shown
            assert shown.startswith(b"HOTFN_RUNTIME=")
            line = Path(f"/proc/{copy.container.id}/cmdline").read_bytes()
            assert line.rstrip(b"\0").decode() == f"{sys.executable} {script} {number}"

    local(body)


def test_limits(local_once: Local) -> None:
    asked = {"max_files": 32, "max_processes": 500, "max_file_size": 4096, "max_core_size": 0, "cpu_time": 7}

    async def body(kit: Kit) -> tuple[dict[str, Any], dict[str, Any]]:
        limited = await kit.launch(memory=300, options=asked | ON)
        free = await kit.launch(options=ON)
        report = {"report": ["limits"]}
        return (await limited.report(report))["limits"], (await free.report(report))["limits"]

    limited, free = local_once(body)
    assert {name: limited[name] for name in ("RLIMIT_NOFILE", "RLIMIT_CPU", "RLIMIT_AS", "RLIMIT_FSIZE")} == {
        "RLIMIT_NOFILE": [32, 32],
        "RLIMIT_CPU": [7, 8],
        "RLIMIT_AS": [300 * MB, 300 * MB],
        "RLIMIT_FSIZE": [4096, 4096],
    }
    assert free == {name: list(resource.getrlimit(getattr(resource, name))) for name in free}


def test_processor_time_begins_at_nothing(local_once: Local) -> None:
    async def body(kit: Kit) -> None:
        copy = await kit.ready(options={"cpu_time": 1} | ON)
        copy.send({"spin": 60})
        await copy.exited()
        assert copy.recorder.exit == Exit(signal=signal.SIGXCPU)

    local_once(body)


def test_another_user_has_a_zygote_of_its_own(local_once: Local) -> None:
    """The imports are run as the user, too: they are the user's code."""

    async def body(kit: Kit) -> None:
        options = {"user": "nobody"} | ON
        text = "import os, sys\nprint(os.getresuid(), os.getresgid(), os.getgroups(), flush=True)\nsys.stdin.read()\n"
        copy = await kit.launch(command=("/usr/bin/python3", "-c", text), options=options)
        await copy.until(lambda: b"\n" in copy.recorder.out, "a line")
        assert copy.recorder.out == b"(65534, 65534, 65534) (65534, 65534, 65534) [65534]\n"
        (zygote,) = kit.driver.zygotes  # type: ignore[attr-defined]
        assert os.stat(f"/proc/{zygote}").st_uid == 65534
        assert os.stat(f"/proc/{copy.container.id}").st_uid == 65534

    local_once(body)


ENDINGS = {
    "falls off": ("x = 1", 0),
    "exits": ("import sys\nsys.exit(7)", 7),
    "says why": ("import sys\nsys.exit('because')", 1),
    "raises": ("def f():\n  return 1 / 0\nf()", 1),
    "in a chain": ("try:\n  1 / 0\nexcept ZeroDivisionError as e:\n  raise ValueError('v') from e", 1),
    "does not parse": ("import json\nx = = 1", 1),
    "has a hook": (
        "import sys\nsys.excepthook = lambda k, e, t: print('hook', k, t.tb_lineno, file=sys.stderr)\n1/0",
        1,
    ),
    "at exit": ("import atexit, sys\natexit.register(lambda: print('bye', file=sys.stderr))\nsys.exit(3)", 3),
    "a thread goes on": (
        "import threading as t, time\nt.Thread(target=lambda: (time.sleep(.1), print('late', flush=True))).start()",
        0,
    ),
    "aborts": ("import os\nos.abort()", -6),
    "interrupted": (  # where the tests run in the background SIGINT is ignored
        (
            "import os, signal\nsignal.signal(signal.SIGINT, signal.default_int_handler)\n"
            "os.kill(os.getpid(), signal.SIGINT)\nimport time; time.sleep(9)"
        ),
        -2,
    ),
    "has no file": (None, 2),
}


@pytest.mark.parametrize("how", ENDINGS)
def test_it_ends_in_the_same_way(local_once: Local, tmp_path: Path, how: str) -> None:
    text, code = ENDINGS[how]
    script = str(tmp_path / "f.py") if text is None else write(tmp_path / "f.py", text)

    async def body(kit: Kit) -> list[tuple[str, Exit | None]]:
        ends = []
        for options in ({}, ON):
            copy = await kit.launch(command=(sys.executable, script), options=options)
            await copy.exited()
            ends.append((copy.recorder.err.decode(), copy.recorder.exit))
        return ends

    plain, forked = local_once(body)
    assert forked == plain
    assert plain[1] == (Exit(code) if code >= 0 else Exit(signal=-code))


def test_fifty_at_once_hold_no_pipe_of_another(local: Local) -> None:
    """A copy that held another one's stdin would keep it from ever seeing its end."""

    async def body(kit: Kit) -> None:
        copies = await asyncio.gather(*(kit.launch(options=ON) for _ in range(50)))
        await asyncio.gather(*(copy.call("up") for copy in copies))
        assert len(kit.driver.zygotes) == 1  # type: ignore[attr-defined]
        held = [pipes(copy.container.id) for copy in copies]
        assert all(len(one) == 3 for one in held)
        assert len(set().union(*held)) == 150
        for copy in copies:
            copy.container.write_eof()
            await copy.exited()
            assert copy.recorder.exit == Exit(0)

    local(body)


def pipes(pid: str) -> set[str]:
    return {os.readlink(f"/proc/{pid}/fd/{fd}") for fd in os.listdir(f"/proc/{pid}/fd")}


def test_a_copy_has_its_own_chance(local_once: Local) -> None:
    text = (
        "import json, random, uuid, secrets, tempfile, multiprocessing.process\n"
        "key = multiprocessing.process.current_process().authkey.hex()\n"
        "print(json.dumps([random.random(), str(uuid.uuid4()), secrets.token_hex(8), tempfile.mktemp(), key]))"
    )

    async def body(kit: Kit) -> list[list[Any]]:
        copies = [await kit.launch(command=(sys.executable, "-c", text), options=ON) for _ in range(8)]
        return [await finished(copy) for copy in copies]

    for drawn in zip(*local_once(body), strict=True):
        assert len(set(drawn)) == 8, drawn


def test_a_legacy_generator_is_seeded_anew(local_once: Local, tmp_path: Path) -> None:
    """numpy's global generator knows nothing of forks."""
    write(tmp_path / "numpy/__init__.py", "")
    write(
        tmp_path / "numpy/random.py",
        "import os\nstate = 0\ndef seed():\n    global state\n    state = os.urandom(8).hex()\n",
    )
    script = write(tmp_path / "f.py", "import json, numpy.random\nprint(json.dumps(numpy.random.state))")

    async def body(kit: Kit) -> list[str]:
        copies = [await kit.launch(command=(sys.executable, script), options=ON) for _ in range(4)]
        return [await finished(copy) for copy in copies]

    assert len(set(local_once(body)) - {0}) == 4


def test_secrets_are_not_in_the_zygote(local_once: Local) -> None:
    async def body(kit: Kit) -> None:
        secret = "s3cr3t-of-a-function"
        copy = await kit.ready(env={"TOKEN": secret, "PYTHONHASHSEED": "7"}, options=ON)
        assert (await copy.report({"report": ["env"]}))["env"]["TOKEN"] == secret
        (zygote,) = kit.driver.zygotes  # type: ignore[attr-defined]
        for name in ("environ", "cmdline"):
            assert secret.encode() not in Path(f"/proc/{zygote}/{name}").read_bytes()
        assert secret.encode() not in memory(zygote)
        assert secret.encode() in memory(int(copy.container.id))  # so it could be found
        other = await kit.ready(env={"TOKEN": "another", "PYTHONHASHSEED": "7"}, options=ON)
        assert secret.encode() not in memory(int(other.container.id))
        assert kit.driver.zygotes == [zygote]  # type: ignore[attr-defined]
        await kit.ready(env={"PYTHONHASHSEED": "8"}, options=ON)
        assert len(kit.driver.zygotes) == 2  # type: ignore[attr-defined]

    local_once(body)


def memory(pid: int) -> bytes:
    """Return all that a process has written to its memory."""
    found = bytearray()
    with open(f"/proc/{pid}/maps") as maps, open(f"/proc/{pid}/mem", "rb") as mem:
        for line in maps:
            span, mode = line.split()[:2]
            if mode.startswith("rw"):
                start, end = (int(part, 16) for part in span.split("-"))
                mem.seek(start)
                found += mem.read(end - start)
    return bytes(found)


def test_memory_is_shared(local_once: Local, tmp_path: Path) -> None:
    write(tmp_path / "large.py", "data = [str(n) for n in range(300_000)]\n")
    script = write(tmp_path / "f.py", "import large\nimport sys\nprint('up', flush=True)\nsys.stdin.read()\n")

    def private(pid: str) -> int:
        rollup = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
        return sum(int(line.split()[1]) for line in rollup if line.startswith("Private_"))

    async def body(kit: Kit) -> tuple[int, int]:
        sizes = []
        for options in ({}, ON):
            copies = [await kit.launch(command=(sys.executable, script), options=options) for _ in range(2)]
            for copy in copies:
                await copy.until(lambda copy=copy: b"up" in copy.recorder.out, "the start")  # type: ignore[misc]
            sizes.append(private(copies[-1].container.id))
        return sizes[0], sizes[1]

    plain, forked = local_once(body)
    assert forked < plain / 4
