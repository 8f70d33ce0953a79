"""From what the core asks for to what is started: program, arguments, environment, account, limits."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import replace

from hotfn_core.driver import ContainerSpec
from hotfn_core.errors import DriverError

from . import account as accounts
from . import environment, limits, options, program
from .spawn import Order

_MB = 1024 * 1024


MOST_KNOWN = 64
"""Functions whose orders are kept."""


class Orders:
    """The orders of a driver. What is the same for each start of a function is worked out once."""

    def __init__(self, inherited: Mapping[str, str]) -> None:
        self._inherited = inherited
        self._known: dict[str, tuple[ContainerSpec, Order]] = {}

    def make(self, spec: ContainerSpec) -> Order:
        """Work out how to start one copy. Raises DriverError for what can be known to fail before it is tried.

        Whether the program of an order that was kept is still there shows when it is started: `forget` it then.
        """
        before, kept = self._known.get(spec.identity, (None, None))
        if before is None or kept is None or not _alike(before, spec):
            kept = make_order(spec, self._inherited)
            if _lasts(spec):  # without its environment: with a cold protocol that is of a call, and holds its headers
                self._keep(replace(spec, env={}), kept.with_env({}))
            return kept
        return kept.with_env({**self._inherited, **spec.env})

    def forget(self, spec: ContainerSpec) -> None:
        """Work all out again next time."""
        self._known.pop(spec.identity, None)

    def _keep(self, spec: ContainerSpec, order: Order) -> None:
        self._known[spec.identity] = spec, order
        if len(self._known) > MOST_KNOWN:
            del self._known[next(iter(self._known))]


def _alike(one: ContainerSpec, other: ContainerSpec) -> bool:
    """Say whether nothing but their environments may differ. One that is kept has neither options nor limits."""
    return one.command == other.command and not other.options and other.memory is None


def _lasts(spec: ContainerSpec) -> bool:
    """Say whether its order depends on the function and its program alone: not on directories, accounts and limits, nor
    on the PATH, where another program of that name may come up."""
    return os.path.isabs(spec.command[0]) and not spec.options and spec.memory is None


def make_order(spec: ContainerSpec, inherited: Mapping[str, str]) -> Order:
    """Work out how to start one copy with `inherited` below its own environment. The marker is not in it yet.

    Raises DriverError for what can be known to fail before it is tried.
    """
    wanted = options.parse(spec.options)
    runs_as = accounts.resolve(wanted.user, wanted.group)
    env = {**inherited, **environment.of_user(runs_as.entry), **spec.env}
    path = program.find(spec.command[0], env["PATH"], _directory(wanted.cwd))
    argv = list(spec.command)
    asked = _limits(spec, wanted)
    if asked:
        limits.check(asked)
    if asked and wanted.zygote is None:
        # Behind the program that sets the limits, a failing exec is only an exit code: look before.
        program.check_interpreter(spec.command[0], path)
        path, argv = limits.wrap(path, argv, asked)
        asked = ()
    account = (runs_as.user, runs_as.group, runs_as.groups)
    return Order(path, argv, env, wanted.cwd, *account, zygote=wanted.zygote, limits=asked)


def _limits(spec: ContainerSpec, wanted: options.Options) -> limits.Limits:
    if spec.memory is None:
        return wanted.limits
    return (*wanted.limits, (options.MEMORY, spec.memory * _MB))


def _directory(cwd: str | None) -> str:
    if cwd is None:
        return ""
    if not os.path.isdir(cwd):
        raise DriverError(f"the option `cwd` names {cwd!r}, which is not a directory; make it, or correct the option")
    return os.path.abspath(cwd)  # the program's path must mean the same before and after the change of directory
