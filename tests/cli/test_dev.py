"""`hotfn dev`: files change under a function that is being called, and each call is answered by the right copy."""

from __future__ import annotations

import json
import os
import queue
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO

import psutil
import pytest

Start = Callable[..., subprocess.Popen[bytes]]
Run = Callable[..., subprocess.CompletedProcess[bytes]]

LIMIT_SECONDS = 30
FUNCTION = """
import os, sys, time
import part

def answer(body):
    if body.startswith("wait "):
        print(WORD, "waits", file=sys.stderr, flush=True)
        while not os.path.exists(body[5:]):
            time.sleep(0.01)
    elif body == "say":
        print("said by", WORD, file=sys.stderr, flush=True)
    elif body == "note":
        open("notes.log", "a").write("x")
    elif body == "pid":
        return str(os.getpid())
    elif body == "env":
        return os.environ.get("SAID", "nothing")
    elif body == "part":
        return part.WORD
    return WORD

WORD = "word0"
requests, replies = sys.stdin.buffer, sys.stdout.buffer
while requests.readline():
    size = 0
    while (line := requests.readline()) != b"\\r\\n":
        if line.lower().startswith(b"content-length:"):
            size = int(line[15:])
    reply = answer(requests.read(size).decode()).encode()
    replies.write(b"HTTP/1.1 200 OK\\r\\nContent-Length: %d\\r\\n\\r\\n%b" % (len(reply), reply))
    replies.flush()
"""
FUNC_YAML = f"""
name: greet
format: http
driver: local
driver_options: {{cwd: .}}
cmd: {sys.executable} function.py
max_concurrency: 4
tests:
- name: its word
  out: word0
"""


def version(number: int) -> str:
    return FUNCTION.replace("word0", f"word{number}")


def save(path: Path, text: str) -> None:
    """Save as most editors do: a new file takes the place of the old one."""
    new = path.with_name(f".{path.name}.new")
    new.write_text(text)
    new.rename(path)


class Dev:
    """A `hotfn dev` with its streams. A line of stderr is waited for; everything it has said is in `lines`."""

    def __init__(self, process: subprocess.Popen[bytes]) -> None:
        self.process = process
        self.lines: list[str] = []
        self._heard: queue.SimpleQueue[str | None] = queue.SimpleQueue()
        self._listener = threading.Thread(target=self._listen)
        self._listener.start()

    def _listen(self) -> None:
        for line in pipe(self.process.stderr):
            self._heard.put(line.decode().rstrip("\n"))
        self._heard.put(None)

    def send(self, text: str) -> None:
        pipe(self.process.stdin).write(f"{text}\n".encode())
        pipe(self.process.stdin).flush()

    def reply(self) -> str:
        return pipe(self.process.stdout).readline().decode().rstrip("\n")

    def call(self, text: str = "") -> str:
        self.send(text)
        return self.reply()

    def said(self, text: str) -> str:
        """Wait for a line with a text that has not been waited for yet, and return it."""
        while (line := self._heard.get(timeout=LIMIT_SECONDS)) is not None:
            self.lines.append(line)
            if text in line:
                return line
        raise AssertionError(f"never said {text!r}, but {self.lines}")

    def end(self) -> int:
        pipe(self.process.stdin).close()
        return self.wait()

    def wait(self) -> int:
        status = self.process.wait(LIMIT_SECONDS)
        self._listener.join(LIMIT_SECONDS)
        while not self._heard.empty():
            self.lines.append(self._heard.get() or "")
        return status

    def count(self, text: str) -> int:
        return sum(text in line for line in self.lines)


def pipe(stream: IO[bytes] | None) -> IO[bytes]:
    assert stream is not None
    return stream


@pytest.fixture
def function(tmp_path: Path) -> Path:
    """The source of the function of these tests, in a directory of its own."""
    (tmp_path / "func.yaml").write_text(FUNC_YAML)
    (tmp_path / "part.py").write_text("WORD = 'part0'\n")
    source = tmp_path / "function.py"
    source.write_text(version(0))
    return source


