"""`hotfn bench` to its end: the report, the numbers for machines, comparing, signals. Real processes throughout."""

from __future__ import annotations

import json
import os
import pty
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil
import pytest

Run = Callable[..., subprocess.CompletedProcess[bytes]]
Start = Callable[..., subprocess.Popen[bytes]]

LIMIT_SECONDS = 30
# A function that answers at once, and each body with the same: as little as there can be.
QUICK = ["--format", "http", "--", sys.executable, str(Path(__file__).with_name("guest.py"))]

# Takes as many seconds as the body says, and says so before.
AT_WORK = """
import sys, time
print("at work", file=sys.stderr, flush=True)
time.sleep(float(sys.stdin.read()))
"""


def numbers(result: subprocess.CompletedProcess[bytes]) -> dict[str, Any]:
    report: dict[str, Any] = json.loads(result.stdout)
    return report


def only(result: subprocess.CompletedProcess[bytes]) -> dict[str, Any]:
    [found] = numbers(result)["results"]
    return dict(found)


class TestNumbers:
    def test_the_shape(self, hotfn: Run) -> None:
        result = hotfn("bench", "--json", "--calls", "50", "--size", "1k", *QUICK)
        assert (result.returncode, result.stderr) == (0, b"")
        report = numbers(result)
        assert list(report) == ["version", "hotfn", "interrupted", "load", "results", "comparison"]
        assert (report["version"], report["interrupted"], report["comparison"]) == (1, False, [])
        assert report["load"] == {
            "mode": "concurrency",
            "concurrency": 1,
            "rate": None,
            "duration": None,
            "calls": 50,
            "warmup": 0.0,
            "body_bytes": 1024,
        }
        [one] = report["results"]
        assert (one["calls"], one["ok"], one["failed"], one["errors"], one["statuses"]) == (50, 50, 0, [], {})
        assert (one["label"], one["driver"], one["format"]) == ("default/bench", "local", "http")
        assert sum(count for _, count in one["latency"]["histogram"]) == one["latency"]["count"] == 50
        points = [one["latency"][name] for name in ("p50", "p90", "p99", "p99.9", "max")]
        assert points == sorted(points)
        assert one["received_bytes_per_second"] == pytest.approx(1024 * one["calls_per_second"])
        assert {name: found["count"] for name, found in one["phases"].items()} == {
            "queued": 50,
            "started": 1,
            "ran": 50,
        }

    def test_cold_calls_and_their_latency_are_apart(self, hotfn: Run) -> None:
        one = only(hotfn("bench", "--json", "--calls", "5", "--", "cat"))
        assert (one["cold"]["calls"], one["cold"]["latency"]["count"], one["copies"]["launched"]) == (5, 5, 5)

    def test_the_warm_up_does_not_count(self, hotfn: Run) -> None:
        one = only(hotfn("bench", "--json", "--calls", "20", "--warmup", "0.2", *QUICK))
        assert (one["calls"], one["cold"]["calls"], one["cold"]["warmup_calls"]) == (20, 0, 1)
        assert one["warmup"]["calls"] > 0
        assert one["phases"]["started"] == {"count": 0} | dict.fromkeys(("mean", "p50", "p90", "p99", "p99.9", "max"))

    def test_memory_of_copies_and_of_hotfn(self, hotfn: Run) -> None:
        one = only(hotfn("bench", "--json", "--calls", "50", *QUICK))
        assert one["copies"]["memory_samples"] > 0
        assert 1_000_000 < one["copies"]["memory_mean"] <= one["copies"]["memory_max"] < 1e9
        assert one["hotfn"]["memory"] > 5_000_000
        assert 0 < one["hotfn"]["cpu_per_call"] < 1

    def test_it_lasts_as_long_as_it_is_told_to(self, hotfn: Run) -> None:
        one = only(hotfn("bench", "--json", "--duration", "0.5", "--warmup", "0", *QUICK))
        assert one["seconds"] >= 0.499
        assert one["calls"] > 10

    def test_callers_are_at_once(self, hotfn: Run) -> None:
        options = ("--concurrency", "4", "--max-concurrency", "4", "--calls", "8", "--body", "sleep 0.2")
        one = only(hotfn("bench", "--json", *options, *QUICK))
        assert (one["calls"], one["copies"]["launched"]) == (8, 4)

    def test_a_rate_that_is_too_much_is_not_flattered(self, hotfn: Run) -> None:
        """Calls of 20 ms are due every 5 ms: the last of 60 waits for those before it, which is most of a second."""
        options = ("--body", "sleep 0.02", "--calls", "60", "--warmup", "0.3", "--timeout", "30")
        one = only(hotfn("bench", "--json", "--rate", "200", *options, *QUICK))
        assert one["calls"] == 60
        assert one["latency"]["max"] > 0.8
        assert one["latency"]["p50"] > 0.3
        assert one["phases"]["ran"]["p50"] < one["latency"]["p50"] / 3
        assert one["phases"]["late"]["count"] == 60
        assert (
            one["latency"]["histogram"][0][0] < 0.5
        )  # the queue of the warm-up, of most of a second, is no part of it


