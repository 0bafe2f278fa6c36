"""Threads that call all the time while a test does something to the store."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from types import TracebackType

from tests.fleet.outage import Worker
from tests.scripted_server import PATIENCE

#: Threads for each worker.
THREADS = 4
#: Calls in a row of one thread.
ROUND = 50
#: Seconds between two rounds. Eight threads still call tens of thousands of times a second; without it they would take
#: a processor from the servers that they wait for.
PAUSE = 0.005


class Load:
    """Keeps all workers busy within its block; a call that fails fails the block."""

    def __init__(self, workers: Sequence[Worker]) -> None:
        self._stop = threading.Event()
        self._failures: list[BaseException] = []
        self._counts = [0] * THREADS * len(workers)
        self._progress = threading.Condition()
        self._threads = [
            threading.Thread(target=self._run, args=(number, workers[number % len(workers)]), daemon=True)
            for number in range(len(self._counts))
        ]

    def _run(self, number: int, worker: Worker) -> None:
        while not self._stop.wait(PAUSE):
            try:
                for _ in range(ROUND):
                    worker.call()
            except BaseException as error:
                self._failures.append(error)
                return
            with self._progress:
                self._counts[number] += 1
                self._progress.notify_all()

    def let_all_call(self) -> None:
        """Return once each thread has begun and ended a round of calls."""
        with self._progress:
            before = list(self._counts)
            done = self._progress.wait_for(
                lambda: bool(self._failures) or all(self._counts[n] >= then + 2 for n, then in enumerate(before)),
                PATIENCE,
            )
        assert done, "calls hang"
        assert self._failures == []

    def __enter__(self) -> Load:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join(PATIENCE)
        assert self._failures == []