@pytest.fixture
def dev(start: Start) -> Iterator[Callable[..., Dev]]:
    """Start `hotfn dev ARGS` and wait until it watches. Nothing of it is left after the test."""
    began: list[tuple[Dev, psutil.Process]] = []

    def call(*args: str) -> Dev:
        started = Dev(start("dev", *args))
        began.append((started, psutil.Process(started.process.pid)))
        started.said("watching ")
        return started

    yield call
    for one, process in began:
        if one.process.poll() is None:
            children = process.children(recursive=True)
            one.end()
            assert psutil.wait_procs(children, timeout=LIMIT_SECONDS)[1] == []


Begin = Callable[..., Dev]


class TestChanges:
    def test_a_file_written_in_place_counts_for_the_next_call(self, function: Path, dev: Begin) -> None:
        running = dev()
        assert running.call() == "word0"
        function.write_text(version(1))
        assert running.call() == "word1"  # whatever has been said until now: the file was saved before

    def test_so_does_one_that_is_renamed_into_its_place(self, function: Path, dev: Begin) -> None:
        running = dev()
        for number in range(1, 4):
            save(function, version(number))
            assert running.call() == f"word{number}"
        assert running.said("changed: ") == "function.py changed: copies are replaced"

    def test_a_module_of_the_same_size_saved_within_the_second(self, function: Path, dev: Begin) -> None:
        """Python itself would believe its bytecode."""
        running = dev()
        for number in range(1, 4):
            (function.parent / "part.py").write_text(f"WORD = 'part{number}'\n")
            assert running.call("part") == f"part{number}"

    def test_what_a_zygote_has_imported(self, function: Path, dev: Begin) -> None:
        running = dev("--driver-option", "zygote=true")
        for number in range(1, 4):
            save(function.parent / "part.py", f"WORD = 'part{number}'\n")
            assert running.call("part") == f"part{number}"

    def test_new_files_in_new_directories(self, function: Path, dev: Begin) -> None:
        running = dev()
        folder = function.parent / "words" / "more"
        folder.mkdir(parents=True)
        (folder / "word.txt").write_text("one")
        running.said("words/more/word.txt changed: copies are replaced")
        (folder / "word.txt").write_text("two")
        running.said("words/more/word.txt changed: copies are replaced")
        (folder / "word.txt").unlink()
        running.said("words/more/word.txt changed: copies are replaced")

    def test_files_that_change_together_are_one_change(
        self, function: Path, dev: Begin, tmp_path_factory: pytest.TempPathFactory
    ) -> None:
        running = dev()
        pid = running.call("pid")
        folder = tmp_path_factory.mktemp("checkout")
        for name in "abcde":
            (folder / name).write_text(name)
        folder.rename(function.parent / "words")
        assert running.call("pid") != pid
        assert running.said("changed: ") == "words/a, words/b, words/c and 2 more changed: copies are replaced"

    def test_what_editors_and_compilers_keep_and_what_is_as_it_was_means_nothing(
        self, function: Path, dev: Begin
    ) -> None:
        running = dev("--ignore", "*.log")
        pid = running.call("pid")
        for name in (
            ".function.py.swp",
            "function.py~",
            "__pycache__/x.pyc",
            ".git/index",
            "node_modules/x.js",
            "a.log",
        ):
            path = function.parent / name
            path.parent.mkdir(exist_ok=True)
            path.write_text("x")
        os.utime(function)
        running.call("note")
        assert running.call("pid") == pid
        save(function, version(1))
        assert running.call("pid") != pid
        running.end()
        assert running.count("changed: ") == 1


