"""The kits of the table, installed, each with a manager that runs a function of it."""

from __future__ import annotations

import asyncio
import itertools
import os
from collections.abc import Callable, Coroutine, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from hotfn_core import FunctionSpec, Manager, Reply

from .kits import FUNCTIONS, INSTALLED, KITS, Kit

WHERE = "HOTFN_KITS"


class Function:
    """A function of a kit, and the manager that keeps it hot."""

    def __init__(self, kit: Kit, manager: Manager, spec: FunctionSpec) -> None:
        self.kit = kit
        self.manager = manager
        self.spec = spec
        self._texts = (f"call {number}" for number in itertools.count())

    async def call(self, op: str, rest: bytes = b"", **how: Any) -> Reply:
        """Call an operation of the function; see kits.py."""
        body = op.encode() + b"\n" + rest
        return await self.manager.call(self.spec, body, content_type="text/plain", **how)

    async def echo(self, text: str = "", **how: Any) -> Reply:
        """Call with a text of its own, and see that this call's answer is the one that comes."""
        text = text or next(self._texts)
        reply = await self.call("echo", text.encode(), **how)
        assert (reply.status, self.text(reply)) == (200, text)
        return reply

    def soon(self, seconds: float = 1.9) -> float:
        """Return a deadline. The start of a copy is not under it, where a first call has been."""
        return self.manager.time() + seconds

    def text(self, reply: Reply) -> str:
        """Return the text that the function meant, whatever its kit makes of it."""
        if not self.kit.quotes or reply.status == self.kit.error_status:
            return reply.body.decode()
        import json

        text: str = json.loads(reply.body)
        return text


Test = Callable[[Function], Coroutine[Any, Any, None]]
Run = Callable[..., None]


@pytest.fixture(scope="session")
def installed() -> Path:
    """Return the directory that install.py has filled. There is no way to run these tests without it."""
    if WHERE not in os.environ:
        pytest.exit(f"{WHERE} is not set to the directory that `python tests/real/install.py DIRECTORY` fills", 4)
    return Path(os.environ[WHERE])


@pytest.fixture(params=KITS, ids=lambda kit: kit.name.replace(" ", "-"))
def kit(request: pytest.FixtureRequest) -> Kit:
    """Each row of the table."""
    row: Kit = request.param
    return row


@pytest.fixture
def run(installed: Path, kit: Kit) -> Run:
    """Run a test with a function of the kit; fields of its spec may be given."""

    def run(test: Test, **fields: Any) -> None:
        async def main() -> None:
            async with Manager() as manager:
                await test(Function(kit, manager, spec_of(kit, installed, **fields)))

        asyncio.run(main())

    return run


def spec_of(kit: Kit, installed: Path, **fields: Any) -> FunctionSpec:
    """Return the function that the row describes."""

    def found(word: str) -> str:
        return word.replace(INSTALLED, str(installed)).replace(FUNCTIONS, str(Path(__file__).parent / "functions"))

    command = tuple(found(word) for word in kit.command)
    env = {name: found(value) for name, value in kit.env.items()}
    # Servers finish the call they are at before they end; what is no longer wanted is not waited for here.
    row: dict[str, Any] = {"name": "real", "format": kit.format, "command": command, "env": env, "stop_grace": 1}
    return FunctionSpec(**(row | fields))


@pytest.fixture(autouse=True)
def nothing_left_behind() -> Iterator[None]:
    """After every test: no copy that was not there before, also of those kits that do not mind the end of stdin."""
    yield
    children = psutil.Process().children(recursive=True)
    assert not children, f"left behind: {[child.cmdline() for child in children]}"
