"""Today's kits for Fn in containers, hot over `http-stream`: functions that nobody here wrote the wire code of.

The env `real` installs the kits and runs this; tests/real has the functions, and tests of the same kits as processes.
"""

from __future__ import annotations

import os
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from hotfn_core import BadReply, FunctionSpec, Manager, Reply

from .calling import Log, copies, run, until
from .setup import Engine, EngineSet, images

FUNCTIONS = Path(__file__).parents[1] / "real" / "functions"
INSTALLED = Path(os.environ["HOTFN_KITS"])
THIS = f"python{sys.version_info.major}.{sys.version_info.minor}"
KITS = "/kits"
CODE = "/functions"


@dataclass(frozen=True)
class Kit:
    """A function of a kit: the directory with what it needs, and how it is started, in an image with Python or Node."""

    name: str
    command: tuple[str, ...]
    env: dict[str, str]
    image: str = images.PYTHON
    ends: bool = False
    """With a function that fails, as the status of its reply is none that http-stream knows."""


def python(name: str, *command: str, **more: Any) -> Kit:
    folder = f"{KITS}/{name}"
    env = {"PYTHONPATH": f"{folder}:{CODE}"}
    return Kit(name, ("python3", "-S", f"{folder}/bin/{command[0]}", *command[1:]), env, **more)


ALL = (
    python("fdk-0.1.128", "fdk", f"{CODE}/fdk_stream.py", "handler"),
    python("fdk-asgi-0.7.2", "fdk-asgi-serve", "asgi_stream:app", ends=True),
    Kit(
        "fnproject-fdk",
        ("node", f"{CODE}/node_stream.js"),
        {"NODE_PATH": f"{KITS}/fnproject-fdk/node_modules"},
        images.NODE,
    ),
)


@pytest.fixture(params=ALL, ids=lambda kit: kit.name)
def kit(request: pytest.FixtureRequest) -> Kit:
    """One kit after the other."""
    one: Kit = request.param
    return one


@pytest.fixture
def spec(kit: Kit, engine: Engine, engines: EngineSet) -> FunctionSpec:
    """A function of the kit, confined as usual."""
    if kit.image == images.PYTHON and images.INTERPRETER.resolve().name != THIS:
        why = f"the kits were installed for {THIS}, and the image has {images.INTERPRETER.resolve().name}"
        if os.environ.get("CI"):  # where they must run
            pytest.fail(why, pytrace=False)
        pytest.skip(why)
    images.provide(engine, engines.archives, [kit.image])
    options = {"mounts": [f"{INSTALLED}:{KITS}", f"{FUNCTIONS}:{CODE}"]}
    return FunctionSpec(
        name=kit.name,
        driver=engine.name,
        image=engine.repository + kit.image,
        format="http-stream",
        command=kit.command,
        env=kit.env,
        driver_options=options,
    )


async def call(manager: Manager, spec: FunctionSpec, op: str, rest: bytes = b"", **how: Any) -> Reply:
    """Call an operation of the function; tests/real/kits.py says what there is."""
    return await manager.call(spec, op.encode() + b"\n" + rest, content_type="text/plain", **how)


def test_a_kit_is_hot_in_a_container(engine: Engine, spec: FunctionSpec) -> None:
    async def main() -> None:
        log = Log()
        async with Manager(plugins=[log]) as manager:
            first = await call(manager, spec, "echo", b"first")
            assert (first.status, first.body, first.cold) == (200, b"first", True)
            status = await call(manager, spec, "status")
            assert (status.status, status.body) == (418, b"short and stout")
            assert status.headers["X-Custom"] == "one"
            token = await call(manager, spec, "token", headers=[("X-Token", "t-1")])
            assert token.body == b"t-1"
            assert (await call(manager, spec, "bytes")).body == bytes(range(256))
            assert (await call(manager, spec, "echo")).body == b""
            assert (await call(manager, spec, "print", b"printed")).body == b"printed"
            large = os.urandom(1 << 20)
            assert (await call(manager, spec, "echo", large)).body == large
            for number in range(100):
                reply = await call(manager, spec, "echo", b"%d" % number)
                assert (reply.body, reply.instance) == (b"%d" % number, first.instance)
            await until(lambda: "a stray line" in [line.text for line in log.lines])
            assert len(copies(engine)) == 1

    run(main())


def test_a_function_that_fails(engine: Engine, kit: Kit, spec: FunctionSpec) -> None:
    async def main() -> None:
        async with Manager() as manager:
            first = await call(manager, spec, "echo")
            if kit.ends:
                with pytest.raises(BadReply):
                    await call(manager, spec, "raise", b"boom")
            else:
                assert (await call(manager, spec, "raise", b"boom")).status == 502
            again = await call(manager, spec, "echo", b"again")
            assert (again.body, again.instance == first.instance) == (b"again", not kit.ends)
            await until(lambda: len(copies(engine)) == 1)

    run(main())
