"""What people use instead: each runs the same echo, one call after another, or all of a round at once.

The packages are installed where the whole suite runs, and are imported only there.
"""

from __future__ import annotations

import http.client
import importlib
import multiprocessing
import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from concurrent.futures import Future
from pathlib import Path
from typing import Any

from contenders import BODY, echo

HERE = Path(__file__).parent
PATIENCE = 20.0
"""Seconds that a server has for its start."""


class MultiprocessingPool:
    """`multiprocessing.Pool`: `apply`, or `map` piece by piece for all at once."""

    def __init__(self, workers: int, *, at_once: bool = False) -> None:
        self._pool = multiprocessing.get_context("fork").Pool(workers)
        self._at_once = at_once

    def calls(self, count: int) -> float:
        begin = time.perf_counter()
        if self._at_once:
            assert len(self._pool.map(echo, [BODY] * count, chunksize=1)) == count
        else:
            for _ in range(count):
                assert self._pool.apply(echo, (BODY,)) == BODY
        return (time.perf_counter() - begin) / count

    def close(self) -> None:
        self._pool.terminate()
        self._pool.join()


class Futures:
    """A pool whose calls are futures: one after another, or all of a round submitted before the first is waited for."""

    def __init__(self, submit: Callable[[bytes], Future[bytes]], end: Callable[[], None], *, at_once: bool) -> None:
        self._submit = submit
        self._at_once = at_once
        self.close = end

    def calls(self, count: int) -> float:
        begin = time.perf_counter()
        if self._at_once:
            waiting = [self._submit(BODY) for _ in range(count)]
            assert all(one.result() == BODY for one in waiting)
        else:
            for _ in range(count):
                assert self._submit(BODY).result() == BODY
        return (time.perf_counter() - begin) / count


def pebble(workers: int, *, at_once: bool = False) -> Futures:
    pool: Any = importlib.import_module("pebble").ProcessPool(max_workers=workers)

    def end() -> None:
        pool.stop()
        pool.join()

    return Futures(lambda body: pool.schedule(echo, args=[body]), end, at_once=at_once)


def loky(workers: int, *, at_once: bool = False) -> Futures:
    pool: Any = importlib.import_module("loky").ProcessPoolExecutor(workers)
    return Futures(lambda body: pool.submit(echo, body), lambda: pool.shutdown(kill_workers=True), at_once=at_once)


class FunctionsFramework:
    """`functions-framework` behind its own server, called over loopback on a connection that is kept."""

    def __init__(self) -> None:
        self._port = free_port()
        program = Path(sys.executable).with_name("functions-framework")
        argv: list[str | Path] = [program, "--source", HERE / "framework_echo.py", "--target", "echo"]
        self._server = subprocess.Popen(
            [*argv, "--host", "127.0.0.1", "--port", str(self._port)],
            env=os.environ | {"WORKERS": "1"},
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        self._connection = http.client.HTTPConnection("127.0.0.1", self._port)
        self._wait()

    def _wait(self) -> None:
        end = time.monotonic() + PATIENCE
        while True:
            try:
                self._call()
            except OSError:
                self._connection.close()
                if time.monotonic() > end or self._server.poll() is not None:
                    raise
                time.sleep(0.05)
            else:
                return

    def calls(self, count: int) -> float:
        self._connection.close()  # the server closes what is idle for two seconds: each round has a fresh one
        self._call()
        begin = time.perf_counter()
        for _ in range(count):
            assert self._call() == BODY
        return (time.perf_counter() - begin) / count

    def _call(self) -> bytes:
        self._connection.request("POST", "/", BODY, {"Content-Type": "application/octet-stream"})
        return self._connection.getresponse().read()

    def close(self) -> None:
        self._connection.close()
        self._server.terminate()
        self._server.wait(10)


class SubprocessRun:
    """`subprocess.run` for each call."""

    def __init__(self, guest: Path) -> None:
        self._guest = guest

    def calls(self, count: int) -> float:
        begin = time.perf_counter()
        for _ in range(count):
            done = subprocess.run([self._guest], input=BODY, stdout=subprocess.PIPE, check=True)
            assert done.stdout == BODY
        return (time.perf_counter() - begin) / count

    def close(self) -> None: ...


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port: int = server.getsockname()[1]
        return port
