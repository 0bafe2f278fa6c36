"""What the caches that several processes share have in common: waiting for each other, and leases."""

from __future__ import annotations

import os
import random
import secrets
import socket
import time
from abc import ABC, abstractmethod
from collections.abc import Callable
from functools import partial
from typing import Any, Generic, NamedTuple, TypeVar

from requests_cc_token.clock import Clock, SystemClock, checked_seconds
from requests_cc_token.tokens import AccessToken

from .bounded_calls import Allowance, BoundedCalls
from .records import TokenRecords

_T = TypeVar("_T")

#: Seconds that the store may add to one call before the call goes on without it. A store nearby answers in one or two
#: milliseconds, one in another region within a hundred.
DEFAULT_TIMEOUT = 0.25
#: Seconds for which a process may fetch before another one may too. Token services answer in well under one second.
DEFAULT_LEASE = 10.0
#: Seconds to wait for other processes at most; then this one fetches too. A fetch with all its tries takes
#: no longer by default.
MAX_WAIT = 30.0
#: How many timeouts a store may be silent for while its caller waits for another process anyway, before that wait is
#: given up and this process fetches too.
SILENCE_WHILE_WAITING = 4
#: Seconds between two looks at a store while another process fetches, and the share of the time waited so far: a
#: fleet that waits longer asks more rarely.
POLL_BOUNDS = (0.1, 0.5)
POLL_SHARE = 0.25


class Claim(Generic[_T]):
    """What the store answers to a process that wants to fetch."""

    __slots__ = ("holding", "last", "number", "token")

    def __init__(self, number: int, last: int, token: AccessToken | None, holding: _T | None = None) -> None:
        #: The fencing number under which the token may be written, or 0 where another process is at it.
        self.number = number
        #: The fencing number of the last write or deletion.
        self.last = last
        #: The token that the store has now.
        self.token = token
        #: What to let go of afterwards.
        self.holding = holding


class Holder(NamedTuple):
    """Who fetches the token of a key at this moment."""

    #: Its host, where the store has several, and its process; None where the store cannot tell.
    name: str | None
    #: Seconds until others no longer wait for it; None where they wait until it lets go, or ends.
    seconds: float | None


class Kept(NamedTuple):
    """What a store has for a key, as ``requests-cc-token cache list`` shows it."""

    token: AccessToken | None
    #: Seconds since the token was asked for or written, on the store's clock.
    age: float | None
    holder: Holder | None
    #: Whether something is there that is no token of this key: stored with another encryption key, or damaged.
    unreadable: bool = False


class StoreLease:
    """See ``protocol.Lease``."""

    __slots__ = ("_allowance", "_cache", "_claim", "_key")

    def __init__(self, cache: StoreTokenCache[Any], key: str, claim: Claim[Any], allowance: Allowance) -> None:
        self._cache = cache
        self._key = key
        self._claim = claim
        #: What is left for the writing.
        self._allowance = allowance

    @property
    def granted(self) -> bool:
        """Whether this process may fetch."""
        return self._claim.number > 0

    @property
    def token(self) -> AccessToken | None:
        """The token that was in the cache when the wait had ended."""
        return self._claim.token

    def set(self, token: AccessToken) -> None:
        """Keep the token, unless a newer one is there, and let the next one fetch."""
        self._cache.write(self._key, token, self._claim, self._allowance)

    def release(self) -> None:
        """Let the next one fetch."""
        if self._claim.holding is not None:
            self._cache.let_go(self._key, self._claim, self._allowance)

    def __repr__(self) -> str:
        return f"<lease {self._claim.number} of {self._cache!r}>"


