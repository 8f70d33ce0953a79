"""`hotfn test` and `hotfn call` as a user meets them; what a test means is in tests/core/test_trial_case.py."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from hotfn_core import FunctionSpec
from hotfn_core.cli.spec import resolve

Run = Callable[..., subprocess.CompletedProcess[bytes]]
FUNCTION = """\
import os, sys
from hotfn_function import Reply, serve

def handle(call):
    text = call.text()
    print("got", text, flush=True)
    if text == "die":
        os._exit(7)
    if text == "raise":
        raise ValueError("there it is")
    if text == "env":
        return os.environ.get("WHO", "nobody")
    if text == "teapot":
        return Reply("short and stout", 418, {"X-Kettle": "yes"})
    if text == "json":
        return {"pid": 1, "words": ["a", "b"]}
    return text

serve(handle)
"""


@pytest.fixture
def written(tmp_path: Path) -> Callable[..., None]:
    """Write func.yaml with these tests, and the function that it is about."""

    def write(*tests: dict[str, Any], **keys: Any) -> None:
        (tmp_path / "function.py").write_text(FUNCTION)
        given = {"name": "f", "format": "http", "driver": "local", "driver_options": {"cwd": "."}}
        command = {"entrypoint": sys.executable, "cmd": "function.py", "config": {"WHO": "me"}}
        # JSON is YAML
        (tmp_path / "func.yaml").write_text(json.dumps(given | command | {"tests": list(tests)} | keys))

    return write


Write = Callable[..., None]


def names(done: subprocess.CompletedProcess[bytes]) -> list[list[str]]:
    """Return the word and the name of each test that is told of."""
    lines = [line.split("\t") for line in done.stdout.decode().splitlines()]
    return [line[:2] for line in lines if line[0] in {"ok", "FAIL"}]


class TestTest:
    def test_all_that_a_test_can_say(self, hotfn: Run, written: Write) -> None:
        written(
            {"name": "out", "in": "hello", "out": "hello"},
            {"name": "a line break", "in": "hello\n", "out": "hello"},
            {"name": "anything", "in": "hello"},
            {"in": "env", "out": "me"},
            {"name": "env", "in": "env", "out": "you", "env": {"WHO": "you"}},
            {"name": "json", "in": "json", "out": {"words": ["a", "b"], "pid": 1}},
            {"name": "json in", "in": {"a": [1, None]}, "out": '{"a": [1, null]}'},
            {"name": "error", "in": "raise", "err": "there it is"},
            {"name": "status", "in": "teapot", "err": "status 418", "out": "short and stout"},
            {"name": "log", "in": "chatty", "err": "got chatty", "out": "chatty"},
            {"name": "exit", "in": "die", "err": "exited with code 7"},
            {"name": "and goes on", "in": "again", "out": "again"},
        )
        done = hotfn("test")
        assert (done.returncode, done.stderr) == (0, b""), done.stdout
        assert {word for word, _ in names(done)} == {"ok"}
        assert [name for _, name in names(done)][3:5] == ["test 4", "env"]
        assert done.stdout.endswith(b"\n12 tests, none failed\n")

    def test_what_differs_can_be_read(self, hotfn: Run, written: Write) -> None:
        written(
            {"name": "fine", "in": "x", "out": "x"},
            {"name": "lines", "in": "one\n2\nthree", "out": "one\ntwo\nthree"},
            {"name": "json", "in": "json", "out": {"pid": 2, "words": ["a", "b"]}},
        )
        done = hotfn("test")
        assert (done.returncode, done.stderr) == (1, b"")
        assert names(done) == [["ok", "fine"], ["FAIL", "lines"], ["FAIL", "json"]]
        lines = done.stdout.decode().splitlines()
        assert lines[2:9] == [
            "\t--- expected",
            "\t+++ found",
            "\t@@ -1,3 +1,3 @@",
            "\t one",
            "\t-two",
            "\t+2",
            "\t three",
        ]
        assert '\t-  "pid": 2,' in lines
        assert '\t+  "pid": 1,' in lines
        assert lines[-1] == "3 tests, 2 failed"

    def test_an_error_that_nobody_expected_comes_with_the_log(self, hotfn: Run, written: Write) -> None:
        written({"in": "die", "out": "die"}, {"in": "raise"}, {"in": "fine", "err": "nothing of it"})
        done = hotfn("test")
        assert done.returncode == 1
        told = done.stdout.decode()
        assert "\tfailed: default/f exited with code 7" in told
        assert "\t  | got die" in told
        assert "\tfailed: status 500: there it is" in told
        assert "\texpected an error with 'nothing of it', got status 200 with the reply 'fine'\n\t  | got fine" in told
        assert told.endswith("3 tests, 3 failed\n")

    def test_what_differs_comes_with_the_log(self, hotfn: Run, written: Write) -> None:
        written({"in": "fine", "out": "fine"}, {"in": "b", "out": "c"})
        told = hotfn("test").stdout.decode()
        assert "\t-c\n\t+b\n\t  | got b\n" in told
        assert "got fine" not in told

    def test_a_call_that_takes_too_long_fails(self, hotfn: Run, written: Write) -> None:
        written({"in": "x", "out": "x"}, cmd="-c 'import time; time.sleep(60)'", timeout="200ms", stop_grace=0.1)
        done = hotfn("test")
        assert done.returncode == 1
        assert b"did not answer in time" in done.stdout

    def test_a_function_that_cannot_start(self, hotfn: Run, written: Write) -> None:
        written({"in": "x", "out": "x"}, entrypoint="/no/such/program")
        done = hotfn("test")
        assert (done.returncode, done.stderr) == (1, b"")
        assert b'failed: default/f could not be started: cannot start "/no/such/program"' in done.stdout

    def test_an_engine_that_is_away(self, hotfn: Run, written: Write) -> None:
        written({"in": "x", "out": "x"})
        env = {"DOCKER_HOST": "unix:///no/such/socket"}
        done = hotfn("test", "--image", "absent", env=env)
        assert (done.returncode, done.stdout) == (3, b"")
        assert b"there is no docker at unix:///no/such/socket" in done.stderr

    def test_options_win_over_the_file(self, hotfn: Run, written: Write) -> None:
        written({"in": "env", "out": "them"})
        assert hotfn("test").returncode == 1
        assert hotfn("test", "--env", "WHO=them").returncode == 0
        assert hotfn("test", "--format", "default", "--", "cat").returncode == 1

    def test_another_place_for_the_file(self, hotfn: Run, written: Write, tmp_path: Path) -> None:
        written({"in": "x", "out": "x"})
        done = hotfn("test", "-c", str(tmp_path / "func.yaml"), "f", cwd="/")
        assert (done.returncode, done.stdout.endswith(b"1 test, none failed\n")) == (0, True)

    @pytest.mark.parametrize(
        ("text", "said"),
        [
            (None, "tests stand in a func.yaml: there is none here; name one with -c"),
            ("name: f\ndriver: local\ncmd: cat\n", "there are no tests of f in it"),
            ("name: f\ndriver: local\ncmd: cat\ntests: []\n", "there are no tests of f in it"),
            ("name: f\ndriver: local\ncmd: cat\ntests: {a: b}\n", "must be a list of tests"),
            ("name: f\ndriver: local\ncmd: cat\ntests: [{outt: b}]\n", 'unknown key "outt"; did you mean "out"'),
            ("name: f\ndriver: local\ncmd: cat\ntests: [{env: b}]\n", "env must be a table"),
            ("name: [\n", "func.yaml:"),
            ("name: f\ndriver: nowhere\ncmd: cat\ntests: [{}]\n", "nowhere"),
        ],
    )
    def test_a_file_that_is_wrong(self, text: str | None, said: str, hotfn: Run, tmp_path: Path) -> None:
        if text is not None:
            (tmp_path / "func.yaml").write_text(text)
        done = hotfn("test")
        assert (done.returncode, done.stdout) == (2, b""), done
        assert said in done.stderr.decode()

    def test_a_functions_toml_has_no_tests(self, hotfn: Run, tmp_path: Path) -> None:
        (tmp_path / "functions.toml").write_text('[functions.f]\ncommand = ["cat"]\n')
        done = hotfn("test")
        assert (done.returncode, done.stdout) == (2, b"")
        assert b"a func.yaml has them" in done.stderr

    def test_control_characters_do_not_reach_the_terminal(self, hotfn: Run, written: Write) -> None:
        written({"in": "a\x1b[2Jb", "out": "ab"})
        assert b"\x1b" not in hotfn("test").stdout


class TestCall:
    def test_the_body_may_be_an_argument_or_stdin(self, hotfn: Run, written: Write) -> None:
        written()
        assert hotfn("call", "-d", "grüße", "--stderr", "hide").returncode == 2  # that is an option of run
        assert hotfn("call", "-d", "grüße").stdout == "grüße".encode()
        assert hotfn("call", "f", input=b"a\n").stdout == b"a\n"
        assert hotfn("call", "-d", "", input=b"not this").stdout == b""

    def test_what_the_function_says_goes_to_stderr(self, hotfn: Run, written: Write) -> None:
        written()
        done = hotfn("call", "-d", "hello")
        assert (done.returncode, done.stdout, done.stderr) == (0, b"hello", b"got hello\n")

    def test_status_and_headers(self, hotfn: Run, written: Write) -> None:
        written()
        done = hotfn("call", "-i", "-d", "teapot")
        assert done.returncode == 0
        head, _, body = done.stdout.partition(b"\n\n")
        assert body == b"short and stout"
        assert head.splitlines()[0] == b"418"
        assert b"X-Kettle: yes" in head.splitlines()

    def test_a_command(self, hotfn: Run) -> None:
        assert hotfn("call", "-d", "hello", "--", "tr", "a-z", "A-Z").stdout == b"HELLO"

    def test_headers_and_a_method(self, hotfn: Run) -> None:
        args = ["-H", "X-One: 1", "--method", "PUT", "--", "env"]
        told = hotfn("call", "-d", "", *args).stdout.decode().splitlines()
        assert {"FN_METHOD=PUT", "FN_HEADER_X-One=1"} <= set(told)

    @pytest.mark.parametrize(("body", "status"), [("raise", 1), ("die", 1), ("teapot", 0)])
    def test_the_exit_status_is_that_of_run(self, body: str, status: int, hotfn: Run, written: Write) -> None:
        written()
        done = hotfn("call", "-d", body)
        assert done.returncode == status
        assert done.returncode == hotfn("run", input=body.encode()).returncode
        if body == "die":
            assert b"instance_exited" in done.stderr

    def test_a_call_without_a_reply_writes_nothing(self, hotfn: Run, written: Write) -> None:
        written()
        assert hotfn("call", "-i", "-d", "die").stdout == b""

    def test_nothing_to_call(self, hotfn: Run) -> None:
        done = hotfn("call")
        assert (done.returncode, done.stdout) == (2, b"")
        assert b"hotfn call -- COMMAND" in done.stderr


class TestAnImageInsteadOfACommand:
    """`--image` for a function whose file says how it runs on this machine."""

    FILE = """
