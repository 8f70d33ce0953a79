"""The environment a function gets from this driver: a few variables of hotfn's own, the function's, the marker."""

from __future__ import annotations

import os
import pwd
from collections.abc import Mapping

INHERITED = ("PATH", "HOME", "USER", "LOGNAME", "LANG", "LANGUAGE", "TZ", "TMPDIR")
"""What a program needs to find others, itself and the user's language. `LC_*` passes too; nothing else does, because
the environment of a server is where its secrets are."""


def inherited(parent: Mapping[str, str], account: pwd.struct_passwd | None = None) -> dict[str, str]:
    """Return what passes from hotfn's environment to every function. A function that runs as another user gets
    that user's HOME, USER and LOGNAME."""
    env = {name: parent[name] for name in INHERITED if name in parent}
    env.update((name, value) for name, value in parent.items() if name.startswith("LC_"))
    env.setdefault("PATH", os.defpath)
    if account is not None:
        env |= {"HOME": account.pw_dir, "USER": account.pw_name, "LOGNAME": account.pw_name}
    return env
