"""Every limit of a container bites, on both engines, and can be loosened on purpose."""

from __future__ import annotations

import asyncio
import json
import os
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from hotfn_core import Manager
from hotfn_core.errors import InstanceExited

from .calling import run as play
from .calling import shell
from .functions import errors, function, report, run
from .setup import Engine

MB = 1 << 20
COPIES = 4

CGROUP = """
import os
def cgroup(*names):
    for name in names:
        try:
            return open('/sys/fs/cgroup/' + name).read().split()
        except OSError:
            pass
limit = cgroup('memory/memory.limit_in_bytes', 'memory.max')[0]
both = cgroup('memory/memory.memsw.limit_in_bytes')
swap = int(both[0]) - int(limit) if both else int(cgroup('memory.swap.max')[0])
"""
FORKS = """
import os, time
try:
    for count in range(90):
        if os.fork() == 0:
            time.sleep(600)
except OSError as error:
    print(count, error.strerror)
else:
    print('as many as it liked')
"""
IN_A_CHILD = """
import subprocess, sys
child = subprocess.run([sys.executable, '-c', 'x = bytearray(400 << 20)'])
print('the child ended with', child.returncode, flush=True)
sys.exit(int(sys.argv[1]))
"""
CPU = (
    CGROUP
    + """
import time
while sum(os.times()[:2]) < 0.5:
    pass
facts = cgroup('cpu/cpu.stat', 'cpu.stat')
print(facts[facts.index('nr_throttled') + 1] if 'nr_throttled' in facts else 0)
"""
)
PROGRAM_IN_TMP = """
import os, subprocess
open('/tmp/x', 'w').write('#!/bin/sh\\necho ran')
os.chmod('/tmp/x', 0o755)
try:
    print(subprocess.run('/tmp/x', capture_output=True, text=True).stdout.strip())
except OSError as error:
    print(error.strerror)
"""
STATUS = """
for line in open('/proc/self/status'):
    if line.startswith(('CapEff', 'CapBnd', 'NoNewPrivs')):
        print(*line.split(), sep='')
"""


# ---- memory


@pytest.mark.parametrize(("memory", "limit"), [(64, 64), (None, 128)])
@pytest.mark.parametrize("init", [True, False])
def test_memory(engine: Engine, memory: int | None, limit: int, init: bool) -> None:
    """Without an init process an engine may be too late to see it; then the cause is told as the usual one."""
    seen = f"ran out of memory, limit {limit} MB, and was killed before it had answered"
    with pytest.raises(InstanceExited, match=seen if init else f"ran out of memory, limit {limit} MB") as error:
        report(function(engine, memory=memory, init=init), memory=400)
    assert error.value.status == 502


@pytest.mark.parametrize(("asked", "told"), [({}, b"128"), ({"memory": 64}, b"64")])
def test_a_copy_is_told_its_memory(engine: Engine, asked: dict[str, int], told: bytes) -> None:
    async def main() -> None:
        async with Manager() as manager:
            spec = shell(engine, "echo $FN_MEMORY", "default", **asked)
            assert (await manager.call(spec)).body.strip() == told

    play(main())


def test_memory_is_unlimited_on_purpose(engine: Engine) -> None:
    assert errors(function(engine, driver_options={"memory": "unlimited"}), memory=400) == []


@pytest.mark.parametrize("memory", [48, 200])
def test_w38_the_limit_is_the_function_s_own(engine: Engine, memory: int) -> None:
    assert run(function(engine, CGROUP + "print(limit)", memory=memory)) == f"{memory * MB}\n"


def test_b44_there_is_no_way_out_through_swap(engine: Engine) -> None:
    assert run(function(engine, CGROUP + "print(swap)")) == "0\n"


def test_a_child_ran_out_of_memory_and_the_copy_failed_of_it(engine: Engine) -> None:
    spec = function(engine, IN_A_CHILD, memory=64).replace(command=("python3", "-c", IN_A_CHILD, "5"))
    with pytest.raises(InstanceExited, match="ran out of memory, limit 64 MB, and exited with code 5"):
        run(spec)


def test_a_copy_that_kills_itself_has_not_run_out_of_memory(engine: Engine) -> None:
    with pytest.raises(InstanceExited) as error:
        report(function(engine), signal=9)
    assert "signal 9" in error.value.message
    assert "ran out of memory, limit 128 MB, and was killed" not in error.value.message


def test_after_one_that_ran_out_of_memory_the_next_call_is_answered(engine: Engine) -> None:
    async def main() -> None:
        spec = function(engine, memory=64)
        async with Manager() as manager:
            with pytest.raises(InstanceExited):
                await manager.call(spec, b'{"memory": 400}')
            assert json.loads((await manager.call(spec, b"{}")).body)["calls"] == 1

    asyncio.run(main())


# ---- the other numbers


def test_cpus(engine: Engine) -> None:
    assert int(run(function(engine, CPU, cpus=0.2))) > 0
    assert int(run(function(engine, CPU))) == 0


def test_processes(engine: Engine) -> None:
    assert run(function(engine, FORKS)) == "48 Resource temporarily unavailable\n"  # and init and the first one
    assert run(function(engine, FORKS, max_processes=20)) == "18 Resource temporarily unavailable\n"
    assert run(function(engine, FORKS, max_processes="unlimited", memory=512)) == "as many as it liked\n"


def test_open_files(engine: Engine) -> None:
    failed = errors(function(engine), open_files=360)
    assert len(failed) > 10
    assert all("Too many open files" in one for one in failed)
    assert errors(function(engine, max_files=1000), open_files=360) == []


