"""Dates in the headers of HTTP, read (RFC 9110 section 5.6.7)."""

from __future__ import annotations

from datetime import timezone
from email.utils import parsedate_to_datetime


def parse_http_date(text: str | None) -> float | None:
    """The seconds since the epoch of a date in any of its three forms; None for what is no date."""
    try:
        moment = parsedate_to_datetime(text or "")
        # The oldest form, that of asctime, names no zone; all three are in UTC.
        return (moment if moment.tzinfo else moment.replace(tzinfo=timezone.utc)).timestamp()
    except (TypeError, ValueError, OverflowError, IndexError):
        return None
