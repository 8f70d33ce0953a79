"""Who is measured on an engine of containers: hotfn, and what one would write by hand against the engine's API.

Both sides start the same image with the same limits; the bare side sends what hotfn's drivers would send.
"""

from __future__ import annotations

import asyncio
import http.client
import json
import os
import socket
import time
from collections.abc import Callable, Mapping
from typing import Any, ClassVar, NamedTuple

from contenders import BODY, reply_of, request_of

from hotfn_containers.docker_engine import host_config
from hotfn_containers.options import Options
from hotfn_containers.plan import make_plan
from hotfn_containers.podman_engine import may_give, specification
from hotfn_core import FunctionSpec, InstanceChange, Manager, hookimpl
from hotfn_core.driver import ContainerSpec

Fields = Mapping[str, Any]
NewLoop = Callable[[], asyncio.AbstractEventLoop]
HEADER = 8  # of a frame of an attached container's output


class Where(NamedTuple):
    """An engine and the image with the echo guest."""

    engine: str
    socket: str
    image: str


class Api:
    """An engine's API over its socket: one kept-alive connection, and one for each attached container."""

    def __init__(self, where: Where) -> None:
        self._where = where
        self._spec = ContainerSpec(
            function="bench/echo", instance="bench", identity="", image=where.image, env={"FN_FORMAT": "http"}
        )
        self._prefix = "/v1.41" if where.engine == "docker" else "/v4.0.0/libpod"
        self._http = http.client.HTTPConnection("engine")
        self._http.sock = self._connect()

    def _connect(self) -> socket.socket:
        sock = socket.socket(socket.AF_UNIX)
        sock.connect(self._where.socket)
        return sock

    def __call__(self, method: str, path: str, body: Any = None) -> Any:
        data = None if body is None else json.dumps(body)
        self._http.request(method, self._prefix + path, data, {"Content-Type": "application/json"})
        answer = self._http.getresponse()
        text = answer.read()
        assert answer.status < 400, (path, answer.status, text)
        return json.loads(text) if text else None

    def create(self) -> str:
        """Create a container as hotfn does, and return its id."""
        plan = make_plan(self._spec, Options())
        if self._where.engine == "docker":
            body: dict[str, Any] = {"Image": plan.image, "Env": ["FN_FORMAT=http"], "User": plan.options.user}
            body |= {"OpenStdin": True, "StdinOnce": True, "HostConfig": host_config(plan)}
        else:
            body = specification(plan, may_give(peer(self._http.sock)))
        return str(self("POST", "/containers/create", body)["Id"])

    def attach(self, container: str) -> socket.socket:
        """Attach the three streams."""
        sock = self._connect()
        path = f"{self._prefix}/containers/{container}/attach?stream=1&stdin=1&stdout=1&stderr=1&detachKeys="
        head = (
            f"POST {path} HTTP/1.1\r\nHost: engine\r\nConnection: Upgrade\r\nUpgrade: tcp\r\nContent-Length: 0\r\n\r\n"
        )
        sock.sendall(head.encode())
        answer = b""
        while not answer.endswith(b"\r\n\r\n"):
            answer += sock.recv(1)
        assert b" 101 " in answer, answer
        return sock

    def begin(self) -> tuple[str, socket.socket]:
        """Create, attach, start."""
        container = self.create()
        streams = self.attach(container)
        self("POST", f"/containers/{container}/start")
        return container, streams

    def remove(self, container: str) -> None:
        """Kill and remove."""
        self("DELETE", f"/containers/{container}?force=true&v=true")

    def close(self) -> None:
        self._http.close()


def peer(sock: Any) -> int:
    """Return the pid of who listens."""
    return int.from_bytes(sock.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12)[:4], "little")


def call(streams: socket.socket, request: bytes, wanted: int) -> None:
    """One call over the attached streams, blocking: the reply may come in any number of frames."""
    streams.sendall(request)
    got = streams.recv(65536)
    while payload(got) < wanted:
        got += streams.recv(65536)


def payload(data: bytes) -> int:
    """Return how many bytes of payload these frames hold so far."""
    at = size = 0
    while at + HEADER <= len(data):
        length = int.from_bytes(data[at + 4 : at + HEADER], "big")
        size += min(length, len(data) - at - HEADER)
        at += HEADER + length
    return size


