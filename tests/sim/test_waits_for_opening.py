"""What a first call waits for before its function is ready is in its `queued`, and is charged to no timeout."""

from __future__ import annotations

import asyncio

import pytest

from hotfn_core import FunctionSpec, QueueTimeout
from hotfn_core.driver import ContainerSpec
from hotfn_core.testing import Behaviour, FakeDriver, fake_spec, simulate

from .world import managed


class Slow(FakeDriver):
    """Opens for a while, and has to make something ready for each function."""

    def __init__(self, opening: float, preparing: float) -> None:
        super().__init__(Behaviour(start=1.0, answer=0.5))
        self.opening, self.preparing = opening, preparing

    async def open(self) -> None:
        await asyncio.sleep(self.opening)

    async def prepare(self, spec: ContainerSpec) -> None:
        await asyncio.sleep(self.preparing)


@pytest.mark.parametrize(("opening", "preparing"), [(0.0, 0.0), (2.0, 0.0), (0.0, 40.0), (2.0, 40.0)])
def test_it_is_in_the_first_call_and_in_no_other(opening: float, preparing: float) -> None:
    spec: FunctionSpec = fake_spec(timeout=1.0, start_timeout=2.0, queue_timeout=3.0)

    async def main() -> None:
        async with managed(Slow(opening, preparing)) as manager:
            first = await manager.call(spec, b"")
            assert first.queued == pytest.approx(opening + preparing)
            assert first.started == pytest.approx(1.0)
            assert first.ran == pytest.approx(0.5)
            second = await manager.call(spec, b"")
            assert (second.queued, second.started) == (0.0, 0.0)

    simulate(main)


@pytest.mark.parametrize(("opening", "preparing"), [(40.0, 0.0), (0.0, 40.0), (0.5, 40.0)])
def test_the_call_s_own_deadline_bounds_it(opening: float, preparing: float) -> None:
    async def main() -> None:
        async with managed(Slow(opening, preparing)) as manager:
            begin = manager.time()
            with pytest.raises(QueueTimeout, match="still being made ready"):
                await manager.call(fake_spec(), b"", deadline=begin + 1.0)
            assert manager.time() - begin == pytest.approx(1.0)
            assert (await manager.call(fake_spec(), b"")).status == 200  # the opening went on

    simulate(main)
