"""A clock that stands still until a test moves it."""

from __future__ import annotations

import math
import threading
from collections.abc import Callable

from requests_cc_token.clock import Waitable
from requests_cc_token.flights import Bell

#: Seconds of real time between two looks at the clock by whoever waits for an event that the clock cannot wake.
_POLL = 0.005


class ManualClock:
    """A clock that stands still until it is moved; for ``AccessTokenManagement(clock=...)``.

    ``advance`` moves both clocks and wakes whoever waited for that moment. ``step_wall_clock`` moves the wall
    clock alone, as an administrator or NTP does.
    """

    def __init__(self, *, monotonic: float = 1_000.0, time: float = 1_700_000_000.0) -> None:
        self._now = monotonic
        self._wall_offset = time - monotonic
        self._changed = threading.Condition()
        self._waiting: list[tuple[float, Waitable]] = []
        #: The lengths of all timed waits so far, in seconds, in the order in which they began.
        self.waits: list[float] = []

    def monotonic(self) -> float:
        """Seconds on the monotonic clock."""
        return self._now

    def time(self) -> float:
        """Seconds since the epoch."""
        return self._now + self._wall_offset

    def advance(self, seconds: float) -> None:
        """Let this many seconds pass."""
        with self._changed:
            self._now += seconds
            due = [event for until, event in self._waiting if until <= self._now]
        for event in due:
            if isinstance(event, Bell):
                event.wake()

    def advance_to_next(self) -> float:
        """Let time pass until the next wait ends; returns how many seconds passed."""
        with self._changed:
            seconds = max(0.0, min(self._left()))
        self.advance(seconds)
        return seconds

    def step_wall_clock(self, seconds: float) -> None:
        """Move the wall clock alone."""
        self._wall_offset += seconds

    def wait(self, event: Waitable, timeout: float | None) -> bool:
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
            # A bell is woken by advance(); anything else looks at the clock now and then.
            poll = None if isinstance(event, Bell) else _POLL
            while not event.is_set() and self._now < until:
                event.wait(poll)
        finally:
            with self._changed:
                self._waiting.remove(entry)
                self._changed.notify_all()
        return event.is_set()

    def waiting(self) -> list[float]:
        """How many seconds are left of each timed wait that is going on, shortest first."""
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
