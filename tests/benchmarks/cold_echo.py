"""An echo in Python whose imports take as long as those of many functions: what a plain start of it costs is known."""

from __future__ import annotations

import asyncio  # noqa: F401 -- the imports are what is measured
import decimal  # noqa: F401
import email.message  # noqa: F401
import http.client  # noqa: F401
import json  # noqa: F401
import logging.config  # noqa: F401
import sqlite3  # noqa: F401
import sys
import urllib.request  # noqa: F401

while sys.stdin.buffer.readline():
    size = 0
    while line := sys.stdin.buffer.readline().strip():
        name, _, value = line.partition(b":")
        if name.lower() == b"content-length":
            size = int(value)
    body = sys.stdin.buffer.read(size)
    sys.stdout.buffer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body))
    sys.stdout.buffer.flush()
