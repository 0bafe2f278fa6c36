"""What every grant has in common."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from typing import Any, ClassVar, Protocol

from requests_cc_token.authentication.method import Applicant, TokenRequest
from requests_cc_token.tokens import AccessToken


class OtherTokens(Protocol):
    """The tokens of the other clients of a management: its token service."""

    def get_access_token(self, client: str | None = None) -> AccessToken:
        """A token of that client."""

    def token_rejected(self, token: AccessToken) -> None:
        """Tell that the token was refused."""


class Grant:
    """The base class of grants that take the place of the client credentials grant (RFC 6749 section 4.5)."""

    __slots__ = ()

    #: The ``grant_type`` of the token request.
    grant_type: ClassVar[str]
    #: The form fields that the grant sends.
    fields: ClassVar[frozenset[str]]
    #: Whether what is sent holds the time, so that a wrong clock makes it invalid.
    makes_dated_proofs: ClassVar[bool] = False
    #: Whether the form field ``audience`` may come more than once; RFC 6749 section 3.2 forbids it otherwise.
    takes_several_audiences: ClassVar[bool] = False
    #: What to do about an error code of the token service, where that is another thing than without this grant.
    advice: ClassVar[Mapping[str, str]]

    @property
    def clients(self) -> tuple[str, ...]:
        """The names of the token clients whose tokens it uses."""
        return ()

    def add_to(self, request: TokenRequest, client: Applicant, others: OtherTokens | None) -> None:
        """Add the grant's parameters to the request; called for each try. Raises ``TokenRequestError``."""
        raise NotImplementedError

    def identity(self, client: Applicant) -> tuple[object, ...]:
        """What tells this grant from others within this process, without a secret; see ``ClientAuthentication``."""
        raise NotImplementedError

    def proof(self, client: Applicant, others: OtherTokens | None) -> tuple[object, ...]:
        """What a shared cache stores the tokens under: the same for all who have the same grant now.

        Raises ``TokenRequestError``.
        """
        raise NotImplementedError

    def stamp(self) -> Hashable:
        """A value that changes when a key or file has changed; costs no more than a ``stat``."""
        return None

    def objection(self, members: Mapping[str, Any]) -> str | None:
        """Why the answer with these members is not what was requested, or None if it is."""
        return None
