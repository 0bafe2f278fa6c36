"""Token exchange: a token of the worker's own, exchanged for another one (RFC 8693)."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Hashable, Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar, NamedTuple, Union

from requests_cc_token.authentication.method import Applicant, TokenRequest
from requests_cc_token.exceptions import ConfigurationError, TokenRequestError, UnknownClientError, one_line
from requests_cc_token.keyword_arguments import checked_text
from requests_cc_token.secret_source import SecretSource, fingerprint, secret_source
from requests_cc_token.tokens import AccessToken, is_presentable
from requests_cc_token.tracebacks import sealed

from .grant import Grant, OtherTokens

_PREFIX = "urn:ietf:params:oauth:token-type:"
#: The token types that may be given by their last word (RFC 8693 section 3).
TOKEN_TYPES = ("access_token", "refresh_token", "id_token", "jwt", "saml1", "saml2")
ACCESS_TOKEN = _PREFIX + "access_token"

#: What a subject or actor token may be given as.
TokenLike = Union[Callable[[], str], Mapping[str, Any], SecretSource]


class GivenToken(NamedTuple):
    """A token to exchange: what it is, and where it comes from at each fetch."""

    #: What it is to the exchange, for messages.
    role: str
    #: Its type, a URI.
    type: str
    #: Where it comes from, or the name of the client whose access token it is.
    source: SecretSource | str

    @property
    def identity(self) -> tuple[str, str]:
        """Type and source, as this process knows it."""
        return self.type, f"client {self.source}" if isinstance(self.source, str) else self.source.identity

    def read(self, others: OtherTokens | None) -> tuple[str, AccessToken | None]:
        """The token now, and that of another client where it is one. Raises ``TokenRequestError``."""
        borrowed: AccessToken | None = None
        try:
            if isinstance(self.source, SecretSource):
                value = self.source.read().strip()
            else:
                borrowed = _token_of(self.source, others)
                value = borrowed.value
        except UnknownClientError as error:
            raise TokenRequestError(f"the {self.role} token: {error}", transient=False) from None
        except TokenRequestError as error:
            raise TokenRequestError(
                f"the {self.role} token: {error}", transient=error.transient, retry_after=error.retry_after
            ) from None
        if not is_presentable(value):
            raise TokenRequestError(
                f"the {self.role} token is empty, or holds blanks or characters that no token has", transient=False
            )
        return value, borrowed

    def add_to(self, request: TokenRequest, others: OtherTokens | None) -> None:
        """Put it into the request."""
        value, borrowed = self.read(others)
        request.secrets.append(value)
        request.granted += fingerprint(value)
        if borrowed is not None:
            request.borrowed.append(borrowed)
        request.form[f"{self.role}_token"] = value
        request.form[f"{self.role}_token_type"] = self.type


def _token_of(client: str, others: OtherTokens | None) -> AccessToken:
    if others is None:
        raise TokenRequestError(f"it is that of the client {client!r}, which is not known here", transient=False)
    return others.get_access_token(client)


@dataclass(frozen=True, slots=True, eq=False)
class _TokenExchange(Grant):
    """The fields of the grant, each in the one form in which it is used."""

    subject: GivenToken = field(repr=False)
    actor: GivenToken | None = field(repr=False)
    #: The type of token that is asked for, a URI; what the token service likes where it is None.
    requested_token_type: str | None


class TokenExchangeGrant(_TokenExchange):
    """Requests tokens in exchange for another token that the worker has (RFC 8693): ``add_client(grant=...)``.

    - ``subject_token``: where the token to exchange comes from: a callable that returns it, ``{"file": path}`` or any
      other source that ``client_secret`` can have, read again for each token request; or ``{"client": name}`` for the
      access token of another client of the same management
    - ``subject_token_type``: its type, a URI, or the last word of one in RFC 8693 section 3: ``"access_token"``,
      ``"jwt"``, ``"id_token"``, ``"saml2"``
    - ``requested_token_type``: the type to request, given in the same way; by default none is named, and only an access
      token is accepted
    - ``actor_token``, ``actor_token_type``: the token of the party that acts for the subject, if that is another one

    ``scope``, ``resource`` and ``audience`` are those of the client and of a single request; there may be several
    audiences. Without ``client_secret`` and ``auth`` the client sends no other credentials. The grant is not meant for
    acting on behalf of users.

    Raises ``ConfigurationError``.
    """

    __slots__ = ()

    grant_type = "urn:ietf:params:oauth:grant-type:token-exchange"
    takes_several_audiences = True
    fields = frozenset(
        "subject_token subject_token_type actor_token actor_token_type requested_token_type".split()
    )
    advice: ClassVar[Mapping[str, str]] = {
        "invalid_request": "the subject or actor token may have expired, or not be one that the token service takes "
        "(RFC 8693 section 2.2.2)",
        "invalid_grant": "the subject or actor token may have expired, or not be one that the token service takes",
        "invalid_target": "check audience=... and resource=... against what the token service exchanges tokens for",
        "unauthorized_client": "allow token exchange for this client at the token service",
        "unsupported_grant_type": "the token service does not offer token exchange here",
    }

    @sealed
    def __init__(
        self,
        subject_token: TokenLike,
        subject_token_type: str,
        *,
        requested_token_type: str | None = None,
        actor_token: TokenLike | None = None,
        actor_token_type: str | None = None,
    ) -> None:
        what = "TokenExchangeGrant"
        if (actor_token is None) != (actor_token_type is None):
            raise ConfigurationError(f"{what}: actor_token and actor_token_type go together")
        super().__init__(
            _given("subject", subject_token, subject_token_type, what),
            None if actor_token is None else _given("actor", actor_token, actor_token_type, what),
            None
            if requested_token_type is None
            else _token_type(requested_token_type, f"{what}: requested_token_type"),
        )

    @property
    def _given(self) -> tuple[GivenToken, ...]:
        return (self.subject,) if self.actor is None else (self.subject, self.actor)

    @property
    def clients(self) -> tuple[str, ...]:
        """The names of the token clients whose access tokens are exchanged."""
        return tuple(given.source for given in self._given if isinstance(given.source, str))

    def add_to(self, request: TokenRequest, client: Applicant, others: OtherTokens | None) -> None:
        """Read the tokens and add them to the request. Raises ``TokenRequestError``."""
        for given in self._given:
            given.add_to(request, others)
        if self.requested_token_type is not None:
            request.form["requested_token_type"] = self.requested_token_type

    def identity(self, client: Applicant) -> tuple[object, ...]:
        """The requested type, and where the tokens come from."""
        return (self.requested_token_type, *(given.identity for given in self._given))

    def proof(self, client: Applicant, others: OtherTokens | None) -> tuple[object, ...]:
        """The requested type, and hashes of the tokens, so that others' tokens lead to other entries."""
        tokens = [(given.type, _hashed(given.read(others)[0])) for given in self._given]
        return (self.requested_token_type, *tokens)

    def stamp(self) -> Hashable:
        """Changes when a file changes that a token is read from."""
        return tuple(given.source.stamp() for given in self._given if isinstance(given.source, SecretSource))

    def objection(self, members: Mapping[str, Any]) -> str | None:
        """Why the issued token has another type than the requested one (RFC 8693 section 2.2.1), or None."""
        issued = members.get("issued_token_type")
        if issued in (None, ACCESS_TOKEN, self.requested_token_type):
            return None
        shown = one_line(issued, 100) if isinstance(issued, str) else type(issued).__name__
        asked = "an access token" if self.requested_token_type is None else self.requested_token_type
        return (
            f"it issued a token of the type {shown!r} where {asked} was asked for; "
            "requested_token_type=... of the grant asks for another one"
        )


def _hashed(token: str) -> str:
    # A quick hash will do: unlike a secret, a token cannot be guessed by those who read the store.
    return hashlib.sha256(token.encode("ascii")).hexdigest()


def _given(role: str, token: object, kind: object, what: str) -> GivenToken:
    source: SecretSource | str
    if isinstance(token, Mapping) and set(token) == {"client"}:
        source = checked_text(token["client"], f"{what}: the client of {role}_token")
    elif isinstance(token, (str, list, tuple)):
        raise ConfigurationError(
            f'{what}: {role}_token must be a callable, {{"file": path}}, {{"client": name}} or another source; it '
            "expires, so a fixed one is of no use"
        )
    else:
        source = secret_source(token, f"{what}: {role}_token")
    return GivenToken(role, _token_type(kind, f"{what}: {role}_token_type"), source)


def _token_type(given: object, what: str) -> str:
    if isinstance(given, str):
        if given in TOKEN_TYPES:
            return _PREFIX + given
        if ":" in given and all("!" <= c <= "~" for c in given):
            return given
    raise ConfigurationError(f"{what} must be a URI, or one of {', '.join(TOKEN_TYPES)} (RFC 8693 section 3)")
