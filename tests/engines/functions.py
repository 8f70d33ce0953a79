"""Functions for the tests of engines: the scripted guest, or some Python, in a container, called through a Manager."""

from __future__ import annotations

import asyncio
import json
from typing import Any

from hotfn_core import FunctionSpec, Manager, Reply
from hotfn_core.testing import guests

from .setup import Engine


def function(engine: Engine, code: str = "", **fields: Any) -> FunctionSpec:
    """Return the scripted guest, or a cold function of this code. What is no field of FunctionSpec is an option."""
    options = {name: fields.pop(name) for name in list(fields) if name not in FunctionSpec.__dataclass_fields__}
    made = {
        "name": "guest",
        "driver": engine.name,
        "image": engine.image_python,
        "command": ("python3", "-c", code or guests.one_file()),
        "format": "default" if code else "json",
        "driver_options": options | fields.pop("driver_options", {}),
    }
    return FunctionSpec(**(made | fields))


async def answered(spec: FunctionSpec, *bodies: bytes) -> list[Reply]:
    """Make these calls at the same time, and return their replies. Raises what the first one that fails does."""
    async with Manager() as manager:
        return await asyncio.gather(*(manager.call(spec, body) for body in bodies))


def run(spec: FunctionSpec) -> str:
    """Call a function once and return what it wrote."""
    return asyncio.run(answered(spec, b""))[0].body.decode()


def report(spec: FunctionSpec, **script: Any) -> dict[str, Any]:
    """Have the scripted guest do something, and return its report."""
    (reply,) = asyncio.run(answered(spec, json.dumps(script).encode()))
    return dict(json.loads(reply.body))


def errors(spec: FunctionSpec, **script: Any) -> list[str]:
    """Have the scripted guest do something, and return what went wrong with it."""
    return list(report(spec, **script)["errors"])
