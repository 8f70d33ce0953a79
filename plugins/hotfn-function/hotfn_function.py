"""Write a function in Python that hotfn keeps hot. One file, no dependency: install it, or copy it into an image.

    from hotfn_function import serve

    def greet(call):
        return b"hello " + call.body

    serve(greet)

`serve` speaks the format that FN_FORMAT names: `default`, `http` or `json`. Calls come one at a time. The streams that
carry them are moved away first: what `print`, a C library or a child process writes to stdout goes to the log, and
nothing of it can get between the replies.

It imports as little as it can, as a function should be there in milliseconds. Python 3.8 or newer.
"""

import sys
import time

try:
    import posix as os  # what `os` itself is made of: importing that takes a millisecond
except ImportError:
    import os  # type: ignore[no-redef]  # the same functions under the same name

__all__ = ["BadCall", "Call", "Reply", "serve"]
__version__ = "0.1.0"

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable, Mapping
    from typing import Any, Union

    Pairs = Iterable[tuple[str, str]]
    Answer = Union[None, bytes, bytearray, memoryview, str, dict[str, Any], list[Any], "Reply"]  # noqa: UP007 - Reply comes later
    Handler = Callable[["Call"], Answer | Awaitable[Answer]]
    Fields = tuple[str, str, str, dict[str, str], str]  # id, method, url, headers, deadline
    Whole = tuple[int, list[tuple[str, str]], bytes]  # status, headers, body

MAX_HEAD = 1 << 20
"""Bytes that the head of a request may have; hotfn's own are far smaller."""
FRAMING = ("content-length", "transfer-encoding")
"""Headers of a reply that are not the handler's to say."""
PIECE = 1 << 18
"""Bytes that are read at a time, at most."""
SMALL = 1 << 16
"""The same while a small call is expected. More would be mapped and unmapped by the allocator, which takes longer than
the call."""


class BadCall(ValueError):
    """The caller is to blame. An exception with such a `status`, of any class, is answered with that and its text."""

    status = 400


class Call:
    """What a caller asks. `body` is bytes; all else is looked at when it is asked for."""

    __slots__ = ("_fields", "_read", "_told", "body")

    def __init__(self, body: bytes, read: "Callable[[Any], Fields]", told: "Any") -> None:
        self.body = body
        self._read = read
        self._told = told
        self._fields: Fields | None = None

    def _known(self) -> "Fields":
        if self._fields is None:
            self._fields = self._read(self._told)
        return self._fields

    @property
    def id(self) -> str:
        """The name of the call, "" when it has none."""
        return self._known()[0]

    @property
    def method(self) -> str:
        """As the caller gave it, mostly POST."""
        return self._known()[1]

    @property
    def url(self) -> str:
        """As the caller gave it."""
        return self._known()[2]

    @property
    def headers(self) -> "dict[str, str]":
        """Names in lower case; values of one that comes again joined with ", "."""
        return self._known()[3]

    @property
    def content_type(self) -> str:
        """Of the body, "" when the caller did not say."""
        return self.headers.get("content-type", "")

    @property
    def deadline(self) -> "float | None":
        """When the call must have ended, as `time.time()` counts; None without a deadline that can be read."""
        return _seconds(self._known()[4])

    def remaining(self) -> float:
        """Return the seconds that are left, infinity without a deadline."""
        deadline = self.deadline
        return float("inf") if deadline is None else deadline - time.time()

    def text(self) -> str:
        """Return the body as text. Raises BadCall."""
        try:
            return self.body.decode()
        except UnicodeDecodeError as error:
            raise BadCall(f"the body is not UTF-8: {error}") from None

    def json(self) -> "Any":
        """Return what the body says in JSON. Raises BadCall."""
        try:
            return _loads(self.text())
        except ValueError as error:
            raise BadCall(f"the body is not JSON: {error}") from None


class Reply:
    """An answer that is more than a body: `status` and `headers`, a dict or pairs."""

    __slots__ = ("body", "headers", "status")

    def __init__(self, body: "Answer" = b"", status: int = 200, headers: "Mapping[str, str] | Pairs" = ()) -> None:
        self.body = body
        self.status = status
        self.headers = headers


