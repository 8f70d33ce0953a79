"""A function as one was written with fdk 0.0.1 to 0.0.4, format `http`."""

import time

import fdk
from fdk.http.response import RawResponse

CUSTOM = {"Content-Type": "text/plain; charset=utf-8", "X-Custom": "one"}


def handler(context, data=None, loop=None):
    op, _, rest = data.readall().partition(b"\n")
    if op == b"status":
        return RawResponse(context.version, 418, dict(CUSTOM), "short and stout")
    if op == b"token":
        return context.headers.get("x-token")
    if op == b"raise":
        raise ValueError(rest.decode())
    if op == b"bytes":
        rest = bytes(range(256))
    if op == b"sleep":
        time.sleep(float(rest))
    if op == b"print":
        print("a stray line", flush=True)
    return RawResponse(context.version, 200, {}, rest)


fdk.handle(handler)
