"""One zygote as hotfn sees it: a process that is asked over a socket, one thing after the other."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import logging
import os
import signal
import socket
from collections import deque
from collections.abc import Callable, Sequence

from hotfn_core.errors import DriverError
from hotfn_core.model import Exit

from ..guardian import Entry
from ..pipes import PipeReader
from ..spawn import Child, close, popen, reap, watch
from .key import Key, fields_file

_log = logging.getLogger("hotfn.local")

PATIENCE = 60.0
"""Seconds for the imports."""

SILENCE = 10.0
"""Seconds without an answer after which a zygote counts as stuck, and is killed."""

FAREWELL = 2.0
"""Seconds for a zygote to end when it was asked to."""

WINDOW = 16
"""Requests that are sent before the first is answered: each holds descriptors, and the kernel limits both."""

AGAIN = 0.05
"""Seconds until a request is sent again that the kernel did not take."""

_LATER = (errno.EAGAIN, errno.ENOBUFS, errno.ENOMEM, errno.ETOOMANYREFS)

_TAIL = 4096

LOST = Exit(detail="its zygote was killed before it, and its exit status is gone with that")


class Request:
    """One message and who waits for the answer: None when the zygote has ended instead."""

    __slots__ = ("answered", "fds", "message")

    def __init__(self, message: bytes, answered: Callable[[bytes | None], None], fds: Sequence[int] = ()) -> None:
        self.message = message
        self.answered = answered
        self.fds = fds


class Zygote:
    """A running zygote. `users` are the copies that live and the starts that wait; `ended` is called when it is gone.

    `ready` is done when the imports are, or failed with a DriverError. Raises OSError when it cannot be started.
    """

    def __init__(self, key: Key, entry: Entry, ended: Callable[[Zygote], None]) -> None:
        self.key = key
        self.users = 0
        self.unused_since = 0.0
        self.leaving = False
        self._loop = asyncio.get_running_loop()
        self.ready: asyncio.Future[None] = self._loop.create_future()
        self.gone: asyncio.Future[None] = self._loop.create_future()
        self.ready.add_done_callback(_seen)
        self._entry = entry
        self._ended = ended
        self._said = bytearray()
        self._waiting: deque[Request] = deque()
        self._sent: deque[Request] = deque()
        self._heard = self._loop.time()
        self._timer: asyncio.TimerHandle | None = None
        self._retry: asyncio.TimerHandle | None = None
        self._start()

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def since(self) -> int:
        """The tick after which all that it forks was forked, the spare too."""
        return self._entry.since

    def _start(self) -> None:
        self._link, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        stdin, nobody = os.pipe()
        reading, stderr = os.pipe()
        try:
            order = self.key.order(theirs.fileno())
            self._process = popen(order, self._entry.marker, (stdin, stderr, stderr), [theirs.fileno()])
            self._pidfd = watch(self._process)
        except BaseException:  # nothing is left behind, whatever it was
            self._link.close()
            os.close(reading)
            raise
        finally:
            theirs.close()
            close((stdin, nobody, stderr))
        self._entry.started(self._process.pid)
        self._listen(reading)

    def _listen(self, stderr: int) -> None:
        self._link.setblocking(False)
        os.set_blocking(stderr, False)
        self._stderr = PipeReader(self._loop, stderr, self._hear_stderr, lambda: None)
        self._stderr.resume()
        self._loop.add_reader(self._link.fileno(), self._readable)
        self._loop.add_reader(self._pidfd, self._exited)
        with fields_file(self.key.setup()) as setup:
            self.ask(Request(b"setup", self._set_up, [setup]))

    def _hear_stderr(self, data: bytes) -> None:
        self._said += data
        del self._said[:-_TAIL]

    # ---- requests

    def ask(self, request: Request) -> None:
        """Send a request, or let it wait for its turn."""
        if self.gone.done():
            request.answered(None)
            return
        if not self._pending():
            self._heard = self._loop.time()
        self._waiting.append(request)
        self._push()

    def forget(self, request: Request) -> bool:
        """Take back a request that was not sent. Returns whether it was not."""
        try:
            self._waiting.remove(request)
        except ValueError:
            return False
        return True

    async def fork(self, fds: Sequence[int]) -> bytes | None:
        """Ask for a copy. A copy that nobody waits for any more is killed."""
        answer: asyncio.Future[bytes | None] = self._loop.create_future()

        def answered(reply: bytes | None) -> None:
            if not answer.done():
                answer.set_result(reply)

        request = Request(b"fork", answered, fds)
        self.ask(request)
        try:
            return await answer
        except asyncio.CancelledError:
            request.answered = self.discard
            if not self.forget(request) and answer.done() and not answer.cancelled():
                self.discard(answer.result())
            raise

    def discard(self, reply: bytes | None) -> None:
        """End the copy that was forked, if one was."""
        if reply and reply.startswith(b"pid "):
            pid = int(reply[4:])
            with contextlib.suppress(ProcessLookupError):
                os.killpg(pid, signal.SIGKILL)
            self.ask(Request(b"reap %d" % pid, lambda _: None))

    def _push(self) -> None:
        while self._waiting and len(self._sent) < WINDOW:
            if not self._send(self._waiting[0]):
                self._try_again()
                break
        if self._pending() and self._timer is None:
            self._watch()

    def _send(self, request: Request) -> bool:
        """Send the first of those that wait. Returns False when the kernel does not take it now."""
        try:
            socket.send_fds(self._link, [request.message], request.fds)
        except (BrokenPipeError, ConnectionResetError):
            pass  # as if it were sent: the zygote's end is what tells
        except OSError as error:
            if error.errno in _LATER:
                return False
            self._waiting.popleft()
            request.answered(f"error {error}".encode())
            return True
        self._sent.append(self._waiting.popleft())
        return True

    def _try_again(self) -> None:
        """A copy whose exit is not asked for would be a zombie. When that takes too long, the zygote is killed."""
        if self._retry is None:
            self._retry = self._loop.call_later(AGAIN, self._retried)

    def _retried(self) -> None:
        self._retry = None
        self._push()

    def _pending(self) -> bool:
        """Say whether something is to be answered, or to be sent."""
        return bool(self._sent or self._waiting)

    def _watch(self) -> None:
        patience = SILENCE if self.ready.done() else PATIENCE
        self._timer = self._loop.call_at(self._heard + patience, self._silent, patience)

    def _silent(self, patience: float) -> None:
        self._timer = None
        if not self._pending():
            return
        if self._loop.time() < self._heard + patience:
            self._watch()
            return
        self._fail(f"has not answered for {patience:g} s and was killed")
        self.kill()

    def _readable(self) -> None:
        try:
            reply = self._link.recv(8192)
        except BlockingIOError:
            return
        except ConnectionResetError:
            reply = b""
        if not reply:
            self._loop.remove_reader(self._link.fileno())
            self.leaving = True
            self._later_kill()
            return
        self._heard = self._loop.time()
        self._sent.popleft().answered(reply)
        self._push()

    # ---- its life

    def _set_up(self, reply: bytes | None) -> None:
        if reply == b"ready":
            if not self.ready.done():
                self.ready.set_result(None)
            self._stop_watching()  # what comes now is answered sooner
            self._stderr.drain()
            if self._said:
                _log.info("the zygote of %s said: %s", self.key, self._tail())
        elif reply is not None:
            self._fail(reply.removeprefix(b"failed ").decode(errors="replace"))

    def _fail(self, what: str) -> None:
        if not self.ready.done():
            self._stderr.drain()  # it said that before, but on another way
            said = f"; it said: {self._tail()}" if self._said else ""
            self.ready.set_exception(DriverError(f"the zygote of `{self.key}` {what}{said}{_ADVICE}"))

    def _tail(self) -> str:
        lines = self._said.decode(errors="replace").splitlines()
        return " | ".join(line.strip() for line in lines[-5:])

    def end(self) -> None:
        """Let it go: it ends by itself, or is killed in a while. Its copies live on."""
        if not self.leaving:
            self.leaving = True
            self._link.shutdown(socket.SHUT_RDWR)
            self._later_kill()

    def _stop_watching(self) -> None:
        if self._timer:
            self._timer.cancel()
            self._timer = None

    def _stop_trying(self) -> None:
        if self._retry:
            self._retry.cancel()
            self._retry = None

    def _later_kill(self) -> None:
        self._stop_watching()
        self._timer = self._loop.call_later(FAREWELL, self.kill)

    def kill(self) -> None:
        """End it at once."""
        self.leaving = True
        if not self.gone.done():
            self._process.kill()

    def _exited(self) -> None:
        self.leaving = True
        for fd in (self._pidfd, self._link.fileno()):
            self._loop.remove_reader(fd)
        with contextlib.suppress(OSError):  # all of its group is gone, or is another user's
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()
        self._stop_watching()
        self._stop_trying()
        self._stderr.finish()
        self._link.close()
        os.close(self._pidfd)
        self._entry.ended()
        how = Exit(signal=-self._process.returncode) if self._process.returncode < 0 else Exit(self._process.returncode)
        self._fail(f"{how} before it was ready")
        self.gone.set_result(None)
        self._ended(self)
        for request in [*self._sent, *self._waiting]:
            request.answered(None)
        self._sent.clear()
        self._waiting.clear()


_ADVICE = "; mend that, or take the option `zygote` out"


def _seen(future: asyncio.Future[None]) -> None:
    if not future.cancelled():
        future.exception()


class Forked:
    """A zygote as the parent of one copy. When it is gone, the copy lives on and somebody else reaps it."""

    def __init__(self, zygote: Zygote, entry: Entry) -> None:
        self.zygote = zygote
        self._entry = entry

    def collect(self, child: Child, done: Callable[[Exit], None]) -> None:
        def answered(reply: bytes | None) -> None:
            done(_exit(reply) if reply else _adopted(child.pidfd))

        self.zygote.ask(Request(b"reap %d" % child.pid, answered))

    def leads(self, child: Child) -> bool:
        return not self.zygote.gone.done() or self._entry.leads()


def _exit(reply: bytes) -> Exit:
    if not reply.startswith(b"status "):
        return LOST
    code = os.waitstatus_to_exitcode(int(reply[7:]))
    return Exit(code) if code >= 0 else Exit(signal=-code)


def _adopted(pidfd: int) -> Exit:
    """Orphans come to init. Where hotfn is that, as it may be in a container, it is asked like a parent."""
    exit = reap(pidfd)
    return exit if exit.detail == "" else LOST
