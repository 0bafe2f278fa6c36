"""The JWT bearer grant: a token for a JWT that the worker signs itself (RFC 7523 section 2.1)."""

from __future__ import annotations

import json
from collections.abc import Hashable, Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar

from requests_cc_token.authentication.assertions import ASSERTION_LIFETIME, dated_claims, signed_assertion
from requests_cc_token.authentication.method import Applicant, TokenRequest
from requests_cc_token.authentication.signing_key import KeyLike, SigningKeySource
from requests_cc_token.clock import checked_seconds
from requests_cc_token.exceptions import ConfigurationError
from requests_cc_token.keyword_arguments import checked_text
from requests_cc_token.secret_source import SecretLike
from requests_cc_token.tracebacks import sealed

from .grant import Grant, OtherTokens

#: The ``typ`` of the assertion: the one that services know which have offered this grant for years.
GRANT_HEADER_TYPE = "JWT"

#: Claims that have keywords of their own, and those that are made for each assertion.
_OWN_CLAIMS = {"iss": "issuer", "sub": "subject", "aud": "audience", "exp": "lifetime"}
_MADE_CLAIMS = frozenset({"iat", "nbf", "jti"})


@dataclass(frozen=True, slots=True, eq=False)
class _JwtBearer(Grant):
    """The fields of the grant, each in the one form in which it is used."""

    key: SigningKeySource = field(repr=False)
    #: Who signs; the client's id where it is None.
    issuer: str | None
    #: For whom the token is; the issuer where it is None, nobody where it is empty.
    subject: str | None
    #: Whom the assertion is for; the issuer of the tokens or the token endpoint where it is None.
    audience: str | None
    #: Further claims, as JSON.
    claims: str = field(repr=False)
    #: Seconds that an assertion is valid.
    lifetime: float
    header_type: str


class JwtBearerGrant(_JwtBearer):
    """Requests tokens with a JWT that is signed with a private key (RFC 7523 section 2.1): ``add_client(grant=...)``.

    - ``key``, ``algorithm``, ``key_id``, ``password``: see ``PrivateKeyJwt``
    - ``audience``: the ``aud`` claim; by default the issuer of the token client, or its token endpoint if it has no
      issuer. ``"token_endpoint"`` means the URL of the token endpoint
    - ``issuer``: the ``iss`` claim; the ``client_id`` by default
    - ``subject``: the ``sub`` claim, the worker's own account; by default as ``issuer``. ``""`` leaves the claim out,
      as Google requires for service accounts
    - ``claims``: further claims, such as the ``scope`` that Google reads in the JWT
    - ``lifetime``: how many seconds the JWT is valid; 60 by default
    - ``header_type``: the ``typ`` header; ``"JWT"`` by default

    A new JWT is signed for each try. Without ``client_secret`` and ``auth`` the client sends no other credentials. The
    grant is not meant for acting on behalf of users.

    Raises ``ConfigurationError``, also if joserfc is missing (``pip install requests_cc_token[jose]``).
    """

    __slots__ = ()

    grant_type = "urn:ietf:params:oauth:grant-type:jwt-bearer"
    fields = frozenset({"assertion"})
    makes_dated_proofs = True
    advice: ClassVar[Mapping[str, str]] = {
        "invalid_grant": "check issuer, subject, audience and key of the grant against what the token service expects, "
        "that it allows this grant for the client, and this machine's clock",
        "unauthorized_client": "allow the JWT bearer grant for this client at the token service",
        "unsupported_grant_type": "the token service does not offer the JWT bearer grant here",
    }

    @sealed
    def __init__(
        self,
        key: KeyLike,
        algorithm: str | None = None,
        key_id: str | None = None,
        audience: str | None = None,
        *,
        issuer: str | None = None,
        subject: str | None = None,
        claims: Mapping[str, Any] | None = None,
        password: SecretLike | None = None,
        lifetime: float = ASSERTION_LIFETIME,
        header_type: str = GRANT_HEADER_TYPE,
    ) -> None:
        what = "JwtBearerGrant"
        texts = {"audience": audience, "issuer": issuer, "header_type": header_type}
        if subject != "":
            texts["subject"] = subject
        for name, text in texts.items():
            if text is not None:
                checked_text(text, f"{what}: {name}")
        super().__init__(
            SigningKeySource(key, algorithm=algorithm, key_id=key_id, password=password, what=what),
            issuer,
            subject,
            audience,
            _checked_claims(claims, what),
            checked_seconds(lifetime, f"{what}: lifetime"),
            header_type,
        )

    def add_to(self, request: TokenRequest, client: Applicant, others: OtherTokens | None) -> None:
        """Sign a JWT and add it to the request. Raises ``TokenRequestError``."""
        issuer, subject = self._parties(client)
        key = self.key.get()
        claims = dated_claims(
            request, issuer=issuer, subject=subject, audience=self.audience, lifetime=self.lifetime
        )
        assertion = signed_assertion(key, self.header_type, {**claims, **json.loads(self.claims)})
        request.secrets.append(assertion)
        request.granted = key.fingerprint
        request.form["assertion"] = assertion

    def _parties(self, client: Applicant) -> tuple[str, str | None]:
        issuer = client.client_id if self.issuer is None else self.issuer
        return issuer, issuer if self.subject is None else self.subject or None

    def identity(self, client: Applicant) -> tuple[object, ...]:
        """The claims that were given, and where the key comes from."""
        return self._claimed(client, self.key.identity)

    def proof(self, client: Applicant, others: OtherTokens | None) -> tuple[object, ...]:
        """The claims that were given, and the thumbprint of the key."""
        return self._claimed(client, self.key.get().thumbprint)

    def _claimed(self, client: Applicant, key: str) -> tuple[object, ...]:
        return (*self._parties(client), self.audience, self.claims, key)

    def stamp(self) -> Hashable:
        """Changes when the key's file changes."""
        return self.key.stamp()


def _checked_claims(given: object, what: str) -> str:
    """Further claims as canonical JSON."""
    if given is None:
        return "{}"
    if not isinstance(given, Mapping):
        raise ConfigurationError(f"{what}: claims must be a mapping of names to values")
    for name, keyword in _OWN_CLAIMS.items():
        if name in given:
            raise ConfigurationError(f"{what}: the claim {name!r} is set by {keyword}=..., not by claims=")
    made = sorted(_MADE_CLAIMS.intersection(given))
    if made:
        raise ConfigurationError(f"{what}: the claim {made[0]!r} is made for each assertion, so leave it out")
    try:
        if not all(isinstance(name, str) for name in given):
            raise TypeError
        return json.dumps(dict(given), sort_keys=True, separators=(",", ":"), allow_nan=False)
    except (TypeError, ValueError, RecursionError):
        raise ConfigurationError(f"{what}: claims must be such that JSON can carry them") from None
