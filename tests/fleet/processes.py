"""Processes that tests start, listen to, and end."""

from __future__ import annotations

import json
import os
import queue
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parent.parent.parent
#: Seconds after which a process that says nothing counts as hanging.
PATIENCE = 120.0

#: What has a child measured. These children are killed at any moment, some while they would save what was measured:
#: neither a line that only they run nor a torn data file may decide about the gate.
MEASURED = ("COVERAGE_PROCESS_CONFIG", "COVERAGE_PROCESS_START")


class Process:
    """A Python process in a group of its own, with a line to say to it and lines to hear from it."""

    def __init__(self, *arguments: str, environment: dict[str, str] | None = None, cwd: Path = ROOT) -> None:
        variables = {**os.environ, "PYTHONPATH": str(ROOT), **(environment or {})}
        self.lines: list[str] = []
        self._new: queue.Queue[str | None] = queue.Queue()
        self._process = subprocess.Popen(
            [sys.executable, *arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            cwd=cwd,
            env={name: value for name, value in variables.items() if name not in MEASURED},
            start_new_session=True,
        )
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            self._new.put(line.rstrip("\n"))
        self._new.put(None)

    def hear(self) -> str:
        """The next line; ``AssertionError`` with all lines before it where none comes."""
        try:
            line = self._new.get(timeout=PATIENCE)
        except queue.Empty:
            line = None
        assert line is not None, f"said only {self.lines}"
        self.lines.append(line)
        return line

    def hear_all(self, wanted: str, count: int) -> list[str]:
        """What follows the word in each of ``count`` lines that begin with it, however many others come between."""
        found: list[str] = []
        while len(found) < count:
            word, _, rest = self.hear().partition(" ")
            assert word != "failed", rest
            if word == wanted:
                found.append(rest)
        return found

    def warnings(self) -> list[str]:
        """What the processes logged so far."""
        return [line for line in self.lines if line.startswith("WARNING")]

    def say(self) -> None:
        """One line to the process."""
        assert self._process.stdin is not None
        self._process.stdin.write("\n")
        self._process.stdin.flush()

    def signal(self, number: int) -> None:
        os.kill(self._process.pid, number)

    def wait(self) -> int:
        return self._process.wait(PATIENCE)

    def close(self) -> None:
        """End the process and whatever it started."""
        with suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait(PATIENCE)
        self._reader.join(PATIENCE)
        for pipe in (self._process.stdin, self._process.stdout):
            assert pipe is not None
            pipe.close()


@contextmanager
def process(*arguments: str, **options: Any) -> Iterator[Process]:
    started = Process(*arguments, **options)
    try:
        yield started
    finally:
        started.close()


def crowd(count: int, config: dict[str, Any]) -> Any:
    return process("-m", "tests.fleet.crowd", str(count), json.dumps(config))


def leader(step: str, config: dict[str, Any]) -> Any:
    return process("-m", "tests.fleet.leader", step, json.dumps(config))
