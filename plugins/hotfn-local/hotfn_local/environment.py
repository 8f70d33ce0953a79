"""The environment a function gets from this driver: a few variables of hotfn's own, the function's, the marker."""

from __future__ import annotations

import os
import pwd
from collections.abc import Mapping

INHERITED = ("PATH", "HOME", "USER", "LOGNAME", "LANG", "LANGUAGE", "TZ", "TMPDIR")
"""What a program needs to find others, itself and the user's language. `LC_*` passes too; nothing else does, because
the environment of a server is where its secrets are."""


def inherited(parent: Mapping[str, str]) -> dict[str, str]:
    """Return what passes from hotfn's own environment to every function."""
    env = {name: value for name, value in parent.items() if name in INHERITED or name.startswith("LC_")}
    return {"PATH": os.defpath} | env


def of_user(entry: pwd.struct_passwd | None) -> dict[str, str]:
    """Return what is different for a function that runs as another user."""
    return {"HOME": entry.pw_dir, "USER": entry.pw_name, "LOGNAME": entry.pw_name} if entry else {}
