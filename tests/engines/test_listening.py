"""Copies in containers that listen on a socket in a directory which they share with hotfn: `http-stream`."""

from __future__ import annotations

import asyncio
import json
import logging
import stat
import tempfile
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from hotfn_core import FunctionSpec, InstanceExited, LaunchFailed, Manager
from hotfn_core.meeting.places import PREFIX

from .calling import Log, copies, echo, run, scripted, until
from .setup import Engine

LISTENER = Path(__file__).with_name("listener.py").read_text(encoding="utf-8")
COMMAND = ("python3", "-I", "-S", "-c", LISTENER)

CONFINED: tuple[dict[str, Any], ...] = (
    {},
    {"tmpfs": 0},
    {"read_only": False},
    {"read_only": False, "tmpfs": 0},
    {"user": "0:0"},
    {"user": "0:0", "tmpfs": 0},
    {"user": "1234:5678", "init": False},
)


@pytest.fixture(autouse=True)
def directories(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Where hotfn makes the directories of copies, in this test alone; it leaves none."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    yield tmp_path
    assert not list(tmp_path.glob(f"{PREFIX}*"))


def shared(directories: Path) -> list[Path]:
    """Return the directories that copies have now."""
    return list(directories.glob(f"{PREFIX}*/*/*"))


def listening(engine: Engine, habit: str = "", **fields: Any) -> FunctionSpec:
    """Return a function that listens; see listener.py."""
    env = {"LISTENER": habit} if habit else {}
    return scripted(engine, "http-stream", **({"name": "listener", "command": COMMAND, "env": env} | fields))


async def call(manager: Manager, spec: FunctionSpec, body: bytes = b"hello") -> dict[str, Any]:
    """Call, and return what the copy says of itself."""
    reply = await manager.call(spec, body)
    said: dict[str, Any] = json.loads(reply.body)
    assert said["body"] == body.decode()
    return said | {"instance": reply.instance}


@pytest.mark.parametrize("options", CONFINED, ids=str)
def test_it_is_hot_whatever_it_is_confined_to(engine: Engine, directories: Path, options: dict[str, Any]) -> None:
    async def main() -> None:
        spec = listening(engine, driver_options=options, stop_grace=0.5)
        async with Manager() as manager:
            said = [await call(manager, spec, b"%d" % number) for number in range(5)]
            assert [one["calls"] for one in said] == [1, 2, 3, 4, 5]
            assert len({one["instance"] for one in said}) == 1
            assert said[0]["uid"] == int(options.get("user", "1000:1000").partition(":")[0])
            (place,) = shared(directories)
            modes = [stat.S_IMODE(one.stat().st_mode) for one in (place, place.parent)]
            assert modes == [0o777, 0o700]

    run(main())


def test_two_copies_side_by_side(engine: Engine, directories: Path) -> None:
    async def main() -> None:
        spec = listening(engine, max_concurrency=2)
        async with Manager() as manager:
            said = await asyncio.gather(*(call(manager, spec, b"%d" % number) for number in range(8)))
            assert {one["body"] for one in said} == {str(number) for number in range(8)}
            await until(lambda: manager.stats()[spec.full_name].idle == 2)
            assert len(copies(engine)) == len(shared(directories)) == 2

    run(main())


def test_a_connection_that_idles_is_closed_and_the_next_call_gets_another(engine: Engine) -> None:
    async def main() -> None:
        log = Log()
        async with Manager(plugins=[log]) as manager:
            spec = listening(engine)
            first = await call(manager, spec)
            await until(lambda: [line.text for line in log.lines] == ["closed 1"])
            again = await call(manager, spec)
            assert (again["instance"], again["calls"], again["connections"]) == (first["instance"], 2, 2)

    run(main())


def test_a_crash_under_a_call(engine: Engine, directories: Path) -> None:
    async def main() -> None:
        async with Manager() as manager:
            spec = listening(engine)
            first = await call(manager, spec)
            with pytest.raises(InstanceExited, match="exited with code 3"):
                await manager.call(spec, b"exit")
            again = await call(manager, spec)
            assert (again["instance"] != first["instance"], again["calls"]) == (True, 1)
            await until(lambda: len(copies(engine)) == 1)
            assert len(shared(directories)) == 1

    run(main())


def test_a_function_that_never_listens_fails_in_time(engine: Engine, directories: Path) -> None:
    async def main() -> None:
        async with Manager() as manager:
            began = time.monotonic()
            with pytest.raises(LaunchFailed, match="did not listen on lsnr.sock within 5 s") as failure:
                await manager.call(listening(engine, "never"))
            assert failure.value.status == 504
            assert 5 <= time.monotonic() - began < 30
            await until(lambda: not copies(engine))
            assert not shared(directories)

    run(main())


def test_a_link_that_leads_away_is_refused(engine: Engine, directories: Path) -> None:
    async def main() -> None:
        async with Manager() as manager:
            with pytest.raises(LaunchFailed, match="is a link to '/etc/hostname'"):
                await manager.call(listening(engine, "leads away"))
            await until(lambda: not copies(engine))
            assert not shared(directories)

    run(main())


def test_a_frozen_copy_is_thawed_and_answers(engine: Engine) -> None:
    async def main() -> None:
        async with Manager() as manager:
            spec = listening(engine, freeze_after=0.05)
            first = await call(manager, spec)
            await until(lambda: manager.stats()[spec.full_name].frozen == 1)
            await until(lambda: list(copies(engine).values()) == ["paused"])
            again = await call(manager, spec)
            assert (again["instance"], again["calls"]) == (first["instance"], 2)

    run(main())


def test_nothing_is_made_ready_ahead_and_hotfn_says_so(engine: Engine, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.WARNING)

    async def main() -> None:
        async with Manager() as manager:
            spec = listening(engine, driver_options={"prepared": 2})
            await manager.open(spec)
            assert copies(engine) == {}
            await call(manager, spec)
            assert len(copies(engine)) == 1

    run(main())
    assert caplog.text.count("`prepared` is of no use: each copy of this function gets a directory of its own") == 1


def test_a_mount_where_it_listens_is_refused(engine: Engine, tmp_path: Path) -> None:
    async def main() -> None:
        async with Manager() as manager:
            options = {"mounts": [f"{tmp_path}:/tmp/iofs/x"]}
            with pytest.raises(LaunchFailed, match="mounts has /tmp/iofs/x, where copies of this function listen"):
                await manager.call(listening(engine, driver_options=options))

    run(main())


def test_an_engine_that_may_be_elsewhere_is_refused_before_anything_is_made(
    engine: Engine, directories: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def main() -> None:
        async with forwarded(engine) as port:
            monkeypatch.setenv(engine.variable, f"tcp://127.0.0.1:{port}")
            async with Manager() as manager:
                spec = listening(engine, image=f"{engine.repository}hotfn-test/not-there")
                with pytest.raises(LaunchFailed, match="may be on another machine") as failure:
                    await manager.call(spec)
                assert failure.value.status == 400
                assert not shared(directories)

    run(main())


@asynccontextmanager
async def forwarded(engine: Engine) -> AsyncIterator[int]:
    """Have the engine on a port of this machine as well, which is all that a client sees of another one."""
    connections: set[asyncio.Task[None]] = set()

    async def forward(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        inner = await asyncio.open_unix_connection(engine.socket)
        pumps = [asyncio.create_task(one) for one in (pump(reader, inner[1]), pump(inner[0], writer))]
        connections.update(pumps)

    async with await asyncio.start_server(forward, "127.0.0.1", 0) as server:
        yield server.sockets[0].getsockname()[1]
        server.close()
        for one in connections:
            one.cancel()
        await asyncio.gather(*connections, return_exceptions=True)


async def pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Pass on what comes until one side has closed."""
    try:
        while data := await reader.read(1 << 16):
            writer.write(data)
    finally:
        writer.close()


@pytest.mark.parametrize("options", [{}, {"tmpfs": 0}], ids=str)
def test_a_program_that_is_all_of_its_image(engine: Engine, options: dict[str, Any]) -> None:
    """Not even a /tmp is in there."""

    async def main() -> None:
        spec = echo(engine, "http-stream", driver_options=options)
        async with Manager() as manager:
            for body in (b"", b"hello", bytes(range(256)) * 4096):
                reply = await manager.call(spec, body)
                assert (reply.status, reply.body, reply.cold) == (200, body, not body)

    run(main())
