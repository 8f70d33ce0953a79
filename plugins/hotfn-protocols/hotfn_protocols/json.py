"""The protocol `json`: a call is one line of JSON on stdin, a reply one JSON object on stdout, one at a time.

Bodies are text: what is not UTF-8 is refused, not damaged.
"""

from __future__ import annotations

from typing import ClassVar

from hotfn_core.model import Call
from hotfn_core.protocol import Connection, IOProtocol, Limits, ReplyHead

from .json_encode import Encoder
from .json_reply import parse
from .object_stream import ObjectConnection

# A pipe hands over this much in one piece (PIPE_BUF), and a longer line perhaps in several. Functions exist that take
# each piece for a call: the first one fails, and so do the others, later, when the next call waits for its reply. So an
# error in answer to a longer line ends the copy, unless it has done well with one as long. That counts for nothing with
# what the kits say that are known for it (fdk 0.0.9 to 0.0.21): a line may have come in one piece once, by luck.
PIECE = 4096
ERROR = 500
NOTORIOUS = b'{"error":'


class JsonProtocol(IOProtocol):
    """See the module."""

    name: ClassVar[str] = "json"

    def connect(self, limits: Limits) -> Connection:
        return JsonConnection(limits)


class JsonConnection(ObjectConnection):
    """Calls as `json_encode` writes them, replies as `json_reply` reads them. `_sent` is the length of the call's line,
    `_whole` one up to which the function has shown that it takes lines whole."""

    __slots__ = ("_encoder", "_sent", "_whole")

    def __init__(self, limits: Limits) -> None:
        super().__init__(limits)
        self._encoder = Encoder(limits.max_head)
        self._sent = 0
        self._whole = PIECE

    def _write(self, call: Call, expires: float) -> bytes:
        line = self._encoder.encode(call, expires)
        self._sent = len(line)
        return line

    def _parse(self, raw: bytes | bytearray) -> tuple[ReplyHead, bytes]:
        head, body = parse(raw, self._limits)
        if self._sent > PIECE:
            self._in_step = self._took_whole(head.status, body)
        return head, body

    def _took_whole(self, status: int, body: bytes) -> bool:
        """Judge by its reply whether the function took the call's line, a long one, as one call."""
        if status < ERROR:
            self._whole = max(self._whole, self._sent)
            return True
        return self._sent <= self._whole and not body.startswith(NOTORIOUS)
