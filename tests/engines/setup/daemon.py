"""A program that runs in the background and is remembered in a file, so that any later process can end it."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path

from .process import Process

LOG_TAIL = 2_000  # characters of a log that an error shows


class Daemon:
    """The program whose record and log are in `directory`, whether this process started it or another one."""

    def __init__(self, directory: Path, name: str) -> None:
        self.record = directory / f"{name}.process"
        self.log = directory / f"{name}.log"

    @property
    def process(self) -> Process | None:
        """The process that was started last and not ended by `end`; it may have died."""
        try:
            return Process(**json.loads(self.record.read_text()))
        except FileNotFoundError:
            return None

    @property
    def alive(self) -> bool:
        process = self.process
        return process is not None and process.alive()

    def start(self, argv: Sequence[str], environment: Mapping[str, str]) -> None:
        """Start the program in a session of its own, in the directory of its log, which gets its output."""
        # No subprocess.Popen: whoever ends the program has another object, or is another process.
        files: list[tuple[int, ...] | tuple[int, int, str, int, int]] = [
            (os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0),
            (os.POSIX_SPAWN_OPEN, 1, os.fspath(self.log), os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644),
            (os.POSIX_SPAWN_DUP2, 1, 2),
        ]
        there = ["/usr/bin/env", f"--chdir={self.log.parent}", *argv]
        pid = os.posix_spawn(there[0], there, environment, file_actions=files, setsid=True)
        process = Process.of(pid)
        if process is not None:
            self._remember(process)

    def end(self, grace: float) -> None:
        """End it within `grace` seconds, or kill it, and forget it. Nothing happens when it does not run."""
        process = self.process
        if process is not None:
            process.end(grace)
        self.record.unlink(missing_ok=True)

    def kill(self) -> None:
        """Kill it with SIGKILL, and return when it is dead."""
        process = self.process
        if process is not None:
            process.signal(signal.SIGKILL)
            process.wait(10)
        self.record.unlink(missing_ok=True)

    def tail(self) -> str:
        """Return the end of the log."""
        try:
            return self.log.read_text(errors="replace")[-LOG_TAIL:]
        except FileNotFoundError:
            return ""

    def _remember(self, process: Process) -> None:
        """Write the record whole or not at all."""
        draft = self.record.with_suffix(".draft")
        draft.write_text(json.dumps(asdict(process)))
        draft.replace(self.record)
