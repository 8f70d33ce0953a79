"""The socket of one copy, as hotfn finds it in the copy's directory."""

from __future__ import annotations

import os
import socket
import stat

from ..errors import DriverError

_LOOK = os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC


class Door:
    """Where a copy is to listen. `name` is the socket's own, or that of a link to it in the same directory.

    The directory is the function's to write to, so it may hold anything: what is looked at is what is connected to.
    """

    __slots__ = ("_directory", "_name")

    def __init__(self, directory: str, name: str) -> None:
        self._directory = directory
        self._name = name

    def knock(self) -> int:
        """Connect, without waiting, and return the connection's descriptor, which does not block.

        Raises FileNotFoundError when there is no socket yet, ConnectionRefusedError when nobody listens on it,
        PermissionError when its mode keeps us out, BlockingIOError when too many wait for it, and DriverError for what
        can never become a connection.
        """
        found = self._find()
        try:
            return _connected(f"/proc/self/fd/{found}")
        except (ConnectionRefusedError, PermissionError, BlockingIOError):
            raise
        except OSError as error:
            raise DriverError(f"its socket {self._name} cannot be connected to: {error.strerror}") from error
        finally:
            os.close(found)

    def _find(self) -> int:
        """Return a descriptor of the socket itself."""
        directory = os.open(self._directory, _LOOK | os.O_DIRECTORY)
        try:
            found = os.open(self._name, _LOOK, dir_fd=directory)
            if stat.S_ISLNK(os.fstat(found).st_mode):
                os.close(found)
                found = os.open(self._target(directory), _LOOK, dir_fd=directory)
        finally:
            os.close(directory)
        if not stat.S_ISSOCK(os.fstat(found).st_mode):
            os.close(found)
            raise DriverError(f"{self._name}, where it should listen, is no socket")
        return found

    def _target(self, directory: int) -> str:
        target = os.readlink(self._name, dir_fd=directory)
        if "/" in target or target in {".", ".."}:
            raise DriverError(
                f"{self._name}, where it should listen, is a link to {target!r}: only a socket in the same directory, "
                "named without a path, is connected to"
            )
        return target


def _connected(path: str) -> int:
    connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
    try:
        connection.connect(path)
    except BaseException:
        connection.close()
        raise
    return connection.detach()
