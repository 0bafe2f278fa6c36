"""URLs that ``requests`` would leave as they are."""

from __future__ import annotations

import functools
import re

#: Origins, pools and TLS contexts remembered before a store starts anew: far more than one worker talks to.
REMEMBERED = 64

_ESCAPE = "%(?:[0189A-F][0-9A-F]|2[0-9ABCF]|3[A-F]|[46]0|5[B-E]|7[BCDF])"

#: A URL that ``PreparedRequest.prepare_url`` hands back as it came: lower-case host without user information, a port
#: without leading zeros, a path, only characters that need no quoting, escapes in capitals and only where needed. Dot
#: segments are looked for apart. Groups: origin; path and query.
_CANONICAL_URL = (
    r"(https?://[a-z0-9][a-z0-9.-]*(?::(?:[1-9][0-9]{0,3}|[1-5][0-9]{4}|6[0-4][0-9]{3}))?)"
    rf"(/(?:[A-Za-z0-9._~!$&'()*+,;=:@/-]|{_ESCAPE})*(?:\?(?:[A-Za-z0-9._~!$&'()*+,;=:@/?-]|{_ESCAPE})+)?)"
)


@functools.lru_cache(REMEMBERED)
def canonical(url: str) -> tuple[str, str] | None:
    """Origin, and path with query, of a URL that ``requests`` would not change; None for any other.

    To be asked about plain strings only: what else equals one may read differently.
    """
    found = re.fullmatch(_CANONICAL_URL, url)  # compiled when first needed, not when imported
    return None if found is None or "/." in url else (found[1], found[2])
