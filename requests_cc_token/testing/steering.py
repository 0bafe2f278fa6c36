"""What a test steers a service on loopback by: a record of requests, a gate, a delay, scripted answers."""

from __future__ import annotations

import contextlib
import json
import threading
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Generic, TypeVar

if TYPE_CHECKING:
    from collections.abc import Iterator

RecordT = TypeVar("RecordT")

#: Seconds after which a request that is held at the gate gets a 503: a test that forgot the gate fails, not hangs.
GATE_LIMIT = 60.0


@dataclass(frozen=True)
class Answer:
    """An answer as it is sent."""

    status: int
    body: bytes
    headers: tuple[tuple[str, str], ...]


class SteeredService(Generic[RecordT]):
    """What token services and APIs for tests have in common: a record of requests, a gate, scripted answers.

    Safe in threads.
    """

    #: What the messages of `assert_requests` call it.
    _called = "the service"

    def __init__(self) -> None:
        #: One record for each request, in the order of arrival.
        self.requests: list[RecordT] = []
        #: Seconds of real time that each answer takes.
        self.delay = 0.0
        #: While it is clear, requests are recorded and then wait here. See `hold`.
        self.gate = threading.Event()
        self.gate.set()
        #: How many blocks of `hold` there are at this moment.
        self._holds = 0
        self._left = threading.Event()
        self._arrival = threading.Condition()
        self._script: deque[Answer] = deque()
        self._always: Answer | None = None

    def wait_for_requests(self, count: int, timeout: float = 30.0) -> None:
        """Return as soon as ``count`` requests have arrived in all; ``AssertionError`` after ``timeout`` seconds."""
        with self._arrival:
            if not self._arrival.wait_for(lambda: len(self.requests) >= count, timeout):
                raise AssertionError(f"{len(self.requests)} of {count} requests arrived within {timeout} s")

    def assert_requests(self, count: int) -> None:
        """Raise ``AssertionError``, which lists what was asked for, unless exactly ``count`` requests have arrived."""
        __tracebackhide__ = True  # pytest shows the line of the test instead
        found = list(self.requests)
        if len(found) != count:
            listed = "".join(f"\n  {number}. {record}" for number, record in enumerate(found, 1))
            raise AssertionError(f"{self._called} got {len(found)} requests, not {count}{':' if found else ''}{listed}")

    @contextlib.contextmanager
    def hold(self) -> Iterator[None]:
        """Let every request that arrives within the block wait; all are answered when the last such block has ended."""
        with self._arrival:
            self._holds += 1
            self.gate.clear()
        try:
            yield
        finally:
            with self._arrival:
                self._holds -= 1
                if not self._holds:
                    self.gate.set()

    def fail_next(
        self,
        status: int = 503,
        body: Mapping[str, Any] | str | bytes = b"",
        headers: Mapping[str, str] | None = None,
        *,
        times: int = 1,
    ) -> None:
        """Answer the next ``times`` requests with exactly this; a mapping is sent as JSON. Calls add up."""
        self._script.extend([answer_of(status, body, headers)] * times)

    def fail_always(
        self,
        status: int = 503,
        body: Mapping[str, Any] | str | bytes = b"",
        headers: Mapping[str, str] | None = None,
    ) -> None:
        """Answer each request with this once the answers of `fail_next` are used up, until `recover`."""
        self._always = answer_of(status, body, headers)

    def recover(self) -> None:
        """Answer as usual again: without delay, and with nothing scripted."""
        self._script.clear()
        self._always = None
        self.delay = 0.0

    def leave(self) -> None:
        """Let go whoever waits at the gate or for a delayed answer, from now on too."""
        self._left.set()
        self.gate.set()

    def _record(self, record: RecordT) -> None:
        with self._arrival:
            self.requests.append(record)
            self._arrival.notify_all()

    def _scripted_answer(self) -> Answer | None:
        """Wait at the gate and for the delay; then the answer that was dictated, or None."""
        if not self.gate.wait(GATE_LIMIT):
            return answer_of(503, f"held for {GATE_LIMIT} s")
        if self.delay:
            self._left.wait(self.delay)
        try:
            return self._script.popleft()
        except IndexError:
            return self._always


def answer_of(
    status: int, body: Mapping[str, Any] | str | bytes = b"", headers: Mapping[str, str] | None = None
) -> Answer:
    """An answer with this body; a mapping is sent as JSON."""
    headers = dict(headers or {})
    if isinstance(body, Mapping):
        body = json.dumps(body)
        headers.setdefault("Content-Type", "application/json")
    if isinstance(body, str):
        body = body.encode()
    return Answer(status, body, tuple(headers.items()))
