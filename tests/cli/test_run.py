"""`hotfn run` to its end: what goes in, what comes out, and the exit status. Real processes throughout."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from hotfn_core.cli.spec import resolve

Run = Callable[..., subprocess.CompletedProcess[bytes]]


def lines(result: subprocess.CompletedProcess[bytes]) -> list[bytes]:
    return result.stdout.split(b"\n")[:-1]


def objects(result: subprocess.CompletedProcess[bytes]) -> list[dict[str, object]]:
    return [json.loads(line) for line in result.stdout.splitlines()]


class TestOneBody:
    def test_the_body_goes_through_unchanged(self, hotfn: Run) -> None:
        body = bytes(range(256)) * 1000
        result = hotfn("run", "--", "cat", input=body)
        assert (result.returncode, result.stdout, result.stderr) == (0, body, b"")

    def test_an_empty_body(self, hotfn: Run) -> None:
        result = hotfn("run", "--", "wc", "-c")
        assert (result.returncode, result.stdout.strip()) == (0, b"0")

    def test_the_same_body_several_times(self, hotfn: Run, guest: list[str]) -> None:
        result = hotfn("run", "--calls", "3", *guest, input=b"ab")
        assert (result.returncode, result.stdout) == (0, b"ababab")

    def test_a_hot_function_answers_all_calls(self, hotfn: Run, guest: list[str]) -> None:
        result = hotfn("run", "--calls", "5", "--output", "jsonl", *guest, input=b"pid")
        assert len({one["body"] for one in objects(result)}) == 1
        assert [one["cold"] for one in objects(result)] == [True, False, False, False, False]

    def test_the_input_may_be_a_file(self, hotfn: Run, tmp_path: Path) -> None:
        (tmp_path / "body").write_bytes(b"from a file")
        assert hotfn("run", "--input", "body", "--", "cat").stdout == b"from a file"
        assert hotfn("run", "--input", "-", "--", "cat", input=b"from stdin").stdout == b"from stdin"

    def test_a_body_over_the_limit_fails(self, hotfn: Run, tmp_path: Path) -> None:
        (tmp_path / "functions.toml").write_text('[functions.f]\ncommand=["cat"]\nmax_request=3\n')
        result = hotfn("run", "f", input=b"four")
        assert (result.returncode, result.stdout) == (1, b"")
        assert result.stderr == b"call 0: too_large: the body is larger than max_request, 3 bytes\n"

    def test_method_url_headers_and_type_arrive(self, hotfn: Run, guest: list[str]) -> None:
        options = [
            "--method",
            "PUT",
            "--url",
            "/a?b=c",
            "-H",
            "X-One: 1",
            "--header",
            "x-two:  2 ",
            "--content-type",
            "a/b",
        ]
        head = hotfn("run", *options, *guest, input=b"head").stdout
        assert head.startswith(b"PUT /a?b=c HTTP/1.1|")
        assert all(field in head.lower() for field in (b"|x-one: 1|", b"|x-two: 2|", b"|content-type: a/b|"))


class TestLines:
    def test_ten_thousand_lines_in_order(self, hotfn: Run, guest: list[str]) -> None:
        body = b"".join(b"line %d\n" % number for number in range(10_000))
        result = hotfn("run", "--each-line", "--max-concurrency", "3", "--parallel", "8", *guest, input=body)
        assert (result.returncode, result.stdout, result.stderr) == (0, body, b"")

    def test_the_order_is_that_of_the_input_not_of_the_replies(self, hotfn: Run, guest: list[str]) -> None:
        body = b"sleep 0.5 first\n" + b"".join(b"%d\n" % number for number in range(200))
        result = hotfn("run", "--each-line", "--max-concurrency", "2", *guest, input=body)
        assert lines(result) == [b"first", *(b"%d" % number for number in range(200))]

    def test_what_is_a_line(self, hotfn: Run, guest: list[str]) -> None:
        result = hotfn("run", "--each-line", "--output", "jsonl", *guest, input="\n\r\na\r\n\n grüß 🦀 \nlast".encode())
        assert [one["body"] for one in objects(result)] == ["", "\r", "a\r", "", " grüß 🦀 ", "last"]
        assert [one["index"] for one in objects(result)] == [0, 1, 2, 3, 4, 5]

    @pytest.mark.parametrize(("text", "calls"), [(b"", 0), (b"\n", 1), (b"a", 1), (b"a\n", 1), (b"\n\n", 2)])
    def test_how_many_lines_there_are(self, hotfn: Run, guest: list[str], text: bytes, calls: int) -> None:
        result = hotfn("run", "--each-line", *guest, input=text)
        assert (result.returncode, len(lines(result))) == (0, calls)

    def test_a_newline_at_the_end_is_not_doubled(self, hotfn: Run) -> None:
        result = hotfn("run", "--each-line", "--", "sed", "", input=b"one\ntwo\n")
        assert result.stdout == b"one\ntwo\n"

    def test_replies_of_several_lines_stay_as_they_are_and_are_told_of(self, hotfn: Run, guest: list[str]) -> None:
        result = hotfn("run", "--each-line", *guest, input=b"lines a b c\nplain\n")
        assert (result.returncode, result.stdout) == (0, b"a\nb\nc\nplain\n")
        assert result.stderr.startswith(b"1 replies have several lines")

    def test_a_line_over_the_limit_fails_and_the_others_do_not(self, hotfn: Run, tmp_path: Path) -> None:
        config = '[functions.f]\ncommand=["cat"]\nmax_request=200000\nmax_concurrency=2\n'
        (tmp_path / "functions.toml").write_text(config)
        longest = b"a" * 200_000
        body = b"before\n" + b"x" * 1_000_000 + b"\n" + longest + b"\nafter\n" + b"y" * 200_001
        result = hotfn("run", "f", "--each-line", input=body)
        assert (result.returncode, lines(result)) == (1, [b"before", b"", longest, b"after", b""])
        reports = result.stderr.decode().splitlines()
        assert sorted(reports) == [
            "call 1 (line 2): too_large: a line of 1000000 bytes, more than max_request, 200000",
            "call 4 (line 5): too_large: a line of 200001 bytes, more than max_request, 200000",
        ]

    def test_calls_and_lines_exclude_each_other(self, hotfn: Run) -> None:
        result = hotfn("run", "--each-line", "--calls", "2", "--", "cat")
        assert result.returncode == 2
        assert b"--calls" in result.stderr


class TestFailedCalls:
    def test_the_output_stays_aligned(self, hotfn: Run, guest: list[str]) -> None:
        result = hotfn(
            "run", "--each-line", "--timeout", "0.5", *guest, input=b"a\nexit 3\nb\nsleep 30\nc\ngarbage\nd\n"
        )
        assert (result.returncode, lines(result)) == (1, [b"a", b"", b"b", b"", b"c", b"", b"d"])
        reports = [line for line in result.stderr.decode().splitlines() if line.startswith("call ")]
        assert [report.split(": ")[:2] for report in reports] == [
            ["call 1 (line 2)", "instance_exited"],
            ["call 3 (line 4)", "call_timeout"],
            ["call 5 (line 6)", "bad_reply"],
        ]

    def test_reports_are_bounded(self, hotfn: Run, guest: list[str]) -> None:
        result = hotfn("run", "--each-line", "--stderr", "hide", *guest, input=b"status 500\n" * 25 + b"status 503\n")
        reports = result.stderr.decode().splitlines()
        assert len([one for one in reports if "status_500" in one]) == 11
        assert len([one for one in reports if "status_503" in one]) == 1
        assert reports[-1] == "... and 15 more of status_500"

    @pytest.mark.parametrize(
        ("status", "code"), [("200", 0), ("301", 0), ("404", 0), ("499", 0), ("500", 1), ("503", 1)]
    )
    def test_a_status_of_500_or_more_is_a_failure(self, hotfn: Run, guest: list[str], status: str, code: int) -> None:
        result = hotfn("run", *guest, input=f"status {status}".encode())
        assert (result.returncode, result.stdout) == (code, b"sorry")
        assert result.stderr == (f"call 0: status_{status}: the function answered sorry\n".encode() if code else b"")

    def test_a_message_is_one_line(self, hotfn: Run, guest: list[str]) -> None:
        result = hotfn("run", "--stderr", "hide", *guest, input=b"exit 7")
        assert result.stderr.count(b"\n") == 1
        assert b"code 7" in result.stderr
        assert b"going" in result.stderr


class TestNothingCanBeRun:
    def test_the_program_does_not_exist(self, hotfn: Run) -> None:
        result = hotfn("run", "--each-line", "--", "/does/not/exist", input=b"a\nb\nc\n")
        assert (result.returncode, result.stdout) == (3, b"\n")
        report, error = result.stderr.decode().splitlines()
        assert report.startswith("call 0 (line 1): launch_failed: ")
        assert "/does/not/exist" in report
        assert error == "Error: stopped, because default/run cannot be started"

    def test_many_calls_in_flight_do_not_wait_for_as_many_launches(self, hotfn: Run) -> None:
        result = hotfn("run", "--parallel", "50", "--calls", "1000", "--", "/does/not/exist")
        assert result.returncode == 3

    def test_there_is_no_such_driver(self, hotfn: Run) -> None:
        result = hotfn("run", "--driver", "loca", "--", "cat")
        assert result.returncode == 2
        told = rb'Error: there is no driver "loca" \(did you mean "local"\?\); installed: [a-z, ]*\blocal\b'
        assert re.search(told, result.stderr)

    def test_there_is_no_such_format(self, hotfn: Run) -> None:
        result = hotfn("run", "--format", "htp", "--", "cat")
        assert (result.returncode, b'did you mean "http"' in result.stderr) == (2, True)

    def test_the_input_is_missing(self, hotfn: Run) -> None:
        result = hotfn("run", "--input", "nothing", "--", "cat")
        assert result.returncode == 2
        assert b"nothing" in result.stderr

    def test_the_input_cannot_be_read(self, hotfn: Run) -> None:
        with Path("/proc/self/mem").open("rb") as unreadable:
            for option in ([], ["--each-line"]):
                result = hotfn("run", *option, "--", "cat", stdin=unreadable)
                assert (result.returncode, result.stdout) == (2, b"")
                assert result.stderr == b"Error: the input cannot be read: Input/output error\n"


class TestJsonLines:
    def test_the_fields_of_a_reply(self, hotfn: Run, guest: list[str]) -> None:
        [reply] = objects(hotfn("run", "--output", "jsonl", *guest, input=b"headers"))
        spans = [reply.pop(name) for name in ("queued", "started", "ran")]
        assert all(isinstance(span, float) and 0 <= span < 60 for span in spans)
        assert isinstance(reply.pop("call_id"), str)
        assert isinstance(reply.pop("instance"), str)
        headers = reply.pop("headers")
        assert headers == {"x-one": "1", "x-two": ["2", "zwei"]} | {"content-length": "0"}
        assert reply == {"index": 0, "status": 200, "body": "", "cold": True, "error": None}

    def test_the_fields_of_an_error(self, hotfn: Run, guest: list[str]) -> None:
        result = hotfn("run", "--output", "jsonl", "--stderr", "hide", *guest, input=b"exit 3")
        [reply] = objects(result)
        error = reply["error"]
        assert isinstance(error, dict)
        assert error["code"] == "instance_exited"
        assert "code 3" in error["message"]
        assert list(reply) == [
            *("call_id", "index", "status", "body", "headers", "cold", "instance", "queued", "started", "ran", "error"),
        ]
        assert (reply["status"], reply["body"], bool(reply["call_id"])) == (502, "", True)

    def test_a_body_that_is_no_text(self, hotfn: Run, guest: list[str]) -> None:
        [reply] = objects(hotfn("run", "--output", "jsonl", *guest, input=b"binary"))
        assert reply["body_base64"] == "/wA="
        assert "body" not in reply

    def test_text_stays_readable(self, hotfn: Run, guest: list[str]) -> None:
        result = hotfn("run", "--output", "jsonl", *guest, input="grüß 🦀".encode())
        assert "grüß 🦀".encode() in result.stdout


class TestStderr:
    def test_it_is_shown(self, hotfn: Run, guest: list[str]) -> None:
        result = hotfn("run", *guest, input=b"stderr hello")
        assert (result.returncode, result.stderr) == (0, b"hello\n")

    def test_it_is_hidden(self, hotfn: Run, guest: list[str]) -> None:
        assert hotfn("run", "--stderr", "hide", *guest, input=b"stderr hello").stderr == b""

    def test_it_names_the_copy_where_there_are_several(self, hotfn: Run, guest: list[str]) -> None:
        result = hotfn("run", "--max-concurrency", "2", "--output", "jsonl", *guest, input=b"stderr hello")
        assert result.stderr.decode() == f"[{objects(result)[0]['instance']}] hello\n"

    def test_it_is_tagged_with_function_copy_and_call(self, hotfn: Run, guest: list[str]) -> None:
        result = hotfn("run", "--stderr", "tag", "--output", "jsonl", "app/fun", *guest, input=b"stderr hello")
        [reply] = objects(result)
        assert result.stderr.decode() == f"[app/fun {reply['instance']} {reply['call_id']}] hello\n"

    def test_a_flood_does_not_stop_the_calls(self, hotfn: Run) -> None:
        flood = "import sys; sys.stderr.write('x' * 60 + '\\n' * 1 ); sys.stderr.write(('y' * 99 + '\\n') * 200_000)"
        result = hotfn("run", "--", sys.executable, "-c", flood)
        assert result.returncode == 0
        assert len(result.stderr) < 20_000_000


class TestEnvironment:
    def test_values_and_names(self, hotfn: Run, guest: list[str]) -> None:
        options = ["--each-line", "--env", "A=1=2", "-e", "B", "--env", "C="]
        result = hotfn("run", *options, *guest, input=b"env A\nenv B\nenv C\nenv D\n", env={"B": "two", "D": "four"})
        assert lines(result) == [b"1=2", b"two", b"", b"not set"]

    def test_a_name_that_is_not_set(self, hotfn: Run) -> None:
        result = hotfn("run", "--env", "HOTFN_TEST_UNSET", "--", "cat")
        assert result.returncode == 2
        assert b"--env: HOTFN_TEST_UNSET is not set in the environment" in result.stderr

    def test_a_secret_is_in_no_message(self, hotfn: Run, guest: list[str]) -> None:
        for body in (b"exit 1", b"garbage", b"sleep 9"):
            options = [
                "-vv",
                "run",
                "--stats",
                "--stderr",
                "tag",
                "--timeout",
                "0.2",
                "--output",
                "jsonl",
                "--env",
                "TOKEN",
            ]
            result = hotfn(*options, *guest, input=body, env={"TOKEN": "hunter2"})
            assert result.returncode == 1
            assert b"hunter2" not in result.stdout + result.stderr

    def test_a_secret_that_is_wrong_is_not_repeated(self, hotfn: Run) -> None:
        result = hotfn("run", "--env", "1TOKEN=hunter2", "--", "cat")
        assert result.returncode == 2
        assert b"1TOKEN" in result.stderr
        assert b"hunter2" not in result.stderr


class TestConfiguration:
    CONFIG = """
        [defaults]
        format = "http"
        [functions.one]
        command = ["PYTHON", "guest.py"]
        env = { A = "file", B = "file" }
        driver_options = { cwd = "FOLDER" }
        [functions.two]
        command = ["cat"]
    """

    @pytest.fixture
    def config(self, tmp_path: Path) -> Path:
        folder = str(Path(__file__).parent)
        text = self.CONFIG.replace("PYTHON", sys.executable).replace("FOLDER", folder)
        path = tmp_path / "functions.toml"
        path.write_text(text)
        return path

    def test_options_win_over_the_file(self, hotfn: Run, config: Path) -> None:
        result = hotfn("run", "one", "--env", "B=option", "--each-line", input=b"env A\nenv B\n")
        assert lines(result) == [b"file", b"option"]

    def test_the_command_wins_over_the_file(self, hotfn: Run, config: Path) -> None:
        result = hotfn("run", "-c", str(config), "two", "--format", "default", "--", "echo", "from the command line")
        assert result.stdout == b"from the command line\n"

    def test_a_file_that_lies_around_is_not_used_for_a_command(self, hotfn: Run, config: Path) -> None:
        config.write_text("this is no toml")
        assert hotfn("run", "--", "echo", "fine").stdout == b"fine\n"

    @pytest.mark.parametrize(
        ("args", "message"),
        [
            ([], b"which function? It has one, two"),
            (["on"], b'no function "on"; did you mean "one"?'),
            (["two", "--memory", "0"], b"Error: --memory: memory must be"),
            (["two", "--max-concurrency", "0"], b"Error: --max-concurrency: max_concurrency must be"),
            (["two", "--driver-option", "cdw=x"], b'has no option "cdw"; did you mean "cwd"?'),
            (["two", "--driver-option", "x"], b"--driver-option: write NAME=VALUE"),
            (["two", "--header", "x"], b"--header: write 'Name: value'"),
            (["two", "--timeout", "soon"], b"'soon' is not a span of time"),
            (
                ["cat", "a b"],
                b"more than one FUNCTION; a command and its arguments stand behind --: hotfn run -- cat 'a b'",
            ),
            (["two", "x", "--", "cat"], b"'two x' is more than one FUNCTION; name one before --"),
            (["two", "--parallel", "0"], b"'--parallel'"),
            (["-c", "missing.toml"], b"missing.toml"),
        ],
    )
    def test_what_is_wrong_is_named(self, hotfn: Run, config: Path, args: list[str], message: bytes) -> None:
        result = hotfn("run", *args)
        assert (result.returncode, result.stdout) == (2, b"")
        assert message in result.stderr

    def test_without_any_file(self, hotfn: Run) -> None:
        result = hotfn("run", "lines")
        assert result.returncode == 2
        assert b'function "lines": there is no functions.toml or func.yaml here' in result.stderr
        assert result.stderr.endswith(b"or give the command itself: hotfn run -- lines\n")

    def test_a_func_yaml(self, hotfn: Run, tmp_path: Path) -> None:
        text = (
            "name: team/shout\nversion: 1\ndriver: local\nentrypoint: tr a-z\ncmd: A-Z\nformat: default\nmemory: 512\n"
        )
        (tmp_path / "func.yaml").write_text(text)
        assert hotfn("run", input=b"hello").stdout == b"HELLO"
        assert hotfn("run", "shout", input=b"hello").stdout == b"HELLO"

    def test_reply_headers_of_the_file(self, hotfn: Run, tmp_path: Path) -> None:
        (tmp_path / "func.yaml").write_text("name: f\ndriver: local\ncmd: cat\nheaders:\n  X-Team: [a, b]\n")
        [reply] = objects(hotfn("run", "--output", "jsonl", input=b""))
        assert reply["headers"] == {"x-team": "a, b"}


class TestStats:
    def test_the_summary(self, hotfn: Run, guest: list[str]) -> None:
        body = b"ok\n" * 20 + b"exit 1\nstatus 503\nstatus 404\n"
        result = hotfn("run", "--each-line", "--stats", "--stderr", "hide", *guest, input=body)
        summary = {
            name: rest.strip()
            for name, _, rest in (line.partition(" ") for line in result.stderr.decode().splitlines())
        }
        assert summary["calls"].startswith("23 in ")
        assert summary["calls"].endswith(" calls/s")
        assert summary["ok"] == "21"
        assert summary["failed"] == "2 (instance_exited: 1, status_503: 1)"
        assert summary["statuses"] == "404: 1, 503: 1"
        assert summary["instances"] == "2 launched"
        assert summary["cold"] == "2"
        assert [word for word in summary["latency"].split() if word[0] in "pm" and word != "ms"] == [
            "p50",
            "p90",
            "p99",
            "max",
        ]


class TestWithoutTheExtras:
    def test_neither_uvloop_nor_rich_is_needed(self, guest: list[str]) -> None:
        """The same work on asyncio's own loop, and no bar on a terminal."""
        script = "import sys; sys.modules.update(uvloop=None, rich=None); from hotfn_core.cli import main; main()"
        ours, theirs = os.openpty()
        body = b"".join(b"line %d\n" % number for number in range(2000))
        result = subprocess.run(
            [sys.executable, "-c", script, "run", "--each-line", "--max-concurrency", "2", *guest],
            input=body,
            stdout=subprocess.PIPE,
            stderr=theirs,
            timeout=60,
            check=False,
        )
        os.set_blocking(ours, False)
        with pytest.raises(BlockingIOError):
            os.read(ours, 1)  # not a byte was written to the terminal
        os.close(ours)
        os.close(theirs)
        assert (result.returncode, result.stdout) == (0, body)


class TestNames:
    def test_a_command_may_have_a_name(self, hotfn: Run) -> None:
        result = hotfn("run", "shop/total", "--stderr", "tag", "--", "sh", "-c", "echo hi >&2")
        assert result.stderr.startswith(b"[shop/total ")

    def test_an_image_goes_to_docker(self, hotfn: Run) -> None:
        result = hotfn("run", "--image", "busybox", "--driver", "local")
        assert (result.returncode, b'the driver "local" needs' in result.stderr) == (2, True)
        assert resolve(None, "", (), {"image": "busybox"}).spec.driver == "docker"
