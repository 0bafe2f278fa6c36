"""``Retry-After``, read (RFC 9110 section 10.2.3)."""

from __future__ import annotations

from datetime import timezone
from email.utils import parsedate_to_datetime

#: Seconds of ``Retry-After`` that are obeyed at most: more is a mistake or an attack.
MAX_RETRY_AFTER = 3600.0


def parse_retry_after(value: str | None, now: float) -> float | None:
    """Seconds to stay away, from ``Retry-After`` (RFC 9110 section 10.2.3): a number of seconds or an HTTP-date.

    ``now`` is in seconds since the epoch. A moment in the past is 0; garbage is None; at most ``MAX_RETRY_AFTER``.
    """
    if value is None:
        return None
    value = value.strip()
    if value.isascii() and value.isdigit():
        # More than 20 digits are too large a number in any case, so they are not computed.
        return min(float(value[:20]), MAX_RETRY_AFTER)
    try:
        moment = parsedate_to_datetime(value)
        # The date without a zone is asctime's form, which is UTC by RFC 9110 section 5.6.7.
        seconds = (moment.timestamp() if moment.tzinfo else moment.replace(tzinfo=timezone.utc).timestamp()) - now
    except (TypeError, ValueError, OverflowError, IndexError):
        return None
    return min(max(seconds, 0.0), MAX_RETRY_AFTER)
