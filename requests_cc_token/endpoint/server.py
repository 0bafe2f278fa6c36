"""What is known of a server: an issuer's metadata, an endpoint's clock and DPoP nonce."""

from __future__ import annotations

import threading
from collections.abc import Hashable

from cachetools import LRUCache

from requests_cc_token.authentication.dpop import usable_nonce
from requests_cc_token.forks import renew_after_fork

from .http_date import parse_http_date
from .metadata import Metadata

#: Servers of which something is kept at most; the least recently used is forgotten first, and asked again.
MAX_SERVERS = 1_000
#: Seconds by which a clock may be off before proofs are dated by the server's: servers allow for that much.
TOLERATED_SKEW = 10.0
#: Seconds by which our proofs are dated differently at most. A clock that is further off has to be set.
MAX_CORRECTION = 300.0


class KnownServer:
    """What is known of one issuer or endpoint.

    Changed by single assignments, so threads need no lock: the last one that learns something is right.
    """

    __slots__ = ("metadata", "nonce", "refresh_at", "skew", "unfinished")

    def __init__(self) -> None:
        #: The issuer's metadata, and when it is to be asked for again, on the monotonic clock.
        self.metadata: Metadata | None = None
        self.refresh_at = float("-inf")
        #: What the server gave to be put into the next DPoP proof (RFC 9449 section 8).
        self.nonce: str | None = None
        #: Seconds by which its clock was ahead of ours, when it last told.
        self.skew = 0.0
        #: The tries that were given up, and have not ended yet.
        self.unfinished: set[object] = set()

    @property
    def clock_offset(self) -> float:
        """Seconds to add to our time in what is signed for it."""
        return self.skew if TOLERATED_SKEW <= abs(self.skew) <= MAX_CORRECTION else 0.0

    def learn_time(self, date: str | None, now: float) -> bool:
        """Take the server's time from the ``Date`` of an answer; whether that is news.

        ``now`` is in seconds since the epoch. Only for answers that prove that they were made just now.
        """
        moment = parse_http_date(date)
        if moment is None:
            return False
        known, self.skew = self.skew, moment - now
        return abs(self.skew - known) >= TOLERATED_SKEW

    def learn_nonce(self, given: str | None) -> bool:
        """Keep the nonce of an answer for the next proof; whether there is one to use."""
        nonce = usable_nonce(given)
        if nonce is not None:
            self.nonce = nonce
        return nonce is not None


class KnownServers:
    """What is known of all servers of one management, bounded in number; safe in threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._servers: LRUCache[Hashable, KnownServer] = LRUCache(MAX_SERVERS)
        renew_after_fork(self)

    def of(self, place: Hashable) -> KnownServer:
        """What is known of the server: that of an endpoint's URL, or of an issuer and what it is trusted with."""
        with self._lock:
            server = self._servers.get(place)
            if server is None:
                server = self._servers[place] = KnownServer()
            return server

    def after_fork_in_child(self) -> None:
        """Start the lock anew, and forget the tries of threads that the child does not have."""
        self._lock = threading.Lock()
        for server in list(self._servers.values()):
            server.unfinished = set()
