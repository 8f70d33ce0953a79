"""Reading and writing descriptors without ever blocking the event loop.

A thread does the blocking call. stdin, stdout and stderr are open files that hotfn shares with the shell and with
its neighbours in a pipeline: making them non-blocking would change them under those processes' feet, and epoll does
not take regular files. The threads are daemons: a read or write that never returns must not hold up the exit.
"""

from __future__ import annotations

import asyncio
import os
import select
from collections.abc import Callable
from queue import SimpleQueue
from threading import Thread
from typing import Any

CHUNK = 64 * 1024


class _Worker:
    """A daemon thread that takes jobs and posts results to the loop that made it."""

    def __init__(self, name: str) -> None:
        self._loop = asyncio.get_running_loop()
        self._jobs: SimpleQueue[Any] = SimpleQueue()
        Thread(target=self._run, name=name, daemon=True).start()

    def close(self) -> None:
        """Let the thread end when it has done what it was asked. Idempotent."""
        self._jobs.put(None)

    def _run(self) -> None:
        while (job := self._jobs.get()) is not None:
            callback, result = self._work(job)
            try:
                self._loop.call_soon_threadsafe(callback, result)
            except RuntimeError:  # the loop is closed: nobody waits for this any more
                return

    def _work(self, job: Any) -> tuple[Callable[[Any], None], Any]:
        raise NotImplementedError


class Reader(_Worker):
    """Reads a chunk whenever it is asked, so that what is not asked for stays in the pipe.

    `deliver` is called on the loop once for each `ask`, with the bytes (none at the end) or the OSError.
    """

    def __init__(self, fd: int, deliver: Callable[[bytes | OSError], None]) -> None:
        self._fd = fd
        self._deliver = deliver
        super().__init__("hotfn-input")

    def ask(self) -> None:
        """Have the next chunk read."""
        self._jobs.put(CHUNK)

    def _work(self, job: int) -> tuple[Callable[[Any], None], bytes | OSError]:
        while True:
            try:
                return self._deliver, os.read(self._fd, job)
            except BlockingIOError:  # a neighbour made it non-blocking
                select.select([self._fd], [], [])
            except OSError as error:
                return self._deliver, error


class Writer(_Worker):
    """Writes whole pieces. `done` is called on the loop once for each, with None or the OSError."""

    def __init__(self, fd: int, done: Callable[[OSError | None], None]) -> None:
        self._fd = fd
        self._done = done
        super().__init__("hotfn-output")

    def write(self, data: bytes) -> None:
        """Have `data` written."""
        self._jobs.put(data)

    def _work(self, job: bytes) -> tuple[Callable[[Any], None], OSError | None]:
        view = memoryview(job)
        while view:
            try:
                view = view[os.write(self._fd, view) :]
            except BlockingIOError:  # a neighbour made it non-blocking
                select.select([], [self._fd], [])
            except OSError as error:
                return self._done, error
        return self._done, None


class Watcher(_Worker):
    """Tells when the reader of a pipe has gone, also while nothing is written to it. Files and terminals stay.

    `gone` is called on the loop, at most once. `close` ends the watching.
    """

    def __init__(self, fd: int, gone: Callable[[], None]) -> None:
        self._fd = fd
        self._gone = gone
        self._stop, self._stopper = os.pipe()
        super().__init__("hotfn-watch")
        self._jobs.put(True)
        self._jobs.put(None)

    def close(self) -> None:
        os.close(self._stopper)

    def _work(self, job: bool) -> tuple[Callable[[Any], None], bool]:
        poll = select.poll()
        # No events are asked for: what is left to be told is that the other end is closed.
        poll.register(self._fd, 0)
        poll.register(self._stop, 0)
        ready = [fd for fd, _ in poll.poll()]
        os.close(self._stop)
        return self._told, self._stop not in ready

    def _told(self, gone: bool) -> None:
        if gone:
            self._gone()
