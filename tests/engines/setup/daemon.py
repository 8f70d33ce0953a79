"""A program that runs in the background and is remembered in a file, so that any later process can end it."""

from __future__ import annotations

import json
import signal
import subprocess
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
        self._child: subprocess.Popen[bytes] | None = None

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
        """Start the program in a session of its own. Its output goes to the log."""
        with self.log.open("ab") as log:
            self._child = subprocess.Popen(
                argv,
                env=dict(environment),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
                cwd="/",
            )
        process = Process.of(self._child.pid)
        if process is not None:
            self._remember(process)

    def end(self, grace: float) -> None:
        """End it within `grace` seconds, or kill it, and forget it. Nothing happens when it does not run."""
        process = self.process
        if process is not None:
            process.end(grace)
        self._forget()

    def kill(self) -> None:
        """Kill it with SIGKILL, and return when it is dead."""
        process = self.process
        if process is not None:
            process.signal(signal.SIGKILL)
            process.wait(10)
        self._forget()

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

    def _forget(self) -> None:
        if self._child is not None:
            self._child.wait(10)
            self._child = None
        self.record.unlink(missing_ok=True)
