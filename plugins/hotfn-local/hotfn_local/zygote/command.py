"""The command of a function in Python, taken apart: interpreter, its flags, the program, the program's arguments."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from typing import NamedTuple

from hotfn_core.errors import ConfigError

_PYTHON = re.compile(r"python(\d(\.\d+)?)?")
_SWITCHES = "bBdEIOPqRsSuv"
"""The flags of one letter, which shape the interpreter. Those that do something else, like -V, are no function."""

_EXAMPLE = '`command = ["python3", "function.py"]`'


class PythonCommand(NamedTuple):
    """`kind` is script, module (-m) or text (-c); `args` is how many words follow `target`."""

    flags: tuple[str, ...]
    kind: str
    target: str
    args: int


def parse(command: Sequence[str]) -> PythonCommand:
    """Raises ConfigError for what is no Python program."""
    if not _PYTHON.fullmatch(os.path.basename(command[0])):
        raise _wrong(f"`command` must begin with a Python, as in {_EXAMPLE}, not with {command[0]!r}")
    words = iter(range(1, len(command)))
    for at in words:
        word = command[at]
        if word == "-" or not word.startswith("-"):
            return _script(command, at)
        letter = _last(word)
        if letter in "mc":
            return _named(command, at, letter)
        if letter in "WX" and word.endswith(letter):
            next(words, None)
    raise _wrong(f"`command` names no program, as {_EXAMPLE} does")


def _last(word: str) -> str:
    """Return the letter that decides what a word of flags is: the first one that takes a value, if any."""
    for letter in word[1:]:
        if letter in "mcWX":
            return letter
        if letter not in _SWITCHES:
            raise _wrong(f"`command` has the flag {word} of Python, with which it cannot be forked")
    return word[-1]


def _script(command: Sequence[str], at: int) -> PythonCommand:
    name = command[at]
    if name in ("", "-") or name.endswith(".pyc"):
        raise _wrong(f"`command` must name a source file, a directory or a zip file, not {name!r}")
    return PythonCommand(tuple(command[1:at]), "script", name, len(command) - at - 1)


def _named(command: Sequence[str], at: int, letter: str) -> PythonCommand:
    flags, _, target = command[at].partition(letter)
    end = at + (not target)
    if end >= len(command):
        raise _wrong(f"`command` has nothing behind {command[at]}")
    before = (*command[1:at], flags) if flags != "-" else tuple(command[1:at])
    kind = "module" if letter == "m" else "text"
    return PythonCommand(before, kind, target or command[end], len(command) - end - 1)


def _wrong(text: str) -> ConfigError:
    return ConfigError(f"driver_options: zygote: {text}", field="driver_options")
