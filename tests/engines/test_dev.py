"""`hotfn dev` with a function in containers: a changed file is built into the image before copies are replaced."""

from __future__ import annotations

import shlex
import subprocess
import sys
from pathlib import Path

from .setup import Engine

HOTFN = str(Path(sys.executable).with_name("hotfn"))
LIMIT_SECONDS = 60
IMAGE = "hotfn-test/dev"
FUNCTION = """
import sys
requests, replies = sys.stdin.buffer, sys.stdout.buffer
while requests.readline():
    while requests.readline() != b"\\r\\n":
        pass
    replies.write(b"HTTP/1.1 200 OK\\r\\nContent-Length: 5\\r\\n\\r\\nword0")
    replies.flush()
"""


def build_command(engine: Engine) -> str:
    """Return what a user of this engine would write, in the environment of the engine's own command line."""
    here = [f"{name}={value}" for name, value in engine.environment().items()]
    words = ["build", "--build-arg", f"BASE={engine.image_python}", "-t", IMAGE, "."]
    return shlex.join(["env", "-i", *here, engine.executable, *engine._options(), *words])


def test_a_changed_file_is_in_the_next_copy(engine: Engine, tmp_path: Path) -> None:
    source = tmp_path / "function.py"
    source.write_text(FUNCTION)
    (tmp_path / "Dockerfile").write_text(
        'ARG BASE\nFROM ${BASE}\nCOPY function.py /function.py\nENTRYPOINT ["python3", "/function.py"]\n'
    )
    (tmp_path / "func.yaml").write_text(
        f"name: dev\nimage: {engine.repository}{IMAGE}\ndriver: {engine.name}\nformat: http\n"
    )
    dev = subprocess.Popen(
        [HOTFN, "dev", "--build", build_command(engine)],
        cwd=tmp_path,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    try:
        assert called(dev) == b"word0\n"
        source.write_text(FUNCTION.replace("word0", "word1"))
        assert called(dev) == b"word1\n"
        _, said = dev.communicate(timeout=LIMIT_SECONDS)
        assert said.count(b"built in") == 2
        assert dev.returncode == 0
    finally:
        dev.kill()
        dev.communicate()
        engine.cli("rmi", "-f", f"{engine.repository}{IMAGE}")


def called(dev: subprocess.Popen[bytes]) -> bytes:
    assert dev.stdin is not None
    assert dev.stdout is not None
    dev.stdin.write(b"\n")
    dev.stdin.flush()
    return dev.stdout.readline()
