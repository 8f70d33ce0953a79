"""A function as one was written with fdk 0.0.5 to 0.0.8, format `http`."""

import time

import fdk
from fdk.response import RawResponse

CUSTOM = {"Content-Type": "text/plain; charset=utf-8", "X-Custom": "one"}


def handler(context, data=None, loop=None):
    op, _, rest = data.readall().partition(b"\n")
    if op == b"status":
        return RawResponse(context, "short and stout", dict(CUSTOM), 418)
    if op == b"token":
        return context.Headers().get("x-token")
    if op == b"raise":
        raise ValueError(rest.decode())
    if op == b"bytes":
        return bytes(range(256))
    if op == b"sleep":
        time.sleep(float(rest))
    if op == b"print":
        print("a stray line", flush=True)
    if op == b"empty":
        return RawResponse(context, "", {}, 200)
    return rest


fdk.handle(handler)
