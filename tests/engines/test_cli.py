"""The command line with functions in containers, on both engines. The fixture sees that nothing is left in them."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import IO

import pytest

from .calling import GUEST, script
from .setup import Engine

HOTFN = str(Path(sys.executable).with_name("hotfn"))
LIMIT_SECONDS = 60

FUNCTIONS = """
[functions.where]
driver = "{name}"
image = "{image}"
command = ["sh", "-c", "id -u; pwd; cat"]
memory = 64

[functions.where.driver_options]
user = "0:0"
cwd = "/tmp"
tmpfs = 8
"""


Done = subprocess.CompletedProcess[bytes]


def hotfn(*args: str, body: bytes = b"", cwd: Path | None = None, host: tuple[str, str] = ("", "")) -> Done:
    """Run `hotfn ARGS` to its end. `host` is a variable of the environment that leads to an engine."""
    return subprocess.run(
        [HOTFN, *args],
        input=body,
        capture_output=True,
        timeout=LIMIT_SECONDS,
        check=False,
        cwd=cwd,
        env={**os.environ, host[0]: host[1]} if host[0] else None,
    )


def function(engine: Engine) -> list[str]:
    """Return the options that run the function that answers with the body."""
    return ["--driver", engine.name, "--image", engine.image_echo, "--format", "http"]


def guest(engine: Engine, wire: str = "http") -> list[str]:
    """Return the options that run the function that does as it is told, up to and with its command."""
    return ["--driver", engine.name, "--image", engine.image_python, "--format", wire, "--", *GUEST]


def test_a_body_goes_through_unchanged(engine: Engine) -> None:
    body = bytes(range(256)) * 1000
    done = hotfn("run", *function(engine), body=body)
    assert (done.returncode, done.stdout, done.stderr) == (0, body, b"")


def test_a_thousand_lines_in_order_on_two_containers(engine: Engine) -> None:
    body = b"".join(b"line %d\n" % number for number in range(1000))
    options = ["--each-line", "--stats", "--max-concurrency", "2", "--parallel", "8"]
    done = hotfn("run", *options, *function(engine), body=body)
    assert (done.returncode, done.stdout) == (0, body)
    report = done.stderr.decode()
    assert "ok         1,000\n" in report
    assert "instances  2 launched\n" in report


def test_calls_as_json_lines(engine: Engine) -> None:
    done = hotfn("run", "--calls", "3", "--output", "jsonl", *guest(engine, "json"), body=script())
    replies = [json.loads(line) for line in done.stdout.splitlines()]
    assert [json.loads(reply["body"])["calls"] for reply in replies] == [1, 2, 3]
    assert [reply["cold"] for reply in replies] == [True, False, False]


def test_stderr_of_the_function_is_tagged(engine: Engine) -> None:
    done = hotfn("run", "--stderr", "tag", *guest(engine), body=script(stderr="careful\n", body="ok", sleep_after=0.1))
    assert (done.returncode, done.stdout) == (0, b"ok")
    assert done.stderr.startswith(b"[")
    assert done.stderr.endswith(b"careful\n")


def test_failed_calls_leave_the_others_alone(engine: Engine) -> None:
    body = b"\n".join([script(body="one"), script(exit=3), script(body="three"), b""])
    done = hotfn("run", "--each-line", *guest(engine), body=body)
    assert (done.returncode, done.stdout) == (1, b"one\n\nthree\n")
    assert b"call 1 (line 2): instance_exited: default/run exited with code 3" in done.stderr


def test_bench_puts_a_process_and_a_container_side_by_side(engine: Engine) -> None:
    """The command is the same; `local` has no use for the image."""
    load = ["--calls", "100", "--body", script(body="ok").decode(), "--compare", f"driver=local,{engine.name}"]
    done = hotfn("bench", "--json", *load, "--image", engine.image_python, "--format", "http", "--", *GUEST)
    assert (done.returncode, done.stderr) == (0, b"")
    report = json.loads(done.stdout)
    assert [(one["driver"], one["ok"]) for one in report["results"]] == [("local", 100), (engine.name, 100)]
    assert report["comparison"][0]["rounds"] == 20


@pytest.fixture
def working(engine: Engine) -> Iterator[subprocess.Popen[bytes]]:
    """Start hotfn with a call that is in its container and takes a while, with another one behind it."""
    process = subprocess.Popen(
        [HOTFN, "run", "--each-line", *guest(engine)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    with process:
        slow = script(stderr="at work\n", pieces=2, pause=1.5, body="done")
        pipe(process.stdin).write(slow + b"\n" + script(body="next") + b"\n")
        pipe(process.stdin).flush()
        assert pipe(process.stderr).readline() == b"at work\n"
        yield process
        with contextlib.suppress(BrokenPipeError):
            pipe(process.stdin).close()


def pipe(stream: IO[bytes] | None) -> IO[bytes]:
    assert stream is not None
    return stream


def test_ctrl_c_finishes_the_call_in_flight(working: subprocess.Popen[bytes]) -> None:
    working.send_signal(signal.SIGINT)
    assert working.wait(LIMIT_SECONDS) == 130
    assert pipe(working.stdout).read() == b"done\n"
    assert b"finishing 1 call" in pipe(working.stderr).read()


def test_ctrl_c_twice_kills_the_container(working: subprocess.Popen[bytes]) -> None:
    working.send_signal(signal.SIGINT)
    assert b"finishing 1 call" in pipe(working.stderr).readline()
    began = time.monotonic()
    working.send_signal(signal.SIGINT)
    assert working.wait(LIMIT_SECONDS) == 130
    assert time.monotonic() - began < 10
    assert pipe(working.stdout).read() == b"\n"
    assert b"call 0 (line 1): aborted: " in pipe(working.stderr).read()


def test_status_3_when_nothing_can_be_run(engine: Engine) -> None:
    absent = ["--driver", engine.name, "--image", "hotfn-test/absent", "--driver-option", "pull=never"]
    nowhere = (engine.variable, "unix:///no/such/socket")
    program = ["--driver", engine.name, "--image", engine.image_python, "--", "/no/such/program"]
    for done, words in (
        (hotfn("run", *function(engine), host=nowhere), f"there is no {engine.name} at unix:///no/such/socket"),
        (hotfn("run", *absent), "hotfn-test/absent"),
        (hotfn("run", *program), "the program /no/such/program is not in the image"),
    ):
        assert (done.returncode, done.stdout) == (3, b""), done
        assert words in done.stderr.decode()
        assert b"Traceback" not in done.stderr


def test_plugins_tells_engine_version_and_limits(engine: Engine) -> None:
    [line] = driver_lines(engine, hotfn("plugins"))
    assert f"enforces cpus, memory; {engine.name} {engine.version()} at {engine.host}" in line
    done = hotfn("plugins", host=(engine.variable, "unix:///no/such/socket"))
    [line] = driver_lines(engine, done)
    assert "unavailable" in line
    assert "no such socket" in line
    assert done.returncode == 0


def driver_lines(engine: Engine, done: Done) -> list[str]:
    return [line for line in done.stdout.decode().splitlines() if line.split()[:1] == [engine.name]]


def test_functions_of_a_file_with_options_of_the_driver(engine: Engine, tmp_path: Path) -> None:
    path = tmp_path / "functions.toml"
    text = FUNCTIONS.format(name=engine.name, image=engine.image_python)
    path.write_text(text)
    checked = hotfn("check", "-c", str(path))
    assert checked.returncode == 0
    for words in ("memory 64, enforced", "/tmp 8 MB", "user 0:0", f"driver {engine.name}: enforces", engine.version()):
        assert words in checked.stdout.decode()
    done = hotfn("run", "where", body=b"hello", cwd=tmp_path)
    assert (done.returncode, done.stdout) == (0, b"0\n/tmp\nhello")
    path.write_text(text.replace("tmpfs", "tmfs"))
    for done in (hotfn("check", "-c", str(path)), hotfn("run", "where", cwd=tmp_path)):
        assert done.returncode == 2
        assert b'has no option "tmfs"; did you mean "tmpfs"?' in done.stdout + done.stderr


def test_check_of_an_engine_that_is_away(engine: Engine, tmp_path: Path) -> None:
    path = tmp_path / "functions.toml"
    path.write_text(FUNCTIONS.format(name=engine.name, image=engine.image_python))
    done = hotfn("check", "-c", str(path), host=(engine.variable, "unix:///no/such/socket"))
    assert done.returncode == 0
    assert f"driver {engine.name} is unavailable now: there is no {engine.name}" in done.stdout.decode()
