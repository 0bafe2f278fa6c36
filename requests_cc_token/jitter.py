"""Random waits: between the tries of a fetch, and until the next fetch after one that failed."""

from __future__ import annotations

import random

#: Seconds: the upper bound of the first wait, doubled with each failure; a blip is over after one second.
BACKOFF_BASE = 1.0
#: Seconds: the highest upper bound of a wait. A client asks twice a minute then, a fleet is no stampede.
BACKOFF_CAP = 60.0

# The system's source has no state: forked workers and seeded programs do not march in step.
_random = random.SystemRandom()


def full_jitter(failures: int, *, base: float = BACKOFF_BASE, cap: float = BACKOFF_CAP) -> float:
    """Seconds to wait after so many failures in a row: uniform between 0 and the bound."""
    return _random.uniform(0.0, min(cap, base * 2.0 ** min(max(failures - 1, 0), 60)))


def half_jitter(failures: int, *, base: float = BACKOFF_BASE, cap: float = BACKOFF_CAP) -> float:
    """Likewise, but at least half of the bound, for waits that must not be cut to nothing."""
    bound = min(cap, base * 2.0 ** min(max(failures - 1, 0), 60))
    return _random.uniform(bound / 2, bound)
