"""The values hotfn passes around: the function's description, a call, its reply, how a copy ended.

All of them are immutable. `Call` and `Reply` are named tuples because one of each is made for every call and a
frozen dataclass costs three times as much to make.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import math
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, NamedTuple, Self

from .errors import ConfigError, did_you_mean

__all__ = [
    "Call",
    "Exit",
    "FunctionSpec",
    "Headers",
    "HeadersLike",
    "Reply",
]

HeadersLike = Mapping[str, str | Sequence[str]] | Iterable[tuple[str, str]]

_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}", re.ASCII)
_ENV_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*", re.ASCII)


class Headers(Mapping[str, str]):
    """Header fields in the order they came, found without regard to case, immutable.

    `headers["x"]` is the first value, `get_all("x")` all of them, `items_all()` every (name, value) pair as it
    was sent. As a mapping it has each name once, in lower case.
    """

    __slots__ = ("_index", "_pairs")

    def __init__(self, headers: HeadersLike = ()) -> None:
        self._pairs: tuple[tuple[str, str], ...] = header_pairs(headers)
        self._index: dict[str, list[str]] | None = None

    @classmethod
    def of_pairs(cls, pairs: Sequence[tuple[str, str]]) -> Headers:
        """Wrap pairs that are known to be well-formed: the hot path's constructor."""
        new = cls.__new__(cls)
        new._pairs, new._index = tuple(pairs), None  # noqa: SLF001 - its own class
        return new

    def _lookup(self) -> dict[str, list[str]]:
        if self._index is None:
            index: dict[str, list[str]] = {}
            for name, value in self._pairs:
                index.setdefault(name.lower(), []).append(value)
            self._index = index
        return self._index

    def __getitem__(self, name: str) -> str:
        return self._lookup()[name.lower()][0]

    def __contains__(self, name: object) -> bool:
        return isinstance(name, str) and name.lower() in self._lookup()

    def __iter__(self) -> Iterator[str]:
        return iter(self._lookup())

    def __len__(self) -> int:
        return len(self._lookup())

    def __eq__(self, other: object) -> bool:
        if isinstance(other, Headers):
            return self._lookup() == other._lookup()
        if isinstance(other, Mapping):
            return self._lookup() == Headers(other)._lookup()
        return NotImplemented

    def __hash__(self) -> int:
        return hash(frozenset((name, tuple(values)) for name, values in self._lookup().items()))

    def __repr__(self) -> str:
        return f"Headers({list(self._pairs)!r})"

    def get_all(self, name: str) -> list[str]:
        """Return every value sent under `name`, in order; an empty list when there is none."""
        return list(self._lookup().get(name.lower(), ()))

    def items_all(self) -> tuple[tuple[str, str], ...]:
        """Return every (name, value) pair in the order and the spelling they came in."""
        return self._pairs


def header_pairs(headers: HeadersLike) -> tuple[tuple[str, str], ...]:
    """Flatten any accepted shape of headers to (name, value) pairs. Raises TypeError for anything else."""
    if isinstance(headers, Headers):
        return headers.items_all()
    if not headers:
        return ()
    pairs: list[tuple[str, str]] = []
    source = headers.items() if isinstance(headers, Mapping) else headers
    for name, value in source:
        values = (value,) if isinstance(value, str) else value
        for one in values:
            if not isinstance(name, str) or not isinstance(one, str):
                raise TypeError(f"headers are pairs of strings, not {name!r}: {one!r}")
            pairs.append((name, one))
    return tuple(pairs)


class Call(NamedTuple):
    """One request to one function.

    `url` is a full URL or a path with query. `content_type` may be empty. `headers` are pairs in order; a
    Content-Type among them yields to `content_type` when that is not empty. `deadline` is absolute, in seconds
    of the manager's clock (`Manager.time()`), and bounds waiting, starting and running together; None is none.
    """

    id: str
    body: bytes = b""
    headers: tuple[tuple[str, str], ...] = ()
    method: str = "POST"
    url: str = "/"
    content_type: str = ""
    deadline: float | None = None

    def __repr__(self) -> str:
        return f"Call({self.id!r}, {self.method} {self.url!r}, {len(self.body)} bytes)"