class TestFailedCalls:
    def test_each_kind_has_an_example(self, hotfn: Run) -> None:
        result = hotfn("bench", "--json", "--calls", "6", "--body", "exit 3", *QUICK)
        assert result.returncode == 1
        [error] = only(result)["errors"]
        assert (error["code"], error["calls"], error["latency"]["count"]) == ("instance_exited", 6, 6)
        assert "code 3" in error["message"]

    def test_a_status_of_500_is_a_failure_and_404_is_an_answer(self, hotfn: Run) -> None:
        failed = only(hotfn("bench", "--json", "--calls", "3", "--body", "status 503", *QUICK))
        assert ([one["code"] for one in failed["errors"]], failed["failed"]) == (["status_503"], 3)
        result = hotfn("bench", "--json", "--calls", "3", "--body", "status 404", *QUICK)
        assert (result.returncode, only(result)["statuses"]) == (0, {"404": 3})

    def test_more_callers_than_there_is_room_for(self, hotfn: Run) -> None:
        options = ("--concurrency", "20", "--max-queue", "2", "--calls", "60", "--body", "sleep 0.01")
        result = hotfn("bench", *options, *QUICK)
        assert result.returncode == 1
        assert b"failed: saturated, " in result.stdout

    def test_what_cannot_be_started(self, hotfn: Run) -> None:
        result = hotfn("bench", "-p", "5", "--", "/does/not/exist")
        assert (result.returncode, result.stdout) == (3, b"")
        assert result.stderr.startswith(b"Error: default/bench could not be started: ")
        assert result.stderr.count(b"\n") == 1

    def test_no_process_stays_behind(self, hotfn: Run) -> None:
        before = {child.pid for child in psutil.Process().children(recursive=True)}
        hotfn("bench", "--calls", "20", "-p", "4", "--max-concurrency", "2", *QUICK)
        assert {child.pid for child in psutil.Process().children(recursive=True)} <= before


