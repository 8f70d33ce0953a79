"""What the copies of an Executor run: Python calls from stdin, one after the other, in the format `http`.

One file that needs nothing but Python's own library, so that it starts quickly and can be copied into an image. A
call's body is made by `pack_call`, a reply's is a pickled pair: True and the result, or False and the error with its
traceback. Whatever a call prints goes to stderr.
"""

from __future__ import annotations

import os
import pickle
import sys
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, BinaryIO, NamedTuple

MAIN = "__mp_main__"
"""The name by which the caller's main module is known here, as in multiprocessing: its own guard is not true then."""


class Place(NamedTuple):
    """Where a caller's functions are found: its `sys.path`, and its main module by name or by file ("" for neither)."""

    path: Sequence[str]
    main_name: str
    main_file: str


def pack_call(place: bytes, function: Callable[..., Any], args: Sequence[Any], kwargs: Mapping[str, Any]) -> bytes:
    """Return the body of a call. `place` is a pickled Place's tuple. Raises what pickle raises."""
    return b"%d\n%b%b" % (len(place), place, pickle.dumps((function, args, kwargs)))


def run(body: bytes, known: set[bytes]) -> bytes:
    """Do what a call's body says, and return the reply's. `known` are the places that were prepared before."""
    try:
        size, _, rest = body.partition(b"\n")
        place, call = rest[: int(size)], rest[int(size) :]
        prepare(Place(*pickle.loads(place)), known, needs_main=b"__main__" in call)  # noqa: S301 -- what the caller wrote
        function, args, kwargs = pickle.loads(call)  # noqa: S301 -- what the caller wrote
        return pickle.dumps((True, function(*args, **kwargs)))
    except BaseException as error:  # also SystemExit: it is the call's, and this process has more to do
        return failure(error)


def failure(error: BaseException) -> bytes:
    """Return the body that tells of an error, with its traceback; of one that cannot be pickled only the text."""
    import traceback

    text = "".join(traceback.format_exception(error))
    last = text.rstrip().rpartition("\n")[2]
    try:
        body = pickle.dumps((False, (error, text)))
        if type(pickle.loads(body)[1][0]) is type(error):  # noqa: S301 -- written just now; some cannot be read
            return body
    except BaseException as fault:  # whatever an object's own way of being pickled raises
        text += f"\n(as text: {type(fault).__name__} when the error itself was pickled)"
    return pickle.dumps((False, (RuntimeError(last), text)))


def prepare(place: Place, known: set[bytes], *, needs_main: bool) -> None:
    """Make what the caller can import importable here, and its main module when a call has something of it."""
    if (path := repr(place.path).encode()) not in known:
        sys.path[:] = [*place.path, *(one for one in sys.path if one not in place.path)]
        known.add(path)
    if needs_main and MAIN not in sys.modules:
        import runpy
        import types

        module = types.ModuleType(MAIN)
        if place.main_name:
            module.__dict__.update(runpy.run_module(place.main_name, run_name=MAIN, alter_sys=True))
        elif place.main_file:
            module.__dict__.update(runpy.run_path(place.main_file, run_name=MAIN))
        sys.modules["__main__"] = sys.modules[MAIN] = module


def leave_alone(descriptors: list[int]) -> None:
    """In a forked child: neither take the next call nor answer this one. Its own children find nothing to close."""
    while descriptors:
        os.close(descriptors.pop())


def serve(requests: BinaryIO, replies: int) -> None:
    """Answer requests until there are no more."""
    known: set[bytes] = set()
    os.register_at_fork(after_in_child=partial(leave_alone, [requests.fileno(), replies]))
    ours = os.getpid()
    while requests.readline():
        size = 0
        while (line := requests.readline()).strip():
            name, _, value = line.partition(b":")
            if name.lower() == b"content-length":
                size = int(value)
        body = run(requests.read(size), known)
        if os.getpid() != ours:  # a child that the call forked came back from it: there is nothing here for it to do
            os._exit(0)
        data = memoryview(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body))
        while data:
            data = data[os.write(replies, data) :]


def main() -> None:
    """Serve on stdin and stdout, which are out of the reach of the calls."""
    requests, replies = os.dup(0), os.dup(1)
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    os.dup2(2, 1)
    os.close(nothing)
    with open(requests, "rb") as stream:  # noqa: PTH123 -- a descriptor, and pathlib costs time to import
        serve(stream, replies)


if __name__ == "__main__":
    here = os.path.dirname(os.path.abspath(__file__))  # noqa: PTH100, PTH120 -- pathlib costs time to import
    sys.path[:] = [one for one in sys.path if one != here]  # nothing of what is beside it is to be imported
    sys.modules["hotfn_core.worker"] = sys.modules["__main__"]  # what it pickles is found by that name
    main()
