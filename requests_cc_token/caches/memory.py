"""Where tokens stay: the protocol, and the memory of one process."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

from requests_cc_token.clock import Clock, SystemClock
from requests_cc_token.forks import renew_after_fork

if TYPE_CHECKING:
    from cachetools import TLRUCache

    from requests_cc_token.tokens import AccessToken

#: Tokens kept at most by default: far more than one worker has clients, and a few MiB at the worst.
DEFAULT_MAX_TOKENS = 10_000


class TokenCache(Protocol):
    """What a cache must do to keep tokens. All three are called by several threads at once.

    A key is 64 hexadecimal digits. A cache that fails raises; calls then go on without it. The contract is
    a test class, ``requests_cc_token.testing.TokenCacheContract``.
    """

    def get(self, key: str) -> AccessToken | None:
        """The token last set for the key, or None where there is none or it has expired."""

    def set(self, key: str, token: AccessToken) -> None:
        """Keep the token in the place of any other, until it expires at the latest."""

    def delete(self, key: str) -> None:
        """Forget the token of the key; nothing happens where there is none."""


class Lease(Protocol):
    """The right of one process to fetch the token of a key for all that share the cache, or what came instead."""

    @property
    def granted(self) -> bool:
        """Whether this process may fetch. If not, another one has written or deleted the token meanwhile."""

    @property
    def token(self) -> AccessToken | None:
        """The token that was in the cache when the wait had ended, or None."""

    def set(self, token: AccessToken) -> None:
        """Keep the token, unless the key was written or deleted under a later lease, or without one, since then."""

    def release(self) -> None:
        """Let the next one fetch; nothing happens where nothing was granted."""


@runtime_checkable
class SharedTokenCache(TokenCache, Protocol):
    """A cache of several processes: one of them fetches at a time."""

    def lease(self, key: str, cancelled: Callable[[], bool]) -> Lease | None:
        """Wait until this process may fetch, or until another one has written the key.

        In either case the lease holds what is in the cache now. None where waiting was cancelled. Bounded: the
        lease of a process that died or froze ends.
        """


class MemoryTokenCache:
    """Tokens in the memory of this process, each for its own lifetime, the least recently used dropped first.

    Thread-safe. A forked child keeps the tokens it inherited: they are as valid there.
    """

    def __init__(self, max_tokens: int = DEFAULT_MAX_TOKENS, *, clock: Clock | None = None) -> None:
        self._clock = clock if clock is not None else SystemClock()
        self._lock = threading.Lock()
        self._max_tokens = max_tokens
        self._tokens = self._empty()
        renew_after_fork(self)

    def _empty(self) -> TLRUCache[str, AccessToken]:
        from cachetools import TLRUCache

        # One time to live for all keys, as TTLCache has it, is not what tokens have.
        return TLRUCache(self._max_tokens, ttu=self._expiry, timer=self._clock.monotonic)

    def _expiry(self, key: str, token: AccessToken, now: float) -> float:
        if token.hard_expiry is not None:
            return token.hard_expiry
        return now + token.expires_at - self._clock.time()

    def get(self, key: str) -> AccessToken | None:
        """The token, or None."""
        with self._lock:
            return self._tokens.get(key)

    def set(self, key: str, token: AccessToken) -> None:
        """Keep the token; one that has expired already only removes the other."""
        with self._lock:
            self._tokens.pop(key, None)
            now = self._clock.monotonic()
            if now < self._expiry(key, token, now):
                self._tokens[key] = token

    def delete(self, key: str) -> None:
        """Forget the token."""
        with self._lock:
            self._tokens.pop(key, None)

    def clear(self) -> None:
        """Forget all tokens."""
        with self._lock:
            self._tokens.clear()

    def __len__(self) -> int:
        with self._lock:
            self._tokens.expire()
            return len(self._tokens)

    def __repr__(self) -> str:
        return f"<MemoryTokenCache of at most {self._max_tokens} tokens>"

    def __reduce__(self) -> Any:
        raise TypeError("a MemoryTokenCache holds secrets and is not pickled; make one on the other side")

    def after_fork_in_child(self) -> None:
        """Start anew what another thread was changing when the process forked: that thread is not in the child."""
        if self._lock.locked():
            self._lock = threading.Lock()
            self._tokens = self._empty()
