"""Bugs planted in the driver `local`, each with the name of the check that has to find it."""

from __future__ import annotations

import asyncio
import functools
import os
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from hotfn_core.driver import Container, ContainerSpec, Receiver
from hotfn_core.errors import DriverError
from hotfn_core.model import Exit, FunctionSpec
from hotfn_local.driver import LocalDriver
from hotfn_local.process import LocalContainer


class Between:
    """A receiver that passes everything on; bugs change one thing about it."""

    def __init__(self, receiver: Receiver) -> None:
        self.receiver = receiver

    def stdout_received(self, data: bytes) -> None:
        self.receiver.stdout_received(data)

    def stderr_received(self, data: bytes) -> None:
        self.receiver.stderr_received(data)

    def stdout_eof(self) -> None:
        self.receiver.stdout_eof()

    def exited(self, exit: Exit) -> None:
        self.receiver.exited(exit)


class Wrapped(Container):
    """A container that passes everything on."""

    def __init__(self, inner: Container, receiver: Receiver) -> None:
        self.inner = inner
        self.receiver = receiver
        self.id = inner.id
        self.frozen = False

    def write(self, data: bytes) -> None:
        self.inner.write(data)

    @property
    def writable(self) -> bool:
        return self.inner.writable

    def write_eof(self) -> None:
        self.inner.write_eof()

    def pause_reading(self) -> None:
        self.inner.pause_reading()

    def resume_reading(self) -> None:
        self.inner.resume_reading()

    async def stop(self, grace: float) -> None:
        await self.inner.stop(grace)

    async def freeze(self) -> None:
        self.frozen = True
        await self.inner.freeze()

    async def thaw(self) -> None:
        self.frozen = False
        await self.inner.thaw()


class Planted(LocalDriver):
    """A driver with room for bugs in its receiver and its container."""

    between: type[Between] = Between
    wrapped: type[Wrapped] = Wrapped

    async def launch(self, spec: ContainerSpec, receiver: Receiver) -> Container:
        between = self.between(receiver)
        return self.wrapped(await super().launch(spec, between), receiver)


BUGS: dict[str, tuple[str, type[LocalDriver]]] = {}
Plant = Callable[[type[Any]], type[Any]]


def caught_by(check: str) -> Plant:
    """Register a bug, which is a driver, a container or a receiver, and the check that has to find it."""

    def plant(bug: type[Any]) -> type[Any]:
        driver = bug
        if issubclass(bug, Between):
            driver = type(bug.__name__, (Planted,), {"between": bug})
        elif issubclass(bug, Wrapped):
            driver = type(bug.__name__, (Planted,), {"wrapped": bug})
        BUGS[bug.__name__] = check, driver
        return bug

    return plant


@caught_by("exit_codes")
class ExitsTwice(Between):
    def exited(self, exit: Exit) -> None:
        super().exited(exit)
        super().exited(exit)


@caught_by("last_words")
class ExitBeforeLastWords(Between):
    def stdout_received(self, data: bytes) -> None:
        asyncio.get_running_loop().call_later(0.01, self.receiver.stdout_received, data)


@caught_by("exit_codes")
class CodeLost(Between):
    def exited(self, exit: Exit) -> None:
        super().exited(Exit(code=0))


@caught_by("exit_signals")
class SignalAsNegativeCode(Between):
    def exited(self, exit: Exit) -> None:
        super().exited(Exit(code=-exit.signal) if exit.signal else exit)


@caught_by("exit_is_no_eof")
class EveryExitIsAnEof(Between):
    def exited(self, exit: Exit) -> None:
        self.stdout_eof()
        super().exited(exit)


@caught_by("streams_apart")
class StreamsMixed(Between):
    def stderr_received(self, data: bytes) -> None:
        super().stdout_received(data)


@caught_by("bytes")
class LinesTranslated(Between):
    def stdout_received(self, data: bytes) -> None:
        super().stdout_received(data.replace(b"\r\n", b"\n"))


@caught_by("stderr")
class StderrClamped(Between):
    seen = 0

    def stderr_received(self, data: bytes) -> None:
        self.seen += len(data)
        if self.seen <= 1 << 20:
            super().stderr_received(data)


@caught_by("answers")
class NotBytes(Between):
    def stdout_received(self, data: bytes) -> None:
        super().stdout_received(memoryview(data))  # type: ignore[arg-type]


@caught_by("holding")
class DropsWhenFull(Wrapped):
    def write(self, data: bytes) -> None:
        if self.writable:
            super().write(data)


@caught_by("holding")
class AlwaysWritable(Wrapped):
    writable = True


@caught_by("pausing")
class NeverPauses(Wrapped):
    def pause_reading(self) -> None:
        pass


@caught_by("pausing")
class PausesStderrToo(Wrapped):
    def pause_reading(self) -> None:
        super().pause_reading()
        self.inner._stderr.pause()  # type: ignore[attr-defined]


@caught_by("answers")
class AnswersFromInsideWrite(Wrapped):
    def write(self, data: bytes) -> None:
        self.receiver.stderr_received(b"written\n")
        super().write(data)


@caught_by("after_the_exit")
class RaisesWhenGone(Wrapped):
    def write(self, data: bytes) -> None:
        if not self.inner._alive:  # type: ignore[attr-defined]
            raise BrokenPipeError
        super().write(data)


@caught_by("stop_kills")
class NeverKills(Wrapped):
    async def stop(self, grace: float) -> None:
        await super().stop(grace or 0 if grace == 0 else 3600)


@caught_by("stop_asks")
class KillsAtOnce(Wrapped):
    async def stop(self, grace: float) -> None:
        await super().stop(0)


