"""The function of these tests: speaks http on stdin and stdout, and does what the first word of the body says."""

from __future__ import annotations

import os
import sys
import time
from typing import BinaryIO


def reply(body: bytes, status: str = "200 OK", headers: bytes = b"") -> bytes:
    return b"HTTP/1.1 %b\r\n%bContent-Length: %d\r\n\r\n%b" % (status.encode(), headers, len(body), body)


def answer(head: bytes, body: bytes) -> bytes:
    word, _, rest = body.partition(b" ")
    if word == b"sleep":
        seconds, _, body = rest.partition(b" ")
        time.sleep(float(seconds))
    elif word == b"exit":
        sys.stderr.write("going\n")
        sys.exit(int(rest))
    elif word == b"status":
        return reply(b"sorry", rest.decode())
    elif word == b"garbage":
        return b"this is no http\r\n\r\n"
    elif word == b"stderr":
        sys.stderr.write(rest.decode() + "\n")
        sys.stderr.flush()
    elif word == b"env":
        body = os.environ.get(rest.decode(), "not set").encode()
    elif word == b"head":
        body = head.replace(b"\r\n", b"|")
    elif word == b"lines":
        body = rest.replace(b" ", b"\n")
    elif word == b"binary":
        body = b"\xff\x00"
    elif word == b"headers":
        return reply(b"", headers=b"X-One: 1\r\nX-Two: 2\r\nX-Two: zwei\r\n")
    elif word == b"pid":
        body = str(os.getpid()).encode()
    elif word == b"big":
        body = b"x" * int(rest)
    return reply(body)


def serve(requests: BinaryIO, replies: BinaryIO) -> None:
    while line := requests.readline():
        head, length = line, 0
        while (field := requests.readline()) != b"\r\n":
            head += field
            name, _, value = field.partition(b":")
            if name.lower() == b"content-length":
                length = int(value)
        replies.write(answer(head, requests.read(length)))
        replies.flush()


if __name__ == "__main__":
    serve(sys.stdin.buffer, sys.stdout.buffer)
