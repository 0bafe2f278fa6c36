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
    """What a token is asked for by, in place of the client's own credentials alone."""

    __slots__ = ()

    #: The ``grant_type`` of the token request.
    grant_type: ClassVar[str]
    #: The form fields that the grant sends.
    fields: ClassVar[frozenset[str]]
    #: Whether what is sent holds the time, so that a wrong clock makes it invalid.
    makes_dated_proofs: ClassVar[bool] = False
    #: What to do about an error code of the token service, where that is another thing than without this grant.
    advice: ClassVar[Mapping[str, str]]

    @property
    def clients(self) -> tuple[str, ...]:
        """The names of other clients whose tokens it needs."""
        return ()

    def add_to(self, request: TokenRequest, client: Applicant, others: OtherTokens | None) -> None:
        """Put it into the request; called for each try. Raises ``TokenRequestError``."""
        raise NotImplementedError

    def identity(self, client: Applicant) -> tuple[object, ...]:
        """What it proves, as this process knows it; never a secret. Grants of one identity share their tokens."""
        raise NotImplementedError

    def proof(self, client: Applicant, others: OtherTokens | None) -> tuple[object, ...]:
        """What it proves at this moment: a store gives its tokens to those only who can prove the same.

        Raises ``TokenRequestError``.
        """
        raise NotImplementedError

    def stamp(self) -> Hashable:
        """Something that differs once a key or file is known to have changed; costs no more than a stat."""
        return None

    def objection(self, members: Mapping[str, Any]) -> str | None:
        """Why an answer with these members is not what was asked for, or None."""
        return None
