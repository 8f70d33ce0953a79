"""An ASGI application for fdk-asgi 0.7.2, format `http-stream`; start it with `fdk-asgi-serve asgi_stream:app`."""

import asyncio

PLAIN = (b"content-type", b"text/plain; charset=utf-8")


async def app(scope, receive, send):
    if scope["type"] != "http":
        raise NotImplementedError(scope["type"])
    op, _, rest = (await body_of(receive)).partition(b"\n")
    if op == b"status":
        return await reply(send, 418, [PLAIN, (b"x-custom", b"one")], b"short and ", b"stout")
    if op == b"token":
        rest = dict(scope["headers"])[b"x-token"]
    if op == b"raise":
        raise ValueError(rest.decode())
    if op == b"bytes":
        rest = bytes(range(256))
    if op == b"sleep":
        await asyncio.sleep(float(rest))
    if op == b"print":
        print("a stray line", flush=True)
    return await reply(send, 200, [PLAIN], rest)


async def body_of(receive):
    body, more = b"", True
    while more:
        message = await receive()
        body += message.get("body", b"")
        more = message.get("more_body", False)
    return body


async def reply(send, status, headers, *pieces):
    await send({"type": "http.response.start", "status": status, "headers": headers})
    for piece in pieces:
        await send({"type": "http.response.body", "body": piece, "more_body": True})
    await send({"type": "http.response.body", "body": b""})
