"""A function as one was written with fdk 0.0.9 to 0.0.33, format `json`."""

import time

import fdk
from fdk.response import RawResponse

PLAIN = {"content-type": "text/plain; charset=utf-8"}


def handler(context, data=None, loop=None):
    op, _, rest = data.partition("\n")
    if op == "status":
        return RawResponse(context, "short and stout", {**PLAIN, "x-custom": "one"}, 418)
    if op == "token":
        headers = context.Headers()
        rest = str(headers.get("x-token") or headers.get("X-Token"))  # in lower case to 0.0.28, as it came since
    if op == "raise":
        raise ValueError(rest)
    if op == "bytes":
        rest = bytes(range(256))
    if op == "sleep":
        time.sleep(float(rest))
    if op == "print":
        print("a stray line", flush=True)
    return RawResponse(context, rest, dict(PLAIN), 200)


fdk.handle(handler)
