"""Tokens in the memory of one process."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any

from requests_cc_token.clock import Clock, SystemClock
from requests_cc_token.exceptions import ConfigurationError
from requests_cc_token.forks import renew_after_fork
from requests_cc_token.keyword_arguments import is_whole_number
from requests_cc_token.tokens import AccessToken

if TYPE_CHECKING:
    from cachetools import TLRUCache

#: Tokens kept at most by default: far more than one worker has clients, and a few MiB at the worst.
DEFAULT_MAX_TOKENS = 10_000


class MemoryTokenCache:
    """Keeps tokens in the memory of this process; the default cache.

    ``max_tokens`` is how many are kept at most; the least recently used one is dropped first. ``clock`` is as for
    ``AccessTokenManagement``. Safe to use from threads. A forked child keeps the tokens of its parent. Raises
    ``ConfigurationError`` for a ``max_tokens`` that is no whole number above 0.
    """

    def __init__(self, max_tokens: int = DEFAULT_MAX_TOKENS, *, clock: Clock | None = None) -> None:
        if not is_whole_number(max_tokens, 1):
            raise ConfigurationError("max_tokens of a MemoryTokenCache must be a whole number above 0")
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
        """The token of the key, or None if there is none or it has expired."""
        with self._lock:
            return self._tokens.get(key)

    def set(self, key: str, token: AccessToken) -> None:
        """Store the token under the key until it expires, replacing any other."""
        with self._lock:
            # cachetools keeps none that has expired, and some of its versions would leave the one before in its place.
            self._tokens.pop(key, None)
            self._tokens[key] = token

    def delete(self, key: str) -> None:
        """Remove the token of the key, if there is one."""
        with self._lock:
            self._tokens.pop(key, None)

    def clear(self) -> None:
        """Remove all tokens."""
        with self._lock:
            self._tokens.clear()

    def __len__(self) -> int:
        with self._lock:
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