# ---- files


def test_tmp_has_a_size(engine: Engine) -> None:
    assert errors(function(engine), write_file=["/tmp/f", 2 * MB]) == []
    (error,) = errors(function(engine, tmpfs=1), write_file=["/tmp/f", 2 * MB])
    assert "No space left on device" in error


def test_no_program_runs_in_tmp(engine: Engine) -> None:
    assert run(function(engine, PROGRAM_IN_TMP)) == "Permission denied\n"
    assert run(function(engine, PROGRAM_IN_TMP, tmp_exec=True)) == "ran\n"


@pytest.mark.parametrize("path", ["/f", "/etc/f", "/home/fn/f", "/data/f"])
def test_the_root_is_read_only(engine: Engine, path: str) -> None:
    (error,) = errors(function(engine, user=0), write_file=[path, 1])
    assert "Read-only file system" in error


def test_the_root_is_writable_on_purpose(engine: Engine) -> None:
    assert errors(function(engine, user=0, read_only=False), write_file=["/etc/f", 1]) == []


def test_without_a_tmp_of_its_own_tmp_is_the_image_s(engine: Engine) -> None:
    (error,) = errors(function(engine, tmpfs=0), write_file=["/tmp/f", 1])
    assert "Read-only file system" in error


def test_mounts(engine: Engine, tmp_path: Path) -> None:
    for name in ("in", "out"):
        (tmp_path / name).mkdir()
        (tmp_path / name).chmod(0o777)
    spec = function(engine, mounts=[f"{tmp_path}/in:/in", f"{tmp_path}/out:/data/out:rw"])
    for folder in reversed(tmp_path.parents):
        if folder.stat().st_uid == os.getuid() and folder != Path("/"):
            folder.chmod(folder.stat().st_mode | 0o011)
    (error,) = errors(spec, write_file=["/in/f", 3])
    assert "Read-only file system" in error
    assert errors(spec, write_file=["/data/out/f", 3]) == []
    assert (tmp_path / "out" / "f").read_bytes() == bytes(3)


def test_the_engine_keeps_no_log(engine: Engine) -> None:
    """What a copy writes is read by hotfn alone; an engine's log of it would grow without a bound."""

    async def main() -> None:
        async with Manager() as manager:
            await manager.call(function(engine), b'{"stderr_bytes": 100000}')
            (copy,) = engine.ps(all=False, label="hotfn.function=guest")
            facts = engine.inspect(copy.id)
            assert facts["HostConfig"]["LogConfig"]["Type"] == "none"
            assert not facts.get("LogPath")

    asyncio.run(main())


# ---- rights


def test_user(engine: Engine) -> None:
    who = "import os; print(os.getuid(), os.getgid())"
    assert run(function(engine, who)) == "1000 1000\n"
    assert run(function(engine, who, user=33)) == "33 33\n"
    assert run(function(engine, who, user="0:5")) == "0 5\n"


def test_capabilities_and_privileges(engine: Engine) -> None:
    none = "0" * 16
    assert run(function(engine, STATUS, user=0)).split() == [f"CapEff:{none}", f"CapBnd:{none}", "NoNewPrivs:1"]
    loose = function(engine, STATUS, user=0, capabilities=["NET_RAW"], new_privileges=True)
    raw = f"{1 << 13:016x}"
    assert run(loose).split() == [f"CapEff:{raw}", f"CapBnd:{raw}", "NoNewPrivs:0"]


def test_an_init_process_is_the_first(engine: Engine) -> None:
    assert report(function(engine))["pid"] > 1
    assert report(function(engine, init=False))["pid"] == 1


# ---- networks

REACH = """
import os, socket
try:
    socket.create_connection(('192.0.2.1', 9), 0.2)
except OSError as error:
    print(type(error).__name__, error)
print(sorted(os.listdir('/sys/class/net')))
"""


@pytest.fixture
def networks(engine: Engine) -> Iterator[list[str]]:
    """Two networks that lead nowhere."""
    names = ["hotfn-test-a", "hotfn-test-b"]
    for name in names:
        status, answer = engine.api("POST", "/networks/create", {"Name": name, "Driver": "bridge", "Internal": True})
        assert status == 201, answer
    yield names
    for name in names:
        status, answer = engine.api("DELETE", f"/networks/{name}")
        assert status in (200, 204), answer


def test_there_is_no_network(engine: Engine) -> None:
    assert run(function(engine, REACH)) == "OSError [Errno 101] Network is unreachable\n['lo']\n"


def test_a_network_on_purpose(engine: Engine, networks: list[str]) -> None:
    assert run(function(engine, REACH, network=networks[0])).endswith("\n['eth0', 'lo']\n")


def test_copies_are_spread_over_their_networks(engine: Engine, networks: list[str]) -> None:
    """The least used network gets the next copy, so that each has its part."""

    async def main() -> Counter[str]:
        spec = function(engine, network=networks, max_concurrency=COPIES)
        async with Manager() as manager:
            calls = (manager.call(spec, b'{"sleep": 0.5}') for _ in range(COPIES))
            await asyncio.gather(*calls)
            return Counter(network for one in engine.ps(all=False) for network in joined(one.id))

    def joined(container: str) -> list[str]:
        return [one for one in engine.inspect(container)["NetworkSettings"]["Networks"] if one in networks]

    assert asyncio.run(main()) == dict.fromkeys(networks, COPIES // 2)