class Reply(NamedTuple):
    """What came back for one call.

    `queued`, `started` and `ran` are seconds: waiting for an instance, waiting for one to start, and in the
    function; their sum is the time from `Manager.call` to the end of the reply. `cold` says that the call waited
    for a start, `cold_reason` why there had to be one: `first`, `all_busy`, `recycled`, `after_failure`, or "".
    """

    status: int
    headers: Headers
    body: bytes
    cold: bool = False
    cold_reason: str = ""
    instance: str = ""
    call_id: str = ""
    queued: float = 0.0
    started: float = 0.0
    ran: float = 0.0

    def __repr__(self) -> str:
        return f"Reply({self.status}, {len(self.body)} bytes, call {self.call_id!r})"


class Exit(NamedTuple):
    """How a copy ended: `code` when it exited by itself, `signal` when it was killed, both None when the engine
    lost sight of it. `oom` when the engine says it ran out of memory; `detail` is the engine's own text."""

    code: int | None = None
    signal: int | None = None
    oom: bool = False
    detail: str = ""

    def __str__(self) -> str:
        if self.oom:
            text = "ran out of memory and was killed"
        elif self.signal is not None:
            text = f"was killed by signal {self.signal}"
        elif self.code is not None:
            text = f"exited with code {self.code}"
        else:
            text = "was lost"
        return f"{text} ({self.detail})" if self.detail else text


class _Number(NamedTuple):
    """The legal range of one numeric field of a FunctionSpec."""

    low: float
    high: float
    unit: str
    whole: bool = False
    optional: bool = False


_DAY = 86400.0
_NUMBERS: dict[str, _Number] = {
    "memory": _Number(1, 1_048_576, "MB", whole=True, optional=True),
    "cpus": _Number(0.01, 1024, "cores", optional=True),
    "timeout": _Number(0.001, _DAY, "seconds"),
    "idle_timeout": _Number(0, 30 * _DAY, "seconds"),
    "queue_timeout": _Number(0.001, _DAY, "seconds"),
    "start_timeout": _Number(0.001, _DAY, "seconds"),
    "stop_grace": _Number(0, 3600, "seconds"),
    "max_concurrency": _Number(1, 10_000, "instances", whole=True),
    "min_instances": _Number(0, 10_000, "instances", whole=True),
    "max_queue": _Number(0, 1_000_000, "calls", whole=True),
    "max_calls": _Number(1, 1_000_000_000, "calls", whole=True, optional=True),
    "max_age": _Number(0.001, 365 * _DAY, "seconds", optional=True),
    "max_request": _Number(0, 1 << 31, "bytes", whole=True),
    "max_response": _Number(0, 1 << 31, "bytes", whole=True),
}


