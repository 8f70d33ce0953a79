"""The function that the tests of hotfn_function call. The body says what to do."""

from __future__ import annotations

import os
import subprocess
import sys
from typing import Any

from hotfn_function import BadCall, Call, Reply, serve


class Teapot(Exception):
    status = 418


def tell(call: Call) -> Any:
    return {
        "id": call.id,
        "method": call.method,
        "url": call.url,
        "headers": call.headers,
        "content_type": call.content_type,
        "deadline": call.deadline,
        "remaining": call.remaining(),
        "pid": os.getpid(),
    }


def stray(call: Call) -> bytes:
    print("printed")
    os.write(1, b"written\n")
    os.system("echo from a shell")  # noqa: S605 - that is what people do
    subprocess.run(["cat"], check=True)  # would eat the next call, and wait for it
    return b"clean"


def fail(error: BaseException) -> Any:
    raise error


DEEDS: dict[bytes, Any] = {
    b"tell": tell,
    b"stray": stray,
    b"boom": lambda call: fail(ValueError("boom")),
    b"silent": lambda call: fail(ValueError()),
    b"teapot": lambda call: fail(Teapot("short and stout")),
    b"bad": lambda call: fail(BadCall("not like that")),
    b"not json": lambda call: call.json(),
    b"none": lambda call: None,
    b"text": lambda call: "gr\u00fc\u00df dich",
    b"list": lambda call: [1, "\u2603", None],
    b"odd": lambda call: object(),
    b"binary": lambda call: b"\xff\x00\xfe",
    b"created": lambda call: Reply("made", 201, {"X-Made": "yes", "Content-Type": "text/x-made"}),
    b"twice": lambda call: Reply(b"", 200, [("X-Two", "one"), ("X-Two", "two")]),
    b"inject": lambda call: Reply(b"", 200, {"X-Bad": "a\r\nX-Worse: b"}),
    b"length": lambda call: Reply(b"four", 200, {"Content-Length": "1", "Transfer-Encoding": "chunked"}),
    b"status": lambda call: Reply(b"", 99),
    b"exit": lambda call: sys.exit(3),
}


def handle(call: Call) -> Any:
    return DEEDS.get(bytes(call.body), lambda call: call.body)(call)


async def handle_later(call: Call) -> Any:
    return handle(call)


if __name__ == "__main__":
    serve(handle_later if "--async" in sys.argv else handle)
