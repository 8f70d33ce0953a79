"""How a guest reads its calls and writes its replies, for each format: `read` a Call or None at the end of stdin,
`frame` a Reply. Imports where they are needed, so that it starts as fast as Python does."""

from __future__ import annotations

import os

TYPE_CHECKING = False  # importing `typing` takes as long as Python's own start
if TYPE_CHECKING:
    Pairs = list[tuple[str, str]]


class Call:
    """One request."""

    def __init__(self, body: bytes, method: str, url: str, headers: Pairs, id: str) -> None:
        self.body, self.method, self.url, self.headers, self.id = body, method, url, headers, id


class Reply:
    """One answer."""

    def __init__(self, body: bytes, status: int = 200, headers: Pairs | None = None) -> None:
        self.body, self.status, self.headers = body, status, headers or []


class Input:
    """stdin with a buffer that is read from by lines and by counts."""

    def __init__(self) -> None:
        self._data = bytearray()

    def _fill(self) -> bool:
        more = os.read(0, 1 << 20)
        self._data += more
        return bool(more)

    def line(self) -> bytes:
        """Return the next line without its end, b"" at the end of stdin."""
        while (end := self._data.find(b"\n")) < 0:
            if not self._fill():
                return self.take(len(self._data))
        return self.take(end + 1).rstrip(b"\r\n") or b"\r"

    def take(self, count: int) -> bytes:
        while len(self._data) < count and self._fill():
            pass
        taken = bytes(self._data[:count])
        del self._data[:count]
        return taken

    def rest(self) -> bytes:
        while self._fill():
            pass
        return self.take(len(self._data))


def write(fd: int, data: bytes) -> None:
    """Write all of it, however small the pipe."""
    view = memoryview(data)
    while view:
        view = view[os.write(fd, view) :]


def text(value: str) -> bytes:
    """Return the bytes of a text of a script."""
    return value.encode("utf-8", "surrogateescape")


class Default:
    """Stdin is the body of the only call; what the environment tells is the rest."""

    def __init__(self) -> None:
        self.done = False

    def read(self, stdin: Input) -> Call | None:
        if self.done:
            return None
        self.done = True
        env = os.environ
        headers = [(name[10:], env[name]) for name in env if name.startswith("FN_HEADER_")]
        url, id = env.get("FN_REQUEST_URL", ""), env.get("FN_CALL_ID", "")
        return Call(stdin.rest(), env.get("FN_METHOD", ""), url, headers, id)

    def frame(self, reply: Reply) -> bytes:
        return reply.body


class Http:
    """HTTP/1.1 on stdin and stdout."""

    def read(self, stdin: Input) -> Call | None:
        first = stdin.line().decode("latin-1")
        if not first:
            return None
        method, url, _ = first.split(" ")
        headers = []
        while (line := stdin.line()) not in (b"\r", b""):
            name, _, value = line.decode("latin-1").partition(":")
            headers.append((name, value.strip()))
        known = {name.lower(): value for name, value in headers}
        chunked = known.get("transfer-encoding", "").lower() == "chunked"
        body = self._chunks(stdin) if chunked else stdin.take(int(known.get("content-length", 0)))
        return Call(body, method, url, headers, known.get("fn_call_id", ""))

    def _chunks(self, stdin: Input) -> bytes:
        body = b""
        while size := int(stdin.line(), 16):
            body += stdin.take(size)
            stdin.line()
        stdin.line()
        return body

    def frame(self, reply: Reply) -> bytes:
        lines = [f"HTTP/1.1 {reply.status} Whatever", f"Content-Length: {len(reply.body)}"]
        lines += [f"{name}: {value}" for name, value in reply.headers]
        return "\r\n".join([*lines, "", ""]).encode("latin-1") + reply.body


class Json:
    """A line of JSON for a call, one for a reply."""

    def read(self, stdin: Input) -> Call | None:
        line = stdin.line()
        if not line:
            return None
        import json

        message = json.loads(line)
        protocol = message.get("protocol", {})
        lists = protocol.get("headers", {})
        headers = [(name, value) for name, values in lists.items() for value in values]
        method, url = protocol.get("method", ""), protocol.get("request_url", "")
        return Call(message.get("body", "").encode(), method, url, headers, message.get("call_id", ""))

    def frame(self, reply: Reply) -> bytes:
        import json

        headers: dict[str, list[str]] = {}
        for name, value in reply.headers:
            headers.setdefault(name, []).append(value)
        message = {"body": reply.body.decode(), "protocol": {"status_code": reply.status, "headers": headers}}
        return json.dumps(message).encode() + b"\n"


class CloudEvent:
    """A line of JSON with an event for a call, one for a reply."""

    def read(self, stdin: Input) -> Call | None:
        line = stdin.line()
        if not line:
            return None
        import json

        event = json.loads(line)
        protocol, data = event["extensions"]["protocol"], event.get("data", "")
        body = data if isinstance(data, str) else json.dumps(data)
        headers = [(name, value) for name, values in protocol["headers"].items() for value in values]
        return Call(body.encode(), protocol["method"], protocol["request_url"], headers, event["eventID"])

    def frame(self, reply: Reply) -> bytes:
        import json

        message = json.loads(Json().frame(reply))
        event = {"cloudEventsVersion": "0.1", "data": message["body"], "extensions": {"protocol": message["protocol"]}}
        return json.dumps(event).encode() + b"\n"
