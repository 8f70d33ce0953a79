"""The code of guest.py, whose docstring says what it does. Imports where they are needed, so that it starts as fast as
Python does."""

from __future__ import annotations

import os
import sys

from .wires import Call, CloudEvent, Default, Http, Input, Json, Reply, text, write

TYPE_CHECKING = False  # importing `typing` takes as long as Python's own start
if TYPE_CHECKING:
    from typing import Any

    from .wires import Pairs

    Script = dict[str, Any]
    Wire = Default | Http | Json | CloudEvent


class State:
    """What one copy remembers between its calls."""

    def __init__(self) -> None:
        self.calls = 0
        self.eof: Any = None
        self.kept: list[Any] = []
        self.spawned: list[int] = []
        self.errors: list[str] = []


STATE = State()
WIRES: dict[str, type[Wire]] = {"default": Default, "http": Http, "json": Json, "cloudevent": CloudEvent}


def sleep(seconds: float) -> None:
    """Do nothing for so long."""
    import time

    time.sleep(seconds)


def hang() -> None:
    """Live for ever."""
    while True:
        sleep(3600)


def spin(seconds: float) -> None:
    """Use processor time until it is so much in all."""
    while sum(os.times()[:2]) < seconds:
        pass


def on_term(what: Any) -> None:
    """Decide what SIGTERM does from now on."""
    import _thread
    import signal

    def obey() -> None:
        signal.sigwait({signal.SIGTERM})
        act(what)
        os._exit(0)

    signal.signal(signal.SIGTERM, signal.SIG_IGN if what == "ignore" else signal.SIG_DFL)
    if what != "ignore":
        # Python runs a handler between two of its steps: one for a signal that comes just before a read would wait for
        # the read's end.
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
        _thread.start_new_thread(obey, ())


def allocate(megabytes: int, leak: bool) -> None:
    """Take memory and touch every page of it."""
    memory = bytearray(megabytes << 20)
    memory[::4096] = b"\1" * len(memory[::4096])
    if leak:
        STATE.kept.append(memory)


def write_file(path: str, size: int) -> None:
    """Write so many zeros to a file."""
    write(os.open(path, os.O_WRONLY | os.O_CREAT), bytes(size))


GRANDCHILD = "import signal, sys, time; signal.signal(15, signal.SIG_IGN); time.sleep(float(sys.argv[1]))"


def spawn(count: int = 1, seconds: float = 60, setsid: bool = False, quiet: bool = False, token: str = "") -> None:
    """Start grandchildren."""
    import subprocess

    out = subprocess.DEVNULL if quiet else None
    for _ in range(count):
        argv = [sys.executable, "-I", "-S", "-c", GRANDCHILD, str(seconds), token]
        child = subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=out, stderr=out, start_new_session=setsid)
        STATE.kept.append(child)
        STATE.spawned.append(child.pid)


def listen(path: str) -> None:
    """Send back what comes over a socket, from now on."""
    import _thread
    import socket

    def serve_one(one: socket.socket) -> None:
        while data := one.recv(1 << 16):
            one.sendall(data)

    def accept() -> None:
        while True:
            _thread.start_new_thread(serve_one, (door.accept()[0],))

    door = socket.socket(socket.AF_UNIX)
    door.bind(path)
    os.chmod(path, 0o666)  # noqa: S103  # for whoever tests: hotfn may be another user than a container's
    door.listen()
    _thread.start_new_thread(accept, ())


def attempt(action: Any, *args: Any, **options: Any) -> None:
    """What a limit of the system may forbid: the error goes into the report, not up."""
    try:
        action(*args, **options)
    except (OSError, MemoryError) as error:
        STATE.errors.append(f"{type(error).__name__}: {error}")


def act(script: Script) -> None:
    """Perform what comes before the reply. Does not return when the script ends the process."""
    if "term" in script:
        on_term(script["term"])
    STATE.eof = script.get("eof", STATE.eof)
    if "sleep" in script:
        sleep(script["sleep"])
    complain(script)
    use(script)
    if "stdout" in script:
        write(1, text(script["stdout"]))
    for fd, key in enumerate(("close_stdin", "close_stdout")):
        if script.get(key):
            os.close(fd)
    end(script.get("signal"), script.get("exit"))
    if script.get("hang"):
        hang()


