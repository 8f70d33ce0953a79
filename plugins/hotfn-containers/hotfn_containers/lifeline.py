"""One connection to an engine that lasts as long as the engine's service: it tells when that was restarted.

The streams of a container end when the container does and when the service does, and look the same. Who listens on the
address does not tell either: systemd holds the socket over restarts, and tcp says nothing at all.
"""

from __future__ import annotations

import asyncio
from typing import Protocol, cast

from .endpoint import Endpoint

NEAR = 1.0
"""Seconds between the end of this connection and that of streams that ended for the same reason."""


class Peer(Protocol):
    """The engine, as far as a lifeline needs it."""

    @property
    def endpoint(self) -> Endpoint: ...

    def lifeline_request(self) -> bytes:
        """Return what keeps a connection open: a request that is not answered to an end, or is not whole."""


class Lifeline:
    """The connection, made by `hold` and made again when it is gone."""

    def __init__(self, engine: Peer) -> None:
        self._engine = engine
        self._connection: _Connection | None = None
        self._making = asyncio.Lock()
        self._lost_at = float("-inf")

    async def hold(self) -> None:
        """See that there is a connection. Raises DriverUnavailable. Cancelled it leaves one, or none."""
        async with self._making:
            if self._connection is None:
                self._connection = await self._engine.endpoint.connect(lambda: _Connection(self))

    async def broke(self, when: float) -> bool:
        """Say whether the service went at that time of the loop, at which streams have ended.

        To be asked when the engine has answered since: an answer can only come from the same service, or from its next
        run, before which the old one's connections were closed.
        """
        for _ in range(2):  # that end may be seen by the loop and not told yet
            await asyncio.sleep(0)
        return self._lost_at >= when - NEAR

    async def aclose(self) -> None:
        """Hang up, and return when the descriptor is closed. Cancelled it has hung up all the same."""
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.transport.abort()
            await connection.gone.wait()

    def made(self, transport: asyncio.Transport) -> None:
        """The connection is there: keep it."""
        transport.write(self._engine.lifeline_request())

    def lost(self, connection: _Connection) -> None:
        """The connection is gone."""
        if self._connection is connection:
            self._connection = None
            self._lost_at = asyncio.get_running_loop().time()


class _Connection(asyncio.Protocol):
    """What is received is of no interest."""

    transport: asyncio.Transport

    def __init__(self, lifeline: Lifeline) -> None:
        self._lifeline = lifeline
        self.gone = asyncio.Event()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.Transport", transport)  # those of uvloop are not registered as such
        self._lifeline.made(self.transport)

    def connection_lost(self, exc: Exception | None) -> None:
        self.gone.set()
        self._lifeline.lost(self)
