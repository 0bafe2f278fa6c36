"""Where a fetch gets its token from: the cache, else the token endpoint.

If several processes share the cache, one of them at a time asks the token endpoint. A cache that fails is left alone
for a while.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import TypeVar

from .caches.memory import MemoryTokenCache
from .caches.protocol import Lease, SharedTokenCache, TokenCache
from .clock import Clock
from .demand import Demand
from .endpoint.backchannel import Backchannel
from .endpoint.token_request import request_token
from .events import Events, TokenEvent, logger
from .exceptions import TokenCacheError, TokenRequestError
from .expiry import MAX_AHEAD, Moment, localized, seconds_ahead
from .forks import renew_after_fork
from .grants.grant import OtherTokens
from .slots import Slot, TokenFlight
from .tokens import AccessToken

_T = TypeVar("_T")

#: Seconds without a cache that has failed: a store that is down costs one call in so many.
CACHE_COOL_DOWN = 30.0
#: Seconds that a fetch may wait for those of other processes, beside the time that it takes itself. The store's own
#: bound is shorter; this one holds for caches of any kind.
MAX_LEASE_WAIT = 45.0
#: Seconds beside the backchannel's ``max_time`` in which a fetch says by itself what it ended with.
LANDING_TIME = 1.0


class TokenSource:
    """The cache and the token endpoint of one management; safe in threads."""

    def __init__(
        self, cache: TokenCache, *, backchannel: Backchannel, clock: Clock, events: Events, others: OtherTokens
    ) -> None:
        self._cache = cache
        #: The tokens of the other clients, for grants that exchange one of them.
        self._others = others
        self._backchannel = backchannel
        self._clock = clock
        self._events = events
        self._down_until = float("-inf")
        #: Whether it was said that another clock is ahead.
        self._told_of_clock = False
        #: Taken by the one that warns. Nobody waits for it: with two failures at once one warning is enough.
        self._warning = threading.Lock()
        renew_after_fork(self)

    def after_fork_in_child(self) -> None:
        """Start the lock anew: the thread that warned is not in the child, which would leave no cache alone."""
        self._warning = threading.Lock()

    @property
    def max_time(self) -> float:
        """Seconds that a fetch may take at most, whatever it waits for."""
        return self._backchannel.options.max_time + LANDING_TIME + (MAX_LEASE_WAIT if self._is_shared else 0.0)

    @property
    def _is_shared(self) -> bool:
        return isinstance(self._cache, SharedTokenCache)

    def _stored_key(self, demand: Demand, slot: Slot) -> str:
        # The plain key will do for our own cache in memory, which no other process reads. Any other cache needs the key
        # that the client can prove; so does a grant that names another client, since another management over the same
        # cache may have another client by that name.
        grant = demand.client.grant
        is_ours = isinstance(self._cache, MemoryTokenCache) and (grant is None or not grant.clients)
        return slot.key if is_ours else demand.stored_key(self._others)

    def obtain(self, demand: Demand, slot: Slot, flight: TokenFlight) -> AccessToken:
        """The token that this fetch is for. Raises ``TokenRequestError`` and its kinds."""
        slot.stored_key = key = self._stored_key(demand, slot)
        if not self._is_shared:
            token = self._use("read", demand, lambda: self._news(slot, self._cache.get(key)))
            if token is not None and not flight.forced:
                flight.source = "shared cache"
                return token
        lease = self._lease(demand, key, slot, flight)
        try:
            while lease is not None:
                # Whoever held the lease before may have left what we came for. A forced renewal wants a token newer
                # than what lay there, not necessarily its own. It is here, even if the store counts as down by now.
                token = self._use("read", demand, partial(self._news_of, slot, lease), even_if_down=True)
                if token is not None and not (flight.forced and lease.granted):
                    flight.source = "shared cache"
                    return token
                if lease.granted:
                    break
                lease = self._lease(demand, key, slot, flight)
            token = self._request(demand, slot, flight)
            put = lease.set if lease is not None else partial(self._cache.set, key)
            if slot.wants(flight):
                self._use("write to", demand, partial(put, token))
            return token
        finally:
            if lease is not None:
                # Even while the store counts as down: other processes wait for this lease until it ends.
                self._use("release", demand, lease.release, even_if_down=True)

    def delete(self, demand: Demand, slot: Slot) -> None:
        """Have the cache forget the token, also while it is left alone: whoever deletes a token wants it gone."""
        key = slot.stored_key or self._stored_key(demand, slot)
        try:
            self._cache.delete(key)
        except Exception as error:
            self._leave_alone("delete from", demand, error)
            logger.warning(
                "token client %r: the token cache has not deleted the token (%s), and may give it out again",
                demand.name,
                _told(error),
            )

    def _news_of(self, slot: Slot, lease: Lease) -> AccessToken | None:
        return self._news(slot, lease.token)

    def _news(self, slot: Slot, token: AccessToken | None) -> AccessToken | None:
        """The cache's token, where it is usable and tells this process something new."""
        if token is not None and (token.soft_expiry is None or token.hard_expiry is None):
            now = Moment.now(self._clock)
            ahead = seconds_ahead(token, now)
            if ahead > MAX_AHEAD:
                # Nobody knows when it expires. The new token that is requested instead replaces it.
                self._tell_of_clock(slot, ahead)
                return None
            token = localized(token, now, key=slot.key, binding=slot.binding)
        elif token is not None and token.key != slot.key:
            # From a cache in memory, stored under an earlier registration with the same credentials.
            token = replace(token, key=slot.key, binding=slot.binding)
        return slot.news(token, self._clock.monotonic())

    def _tell_of_clock(self, slot: Slot, seconds: float) -> None:
        if not self._told_of_clock:
            self._told_of_clock = True
            logger.warning(
                "token client %r: a token in the cache was stored by a clock that was %.0f s ahead of this machine's "
                "and is not used; set the clocks of all that share the cache (NTP)",
                slot.name,
                seconds,
            )

    def _lease(self, demand: Demand, key: str, slot: Slot, flight: TokenFlight) -> Lease | None:
        """The right to fetch for all processes, or a token that is there; None where the cache knows no such thing."""
        if not isinstance(self._cache, SharedTokenCache):
            return None
        enough = None if flight.forced else lambda token: self._news(slot, token) is not None
        return self._use("use", demand, partial(self._cache.lease, key, self._backchannel.closed.is_set, enough))

    def _request(self, demand: Demand, slot: Slot, flight: TokenFlight) -> AccessToken:
        # A fetch tries again at once only for callers that wait for it, and only if the fetch before went well.
        # Renewals that nobody waits for, and fetches during an outage, leave further tries to the hold-off.
        first_sequence = slot.failure is None

        def on_try(failed: TokenRequestError | None, waited: float | None) -> None:
            flight.tries += 1
            event = TokenEvent(
                "requested",
                demand.name,
                scope=demand.scope_text,
                attempt=flight.tries,
                reason=flight.reason,
                duration=self._clock.monotonic() - flight.begun_at,
                error=failed,
                waited=waited,
            )
            self._events.emit(event)

        def on_sent() -> None:
            # Called in the thread of the try, for which nobody may wait any more.
            slot.counts.requests += 1

        return request_token(
            demand,
            slot.key,
            backchannel=self._backchannel,
            clock=self._clock,
            keep_trying=lambda: first_sequence and flight.waiting > 0,
            on_try=on_try,
            on_sent=on_sent,
            others=self._others,
        )

    def _use(self, doing: str, demand: Demand, action: Callable[[], _T], *, even_if_down: bool = False) -> _T | None:
        """Use the cache; one that fails is left alone for a while, and the call goes on without it."""
        if self._clock.monotonic() < self._down_until and not even_if_down:
            return None
        try:
            return action()
        except Exception as error:
            self._leave_alone(doing, demand, error)
            return None

    def _leave_alone(self, doing: str, demand: Demand, error: Exception) -> None:
        if not self._warning.acquire(blocking=False):
            return
        try:
            now = self._clock.monotonic()
            first = now >= self._down_until
            self._down_until = now + CACHE_COOL_DOWN
        finally:
            self._warning.release()
        if first:
            logger.warning(
                "token client %r: could not %s the token cache (%s); going on without it for %.0f s",
                demand.name,
                doing,
                _told(error),
                CACHE_COOL_DOWN,
            )


def _told(error: Exception) -> str:
    """What a log may repeat of a cache's error: our own text; another one may hold anything."""
    return str(error) if isinstance(error, TokenCacheError) else type(error).__name__
