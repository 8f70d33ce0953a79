"""Whoever is measured: each keeps its own guests and answers `calls(n)` with the seconds that one call took."""

from __future__ import annotations

import asyncio
import contextlib
import os
import subprocess
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any, Protocol

from hotfn_core import Call, FunctionSpec, InstanceChange, Limits, Manager, blocking, hookimpl
from hotfn_core.registry import Registry

BODY = b"x" * 200


class Contender(Protocol):
    """One way to have a function called."""

    def calls(self, count: int) -> float: ...

    def close(self) -> None: ...


def request_of(protocol: str, body: bytes = BODY) -> bytes:
    """Return the very bytes that hotfn sends, so that the guest has the same work on both sides."""
    connection = Registry().protocol(protocol).connect(Limits())
    encoded = connection.encode(Call("0" * 26, body), time.time() + 30)
    return encoded if isinstance(encoded, bytes) else b"".join(encoded)


def reply_of(protocol: str, body: bytes = BODY) -> bytes:
    """Return the bytes that the guest answers."""
    if protocol == "json":
        return b'{"body":"%b"}\n' % body
    return b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body)


class PingPong:
    """The floor: blocking os.write and os.read over two pipes, one call after another."""

    def __init__(self, guest: Path, protocol: str = "http") -> None:
        self._process = start(guest, protocol)
        self._request, self._reply = request_of(protocol), reply_of(protocol)

    def calls(self, count: int) -> float:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        stdin, stdout = self._process.stdin.fileno(), self._process.stdout.fileno()
        request, wanted = self._request, len(self._reply)
        begin = time.perf_counter()
        for _ in range(count):
            os.write(stdin, request)
            got = len(os.read(stdout, 65536))
            while got < wanted:
                got += len(os.read(stdout, 65536))
        return (time.perf_counter() - begin) / count

    def close(self) -> None:
        end(self._process)


class BareLoop:
    """The floor of an event loop: a future for each call, os.write, a reader's callback, os.read, and nothing else."""

    def __init__(self, guest: Path, new_loop: Callable[[], asyncio.AbstractEventLoop]) -> None:
        self._loop = new_loop()
        self._process = start(guest)
        self._request, self._reply = request_of("http"), reply_of("http")

    def calls(self, count: int) -> float:
        return self._loop.run_until_complete(self._call(count))

    async def _call(self, count: int) -> float:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        stdin, stdout = self._process.stdin.fileno(), self._process.stdout.fileno()
        future: asyncio.Future[bytes]

        def readable() -> None:
            future.set_result(os.read(stdout, 65536))

        self._loop.add_reader(stdout, readable)
        begin = time.perf_counter()
        for _ in range(count):
            future = self._loop.create_future()
            os.write(stdin, self._request)
            assert await future == self._reply
        spent = time.perf_counter() - begin
        self._loop.remove_reader(stdout)
        return spent / count

    def close(self) -> None:
        end(self._process)
        self._loop.close()


