"""What can go wrong with an engine, as errors that say what to do about it."""

from __future__ import annotations

import re

from hotfn_core.errors import DriverError


class Refused(DriverError):
    """The engine answered a request with an error. `answer` is its HTTP status."""

    def __init__(self, message: str, answer: int, *, status: int | None = None) -> None:
        if status is None and any(part.search(message) for part, _ in ASKED):
            status = 400
        super().__init__(message, status=status)
        self.answer = answer


class NoSuchContainer(Refused):
    """The engine does not know the container: somebody has removed it."""


class NameTaken(Refused):
    """Another container has the name already."""


class NoSuchImage(Refused):
    """The engine does not have the image."""

    default_status = 404


HINTS: tuple[tuple[str, str], ...] = (
    (
        "no space left on device",
        "the engine's disk is full: make room there (`{engine} system prune` removes what is unused)",
    ),
    (
        "nil pointer dereference",
        "{engine} itself failed: its log says more, and a disk that is full may be why",
    ),
    ("disk quota exceeded", "the engine's disk quota is used up: make room there"),
    (
        "lookup init binary",
        "this engine has no init program: install catatonit or tini, or set driver_options init = false",
    ),
    (
        "http request to an https server",
        "it wants TLS: set DOCKER_TLS_VERIFY=1, and DOCKER_CERT_PATH to a directory with ca.pem, cert.pem and key.pem",
    ),
    ("docker-init", "this engine has no init program: install tini, or set driver_options init = false"),
)
"""What an engine's error text contains, in lower case, and what to do about that."""

ASKED: tuple[tuple[re.Pattern[str], str], ...] = tuple(
    (re.compile(part, re.IGNORECASE), hint)
    for part, hint in (
        (r"network \S+ not found|unable to find network", "create the network, or correct driver_options network"),
        (
            r"unable to find (user|group)|uids and gids must be",
            "correct driver_options user: a number needs no entry in the image",
        ),
        (r"minimum memory limit|unable to set memory limit", "raise memory"),
        (r"range of cpus", "lower cpus"),
        (
            r"setting rlimit type 6",
            "podman asks for more processes than its service may give: reach it by its socket, or as one who may",
        ),
        (r"setting rlimit", "the engine may not give so much: lower driver_options max_files or ulimits"),
        (r"init seccomp.*too many open files", "raise driver_options max_files"),
        (
            r"bind source path does not exist|\bstatfs .*no such file",
            "driver_options mounts, or TMPDIR for a copy that listens, names what is not on the engine's machine",
        ),
        (r"mount a directory onto a file", "in driver_options mounts a directory meets a file, or the reverse"),
        (r"unknown capability", "correct driver_options capabilities"),
        (
            r"no command specified|no command or entrypoint provided",
            "give the function a `command`, or its image a CMD",
        ),
        (
            r"workdir .*(does not exist|not a directory)|chdir to cwd|cannot mkdir: .* is not a directory",
            "correct driver_options cwd",
        ),
    )
)
"""What an engine says when a function asks for what cannot be, and what to do about that."""


WHOLE_ID = re.compile(r"\b([0-9a-f]{12})[0-9a-f]{52}\b")


def explain(engine: str, text: str) -> str:
    """Return an engine's own error text, ids as engines show them, with what to do about it where that is known."""
    text = WHOLE_ID.sub(r"\1", text)
    lower = text.lower()
    for part, hint in HINTS:
        if part in lower:
            return f"{text.strip()}; {hint.format(engine=engine)}"
    hint = next((hint for part, hint in ASKED if part.search(text)), "")
    return f"{text.strip()}; {hint}" if hint else text.strip()


def caused_by(error: BaseException | None, *kinds: type[BaseException]) -> bool:
    """Say whether an error, or one that it was raised from, is of these kinds."""
    seen: set[int] = set()
    while error is not None and id(error) not in seen:
        if isinstance(error, kinds):
            return True
        seen.add(id(error))
        error = error.__cause__ or error.__context__
    return False
