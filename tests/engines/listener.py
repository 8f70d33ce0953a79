"""A function that listens on a unix socket, as kits for Fn do: run in containers with `python3 -c`, by its text.

The body of a call is a word: `exit` ends it without a reply, all others are answered with what it knows of itself.
LISTENER says what it does instead of listening: `never`, or `leads away` with a link to a path.
"""

import json
import os
import socket
import sys
import time
from pathlib import Path

DOOR = os.environ["FN_LISTENER"].removeprefix("unix:")
HABIT = os.environ.get("LISTENER", "")


def listen() -> socket.socket:
    """Make the socket by another name, and give it the right one when it can be used."""
    directory, name = os.path.split(DOOR)
    door = socket.socket(socket.AF_UNIX)
    door.bind(f"{directory}/phony{name}")
    Path(directory, f"phony{name}").chmod(0o666)
    door.listen()
    Path(DOOR).symlink_to("/etc/hostname" if HABIT == "leads away" else f"phony{name}")
    return door


def message(connection: socket.socket, held: bytes) -> tuple[bytes, bytes, bytes]:
    """Return head, body, and what came behind them; an empty head when the connection was closed."""
    while b"\r\n\r\n" not in held:
        more = connection.recv(1 << 16)
        if not more:
            return b"", b"", b""
        held += more
    head, _, held = held.partition(b"\r\n\r\n")
    (length,) = (int(line.partition(b":")[2]) for line in head.split(b"\r\n") if line.startswith(b"Content-Length:"))
    while len(held) < length:
        held += connection.recv(1 << 16)
    return head, held[:length], held[length:]


def main() -> None:
    """Answer calls on one connection after the other."""
    if HABIT == "never":
        time.sleep(3600)
    door, calls = listen(), 0
    for connections in range(1, 1000):
        connection, _ = door.accept()
        held = b""
        while True:
            head, body, held = message(connection, held)
            if not head:
                break
            if body == b"exit":
                os._exit(3)
            calls += 1
            said = {"calls": calls, "connections": connections, "pid": os.getpid(), "uid": os.getuid()}
            reply = json.dumps(said | {"body": body.decode(), "head": head.decode()}).encode()
            connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(reply), reply))
        connection.close()
        print(f"closed {connections}", file=sys.stderr, flush=True)


main()