@dataclass(frozen=True, kw_only=True, eq=False)
class FunctionSpec:
    """The frozen description of a function. Any difference in it is another function.

    All spans are in seconds, sizes of bodies in bytes, `memory` in MB, `cpus` in cores. Validated when made:
    `ConfigError` names the field, the value and the limit. `identity` is a SHA-256 over every field.

    `app`, `name`: together "app/name", what `Manager.call` takes.
    `driver`, `image`, `command`, `driver_options`: how a copy is started; `command` is argv, never a shell line.
    `format`: the IO protocol. `env`: added to the copy's environment. `headers`: added to every reply.
    `memory`, `cpus`: None asks for no limit. A limit that the driver does not enforce is refused unless
    `best_effort`.
    `timeout`: in the function, per call. `queue_timeout`: waiting. `start_timeout`: one start.
    `stop_grace`: between asking a copy to end and killing it. `idle_timeout`: 0 stops a copy as soon as nothing
    waits.
    `max_concurrency`, `min_instances`: most copies, and copies kept hot on purpose. `max_queue`: calls that may
    wait when all copies are busy. `max_calls`, `max_age`: recycle a copy after so many calls or seconds.
    `max_request`, `max_response`: largest bodies.
    """

    name: str
    app: str = "default"
    driver: str = "local"
    image: str = ""
    command: tuple[str, ...] = ()
    format: str = "default"
    env: Mapping[str, str] = field(default_factory=dict, repr=False)  # may hold secrets
    headers: Mapping[str, str] = field(default_factory=dict)
    memory: int | None = None
    cpus: float | None = None
    timeout: float = 30.0
    idle_timeout: float = 30.0
    queue_timeout: float = 30.0
    start_timeout: float = 30.0
    stop_grace: float = 5.0
    max_concurrency: int = 1
    min_instances: int = 0
    max_queue: int = 1024
    max_calls: int | None = None
    max_age: float | None = None
    max_request: int = 64 * 1024 * 1024
    max_response: int = 64 * 1024 * 1024
    driver_options: Mapping[str, Any] = field(default_factory=dict, repr=False)
    best_effort: bool = False
    identity: str = field(init=False, repr=False)

    def __new__(cls, **fields: Any) -> Self:
        """Refuse unknown fields with a suggestion before the generated `__init__` sees them."""
        check_field_names(fields)
        return super().__new__(cls)

    def __post_init__(self) -> None:
        for label in ("app", "name", "driver", "format"):
            _check_name(label, getattr(self, label))
        self._set("image", _check_text("image", self.image))
        self._set("command", _check_command(self.command))
        self._set("env", _check_env(self.env))
        self._set("headers", _check_headers(self.headers))
        for label, rule in _NUMBERS.items():
            self._set(label, _check_number(label, getattr(self, label), rule))
        self._set("driver_options", _check_options(self.driver_options))
        if not isinstance(self.best_effort, bool):
            raise ConfigError(f"best_effort must be true or false, not {self.best_effort!r}", field="best_effort")
        if self.min_instances > self.max_concurrency:
            raise ConfigError(
                f"min_instances is {self.min_instances}, more than max_concurrency, {self.max_concurrency}",
                field="min_instances",
            )
        if not self.command and not self.image:
            raise ConfigError("a function needs a command or an image; both are empty", field="command")
        self._set("identity", self._digest())

    def _set(self, label: str, value: object) -> None:
        object.__setattr__(self, label, value)

    @property
    def full_name(self) -> str:
        """The function's name with its app: "app/name"."""
        return f"{self.app}/{self.name}"

    def as_dict(self) -> dict[str, Any]:
        """Return every field but `identity` as plain dicts, lists, strings and numbers."""
        return {label: _plain(getattr(self, label)) for label in FIELD_NAMES}

    def replace(self, **changes: Any) -> FunctionSpec:
        """Return another function that differs in `changes`. Raises ConfigError as the constructor does."""
        return type(self)(**(self.as_dict() | changes))

    def _digest(self) -> str:
        # JSON with sorted keys is unambiguous (unlike joined strings, "ab"+"c" and "a"+"bc" differ in it).
        text = json.dumps(self.as_dict(), sort_keys=True, separators=(",", ":"), ensure_ascii=True)
        return hashlib.sha256(text.encode("ascii")).hexdigest()

    def __eq__(self, other: object) -> bool:
        return self.identity == other.identity if isinstance(other, FunctionSpec) else NotImplemented

    def __hash__(self) -> int:
        return hash(self.identity)

    def __reduce__(self) -> tuple[Any, ...]:
        return _rebuild, (self.as_dict(),)


FIELD_NAMES: tuple[str, ...] = tuple(f.name for f in dataclasses.fields(FunctionSpec) if f.init)


def _rebuild(fields: dict[str, Any]) -> FunctionSpec:
    return FunctionSpec(**fields)


def check_field_names(names: Iterable[str]) -> None:
    """Raise ConfigError for the first name that is not a field of FunctionSpec, with a suggestion."""
    for name in names:
        if name not in FIELD_NAMES:
            raise ConfigError(f'a function has no field "{name}"{did_you_mean(name, FIELD_NAMES)}', field=name)


