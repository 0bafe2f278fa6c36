"""Time, injected: what the package knows of clocks.

Inside a process everything is measured on a monotonic clock that also counts while the machine is suspended, so
that neither a stepped wall clock nor a closed laptop lid makes an expired token look fresh. The wall clock is
read only where a moment leaves the process: shared caches, JWT claims.
"""

from __future__ import annotations

import functools
import math
import threading
import time
from collections.abc import Callable
from typing import Protocol

from .exceptions import ConfigurationError


def is_duration(value: object) -> bool:
    """Whether the value is a number of seconds, 0 or more, and such that the system can wait for it."""
    is_number = isinstance(value, (int, float)) and not isinstance(value, bool)
    return is_number and 0 <= value <= threading.TIMEOUT_MAX  # type: ignore[operator]


def checked_seconds(given: object, what: str, *, zero: bool = False) -> float:
    """A number of seconds that the system can wait for, above 0 or, with ``zero``, from 0 on.

    Raises ``ConfigurationError`` for anything else; ``what`` begins its message.
    """
    if not is_duration(given) or (given == 0 and not zero):
        least = "0 or more" if zero else "more than 0"
        raise ConfigurationError(f"{what} must be a number of seconds, {least}")
    return float(given)  # type: ignore[arg-type]


def waited_for(given: object, what: str) -> float:
    """For how many seconds a caller waits that says so: what is left of its time, so it may be 0 or less, or infinite.

    Raises ``ConfigurationError`` for what is no number.
    """
    if isinstance(given, (int, float)) and not isinstance(given, bool):
        seconds = float(min(max(given, 0), threading.TIMEOUT_MAX))
        if not math.isnan(seconds):
            return seconds
    raise ConfigurationError(f"{what} must be a number of seconds")


class Waitable(Protocol):
    """What can be waited for: a ``threading.Event``, or one waiter's own bell."""

    def is_set(self) -> bool:
        """Whether it has happened."""

    def wait(self, timeout: float | None = None) -> bool:
        """Wait until it happens, at most ``timeout`` seconds; whether it has happened."""


class Clock(Protocol):
    """The interface of a source of time, for ``AccessTokenManagement(clock=...)``; for tests above all."""

    def monotonic(self) -> float:
        """Seconds since an arbitrary moment. Never goes back, and goes on while the machine is suspended."""

    def time(self) -> float:
        """Seconds since the epoch (POSIX)."""

    def wait(self, event: Waitable, timeout: float | None) -> bool:
        """Wait until ``event`` is set, for at most ``timeout`` seconds; returns whether it is set."""


class SystemClock:
    """The clock of the machine."""

    #: Seconds since some moment; never goes back, counts suspend.
    monotonic: Callable[[], float]

    def __init__(self) -> None:
        # time.monotonic stands still while a Linux machine sleeps; CLOCK_BOOTTIME does not.
        if hasattr(time, "CLOCK_BOOTTIME"):
            self.monotonic = functools.partial(time.clock_gettime, time.CLOCK_BOOTTIME)
        else:  # pragma: no cover - macOS and Windows count suspend in time.monotonic, or have nothing better
            self.monotonic = time.monotonic

    def time(self) -> float:
        """Seconds since the epoch."""
        return time.time()

    def wait(self, event: Waitable, timeout: float | None) -> bool:
        """Wait for the event, at most ``timeout`` seconds."""
        return event.wait(None if timeout is None else max(0.0, min(timeout, threading.TIMEOUT_MAX)))
