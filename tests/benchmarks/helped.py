"""What hotfn_function costs: the same function with it and by hand against raw descriptors, and how long it takes to
start."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import hotfn_function
import uvloop
from contenders import Hot

PYTHON = (sys.executable, "-I", "-S", "-c")
FOLDER = str(Path(str(hotfn_function.__file__)).parent)
HELPED = f"""
import sys
sys.path.append({FOLDER!r})
from hotfn_function import serve
serve(lambda call: call.body)
"""
BY_HAND = {
    "http": r"""
import os
data = b""
while True:
    while (end := data.find(b"\r\n\r\n")) < 0:
        piece = os.read(0, 65536)
        if not piece:
            raise SystemExit
        data += piece
    head = data[:end].lower()
    at = head.find(b"content-length:")
    size = int(head[at + 15:].split(b"\r\n", 1)[0]) if at >= 0 else 0
    while len(data) < end + 4 + size:
        data += os.read(0, 65536)
    body, data = data[end + 4:end + 4 + size], data[end + 4 + size:]
    os.write(1, b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body))
""",
    "json": r"""
import json, os
data = b""
while True:
    while data[-1:] != b"\n":
        piece = os.read(0, 65536)
        if not piece:
            raise SystemExit
        data += piece
    call = json.loads(data)
    data = b""
    os.write(1, json.dumps({"body": call["body"]}).encode() + b"\n")
""",
}
"""The shortest that is right for the calls of this case."""


class Guest(Hot):
    """`Manager.call` on a hot copy of a program in Python."""

    def __init__(self, code: str, protocol: str) -> None:
        super().__init__(Path(sys.executable), uvloop.new_event_loop, protocol)
        self._spec = self._spec.replace(command=(*PYTHON, code))


class Start:
    """How much longer a function with the helper takes, from its start to its end without a call, than `pass` does."""

    def __init__(self, protocol: str) -> None:
        self._environment = {**os.environ, "FN_FORMAT": protocol}

    def calls(self, count: int) -> float:
        return sum(self._run(HELPED) - self._run("pass") for _ in range(count)) / count

    def _run(self, code: str) -> float:
        begin = time.perf_counter()
        subprocess.run((*PYTHON, code), check=True, stdin=subprocess.DEVNULL, env=self._environment)
        return time.perf_counter() - begin

    def close(self) -> None: ...
