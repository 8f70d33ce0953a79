"""What no real copy does when a test wants it: doors that fail for a moment, engines that refuse, large leavings."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path

import pytest

from hotfn_core import Call, Container, ContainerSpec, DriverError, Exit, FunctionSpec, IOProtocol, Listening
from hotfn_core.meeting import Meeting, Places, meeting, places
from hotfn_core.meeting.container import SocketContainer
from hotfn_core.meeting.door import Door
from hotfn_core.meeting.lines import MOST, Lines
from hotfn_core.meeting.rounds import Rounds
from hotfn_core.testing import FakeProtocol


class Talker:
    """Whom a copy tells."""

    def __init__(self) -> None:
        self.call: Call | None = None
        self.served = 0
        self.told: list[str] = []
        self.over = asyncio.Event()

    def stdout_received(self, data: bytes) -> None:
        self.told.append("reply")

    def stderr_received(self, data: bytes) -> None:
        self.told.append("log")

    def stdout_eof(self) -> None:
        self.told.append("eof")
        self.over.set()

    def stream_ended(self) -> bool:
        return False

    def exited(self, exit: Exit) -> None:
        self.told.append("exited")


class ClosedAtFirst(Door):
    """A door that too many wait at for one moment."""

    def __init__(self) -> None:
        super().__init__("/", "none")
        self.knocks = 0

    def knock(self) -> int:
        self.knocks += 1
        raise BlockingIOError


def test_a_call_whose_head_could_not_be_sent_sends_nothing_at_all(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its body alone could pass for a call."""
    monkeypatch.setattr("hotfn_core.meeting.container.EXIT_PAUSE", 0.0)

    async def main() -> None:
        talker, door = Talker(), ClosedAtFirst()
        copy = SocketContainer(talker, door, Rounds(1.0), lambda: None)
        talker.call = Call("a", b"body")
        copy.write(b"head")
        copy.write(b"body")
        assert door.knocks == 1
        async with asyncio.timeout(10):
            await talker.over.wait()
        assert talker.told == ["eof"]

    asyncio.run(main())


class Refusing(Container):
    """A copy that its engine refuses to stop, twice."""

    id = "refusing"

    def __init__(self, receiver: SocketContainer) -> None:
        self._receiver = receiver
        self.stops = 0

    def write(self, data: bytes) -> None: ...

    @property
    def writable(self) -> bool:
        return True

    def write_eof(self) -> None: ...

    def pause_reading(self) -> None: ...

    def resume_reading(self) -> None: ...

    async def stop(self, grace: float) -> None:
        self.stops += 1
        if self.stops < 3:
            raise DriverError("the engine is too busy")
        self._receiver.exited(Exit(signal=9))


class Listens(FakeProtocol):
    name = "listens"
    listening = Listening(within=0.05)


@pytest.fixture
def short(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[None]:
    monkeypatch.setattr(meeting, "_STOP_PAUSE", 0.0)
    monkeypatch.setattr(meeting, "_PATH_MOST", 4096)
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    yield
    assert list(tmp_path.iterdir()) == []


@pytest.mark.usefixtures("short")
def test_an_engine_that_refuses_to_stop_a_useless_copy_is_asked_again() -> None:
    made: list[Refusing] = []

    async def launch(spec: ContainerSpec, receiver: object) -> Container:
        assert isinstance(receiver, SocketContainer)
        made.append(Refusing(receiver))
        return made[0]

    async def main() -> None:
        protocol: IOProtocol = Listens()
        folder = Places()
        spec = FunctionSpec(name="f", command=("f",))
        wanted = ContainerSpec(function=spec.full_name, instance="i", identity=spec.identity)
        with pytest.raises(DriverError, match="did not listen"):  # and not what the engine said
            await Meeting(launch, "", protocol, folder).launch(wanted, Talker())
        await folder.aclose()
        assert made[0].stops == 3

    asyncio.run(main())


def test_what_takes_long_to_remove_is_left_to_a_thread(tmp_path: Path) -> None:
    (tmp_path / "empty").touch()
    (tmp_path / "link").symlink_to("empty")
    (tmp_path / "large").write_bytes(b"x")
    quick = {path.name: places._is_quick(path) for path in tmp_path.iterdir()}
    assert quick == {"empty": True, "link": True, "large": False}
    assert not places._is_quick(tmp_path)


def test_lines_are_passed_on_whole_or_when_they_are_too_long() -> None:
    passed: list[bytes] = []
    lines = Lines(passed.append)
    for piece in (b"a", b"b\nc", b"", b"d"):
        lines.feed(piece)
    assert passed == [b"ab\n"]
    lines.finish()
    assert passed == [b"ab\n", b"cd\n"]
    lines.feed(b"x" * (MOST + 1))
    assert passed[2:] == [b"x" * (MOST + 1)]
    lines.finish()
    assert len(passed) == 3
