"""One `hotfn dev` on the event loop: lines of stdin are calls, replies go to stdout, everything else to stderr."""

from __future__ import annotations

import asyncio
import os
import signal

from hotfn_core.cli.common import EXIT_FAILED, EXIT_USAGE
from hotfn_core.cli.formats import LineBody, json_line
from hotfn_core.cli.hosting import (
    DRAIN_LIMIT,
    STDERR,
    STDIN,
    STDOUT,
    WRITE_LIMIT,
    handling_signals,
    run_on_loop,
)
from hotfn_core.cli.messages import FunctionStderr, Messages
from hotfn_core.cli.pipeline import Pipeline
from hotfn_core.cli.source import Lines
from hotfn_core.cli.texts import calls_text, one_line
from hotfn_core.errors import CallError
from hotfn_core.manager import Manager
from hotfn_core.model import Reply

from .plan import Plan
from .versions import Versions
from .workshop import Workshop


def execute(plan: Plan) -> int:
    """Run it on an event loop of its own. Returns the exit status."""
    return run_on_loop(_Session(plan).run)


class _Session:
    """The state of one `hotfn dev`."""

    def __init__(self, plan: Plan) -> None:
        self._plan = plan
        self._manager: Manager | None = None
        self._pipeline: Pipeline | None = None
        self._workshop: Workshop | None = None
        self._work: asyncio.Task[None] | None = None
        self._ending: asyncio.Task[None] | None = None
        self._signals: list[signal.Signals] = []

    async def run(self) -> int:
        """Return the exit status. Raises the HotfnError for which the function could not even be watched."""
        self._task = asyncio.current_task()
        self._messages = Messages(STDERR)
        try:
            with handling_signals(self._signalled):
                return await self._guarded()
        finally:
            await self._messages.aclose()

    async def _guarded(self) -> int:
        status = 0
        try:
            status = await self._run()
        except asyncio.CancelledError:
            if not self._signals:
                raise
        return 128 + self._signals[0] if self._signals else status

    async def _run(self) -> int:
        versions = Versions(self._messages.line)
        plugins: list[object] = [versions]
        if self._plan.stderr != "hide":
            several = self._plan.found.spec.max_concurrency > 1
            plugins.append(FunctionStderr(self._messages, tag=self._plan.stderr == "tag", several=several))
        async with Manager(plugins=plugins, max_starting=self._plan.found.max_starting) as manager:
            versions.serve(manager)
            self._manager = manager
            try:
                async with Workshop(self._plan, manager, versions, self._messages.line) as workshop:
                    return await self._calls(workshop)
            except asyncio.CancelledError:  # a second signal, or the end of patience with the first
                await manager.aclose(kill=True)
                raise

    async def _calls(self, workshop: Workshop) -> int:
        """Make calls of the lines of stdin until it ends, while files change."""
        self._workshop = workshop
        source = Lines(STDIN, self._plan.found.spec.max_request)
        form = json_line if self._plan.jsonl else LineBody()
        self._pipeline = Pipeline(source, workshop.call, self._record, form, STDOUT, self._plan.parallel, stays=True)
        if os.isatty(STDIN):
            self._messages.line("each line is a call; Ctrl-D or Ctrl-C ends")
        async with asyncio.TaskGroup() as group:
            self._work = group.create_task(workshop.work())
            await self._pipeline.run()
            if not self._signals:
                await workshop.finish()
            self._work.cancel()
        if source.error is not None:
            self._messages.line(f"Error: {source.error}")
            return EXIT_USAGE
        return self._output_status() or workshop.status

    def _output_status(self) -> int:
        error = self._pipeline.output_error if self._pipeline else None
        if error is None or isinstance(error, BrokenPipeError):  # a reader that has all it wants is no error
            return 0
        self._messages.line(f"Error: the output cannot be written: {error.strerror}")
        return EXIT_FAILED

    def _record(self, index: int, outcome: Reply | CallError) -> None:
        if isinstance(outcome, CallError):
            self._messages.line(f"line {index + 1}: {outcome.code}: {one_line(outcome.message)}")
        elif outcome.status >= 400:
            self._messages.line(f"line {index + 1}: status {outcome.status}")

    def _signalled(self, number: signal.Signals) -> None:
        """The first signal lets the calls in flight finish, for a while; the second one ends them."""
        self._signals.append(number)
        if self._pipeline is None or self._work is None or self._workshop is None or len(self._signals) > 1:
            self._kill()
            return
        self._work.cancel()
        self._workshop.leave()
        self._pipeline.stop()
        if flying := self._pipeline.in_flight:
            self._messages.line(f"{number.name}: finishing {calls_text(flying)}; once more ends them at once")
        asyncio.get_running_loop().call_later(DRAIN_LIMIT, self._kill)

    def _kill(self) -> None:
        """End the calls in flight at once, or whatever goes on before there are any."""
        if self._pipeline is None or self._manager is None or self._ending is not None:
            self._give_up()
            return
        self._ending = asyncio.create_task(self._manager.aclose(kill=True))
        asyncio.get_running_loop().call_later(WRITE_LIMIT, self._give_up)

    def _give_up(self) -> None:
        if self._task is not None:
            self._task.cancel()