def serve(handler: "Handler", format: "str | None" = None) -> None:  # noqa: A002 - the word for it everywhere
    """Answer calls until there are no more, then return.

    `handler` gets each Call and returns bytes, text, a dict or list (sent as JSON), a Reply, or None for an empty body;
    it may be a coroutine function, or return anything awaitable. What it raises is written to the log and answered with
    status 500 and its message.
    `format` stands in for FN_FORMAT.

    Call it once. From then on stdout is the log, and stdin is empty.
    """
    name = format or _environment().get("FN_FORMAT") or "default"
    speak = _FORMATS.get(name)
    if speak is None:
        raise SystemExit(f"hotfn_function speaks default, http and json; FN_FORMAT asks for {name!r}")
    source, sink = _take_streams()
    try:
        speak(_Answerer(handler), source, sink)
    except BrokenPipeError:  # whoever asked is gone
        raise SystemExit(1) from None


# ---- answers


class _Answerer:
    """Calls the handler and makes a whole answer of whatever comes of it."""

    def __init__(self, handler: "Handler") -> None:
        self.handler: Callable[[Call], Any] = handler
        self._run: Callable[[Any], Any] | None = None
        code = getattr(getattr(handler, "__func__", handler), "__code__", None)
        if code is not None and code.co_flags & 0x80:  # a coroutine function
            self._loop()  # importing asyncio is part of the start, not of the first call

    def __call__(self, call: Call) -> "Whole":
        try:
            answer = self.handler(call)
            if answer.__class__ is bytes:
                return 200, [], answer
            if hasattr(answer, "__await__"):
                answer = self._loop()(answer)
            return _whole(answer)
        except (SystemExit, KeyboardInterrupt):
            raise
        except BaseException as error:  # the handler's own, a cancelled task too: the function lives on
            return _failed(error)

    def _loop(self) -> "Callable[[Any], Any]":
        """Return what runs an awaitable to its end, on one loop for all calls."""
        if self._run is None:
            import asyncio

            self._run = asyncio.new_event_loop().run_until_complete
        return self._run


def _failed(error: BaseException) -> "Whole":
    text, status = type(error).__name__, 500
    try:
        told = getattr(error, "status", 500)
        if isinstance(told, int) and 400 <= told < 600:
            status = int(told)
        text = str(error) or text
    except Exception:  # noqa: S110 - an error that cannot be told, whatever the reason, is one all the same
        pass
    if status >= 500:
        _log(error)
    return status, [("Content-Type", "text/plain; charset=utf-8")], text.encode("utf-8", "replace")


def _log(error: BaseException) -> None:
    told = type(error), error, error.__traceback__
    try:
        sys.excepthook(*told)
    except Exception:  # a hook of the function's own that fails, in any way
        sys.__excepthook__(*told)
    _flush()


def _whole(answer: "Answer") -> "Whole":
    """Raises TypeError or ValueError for what cannot be sent."""
    status = 200
    headers: list[tuple[str, str]] = []
    if isinstance(answer, Reply):
        status, headers, answer = _status(answer.status), _pairs(answer.headers), answer.body
    if answer is None:
        return status, headers, b""
    if isinstance(answer, str):
        return status, _typed(headers, "text/plain; charset=utf-8"), answer.encode()
    if isinstance(answer, (dict, list)):
        import json

        return status, _typed(headers, "application/json"), json.dumps(answer).encode()
    if isinstance(answer, (bytes, bytearray, memoryview)):
        return status, headers, bytes(answer)
    raise TypeError(f"a handler returns bytes, str, dict, list, Reply or None, not {type(answer).__name__!r}")


def _status(status: int) -> int:
    if not isinstance(status, int) or not 200 <= status < 600:  # type: ignore[redundant-expr]  # a user need not have a type checker
        raise ValueError(f"a status is a number from 200 to 599, not {status!r}")
    return int(status)


def _pairs(headers: "Mapping[str, str] | Pairs") -> "list[tuple[str, str]]":
    found = list(getattr(headers, "items", lambda: headers)())
    for name, value in found:
        if not (isinstance(name, str) and isinstance(value, str) and _fits(name, value)):
            raise ValueError(f"no header: {name!r}: {value!r}")
    return found


def _fits(name: str, value: str) -> bool:
    """Whether it can be written on a line of its own without meaning anything else."""
    plain = 0 < len(name) <= 256 and name.isascii() and name.translate(_MARKS).isalnum()
    return plain and (value.isprintable() or not any(map(_breaks, value)))


