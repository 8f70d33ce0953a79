"""An engine that exists in the test's mind, for what of the containers' drivers needs no real one."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from typing import cast

from hotfn_containers.calls import Calls
from hotfn_containers.engine import Engine, Found


class MindEngine:
    """What is removed from an engine, and found in it. Containers are ids with labels.

    `refuse` says with what a removal ends, `removing` is called during one.
    """

    name = "docker"

    def __init__(self) -> None:
        self.there: dict[str, Mapping[str, str]] = {}
        self.refuse: Callable[[str], Exception | None] = lambda container: None
        self.removing: Callable[[str], object] = lambda container: None
        self.listed: list[Callable[[], None]] = []  # what happens after each listing, in order
        self.asked: list[str] = []  # ids of all removals that were asked for
        self.at_once = self.most_at_once = 0
        self._mutex = threading.Lock()

    def calls(self) -> Calls:
        """Return the way of a driver to this engine."""
        return Calls(cast("Engine", self))

    def close(self) -> None:
        """There is no connection."""

    def remove(self, container: str) -> None:
        with self._mutex:
            self.asked.append(container)
            self.at_once += 1
            self.most_at_once = max(self.most_at_once, self.at_once)
        try:
            self.removing(container)
            if error := self.refuse(container):
                raise error
            self.there.pop(container, None)
        finally:
            with self._mutex:
                self.at_once -= 1

    def labelled(self, label: str) -> list[Found]:
        found = [Found(id, f"name-{id}", labels) for id, labels in self.there.items() if label in labels]
        if self.listed:
            self.listed.pop(0)()
        return found
