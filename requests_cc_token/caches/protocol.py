"""What a cache must do to keep tokens, alone or shared by several processes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol, runtime_checkable

from requests_cc_token.tokens import AccessToken


@runtime_checkable
class TokenCache(Protocol):
    """The interface of a token cache, for ``AccessTokenManagement(cache=...)``.

    Several threads call the methods at the same time. A key consists of 64 hexadecimal digits. A cache that does not
    work raises any exception; it is logged, and the cache is left alone for a while. Test a cache of your own with
    ``requests_cc_token.testing.TokenCacheContract``.
    """

    def get(self, key: str) -> AccessToken | None:
        """The token that was stored last under the key, or None if there is none or it has expired."""

    def set(self, key: str, token: AccessToken) -> None:
        """Store the token under the key, replacing any other, until it expires at the latest."""

    def delete(self, key: str) -> None:
        """Remove the token of the key, if there is one."""


class Lease(Protocol):
    """What ``SharedTokenCache.lease`` returns: this process's turn to request a token, or another process's result."""

    @property
    def granted(self) -> bool:
        """Whether it is this process's turn. If not, its token is enough, or was stored or deleted meanwhile."""

    @property
    def token(self) -> AccessToken | None:
        """The token that was in the cache when the wait ended, or None."""

    def set(self, token: AccessToken) -> None:
        """Store the token, unless the key was changed since by a later lease or without a lease."""

    def release(self) -> None:
        """End this process's turn; does nothing if it was not granted."""


@runtime_checkable
class SharedTokenCache(TokenCache, Protocol):
    """The interface of a token cache that several processes share, of which one at a time requests a new token.

    Test one of your own with ``requests_cc_token.testing.SharedTokenCacheContract``.
    """

    def lease(
        self, key: str, cancelled: Callable[[], bool], enough: Callable[[AccessToken], bool] | None = None
    ) -> Lease | None:
        """Wait until it is this process's turn to request the token, or until another process has stored it.

        ``enough(token)`` says of a token that is there already whether it will do: then return at once, without a turn.
        So a process that starts looks at the store once, whether the token is there or not.

        ``cancelled()`` is asked only before each wait, and if it returns True the result is None. What can be had at
        once, the token or the turn, is returned without asking it. The wait must be limited, because the process whose
        turn it is may have died.
        """
