"""From what the core asks for to what is started: program, arguments, environment, account, limits."""

from __future__ import annotations

import os
from collections.abc import Mapping

from hotfn_core.driver import ContainerSpec
from hotfn_core.errors import DriverError

from . import account as accounts
from . import environment, limits, options, program
from .spawn import Order

_MB = 1024 * 1024


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
