"""The threads in which tokens are fetched, for tests that want to know when such a thread is at its end."""

from __future__ import annotations

import threading
from collections.abc import Callable
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
    """What the service starts, by name, and whether it has ended."""

    #: Those of the test that runs.
    current: ClassVar[FetchThreads]

    def __init__(self) -> None:
        self._started: list[tuple[str, threading.Event]] = []

    def start(self, work: Callable[[], object], name: str) -> None:
        """As ``start_thread``, noting the end."""
        self._started.append((name, started(work, name)))

    def join(self, client: str = "worker") -> None:
        """Wait until no fetch runs for the client."""
        for name, over in list(self._started):
            if name == f"requests_cc_token {client}":
                assert over.wait(PATIENCE), "a fetch hangs"


@pytest.fixture(autouse=True)
def fetch_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    """Note the threads of the test; a module that imports this has it for each of its tests."""
    FetchThreads.current = FetchThreads()
    monkeypatch.setattr("requests_cc_token.flights.start_thread", FetchThreads.current.start)
