"""A function with fdk 0.1.128, format `http-stream`; start it with `fdk fdk_stream.py handler`."""

import time

from fdk.response import Response

PLAIN = {"Content-Type": "text/plain; charset=utf-8"}


def handler(context, data):
    op, _, rest = data.getvalue().partition(b"\n")
    if op == b"status":
        return Response(context, "short and stout", {**PLAIN, "X-Custom": "one"}, 418)
    if op == b"token":
        rest = context.Headers()["x-token"].encode()
    if op == b"raise":
        raise ValueError(rest.decode())
    if op == b"bytes":
        rest = bytes(range(256))
    if op == b"sleep":
        time.sleep(float(rest))
    if op == b"print":
        print("a stray line", flush=True)
    return Response(context, rest, dict(PLAIN), 200)