class TestCalls:
    def test_a_call_in_flight_ends_on_its_old_copy(
        self, function: Path, dev: Begin, tmp_path_factory: pytest.TempPathFactory
    ) -> None:
        gate = tmp_path_factory.mktemp("outside") / "gate"
        running = dev()
        assert running.call() == "word0"
        running.send(f"wait {gate}")
        running.said("word0 waits")
        save(function, version(1))
        running.send("say")
        running.said("said by word1")
        gate.touch()
        assert [running.reply() for _ in range(2)] == ["word0", "word1"]

    def test_no_call_is_lost_while_files_change_under_load(self, function: Path, dev: Begin) -> None:
        running = dev("--output", "jsonl")
        newest, enough = 0, threading.Event()
        at_least: list[int] = []  # the version that each call may expect
        answered = threading.Semaphore(8)

        def feed() -> None:
            while not enough.is_set():
                answered.acquire()
                at_least.append(newest)
                running.send("x")

        def read() -> None:
            for line in pipe(running.process.stdout):
                replies.append(json.loads(line))
                answered.release()

        replies: list[dict[str, object]] = []
        threads = [threading.Thread(target=feed), threading.Thread(target=read)]
        for thread in threads:
            thread.start()
        for number in range(1, 11):
            save(function, version(number))  # never half a file, which a copy might start from
            running.said("changed: copies are replaced")
            newest = number
        enough.set()
        threads[0].join(LIMIT_SECONDS)
        running.end()
        threads[1].join(LIMIT_SECONDS)
        assert [one["error"] for one in replies if one["error"]] == []
        assert len(replies) == len(at_least) > 10
        numbers = [int(str(one["body"]).removeprefix("word")) for one in replies]
        assert all(number >= least for number, least in zip(numbers, at_least, strict=True))
        assert numbers[-1] == 10


class TestTrouble:
    def test_a_function_that_does_not_start_is_told_at_once_and_can_be_mended(self, function: Path, dev: Begin) -> None:
        running = dev()
        assert running.call() == "word0"
        save(function, "def broken(:\n")
        line = running.said("it does not start")  # without a call
        assert "SyntaxError" in line
        assert running.call() == ""
        assert "SyntaxError" in running.said("line 2: ")
        save(function, version(1))
        assert running.call() == "word1"
        running.end()
        assert running.count("Error: it does not start") == 1  # once only: it is not started again and again

    def test_one_that_does_not_start_at_first(self, function: Path, dev: Begin) -> None:
        function.write_text("import nothing_like_it\n")
        running = dev()
        assert "nothing_like_it" in running.said("it does not start")
        save(function, version(1))
        assert running.call() == "word1"

    def test_a_changed_function_file_is_read_again(self, function: Path, dev: Begin) -> None:
        running = dev()
        assert running.call("env") == "nothing"
        save(function.parent / "func.yaml", FUNC_YAML + "config: {SAID: something}\n")
        assert running.call("env") == "something"

    def test_with_another_name_the_function_is_another(self, function: Path, dev: Begin) -> None:
        running = dev("--output", "jsonl")
        running.call()
        before = set(psutil.Process(running.process.pid).children(recursive=True))
        save(function.parent / "func.yaml", FUNC_YAML.replace("greet", "meet"))
        assert json.loads(running.call())["body"] == "word0"
        assert before  # they are gone in the end, as the fixture sees

    def test_a_broken_function_file_changes_nothing(self, function: Path, dev: Begin) -> None:
        running = dev()
        pid = running.call("pid")
        save(function.parent / "func.yaml", FUNC_YAML + "colour: red\n")
        assert "colour: unknown key" in running.said("func.yaml stays in use as it was")
        assert running.call("pid") == pid
        save(function, version(1))  # the last good one is served further on
        assert running.call() == "word1"
        save(function.parent / "func.yaml", FUNC_YAML + "driver_options: 3\n")
        running.said("stays in use")
        assert running.call() == "word1"

    def test_a_driver_that_is_not_there_changes_nothing(self, function: Path, dev: Begin) -> None:
        running = dev()
        save(function.parent / "func.yaml", FUNC_YAML.replace("driver: local", "driver: nowhere"))
        assert running.call() == "word0"
        assert "nowhere" in running.said("the copies stay as they are")
        save(function, version(1))
        assert running.call() == "word1"


