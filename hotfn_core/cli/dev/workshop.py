"""What goes on around the calls: files change, the function is built, replaced and tested."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

from hotfn_core import HotfnError, Manager, Reply
from hotfn_core.cli.common import EXIT_FAILED
from hotfn_core.cli.spec import Found
from hotfn_core.cli.texts import span_text
from hotfn_core.cli.trial.command import cases_of
from hotfn_core.cli.trial.trial import run as run_tests
from hotfn_core.cli.trial.trial import summary
from hotfn_core.errors import ConfigError

from .build import BuildFailed, build
from .files import located, shown, shown_all
from .plan import Plan
from .versions import Versions
from .watch import Watch

_MOST_BUILDS = 3  # in a row, for what changed while the one before ran


class Workshop:
    """A function, called and worked on at the same time. Whoever has calls gives them to `call`, wherever they
    come from.

    `say` gets a line for everything that happens. `status` is the exit status that the last tests ask for.
    """

    def __init__(self, plan: Plan, manager: Manager, versions: Versions, say: Callable[[str], None]) -> None:
        self._plan = plan
        self._manager = manager
        self._versions = versions
        self._say = say
        self._found = self._served = plan.found
        self._watch = Watch(plan.watched.as_files())
        self._made: Counter[Path] = Counter()  # how many builds have changed a file
        self._testing: asyncio.Task[None] | None = None
        self.status = 0

    async def __aenter__(self) -> Self:
        """Begin to watch, and serve the function as it is. Raises HotfnError when it cannot be served or watched."""
        try:
            await self._open()
        except BaseException:
            self._watch.close()
            raise
        return self

    async def __aexit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.leave()
        if self._testing is not None:
            await asyncio.wait([self._testing])
        self._watch.close()

    async def _open(self) -> None:
        count = await self._watch.open()
        if self._plan.watched.note:
            self._say(self._plan.watched.note)
        self._say(f"watching {count} {'file' if count == 1 else 'files'} in {self._plan.watched}")
        if self._plan.build:
            await self._built()
        await self._replace()
        self._watch.dealt_with()
        self._test()

    async def call(self, body: bytes) -> Reply:
        """Call the function as it is now: a file that was saved before counts. Raises CallError."""
        if self._watch.stirred:
            await self._watch.calm()
        assert self._versions.current is not None
        return await self._manager.call(self._versions.current, body, **self._plan.call)

    async def work(self) -> None:
        """Deal with changes until it is cancelled. Calls that wait for one are let go then."""
        try:
            while True:
                try:
                    await self._changed(await self._watch.changes())
                except HotfnError as error:
                    self._say(f"Error: {error.message}; the copies stay as they are")
                self._watch.dealt_with()
        finally:
            self._watch.give_up()

    def leave(self) -> None:
        """Nobody wants to know how the tests go any more."""
        if self._testing is not None:
            self._testing.cancel()

    async def finish(self) -> None:
        """Wait for what goes on: a change that is being dealt with, and tests."""
        await self._watch.calm()
        if self._testing is not None:
            await asyncio.wait([self._testing])

    # ---- a change

    async def _changed(self, paths: Sequence[Path]) -> None:
        if not paths or not self._read_again(paths):
            return
        what = shown_all(paths)
        for path in paths:
            del self._made[path]  # somebody works on it, so it is not only the build's
        if self._plan.build:
            self._say(f"{what} changed: building")
            if not await self._built():
                return
        await self._replace()
        self._say("built: copies are replaced" if self._plan.build else f"{what} changed: copies are replaced")
        self._test()

    async def _replace(self) -> None:
        """Raises HotfnError for a function that cannot be served, of which nothing is kept then."""
        try:
            await self._versions.replace(self._found.spec)
        except HotfnError:
            self._found = self._served
            raise
        self._served = self._found

    def _read_again(self, paths: Sequence[Path]) -> bool:
        """Read the configuration when it is among what changed. Returns whether there is anything new to serve."""
        config = self._plan.config
        if config is None or located(config) not in paths:
            return True
        try:
            self._found = self._plan.read()
        except ConfigError as error:
            self._say(f"Error: {error.message}; {shown(config)} stays in use as it was")
            return len(paths) > 1
        return True

    async def _built(self) -> bool:
        """Build, and again when files changed meanwhile that the build does not make. Returns whether it worked."""
        worked = False
        for _ in range(_MOST_BUILDS):
            worked = await self._build()
            meanwhile = await self._watch.look()
            self._made.update(meanwhile)
            unknown = [path for path in meanwhile if self._made[path] == 1]
            if not unknown:
                break
            self._read_again(unknown)
            self._say(f"{shown_all(unknown)} changed during the build: building once more")
        return worked

    async def _build(self) -> bool:
        begin = self._manager.time()
        try:
            await build(self._plan.build, self._plan.directory)
        except BuildFailed as failure:
            for line in failure.lines:
                self._say(f"  | {line}")
            self._say(f"Error: the build failed, and the copies stay as they are: {failure}")
            return False
        self._say(f"built in {span_text(self._manager.time() - begin)}")
        return True

    # ---- tests

    def _test(self) -> None:
        if self._plan.test:
            self._testing = asyncio.create_task(self._tested(self._found, self._testing), name="hotfn dev test")

    async def _tested(self, found: Found, before: asyncio.Task[None] | None) -> None:
        """Run the tests, instead of those that may be running."""
        if before is not None:
            before.cancel()
            await asyncio.wait([before])
        assert self._versions.current is not None
        spec = self._versions.current.replace(min_instances=found.spec.min_instances)
        try:
            cases = cases_of(self._plan.config, found.spec.name)
            failed = await run_tests(spec, found.max_starting, cases, self._say)
        except HotfnError as error:
            self.status = EXIT_FAILED
            self._say(f"Error: {error.message}")
        else:
            self.status = EXIT_FAILED if failed else 0
            self._say(summary(len(cases), failed))
