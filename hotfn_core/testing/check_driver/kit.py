"""What the checks of a driver work with: a guest program, the copies of it, and a look at what is left of them."""

from __future__ import annotations

import asyncio
import contextlib
import json
import secrets
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from hotfn_core.driver import Container, ContainerSpec, Driver
from hotfn_core.model import FunctionSpec
from hotfn_core.testing import guests

from .recorder import Recorder

Script = dict[str, Any]

PRIVATE = "CHECK_PRIVATE"
"""A variable of this process while the checks run, which no copy may see."""


class Unsupported(Exception):
    """This driver cannot do, or this machine cannot show, what a check looks at, and the contract allows that."""


@dataclass(frozen=True, kw_only=True)
class Guest:
    """How the guest program gets into a copy: the fields of a function that run `hotfn_core.testing.guests.SCRIPTED`.

    For containers: an image with Python, and `command=("python3", "-c", guests.one_file())`.
    """

    command: tuple[str, ...] = (sys.executable, guests.SCRIPTED)
    image: str = ""
    options: Mapping[str, Any] = field(default_factory=dict)


class Copy:
    """One launched guest."""

    def __init__(self, container: Container, recorder: Recorder, patience: float) -> None:
        self.container = container
        self.recorder = recorder
        self.patience = patience
        self._answered = 0

    def write(self, data: bytes) -> None:
        """Write as hotfn does, and watch that no callback comes from inside."""
        self.recorder.writing = True
        try:
            self.container.write(data)
        finally:
            self.recorder.writing = False

    def send(self, body: Script | str) -> None:
        """Write one call in the format `json`."""
        text = body if isinstance(body, str) else json.dumps(body)
        self.write(json.dumps({"call_id": "check", "body": text}).encode() + b"\n")

    async def call(self, body: Script | str) -> str:
        """Write one call and return the body of its reply."""
        self.send(body)
        return await self.reply()

    async def report(self, body: Script) -> dict[str, Any]:
        """Write one call whose reply is a report, and return that."""
        return dict(json.loads(await self.call(body)))

    async def reply(self) -> str:
        """Return the body of the next reply."""
        out, start = self.recorder.out, self._answered
        await self.until(lambda: b"\n" in out[start:] or self.recorder.exit is not None, "a reply")
        line, newline, _ = bytes(out[start:]).partition(b"\n")
        assert newline, f"no reply; {self.recorder}"
        self._answered += len(line) + 1
        return str(json.loads(line)["body"])

    async def until(self, happened: Callable[[], bool], what: str) -> None:
        await self.recorder.until(happened, what, self.patience)

    async def exited(self) -> None:
        """Wait for the exit."""
        await self.until(lambda: self.recorder.exit is not None, "the exit")


class Kit:
    """One driver under test, opened, and everything that a check launches with it."""

    def __init__(self, driver: Driver, guest: Guest, patience: float) -> None:
        self.driver = driver
        self.guest = guest
        self.patience = patience
        self.copies: list[Copy] = []
        self.recorders: list[Recorder] = []
        self.token = f"check-{secrets.token_hex(8)}"
        """In the environment of every copy, and in the arguments of its grandchildren."""

    def spec(self, script: Script | None = None, wire: str = "json", **changes: Any) -> ContainerSpec:
        """Describe a copy that performs `script` first and then speaks `wire`."""
        env = {"FN_FORMAT": wire, "CHECK_TOKEN": self.token} | changes.pop("env", {})
        if script:
            env["GUEST_START"] = json.dumps(script)
        number = len(self.recorders)
        fields = {"command": self.guest.command, "image": self.guest.image, "options": self.guest.options}
        fields |= {"function": "check/driver", "instance": f"{self.token}-{number}", "identity": "0" * 64}
        return ContainerSpec(**(fields | changes), env=env)

    def function(self, **changes: Any) -> FunctionSpec:
        """Describe the function whose copies these are, as `Driver.validate` gets it."""
        guest = self.guest
        fields = {"name": "driver", "app": "check", "driver": self.driver.name, "format": "json"}
        given = {"command": guest.command, "image": guest.image, "driver_options": dict(guest.options)}
        return FunctionSpec(**(fields | given | changes))

    def recorder(self) -> Recorder:
        self.recorders.append(Recorder())
        return self.recorders[-1]

    async def launch(self, script: Script | None = None, wire: str = "json", **changes: Any) -> Copy:
        """Launch one guest that performs `script` first and then speaks `wire`."""
        spec, recorder = self.spec(script, wire, **changes), self.recorder()
        async with asyncio.timeout(self.patience):
            container = await self.driver.launch(spec, recorder)
        self.copies.append(Copy(container, recorder, self.patience))
        return self.copies[-1]

    async def ready(self, script: Script | None = None, **changes: Any) -> Copy:
        """Launch one guest and return when it has performed `script` and answered a first call."""
        copy = await self.launch(script, **changes)
        assert await copy.call("ready?") == "ready?"
        return copy

    async def stopped(self, copy: Copy, grace: float) -> float:
        """Stop a copy and return how long that took."""
        began = time.monotonic()
        async with asyncio.timeout(grace + self.patience):
            await copy.container.stop(grace)
        assert copy.recorder.exit is not None, "stop returned before exited was called"
        return time.monotonic() - began

    async def freeze(self, copy: Copy) -> None:
        """Freeze a copy. Raises Unsupported when the driver says that it cannot."""
        says = type(self.driver).freezes
        try:
            await asyncio.wait_for(copy.container.freeze(), self.patience)
        except NotImplementedError:
            assert not says, "the driver says that it freezes, and its containers cannot"
            raise Unsupported("this driver cannot freeze") from None
        assert says, "containers can be frozen, and the driver does not say so: freezes = True"

    def seen(self) -> list[int]:
        """Return the pids of this machine that carry the token."""
        return list(_carriers(self.token.encode()))

    def must_see(self) -> None:
        """Raise Unsupported when processes of this driver cannot be seen in /proc, so that none left means nothing."""
        if not self.seen():
            raise Unsupported("the driver's processes cannot be seen in /proc of this machine")

    async def gone(self, what: str) -> None:
        """Wait until nothing carries the token. A killed process may take a moment to leave."""
        end = time.monotonic() + min(2.0, self.patience)
        while pids := self.seen():
            assert time.monotonic() < end, f"{what} left {len(pids)} processes alive (pids {pids[:5]})"
            await asyncio.sleep(0.01)

    async def close(self) -> None:
        """End every copy and the driver."""
        for copy in self.copies:
            if copy.recorder.exit is None:
                with contextlib.suppress(Exception):  # the check has failed already, and this only tidies up
                    await self.stopped(copy, 0)
        async with asyncio.timeout(self.patience):
            await self.driver.aclose()

    def verify(self) -> None:
        """Raise AssertionError when any copy of the check broke the order of the callbacks."""
        broken = [text for recorder in self.recorders for text in recorder.violations]
        assert not broken, "; ".join(dict.fromkeys(broken))


def _carriers(token: bytes) -> list[int]:
    processes = (entry for entry in Path("/proc").iterdir() if entry.name.isdecimal())
    return [int(one.name) for one in processes if any(token in _content(one / name) for name in ("environ", "cmdline"))]


def _content(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError:  # it has ended, or is another user's
        return b""
