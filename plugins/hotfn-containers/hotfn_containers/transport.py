"""Requests over a unix socket, for the packages of both engines.

Their own transports leave a socket open when it cannot be connected, until somebody collects the garbage, and one of
them keeps a connection for each URL.
"""

from __future__ import annotations

import socket
import struct
from typing import Any

import requests.adapters
import urllib3.connection
import urllib3.connectionpool

from .endpoint import CONNECT_SECONDS


class UnixAdapter(requests.adapters.HTTPAdapter):
    """Sends every request of one client over one connection to `path`. Not thread-safe, as its client."""

    def __init__(self, path: str) -> None:
        super().__init__()
        self._pool = _Pool(path)

    def get_connection_with_tls_context(self, *_: Any, **__: Any) -> Any:
        return self._pool

    def get_connection(self, *_: Any, **__: Any) -> Any:
        return self._pool

    def close(self) -> None:
        self._pool.close()
        super().close()


class _Pool(urllib3.connectionpool.HTTPConnectionPool):
    def __init__(self, path: str) -> None:
        super().__init__("localhost", maxsize=1)
        self._path = path

    def _new_conn(self) -> Any:
        return _Connection(self._path)


class _Connection(urllib3.connection.HTTPConnection):
    def __init__(self, path: str) -> None:
        super().__init__("localhost")
        self._path = path

    def connect(self) -> None:
        sock = socket.socket(socket.AF_UNIX)
        try:
            # Without a timeout of Python's own: with one a queue of connections that is full is an error at once.
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, struct.pack("ll", int(CONNECT_SECONDS), 0))
            sock.connect(self._path)
            sock.settimeout(self.timeout)  # what urllib3 has made of the client's
        except BaseException:
            sock.close()
            raise
        self.sock = sock
