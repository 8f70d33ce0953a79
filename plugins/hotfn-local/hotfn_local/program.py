"""Finding the program of a function before it is started, and saying clearly why it cannot be started."""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterator

from hotfn_core.errors import DriverError


def find(name: str, search: str, cwd: str) -> str:
    """Return the path of the program `name`, looked up as the function would: a name with a slash relative to
    `cwd`, any other in the directories of `search`. Raises DriverError with what to do about it."""
    for path in _candidates(name, search, cwd):
        if os.access(path, os.X_OK) and os.path.isfile(path):
            return path
    raise DriverError(f'cannot start "{name}": {_why_not(name, search, cwd)}')


def _why_not(name: str, search: str, cwd: str) -> str:
    for path in _candidates(name, search, cwd):
        if problem := _problem(path):
            return problem
    where = (
        f"no file {os.path.abspath(os.path.join(cwd, name))}"
        if "/" in name
        else f"it is in no directory of the PATH ({search})"
    )
    return f"program not found, {where}; install it, or give its full path in `command`"


def _candidates(name: str, search: str, cwd: str) -> Iterator[str]:
    if "/" in name:
        yield os.path.join(cwd, name)
        return
    for directory in search.split(os.pathsep):
        yield os.path.join(cwd, directory or os.curdir, name)


def _problem(path: str) -> str:
    """Say what keeps a file from being a program; "" when it is not there."""
    try:
        mode = os.stat(path).st_mode
    except PermissionError:
        return f"{path} is out of reach: a directory on the way to it may not be entered by this user"
    except OSError:
        return f"{path} is a link that leads nowhere" if os.path.islink(path) else ""
    if stat.S_ISDIR(mode):
        return f"{path} is a directory; name a program"
    if not stat.S_ISREG(mode):
        return f"{path} is not a file; name a program"
    return f"{path} is not executable; make it so with `chmod +x {path}`, or put its interpreter first in `command`"


def explain(name: str, path: str, error: OSError) -> DriverError:
    """Turn what the system said when it was to start `path` into an error that says what to do."""
    return DriverError(f'cannot start "{name}": {_reason(path, error)}')


def _reason(path: str, error: OSError) -> str:
    if error.errno in _SHORTAGES:
        return _SHORTAGES[error.errno]
    if error.errno in (errno.ENOENT, errno.ENOEXEC, errno.EACCES, errno.ENOTDIR, errno.ELOOP):
        return interpreter_problem(path) or f"{path}: {error.strerror}"
    return f"{path}: {error.strerror or error}"


_SHORTAGES = {
    errno.E2BIG: "its arguments and environment are larger than the system allows; send large data in the body",
    errno.EMFILE: "hotfn has no file descriptors left; raise `ulimit -n` (every copy takes four)",
    errno.ENFILE: "the system has no file descriptors left; raise fs.file-max",
    errno.EAGAIN: "the system allows this user no more processes; raise `ulimit -u`",
    errno.ENOMEM: "the system is out of memory",
}


def check_interpreter(name: str, path: str) -> None:
    """Raise DriverError when the file at `path` could not run although it is executable."""
    problem = interpreter_problem(path, elf_runs=True)
    if problem:
        raise DriverError(f'cannot start "{name}": {problem}')


def interpreter_problem(path: str, elf_runs: bool = False) -> str:
    """Say why an executable file still does not run, or ""; `elf_runs` takes binaries for good."""
    try:
        with open(path, "rb") as file:
            first = file.read(256)
    except OSError:
        return ""
    if first.startswith(b"\x7fELF"):
        return "" if elf_runs else f"{path} is a binary for another system or C library: its loader is not here"
    if not first.startswith(b"#!"):
        return f"{path} is neither a binary of this machine nor a script whose first line is `#!` and an interpreter"
    return _script_problem(path, os.fsdecode(first[2:].partition(b"\n")[0]).lstrip(" \t"))


def _script_problem(path: str, line: str) -> str:
    if line.endswith("\r"):
        return f"the first line of {path} ends in a carriage return; give it Unix line ends"
    interpreter = (line.split() or [""])[0]
    if not os.path.isfile(interpreter):
        return f"the first line of {path} names the interpreter {interpreter!r}, which does not exist"
    if not os.access(interpreter, os.X_OK):
        return f"the first line of {path} names the interpreter {interpreter!r}, which is not executable"
    return ""
