"""What tests of programs that use this package need: a clock that is moved by hand."""

from __future__ import annotations

import math
import threading
from collections.abc import Callable


class ManualClock:
    """A clock that stands still until it is moved; for ``AccessTokenManagement(clock=...)``.

    ``advance`` moves both clocks and wakes whoever waited for that moment. ``step_wall_clock`` moves the wall
    clock alone, as an administrator or NTP does.
    """

    def __init__(self, *, monotonic: float = 1_000.0, time: float = 1_700_000_000.0) -> None:
        self._now = monotonic
        self._wall_offset = time - monotonic
        self._changed = threading.Condition()
        self._waiting: list[tuple[float, threading.Event]] = []
        #: The lengths of all timed waits so far, in seconds, in the order in which they began.
        self.waits: list[float] = []

    def monotonic(self) -> float:
        """Seconds on the monotonic clock."""
        return self._now

    def time(self) -> float:
        """Seconds since the epoch."""
        return self._now + self._wall_offset

    def advance(self, seconds: float) -> None:
        """Let so many seconds pass."""
        with self._changed:
            self._now += seconds
            due = [event for until, event in self._waiting if until <= self._now]
        for event in due:
            _notify(event)

    def advance_to_next(self) -> float:
        """Let time pass until the next wait ends; how many seconds that were."""
        with self._changed:
            seconds = max(0.0, min(self._left()))
        self.advance(seconds)
        return seconds

    def step_wall_clock(self, seconds: float) -> None:
        """Move the wall clock alone."""
        self._wall_offset += seconds

    def wait(self, event: threading.Event, timeout: float | None) -> bool:
        """Wait for the event, at most ``timeout`` seconds of this clock."""
        entry = (self._now + timeout if timeout is not None else math.inf, event)
        until = entry[0]
        if event.is_set():
            return True
        with self._changed:
            if timeout is not None:
                self.waits.append(timeout)
            self._waiting.append(entry)
            self._changed.notify_all()
        try:
            # advance() sets the time before it notifies, and both hold the event's own lock: no wake-up is lost.
            with event._cond:  # type: ignore[attr-defined]
                while not event.is_set() and self._now < until:
                    event._cond.wait()  # type: ignore[attr-defined]
        finally:
            with self._changed:
                self._waiting.remove(entry)
                self._changed.notify_all()
        return event.is_set()

    def waiting(self) -> list[float]:
        """How many seconds each timed wait that goes on has left, shortest first."""
        with self._changed:
            return self._left()

    def until_waiting(self, condition: Callable[[list[float]], bool], patience: float = 30.0) -> None:
        """Return once ``condition(waiting())`` holds; ``AssertionError`` after ``patience`` seconds of real time."""
        with self._changed:
            met = self._changed.wait_for(lambda: condition(self._left()), patience)
        if not met:
            raise AssertionError(f"the waits are {self.waiting()}")

    def _left(self) -> list[float]:
        return sorted(until - self._now for until, _ in self._waiting if until < math.inf)


def _notify(event: threading.Event) -> None:
    with event._cond:  # type: ignore[attr-defined]
        event._cond.notify_all()  # type: ignore[attr-defined]
