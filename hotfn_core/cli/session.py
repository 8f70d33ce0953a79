"""One `hotfn run` on the event loop: a manager, a pipeline, signals, and the exit status."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import os
import signal
import stat
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from hotfn_core.manager import Manager
from hotfn_core.model import FunctionSpec

from . import progress
from .common import EXIT_FAILED, EXIT_UNAVAILABLE, EXIT_USAGE
from .formats import LineBody, headed, json_line, raw_body
from .hosting import DRAIN_LIMIT, STDERR, STDIN, STDOUT, WRITE_LIMIT, handling_signals, run_on_loop
from .messages import FunctionStderr, Messages
from .pipeline import CannotStart, Pipeline
from .source import InputError, Lines, Repeated, Source, read_body
from .tally import Tally
from .texts import calls_text


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What `hotfn run`, or `hotfn call`, was asked to do."""

    spec: FunctionSpec
    max_starting: Mapping[str, int] = field(default_factory=dict)
    body: bytes | None = field(default=None, repr=False)  # None: that of `input`, and without one of stdin
    input: Path | None = None
    each_line: bool = False
    calls: int = 1
    parallel: int = 1
    jsonl: bool = False
    head: bool = False
    stats: bool = False
    stderr: str = "show"
    # What Manager.call gets besides the body; headers may hold secrets.
    call: dict[str, Any] = field(default_factory=dict, repr=False)


def execute(plan: Plan) -> int:
    """Run the plan on an event loop of its own, uvloop's where it is installed. Returns the exit status."""
    return run_on_loop(_Session(plan).run)


class _Session:
    """The state of one run."""

    def __init__(self, plan: Plan) -> None:
        self._plan = plan
        self._pipeline: Pipeline | None = None
        self._manager: Manager | None = None
        self._ending: asyncio.Task[None] | None = None
        self._signals: list[signal.Signals] = []
        self._launched = 0
        self._longer = 0

    async def run(self) -> int:
        """Return the exit status; what went wrong with calls has been said on stderr.

        Raises the HotfnError for which nothing could be run.
        """
        self._task = asyncio.current_task()
        self._messages = Messages(STDERR)
        self._tally = Tally(self._messages.line, lines=self._plan.each_line)
        try:
            with handling_signals(self._signalled):
                status = await self._guarded()
            self._report()
            return status
        finally:
            await self._messages.aclose()

    async def _guarded(self) -> int:
        """Run, and translate every way to end to an exit status."""
        try:
            await self._run()
        except CannotStart:  # the call that met it has been reported
            self._messages.line(f"Error: stopped, because {self._plan.spec.full_name} cannot be started")
            return EXIT_UNAVAILABLE
        except InputError as error:
            self._messages.line(f"Error: {error}")
            return EXIT_USAGE
        except asyncio.CancelledError:
            if not self._signals:
                raise
        return self._status()

    async def _run(self) -> None:
        spec = self._plan.spec
        async with Manager(plugins=self._plugins(), max_starting=self._plan.max_starting) as manager:
            self._manager = manager
            try:
                manager.register(spec)
                await manager.open(spec)
                with self._input() as fd:
                    await self._calls(manager, await self._source(fd))
            except asyncio.CancelledError:  # the second signal, or the end of patience with the first
                await manager.aclose(kill=True)
                raise
            finally:
                stats = manager.stats().get(spec.full_name)
                self._launched = stats.launched if stats else 0

    async def _calls(self, manager: Manager, source: Source) -> None:
        plan = self._plan
        lines = LineBody()
        form = json_line if plan.jsonl else lines if plan.each_line else headed if plan.head else raw_body
        call = functools.partial(manager.call, plan.spec, **plan.call)
        self._pipeline = Pipeline(source, call, self._tally.record, form, STDOUT, plan.parallel)
        async with self._progress(source):
            await self._pipeline.run()
        self._longer = lines.longer
        if source.error:
            raise source.error

    def _progress(self, source: Source) -> contextlib.AbstractAsyncContextManager[None]:
        if progress.wanted():
            return progress.shown(source, self._tally, self._messages)
        return contextlib.nullcontext()

    def _plugins(self) -> list[object]:
        if self._plan.stderr == "hide":
            return []
        several = self._plan.spec.max_concurrency > 1
        return [FunctionStderr(self._messages, tag=self._plan.stderr == "tag", several=several)]

    @contextlib.contextmanager
    def _input(self) -> Iterator[int]:
        path = self._plan.input
        if path is None:
            yield STDIN
            return
        try:
            fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        except OSError as error:
            raise InputError(f"--input: {path}: {error.strerror}") from None
        try:
            yield fd
        finally:
            os.close(fd)

    async def _source(self, fd: int) -> Source:
        if self._plan.body is not None:
            return Repeated(self._plan.body, self._plan.calls)
        limit = self._plan.spec.max_request
        if self._plan.each_line:
            return Lines(fd, limit, _file_size(fd))
        if os.isatty(fd):
            self._messages.line("reading the body from the terminal; Ctrl-D ends it")
        return Repeated(await read_body(fd, limit), self._plan.calls)

    def _signalled(self, number: signal.Signals) -> None:
        """The first signal lets the calls in flight finish, for a while; the second one ends them."""
        self._signals.append(number)
        if self._pipeline is None or len(self._signals) > 1:
            self._kill()
            return
        self._pipeline.stop()
        if flying := self._pipeline.in_flight:
            self._messages.line(f"{number.name}: finishing {calls_text(flying)}; once more ends them at once")
        asyncio.get_running_loop().call_later(DRAIN_LIMIT, self._kill)

    def _kill(self) -> None:
        """End the calls in flight: each is reported as aborted, and the replies that wait behind it are written, if
        anybody reads them."""
        if self._pipeline is None or self._manager is None or self._ending is not None:
            self._give_up()
            return
        self._pipeline.stop()
        self._ending = asyncio.create_task(self._manager.aclose(kill=True))
        asyncio.get_running_loop().call_later(WRITE_LIMIT, self._give_up)

    def _give_up(self) -> None:
        if self._task is not None:
            self._task.cancel()

    def _status(self) -> int:
        if self._signals:
            return 128 + self._signals[0]
        error = self._pipeline.output_error if self._pipeline else None
        # A reader that closes the pipe (`| head`) has all it wants: no error.
        if error and not isinstance(error, BrokenPipeError):
            self._messages.line(f"Error: the output cannot be written: {error.strerror}")
            return EXIT_FAILED
        return EXIT_FAILED if self._tally.failed else 0

    def _report(self) -> None:
        lines = list(self._tally.rest())
        if self._longer:
            lines.append(
                f"{self._longer:,} replies have several lines, so output lines do not match input lines; "
                "--output jsonl keeps them apart"
            )
        if self._plan.stats:
            lines += self._tally.summary(self._launched)
        for line in lines:
            self._messages.line(line)


def _file_size(fd: int) -> int:
    try:
        status = os.fstat(fd)
    except OSError:
        return 0  # reading it will tell what is wrong
    return status.st_size if stat.S_ISREG(status.st_mode) else 0