class TestText:
    def test_the_report(self, hotfn: Run) -> None:
        result = hotfn("bench", "--calls", "30", "--body", "status 404", *QUICK)
        assert (result.returncode, result.stderr) == (0, b"")
        head, _, *rows = result.stdout.decode().splitlines()
        assert head == "1 at a time, 30 calls, a body of 10 B"
        names = [row[:12].strip() for row in rows[: rows.index("")]]
        assert names == [
            *("function", "calls", "bytes", "failed", "statuses", "cold", "copies", "hotfn"),
            *("latency", "queued", "started", "ran"),
        ]
        assert any(row.endswith("#" * 48) for row in rows)

    def test_an_engine_whose_copies_are_no_processes_says_so(self, hotfn: Run, install: Callable[..., Any]) -> None:
        source = """
            from hotfn_local.driver import LocalDriver

            class Elsewhere(LocalDriver):
                name = "elsewhere"

                async def launch(self, spec, receiver):
                    container = await super().launch(spec, receiver)
                    container.id = "0f3c2a"
                    return container

            @hookimpl
            def hotfn_register_drivers():
                return {"elsewhere": Elsewhere}
        """
        result = hotfn("bench", "--driver", "elsewhere", "--calls", "3", *QUICK, env=install("elsewhere", source))
        assert b"memory of each: not known (for elsewhere a copy is no process below hotfn)" in result.stdout

    def test_the_functions_stderr_is_shown_when_asked_for(self, hotfn: Run) -> None:
        options = ("--calls", "3", "--body", "stderr hello")
        assert hotfn("bench", *options, *QUICK).stderr == b""
        assert hotfn("bench", "--stderr", "show", *options, *QUICK).stderr == b"hello\n" * 3

    def test_a_terminal_shows_how_it_goes(self, start: Start) -> None:
        ours, theirs = pty.openpty()
        options = ("--duration", "0.8", "--warmup", "0", "--stderr", "show", "--body", "stderr hello")
        process = start("bench", *options, *QUICK, stderr=theirs, env={**os.environ, "TERM": "xterm"})
        os.close(theirs)
        screen = b""
        try:
            while chunk := os.read(ours, 65536):
                screen += chunk
        except OSError:  # its other side is closed
            os.close(ours)
        assert process.wait(LIMIT_SECONDS) == 0
        assert b"\r\x1b[Kload  " in screen
        assert b"\r\x1b[Khello\r\n" in screen
        assert screen.endswith(b"\r\x1b[K")


class TestCompare:
    def test_a_format_that_the_function_does_not_speak_fails_alone(self, hotfn: Run) -> None:
        options = ("--compare", "format=http,default", "--calls", "40", "--body", "x", "--", "cat")
        result = hotfn("bench", "--json", "--timeout", "5", *options)
        assert result.returncode == 1
        http, default = numbers(result)["results"]
        assert (http["label"], http["format"], http["failed"]) == ("http", "http", 40)
        assert (default["label"], default["format"], default["ok"]) == ("default", "default", 40)
        assert numbers(result)["comparison"][0]["ratios"] == {}

    def test_the_same_twice_takes_turns_and_has_ratios(self, hotfn: Run) -> None:
        result = hotfn("bench", "--json", "--compare", "driver=local,local", "--calls", "200", *QUICK)
        report = numbers(result)
        assert [(one["label"], one["calls"]) for one in report["results"]] == [("local", 200), ("local (2)", 200)]
        [compared] = report["comparison"]
        assert (compared["label"], compared["to"], compared["rounds"]) == ("local (2)", "local", 20)
        assert set(compared["ratios"]) == {"calls_per_second", "p50", "p90"}  # of ten calls a turn
        for ratio in compared["ratios"].values():
            assert 0 < ratio["low"] <= ratio["median"] <= ratio["high"]

    def test_turns_of_one_call_have_no_percentiles(self, hotfn: Run) -> None:
        options = ("bench", "--compare", "driver=local,local", "--calls", "20")
        text = hotfn(*options, *QUICK).stdout.decode()
        for percent, least in ((50, 2), (90, 10), (99, 100)):
            assert f"no ratio of p{percent}: it needs {least} calls a turn; ask for more --calls" in text
        [compared] = numbers(hotfn(*options, "--json", *QUICK))["comparison"]
        assert (compared["rounds"], set(compared["ratios"])) == (20, {"calls_per_second"})

    def test_turns_that_are_long_enough_have_them_all(self, hotfn: Run) -> None:
        options = ("--compare", "driver=local,local", "--calls", "2000", "--json")
        [compared] = numbers(hotfn("bench", *options, *QUICK))["comparison"]
        assert set(compared["ratios"]) == {"calls_per_second", "p50", "p90", "p99"}

    def test_all_have_as_many_callers_as_the_largest_has_copies(self, hotfn: Run) -> None:
        """The smaller one's calls wait, and that counts."""
        options = ("--compare", "max-concurrency=1,3", "--calls", "60", "--body", "sleep 0.01", "--json")
        report = numbers(hotfn("bench", *options, *QUICK))
        assert report["load"]["concurrency"] == 3
        assert [one["copies"]["launched"] for one in report["results"]] == [1, 3]

    def test_two_drivers(self, hotfn: Run, install: Callable[..., Any]) -> None:
        source = """
            from hotfn_local.driver import LocalDriver

            class Other(LocalDriver):
                name = "other"

            @hookimpl
            def hotfn_register_drivers():
                return {"other": Other}
        """
        options = ("--compare", "driver=local,other", "--calls", "400", "--json")
        result = hotfn("bench", *options, *QUICK, env=install("other", source))
        assert (result.returncode, result.stderr) == (0, b"")
        report = numbers(result)
        assert [(one["driver"], one["ok"]) for one in report["results"]] == [("local", 400), ("other", 400)]
        assert report["comparison"][0]["ratios"].keys() >= {"calls_per_second", "p50"}

    def test_functions_of_a_configuration(self, hotfn: Run, tmp_path: Path) -> None:
        guest = json.dumps([sys.executable, QUICK[-1]])
        config = "".join(f'[functions.{name}]\nformat="http"\ncommand={guest}\n' for name in ("one", "two"))
        (tmp_path / "functions.toml").write_text(config)
        result = hotfn("bench", "--compare", "function=one,two", "--duration", "0.3", "--warmup", "0.05")
        assert result.returncode == 0
        rows = [line.split() for line in result.stdout.decode().splitlines()]
        assert ["one", "two", "ratio"] in rows
        assert ["function", "default/one", "default/two"] in rows

    def test_variables_and_options_of_the_driver(self, hotfn: Run) -> None:
        one = hotfn("bench", "--json", "--compare", "env.WORD=a,b", "--calls", "2", "--body", "env WORD", *QUICK)
        assert [found["label"] for found in numbers(one)["results"]] == ["a", "b"]
        two = hotfn("bench", "--json", "--compare", "driver-option.cwd=/,/tmp", "--calls", "2", *QUICK)
        assert [found["ok"] for found in numbers(two)["results"]] == [2, 2]


