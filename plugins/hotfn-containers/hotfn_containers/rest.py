"""What a connection still holds when it is lost."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Iterator

CHUNK = 65536


def rest_of(connection: asyncio.Transport) -> Iterator[bytes]:
    """Read what the other side sent before it hung up: a write that fails ends a connection without reading that.

    For `connection_lost` alone, while the socket is still open. At most what the kernel keeps of a connection.
    """
    number = connection.get_extra_info("socket").fileno()
    try:
        while data := os.read(number, CHUNK):
            yield data
    except OSError:  # there is no more
        return