class TestTests:
    def test_they_run_at_the_start_and_after_each_change(self, function: Path, dev: Begin) -> None:
        running = dev("--test")
        running.said("ok\tits word")
        running.said("1 test, none failed")
        save(function, version(1))
        running.said("FAIL\tits word")
        running.said("+word1")
        running.said("1 test, 1 failed")
        assert running.end() == 1
        assert running.reply() == ""  # stdout has replies, and nothing else

    def test_the_last_ones_decide_the_status(self, function: Path, dev: Begin) -> None:
        function.write_text(version(1))
        running = dev("--test")
        running.said("1 test, 1 failed")
        save(function, version(0))
        running.said("1 test, none failed")
        assert running.end() == 0

    def test_without_any_there_is_nothing_to_run(self, function: Path, hotfn: Run) -> None:
        (function.parent / "func.yaml").write_text(FUNC_YAML.partition("tests:")[0])
        result = hotfn("dev", "--test")
        assert result.returncode == 2
        assert b"there are no tests of greet" in result.stderr

    def test_those_of_a_command_are_found_as_for_hotfn_test(self, function: Path, hotfn: Run) -> None:
        command = ("--format", "default", "--", "echo", "else")
        result = hotfn("dev", "--test", *command)
        assert result.returncode == hotfn("test", *command).returncode == 1
        assert b"1 test, 1 failed" in result.stderr
        (function.parent / "func.yaml").unlink()
        result = hotfn("dev", "--test", *command)
        assert result.returncode == 2
        assert b"there is none here; name one with -c" in result.stderr


class TestBuild:
    @pytest.fixture
    def source(self, tmp_path: Path, hotfn: Run) -> Path:
        hotfn("init", "made", "--runtime", "c")
        return tmp_path / "made" / "function.c"

    def test_a_function_in_c(self, source: Path, dev: Begin) -> None:
        running = dev("-c", str(source.with_name("func.yaml")), "--build", "make")
        assert running.call("you") == "hello you"
        save(source, source.read_text().replace("hello", "hi"))
        assert running.call("you") == "hi you"
        save(source, source.read_text().replace("hi %", "syntax error\nhi %"))
        running.said("Error: the build failed, and the copies stay as they are: make exited with status 2")
        assert running.count("  | function.c:") > 0
        assert running.call("you") == "hi you"
        builds = running.count("built in")
        save(source, source.read_text().replace("syntax error\nhi %", "hey %"))
        assert running.call("you") == "hey you"
        running.end()
        assert running.count("built in") == builds + 1  # by now it is known what the build makes

    def test_a_build_that_makes_something_else_each_time_ends(self, function: Path, dev: Begin) -> None:
        script = "import sys, time; open('made.txt', 'w').write(str(time.time()))"
        running = dev("--build", f'{sys.executable} -c "{script}"')
        assert running.call() == "word0"
        save(function, version(1))
        assert running.call() == "word1"
        save(function, version(2))
        assert running.call() == "word2"
        running.end()
        assert running.count("built in") <= 4  # at first once more, and then one for each change

    def test_a_build_cannot_be_started(self, function: Path, dev: Begin) -> None:
        running = dev("--build", "no-such-program x")
        running.said("no-such-program could not be started: No such file or directory")
        assert running.call() == "word0"

    def test_ctrl_c_ends_it(self, function: Path, start: Start) -> None:
        script = "import sys, time; print('building', flush=True); open('begun', 'w').close(); time.sleep(600)"
        running = Dev(start("dev", "--ignore", "begun", "--build", f'{sys.executable} -c "{script}"'))
        running.said("watching ")
        children = running_children(running)
        running.process.send_signal(signal.SIGINT)
        assert running.wait() == 130
        assert psutil.wait_procs(children, timeout=LIMIT_SECONDS)[1] == []

    @pytest.mark.parametrize("command", ["", "make 'x"])
    def test_what_is_no_command(self, function: Path, hotfn: Run, command: str) -> None:
        result = hotfn("dev", "--build", command)
        assert result.returncode == 2
        assert b"--build" in result.stderr


