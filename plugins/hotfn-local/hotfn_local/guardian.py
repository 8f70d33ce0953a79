"""hotfn's side of its guardian: the process that kills what hotfn started when hotfn itself is killed."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import logging
import os
import secrets
import shutil
import subprocess
import sys
from collections.abc import Callable

from . import reaper
from .spawn import watch

_log = logging.getLogger("hotfn.local")

_CLOSE_LIMIT = 10.0
_PAUSE = 1.0


def new_runtime() -> str:
    """Return the name of a new runtime in this process; see `reaper.MARKER`."""
    pid = os.getpid()
    return f"{reaper.pid_namespace()}:{pid}:{reaper.start_time(pid)}:{secrets.token_hex(4)}"


class Table:
    """The copies that are alive, in memory that the guardian reads when hotfn is gone.

    Writing it wakes nobody. It is as long as there ever were copies at a time.
    """

    def __init__(self) -> None:
        self.fd = os.memfd_create("hotfn-table")
        self._free: list[int] = []
        self._size = 0

    def enter(self, copy: int) -> int:
        """Take a line for a copy that is about to be started, and return its number."""
        if not self._free:
            self._free.append(self._size)
            self._size += 1
        line = self._free.pop()
        self._write(line, copy, 0, 0, 0)
        return line

    def started(self, line: int, copy: int, pid: int, since: int) -> int:
        """Add the pid of the copy, which leads a process group of its own and was started after the tick `since`.
        Returns the tick before which it was.

        Its exact start time is not asked for: reading it waits until the exec is over, half a millisecond.
        """
        until = reaper.ticks()
        self._write(line, copy, pid, since, until)
        return until

    def leave(self, line: int) -> None:
        """Free the line of a copy that has ended."""
        self._write(line, 0, 0, 0, 0)
        self._free.append(line)

    def close(self) -> None:
        os.close(self.fd)
        self.fd = -1

    def _write(self, line: int, *entry: int) -> None:
        if self.fd >= 0:  # a copy that could not be ended may end after its driver
            os.pwrite(self.fd, reaper.ENTRY.pack(*entry), line * reaper.ENTRY.size)


class Entry:
    """A process that the guardian knows of, from before it is started until it has ended."""

    def __init__(self, guardian: Guardian) -> None:
        self.since = self.until = reaper.ticks()
        self.pid = 0
        self._copy = next(guardian.numbers)
        self._guardian = guardian
        self._line = guardian.table.enter(self._copy)

    @property
    def marker(self) -> tuple[str, str]:
        """The variable that is in the environment of the process."""
        return reaper.MARKER, f"{self._guardian.runtime}:{self._copy}"

    def started(self, pid: int, since: int | None = None) -> None:
        """The process is there, and leads a group. `since`: the tick after which it was forked, if that was ahead."""
        self.pid = pid
        self.since = self.since if since is None else since
        self.until = self._guardian.table.started(self._line, self._copy, pid, self.since)

    def leads(self) -> bool:
        """Say whether its pid, if it has ended, is still the number of its group and of no other."""
        return reaper.leads(self.pid, self.since, self.until)

    def ended(self) -> None:
        """The process has ended; what left its group is looked for."""
        self.cancelled()
        self._guardian.copy_ended()

    def cancelled(self) -> None:
        """It was not started."""
        self._guardian.table.leave(self._line)


class Guardian:
    """One guardian process per driver, started with the first copy, restarted when somebody kills it."""

    def __init__(self, runtime: str) -> None:
        self.runtime = runtime
        self.table = Table()
        self.numbers = itertools.count(1)
        self._process: subprocess.Popen[bytes] | None = None
        self._pipe = -1
        self._pidfd = -1
        self._ended: asyncio.Future[None] | None = None
        self._closing = False
        self._timers: dict[str, asyncio.TimerHandle] = {}

    @property
    def pid(self) -> int | None:
        """The guardian's pid while it runs."""
        return self._process.pid if self._process else None

    def enter(self) -> Entry:
        """Enter a process that is about to be started: before it exists, see `reaper.Guardian._strays`."""
        self.ensure()
        return Entry(self)

    def ensure(self) -> None:
        """Start the guardian unless it runs. Takes a millisecond; it boots on its own."""
        if self._process is None and not self._closing:
            self._start()

    def copy_ended(self) -> None:
        """Let the guardian look, in a while, for what left the group of its copy."""
        self._later("strays", self._look_for_strays)

    def _look_for_strays(self) -> None:
        self._tell(reaper.COPY_ENDED)

    def _later(self, name: str, action: Callable[[], None]) -> None:
        """Do it after a pause, once for all who ask meanwhile."""

        def due() -> None:
            del self._timers[name]
            action()

        if name not in self._timers and not self._closing:  # the pipe is closed then, and its number is anybody's
            self._timers[name] = asyncio.get_running_loop().call_later(_PAUSE, due)

    async def close(self) -> None:
        """Send the guardian home and wait for it. Nothing that carries the marker lives afterwards. Idempotent."""
        if self._closing:
            return
        self._closing = True
        for timer in self._timers.values():
            timer.cancel()
        try:
            if self._ended:
                self._tell(reaper.GOODBYE)
                os.close(self._pipe)
                await self._wait(self._ended)
        finally:
            self.table.close()

    async def _wait(self, ended: asyncio.Future[None]) -> None:
        try:
            await asyncio.wait_for(asyncio.shield(ended), _CLOSE_LIMIT)
        except TimeoutError:
            assert self._process
            _log.warning("the guardian of hotfn did not end in %g s and is killed", _CLOSE_LIMIT)
            self._process.kill()
            await ended

    def _start(self) -> None:
        reading, self._pipe = os.pipe()
        os.set_blocking(self._pipe, False)
        try:
            process = self._spawn(reading)
            self._pidfd = watch(process)
        except OSError as error:
            os.close(self._pipe)
            _log.warning("hotfn has no guardian, functions outlive it if it is killed: %s", error)
            return
        finally:
            os.close(reading)
        loop = asyncio.get_running_loop()
        self._process, self._ended = process, loop.create_future()
        loop.add_reader(self._pidfd, self._gone, loop)

    def _spawn(self, stdin: int) -> subprocess.Popen[bytes]:
        python = _python()
        return subprocess.Popen(
            [python, "-I", "-S", reaper.__file__, str(self.table.fd), self.runtime],
            stdin=stdin,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            pass_fds=(self.table.fd,),
            start_new_session=True,
            cwd="/",
            env={},  # above all no marker of a hotfn around this one, which would kill the guardian with its function
        )

    def _gone(self, loop: asyncio.AbstractEventLoop) -> None:
        assert self._process
        assert self._ended
        loop.remove_reader(self._pidfd)
        os.close(self._pidfd)
        self._process.wait()
        self._process = None
        self._ended.set_result(None)
        if not self._closing:
            self._ended = None
            os.close(self._pipe)
            _log.warning("the guardian of hotfn was killed; another one is started")
            self._later("restart", self.ensure)

    def _tell(self, what: bytes) -> None:
        if self._process:
            with contextlib.suppress(BlockingIOError, BrokenPipeError):  # it is told already, or `_gone` follows
                os.write(self._pipe, what)


def _python() -> str:
    """Return a Python to run the guardian with; a frozen program is none."""
    if sys.executable and not getattr(sys, "frozen", False):
        return sys.executable
    found = shutil.which("python3")
    if not found:
        raise FileNotFoundError("there is no python3 in the PATH")
    return found