class Hot:
    """`Manager.call` on a copy that is hot: one caller, or several at once."""

    def __init__(
        self,
        guest: Path,
        new_loop: Callable[[], asyncio.AbstractEventLoop],
        protocol: str = "http",
        *,
        callers: int = 1,
        copies: int = 1,
    ) -> None:
        self._loop = new_loop()
        self._callers = callers
        self._manager = self._loop.run_until_complete(Manager().__aenter__())
        self._spec = FunctionSpec(name="echo", command=(str(guest),), format=protocol, max_concurrency=copies)

    def calls(self, count: int) -> float:
        return self._loop.run_until_complete(self._call(count))

    async def _call(self, count: int) -> float:
        begin = time.perf_counter()
        if self._callers == 1:
            await self._caller(count)
        else:
            await asyncio.gather(*(self._caller(count // self._callers) for _ in range(self._callers)))
        return (time.perf_counter() - begin) / count

    async def _caller(self, count: int) -> None:
        call, spec = self._manager.call, self._spec
        for _ in range(count):
            reply = await call(spec, BODY)
            assert reply.body == BODY

    def close(self) -> None:
        self._loop.run_until_complete(self._manager.aclose())
        self._loop.close()


class Blocking:
    """`hotfn_core.blocking.Manager.call` on a copy that is hot: one caller, who waits."""

    def __init__(self, guest: Path) -> None:
        self._manager = blocking.Manager().__enter__()
        self._spec = FunctionSpec(name="echo", command=(str(guest),), format="http")

    def calls(self, count: int) -> float:
        call, spec = self._manager.call, self._spec
        begin = time.perf_counter()
        for _ in range(count):
            assert call(spec, BODY).body == BODY
        return (time.perf_counter() - begin) / count

    def close(self) -> None:
        self._manager.close()


class BlockingPool:
    """`Manager.executor` with one copy: what `ProcessPoolExecutor` is used for, in the same way."""

    def __init__(self) -> None:
        self._manager = blocking.Manager().__enter__()
        self._pool = self._manager.executor(FunctionSpec(name="work", command=blocking.PYTHON, format="http"))

    def calls(self, count: int) -> float:
        begin = time.perf_counter()
        for _ in range(count):
            assert self._pool.submit(bytes, BODY).result() == BODY
        return (time.perf_counter() - begin) / count

    def close(self) -> None:
        self._pool.shutdown()
        self._manager.close()


class Cold:
    """`Manager.call` with a start for each call. The copies' ends are waited for between calls and not timed."""

    def __init__(
        self,
        command: tuple[str, ...],
        new_loop: Callable[[], asyncio.AbstractEventLoop],
        protocol: str,
        **driver_options: object,
    ) -> None:
        self._loop = new_loop()
        self._gone = asyncio.Event()
        self._manager = self._loop.run_until_complete(Manager(plugins=[self]).__aenter__())
        self._spec = FunctionSpec(
            name="echo", command=command, format=protocol, idle_timeout=0, driver_options=driver_options
        )

    @hookimpl
    def hotfn_instance_changed(self, change: InstanceChange) -> None:
        if change.state == "gone":
            self._gone.set()

    def calls(self, count: int) -> float:
        return self._loop.run_until_complete(self._call(count))

    async def _call(self, count: int) -> float:
        spent = 0.0
        for _ in range(count):
            self._gone.clear()
            begin = time.perf_counter()
            reply = await self._manager.call(self._spec, BODY)
            spent += time.perf_counter() - begin
            assert reply.cold
            assert reply.body == BODY
            await self._gone.wait()
        return spent / count

    def close(self) -> None:
        self._loop.run_until_complete(self._manager.aclose())
        self._loop.close()


class PopenHttp:
    """`subprocess.Popen`, one request, its reply; the end of the process is not timed."""

    def __init__(self, guest: Path) -> None:
        self._guest = guest
        self._request, self._reply = request_of("http"), reply_of("http")

    def calls(self, count: int) -> float:
        spent = 0.0
        for _ in range(count):
            begin = time.perf_counter()
            process = start(self._guest)
            assert process.stdin is not None
            assert process.stdout is not None
            os.write(process.stdin.fileno(), self._request)
            got = b""
            while len(got) < len(self._reply):
                got += os.read(process.stdout.fileno(), 65536)
            spent += time.perf_counter() - begin
            assert got == self._reply
            end(process)
        return spent / count

    def close(self) -> None: ...


class PopenDefault:
    """`subprocess.Popen` and `communicate`: stdin, its end, stdout, and the exit status, which makes it a reply."""

    def __init__(self, guest: Path) -> None:
        self._guest = guest

    def calls(self, count: int) -> float:
        begin = time.perf_counter()
        for _ in range(count):
            process = subprocess.Popen(
                [self._guest], stdin=subprocess.PIPE, stdout=subprocess.PIPE, env={"FN_FORMAT": "default"}
            )
            output, _ = process.communicate(BODY)
            assert (output, process.returncode) == (BODY, 0)
        return (time.perf_counter() - begin) / count

    def close(self) -> None: ...


def echo(body: bytes) -> bytes:
    """What the process pool runs."""
    return body


class Pool:
    """`ProcessPoolExecutor`, the pool that everybody has: one call after another, or as many at once as it likes."""

    def __init__(self, workers: int, *, at_once: bool = False) -> None:
        self._pool = ProcessPoolExecutor(workers)
        self._at_once = at_once

    def calls(self, count: int) -> float:
        begin = time.perf_counter()
        if self._at_once:
            replies = list(self._pool.map(echo, [BODY] * count))
            assert len(replies) == count
        else:
            for _ in range(count):
                assert self._pool.submit(echo, BODY).result() == BODY
        return (time.perf_counter() - begin) / count

    def close(self) -> None:
        self._pool.shutdown()


class PoolCallers:
    """`ProcessPoolExecutor` under an event loop, with as many callers as hotfn has: each waits for its reply."""

    def __init__(self, workers: int, new_loop: Callable[[], asyncio.AbstractEventLoop], *, callers: int) -> None:
        self._pool = ProcessPoolExecutor(workers)
        self._loop = new_loop()
        self._callers = callers

    def calls(self, count: int) -> float:
        begin = time.perf_counter()
        self._loop.run_until_complete(self._call(count // self._callers))
        return (time.perf_counter() - begin) / count

    async def _call(self, count: int) -> None:
        await asyncio.gather(*(self._caller(count) for _ in range(self._callers)))

    async def _caller(self, count: int) -> None:
        for _ in range(count):
            assert await self._loop.run_in_executor(self._pool, echo, BODY) == BODY

    def close(self) -> None:
        self._pool.shutdown()
        self._loop.close()


class Command:
    """A program from its start to its end, far from the checkout: what is installed is measured."""

    def __init__(self, *argv: str) -> None:
        self._argv = argv

    def calls(self, count: int) -> float:
        begin = time.perf_counter()
        for _ in range(count):
            subprocess.run(self._argv, cwd="/", check=True, stdout=subprocess.DEVNULL)
        return (time.perf_counter() - begin) / count

    def close(self) -> None: ...


def start(guest: Path, protocol: str = "http") -> subprocess.Popen[bytes]:
    """Start a guest with unbuffered pipes."""
    return subprocess.Popen(
        [guest], stdin=subprocess.PIPE, stdout=subprocess.PIPE, bufsize=0, env={"FN_FORMAT": protocol}
    )


def end(process: subprocess.Popen[Any]) -> None:
    """Close a guest's pipes and wait for it."""
    for pipe in (process.stdin, process.stdout):
        if pipe is not None:
            with contextlib.suppress(BrokenPipeError):
                pipe.close()
    process.wait(10)
