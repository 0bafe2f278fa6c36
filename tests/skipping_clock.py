"""A clock on which the waits between tries are over at once, and noted."""

from __future__ import annotations

import threading
from typing import Any

from requests_cc_token.clock import Waitable


class SkippingClock:
    """Stands still, but for the waits between tries: those take their time on this clock and none outside.

    Other waits, for a fetch or for the end of an exchange, are real ones, and the clock has advanced where they end
    without what they waited for.
    """

    def __init__(self) -> None:
        self.now = 1_000.0
        #: The waits between tries so far, in seconds.
        self.waits: list[float] = []
        self._skipped: set[object] = set()
        self._lock = threading.Lock()

    def skip_waits_of(self, management: Any) -> None:
        """Skip the waits between tries of this management."""
        self.skip(management._backchannel.closed)

    def skip(self, event: threading.Event) -> None:
        """Skip the waits for this event."""
        self._skipped.add(event)

    def monotonic(self) -> float:
        """Seconds on the monotonic clock."""
        return self.now

    def time(self) -> float:
        """Seconds since the epoch."""
        return self.now + 1_700_000_000

    def wait(self, event: Waitable, timeout: float | None) -> bool:
        """Wait for the event, or let the time pass at once."""
        if event not in self._skipped or timeout is None:
            begun = self.now
            if event.wait(timeout):
                return True
            with self._lock:
                self.now = max(self.now, begun + (timeout or 0.0))
            return False
        with self._lock:
            self.waits.append(timeout)
            self.now += timeout
        return event.is_set()