class StoreTokenCache(ABC, Generic[_T]):
    """A token cache over a store of several processes; ``_T`` is what a process holds while it fetches.

    Subclasses give the operations. Each runs in a thread of its own and may raise whatever it likes.
    """

    def __init__(
        self, store: str, records: TokenRecords, lease: float, timeout: float, clock: Clock | None
    ) -> None:
        self._lease_time = checked_seconds(lease, "lease of a token cache")
        self._timeout = checked_seconds(timeout, "timeout of a token cache")
        self._calls = BoundedCalls(store)
        self._records = records
        self._clock: Clock = clock if clock is not None else SystemClock()

    # What the store does.

    @abstractmethod
    def _read(self, key: str) -> AccessToken | None:
        """The token of the key, expired or not."""

    @abstractmethod
    def _write(self, key: str, token: AccessToken | None, claim: Claim[_T] | None) -> None:
        """Write the token, or that there is none; under a claim only if nothing was written later than it."""

    @abstractmethod
    def _claim(self, key: str, wait: Wait) -> Claim[_T]:
        """Claim the right to fetch; whatever the answer, do not wait for it.

        With ``wait.for_any`` nothing is claimed where a token is that has not expired.
        """

    @abstractmethod
    def _let_go(self, key: str, holding: _T) -> None:
        """Give the right back."""

    @abstractmethod
    def _forget(self, key: str) -> None:
        """Remove all that is kept of the key, its fencing numbers too; what is not there is no error."""

    @abstractmethod
    def _inspect(self, key: str) -> Kept:
        """The token of the key, expired or not, its age, and who fetches."""

    # What a cache does.

    def get(self, key: str) -> AccessToken | None:
        """The token of the key, or None if there is none or it has expired. Raises ``TokenCacheError``."""
        return self._unexpired(self._calls.call("read", partial(self._read, key), Allowance(self._timeout)))

    def set(self, key: str, token: AccessToken) -> None:
        """Store the token under the key until it expires, replacing any other. Raises ``TokenCacheError``."""
        self.write(key, token, None, Allowance(self._timeout))

    def delete(self, key: str) -> None:
        """Remove the token of the key. A token request under way in any process will not bring it back.

        Raises ``TokenCacheError``.
        """
        self._calls.call("delete from", partial(self._write, key, None, None), Allowance(self._timeout))

    def inspect(self, key: str) -> Kept:
        """The token of the key, its age, and the process that requests a new one now. Raises ``TokenCacheError``."""
        kept = self._calls.call("look into", partial(self._inspect, key), Allowance(self._timeout))
        if self._unexpired(kept.token) is None:
            return kept._replace(token=None, age=None)
        return kept

    def try_out(self) -> None:
        """Make sure that a process gets its turn here and can store a token.

        That is done under a new key, which no client has, and removed. Raises ``TokenCacheError``.
        """
        key = secrets.token_hex(32)
        token = AccessToken("none", expires_at=self._clock.time() + self._lease_time)

        def operation() -> None:
            # In one piece, so that what takes too long is removed all the same.
            try:
                claim = self._claim(key, Wait(self._clock.monotonic()))
                try:
                    self._write(key, token, claim)
                finally:
                    self._undo(key, claim)
            finally:
                self._forget(key)

        self._calls.call("write to", operation, Allowance(self._timeout))

    def lease(
        self, key: str, cancelled: Callable[[], bool], enough: Callable[[AccessToken], bool] | None = None
    ) -> StoreLease | None:
        """Wait until it is this process's turn to request the token, or until another one has stored or deleted it.

        A token that is ``enough`` is returned at once, without a turn.

        Returns None if ``cancelled()`` returns True, which is asked only before each wait. Raises ``TokenCacheError``.
        """
        allowance = first = Allowance(self._timeout)
        wait = Wait(self._clock.monotonic(), for_any=enough is not None)
        while True:
            claim = self._calls.call(
                "lease from", partial(self._claim, key, wait), allowance, undo=partial(self._undo, key)
            )
            if wait.first_seen is None:
                wait.first_seen = claim.last
            claim.token = self._unexpired(claim.token)
            if claim.number or claim.last > wait.first_seen:
                return StoreLease(self, key, claim, first)
            if enough is not None and wait.for_any and claim.token is not None:
                if enough(claim.token):
                    return StoreLease(self, key, claim, first)
                wait.for_any = False
                continue
            if cancelled():
                return None
            wait.pause(self._clock)
            # From now on another process is waited for, and not the store.
            allowance = Allowance(self._timeout * SILENCE_WHILE_WAITING)

    # What a lease does.

    def write(self, key: str, token: AccessToken, claim: Claim[_T] | None, allowance: Allowance) -> None:
        """See ``StoreLease.set``."""

        def operation() -> None:
            try:
                self._write(key, self._unexpired(token), claim)
            finally:
                if claim is not None:
                    self._undo(key, claim)

        self._calls.call("write to", operation, allowance)

    def let_go(self, key: str, claim: Claim[_T], allowance: Allowance) -> None:
        """See ``StoreLease.release``."""
        self._calls.call("release", partial(self._undo, key, claim), allowance)

    def _undo(self, key: str, claim: Claim[_T]) -> None:
        holding, claim.holding = claim.holding, None
        if holding is not None:
            self._let_go(key, holding)

    def _unexpired(self, token: AccessToken | None) -> AccessToken | None:
        return token if token is not None and self._clock.time() < token.expires_at else None

    def __reduce__(self) -> Any:
        raise TypeError(f"a {type(self).__name__} is not pickled: it may hold secrets; make one on the other side")


class Wait:
    """One process's wait for its turn."""

    def __init__(self, begun: float, *, for_any: bool = False) -> None:
        self._begun = begun
        self._really_begun = time.monotonic()
        #: Whether a token that is there, whatever its number, may be what is waited for.
        self.for_any = for_any
        #: Seconds waited on the cache's clock, as of the last pause.
        self.waited = 0.0
        self.looks = 0
        #: The fencing number that the first look found; None before it.
        self.first_seen: int | None = None
        #: The turn that is waited for, since when, and up to which one nobody is waited for any more. For stores
        #: whose leases do not end by themselves.
        self.turn = 0
        self.turn_began = 0.0
        self.given_up = 0
        #: Who waits, for stores that ask: host and process for people, and what nobody else can have.
        self.nonce = f"{socket.gethostname()}:{os.getpid()}:{secrets.token_hex(16)}"

    @property
    def over(self) -> bool:
        """Whether others were waited for long enough."""
        return self.waited >= MAX_WAIT

    def pause(self, clock: Clock) -> None:
        """Wait a little before the next look."""
        # In real time, whatever the clock: what is waited for happens in other processes.
        time.sleep(until_next_look(time.monotonic() - self._really_begun))
        self.looks += 1
        self.waited = clock.monotonic() - self._begun


def until_next_look(waited: float) -> float:
    """Seconds to wait for the next look after so many: a random part of the bound, at least half of it."""
    shortest, longest = POLL_BOUNDS
    bound = min(longest, max(shortest, POLL_SHARE * waited))
    return bound * random.uniform(0.5, 1.0)  # noqa: S311 - it spreads load
