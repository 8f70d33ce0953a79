"""Copies that listen on a socket: how they are found, what becomes of connections, and that nothing is left behind."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import shutil
import socket
import stat
import sys
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, ClassVar

import pytest
from hotfn_http_stream.protocol import HttpStreamProtocol

from hotfn_core import (
    BadReply,
    CallTimeout,
    ConfigError,
    FunctionSpec,
    InstanceExited,
    IOProtocol,
    LaunchFailed,
    Listening,
    Manager,
    PluginError,
    Reply,
    StderrLine,
    hookimpl,
)
from hotfn_core.meeting import door, meeting, places, sweep
from hotfn_core.runtime import Runtime
from hotfn_core.testing import FakeDriver, FakePlugin, FakeProtocol, fake_spec

from .conftest import Run

GUEST = str(Path(__file__).with_name("listener.py"))


@pytest.fixture(autouse=True)
def own_directory(monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Have the directories of this test in one of its own, which is as it was afterwards."""
    tmp_path_factory.getbasetemp()  # before it would be made in there
    with tempfile.TemporaryDirectory(prefix="t") as path:
        monkeypatch.setattr(tempfile, "tempdir", path)
        yield Path(path)
        assert list(Path(path).iterdir()) == []


@pytest.fixture
def soon(monkeypatch: pytest.MonkeyPatch) -> None:
    """Shorten the spans of the protocol, so that a test can wait for them."""
    monkeypatch.setattr(HttpStreamProtocol, "listening", Listening(within=0.5, idle=0.05))


def listener(how: str = "by_link", **fields: Any) -> FunctionSpec:
    command = (sys.executable, "-I", "-S", GUEST, how)
    return FunctionSpec(**({"name": "listener", "format": "http-stream", "command": command} | fields))


async def ask(manager: Manager, spec: FunctionSpec, do: str = "answer", **more: Any) -> Reply:
    return await manager.call(spec, json.dumps({"do": do, **more}).encode())


async def facts(manager: Manager, spec: FunctionSpec, do: str = "answer", **more: Any) -> dict[str, Any]:
    return dict(json.loads((await ask(manager, spec, do, **more)).body))


