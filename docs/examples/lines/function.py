"""A hot function: it answers a line of text with its number of words, a tab, and its longest word.

It speaks `format = "http"`: one HTTP request after another on stdin, one reply to each on stdout, until stdin ends.
Nothing but the standard library is needed for that.
"""

from __future__ import annotations

import re
import sys
from typing import BinaryIO

WORD = re.compile(r"[^\W\d_]+")


def answer(text: str) -> str:
    """This is the function. All the rest is the same for every function."""
    words = WORD.findall(text)
    return f"{len(words)}\t{max(words, key=len, default='')}"


def read_request(stream: BinaryIO) -> bytes | None:
    """Return the body of the next request, or None when there is none."""
    if not stream.readline():  # the request line: POST / HTTP/1.1
        return None
    length = 0
    while header := stream.readline().strip():
        name, _, value = header.partition(b":")
        if name.lower() == b"content-length":
            length = int(value)
    return stream.read(length)


def main() -> None:
    requests, replies = sys.stdin.buffer, sys.stdout.buffer
    while (body := read_request(requests)) is not None:
        reply = answer(body.decode("utf-8", "replace")).encode()
        replies.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(reply), reply))
        replies.flush()


if __name__ == "__main__":
    main()
