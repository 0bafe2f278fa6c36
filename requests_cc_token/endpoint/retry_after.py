"""``Retry-After``, read (RFC 9110 section 10.2.3)."""

from __future__ import annotations

from .http_date import parse_http_date

#: Seconds of ``Retry-After`` that are obeyed at most: more is a mistake or an attack.
MAX_RETRY_AFTER = 3600.0


def parse_retry_after(value: str | None, now: float) -> float | None:
    """Seconds to stay away, from ``Retry-After`` (RFC 9110 section 10.2.3): a number of seconds or an HTTP-date.

    ``now`` is in seconds since the epoch, by the server's clock where that is known. A moment in the past is 0; garbage
    is None; at most ``MAX_RETRY_AFTER``.
    """
    if value is None:
        return None
    value = value.strip()
    if value.isascii() and value.isdigit():
        return min(float(value), MAX_RETRY_AFTER)
    moment = parse_http_date(value)
    return None if moment is None else min(max(moment - now, 0.0), MAX_RETRY_AFTER)