class TestWrongUse:
    @pytest.mark.parametrize(
        ("options", "said"),
        [
            (["--rate", "3", "-p", "2"], "--concurrency and --rate exclude each other"),
            (["--body", "x", "--size", "3"], "--body and --size exclude each other"),
            (["--rate", "0"], "--rate"),
            (["--duration", "0"], "more than 0 seconds"),
            (["--warmup", "-1"], "--warmup"),
            (["--size", "much"], "'much' is not a size"),
            (["--size", "100G"], "the body is larger than max_request, 67108864 bytes"),
            (["--body-file", "missing"], "missing"),
            (["--compare", "driver"], "write WHAT=A,B"),
            (["--compare", "driver=local"], "write WHAT=A,B"),
            (["--compare", "driver=a,b,c,d,e"], "write WHAT=A,B"),
            (["--compare", "colour=red,green"], '"colour" cannot be compared; these can: function, driver'),
            (["--compare", "memory=64,lots"], "'lots' is not a valid integer"),
            (["--compare", "driver=local,loca"], 'did you mean "local"?'),
            (["f", "--compare", "function=a,b"], 'so "f" must not be given as well'),
        ],
    )
    def test_it_is_said(self, hotfn: Run, options: list[str], said: str) -> None:
        result = hotfn("bench", *options, "--", "cat")
        assert (result.returncode, result.stdout) == (2, b"")
        assert said in result.stderr.decode()

    def test_nothing_to_load(self, hotfn: Run) -> None:
        result = hotfn("bench")
        assert (result.returncode, b"hotfn bench -- COMMAND" in result.stderr) == (2, True)

    def test_a_body_from_stdin_and_one_that_is_too_large(self, hotfn: Run, tmp_path: Path) -> None:
        (tmp_path / "functions.toml").write_text('[functions.f]\ncommand=["cat"]\nmax_request=3\n')
        options = ("bench", "f", "--json", "--calls", "1", "--body-file", "-")
        assert numbers(hotfn(*options, input=b"abc"))["load"]["body_bytes"] == 3
        assert hotfn(*options, input=b"four").returncode == 2


