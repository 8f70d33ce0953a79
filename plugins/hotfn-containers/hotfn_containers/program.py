"""Is the program there? Asked once for each image, so that a wrong command is an error that names it.

With an init process the engine starts a container whose program is missing, and only its exit code tells.
"""

from __future__ import annotations

import posixpath
from collections.abc import Iterator

from hotfn_core.errors import DriverError

from .engine import Image
from .plan import Plan

PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
"""Where engines look when neither the image nor the function says where."""

_DIRECTORY = 1 << 31  # bits of a file mode as the engines' language has it
_NOT_PLAIN = _DIRECTORY | 1 << 27 | 1 << 26 | 1 << 25 | 1 << 24 | 1 << 21


def argv(plan: Plan, image: Image) -> tuple[str, ...]:
    """Return the program and its arguments. Raises DriverError when neither image nor function has any."""
    own = plan.options.entrypoint
    entrypoint = image.entrypoint if own is None else own
    command = plan.command or (image.command if own is None else ())
    if not (*entrypoint, *command):
        raise DriverError(f"the image {plan.image} names no program to run: give the function a `command`", status=400)
    return *entrypoint, *command


def places(plan: Plan, image: Image) -> Iterator[str]:
    """Yield the paths in the container that the program may have, in the order in which they count."""
    program = argv(plan, image)[0]
    if "/" in program:
        yield posixpath.join(plan.options.cwd or image.cwd or "/", program)
        return
    for directory in (plan.env.get("PATH") or image.env.get("PATH") or PATH).split(":"):
        yield posixpath.join("/", directory, program)


def fault(plan: Plan, image: Image, path: str, mode: int | None) -> DriverError | None:
    """Say what is wrong with the program at `path`, whose mode the engine told; None when nothing is."""
    program = argv(plan, image)[0]
    if mode is None:
        return DriverError(f"the program {program} is not in the image {plan.image}", status=400)
    if mode & _DIRECTORY:
        return DriverError(f"{program} is a directory in the image {plan.image}, not a program", status=400)
    if not mode & _NOT_PLAIN and not mode & 0o111:
        where = "" if path == program else f" ({path})"
        text = f"the program {program}{where} of the image {plan.image} is not executable: chmod +x it in its build"
        return DriverError(text, status=400)
    return None
