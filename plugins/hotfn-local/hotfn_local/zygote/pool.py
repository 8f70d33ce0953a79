"""The zygotes of one driver: one for each kind of copy, started when needed, and ended when not."""

from __future__ import annotations

import asyncio
import os
from typing import NamedTuple

from hotfn_core.errors import ConfigError, DriverError, DriverUnavailable

from .. import program
from ..guardian import Entry, Guardian
from ..spawn import Child, Order, close, open_streams
from .key import Key, fields_file, job, key_of
from .process import Forked, Zygote

IDLE = 300.0
"""Seconds that a zygote without copies is kept."""

MOST_IDLE = 8
"""Zygotes without copies that are kept at a time."""

TRIES = 3
"""Zygotes that a start may use up: one whose files have changed, and one that was killed just then."""

FIRST_PAUSE, LONGEST_PAUSE = 0.1, 30.0
"""Seconds between two failing starts of a zygote, doubled each time."""

MOST_FAILED = 64


class _Failure(NamedTuple):
    until: float
    pause: float
    error: DriverError


class Zygotes:
    """Raises DriverError from all that starts something."""

    def __init__(self, guardian: Guardian) -> None:
        self._guardian = guardian
        self._loop = asyncio.get_running_loop()
        self._current: dict[Key, Zygote] = {}
        self._all: set[Zygote] = set()
        self._failed: dict[Key, _Failure] = {}
        self._timer: asyncio.TimerHandle | None = None
        self._closed = False

    @property
    def pids(self) -> list[int]:
        """The zygotes that live, also those that wait for the end of their last copy."""
        return [zygote.pid for zygote in self._all]

    async def prepare(self, order: Order) -> None:
        """Have a zygote for such copies that is ready."""
        self._release(await self._ready(_key(order)))

    async def start(self, order: Order) -> tuple[Child, Entry]:
        """Start one copy."""
        key = _key(order)
        for _ in range(TRIES):
            zygote = await self._ready(key)
            try:
                started = await self._fork(zygote, order)
            except BaseException:  # also cancelled: it uses the zygote no more
                self._release(zygote)
                raise
            if started:
                return started
            self._retire(zygote)
            self._release(zygote)
        raise DriverError(f"the zygotes of `{key}` end or are out of date as soon as they are started")

    async def aclose(self) -> None:
        """End all zygotes. Idempotent."""
        self._closed = True
        if self._timer:
            self._timer.cancel()
        for zygote in self._all:
            zygote.end()
        if self._all:
            await asyncio.wait([zygote.gone for zygote in self._all])

    # ---- one copy

    async def _fork(self, zygote: Zygote, order: Order) -> tuple[Child, Entry] | None:
        """Returns None when another zygote is to be used."""
        entry = self._guardian.enter()
        try:
            child = await self._child(zygote, order, entry)
        except BaseException as error:  # nothing is left behind, whatever it was
            entry.ended()
            if isinstance(error, OSError | ValueError):
                raise _explained(zygote.key, error) from error
            raise
        if child is None:
            entry.ended()
            return None
        return child, entry

    async def _child(self, zygote: Zygote, order: Order, entry: Entry) -> Child | None:
        reply = child = None
        streams = open_streams()
        try:
            with fields_file(job(order, entry.marker)) as described:
                reply = await zygote.fork([described, *streams.theirs])
            child = self._forked(zygote, reply, entry, streams.ours)
            return child
        finally:
            close(streams.theirs)
            if child is None:
                close(streams.ours)
                zygote.discard(reply)

    def _forked(self, zygote: Zygote, reply: bytes | None, entry: Entry, ours: list[int]) -> Child | None:
        if reply is None or reply == b"stale":
            return None
        if self._closed:
            raise _closed()
        word, _, text = reply.partition(b" ")
        if word != b"pid":
            raise DriverError(f"the zygote of `{zygote.key}` cannot fork: {text.decode(errors='replace')}")
        pid = int(text)
        entry.started(pid, zygote.since)
        return Child(Forked(zygote, entry), pid, os.pidfd_open(pid), *ours)

    # ---- which zygote

    async def _ready(self, key: Key) -> Zygote:
        """Return a zygote that has done its imports, and count as one of its users."""
        zygote = self._current.get(key) or self._start(key)
        zygote.users += 1
        try:
            await asyncio.wait([zygote.ready])
            zygote.ready.result()
        except BaseException:  # also cancelled: it waits no more
            self._release(zygote)
            raise
        self._failed.pop(key, None)
        return zygote

    def _start(self, key: Key) -> Zygote:
        failure = self._failed.get(key)
        if failure and (left := failure.until - self._loop.time()) > 0:
            raise DriverError(failure.error.message, retry_after=left)
        if self._closed:
            raise _closed()
        self._make_room()
        entry = self._guardian.enter()
        try:
            zygote = Zygote(key, entry, self._gone)
        except (OSError, ValueError) as error:
            entry.cancelled()
            raise _explained(key, error) from error
        self._current[key] = zygote
        self._all.add(zygote)
        return zygote

    def done(self, child: Child) -> None:
        """A copy has ended."""
        if isinstance(child.parent, Forked):
            self._release(child.parent.zygote)

    def _release(self, zygote: Zygote) -> None:
        zygote.users -= 1
        if zygote.users or zygote.leaving:
            return
        if not zygote.ready.done():
            self._retire(zygote)
            zygote.kill()
        elif self._current.get(zygote.key) is not zygote:
            zygote.end()
        else:
            zygote.unused_since = self._loop.time()
            self._arm()

    def _retire(self, zygote: Zygote) -> None:
        """Start nothing with it any more."""
        if self._current.get(zygote.key) is zygote:
            del self._current[zygote.key]

    def _gone(self, zygote: Zygote) -> None:
        error = zygote.ready.exception()
        if isinstance(error, DriverError) and self._current.get(zygote.key) is zygote:
            self._remember(zygote.key, error)  # a start that was called back is no failure
        self._retire(zygote)
        self._all.discard(zygote)

    def _remember(self, key: Key, error: DriverError) -> None:
        before = self._failed.pop(key, None)
        pause = min(before.pause * 2, LONGEST_PAUSE) if before else FIRST_PAUSE
        self._failed[key] = _Failure(self._loop.time() + pause, pause, error)
        if len(self._failed) > MOST_FAILED:
            del self._failed[next(iter(self._failed))]

    # ---- those that nobody uses

    def _unused(self) -> list[Zygote]:
        """Return them, the longest unused first."""
        return sorted((one for one in self._current.values() if not one.users), key=lambda one: one.unused_since)

    def _make_room(self) -> None:
        for zygote in self._unused()[: -MOST_IDLE + 1]:
            self._retire(zygote)
            zygote.end()

    def _arm(self) -> None:
        unused = self._unused()
        if self._timer is None and unused and not self._closed:
            self._timer = self._loop.call_at(unused[0].unused_since + IDLE, self._expire)

    def _expire(self) -> None:
        self._timer = None
        for zygote in self._unused():
            if zygote.unused_since + IDLE <= self._loop.time():
                self._retire(zygote)
                zygote.end()
        self._arm()


def _closed() -> DriverUnavailable:
    return DriverUnavailable('the driver "local" is not open')


def _key(order: Order) -> Key:
    try:
        return key_of(order)
    except ConfigError as error:
        raise DriverError(error.message) from error


def _explained(key: Key, error: OSError | ValueError) -> DriverError:
    if isinstance(error, OSError):
        return program.explain(key.argv[0], key.path, error)
    return DriverError(f'cannot start "{key.argv[0]}": {error}')
