"""Function programs for tests.

`SCRIPTED` is the path of guest.py, a function that does what its call tells it to; its docstring lists what that can
be. `one_file()` is the same as one text, for `python3 -c` where the file is not. `build_echo(directory)` compiles
echo.c, which does nothing but answer with the request's body, fast.
"""

import os.path  # this is also the package of the guests themselves: nothing slow is imported here

__all__ = ["ECHO_SOURCE", "SCRIPTED", "build_echo", "one_file"]

_HERE = os.path.dirname(os.path.abspath(__file__))
SCRIPTED = os.path.join(_HERE, "guest.py")
ECHO_SOURCE = os.path.join(_HERE, "echo.c")


def one_file() -> str:
    """Return the scripted guest as one Python program that needs no other file."""
    texts = []
    for name in ("wires.py", "scripted.py"):
        with open(os.path.join(_HERE, name), encoding="utf-8") as file:
            texts.append(file.read())
    lines = [line for line in "\n".join(texts).splitlines() if not line.lstrip().startswith("from ")]
    return "\n".join(["from __future__ import annotations", *lines, "main()", ""])


def build_echo(directory: str | os.PathLike[str], *, static: bool = False) -> str:
    """Compile echo.c into `directory` with the C compiler `cc` and return the path of the program.

    `static` makes one that runs in an empty container. Raises FileNotFoundError when there is no compiler and
    subprocess.CalledProcessError when it fails.
    """
    import subprocess

    target = os.path.join(os.fspath(directory), "echo-static" if static else "echo")
    flags = ["-static"] if static else []
    subprocess.run(["cc", "-O2", "-Wall", "-Wextra", "-Werror", *flags, "-o", target, ECHO_SOURCE], check=True)
    return target