class TestSignals:
    def begun(self, start: Start, body: str, *options: str) -> subprocess.Popen[bytes]:
        """Start a load, and return when its first call is in the function."""
        shown = ("--stderr", "show", "--warmup", "0", "--duration", "1h", "--body", body)
        process = start("bench", *shown, *options, "--", sys.executable, "-c", AT_WORK)
        assert process.stderr is not None
        assert process.stderr.readline() == b"at work\n"
        return process

    @pytest.mark.parametrize("load", [(), ("--rate", "0.01")])
    @pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
    def test_the_first_ends_early_and_there_is_a_report(
        self, start: Start, load: tuple[str, ...], number: signal.Signals, status: int
    ) -> None:
        process = self.begun(start, "0.5", "--json", *load)
        process.send_signal(number)
        output, said = process.communicate(timeout=LIMIT_SECONDS)
        assert process.returncode == status
        report = json.loads(output)
        assert (report["interrupted"], report["results"][0]["calls"], report["results"][0]["failed"]) == (True, 1, 0)
        assert f"{number.name}: finishing 1 call; once more leaves at once".encode() in said

    def test_the_second_leaves(self, start: Start) -> None:
        process = self.begun(start, "3600", "--timeout", "3600")
        children = psutil.Process(process.pid).children(recursive=True)
        process.send_signal(signal.SIGINT)
        assert process.stderr is not None
        assert b"finishing 1 call" in process.stderr.readline()
        process.send_signal(signal.SIGINT)
        output, _ = process.communicate(timeout=LIMIT_SECONDS)
        assert (process.returncode, output) == (130, b"")
        assert psutil.wait_procs(children, timeout=LIMIT_SECONDS)[1] == []

    def test_in_the_warm_up_there_is_nothing_to_report(self, start: Start) -> None:
        process = self.begun(start, "0.2", "--warmup", "1h")
        process.send_signal(signal.SIGINT)
        output, said = process.communicate(timeout=LIMIT_SECONDS)
        assert (process.returncode, output) == (130, b"")
        assert b"ended in the warm-up: there is nothing to report but 1 call before it counts, 0 failed, p50 " in said

    def test_in_the_warm_up_of_several(self, start: Start) -> None:
        process = self.begun(start, "0.2", "--warmup", "1h", "--compare", "format=default,default")
        process.send_signal(signal.SIGINT)
        output, said = process.communicate(timeout=LIMIT_SECONDS)
        assert (process.returncode, output) == (130, b"")
        assert b"nothing to report but 1 call " in said

    @pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
    def test_before_anything_is_called(
        self, hotfn: Run, install: Callable[..., Any], number: signal.Signals, status: int
    ) -> None:
        source = f"""
            import asyncio, os
            from hotfn_local.driver import LocalDriver

            class Struck(LocalDriver):
                name = "struck"

                async def open(self):
                    os.kill(os.getpid(), {int(number)})
                    await asyncio.Event().wait()

            @hookimpl
            def hotfn_register_drivers():
                return {{"struck": Struck}}
        """
        result = hotfn("bench", "--driver", "struck", "--", "cat", env=install("struck", source))
        assert (result.returncode, result.stdout) == (status, b"")
        assert result.stderr == b"ended in the opening: there is nothing to report\n"

    @pytest.mark.parametrize("command", ["bench", "run"])
    def test_before_signals_are_handled(self, hotfn: Run, tmp_path: Path, command: str) -> None:
        """While what it needs is imported: the loop, in this case."""
        site = tmp_path / "site"
        site.mkdir()
        strike = "import os, signal\nsignal.signal(2, signal.default_int_handler)\nos.kill(os.getpid(), 2)\n"
        (site / "uvloop.py").write_text(strike)
        result = hotfn(command, "--", "cat", env={"PYTHONPATH": str(site)})
        assert (result.returncode, result.stdout) == (130, b"")
        assert result.stderr == b"interrupted\n"
