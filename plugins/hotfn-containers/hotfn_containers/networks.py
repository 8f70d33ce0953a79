"""Which of its networks a container gets: the one that the fewest are in."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence


class Networks:
    """How many containers of one driver are in each network."""

    def __init__(self) -> None:
        self._used: Counter[str] = Counter()
        self._of: dict[str, str] = {}

    def choose(self, names: Sequence[str]) -> str:
        """Return the least used of these, the first of equals; it counts as used from now on."""
        name = min(names, key=self._used.__getitem__)
        self._used[name] += 1
        return name

    def joined(self, container: str, network: str) -> None:
        """The container for which the network was chosen is there."""
        self._of[container] = network

    def unused(self, network: str) -> None:
        """There will be no container where the network was chosen for one."""
        self._used[network] -= 1
        if not self._used[network]:
            del self._used[network]

    def left(self, container: str) -> None:
        """A container is gone. May be said more than once."""
        network = self._of.pop(container, None)
        if network is not None:
            self.unused(network)
