"""A function that listens, and does with its socket and its connections what its arguments and its calls say.

A call is a JSON object: `{"do": NAME, ...}`. Replies tell the pid, the connections and the calls so far.
"""

import json
import os
import re
import select
import socket
import sys
import time
from typing import Any

Call = dict[str, Any]
PATH = os.environ["FN_LISTENER"].removeprefix("unix:")
DIRECTORY, NAME = os.path.split(PATH)
served = connections = 0


def main(how: str) -> None:
    listener = socket.socket(socket.AF_UNIX)
    APPEAR[how](listener)
    print("listening", how, flush=True)
    while True:
        connection, _ = listener.accept()
        serve(connection)
        connection.close()


def bind(listener: socket.socket, name: str) -> None:
    listener.bind(os.path.join(DIRECTORY, name))
    os.chmod(os.path.join(DIRECTORY, name), 0o666)


def by_link(listener: socket.socket) -> None:
    bind(listener, "phony" + NAME)
    listener.listen(8)
    os.symlink("phony" + NAME, PATH)


def itself(listener: socket.socket) -> None:
    bind(listener, NAME)
    time.sleep(0.05)  # bound and not listening yet, as some kits are for a moment
    listener.listen(8)


def by_hard_link(listener: socket.socket) -> None:
    bind(listener, "phony" + NAME)
    listener.listen(8)
    os.link(PATH.replace(NAME, "phony" + NAME), PATH)


def renamed(listener: socket.socket) -> None:
    bind(listener, NAME + ".tmp")
    listener.listen(8)
    os.rename(PATH + ".tmp", PATH)


def dangling_first(listener: socket.socket) -> None:
    os.symlink("late", PATH)
    time.sleep(0.05)
    bind(listener, "late")
    listener.listen(8)


def after_a_while(listener: socket.socket) -> None:
    time.sleep(0.9)
    by_link(listener)


def never(listener: socket.socket) -> None:
    time.sleep(60)


def exits(listener: socket.socket) -> None:
    sys.exit("cannot listen, says the function")


def a_file(listener: socket.socket) -> None:
    open(PATH, "w").close()
    time.sleep(60)


def away(listener: socket.socket) -> None:
    os.symlink(os.environ["ELSEWHERE"], PATH)
    time.sleep(60)


def two_links(listener: socket.socket) -> None:
    bind(listener, "real")
    listener.listen(8)
    os.symlink("real", os.path.join(DIRECTORY, "first"))
    os.symlink("first", PATH)
    time.sleep(60)


APPEAR = {
    one.__name__: one
    for one in (
        by_link,
        itself,
        by_hard_link,
        renamed,
        dangling_first,
        after_a_while,
        never,
        exits,
        a_file,
        away,
        two_links,
    )
}


def serve(connection: socket.socket) -> None:
    global connections, served
    connections += 1
    if os.environ.get({1: "FIRST", 2: "SECOND"}.get(connections, "")) == "unread":
        select.select([connection], [], [])
        return
    while (call := read(connection)) is not None:
        served += 1
        try:
            if not ACTS[call.get("do", "answer")](connection, call):
                return
        except (BrokenPipeError, ConnectionResetError):
            return


def read(connection: socket.socket) -> "Call | None":
    data = b""
    while b"\r\n\r\n" not in data:
        more = connection.recv(int(os.environ.get("READS", "65536")))
        if not more:
            return None
        data += more
    head, _, body = data.partition(b"\r\n\r\n")
    length = int(re.findall(rb"Content-Length: (\d+)", head)[0])
    if b"X-Do: early" in head:
        reply(connection, b"early")
        time.sleep(float(os.environ.get("EARLY_PAUSE", "0")))
        return {"do": "stay"}
    while len(body) < length:
        body += connection.recv(65536)
    if b"X-Do: size" in head:
        return {"do": "size", "size": len(body)}
    call: Call = json.loads(body or b"{}")
    return call


def reply(connection: socket.socket, body: bytes, *fields: bytes, status: bytes = b"200 OK") -> bool:
    lines = [b"HTTP/1.1 " + status, b"Content-Length: %d" % len(body), *fields, b"", body]
    connection.sendall(b"\r\n".join(lines))
    return True


def facts() -> bytes:
    left = sorted(os.listdir(DIRECTORY))
    mode = os.stat(DIRECTORY).st_mode & 0o777
    said = {"pid": os.getpid(), "connections": connections, "served": served, "path": PATH, "left": left, "mode": mode}
    return json.dumps(said | {"uid": os.getuid(), "format": os.environ["FN_FORMAT"]}).encode()


def answer(connection: socket.socket, call: Call) -> bool:
    return reply(connection, facts())


def slowly(connection: socket.socket, call: Call) -> bool:
    time.sleep(0.5)
    return reply(connection, facts())


def stay(connection: socket.socket, call: Call) -> bool:
    return True


def size(connection: socket.socket, call: Call) -> bool:
    return reply(connection, b"x" * call["size"])


def status(connection: socket.socket, call: Call) -> bool:
    return reply(connection, b"", status=call["status"].encode())


def say(connection: socket.socket, call: Call) -> bool:
    sys.stdout.write(call["stdout"])
    sys.stdout.flush()
    sys.stderr.write(call["stderr"])
    sys.stderr.flush()
    return reply(connection, b"")


def then_close(connection: socket.socket, call: Call) -> bool:
    reply(connection, facts())
    return False


def then_close_on_the_next(connection: socket.socket, call: Call) -> bool:
    """Close the connection with the next call in it, unread."""
    reply(connection, facts())
    select.select([connection], [], [])
    return False


def says_close(connection: socket.socket, call: Call) -> bool:
    """As some servers do: the reply, no more of them, and reading on until the client goes."""
    reply(connection, facts(), b"Connection: close")
    connection.shutdown(socket.SHUT_WR)
    while connection.recv(65536):
        pass
    return False


def close_unanswered(connection: socket.socket, call: Call) -> bool:
    return False


def half(connection: socket.socket, call: Call) -> bool:
    connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhal")
    return False


def to_the_end(connection: socket.socket, call: Call) -> bool:
    connection.sendall(b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\nto the end")
    return False


def crash(connection: socket.socket, call: Call) -> bool:
    sys.stderr.write("crashing\n")
    sys.stderr.flush()
    os._exit(3)


def answer_and_exit(connection: socket.socket, call: Call) -> bool:
    reply(connection, b"bye")
    os._exit(0)


def unasked(connection: socket.socket, call: Call) -> bool:
    reply(connection, facts())
    time.sleep(0.05)
    connection.sendall(b"unasked")
    return True


def litter(connection: socket.socket, call: Call) -> bool:
    for number in range(call["files"]):
        open(os.path.join(DIRECTORY, f"file{number}"), "w").close()
    os.mkdir(os.path.join(DIRECTORY, "directory"))
    return reply(connection, facts())


def hang(connection: socket.socket, call: Call) -> bool:
    time.sleep(60)
    return True


ACTS = {
    one.__name__: one
    for one in (
        *(
            answer,
            slowly,
            stay,
            size,
            status,
            say,
            then_close,
            then_close_on_the_next,
            close_unanswered,
            says_close,
            half,
            to_the_end,
        ),
        *(crash, answer_and_exit, unasked, litter, hang),
    )
}

if __name__ == "__main__":
    main(sys.argv[1] if len(sys.argv) > 1 else "by_link")