class BareHot:
    """The floor: a blocking ping-pong over the attached streams."""

    def __init__(self, where: Where) -> None:
        self._api = Api(where)
        self._container, self._streams = self._api.begin()
        self._request, self._wanted = request_of("http"), len(reply_of("http"))

    def calls(self, count: int) -> float:
        begin = time.perf_counter()
        for _ in range(count):
            call(self._streams, self._request, self._wanted)
        return (time.perf_counter() - begin) / count

    def close(self) -> None:
        self._streams.close()
        self._api.remove(self._container)
        self._api.close()


class BareFrozen(BareHot):
    """unpause and a ping-pong; the pause before it is not timed."""

    def calls(self, count: int) -> float:
        spent = 0.0
        for _ in range(count):
            self._api("POST", f"/containers/{self._container}/pause")
            begin = time.perf_counter()
            self._api("POST", f"/containers/{self._container}/unpause")
            call(self._streams, self._request, self._wanted)
            spent += time.perf_counter() - begin
        return spent / count


class BareCold:
    """create, attach, start, one call; the removal is not timed."""

    def __init__(self, where: Where) -> None:
        self._api = Api(where)
        self._request, self._wanted = request_of("http"), len(reply_of("http"))

    def calls(self, count: int) -> float:
        spent = 0.0
        for _ in range(count):
            begin = time.perf_counter()
            container, streams = self._api.begin()
            call(streams, self._request, self._wanted)
            spent += time.perf_counter() - begin
            streams.close()
            self._api.remove(container)
        return spent / count

    def close(self) -> None:
        self._api.close()


class EngineHot:
    """`Manager.call` on a copy that is hot."""

    fields: ClassVar[Fields] = {"idle_timeout": 300}
    options: ClassVar[Fields] = {}
    wire: ClassVar[str] = "http"

    def __init__(self, where: Where, new_loop: NewLoop) -> None:
        os.environ["DOCKER_HOST" if where.engine == "docker" else "CONTAINER_HOST"] = f"unix://{where.socket}"
        self._loop = new_loop()
        self._states: dict[str, asyncio.Event] = {name: asyncio.Event() for name in ("gone", "frozen")}
        self._manager = self._loop.run_until_complete(Manager(plugins=[self]).__aenter__())
        fields = {"driver": where.engine, "image": where.image, "driver_options": self.options, **self.fields}
        self._spec = FunctionSpec(name="echo", format=self.wire, **fields)
        self._loop.run_until_complete(self._manager.open(self._spec))

    @hookimpl
    def hotfn_instance_changed(self, change: InstanceChange) -> None:
        if change.state in self._states:
            self._states[change.state].set()

    def calls(self, count: int) -> float:
        return self._loop.run_until_complete(self._calls(count))

    async def _calls(self, count: int) -> float:
        begin = time.perf_counter()
        for _ in range(count):
            reply = await self._manager.call(self._spec, BODY)
            assert reply.body == BODY
        return (time.perf_counter() - begin) / count

    def close(self) -> None:
        self._loop.run_until_complete(self._manager.aclose())
        self._loop.close()


class EngineListening(EngineHot):
    """The same over a socket in a directory that the copy shares with hotfn. The guest reads and writes the same."""

    wire: ClassVar[str] = "http-stream"


class EngineCold(EngineHot):
    """A start for each call. The copies' ends are waited for and not timed, nor is the removal of their containers."""

    fields: ClassVar[Fields] = {"idle_timeout": 0, "stop_grace": 0.0}

    async def _calls(self, count: int) -> float:
        spent = 0.0
        for _ in range(count):
            self._states["gone"].clear()
            begin = time.perf_counter()
            reply = await self._manager.call(self._spec, BODY)
            spent += time.perf_counter() - begin
            assert reply.cold
            await self._states["gone"].wait()
            await asyncio.sleep(SETTLE)
        return spent / count


SETTLE = 0.15
"""Seconds until a container is removed, and until the next one is ready where some are made ready ahead."""


class EnginePrepared(EngineCold):
    """The same with containers that are made ready ahead."""

    options: ClassVar[Fields] = {"prepared": 2}


class EngineFrozen(EngineHot):
    """A call to a copy that is frozen."""

    fields: ClassVar[Fields] = {"idle_timeout": 300, "freeze_after": 0}

    async def _calls(self, count: int) -> float:
        spent = 0.0
        for _ in range(count):
            self._states["frozen"].clear()
            begin = time.perf_counter()
            reply = await self._manager.call(self._spec, BODY)
            spent += time.perf_counter() - begin
            assert reply.body == BODY
            await self._states["frozen"].wait()
            await asyncio.sleep(FROZEN)
        return spent / count


FROZEN = 0.05
"""Seconds from the decision to freeze a copy until the engine has done it."""
