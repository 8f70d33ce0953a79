"""The directory that a copy shares with hotfn: where it is in a container, and who can have one."""

from __future__ import annotations

from pathlib import Path

from hotfn_core.errors import DriverError

from .endpoint import Endpoint
from .options import Options

SHARED_AT = "/tmp/iofs"
"""Where a copy sees it, which is where functions for Fn have always had it."""

OPEN = 0o777
"""Its mode: whoever the container runs as writes there. Nobody else gets at it, as the one around it is 0700."""


NOT_AHEAD = (
    "each copy of this function gets a directory of its own, which there is not yet when a container is made ahead"
)
"""Why such functions have no use for `prepared`."""


def check_sharing(endpoint: Endpoint, options: Options) -> None:
    """Raise DriverError for a function whose copies cannot share a directory with hotfn."""
    if not endpoint.unix:
        raise DriverError(
            f"{endpoint.engine} at {endpoint.url} may be on another machine, and copies of this function listen on a "
            f"socket that hotfn must reach: take an engine whose socket is here (unix://), or a format that does with "
            f"stdin and stdout",
            status=400,
        )
    for one in options.mounts:
        if f"{one.target}/".startswith(f"{SHARED_AT}/"):
            raise DriverError(
                f"driver_options: mounts has {one.target}, where copies of this function listen", status=400
            )


def open_up(shared: str) -> None:
    """Let whoever the copy runs as write to its directory. Raises DriverError."""
    try:
        Path(shared).chmod(OPEN)
    except OSError as error:
        raise DriverError(f"cannot open {shared}, where a copy is to listen: {error.strerror}") from error