def complain(script: Script) -> None:
    """Write to stderr."""
    write(2, text(script.get("stderr", "")))
    for number in range(script.get("stderr_lines", 0)):
        write(2, b"line %d\n" % number)
    if "stderr_bytes" in script:
        write(2, b"e" * script["stderr_bytes"])


def use(script: Script) -> None:
    """Use up what a limit may forbid."""
    if "memory" in script:
        attempt(allocate, script["memory"], script.get("leak", False))
    for _ in range(script.get("open_files", 0)):
        attempt(os.open, "/dev/null", os.O_RDONLY)
    if "write_file" in script:
        attempt(write_file, *script["write_file"])
    if "listen" in script:
        attempt(listen, script["listen"])
    if "spin" in script:
        spin(script["spin"])
    if "spawn" in script:
        attempt(spawn, **script["spawn"])


def end(signal: int | None, code: int | None) -> None:
    """End by a signal or with a code, if asked to."""
    if signal is not None:
        os.kill(os.getpid(), signal)
        hang()
    if code is not None:
        os._exit(code)


def answer(script: Script, call: Call) -> Reply:
    """Make the reply that the script describes."""
    headers: Pairs = []
    if "content_type" in script:
        headers.append(("Content-Type", script["content_type"]))
    for name, value in script.get("headers", {}).items():
        headers += [(name, one) for one in ([value] if isinstance(value, str) else value)]
    return Reply(answer_body(script, call), script.get("status", 200), headers)


def answer_body(script: Script, call: Call) -> bytes:
    """Make its body."""
    if "body" in script:
        return text(script["body"])
    if "size" in script:
        return b"x" * int(script["size"])
    return call.body if script.get("echo") else report(script.get("report", ()), call)


def report(wanted: Any, call: Call) -> bytes:
    """Tell about this process, and what is wanted beside."""
    import json

    facts = {"pid": os.getpid(), "calls": STATE.calls, "spawned": STATE.spawned, "errors": STATE.errors}
    if "env" in wanted:
        facts["env"] = dict(os.environ)
    if "request" in wanted:
        facts["request"] = {"method": call.method, "url": call.url, "headers": call.headers, "id": call.id}
    if "cwd" in wanted:
        facts["cwd"] = os.getcwd()
    if "argv" in wanted:
        facts["argv"] = sys.argv[1:]
    if "limits" in wanted:
        import resource

        names = [name for name in dir(resource) if name.startswith("RLIMIT_")]
        facts["limits"] = {name: resource.getrlimit(getattr(resource, name)) for name in names}
    return json.dumps(facts).encode()


def send(script: Script, data: bytes) -> None:
    """Write the reply, damaged as asked."""
    if "garbage" in script:
        data = text(script["garbage"])
    data = text(script.get("garbage_before", "")) + data + text(script.get("garbage_after", ""))
    data = data[: script.get("partial", len(data))]
    size = max(1, -(-len(data) // script.get("pieces", 1)))
    for start in range(0, len(data), size):
        if start:
            sleep(script.get("pause", 0))
        write(1, data[start : start + size])
    if "late" in script:
        sleep(script.get("late_after", 0.05))
        write(1, text(script["late"]))


def parse(body: bytes) -> Script | None:
    """Return the script that a body is; None when it is none."""
    if not body.lstrip().startswith(b"{"):
        return None
    import json

    try:
        return dict(json.loads(body))
    except ValueError:
        return None


def serve(wire: Wire) -> None:
    """Answer calls until stdin ends."""
    stdin = Input()
    while (call := wire.read(stdin)) is not None:
        STATE.calls += 1
        script = parse(call.body)
        if script is None:
            write(1, wire.frame(Reply(call.body)))
            continue
        act(script)
        send(script, wire.frame(answer(script, call)))
        sleep(script.get("sleep_after", 0))
        end(script.get("signal_after"), script.get("exit_after"))


def echo() -> None:
    """Send back all of stdin."""
    while data := os.read(0, 1 << 16):
        write(1, data)


def main() -> None:
    """Be the guest."""
    start = parse(os.environ.get("GUEST_START", "").encode())
    if start:
        act(start)
    name = os.environ.get("FN_FORMAT") or "default"
    if name == "raw":
        echo()
    else:
        serve(WIRES[name]())
    if STATE.eof == "ignore":
        hang()
    if STATE.eof:
        act(STATE.eof)


if __name__ == "__main__":
    main()
