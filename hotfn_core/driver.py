"""The contract of a container driver: how a copy of a function is started, talked to and stopped.

A driver is made by a factory without arguments, `open()`ed once by the manager that uses it, and `aclose()`d with
it. Everything runs on the manager's event loop; what blocks goes to threads inside the driver.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, Protocol

from .model import Exit, FunctionSpec


@dataclass(frozen=True, kw_only=True, slots=True)
class ContainerSpec:
    """What a driver needs to start one copy.

    `env` is complete but for what the driver itself adds (a PATH, say); it may hold secrets and is not in the
    repr. `memory` is in MB, `cpus` in cores, None for no limit. `instance` names this copy, `function` is
    "app/name", `identity` the SHA-256 of the function's description. `shared`, "" for none, is a directory of this
    machine that the copy must find at `SharingDriver.shared_at` and may write to, whoever it runs as. It and the one
    around it are this copy's alone and have the mode 0700: the driver opens them as far as that needs. `shares` says
    that the function's copies get one; `prepare` is told that too, when there is none yet.
    """

    function: str
    instance: str
    identity: str
    image: str = ""
    command: tuple[str, ...] = ()
    env: Mapping[str, str] = field(default_factory=dict, repr=False)
    memory: int | None = None
    cpus: float | None = None
    options: Mapping[str, Any] = field(default_factory=dict, repr=False)
    best_effort: bool = False
    shared: str = ""
    shares: bool = False


class Receiver(Protocol):
    """Whom a container tells what happens to it: plain callbacks on the event loop, which never block or raise.

    Order: any number of `stdout_received` and `stderr_received`, at most one `stdout_eof`, and `exited` last and
    exactly once, also when the engine itself dies. None of them is called from inside `Container.write`.
    They may be called before `launch` has returned; `exited` is not called when `launch` raises.
    """

    def stdout_received(self, data: bytes) -> None: ...

    def stderr_received(self, data: bytes) -> None: ...

    def stdout_eof(self) -> None:
        """The copy closed its stdout and did not exit with that. Drivers that cannot see this never call it."""

    def exited(self, exit: Exit) -> None: ...


class Container(ABC):
    """One running copy. `id` is the driver's own name for it (a pid, a container id), for people to read."""

    id: str

    @abstractmethod
    def write(self, data: bytes) -> None:
        """Queue bytes for the copy's stdin. Never blocks, never raises because the copy is gone or has closed its
        stdin: its exit is what tells. Bytes that the copy does not take are held, in order."""

    @property
    @abstractmethod
    def writable(self) -> bool:
        """False while enough bytes are held that a producer should wait."""

    @abstractmethod
    def write_eof(self) -> None:
        """Close the copy's stdin behind what was written. Idempotent."""

    @abstractmethod
    def pause_reading(self) -> None:
        """Stop taking the copy's stdout until `resume_reading`. stderr is always drained. Idempotent."""

    @abstractmethod
    def resume_reading(self) -> None:
        """Take stdout again. Idempotent."""

    @abstractmethod
    async def stop(self, grace: float) -> None:
        """Ask the copy to end, wait up to `grace` seconds, then kill it and all it started.

        Returns when `exited` was delivered. `grace` 0 kills at once. Idempotent, and safe to call again while an
        earlier stop waits: the shorter grace wins. Cancelling it stops the waiting, not the copy's end. Raises
        DriverError when the engine refuses; then it may be called again.
        """

    async def freeze(self) -> None:
        """Suspend the copy's processes; return when none of them runs. Optional: see `Driver.freezes`.

        Called while the copy has no call, never beside a thaw. The copy may exit meanwhile: then it returns or raises,
        and `exited` tells. `stop` may be called at any moment, also while this runs, and must work on a frozen copy:
        with a grace it is thawed, so that it can mind being asked, and without one it is killed as it is. Cancelled it
        may leave the copy frozen or not. Raises DriverError when the engine refuses; then the copy is stopped.
        """
        raise NotImplementedError(f"{type(self).__name__} cannot freeze")

    async def thaw(self) -> None:
        """Let a frozen copy run again; return when it can take its next bytes. Optional: see `Driver.freezes`.

        As for `freeze`. When it raises, or takes longer than five seconds, the copy is stopped without grace, and the
        call that it was thawed for gets another one.
        """
        raise NotImplementedError(f"{type(self).__name__} cannot thaw")


class Driver(ABC):
    """A way to start copies of functions.

    `name` is what `driver = "..."` names. `enforces` are the limits of a FunctionSpec that it really enforces, of
    `memory` and `cpus`; asking for another is refused unless the function says `best_effort`. `freezes`: its
    containers can `freeze` and `thaw`; without it the same goes for `freeze_after`. `max_starting`: so many launches
    are under way at a time, over all functions of a manager; others wait in line. The user's own number goes first.
    """

    name: ClassVar[str]
    enforces: ClassVar[frozenset[str]] = frozenset()
    freezes: ClassVar[bool] = False
    max_starting: int = 16

    async def open(self) -> None:
        """Connect to the engine. Raises DriverUnavailable with what to do about it. Called before launch; again only
        after it has raised."""
        return None

    def validate(self, spec: FunctionSpec) -> None:
        """Raise ConfigError for what this driver can tell is wrong with a function without starting it:
        unknown `driver_options`, no command, no image. May be called more than once; does no IO that can be slow."""
        return None

    async def prepare(self, spec: ContainerSpec) -> None:
        """Make ready what the copies of a function need and what may take long, an image above all. Optional.

        Awaited once before the first copy of a function, and once again after hotfn has forgotten it; nobody's
        `start_timeout` counts meanwhile, so it has a limit of its own. `spec` is that of a copy without a call, its
        `instance` is "". Of different functions several may run at once. Raises DriverError; then calls that wait are
        told, and the next one asks again. Cancelled when the manager is closed; then nothing of it goes on.
        """
        return None

    @abstractmethod
    async def launch(self, spec: ContainerSpec, receiver: Receiver) -> Container:
        """Start one copy and return when it can take its first bytes.

        Raises DriverError (DriverUnavailable when the engine is gone). When it raises or is cancelled nothing is
        left behind. Up to `max_starting` launches run at once; one that goes on for more than a second after it was
        cancelled does not count any more.
        """

    def describe(self) -> str:
        """Say in one short line what an open driver works with, for people: engine, version, address. "" when there is
        nothing to say. Called between open and aclose; does no IO, so `open` remembers what it learned."""
        return ""

    def confinement(self, spec: FunctionSpec) -> Sequence[str]:
        """Say what a copy of that function is confined to beyond `memory` and `cpus`, a few words for each point, for
        people: "network none", "root read-only". Called for a function that `validate` took, also when the engine is
        away; does no IO."""
        return ()

    async def sweep(self) -> int:
        """Remove what dead runtimes of ours left behind, and nothing else. Returns how many things were removed.

        Called once in the background after a manager has opened the driver, while launches go on, and by `hotfn gc`.
        `hotfn_core.runtime` tells whose runtime is dead. Raises DriverError when something could not be removed, after
        trying the rest. It is cancelled when the manager closes; the next sweep does what is left.
        """
        return 0

    async def aclose(self) -> None:
        """Let go of the engine. Every container has exited by then. Idempotent."""
        return None


class SharingDriver(Driver):
    """A driver that can give a copy a directory of this machine: `ContainerSpec.shared`.

    Protocols whose copies listen on a socket need that. `shared_at` is where a copy sees it, "" for the same path.
    """

    shared_at: ClassVar[str] = ""
