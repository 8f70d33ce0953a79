"""The rules of header fields that the protocols share: what a name is, and which fields end at each hop."""

from __future__ import annotations

import re
from collections.abc import Iterable
from collections.abc import Set as AbstractSet
from functools import lru_cache

from hotfn_core.errors import LocalProtocolError

# The names of methods and header fields. Nobody needs more, and names are kept.
TOKEN = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]{1,256}")

# Of one reply.
MAX_FIELDS = 100

# Control characters can end a line and so start another message; halves of surrogate pairs are no text at all.
UNSAFE = re.compile(r"[\x00-\x08\x0a-\x1f\x7f\ud800-\udfff]")

# What concerns one connection only and is never handed on, in either direction.
_NONE: AbstractSet[str] = frozenset()
_HOP_BY_HOP = frozenset({"connection", "keep-alive", "te", "trailer", "transfer-encoding", "upgrade"})


@lru_cache(maxsize=1024)
def canonical(name: str) -> str:
    """Spell a name as the functions know it: upper case at the start and behind each dash, lower case elsewhere.

    So `CONTENT-TYPE` is `Content-Type`, and `FN_CALL_ID` is `Fn_call_id`: an underscore starts no word.
    Raises LocalProtocolError for what is not a name.
    """
    if not TOKEN.fullmatch(name):
        raise LocalProtocolError(f"{name[:80]!r} is not the name of a header")
    return "-".join(word.capitalize() for word in name.split("-"))


def check_value(name: str, value: str) -> str:
    """Return the value without the blanks around it. Raises LocalProtocolError when it cannot be written safely."""
    if UNSAFE.search(value):
        raise LocalProtocolError(f"the value of the header {name} holds a control character or broken text")
    return value.strip(" \t")


def connection_options(headers: Iterable[tuple[str, str]]) -> AbstractSet[str]:
    """Return what Connection headers name, in lower case: `close`, `keep-alive`, or fields that end here."""
    values = [value for name, value in headers if name.lower() == "connection"]
    return {option.strip(" \t").lower() for value in values for option in value.split(",")} if values else _NONE


def ends_here(name: str, named: AbstractSet[str]) -> bool:
    """Say whether a field (in lower case) concerns this connection only; `named` is what Connection names."""
    return name in _HOP_BY_HOP or name in named or name.startswith("proxy-")
