"""What cannot be is refused at once, with what to do about it; what a container is confined to is the same for both."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path
from typing import Any

import pytest

from hotfn_core.errors import ConfigError, LaunchFailed

from .functions import function, run
from .setup import Engine

QUICK = 20.0  # seconds: a start fails in less than one on a machine that does nothing else
MB = 1 << 20

FACTS = """
import json, os, resource
def read(path):
    try:
        return open(path).read().strip()
    except OSError as error:
        return type(error).__name__
def first(*names):
    return next((read('/sys/fs/cgroup/' + name) for name in names if os.path.exists('/sys/fs/cgroup/' + name)), None)
def writable(folder):
    try:
        os.close(os.open(folder + '/probe', os.O_CREAT | os.O_WRONLY))
    except OSError:
        return False
    return True
status = dict(line.split(':', 1) for line in open('/proc/self/status'))
mounts = {line.split()[1]: line.split()[3].split(',') for line in open('/proc/self/mounts')}
folders = {'/', '/etc', '/home', '/home/fn', '/data', '/root', '/usr', '/run', '/var', '/proc', '/sys', *mounts}
print(json.dumps({
    'status': {name: status[name].split() for name in
               ('Uid', 'Gid', 'Groups', 'CapInh', 'CapPrm', 'CapEff', 'CapBnd', 'CapAmb', 'NoNewPrivs', 'Seccomp')},
    'memory': int(first('memory/memory.limit_in_bytes', 'memory.max')),
    'pids': int(first('pids/pids.max', 'pids.max')),
    'limits': {name: resource.getrlimit(getattr(resource, 'RLIMIT_' + name))
               for name in ('NOFILE', 'CORE', 'MEMLOCK', 'SIGPENDING', 'MSGQUEUE')},
    'interfaces': sorted(os.listdir('/sys/class/net')),
    'root': mounts['/'][0],
    'sys': mounts['/sys'][0],
    'proc/sys': mounts['/proc/sys'][0],
    'tmp': sorted({'rw', 'nosuid', 'nodev', 'noexec', 'size=65536k'} & set(mounts['/tmp'])),
    'masked': [read('/proc/' + name) for name in ('keys', 'timer_list')],
    'writable': sorted(folder for folder in folders if os.path.isdir(folder) and writable(folder)),
    'devices': sorted(set(os.listdir('/dev')) - {'console', 'core'}),
    'first': os.path.basename(read('/proc/1/cmdline').split(chr(0))[0]) not in ('python3', ''),
    'namespaces': {name: os.readlink('/proc/self/ns/' + name) for name in ('net', 'uts', 'ipc', 'pid', 'mnt')},
    'host': os.uname().nodename,
    'env': dict(os.environ),
    'open': len(os.listdir('/proc/self/fd')),
}))
"""

EXPECTED: dict[str, Any] = {
    "status": {
        **{name: ["1000"] * 4 for name in ("Uid", "Gid")},
        "Groups": ["1000"],
        **{name: ["0" * 16] for name in ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb")},
        "NoNewPrivs": ["1"],
        "Seccomp": ["2"],
    },
    "memory": 128 * MB,
    "pids": 50,
    "limits": {
        "NOFILE": [350, 350],
        "CORE": [0, 0],
        "MEMLOCK": [65_536, 65_536],
        "SIGPENDING": [5_000, 5_000],
        "MSGQUEUE": [819_200, 819_200],
    },
    "interfaces": ["lo"],
    "root": "ro",
    "sys": "ro",
    "proc/sys": "ro",
    "tmp": sorted(["rw", "nosuid", "nodev", "noexec", "size=65536k"]),
    "masked": ["", ""],
    "writable": ["/dev/mqueue", "/dev/shm", "/tmp"],
    "devices": sorted(
        "fd full mqueue null ptmx pts random shm stderr stdin stdout tty urandom zero".split()  # noqa: SIM905
    ),
    "first": True,
    "open": 4,
}


def test_what_a_container_is_confined_to(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    """The same facts, read inside of the container, for both engines."""
    monkeypatch.setenv("HOST_SECRET", "x")
    monkeypatch.setenv("http_proxy", "http://192.0.2.1:9")
    found = json.loads(run(function(engine, FACTS)))
    ours = {name: str(Path(f"/proc/self/ns/{name}").readlink()) for name in found["namespaces"]}
    assert not set(found.pop("namespaces").items()) & set(ours.items())
    assert found.pop("host") != os.uname().nodename
    env = {name for name in found.pop("env") if not name.startswith("FN_")}
    assert env <= {"PATH", "HOSTNAME", "HOME", "TERM", "container", "LC_CTYPE"}
    assert found == EXPECTED


# ---- what a function is given


def test_environment(engine: Engine) -> None:
    """The image's, the function's over it, and hotfn's own over both."""
    code = "import json, os; print(json.dumps(dict(os.environ)))"
    spec = function(
        engine,
        image=engine.image_entrypoint,
        entrypoint=["python3"],
        user="fn",
        env={"PATH": "/bin:/usr/bin", "A": "b", "FN_FORMAT": "mine"},
    ).replace(command=("-c", code), format="default")
    found = json.loads(run(spec))
    assert (found["FROM_IMAGE"], found["PATH"], found["A"]) == ("yes", "/bin:/usr/bin", "b")
    assert found["FN_FORMAT"] == "default"