_MARKS = {ord(mark): "x" for mark in "!#$%&'*+-.^_`|~"}  # of a name, besides letters and digits


def _breaks(char: str) -> bool:
    return (char < " " and char != "\t") or char == "\x7f" or "\ud800" <= char <= "\udfff"


def _typed(headers: "list[tuple[str, str]]", kind: str) -> "list[tuple[str, str]]":
    if any(name.lower() == "content-type" for name, _ in headers):
        return headers
    return [("Content-Type", kind), *headers]


def _environment() -> "dict[str, str]":
    return {_text(name): _text(value) for name, value in os.environ.items()}


def _text(raw: "bytes | str") -> str:
    return raw if isinstance(raw, str) else raw.decode("utf-8", "surrogateescape")


# ---- streams


def _take_streams() -> "tuple[int, int]":
    """Return descriptors that only calls and replies go through; stdin is empty from now on, and stdout the log."""
    source, sink = os.dup(0), os.dup(1)  # not inherited by child processes
    empty = os.open("/dev/null", os.O_RDONLY)
    os.dup2(empty, 0)
    os.close(empty)
    os.dup2(2, 1)
    _flush()  # what was printed before this belongs to the log as well
    for stream in (sys.stdout, sys.stderr):
        if stream is not None and hasattr(stream, "reconfigure"):
            stream.reconfigure(line_buffering=True)  # a log that comes late belongs to another call
    return source, sink


def _flush() -> None:
    for stream in (sys.stdout, sys.stderr):
        try:
            if stream is not None:
                stream.flush()
        except (OSError, ValueError):  # a log that is closed is no reason to end
            pass


def _send(sink: int, data: bytes) -> None:
    sent = os.write(sink, data)
    if sent < len(data):
        rest = memoryview(data)
        while sent < len(data):
            sent += os.write(sink, rest[sent:])


class _Source:
    """The bytes that come in."""

    def __init__(self, fd: int) -> None:
        self.fd = fd
        self.data = b""

    def more(self, wanted: int = 1) -> bool:
        """Have more bytes, `wanted` of them if they come. Returns False at the end of the stream."""
        piece = os.read(self.fd, SMALL if wanted < SMALL else PIECE)
        if len(piece) < wanted:
            pieces, size = [self.data, piece], len(piece)
            while piece and size < wanted:
                piece = os.read(self.fd, PIECE)
                pieces.append(piece)
                size += len(piece)
            self.data = b"".join(pieces)
        else:
            self.data = self.data + piece if self.data else piece
        return bool(piece)

    def take(self, size: int) -> bytes:
        """Return so many bytes. Raises SystemExit when the stream ends before."""
        if len(self.data) < size and not self.more(size - len(self.data)):
            raise SystemExit("hotfn_function: the stream of calls ended in the middle of one")
        taken, self.data = self.data[:size], self.data[size:]
        return taken

    def whole_line(self) -> bytes:
        """Return a line of any size, b"" at the end of the stream. Raises SystemExit when it ends within the line."""
        pieces: list[bytes] = []
        piece = self.data or os.read(self.fd, SMALL)
        while not (end := piece.find(b"\n") + 1):
            if not piece:
                if b"".join(pieces).strip():
                    raise SystemExit("hotfn_function: the stream of calls ended in the middle of one")
                return b""
            pieces.append(piece)
            piece = os.read(self.fd, PIECE)
        self.data = piece[end:]
        pieces.append(piece[:end])
        return pieces[0] if len(pieces) == 1 else b"".join(pieces)

    def line(self) -> bytes:
        """Return a line without its end."""
        while (end := self.data.find(b"\n")) < 0:
            if len(self.data) > MAX_HEAD or not self.more():
                raise SystemExit("hotfn_function: the stream of calls ended in the middle of one")
        return self.take(end + 1).rstrip(b"\r\n")


# ---- http


