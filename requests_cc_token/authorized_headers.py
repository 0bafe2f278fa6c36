"""The headers of a request that carries a token."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import requests
from requests.structures import CaseInsensitiveDict

from .tokens import AccessToken

_SECRET = frozenset({"authorization", "dpop"})


class AuthorizedHeaders(CaseInsensitiveDict[Any]):
    """Headers with a token in ``Authorization``; shown without values, and pickled without token and proof.

    ``prove`` makes the ``DPoP`` header, a new one each time that the headers are sent, urllib3's own retries included:
    a proof is for one try (RFC 9449 section 7.3), and sending walks through ``items()``.
    """

    def __init__(self, headers: Mapping[str, Any], token: AccessToken, prove: Callable[[], str] | None = None) -> None:
        super().__init__(headers)
        #: The token in ``Authorization``.
        self.token = token
        #: Where the request's body started, to send it once more from there.
        self.position: int | None = None
        self["Authorization"] = token.authorization
        self._prove = prove
        self._sent = False
        if prove is not None:
            self["DPoP"] = prove()

    def items(self) -> Any:
        """Name and value of each header."""
        if self._sent and self._prove is not None:
            self["DPoP"] = self._prove()
        self._sent = True
        return super().items()

    def copy(self) -> AuthorizedHeaders:
        """The same headers, to be changed without changing these."""
        copied = AuthorizedHeaders.__new__(AuthorizedHeaders)
        # Not by its own items(), which are those that are sent, each time with another proof.
        CaseInsensitiveDict.__init__(copied, super().items())
        copied.token, copied.position = self.token, self.position
        copied._prove, copied._sent = self._prove, self._sent
        return copied

    @property
    def carry_the_token(self) -> bool:
        """Whether the token is still in ``Authorization``: requests removes or replaces it for a redirect."""
        return bool(self.get("Authorization") == self.token.authorization)

    def without_token(self) -> CaseInsensitiveDict[Any]:
        """The headers as the caller gave them."""
        given = CaseInsensitiveDict[Any]()
        given.update({name: self[name] for name in self if name.lower() not in _SECRET})
        return given

    def __reduce__(self) -> tuple[Any, ...]:
        return CaseInsensitiveDict, (dict(self.without_token()),)

    def __repr__(self) -> str:
        return f"<headers {', '.join(self)}>"


def carries_token(request: requests.PreparedRequest) -> bool:
    """Whether a token was put on the request by this package, and is there still."""
    return isinstance(request.headers, AuthorizedHeaders) and request.headers.carry_the_token
