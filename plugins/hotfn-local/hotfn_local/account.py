"""The user and the group that a copy runs as."""

from __future__ import annotations

import grp
import os
import pwd
from functools import lru_cache
from typing import NamedTuple

from hotfn_core.errors import DriverError


class Account(NamedTuple):
    """Numbers to start a process with, None to leave one as it is, and the user's entry where there is one."""

    user: int | None = None
    group: int | None = None
    groups: tuple[int, ...] | None = None
    entry: pwd.struct_passwd | None = None


@lru_cache(maxsize=64)
def resolve(user: str | int | None, group: str | int | None) -> Account:
    """Look up the options `user` and `group`. Raises DriverError when they are unknown or hotfn may not use them."""
    gid = _group(group)
    if user is None:
        _may(gid in (None, os.getegid()), "group", group)
        return Account(group=gid)
    entry = _entry(user)
    uid = entry.pw_uid if entry else int(user)
    if gid is None:
        gid = entry.pw_gid if entry else None
    if gid is None:
        raise DriverError(f"user {user} is in no user database, so it has no group; set the option `group` as well")
    if os.geteuid() != 0:
        _may(uid == os.geteuid() and gid == os.getegid(), "user", user)
        return Account(entry=entry)
    return Account(uid, gid, tuple(os.getgrouplist(entry.pw_name, gid)) if entry else (gid,), entry)


def _entry(user: str | int) -> pwd.struct_passwd | None:
    try:
        return pwd.getpwnam(user) if isinstance(user, str) else pwd.getpwuid(user)
    except KeyError:
        if isinstance(user, int):
            return None
        raise DriverError(f'there is no user "{user}" on this machine') from None


def _group(group: str | int | None) -> int | None:
    if not isinstance(group, str):
        return group
    try:
        return grp.getgrnam(group).gr_gid
    except KeyError:
        raise DriverError(f'there is no group "{group}" on this machine') from None


def _may(allowed: bool, what: str, value: str | int | None) -> None:
    if not allowed and os.geteuid() != 0:
        raise DriverError(f"only root may start functions as another {what} ({value}); drop the option or run hotfn so")
