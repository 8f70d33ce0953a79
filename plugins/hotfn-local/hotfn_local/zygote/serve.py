"""The program of a zygote: an interpreter that has imported what a function needs, and forks for each copy of it.

Run by the function's own interpreter, as `-c` and this text behind that of `program.py`: the function's user may not be
allowed to read hotfn's files. Standard library only, as little of it as possible, and no import of ours: all of it is
in every copy as well. Python 3.9 or newer.

Its one argument is a socket (SOCK_SEQPACKET). hotfn asks, one message each, and is answered in order:

    setup + 1 file      kind, target and imports of the program -> `ready` or `failed TEXT`
    fork + 4 files      a job (see `Job`), stdin, stdout, stderr -> `pid N`, `stale` or `error TEXT`
    reap N              the wait status of a copy that has exited -> `status N` or `lost`

The end of the socket is the end of the zygote. The fork itself is done ahead: a spare process waits for the next job.
A file of fields is joined with NULs, which no argument and no variable can hold. What is secret, the environment of a
function, is in jobs only, and only the new process reads them.
"""

from __future__ import annotations

import _signal  # type: ignore[import-not-found]  # `signal` would be in every copy, imported or not
import _socket
import gc
import os
import resource
import sys

from .program import Program

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

ROOM = "HOTFN_ROOM"
"""A variable that only takes space, for the environment of a copy to be shown in /proc."""

HARMLESS = ("/dev/null", "/dev/zero", "/dev/full", "/dev/random", "/dev/urandom")
SETTLE = 1.0
"""Seconds for threads that an import has told to end."""

UP = b"up"


class Refused(Exception):
    """This zygote cannot serve. The text goes to the user."""


class Job:
    """What one copy is: `N command... M limits... environment`, a limit as `nofile:soft:hard`; `args` are the last A
    of the command."""

    def __init__(self, fields: list[bytes]) -> None:
        self.args = int(fields[0])
        count = int(fields[1])
        self.command = fields[2 : 2 + count]
        rest = fields[2 + count :]
        self.limits = rest[1 : 1 + int(rest[0])]
        self.env = rest[1 + int(rest[0]) :]

    def take_on(self) -> None:
        """Give this process limits, environment, arguments and names of the copy."""
        os.environb.clear()
        for variable in self.env:
            name, _, value = variable.partition(b"=")
            os.environb[name] = value
        command = [os.fsdecode(word) for word in self.command]
        sys.argv[1:] = command[len(command) - self.args :]
        sys.orig_argv = command
        _repaint(self.command, self.env)
        for limit in self.limits:
            resource_name, soft, hard = limit.decode().split(":")
            resource.setrlimit(getattr(resource, "RLIMIT_" + resource_name.upper()), (int(soft), int(hard)))


def _freshen() -> None:
    """Renew what copies must not share. The module `random` does so by itself, and so does OpenSSL."""
    seed = getattr(sys.modules.get("numpy.random"), "seed", None)
    if seed:
        seed()
    processes = sys.modules.get("multiprocessing.process")
    if processes:
        processes.current_process().authkey = os.urandom(32)


def _repaint(command: list[bytes], env: list[bytes]) -> None:
    """Show command and environment in /proc, where the guardian, `ps` and people look; as much as there is room for.

    The last byte of the arguments not being NUL is how the kernel tells such a title from arguments.
    """
    with open("/proc/self/stat", "rb") as file:
        fields = file.read().rpartition(b")")[2].split()
    args, args_end, environ, environ_end = map(int, fields[45:49])
    memory = os.open("/proc/self/mem", os.O_WRONLY | os.O_CLOEXEC)
    try:
        title = b" ".join(command)[: min(args_end - args - 2, 4000)]
        os.pwrite(memory, title + b"\0", args)
        os.pwrite(memory, b".", args_end - 1)
        os.pwrite(memory, _fitting(env, environ_end - environ), environ)
    finally:
        os.close(memory)


