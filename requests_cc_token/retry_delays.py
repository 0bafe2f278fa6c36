"""How long to wait after failures: between the tries of a fetch, and until the next fetch after one that failed."""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import contextmanager

#: Seconds: the upper bound of the first wait, doubled with each failure; a blip is over after one second.
BACKOFF_BASE = 1.0
#: Seconds: the highest upper bound of a wait. A client asks twice a minute then, a fleet is no stampede.
BACKOFF_CAP = 60.0

#: Seconds: bounds of the hold-off after the first permanent error, and after many. Somebody has to change the
#: configuration first, and that change ends the hold-off by itself.
PERMANENT_HOLD_OFF = (30.0, 600.0)

#: One entry for each block of `skipped` that goes on, in whichever thread; that a list grows or shrinks is one step.
_skipping: list[None] = []

# From the operating system: after a fork, or after random.seed(), two processes must not draw the same waits.
_random = random.SystemRandom()


@contextmanager
def skipped() -> Iterator[None]:
    """Within the block no wait after failures takes any time, in this process; for tests."""
    _skipping.append(None)
    try:
        yield
    finally:
        _skipping.pop()


def taken(seconds: float) -> float:
    """The seconds that a wait of this length takes: all of them, except where a test skips waits."""
    return 0.0 if _skipping else seconds


def full_jitter(failures: int, *, base: float = BACKOFF_BASE, cap: float = BACKOFF_CAP) -> float:
    """Seconds to wait after so many failures in a row: uniform between 0 and the bound."""
    return taken(_random.uniform(0.0, _bound(failures, base, cap)))


def half_jitter(failures: int, *, base: float = BACKOFF_BASE, cap: float = BACKOFF_CAP) -> float:
    """Seconds to wait after so many failures, at least half of the bound: for waits that must not be cut to nothing."""
    bound = _bound(failures, base, cap)
    return taken(_random.uniform(bound / 2, bound))


def _bound(failures: int, base: float, cap: float) -> float:
    return min(cap, base * 2.0 ** min(max(failures - 1, 0), 60))


def hold_off(failures: int, *, transient: bool, retry_after: float) -> tuple[float, float]:
    """Seconds until the next fetch after so many failed tries in a row: for everybody, and for patient callers.

    ``transient`` is whether the last error may pass by itself, ``retry_after`` the seconds that the server asked for.
    """
    patient = max(full_jitter(failures), taken(retry_after))
    if transient:
        return patient, patient
    base, cap = PERMANENT_HOLD_OFF
    return max(half_jitter(failures, base=base, cap=cap), patient), patient
