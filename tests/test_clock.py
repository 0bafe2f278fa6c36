"""The clock of the machine."""

from __future__ import annotations

import threading
import time

from requests_cc_token.clock import SystemClock


def test_it_goes_on_and_counts_suspend() -> None:
    """The monotonic clock never goes back, and where the system can tell, it counts the time of suspend."""
    clock = SystemClock()
    readings = [clock.monotonic() for _ in range(100)]
    assert readings == sorted(readings)
    if hasattr(time, "CLOCK_BOOTTIME"):
        assert abs(clock.monotonic() - time.clock_gettime(time.CLOCK_BOOTTIME)) < 5


def test_it_knows_the_time() -> None:
    """The wall clock is the machine's."""
    assert abs(SystemClock().time() - time.time()) < 5


def test_it_waits_for_events() -> None:
    """Until the event, or for as long as it may; any number of seconds is understood."""
    clock, event = SystemClock(), threading.Event()
    assert not clock.wait(event, 0.001)
    assert not clock.wait(event, 0)
    assert not clock.wait(event, -5)
    event.set()
    for timeout in (None, 0.0, 1e300, float("inf")):
        assert clock.wait(event, timeout)