def _fitting(variables: list[bytes], size: int) -> bytes:
    shown = bytearray()
    for one in variables:
        if len(shown) + len(one) < size:
            shown += one + b"\0"
    return bytes(shown.ljust(size, b"\0"))


def receive(link: _socket.socket) -> tuple[bytes, list[int]]:
    """Return the next message and its descriptors; b"" at the end."""
    data, extra, _, _ = link.recvmsg(64, _socket.CMSG_SPACE(16), _socket.MSG_CMSG_CLOEXEC)
    words = [part[at : at + 4] for _, _, part in extra for at in range(0, len(part), 4)]
    return data, [int.from_bytes(word, sys.byteorder) for word in words]


def fields_of(fd: int) -> list[bytes]:
    """Read a file of fields."""
    return os.pread(fd, os.fstat(fd).st_size, 0).split(b"\0")


def set_up(fd: int) -> Program:
    """Become a zygote. Raises Refused."""
    kind, target, imports, *names = map(os.fsdecode, fields_of(fd))
    os.close(fd)
    before = _descriptors()
    program = Program(kind, target)
    if imports == "begin":
        program.begin()
    for name in names:
        _import(name)
    _check_threads()
    _check_descriptors(before)
    program.watch()
    for stream in (sys.stdout, sys.stderr):
        stream.flush()  # or every copy would write what is in there
    program.sigchld = _signal.signal(_signal.SIGCHLD, _signal.SIG_DFL)  # ignored, it would take the exit statuses away
    gc.collect()
    gc.freeze()  # no collection of a copy writes to the pages that all of them share
    return program


def _import(name: str) -> None:
    try:
        __import__(name)
    except BaseException as error:  # SystemExit too: an import may raise anything
        import traceback

        lines = "".join(traceback.format_exception(type(error), error, error.__traceback__)).splitlines()
        raise Refused(f"cannot import {name}: {' | '.join(line.strip() for line in lines[-5:])}") from None


def _check_threads() -> None:
    """Raise Refused when there is a thread that a fork does not end: it may hold a lock, which no copy would ever get.

    Libraries that know of forks end theirs and start them again when they are used; so one is tried.
    """
    import time

    end = time.monotonic() + SETTLE
    while len(os.listdir("/proc/self/task")) > 1:
        if time.monotonic() > end:
            threading = sys.modules.get("threading")
            names = [thread.name for thread in threading.enumerate()[1:]] if threading else []
            mine = ", ".join(names) or "of a library"
            raise Refused(f"cannot be forked: an import started threads ({mine}), which no copy would have")
        pid = os.fork()
        if not pid:
            os._exit(0)
        os.waitpid(pid, 0)
        time.sleep(0.01)


def _descriptors() -> dict[int, str]:
    """Return what is open, by number. The listing's own descriptor is closed by then."""
    found = {}
    for number in os.listdir("/proc/self/fd"):
        try:
            found[int(number)] = os.readlink(f"/proc/self/fd/{number}")
        except OSError:
            continue
    return found


def _check_descriptors(before: dict[int, str]) -> None:
    """Raise Refused when an import left something open that copies would share."""
    for fd, name in _descriptors().items():
        writes = os.lstat(f"/proc/self/fd/{fd}").st_mode & 0o200
        regular = os.fstat(fd).st_mode & 0o170000 == 0o100000
        if fd not in before and name not in HARMLESS and (writes or not regular):
            raise Refused(
                f"cannot be forked: an import left {name} open (descriptor {fd}), which all copies would share"
            )


class Spare:
    """A process that is going to be the next copy: forked ahead, it only waits for its job."""

    def __init__(self, pid: int, link: _socket.socket) -> None:
        self.pid = pid
        self.link = link

    def work(self, fds: list[int]) -> bytes:
        """Hand it its job. Returns what it says when it has taken it on: b"" when it is dead."""
        try:
            ancillary = b"".join(fd.to_bytes(4, sys.byteorder) for fd in fds)
            self.link.sendmsg([b"job"], [(_socket.SOL_SOCKET, _socket.SCM_RIGHTS, ancillary)])
            told = self.link.recv(4000)
        except (BrokenPipeError, ConnectionResetError):
            told = b""
        self.link.close()
        if told != UP:
            os.waitpid(self.pid, 0)
        return told