def _http(answer: "_Answerer", fd: int, sink: int) -> None:
    source = _Source(fd)
    while True:
        head = _http_head(source)
        if head is None:
            return
        small = head.lower()
        body = _http_body(source, small)
        status, headers, reply = answer(Call(body, _http_fields, head))
        if small[:5] == b"head ":
            reply = b""
        if status == 200 and not headers:
            out = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(reply)
        else:
            if status in (204, 304):  # who gets these reads no body
                reply = b""
            out = _http_reply_head(status, headers, len(reply))
        if len(reply) < PIECE:
            _send(sink, out + reply)
        else:
            _send(sink, out)
            _send(sink, reply)


def _http_head(source: "_Source") -> "bytes | None":
    """Return the head of the next request, None when there is none."""
    while (end := source.data.find(b"\r\n\r\n")) < 0:
        if len(source.data) > MAX_HEAD:
            raise SystemExit("hotfn_function: this is no HTTP")
        if not source.more():
            if source.data.strip():
                raise SystemExit("hotfn_function: the stream of calls ended in the middle of one")
            return None
    data = source.data
    head, source.data = data[:end], data[end + 4 :]
    return head.lstrip(b"\r\n")


def _http_body(source: "_Source", small: bytes) -> bytes:
    begin = small.find(b"\r\ncontent-length:")
    if begin >= 0:
        end = small.find(b"\r\n", begin + 17)
        size = int(small[begin + 17 : end if end >= 0 else None])
        data = source.data
        if len(data) == size:  # as most come
            source.data = b""
            return data
        return source.take(size)
    begin = small.find(b"\r\ntransfer-encoding:")
    if (
        begin >= 0
        and b"chunked" in small[begin : small.find(b"\r\n", begin + 2) if b"\r\n" in small[begin + 2 :] else None]
    ):
        return _chunks(source)
    return b""


def _chunks(source: "_Source") -> bytes:
    pieces = []
    while (size := int(source.line().split(b";")[0], 16)) > 0:
        pieces.append(source.take(size))
        source.line()
    while source.line():  # trailers
        pass
    return b"".join(pieces)


def _http_fields(head: bytes) -> "Fields":
    lines = head.decode("latin-1").split("\r\n")
    method, _, target = lines[0].partition(" ")
    headers = _joined(line.partition(":")[::2] for line in lines[1:])
    own = {name.replace("-", "_"): value for name, value in headers.items() if name[:2] == "fn"}
    url = own.get("fn_request_url") or target.rpartition(" ")[0]
    return own.get("fn_call_id", ""), method, url, headers, own.get("fn_deadline", "")


def _joined(pairs: "Iterable[tuple[str, str]]") -> "dict[str, str]":
    headers: dict[str, str] = {}
    for name, value in pairs:
        key, text = name.strip().lower(), value.strip()
        headers[key] = f"{headers[key]}, {text}" if key in headers else text
    return headers


def _http_reply_head(status: int, headers: "list[tuple[str, str]]", size: int) -> bytes:
    lines = [f"HTTP/1.1 {status} {'OK' if status < 400 else 'Error'}"]
    lines += [f"{name}: {value}" for name, value in headers if name.lower() not in FRAMING]
    lines.append(f"Content-Length: {size}\r\n\r\n")
    return "\r\n".join(lines).encode("latin-1", "replace")


# ---- json


def _json(answer: "_Answerer", fd: int, sink: int) -> None:
    quoted, loads, source = _quoter(), _loads, _Source(fd)
    while True:
        told = _json_value(source, loads)
        if told is None:
            return
        status, headers, reply = answer(Call((told.get("body") or "").encode(), _json_fields, told))
        try:
            body = quoted(reply.decode())
        except UnicodeDecodeError as error:
            status, headers = 500, []
            body = quoted(f"the format json carries text only, and the reply is none: {error}")
        line = f'{{"body":{body}}}\n' if status == 200 and not headers else _json_line(status, headers, body, quoted)
        _send(sink, line.encode())


def _json_value(source: "_Source", loads: "Callable[[str], Any]") -> "Any":
    """Return the next request, which is a line; None when there is none."""
    line = b"\n"
    while line.isspace():
        line = source.whole_line()
    if not line:
        return None
    told = loads(line.decode())
    if not isinstance(told, dict):
        raise SystemExit(f"hotfn_function: this is no call in the format json: {line[:80]!r}")
    return told


