"""Installs the kits that tests/real runs functions of: `python tests/real/install.py DIRECTORY`.

Each kit gets a directory of its own with all that it needs, so that kits which ask for different versions of one
package do not meet: requirements/NAME.txt becomes DIRECTORY/NAME, for PYTHONPATH, and requirements/NAME/package.json
becomes DIRECTORY/NAME/node_modules. What is there already, of the same requirements and interpreter, is left as it is.

Packages are installed without what they ask for (`--no-deps`): the old kits pin versions that no current Python runs,
and the requirements name what works in their place. ujson 1.35, of 2016, is compiled; the setuptools that pip fetches
for that does it as it is.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

REQUIREMENTS = Path(__file__).parent / "requirements"
STAMP = "installed"  # holds what the kit was installed from, once all of it is there
PIP = (sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-compile")
NEEDS = ("gcc", "jq", "node", "npm")  # jq and node for the tests
NPM = ("npm", "install", "--no-audit", "--no-fund", "--no-package-lock", "--loglevel=error")


def install(folder: Path) -> None:
    """Install every kit below the folder. Raises CalledProcessError when one cannot be, SystemExit when a need is not
    there."""
    if missing := [name for name in NEEDS if shutil.which(name) is None]:
        sys.exit(f"not installed: {', '.join(missing)}; on Debian: apt-get install gcc jq nodejs npm")
    for name, requirements in kits():
        target = folder / name
        wanted = f"{sys.version}\n{requirements.read_text()}"
        if stamp(target) != wanted:
            print(f"installing {name}", flush=True)
            shutil.rmtree(target, ignore_errors=True)
            target.mkdir(parents=True)
            subprocess.run(command(requirements, target), check=True, cwd=target)
            (target / STAMP).write_text(wanted)


def kits() -> Iterator[tuple[str, Path]]:
    """Yield each kit's name and the file with its requirements."""
    for path in sorted(REQUIREMENTS.iterdir()):
        yield (path.name, path / "package.json") if path.is_dir() else (path.stem, path)


def command(requirements: Path, target: Path) -> tuple[str, ...]:
    """Return the command that installs into the target, run there."""
    if requirements.suffix == ".txt":
        return (*PIP, "--target", str(target), "--requirement", str(requirements))
    shutil.copy(requirements, target)
    return NPM


def stamp(target: Path) -> str:
    """Return what the target was installed from, "" when it was not, or not to the end."""
    path = target / STAMP
    return path.read_text() if path.exists() else ""


if __name__ == "__main__":
    install(Path(sys.argv[1]).resolve())
