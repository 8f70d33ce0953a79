"""The values hotfn passes around: the function's description, a call, its reply, how a copy ended.

All of them are immutable. `Call` and `Reply` are named tuples because one of each is made for every call and a
frozen dataclass costs three times as much to make.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple, Self

from . import checks
from .errors import ConfigError, did_you_mean
from .headers import Headers, HeadersLike, header_pairs

__all__ = [
    "Call",
    "Exit",
    "FunctionSpec",
    "Headers",
    "HeadersLike",
    "Reply",
    "header_pairs",
    "new_tuple",
]

new_tuple = tuple.__new__
"""Makes a named tuple of all its fields in order. Half the cost of calling its class: for the hot path only."""


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


KILLED = 128 + 9
"""The exit code by which engines say that SIGKILL ended a program; the kernel sends it when memory is used up."""


class Exit(NamedTuple):
    """How a copy ended: `code` when it exited by itself, `signal` when it was killed, both None when the engine
    lost sight of it. `oom` when it, or a process of it, ran out of memory: it may have gone on and ended by itself.
    `detail` is the engine's own text. `memory` is the limit in MB that it was under, where the driver sets one."""

    code: int | None = None
    signal: int | None = None
    oom: bool = False
    detail: str = ""
    memory: int | None = None

    def __str__(self) -> str:
        text = self._how()
        if self.oom:
            limit = "" if self.memory is None else f", limit {self.memory} MB,"
            text = f"ran out of memory{limit} and {text}"
        return f"{text} ({self.detail})" if self.detail else text

    def _how(self) -> str:
        if self.oom and self.code in (None, KILLED) and self.signal in (None, 9):
            return "was killed"
        if self.signal is not None:
            return f"was killed by signal {self.signal}"
        return f"exited with code {self.code}" if self.code is not None else "was lost"


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
    waits. `freeze_after`: a copy that has been idle for so long is suspended until a call needs it; None never.
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
    freeze_after: float | None = None
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
        """Refuse unknown fields with a suggestion, and a missing name, before the generated `__init__` does."""
        check_field_names(fields)
        if "name" not in fields:
            raise ConfigError("a function needs a name", field="name")
        return super().__new__(cls)

    def __post_init__(self) -> None:
        for label in ("app", "name", "driver", "format"):
            checks.check_name(label, getattr(self, label))
        self._set("image", checks.check_text("image", self.image))
        self._set("command", checks.check_command(self.command))
        self._set("env", checks.check_env(self.env))
        self._set("headers", checks.check_headers(self.headers))
        for label, rule in checks.NUMBERS.items():
            self._set(label, checks.check_number(label, getattr(self, label), rule))
        self._set("driver_options", checks.check_options(self.driver_options))
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
        return {label: checks.plain(getattr(self, label)) for label in FIELD_NAMES}

    def replace(self, **changes: Any) -> FunctionSpec:
        """Return another function that differs in `changes`. Raises ConfigError as the constructor does."""
        return type(self)(**(self.as_dict() | changes))

    def _digest(self) -> str:
        import hashlib  # with json 7 ms, which whoever only imports hotfn need not pay
        import json

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
