"""No client authentication, for grants that bring a proof of their own (RFC 7521 section 4.1)."""

from __future__ import annotations

from collections.abc import Callable

from .method import Applicant, ClientAuthentication, TokenRequest


class NoClientAuthentication(ClientAuthentication):
    """The request says nothing of the client: what is granted says whose it is.

    What stands for the client id then, the token service finds in the assertion or the subject token. One that wants it
    all the same gets it by ``parameters={"client_id": ...}``.
    """

    method = "none"

    def authenticate(self, request: TokenRequest, client: Applicant) -> None:
        """Add nothing."""

    def identity(self, client: Applicant) -> tuple[str, ...]:
        """The method; the grant tells one from another."""
        return (self.method,)

    def proof(self, client: Applicant, hashed: Callable[[str], str]) -> tuple[str, ...]:
        """The same: what is proved is the grant's."""
        return (self.method,)
