"""The function as it is now: each change of its files makes another function of it, which takes the place of the last.

Another function, because that is what the manager knows how to replace: calls that are running or waiting are served by
the old one, whose copies then end; calls from now on go to copies that are started from now on.
"""

from __future__ import annotations

from collections.abc import Callable

from hotfn_core import CallError, FunctionSpec, InstanceChange, Manager, ShuttingDown, hookimpl
from hotfn_core.cli.texts import one_line

VERSION = "HOTFN_DEV_VERSION"
"""The variable that tells a copy how many times the function has been replaced; it makes another function of it."""

_NO_BYTECODE = "PYTHONDONTWRITEBYTECODE"
_ON_PURPOSE = ("idle", "drained", "recycled", "not_needed")


class Versions:
    """The versions of one function, one after another, in a manager that has this as a plugin.

    One copy of the newest is started at once and kept, so that whoever changed it sees at once whether it starts. When
    it does not, that is said, and it is tried again when a call needs it.
    """

    def __init__(self, say: Callable[[str], None]) -> None:
        self._say = say
        self._number = 0
        self._fresh = ""  # the copy that was started ahead and has had no call yet
        self.current: FunctionSpec | None = None

    def serve(self, manager: Manager) -> None:
        """Have this manager serve them."""
        self._manager = manager

    async def replace(self, spec: FunctionSpec) -> None:
        """Have all calls from now on answered by copies that are started from now on.

        Raises HotfnError for a function that cannot be; the one before it stays then.
        """
        env = {_NO_BYTECODE: "1", **spec.env, VERSION: str(self._number + 1)}
        new = spec.replace(env=env)
        if self._manager.registry.protocol(spec.format).hot:
            new = new.replace(min_instances=max(1, spec.min_instances))
        await self._manager.open(new)
        old = self.current
        self._fresh = ""
        self._manager.register(new)
        self._number += 1
        self.current = new
        if old is not None and old.full_name != new.full_name:
            self._manager.register(old.replace(min_instances=0))

    @hookimpl
    def hotfn_instance_changed(self, change: InstanceChange) -> None:
        """Notice that the copy which was started ahead ends before its first call."""
        if change.state == "starting" and change.reason == "min_instances" and self._is_current(change.function):
            self._fresh = change.instance
        elif change.instance != self._fresh:
            return
        elif change.state == "busy":
            self._fresh = ""
        elif change.state == "gone":
            self._fresh = ""
            if change.reason not in _ON_PURPOSE and self.current is not None:
                self._manager.spawn(self._broken(self.current), "hotfn dev explain")

    def _is_current(self, name: str) -> bool:
        return self.current is not None and self.current.full_name == name

    async def _broken(self, spec: FunctionSpec) -> None:
        """Say why it does not start, and try no more until somebody calls it or mends it."""
        if spec is not self.current:
            return
        try:
            # The next start is held back now, so this is refused with the reason of the last; in no case does a call
            # whose deadline has come reach the function.
            await self._manager.call(spec, deadline=self._manager.time())
        except ShuttingDown:
            return
        except CallError as error:
            self._say(f"Error: it does not start, and calls fail until it is mended: {one_line(error.message)}")
        if spec is self.current:
            self.current = spec.replace(min_instances=0)
            self._manager.register(self.current)