@pytest.mark.parametrize(
    ("command", "options", "printed"),
    [
        ((), {}, '["one", "two words"]\n'),
        (("three",), {}, '["three"]\n'),
        (("echo", "-n", "four"), {"entrypoint": []}, "four"),
        (("five",), {"entrypoint": ["echo"]}, "five\n"),
    ],
)
def test_command_and_entrypoint_as_in_docker_run(
    engine: Engine, command: tuple[str, ...], options: dict[str, Any], printed: str
) -> None:
    spec = function(engine, "x", image=engine.image_entrypoint, **options).replace(command=command)
    assert run(spec) == printed


# ---- what cannot be


@pytest.mark.parametrize(
    ("asked", "says"),
    [
        ({"memory": 5}, "no container starts with less than 6 MB"),
        ({"memory": 64, "tmpfs": 65}, "tmpfs is 65 MB, more than memory, 64 MB"),
        ({"max_processes": 1}, "max_processes must be a whole number of processes and threads, at least 2"),
        ({"max_files": 8}, "at least 16"),
        ({"capabilities": ["NET_ROW"]}, 'did you mean "NET_RAW"'),
        ({"user": "1000:1000:1000"}, "user must be"),
        ({"mounts": ["/srv:/proc"]}, "mounts may not have /proc as a target"),
    ],
)
def test_s13_what_no_engine_could_do_is_refused_without_one(engine: Engine, asked: dict[str, Any], says: str) -> None:
    with pytest.raises(ConfigError, match=says) as error:
        run(function(engine, "print()", **asked))
    assert error.value.status == 400


@pytest.mark.parametrize(
    ("asked", "says"),
    [
        ({"cpus": 1000}, "cpus is 1000, and the engine's machine has [0-9]+: lower cpus"),
        ({"network": "hotfn-test-none"}, "create the network, or correct driver_options network"),
        ({"user": "nobody-of-this-name"}, "unable to find user nobody-of-this-name.*; correct driver_options user"),
        ({"user": "1000:none-of-this-name"}, "unable to find group .*; correct driver_options user"),
        ({"max_files": 1 << 31}, "; the engine may not give so much: lower driver_options max_files or ulimits"),
        (
            {"mounts": ["/hotfn-test-missing:/data"]},
            "; driver_options mounts, or TMPDIR for a copy that listens, names what is not on the engine's machine",
        ),
    ],
)
def test_s13_what_this_engine_cannot_do_is_refused_quickly(engine: Engine, asked: dict[str, Any], says: str) -> None:
    began = time.monotonic()
    with pytest.raises(LaunchFailed, match=says) as error:
        run(function(engine, "print()", **asked))
    assert error.value.status == 400
    assert time.monotonic() - began < QUICK
    assert not Path("/hotfn-test-missing").exists()


def test_s43_an_image_with_a_volume(engine: Engine) -> None:
    spec = function(engine, "print('ran')", image=engine.image_volume)
    with pytest.raises(LaunchFailed, match=r"declares volumes \(/data\).*driver_options volumes = true") as error:
        run(spec)
    assert error.value.status == 400
    assert run(function(engine, "print('ran')", image=engine.image_volume, volumes=True)) == "ran\n"