def _json_fields(told: "dict[str, Any]") -> "Fields":
    protocol = told.get("protocol") or {}
    headers = {}
    for name, values in (protocol.get("headers") or {}).items():
        headers[name.lower()] = values if isinstance(values, str) else ", ".join(values)
    if told.get("content_type"):
        headers["content-type"] = told["content_type"]
    method, url = protocol.get("method") or "", protocol.get("request_url") or ""
    return told.get("call_id") or "", method, url, headers, told.get("deadline") or ""


def _json_line(status: int, headers: "list[tuple[str, str]]", body: str, quoted: "Callable[[str], str]") -> str:
    lists: dict[str, list[str]] = {}
    for name, value in headers:
        lists.setdefault(name, []).append(quoted(value))
    fields = ",".join("{}:[{}]".format(quoted(name), ",".join(values)) for name, values in lists.items())
    return f'{{"body":{body},"protocol":{{"status_code":{status},"headers":{{{fields}}}}}}}\n'


def _quoter() -> "Callable[[str], str]":
    """Return what writes text as JSON. `json` itself imports what takes longer than all the rest of a start."""
    try:
        from _json import encode_basestring_ascii
    except ImportError:
        from json import dumps

        return dumps
    return encode_basestring_ascii


_readers: "list[Callable[[str], Any]]" = []


def _loads(text: str) -> "Any":
    """Read JSON. Raises ValueError."""
    if not _readers:
        _readers.append(_reader())
    return _readers[0](text)


def _reader() -> "Callable[[str], Any]":
    try:
        from _json import make_scanner
    except ImportError:
        from json import loads

        return loads
    scan = make_scanner(_Plain)  # type: ignore[arg-type]  # any object with these attributes will do

    def read(text: str) -> "Any":
        text = text.strip(" \t\n\r")
        try:
            value, end = scan(text, 0)
        except StopIteration as error:
            raise ValueError(f"no JSON at character {error.value}") from None
        if end != len(text):
            raise ValueError(f"more behind the JSON, at character {end}")
        return value

    return read


class _Plain:
    """How JSON is read: as `json.loads` does it."""

    strict = True
    object_hook = object_pairs_hook = None
    parse_float = float
    parse_int = int
    memo = None

    @staticmethod
    def parse_constant(name: str) -> float:
        return float(name)


# ---- default


def _default(answer: "_Answerer", fd: int, sink: int) -> None:
    """One call and the end: a reply can say neither status nor headers, so what failed is told by the exit status."""
    source = _Source(fd)
    pieces = []
    while source.more():
        pieces.append(source.data)
        source.data = b""
    status, _, reply = answer(Call(b"".join(pieces), _environment_fields, _environment()))
    if status >= 400:
        _flush()
        _send(2, reply.rstrip(b"\n") + b"\n")
        raise SystemExit(1)
    _send(sink, reply)


def _environment_fields(environ: "Mapping[str, str]") -> "Fields":
    begin = "FN_HEADER_"
    headers = _joined((name[len(begin) :], value) for name, value in environ.items() if name.startswith(begin))
    names = ("FN_CALL_ID", "FN_METHOD", "FN_REQUEST_URL")
    id, method, url = (environ.get(name, "") for name in names)
    return id, method, url, headers, environ.get("FN_DEADLINE", "")


# ---- time


def _seconds(text: str) -> "float | None":
    """Return an RFC 3339 time as seconds since 1970, None for what is none."""
    try:
        date, clock = text[:10], text[11:].upper()
        zone = 0.0
        if clock.endswith("Z"):
            clock = clock[:-1]
        else:
            sign = -1 if clock[-6] == "-" else 1
            zone = sign * (int(clock[-5:-3]) * 3600 + int(clock[-2:]) * 60)
            clock = clock[:-6]
        year, month, day = (int(one) for one in date.split("-"))
        hour, minute, second = clock.split(":")
        return _days(year, month, day) * 86400 + int(hour) * 3600 + int(minute) * 60 + float(second) - zone
    except (ValueError, IndexError):
        return None


def _days(year: int, month: int, day: int) -> int:
    """Return the days from 1970-01-01 to a date of the Gregorian calendar."""
    year -= month <= 2
    of_year = (153 * ((month + 9) % 12) + 2) // 5 + day - 1  # from the first of March
    return year * 365 + year // 4 - year // 100 + year // 400 + of_year - 719468


_FORMATS = {"default": _default, "http": _http, "json": _json}
