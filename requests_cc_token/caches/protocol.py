"""What a cache must do to keep tokens, alone or shared by several processes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol, runtime_checkable

from requests_cc_token.tokens import AccessToken


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
