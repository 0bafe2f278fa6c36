"""The clock of the machine."""

from __future__ import annotations

import threading
import time

import pytest

from requests_cc_token.clock import SystemClock, checked_seconds, waited_for
from requests_cc_token.exceptions import ConfigurationError

#: More seconds than this nobody can wait for.
FOR_EVER = threading.TIMEOUT_MAX


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


@pytest.mark.parametrize("given", [0, -1, True, "3", None, float("nan"), float("inf"), 1e30, [1]])
def test_what_is_no_number_of_seconds_is_refused_without_being_shown(given: object) -> None:
    """A number that the system can wait for is one of seconds; the message names the option, not the value."""
    with pytest.raises(ConfigurationError, match=r"^timeout must be a number of seconds, more than 0$"):
        checked_seconds(given, "timeout")


def test_no_time_at_all_is_a_number_of_seconds_where_that_is_said() -> None:
    """``zero=True`` lets 0 pass, and what is given comes back as a float."""
    assert checked_seconds(0, "wait", zero=True) == 0.0
    assert isinstance(checked_seconds(3, "wait"), float)
    with pytest.raises(ConfigurationError, match="wait must be a number of seconds, 0 or more"):
        checked_seconds(-1, "wait", zero=True)


@pytest.mark.parametrize(
    ("given", "seconds"),
    [(5, 5.0), (0.5, 0.5), (-3, 0.0), (float("-inf"), 0.0), (float("inf"), FOR_EVER), (10**400, FOR_EVER)],
)
def test_what_is_left_of_a_callers_time(given: float, seconds: float) -> None:
    """It may be over, or without an end."""
    assert waited_for(given, "timeout") == seconds


@pytest.mark.parametrize("given", [True, "3", float("nan"), [1], b"1"])
def test_a_callers_time_is_a_number(given: object) -> None:
    """Anything else is refused; the message names the option, not the value."""
    with pytest.raises(ConfigurationError, match=r"^timeout must be a number of seconds$"):
        waited_for(given, "timeout")