@caught_by("stop_kills")
class DoesNotWait(Wrapped):
    stopping: asyncio.Task[None]

    async def stop(self, grace: float) -> None:
        self.stopping = asyncio.ensure_future(super().stop(grace))


@caught_by("stop_hurried")
class FirstStopWins(Wrapped):
    first: asyncio.Future[None] | None = None

    async def stop(self, grace: float) -> None:
        self.first = self.first or asyncio.ensure_future(super().stop(grace))
        await asyncio.shield(self.first)


@caught_by("stop_cancelled")
class CancelledStopForgets(Wrapped):
    async def stop(self, grace: float) -> None:
        try:
            await super().stop(grace)
        except asyncio.CancelledError:
            self.inner._cancel_timer("kill")  # type: ignore[attr-defined]
            raise


@caught_by("stop_takes_all")
class LeavesGrandchildren(LocalDriver):
    async def launch(self, spec: ContainerSpec, receiver: Receiver) -> Container:
        container = await super().launch(spec, receiver)
        assert isinstance(container, LocalContainer)
        container._signal = functools.partial(os.kill, container._child.pid)  # type: ignore[method-assign]
        assert self._guardian
        self._guardian.copy_ended = lambda: None  # type: ignore[method-assign] # it would find them, a second later
        return container


@caught_by("environment")
class InheritsEverything(LocalDriver):
    async def launch(self, spec: ContainerSpec, receiver: Receiver) -> Container:
        return await super().launch(replace(spec, env={**os.environ, **spec.env}), receiver)


@caught_by("arguments")
class GoesThroughAShell(LocalDriver):
    async def launch(self, spec: ContainerSpec, receiver: Receiver) -> Container:
        return await super().launch(replace(spec, command=("/bin/sh", "-c", " ".join(spec.command))), receiver)


@caught_by("missing_program")
class MissingProgramExits(LocalDriver):
    async def launch(self, spec: ContainerSpec, receiver: Receiver) -> Container:
        return await super().launch(replace(spec, command=("/usr/bin/env", *spec.command)), receiver)


@caught_by("missing_program")
class MissingProgramIsAnyError(LocalDriver):
    async def launch(self, spec: ContainerSpec, receiver: Receiver) -> Container:
        try:
            return await super().launch(spec, receiver)
        except DriverError:
            raise FileNotFoundError(spec.command[0]) from None


@caught_by("cancelled_launch")
class CancelledLaunchLeavesACopy(LocalDriver):
    async def launch(self, spec: ContainerSpec, receiver: Receiver) -> Container:
        container = await super().launch(spec, receiver)
        await asyncio.sleep(0.03)
        return container


@caught_by("ids")
class IdsAreNotUnique(LocalDriver):
    async def launch(self, spec: ContainerSpec, receiver: Receiver) -> Container:
        container = await super().launch(spec, receiver)
        container.id = spec.function
        return container


@caught_by("sharing")
class ShowsItElsewhere(LocalDriver):
    shared_at = "/no/such/place-of-a-check"


@caught_by("sharing_alone")
class SharesWithAll(LocalDriver):
    first = ""

    async def launch(self, spec: ContainerSpec, receiver: Receiver) -> Container:
        self.first = self.first or spec.shared
        if spec.shared != self.first:
            os.rmdir(spec.shared)  # noqa: PTH106
            os.symlink(self.first, spec.shared)  # noqa: PTH211
        return await super().launch(spec, receiver)


@caught_by("sweep")
class SweepsTheLiving(LocalDriver):
    async def sweep(self) -> int:
        for container in self._alive:
            await container.stop(0)
        return 0


@caught_by("validate")
class ValidatesNothing(LocalDriver):
    def validate(self, spec: FunctionSpec) -> None:
        pass


@caught_by("limits")
class ForgetsTheLimit(LocalDriver):
    async def launch(self, spec: ContainerSpec, receiver: Receiver) -> Container:
        return await super().launch(replace(spec, memory=None), receiver)


@caught_by("closing")
class LeavesADescriptor(LocalDriver):
    async def launch(self, spec: ContainerSpec, receiver: Receiver) -> Container:
        self.leaked = os.open("/dev/null", os.O_RDONLY)
        return await super().launch(spec, receiver)


@caught_by("closing")
class LeavesATask(LocalDriver):
    async def launch(self, spec: ContainerSpec, receiver: Receiver) -> Container:
        self.forgotten = asyncio.ensure_future(asyncio.sleep(3600))
        return await super().launch(spec, receiver)


@caught_by("freezing")
class FrozenInNameOnly(Wrapped):
    async def freeze(self) -> None:
        pass


@caught_by("freezing")
class ThawedInNameOnly(Wrapped):
    async def thaw(self) -> None:
        pass


@caught_by("freezing")
class SaysThatItFreezes(Wrapped):
    async def freeze(self) -> None:
        raise NotImplementedError


@caught_by("freezing")
class FreezesInSecret(Planted):
    freezes = False


@caught_by("stop_frozen")
class NotThawedForItsGrace(Wrapped):
    async def stop(self, grace: float) -> None:
        if self.frozen:
            await asyncio.sleep(min(grace, 0.5))
            grace = 0
        await super().stop(grace)


@caught_by("stop_frozen_at_once")
class CannotBeStoppedFrozen(Wrapped):
    async def stop(self, grace: float) -> None:
        if not self.frozen:
            await super().stop(grace)


@caught_by("stop_while_freezing")
class FreezesWhatIsBeingStopped(Wrapped):
    async def freeze(self) -> None:
        try:
            await asyncio.sleep(0.02)
        finally:
            await super().freeze()

    async def stop(self, grace: float) -> None:
        if self.frozen:
            raise DriverError("it is frozen")
        await super().stop(grace)