[functions.f]
command = ["python3", "f.py"]
driver_options = {cwd = "."}
env = {A = "1", B = "1"}
memory = 9
"""

    def spec(self, folder: Path, text: str, *command: str, **given: Any) -> FunctionSpec:
        (folder / "functions.toml").write_text(text)
        return resolve(folder / "functions.toml", "f", command, given).spec

    def test_the_image_knows_what_it_runs(self, tmp_path: Path) -> None:
        spec = self.spec(tmp_path, self.FILE, image="greet", env={"B": "2"})
        assert (spec.driver, spec.image, spec.command, dict(spec.driver_options)) == ("docker", "greet", (), {})
        assert (dict(spec.env), spec.memory) == ({"A": "1", "B": "2"}, 9)

    def test_what_is_given_counts(self, tmp_path: Path) -> None:
        given = {"image": "greet", "driver": "podman", "driver_options": {"init": True}}
        spec = self.spec(tmp_path, self.FILE, "cat", **given)
        assert (spec.driver, spec.command, dict(spec.driver_options)) == ("podman", ("cat",), {"init": True})

    def test_a_function_that_had_an_image_keeps_the_rest(self, tmp_path: Path) -> None:
        text = self.FILE + 'image = "old"\ndriver = "podman"\n'
        spec = self.spec(tmp_path, text, image="new")
        assert (spec.driver, spec.image, spec.command) == ("podman", "new", ("python3", "f.py"))
        assert list(spec.driver_options) == ["cwd"]
