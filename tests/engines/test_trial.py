"""`hotfn test` in containers, on both engines; what it does with processes is in tests/cli/test_trial.py."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

from .setup import Engine

HOTFN = str(Path(sys.executable).with_name("hotfn"))
FUNCTION = """
import json, os, sys
for line in sys.stdin:
    text = json.loads(line)["body"]
    print("got", text, file=sys.stderr, flush=True)
    if text == "die":
        os._exit(7)
    body = {"env": os.environ.get("WHO"), "table": '{"a":[1]}'}.get(text, text)
    print(json.dumps({"body": body}), flush=True)
"""
Done = subprocess.CompletedProcess[str]


def trial(folder: Path, engine: Engine, *tests: dict[str, Any], **keys: Any) -> Done:
    """Write func.yaml with these tests and run them."""
    image = {"name": "f", "driver": engine.name, "image": engine.image_python, "format": "json"}
    function = {"command": ["python3", "-u", "-c", FUNCTION], "config": {"WHO": "me"}, "tests": list(tests)}
    (folder / "func.yaml").write_text(json.dumps(image | function | keys))  # JSON is YAML
    return subprocess.run([HOTFN, "test"], cwd=folder, capture_output=True, text=True, timeout=60, check=False)


def test_what_passes(engine: Engine, tmp_path: Path) -> None:
    done = trial(
        tmp_path,
        engine,
        {"in": "hello", "out": "hello"},
        {"in": "env", "out": "me"},
        {"in": "env", "out": "you", "env": {"WHO": "you"}},
        {"in": "table", "out": {"a": [1]}},
        {"in": "chatty", "err": "got chatty", "out": "chatty"},
        {"in": "die", "err": "exited with code 7"},
        {"in": "again", "out": "again"},
    )
    assert (done.returncode, done.stderr) == (0, ""), done.stdout
    assert done.stdout.endswith("\n7 tests, none failed\n")


def test_what_fails(engine: Engine, tmp_path: Path) -> None:
    done = trial(tmp_path, engine, {"in": "one\n2", "out": "one\ntwo"}, {"in": "die"}, {"in": "x", "err": "no"})
    assert (done.returncode, done.stderr) == (1, "")
    lines = done.stdout.splitlines()
    assert lines[1:6] == ["\t--- expected", "\t+++ found", "\t@@ -1,2 +1,2 @@", "\t one", "\t-two"]
    assert any(line.startswith("\tfailed: default/f exited with code 7") for line in lines)
    assert lines[-1] == "3 tests, 3 failed"


def test_an_image_that_is_not_there(engine: Engine, tmp_path: Path) -> None:
    absent = {"image": "hotfn-test/absent", "driver_options": {"pull": "never"}}
    done = trial(tmp_path, engine, {"in": "x", "out": "x"}, **absent)
    assert (done.returncode, done.stdout) == (3, "")
    assert "hotfn-test/absent" in done.stderr


def test_a_program_that_is_not_there_fails_every_test(engine: Engine, tmp_path: Path) -> None:
    done = trial(tmp_path, engine, {"in": "x", "out": "x"}, {"err": "is not in the image"}, command=["no-such-program"])
    assert (done.returncode, done.stderr) == (1, "")
    assert "failed: default/f could not be started: the program no-such-program is not in the image" in done.stdout
    assert done.stdout.endswith("2 tests, 1 failed\n")
