"""posix_spawn(3) of the C library itself, called so that other threads of Python go on meanwhile.

`subprocess.Popen` and `os.posix_spawn` keep the interpreter's lock until the new program runs: half a millisecond in
which no call of any function moves, and more the more descriptors are open, as they are closed one by one.
"""

from __future__ import annotations

import ctypes
import os
import signal
from collections.abc import Mapping, Sequence
from functools import cache, lru_cache
from typing import Any

_SETSIGDEF, _SETSID = 0x04, 0x80  # the same in glibc and musl
_ROOM = 1024  # bytes; more than any C library's structures take
_FIRST = 3  # descriptors from here on are closed in the new program
_NEEDED = ("posix_spawn", "posix_spawn_file_actions_addchdir_np", "posix_spawn_file_actions_addclosefrom_np")


@cache
def library() -> Any:
    """Return the C library, None where it cannot do all that is needed (glibc before 2.34, musl). Calling it keeps the
    interpreter's lock: giving that up and getting it back takes longer than what is done meanwhile."""
    libc = ctypes.PyDLL(None)
    return libc if all(hasattr(libc, name) for name in _NEEDED) else None


@cache
def _free_library() -> Any:
    """Return the C library, which lets other threads go on while it is called."""
    return ctypes.CDLL(None)


class Words:
    """Program, arguments and environment as the C library takes them, made once for all starts that share them.

    Raises ValueError for what no environment can hold.
    """

    def __init__(self, program: str, argv: Sequence[str], env: Mapping[str, str]) -> None:
        self.program = _bytes(program)
        self.argv = _array(_encoded(argv))
        self._env = _encoded(_variables(env))

    def with_variable(self, name: str, value: str) -> Any:
        """Return the environment and this variable, which is not in it."""
        return _array([*self._env, _bytes(f"{name}={value}")])


class Actions:
    """What becomes of the descriptors in the new program, and its directory. `stdio` are above 2."""

    def __init__(self, stdio: tuple[int, int, int], cwd: str | None) -> None:
        directory = None if cwd is None else _bytes(cwd)
        self._libc = libc = library()
        self.buffer = ctypes.create_string_buffer(_ROOM)
        _checked(libc.posix_spawn_file_actions_init(self.buffer))
        self._made = True
        for number, fd in enumerate(stdio):
            _checked(libc.posix_spawn_file_actions_adddup2(self.buffer, fd, number))
        if directory is not None:
            _checked(libc.posix_spawn_file_actions_addchdir_np(self.buffer, directory))
        _checked(libc.posix_spawn_file_actions_addclosefrom_np(self.buffer, _FIRST))

    def __del__(self) -> None:
        if hasattr(self, "_made"):
            self._libc.posix_spawn_file_actions_destroy(self.buffer)


_actions = lru_cache(maxsize=16)(Actions)  # starts that are by themselves get the same descriptors again and again


class Spawn:
    """A program that is to be started once, as the leader of a session of its own, with `marker` in its environment.

    `stdio` are above 2. No other descriptor goes to it, and the signals that Python ignores do what they always do.
    Raises ValueError for what no environment can hold.
    """

    def __init__(self, words: Words, marker: tuple[str, str], cwd: str | None, stdio: tuple[int, int, int]) -> None:
        self._words = words  # the array of the environment holds no more than pointers into it
        self._env = words.with_variable(*marker)
        self._actions = _actions(stdio, cwd)
        self._attributes = _attributes()

    def run(self) -> int:
        """Start it and return its pid. Blocks, and other threads go on. Raises OSError when it cannot be started."""
        pid = ctypes.c_int()
        words, spawn = self._words, _free_library().posix_spawn
        _checked(spawn(ctypes.byref(pid), words.program, self._actions.buffer, self._attributes, words.argv, self._env))
        return pid.value


def _checked(error: int) -> None:
    if error:
        raise OSError(error, os.strerror(error))


def _bytes(text: str) -> bytes:
    data = os.fsencode(text)
    if b"\0" in data:
        raise ValueError("embedded null byte")
    return data


def _encoded(texts: Sequence[str]) -> list[bytes]:
    """Encode all of them in one step."""
    words = os.fsencode("\0".join(texts)).split(b"\0") if texts else []
    if len(words) != len(texts):
        raise ValueError("embedded null byte")
    return words


def _array(words: Sequence[bytes]) -> Any:
    return (ctypes.c_char_p * (len(words) + 1))(*words, None)


def _variables(env: Mapping[str, str]) -> list[str]:
    if any("=" in name for name in env):
        raise ValueError("illegal environment variable name")
    return [f"{name}={value}" for name, value in env.items()]


@cache
def _attributes() -> Any:
    """The attributes of all starts."""
    libc, attributes = library(), ctypes.create_string_buffer(_ROOM)
    _checked(libc.posix_spawnattr_init(attributes))
    _checked(libc.posix_spawnattr_setsigdefault(attributes, _default_signals()))
    _checked(libc.posix_spawnattr_setflags(attributes, ctypes.c_short(_SETSID | _SETSIGDEF)))
    return attributes


@cache
def _default_signals() -> Any:
    """The set of the signals that Python ignores."""
    bits = 8 * ctypes.sizeof(ctypes.c_ulong)
    signals = (ctypes.c_ulong * (_ROOM // 8))()
    for number in (signal.SIGPIPE, signal.SIGXFSZ):
        signals[(number - 1) // bits] |= 1 << (number - 1) % bits
    return signals