def _plain(value: object) -> Any:
    if isinstance(value, Mapping):
        return {key: _plain(one) for key, one in value.items()}
    if isinstance(value, tuple | list):
        return [_plain(one) for one in value]
    return value


def _check_name(label: str, value: object) -> None:
    if not isinstance(value, str) or not _NAME.fullmatch(value):
        raise ConfigError(
            f"{label} must be 1 to 128 letters, digits, '_', '-' or '.', not starting with '-' or '.'; it is {value!r}",
            field=label,
        )


def _check_text(label: str, value: object) -> str:
    if not isinstance(value, str):
        raise ConfigError(f"{label} must be a string, not {value!r}", field=label)
    if "\0" in value:
        raise ConfigError(f"{label} contains a NUL byte: {value!r}", field=label)
    try:
        value.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError:
        raise ConfigError(f"{label} is not valid text: {value!r}", field=label) from None
    return value


def _check_command(value: object) -> tuple[str, ...]:
    if isinstance(value, str | bytes) or not isinstance(value, Sequence):
        raise ConfigError(
            f"command must be a list of strings (argv), not {value!r}; hotfn runs no shell", field="command"
        )
    command = tuple(_check_text("command", part) for part in value)
    if command and not command[0]:
        raise ConfigError("command starts with an empty string", field="command")
    return command


def _check_env(value: object) -> Mapping[str, str]:
    env = _check_mapping("env", value)
    for name, text in env.items():
        if not _ENV_NAME.fullmatch(name):
            raise ConfigError(f"env: {name!r} is not a name of an environment variable", field="env")
        if not isinstance(text, str) or "\0" in text:
            # The value may be a secret, so it is not repeated here.
            raise ConfigError(f"env: the value of {name} must be a string without NUL bytes", field="env")
    return MappingProxyType(env)


def _check_headers(value: object) -> Mapping[str, str]:
    headers = _check_mapping("headers", value)
    for name, text in headers.items():
        if not isinstance(text, str) or not name or any(c in name + text for c in "\r\n\0"):
            raise ConfigError(f"headers: {name!r}: {text!r} is not a header", field="headers")
    return MappingProxyType(headers)


def _check_options(value: object) -> Mapping[str, Any]:
    options = _check_mapping("driver_options", value)
    try:
        text = json.dumps(_plain(options), allow_nan=False)
    except (TypeError, ValueError) as error:
        raise ConfigError(
            f"driver_options must hold strings, numbers, lists and tables only: {error}", field="driver_options"
        ) from None
    return MappingProxyType({key: _frozen(one) for key, one in json.loads(text).items()})


def _frozen(value: Any) -> Any:
    if isinstance(value, dict):
        return MappingProxyType({key: _frozen(one) for key, one in value.items()})
    return tuple(_frozen(one) for one in value) if isinstance(value, list) else value


def _check_mapping(label: str, value: object) -> dict[str, Any]:
    if not isinstance(value, Mapping) or not all(isinstance(key, str) for key in value):
        raise ConfigError(f"{label} must be a table with string keys, not {value!r}", field=label)
    return dict(value)


def _check_number(label: str, value: object, rule: _Number) -> float | int | None:
    if value is None and rule.optional:
        return None
    kind = "a whole number" if rule.whole else "a number"
    allowed = f"{kind} of {rule.unit} from {rule.low:g} to {rule.high:.10g}" + (" or none" if rule.optional else "")
    whole = isinstance(value, int) and not isinstance(value, bool)
    if not (whole or (isinstance(value, float) and not rule.whole and math.isfinite(value))):
        raise ConfigError(f"{label} must be {allowed}, not {value!r}", field=label)
    assert isinstance(value, int | float)
    if not rule.low <= value <= rule.high:
        raise ConfigError(f"{label} must be {allowed}; {value!r} is out of range", field=label)
    return value if rule.whole else float(value)