class TestTheStart:
    @pytest.mark.parametrize("how", ["by_link", "itself", "by_hard_link", "renamed", "dangling_first"])
    def test_it_is_hot_however_the_socket_appears(self, run: Run, how: str) -> None:
        async def main() -> None:
            async with Manager() as manager:
                replies = [await facts(manager, listener(how)) for _ in range(100)]
                assert {(one["pid"], one["connections"]) for one in replies} == {(replies[0]["pid"], 1)}
                assert replies[-1]["served"] == 100
                assert replies[0]["format"] == "http-stream"

        run(main())

    def test_each_copy_has_a_fresh_private_directory(self, run: Run, own_directory: Path) -> None:
        async def main() -> None:
            async with Manager() as manager:
                spec = listener(max_concurrency=2, max_calls=2)
                both = await asyncio.gather(*(facts(manager, spec, "slowly") for _ in range(2)))
                paths = {one["path"] for one in both}
                assert len(paths) == 2
                assert all(one["mode"] == 0o700 for one in both)
                assert all(sorted(one["left"]) == ["lsnr.sock", "phonylsnr.sock"] for one in both)
                for path in paths:
                    assert stat.S_IMODE(Path(path).parent.parent.stat().st_mode) == 0o700
                for _ in range(6):
                    one = await facts(manager, spec)
                    assert sorted(one["left"]) == ["lsnr.sock", "phonylsnr.sock"]
                    paths.add(one["path"])
                assert len(paths) > 2

        run(main())

    def test_it_has_so_long_to_listen(self, soon: None, run: Run) -> None:
        async def main() -> None:
            async with Manager() as manager:
                with pytest.raises(LaunchFailed, match=r"did not listen on lsnr\.sock within 0\.5") as caught:
                    await ask(manager, listener("never"))
                assert caught.value.status == 504

        run(main())

    def test_a_socket_that_is_opened_to_others_a_moment_after_it_is_made(
        self, run: Run, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """By a copy that runs as another user, as in a rootless container. Root would get through whatever its mode."""
        closed = iter([True, True, True])
        connected = door._connected

        def until_it_is_open(path: str) -> int:
            if next(closed, False):
                raise PermissionError(13, "Permission denied")
            return connected(path)

        monkeypatch.setattr(door, "_connected", until_it_is_open)

        async def main() -> None:
            async with Manager() as manager:
                assert (await ask(manager, listener())).status == 200

        run(main())

    def test_a_socket_that_stays_closed_to_others(self, soon: None, run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
        def closed(path: str) -> int:
            raise PermissionError(13, "Permission denied")

        monkeypatch.setattr(door, "_connected", closed)

        async def main() -> None:
            async with Manager() as manager:
                with pytest.raises(LaunchFailed, match=r"within 0\.5 s of its start: Permission denied"):
                    await ask(manager, listener())

        run(main())

    def test_five_seconds_without_a_word(self) -> None:
        assert HttpStreamProtocol.listening == Listening("lsnr.sock", 5.0, 1.0)

    def test_starts_that_share_a_processor_have_longer(self, monkeypatch: pytest.MonkeyPatch, run: Run) -> None:
        monkeypatch.setattr(HttpStreamProtocol, "listening", Listening(within=0.3))
        monkeypatch.setattr(meeting, "_PROCESSORS", 1)

        async def main() -> None:
            async with Manager() as manager:
                specs = [listener("after_a_while", name=f"f{number}") for number in range(8)]
                replies = await asyncio.gather(*(facts(manager, spec) for spec in specs))
                assert len({one["pid"] for one in replies}) == 8
                with pytest.raises(LaunchFailed, match=r"within 0\.3"):
                    await ask(manager, listener("after_a_while"))

        run(main())

    def test_its_exit_is_told_with_its_last_words(self, run: Run) -> None:
        async def main() -> None:
            async with Manager() as manager:
                with pytest.raises(LaunchFailed, match="(?s)code 1 before it listened; .*says the function") as caught:
                    await ask(manager, listener("exits"))
                assert caught.value.status == 502

        run(main())

    def test_a_program_that_is_not_there(self, run: Run) -> None:
        async def main() -> None:
            async with Manager() as manager:
                with pytest.raises(LaunchFailed, match="no-such-program"):
                    await ask(manager, listener(command=("no-such-program",)))

        run(main())

    @pytest.mark.parametrize("target", ["../../elsewhere", "/run/elsewhere", "..", "."])
    def test_b20_a_link_out_of_the_directory_is_refused(self, run: Run, target: str) -> None:
        async def main() -> None:
            async with Manager() as manager:
                with pytest.raises(LaunchFailed, match="is a link to .*only a socket in the same directory"):
                    await ask(manager, listener("away", env={"ELSEWHERE": target}))

        run(main())

    @pytest.mark.parametrize("how", ["a_file", "two_links"])
    def test_b20_what_is_no_socket_is_refused(self, run: Run, how: str) -> None:
        async def main() -> None:
            async with Manager() as manager:
                with pytest.raises(LaunchFailed, match=r"lsnr\.sock, where it should listen, is no socket"):
                    await ask(manager, listener(how))

        run(main())

    def test_nobody_overrides_where_to_listen(self, run: Run) -> None:
        async def main() -> None:
            async with Manager() as manager:
                one = await facts(manager, listener(env={"FN_LISTENER": "unix:/elsewhere/mine.sock"}))
                assert one["path"].endswith("/s/lsnr.sock")

        run(main())

    def test_a_start_that_is_called_back_leaves_nothing(self, run: Run) -> None:
        async def main() -> None:
            async with Manager() as manager:
                with pytest.raises(LaunchFailed, match=r"start_timeout, 0\.3 s"):
                    await ask(manager, listener("never", start_timeout=0.3, stop_grace=0.1))

        run(main())

    def test_a_manager_that_is_closed_meanwhile(self, run: Run) -> None:
        async def main() -> None:
            async with Manager() as manager:
                call = asyncio.create_task(ask(manager, listener("never")))
                await asyncio.sleep(0.2)
                await manager.aclose(kill=True)
                with contextlib.suppress(Exception):
                    await call
                assert call.exception() is not None

        run(main())

    @pytest.mark.skipif(os.geteuid() != 0, reason="needs root")
    def test_a_copy_that_runs_as_another(self, run: Run) -> None:
        async def main() -> None:
            os.chmod(tempfile.gettempdir(), 0o755)
            async with Manager() as manager:
                command = ("/usr/bin/python3", "-I", "-S", "-c", Path(GUEST).read_text())
                one = await facts(manager, listener(command=command, driver_options={"user": "nobody"}))
                assert one["uid"] == 65534

        run(main())

    def test_a_path_that_is_too_long(self, monkeypatch: pytest.MonkeyPatch, own_directory: Path, run: Run) -> None:
        long = own_directory / ("x" * 100)
        long.mkdir()
        monkeypatch.setattr(tempfile, "tempdir", str(long))

        async def main() -> None:
            async with Manager() as manager:
                with pytest.raises(LaunchFailed, match="too long for a socket; set TMPDIR"):
                    await ask(manager, listener())

        run(main())
        long.rmdir()

    def test_a_directory_that_cannot_be_made(self, monkeypatch: pytest.MonkeyPatch, run: Run) -> None:
        monkeypatch.setattr(tempfile, "tempdir", "/nowhere/at/all")

        async def main() -> None:
            async with Manager() as manager:
                with pytest.raises(LaunchFailed, match="cannot make a directory .* set TMPDIR"):
                    await ask(manager, listener())

        run(main())

    def test_somebody_cleans_up_in_between(self, own_directory: Path, run: Run) -> None:
        async def main() -> None:
            async with Manager() as manager:
                await ask(manager, listener(max_calls=1))
                (base,) = own_directory.iterdir()
                shutil.rmtree(base)
                assert (await facts(manager, listener(name="other")))["served"] == 1

        run(main())


class TestConnections:
    def test_one_without_calls_is_closed_and_made_anew(self, soon: None, run: Run) -> None:
        async def main() -> None:
            async with Manager() as manager:
                before = await facts(manager, listener())
                await asyncio.sleep(0.25)
                after = await facts(manager, listener())
                assert (after["pid"], after["connections"]) == (before["pid"], before["connections"] + 1)

        run(main())

    def test_one_with_a_long_call_is_left_open(self, soon: None, run: Run) -> None:
        async def main() -> None:
            async with Manager() as manager:
                with pytest.raises(CallTimeout):
                    await ask(manager, listener(timeout=0.5), "hang")

        run(main())

    def test_b22_one_that_the_copy_closes_between_calls(self, run: Run) -> None:
        async def main() -> None:
            async with Manager() as manager:
                for number in range(1, 11):
                    one = await facts(manager, listener(), "then_close")
                    assert (one["connections"], one["served"]) == (number, number)

        run(main())

    def test_b22_one_that_is_closed_with_the_next_call_unread(self, run: Run) -> None:
        async def main() -> None:
            async with Manager() as manager:
                for number in range(1, 21):
                    one = await facts(manager, listener(), "then_close_on_the_next")
                    assert (one["connections"], one["served"]) == (number, number)

        run(main())

    def test_a_large_call_is_sent_again_whole(self, run: Run) -> None:
        async def main() -> None:
            async with Manager() as manager:
                for _ in range(3):
                    await ask(manager, listener(), "then_close_on_the_next")
                    reply = await manager.call(listener(), b"x" * 1_000_000, headers={"X-Do": "size"})
                    assert len(reply.body) == 1_000_000

        run(main())

    def test_a_call_that_was_read_is_never_sent_again(self, run: Run) -> None:
        async def main() -> None:
            async with Manager() as manager:
                await ask(manager, listener())
                with pytest.raises(BadReply, match="closed its connection and still owed its reply"):
                    await ask(manager, listener(), "close_unanswered")

        run(main())

    def test_a_reply_that_is_cut_short(self, run: Run) -> None:
        async def main() -> None:
            async with Manager() as manager:
                with pytest.raises(BadReply, match="still owed 2 of the 5 bytes"):
                    await ask(manager, listener(), "half")
                assert (await facts(manager, listener()))["served"] == 1

        run(main())

    def test_a_reply_that_its_connection_ends(self, run: Run) -> None:
        async def main() -> None:
            async with Manager() as manager:
                before = await facts(manager, listener())
                for _ in range(3):
                    reply = await ask(manager, listener(), "to_the_end")
                    assert reply.body == b"to the end"
                    assert reply.ran < 0.2  # nobody waited for anything else
                assert (await facts(manager, listener()))["pid"] == before["pid"]

        run(main())

    def test_a_connection_that_says_it_closes_gets_no_other_call(self, run: Run) -> None:
        """Such a server may close one direction at once and read on for a while, without ever answering."""

        async def main() -> None:
            async with Manager() as manager:
                replies = await asyncio.gather(*(facts(manager, listener(), "says_close") for _ in range(20)))
                assert len({one["pid"] for one in replies}) == 1
                assert max(one["served"] for one in replies) == 20

        run(main())

    def test_the_first_connection_may_be_closed_unread_as_well(self, run: Run) -> None:
        async def main() -> None:
            async with Manager() as manager:
                spec = listener(env={"FIRST": "unread"})
                one = await facts(manager, spec)
                assert (one["connections"], one["served"]) == (2, 1)

        run(main())

    def test_a_call_that_is_never_read_is_sent_twice_at_most(self, run: Run) -> None:
        async def main() -> None:
            async with Manager() as manager:
                spec = listener(env={"FIRST": "unread", "SECOND": "unread"})
                with pytest.raises(BadReply, match="closed its connection"):
                    await facts(manager, spec)

        run(main())

    def test_what_a_copy_left_unread_is_nobodys_call(self, run: Run) -> None:
        """A body may look like a call: its answer would be the next caller's."""

        async def main() -> None:
            body = b"POST /call HTTP/1.1\r\nX-Do: size\r\nContent-Length: 3\r\n\r\nabc"
            async with Manager() as manager:
                spec = listener(env={"READS": "1", "EARLY_PAUSE": "0.1"})
                for _ in range(3):
                    await manager.call(spec, body, headers={"X-Do": "early"})
                    assert (await facts(manager, spec))["pid"]

        run(main())

    def test_bytes_that_nobody_asked_for_end_the_copy(self, run: Run) -> None:
        async def main() -> None:
            async with Manager() as manager:
                first = await facts(manager, listener(), "unasked")
                await asyncio.sleep(0.3)
                second = await facts(manager, listener())
                assert (second["served"], second["pid"] == first["pid"]) == (1, False)

        run(main())

    def test_bodies_of_many_sizes(self, run: Run) -> None:
        async def main() -> None:
            async with Manager() as manager:
                for size in (0, 1, 65_535, 65_536, 65_537, 1 << 20, 5_000_000):
                    reply = await manager.call(listener(), b"y" * size, headers={"X-Do": "size"})
                    assert reply.body == b"x" * size

        run(main())

    def test_a_reply_before_the_call_was_read(self, run: Run) -> None:
        """What is left of a call must not reach the copy in front of the next one."""

        async def main() -> None:
            async with Manager() as manager:
                reply = await manager.call(listener(), b"z" * 3_000_000, headers={"X-Do": "early"})
                assert reply.body == b"early"
                with contextlib.suppress(BadReply):  # the guest takes the rest for a call, and breaks
                    await facts(manager, listener(timeout=5))
                assert (await facts(manager, listener()))["pid"]

        run(main())


class TestEnds:
    def test_a_crash_under_a_call(self, run: Run) -> None:
        async def main() -> None:
            async with Manager() as manager:
                await ask(manager, listener())
                with pytest.raises(InstanceExited, match="(?s)code 3 .*crashing"):
                    await ask(manager, listener(), "crash")
                assert (await facts(manager, listener()))["served"] == 1

        run(main())

    def test_an_answer_and_an_exit(self, run: Run) -> None:
        async def main() -> None:
            async with Manager() as manager:
                for _ in range(5):
                    assert (await ask(manager, listener(), "answer_and_exit")).body == b"bye"
                    while (stats := manager.stats()["default/listener"]).idle or stats.stopping:  # noqa: ASYNC110
                        await asyncio.sleep(0.01)

        run(main())

    def test_what_is_left_in_the_directory_is_removed(self, own_directory: Path, run: Run) -> None:
        async def main() -> None:
            async with Manager() as manager:
                spec = listener(max_calls=1, idle_timeout=0)
                for files in (0, 3, 200):
                    await ask(manager, spec, "litter", files=files)
                for _ in range(200):
                    if not list(own_directory.glob("*/*/s")):
                        break
                    await asyncio.sleep(0.02)
                assert not list(own_directory.glob("*/*/s"))

        run(main())

    def test_a_frozen_copy_is_thawed_for_the_next_call(self, soon: None, run: Run) -> None:
        async def main() -> None:
            async with Manager() as manager:
                spec = listener(freeze_after=0.05)
                first = await facts(manager, spec)
                await asyncio.sleep(0.3)
                second = await facts(manager, spec)
                assert second["pid"] == first["pid"]

        run(main())

    def test_idle_copies_leave_nothing(self, own_directory: Path, run: Run) -> None:
        async def main() -> None:
            async with Manager() as manager:
                await ask(manager, listener(idle_timeout=0.05))
                for _ in range(500):
                    if not list(own_directory.glob("*/[0-9]*")):
                        break
                    await asyncio.sleep(0.02)
                assert not list(own_directory.glob("*/[0-9]*"))

        run(main())


class TestTheLog:
    def test_what_is_printed_is_logged_by_whole_lines(self, run: Run) -> None:
        lines: list[str] = []

        class Log:
            @hookimpl
            def hotfn_stderr_line(self, line: StderrLine) -> None:
                lines.append(line.text)

        async def main() -> None:
            async with Manager(plugins=[Log()]) as manager:
                await ask(manager, listener(), "say", stdout="HTTP/1.1 500 x\n\nhal", stderr="")
                await ask(manager, listener(), "say", stdout="f\nunfinished", stderr="from stderr\n")

        run(main())
        for line in ("listening by_link", "HTTP/1.1 500 x", "half", "from stderr", "unfinished"):
            assert line in lines


class TestStatus:
    @pytest.mark.parametrize("status", ["500 x", "418 x", "404 x", "201 x", "301 x"])
    def test_a_status_that_means_nothing_ends_the_copy(self, run: Run, status: str) -> None:
        async def main() -> None:
            async with Manager() as manager:
                before = await facts(manager, listener())
                with pytest.raises(BadReply, match=f"HTTP status {status[:3]}"):
                    await ask(manager, listener(), "status", status=status)
                assert (await facts(manager, listener()))["pid"] != before["pid"]

        run(main())

    @pytest.mark.parametrize("status", ["502 x", "504 x"])
    def test_a_failure_of_the_function_leaves_the_copy_hot(self, run: Run, status: str) -> None:
        async def main() -> None:
            async with Manager() as manager:
                before = await facts(manager, listener())
                reply = await ask(manager, listener(), "status", status=status)
                assert reply.status == int(status[:3])
                assert (await facts(manager, listener()))["pid"] == before["pid"]

        run(main())


class TestLeftovers:
    def left(self, base: Path, labels: Mapping[str, object] | str | None) -> Path:
        path = base / f"{places.PREFIX}{os.urandom(4).hex()}"
        (path / "1" / "s").mkdir(parents=True)
        if labels is not None:
            (path / "owner.json").write_text(labels if isinstance(labels, str) else json.dumps(labels))
        return path

    def test_those_of_dead_runtimes_go_and_no_others(self, own_directory: Path) -> None:
        ours = Runtime.current().as_labels()
        dead = self.left(own_directory, ours | {"started": "1", "runtime": "another"})
        kept = [
            self.left(own_directory, ours),
            self.left(own_directory, ours | {"host": "another"}),
            self.left(own_directory, None),
            self.left(own_directory, "no json"),
            self.left(own_directory, "[]"),
            own_directory / f"{places.PREFIX}file",
            own_directory / f"{places.PREFIX}link",
        ]
        kept[-2].write_text("")
        kept[-1].symlink_to(kept[0])
        assert sweep() == 1
        assert not dead.exists()
        assert all(one.exists() for one in kept)
        for one in reversed(kept):
            one.unlink() if one.is_symlink() or one.is_file() else shutil.rmtree(one)

    def test_what_cannot_be_removed_stays_known(self, own_directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        dead = self.left(own_directory, Runtime.current().as_labels() | {"started": "1"})
        with monkeypatch.context() as patched:
            patched.setattr(shutil, "rmtree", lambda path, ignore_errors: None)  # as it is with another user's files
            assert sweep() == 0
        assert (dead / "owner.json").exists()
        assert sweep() == 1

    def test_it_is_done_when_a_manager_makes_its_first(self, own_directory: Path, run: Run) -> None:
        dead = self.left(own_directory, Runtime.current().as_labels() | {"started": "1"})

        async def main() -> None:
            async with Manager() as manager:
                await ask(manager, listener())
                for _ in range(500):
                    if not dead.exists():
                        break
                    await asyncio.sleep(0.02)
                assert not dead.exists()

        run(main())


class TestRefusals:
    def test_a_driver_that_shares_nothing(self, run: Run) -> None:
        async def main() -> None:
            async with Manager(plugins=[FakePlugin(FakeDriver())]) as manager:
                with pytest.raises(ConfigError, match="cannot share a directory"):
                    await manager.call(fake_spec(format="http-stream"))

        run(main())

    def test_a_cold_protocol_that_listens(self, run: Run) -> None:
        class Cold(FakeProtocol):
            name: ClassVar[str] = "cold-listener"
            hot: ClassVar[bool] = False
            listening: ClassVar[Listening | None] = Listening()

        class Plugin:
            @hookimpl
            def hotfn_register_protocols(self) -> Mapping[str, type[IOProtocol]]:
                return {"cold-listener": Cold}

        async def main() -> None:
            async with Manager(plugins=[Plugin()]) as manager:
                with pytest.raises(PluginError, match="copies that listen must be hot"):
                    await manager.call(FunctionSpec(name="f", command=("true",), format="cold-listener"))

        run(main())


def test_a_strangers_protocol_listens_under_its_own_name(run: Run, tmp_path: Path) -> None:
    """The contract is all that it takes: no HTTP, another name, other variables."""

    class Lines(FakeProtocol):
        name: ClassVar[str] = "lines"
        listening: ClassVar[Listening | None] = Listening(name="door")

        def listener_environment(self, path: str) -> Mapping[str, str]:
            return {"DOOR": path}

    class Plugin:
        @hookimpl
        def hotfn_register_protocols(self) -> Mapping[str, type[IOProtocol]]:
            return {"lines": Lines}

    program = tmp_path / "lines.py"
    program.write_text(
        "import os, socket\n"
        "door = socket.socket(socket.AF_UNIX); door.bind(os.environ['DOOR']); door.listen(1)\n"
        "while True:\n"
        "    stream = door.accept()[0].makefile('rwb', 0)\n"
        "    for line in stream: stream.write(b'=' + line)\n"
    )

    async def main() -> None:
        async with Manager(plugins=[Plugin()]) as manager:
            spec = FunctionSpec(name="f", command=(sys.executable, "-S", str(program)), format="lines")
            replies = [await manager.call(spec, b"hello") for _ in range(3)]
            assert [one.cold for one in replies] == [True, False, False]

    run(main())


def test_a_socket_that_may_not_be_connected_to(tmp_path: Path) -> None:
    from hotfn_core.errors import DriverError
    from hotfn_core.meeting.door import Door

    other = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)  # there, and of the wrong kind
    other.bind(str(tmp_path / "door"))
    with pytest.raises(DriverError, match="cannot be connected to"):
        Door(str(tmp_path), "door").knock()
    other.close()
