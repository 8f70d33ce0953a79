"""The example of the docs as an image: what a newcomer types works on both engines."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from .setup import Engine

ROOT = Path(__file__).parents[2]
EXAMPLE = ROOT / "docs" / "examples" / "lines"
HOTFN = str(Path(sys.executable).with_name("hotfn"))


def test_the_dockerfile_of_the_example_builds_and_answers_a_thousand_lines_hot(engine: Engine) -> None:
    engine.cli("build", "--build-arg", f"BASE={engine.image_python}", "-t", "hotfn-test/lines", str(EXAMPLE))
    try:
        options = ["--driver", engine.name, "--image", "hotfn-test/lines", "--format", "http", "--each-line", "--stats"]
        lines = b"the quick brown fox\n" * 1000
        done = subprocess.run([HOTFN, "run", *options], input=lines, capture_output=True, timeout=60, check=False)
        assert done.returncode == 0, done.stderr
        assert len(done.stdout.splitlines()) == 1000
        assert b"ok         1,000" in done.stderr
        assert b"cold       1" in done.stderr
    finally:
        engine.cli("rmi", "-f", f"{engine.repository}hotfn-test/lines")
