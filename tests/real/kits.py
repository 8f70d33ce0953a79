"""What functions of each kit do: the one table that tests/real goes by.

The defaults are what one wishes for. A row says how to start a function of the kit, and where it differs. The functions
are in functions/, and all offer the same operations: the first line of the body says which, the rest is what it is
about.

    status      answers 418, X-Custom: one, "short and stout"
    token       answers with the X-Token of the request
    raise       raises an exception with the rest as its text
    bytes       answers with the 256 bytes
    print       writes a line to stdout where no line belongs, then answers with the rest
    sleep       sleeps for so many seconds
    all others  answer with the rest: "echo" by convention, and "empty" without any
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

# In a row: where the functions are, and where install.py has put the kits.
FUNCTIONS = "{functions}"
INSTALLED = "{kits}"


@dataclass(frozen=True, kw_only=True)
class Kit:
    """A kit, or a server, that functions are written with. See the fields for what a row can say."""

    name: str
    format: str
    command: tuple[str, ...]
    env: Mapping[str, str] = field(default_factory=dict)

    headers_arrive: bool = True
    """A function sees the headers of the request."""
    quotes: bool = False
    """A text comes back as a JSON string, quotes and all: the kit encodes whatever the function returns."""
    error: str = "boom"
    """The body of the reply when a function raises "boom"."""
    error_status: int = 500
    """The status of that reply."""
    error_code: str = ""
    """There is no such reply: the call fails with this code, and the copy ends."""
    bytes_out: Literal["whole", "error", "exit", "replaced"] = "whole"
    """A reply of bytes that are no text. `error`: status 500 in its place. `exit`: the copy dies. `replaced`: what is
    no text comes as U+FFFD."""
    large: Literal["whole", "slow", "error"] = "whole"
    """A call of more than 64 KiB. `slow`: the kit needs a time that grows with the square of the size, half a
    minute for a megabyte. `error`: the kit takes each piece for a call, so a 500 it is."""
    alarm: bool = False
    """A function that is too slow is interrupted by the kit itself, which answers 502."""
    rings_idle: bool = False
    """Nothing takes that alarm back: a copy that is idle when the last deadline passes dies."""
    stray: Literal["bad reply", "harmless"] = "bad reply"
    """What becomes of a line on stdout where no line belongs."""

    @property
    def text_only(self) -> bool:
        """Whether the format can carry nothing else; hotfn then refuses such a body before the function sees it."""
        return self.format == "json"


def python(script: str, kit: str = "") -> tuple[tuple[str, ...], dict[str, str]]:
    """Return command and environment of a function in Python that imports an installed kit, and nothing else: without
    `site` it does not see what is installed for the tests."""
    return (sys.executable, "-S", f"{FUNCTIONS}/{script}"), {"PYTHONPATH": f"{INSTALLED}/{kit}"} if kit else {}


def fdk(version: str, script: str, **row: object) -> Kit:
    """Return the row of a version of fdk, Fn's kit for Python."""
    command, env = python(script, f"fdk-{version}")
    return Kit(name=f"fdk {version}", command=command, env=env, **row)  # type: ignore[arg-type]  # Kit's own, by name


JSON_ERROR = '{"error":{"message":"boom"}}'

KITS = (
    # ---- format http, on stdin
    fdk("0.0.1", "fdk_0_0_1.py", format="http"),
    fdk("0.0.8", "fdk_0_0_8.py", format="http", bytes_out="error", alarm=True, rings_idle=True),
    Kit(name="node http", format="http", command=("node", f"{FUNCTIONS}/node_http.js"), error_code="instance_exited"),
    Kit(name="http.server", format="http", command=python("stdlib_http.py")[0], error_code="instance_exited"),
    # ---- format json, on stdin
    fdk("0.0.12", "fdk_json.py", format="json", error=JSON_ERROR, bytes_out="exit", large="error"),
    fdk(
        "0.0.21", "fdk_json.py", format="json", error=JSON_ERROR, bytes_out="exit", large="error",
        quotes=True, alarm=True,
    ),
    fdk(
        "0.0.26", "fdk_json.py", format="json", error=JSON_ERROR, bytes_out="exit", large="slow",
        quotes=True, alarm=True, headers_arrive=False,
    ),
    fdk(
        "0.0.33", "fdk_json.py", format="json", error=JSON_ERROR, bytes_out="exit", large="slow", alarm=True,
    ),
    Kit(
        name="jq", format="json", command=("jq", "-c", "--unbuffered", "-f", f"{FUNCTIONS}/function.jq"),
        bytes_out="replaced",
    ),
    # ---- format http-stream, on a unix socket
    Kit(
        name="fdk 0.1.128", format="http-stream", stray="harmless", error_status=502,
        command=(sys.executable, "-S", f"{INSTALLED}/fdk-0.1.128/bin/fdk", f"{FUNCTIONS}/fdk_stream.py", "handler"),
        env={"PYTHONPATH": f"{INSTALLED}/fdk-0.1.128"},
    ),
    Kit(
        name="@fnproject/fdk 0.0.76", format="http-stream", stray="harmless", error_status=502,
        error='{"message":"Exception in function, consult logs for details","detail":"Error: boom"}',
        command=("node", f"{FUNCTIONS}/node_stream.js"),
        env={"NODE_PATH": f"{INSTALLED}/fnproject-fdk/node_modules"},
    ),
    Kit(
        name="fdk-asgi 0.7.2", format="http-stream", stray="harmless", error_code="bad_reply",  # HTTP status 500
        command=(sys.executable, "-S", f"{INSTALLED}/fdk-asgi-0.7.2/bin/fdk-asgi-serve", "asgi_stream:app"),
        env={"PYTHONPATH": f"{INSTALLED}/fdk-asgi-0.7.2:{FUNCTIONS}"},
    ),
)  # fmt: skip
