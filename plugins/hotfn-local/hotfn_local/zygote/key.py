"""What makes two copies children of the same zygote, and what each of them is told."""

from __future__ import annotations

import os
from collections.abc import Sequence
from functools import cache
from typing import NamedTuple

from .. import environment
from ..spawn import Order
from .command import parse
from .serve import ROOM

_NAMES = (*environment.INHERITED, "GLIBC_TUNABLES")
_PREFIXES = ("LC_", "PYTHON", "LD_", "MALLOC_")
_SUFFIX = "_NUM_THREADS"

_ROOM = "." * 8192


class Key(NamedTuple):
    """All that shapes a zygote. Of a function's environment it holds what an interpreter and its libraries read when
    they start, by name, and nothing else: that is where secrets are."""

    path: str
    argv: tuple[str, ...]
    kind: str
    target: str
    imports: str
    modules: tuple[str, ...]
    cwd: str | None
    account: tuple[int | None, int | None, tuple[int, ...] | None]
    env: tuple[tuple[str, str], ...]

    def order(self, link: int) -> Order:
        """Return how to start it; `link` is the descriptor of its socket."""
        argv = [*self.argv, "-c", _text(), str(link)]
        user, group, groups = self.account
        return Order(self.path, argv, dict(self.env) | {ROOM: _ROOM}, self.cwd, user, group, groups)

    def setup(self) -> bytes:
        """Return what it is told first."""
        return _fields([self.kind, self.target, self.imports, *self.modules])

    def __str__(self) -> str:
        named = {"module": f"-m {self.target}", "text": "-c ..."}
        return " ".join([*self.argv, named.get(self.kind, self.target)])


def key_of(order: Order) -> Key:
    """Raises ConfigError when the command is no Python program."""
    command = parse(order.argv)
    begin = order.zygote is True
    modules = tuple(order.zygote) if isinstance(order.zygote, tuple) else ()
    return Key(
        path=order.program,
        argv=(order.argv[0], *command.flags),
        kind=command.kind,
        target=command.target,
        imports="begin" if begin else "",
        modules=modules,
        cwd=order.cwd or _here(),
        account=(order.user, order.group, None if order.groups is None else tuple(order.groups)),
        env=tuple(sorted((name, value) for name, value in order.env.items() if _shapes(name))),
    )


def job(order: Order, marker: tuple[str, str]) -> bytes:
    """Return what a copy is told. Raises ValueError for what no environment can hold."""
    env = {marker[0]: "", **order.env, marker[0]: marker[1]}  # first, where there is room for it in any case
    if any(not name or "=" in name for name in env):
        raise ValueError("illegal environment variable name")
    limits = [f"{limit.resource}:{value}:{value + limit.soft_gap}" for limit, value in order.limits]
    command = list(order.argv)
    head = [str(parse(command).args), str(len(command)), *command, str(len(limits)), *limits]
    return _fields(head + [f"{name}={value}" for name, value in env.items()])


def _fields(fields: Sequence[str]) -> bytes:
    if any("\0" in field for field in fields):
        raise ValueError("embedded null byte")
    return b"\0".join(map(os.fsencode, fields))


class fields_file:  # noqa: N801 - it reads as the function it stands for
    """A file in memory that holds some bytes, while it is needed."""

    def __init__(self, data: bytes) -> None:
        self._fd = os.memfd_create("hotfn-fields")
        os.write(self._fd, data)

    def __enter__(self) -> int:
        return self._fd

    def __exit__(self, *_: object) -> None:
        os.close(self._fd)


def _shapes(name: str) -> bool:
    return name in _NAMES or name.startswith(_PREFIXES) or name.endswith(_SUFFIX)


def _here() -> str | None:
    try:
        return os.getcwd()
    except OSError:  # it was removed
        return None


@cache
def _text() -> str:
    """Return the program of a zygote as one text."""
    lines = [line for name in ("program.py", "serve.py") for line in _lines(name)]
    kept = (line for line in lines if not line.startswith(("from __future__", "from .")))
    return "\n".join(["from __future__ import annotations", *kept])


def _lines(name: str) -> list[str]:
    with open(os.path.join(os.path.dirname(__file__), name), encoding="utf-8") as file:
        return file.read().splitlines()
