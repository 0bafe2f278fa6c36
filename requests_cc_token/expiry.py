"""When a token is renewed, and when it may not be used any more: the margins, and the two clocks.

Inside a process moments are compared on the monotonic clock. A token's own ``expires_at`` and ``renew_at`` are on the
wall clock, because they leave the process: in a shared cache, and in what users read.
"""

from __future__ import annotations

import random
from typing import NamedTuple

from .clock import Clock
from .tokens import AccessToken, Binding

#: The share of its lifetime after which a token is renewed in the background. The rest is what an outage of the
#: token service may last unnoticed: 9 minutes of an hour.
SOFT_EXPIRY = 0.85
#: Soft expiry comes earlier by a random part of the lifetime up to this share, so that a fleet does not march in
#: step. Never before 80 %: a short-lived token costs one request per lifetime.
SOFT_EXPIRY_JITTER = 0.05
#: Seconds before its expiry in which a token is not used: the way to the API and its clock.
EXPIRY_MARGIN = 5.0
#: The margin as a share of the lifetime at most, so that a token of 5 s is used for 4.75 s.
EXPIRY_MARGIN_SHARE = 0.05
#: Seconds by which the clock that a stored token was dated by may have been ahead of ours.
MAX_AHEAD = 60.0

# From the operating system: after a fork, or after random.seed(), two processes must not draw the same waits.
_random = random.SystemRandom()


class Moment(NamedTuple):
    """One moment on both clocks."""

    #: Seconds on the monotonic clock, which means nothing outside of this process.
    monotonic: float
    #: Seconds since the epoch.
    wall: float

    @classmethod
    def now(cls, clock: Clock) -> Moment:
        """The moment at which it is asked for."""
        return cls(clock.monotonic(), clock.time())

    def on_monotonic(self, wall: float) -> float:
        """Where a moment of the wall clock is on the monotonic one, as both of them stand now."""
        return self.monotonic + (wall - self.wall)


def lifetime_bounds(lifetime: float, refresh_in: float | None = None) -> tuple[float, float]:
    """Seconds from the token request until hard expiry, and until soft expiry.

    ``refresh_in`` is after how many seconds the token service wants a renewal, where it said so.
    """
    soft = lifetime * SOFT_EXPIRY if refresh_in is None else refresh_in
    hard = lifetime - _margin(lifetime)
    return hard, min(soft - _random.uniform(0.0, SOFT_EXPIRY_JITTER) * soft, hard)


def seconds_ahead(token: AccessToken, now: Moment) -> float:
    """How far ahead of ours the clock was, at least, that a stored token was dated by; 0 where nothing shows that.

    What was requested in the future was dated by a clock that was ahead, and so is its expiry.
    """
    return 0.0 if token.issued_at is None else max(0.0, token.issued_at - now.wall)


def localized(token: AccessToken, now: Moment, *, key: str, binding: Binding | None) -> AccessToken:
    """A token that another process stored, its expiry on the monotonic clock of this one."""
    # Whatever is wrong with the other's clock, what is left of a lifetime is no more than all of it.
    ahead = seconds_ahead(token, now)
    expires_at = token.expires_at - ahead
    hard = now.on_monotonic(expires_at - _margin(max(expires_at - now.wall, 0.0)))
    return AccessToken(
        token.value,
        token.token_type,
        token.scope,
        expires_at=token.expires_at,
        renew_at=token.renew_at,
        issued_at=token.issued_at,
        extra=token.extra,
        key=key,
        soft_expiry=min(now.on_monotonic(token.renew_at - ahead), hard),
        hard_expiry=hard,
        binding=binding,
    )


def _margin(lifetime: float) -> float:
    return min(EXPIRY_MARGIN, lifetime * EXPIRY_MARGIN_SHARE)
