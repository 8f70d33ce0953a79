"""The connection that tells when a service was restarted."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
import uvloop

from hotfn_containers.endpoint import Endpoint
from hotfn_containers.lifeline import NEAR, Lifeline
from hotfn_core.errors import DriverUnavailable

REQUEST = b"HEAD /_ping HTTP/1.1\r\n"


class Service:
    """What stands for an engine: it takes connections, and can be killed."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.endpoint = Endpoint.parse("docker", f"unix://{path}", "the test")
        self.came: asyncio.Queue[asyncio.StreamWriter] = asyncio.Queue()
        self.asked = b""
        self.all: list[asyncio.StreamWriter] = []

    def lifeline_request(self) -> bytes:
        return REQUEST

    async def start(self) -> None:
        self.server = await asyncio.start_unix_server(self._serve, self.path)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.all.append(writer)
        self.asked = await reader.readexactly(len(REQUEST))
        self.came.put_nowait(writer)

    async def kill(self) -> None:
        """Hang up, and listen no more."""
        (await self.came.get()).close()
        self.server.close()
        self.path.unlink(missing_ok=True)

    async def close(self) -> None:
        """Leave nothing open."""
        self.server.close()
        for writer in self.all:
            writer.close()
            await writer.wait_closed()


Body = Callable[[Service, Lifeline], Awaitable[None]]
Play = Callable[[Body], None]


@pytest.fixture(params=[asyncio.new_event_loop, uvloop.new_event_loop], ids=["asyncio", "uvloop"])
def play(request: pytest.FixtureRequest) -> Iterator[Play]:
    with TemporaryDirectory() as folder:

        async def main(body: Body) -> None:
            service = Service(Path(folder) / "sock")
            await service.start()
            lifeline = Lifeline(service)
            try:
                await asyncio.wait_for(body(service, lifeline), 10)
            finally:
                await lifeline.aclose()
                await service.close()

        def run(body: Body) -> None:
            with asyncio.Runner(loop_factory=request.param) as runner:
                runner.run(main(body))

        yield run


def now() -> float:
    return asyncio.get_running_loop().time()


async def gone(lifeline: Lifeline, when: float) -> None:
    """Wait until the end has been heard of."""
    while not await lifeline.broke(when):  # which lets the loop go on each time
        pass


def test_one_connection_is_made_whoever_wants_it_held(play: Play) -> None:
    async def body(service: Service, lifeline: Lifeline) -> None:
        await asyncio.gather(*(lifeline.hold() for _ in range(5)))
        await lifeline.hold()
        await service.came.get()
        assert service.came.empty()
        assert service.asked == REQUEST
        assert not await lifeline.broke(now())

    play(body)


def test_it_ends_with_the_service_and_is_made_again(play: Play) -> None:
    async def body(service: Service, lifeline: Lifeline) -> None:
        await lifeline.hold()
        began = now()
        await service.kill()
        await gone(lifeline, began)
        with pytest.raises(DriverUnavailable):
            await lifeline.hold()
        await service.start()
        await lifeline.hold()
        await service.came.get()

    play(body)


def test_streams_that_ended_at_another_time_did_not_end_with_the_service(play: Play) -> None:
    async def body(service: Service, lifeline: Lifeline) -> None:
        await lifeline.hold()
        began = now()
        await service.kill()
        await gone(lifeline, began)
        assert await lifeline.broke(now() + NEAR / 2)
        assert not await lifeline.broke(now() + NEAR + 0.1)

    play(body)


def test_hanging_up_is_no_restart(play: Play) -> None:
    async def body(service: Service, lifeline: Lifeline) -> None:
        await lifeline.hold()
        await lifeline.aclose()
        await lifeline.aclose()
        (await service.came.get()).close()
        assert not await lifeline.broke(now())

    play(body)


def test_its_descriptor_is_closed_when_it_has_hung_up(play: Play) -> None:
    async def body(service: Service, lifeline: Lifeline) -> None:
        await lifeline.hold()
        await service.came.get()
        held = descriptors()
        await lifeline.aclose()
        assert descriptors() == held - 1

    play(body)


def descriptors() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))
