"""Running the tests of a function: real calls, one after another, through a manager of their own."""

from __future__ import annotations

import asyncio
import contextlib
from collections import deque
from collections.abc import Callable, Mapping, Sequence

from hotfn_core import CallError, FunctionSpec, Manager, StderrLine, hookimpl
from hotfn_core.cli.texts import span_text

from .case import Answer, Case, faults

_LOG_LATE = 1.0  # seconds
_MOST_LINES = 1000  # of the log of one test, the last ones


class Log:
    """What the function says during one call: lines of that call, and such as come meanwhile and belong to none."""

    def __init__(self) -> None:
        self.lines: deque[str] = deque(maxlen=_MOST_LINES)
        self.news = asyncio.Event()  # a line has come
        self._call_id = ""

    def begin(self, call_id: str) -> None:
        """Forget what was said before this call."""
        self.lines.clear()
        self._call_id = call_id

    @hookimpl
    def hotfn_stderr_line(self, line: StderrLine) -> None:
        """Keep one line."""
        if line.call_id in {"", self._call_id}:
            self.lines.append(line.text)
            self.news.set()


async def run(
    spec: FunctionSpec, starting: Mapping[str, int], cases: Sequence[Case], say: Callable[[str], object]
) -> int:
    """Run all, say how each went, and return how many failed. Raises DriverError when the driver is unavailable."""
    log, failed = Log(), 0
    async with Manager(plugins=[log], max_starting=starting) as manager:
        await manager.open(spec)
        for number, case in enumerate(cases, 1):
            begin = manager.time()
            answer = await _answer(
                manager, spec.replace(env={**spec.env, **case.env}), case, log, call_id=f"test-{number}"
            )
            wrong = list(faults(case, answer))
            failed += bool(wrong)
            say(f"{'FAIL' if wrong else 'ok'}\t{case.name}\t{span_text(manager.time() - begin)}")
            for line in wrong:
                say(f"\t{line}")
    return failed


def summary(count: int, failed: int) -> str:
    """Return how it went in one line."""
    return f"{count} {'test' if count == 1 else 'tests'}, {failed or 'none'} failed"


async def _answer(manager: Manager, spec: FunctionSpec, case: Case, log: Log, call_id: str) -> Answer:
    log.begin(call_id)
    try:
        reply = await manager.call(spec, case.body, call_id=call_id)
    except CallError as fault:
        return Answer(body=b"", error=fault.message, log=tuple(log.lines))
    error = f"status {reply.status}: {reply.body[:500].decode(errors='replace')}" if reply.status >= 400 else ""
    if case.err is not None and case.err not in error:
        await _said(log, case.err)
    return Answer(body=reply.body, error=error, log=tuple(log.lines), status=reply.status)


async def _said(log: Log, text: str) -> None:
    """Wait until it is in the log, which may come a little later than the reply; not for long."""
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(_LOG_LATE):
            while text not in "\n".join(log.lines):
                log.news.clear()
                await log.news.wait()