def breed(link: _socket.socket, program: Program) -> Spare | None:
    """Fork a spare. Returns None in the new process, when that has become a copy. Raises OSError."""
    ours, theirs = _socket.socketpair(_socket.AF_UNIX, _socket.SOCK_SEQPACKET)
    try:
        pid = os.fork()
    except OSError:
        ours.close()
        theirs.close()
        raise
    if pid:
        theirs.close()
        return Spare(pid, ours)
    link.close()
    ours.close()
    become(theirs, program.sigchld)
    return None


def become(link: _socket.socket, sigchld: Any) -> None:
    """Turn this process into a copy, and say so when it leads a session: before that it cannot be signalled."""
    try:
        _freshen()
        _, fds = receive(link)
        if not fds:  # the zygote has ended
            os._exit(0)
        os.setsid()
        for number, fd in enumerate(fds[1:]):
            os.dup2(fd, number)
        if sigchld is not None:  # None: a handler that is not Python's
            _signal.signal(_signal.SIGCHLD, sigchld)
        Job(fields_of(fds[0])).take_on()
        for fd in fds:
            os.close(fd)
        link.send(UP)
        link.close()
    except BaseException as error:  # whatever it is, there must not be a second zygote
        try:
            link.send(f"{type(error).__name__}: {error}".encode()[:4000])
        finally:  # also when the zygote is gone
            os._exit(127)


def fork(link: _socket.socket, program: Program, spare: Spare | None, trouble: object, fds: list[int]) -> bool:
    """Have a copy, and tell its pid. Returns whether that took the spare."""
    if program.changed():
        answer, took = b"stale", False
    elif spare is None:
        answer, took = f"error {trouble}".encode(), False
    else:
        told, took = spare.work(fds), True
        answer = b"pid %d" % spare.pid if told == UP else b"error " + told if told else b"stale"
    for fd in fds:
        os.close(fd)
    link.send(answer)
    return took


def reap(link: _socket.socket, pid: int) -> None:
    """Tell how a copy has ended, and let go of its pid."""
    try:
        link.send(b"status %d" % os.waitpid(pid, 0)[1])
    except ChildProcessError:
        link.send(b"lost")


def serve(link: _socket.socket, program: Program) -> bool:
    """Do what hotfn asks until it is gone. Returns True in a copy."""
    spare: Spare | None = None
    trouble: OSError | None = None
    while True:
        if trouble:
            link.recv(1, _socket.MSG_PEEK)  # no fork is tried again before something is asked
        if not spare:
            try:
                spare, trouble = breed(link, program), None
            except OSError as error:
                trouble = error
            else:
                if not spare:
                    return True
        asked, fds = receive(link)
        if not asked:
            return False
        if not fds:
            reap(link, int(asked.split()[1]))
        elif fork(link, program, spare, trouble, fds):
            spare = None


def zygote() -> Program | None:
    """Return the program in each copy, and None when the zygote is to end."""
    link = _socket.socket(fileno=int(sys.argv[1]))
    os.set_inheritable(link.fileno(), False)
    os.environ.pop(ROOM, None)
    for name, value in os.environb.items():
        os.putenv(name, value)  # away from the memory that is painted over
    _, fds = receive(link)
    if not fds:
        return None
    try:
        program = set_up(fds[0])
        link.send(b"ready")
    except Refused as error:
        link.send(f"failed {error}".encode()[:4000])
        return None
    try:
        return program if serve(link, program) else None
    except (BrokenPipeError, ConnectionResetError):  # hotfn is gone
        return None


if __name__ == "__main__":
    _program = zygote()
    if _program:
        _program.run()