def running_children(dev: Dev) -> list[psutil.Process]:
    """Wait until there is a process of it, and return all."""
    process = psutil.Process(dev.process.pid)
    while not (children := process.children(recursive=True)):
        assert dev.process.poll() is None
    return children


class TestEnds:
    def test_ctrl_c_finishes_what_is_in_flight(
        self, function: Path, dev: Begin, tmp_path_factory: pytest.TempPathFactory
    ) -> None:
        gate = tmp_path_factory.mktemp("outside") / "gate"
        running = dev()
        running.call()
        children = psutil.Process(running.process.pid).children(recursive=True)
        assert children
        running.send(f"wait {gate}")
        running.said("word0 waits")
        running.process.send_signal(signal.SIGINT)
        running.said("SIGINT: finishing 1 call")
        gate.touch()
        assert running.reply() == "word0"
        assert running.wait() == 130
        assert psutil.wait_procs(children, timeout=LIMIT_SECONDS)[1] == []

    def test_a_second_one_does_not_wait(self, function: Path, dev: Begin) -> None:
        running = dev()
        running.send("wait /nowhere/at/all")
        running.said("word0 waits")
        children = psutil.Process(running.process.pid).children(recursive=True)
        running.process.send_signal(signal.SIGINT)
        running.said("SIGINT: finishing 1 call")
        running.process.send_signal(signal.SIGINT)
        assert running.wait() == 130
        assert psutil.wait_procs(children, timeout=LIMIT_SECONDS)[1] == []

    def test_the_end_of_stdin(self, function: Path, hotfn: Run) -> None:
        result = hotfn("dev", input=b"x\ny")
        assert (result.returncode, result.stdout) == (0, b"word0\nword0\n")

    def test_a_command_without_a_configuration(self, function: Path, hotfn: Run) -> None:
        (function.parent / "func.yaml").unlink()
        result = hotfn("dev", "--format", "http", "--", sys.executable, "function.py", input=b"x\n")
        assert (result.returncode, result.stdout) == (0, b"word0\n")
        assert b"watching " in result.stderr

    def test_a_cold_function(self, dev: Begin, tmp_path: Path) -> None:
        script = tmp_path / "function.sh"
        script.write_text("echo one\n")
        running = dev("--", "sh", "function.sh")
        assert running.call() == "one"
        script.write_text("echo two\n")
        assert running.call() == "two"

    def test_ctrl_c_while_the_last_tests_run(self, function: Path, dev: Begin) -> None:
        (function.parent / "func.yaml").write_text(FUNC_YAML.replace("out: word0", "in: wait /nowhere/at/all"))
        running = dev("--test")
        pipe(running.process.stdin).close()
        children = running_children(running)
        running.process.send_signal(signal.SIGINT)
        assert running.wait() == 130
        assert psutil.wait_procs(children, timeout=LIMIT_SECONDS)[1] == []


class TestImages:
    def test_files_that_do_not_change_an_image_are_not_watched(self, hotfn: Run) -> None:
        result = hotfn("dev", "--image", "fn/hello", "--format", "http")
        assert result.returncode == 2
        assert b"a changed file does not change the image fn/hello" in result.stderr
        assert b"--build 'docker build -t fn/hello .'" in result.stderr

    def test_too_many_files(
        self, tmp_path: Path, function: Path, hotfn: Run, install: Callable[..., dict[str, str]]
    ) -> None:
        folder = tmp_path / "many"
        folder.mkdir()
        for number in range(10_001):
            (folder / str(number)).touch()
        result = hotfn("dev")
        assert result.returncode == 2
        assert b"more than 10,000 files are in" in result.stderr
        assert hotfn("dev", "--watch", "function.py", input=b"x\n").stdout == b"word0\n"
