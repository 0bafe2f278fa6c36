"""The threads in which tokens are fetched: each test has its own, knows when they are at their end, and how they ended.

None outlives its test. What leaves such a thread is taken here, in the test that let it: the interpreter's hooks would
be told of it at a moment of their own, and whichever test runs by then would be blamed.
"""

from __future__ import annotations

import contextlib
import threading
import time
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import ClassVar

import pytest

from requests_cc_token.threads import start_thread

from .scripted_server import PATIENCE


def started(work: Callable[[], object], name: str = "of the test") -> threading.Event:
    """Start the work as a fetch is started; an event for its end."""
    over = threading.Event()

    def observed() -> None:
        try:
            work()
        finally:
            over.set()

    start_thread(observed, name)
    return over


class FetchThreads:
    """What the service starts, by name, and how it has ended."""

    #: Those of the test that runs.
    current: ClassVar[FetchThreads]

    def __init__(self) -> None:
        self._started: list[tuple[str, threading.Event]] = []
        #: Those that may still be there, by name and the system's number.
        self._numbers: list[tuple[str, int]] = []
        self._expected: tuple[type[BaseException], ...] = ()
        self._ended_with: list[type[BaseException]] = []
        self._unexpected: list[str] = []

    def expect(self, *errors: type[BaseException]) -> None:
        """Say that the test has threads end with these errors; all others fail it."""
        self._expected = errors

    def ended_with(self) -> list[type[BaseException]]:
        """The expected errors that have left a thread, once none runs any more."""
        self.join(None)
        return self._ended_with

    def start(self, work: Callable[[], object], name: str) -> None:
        """As ``start_thread``, noting the end."""

        # Neither keeps an error: its frames hold what the test is to let go of.
        def observed() -> None:
            self._numbers.append((name, threading.get_native_id()))
            try:
                work()
            except self._expected as error:
                self._ended_with.append(type(error))
            except BaseException:
                self._unexpected.append(traceback.format_exc())

        self._started.append((name, started(observed, name)))

    def join(self, client: str | None = "worker") -> None:
        """Wait until the threads of the client's fetches, or all, are gone, with all that they held."""

        def is_meant(name: str) -> bool:
            return client is None or name == f"requests_cc_token {client}"

        for name, over in list(self._started):
            if is_meant(name):
                assert over.wait(PATIENCE), f"the thread {name!r} hangs"
        until = time.monotonic() + PATIENCE
        for name, number in self._numbers.copy():
            if is_meant(name):
                while Path(f"/proc/self/task/{number}").exists():
                    assert time.monotonic() < until, f"the thread {name!r} does not come to its end"
                    time.sleep(0.0005)
                with contextlib.suppress(ValueError):  # another one waits for it too
                    self._numbers.remove((name, number))

    def end(self) -> None:
        """Wait until all are gone, and fail where one ended as nobody expected."""
        self.join(None)
        assert not self._unexpected, "\n".join(["a thread of a fetch ended with an error:", *self._unexpected])


def until_nothing_hangs() -> None:
    """Wait for the operations of stores that nobody waits for any more."""
    FetchThreads.current.join("cache")


@pytest.fixture(autouse=True)
def fetch_threads(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Note the threads of the test, and wait for them when all else of it is over."""
    threads = FetchThreads.current = FetchThreads()
    for module in ("flights", "endpoint.deadline", "caches.bounded_calls"):
        monkeypatch.setattr(f"requests_cc_token.{module}.start_thread", threads.start)
    yield
    threads.end()
