"""Client assertions: signed with a key, MACed with the secret, or given by somebody else (RFC 7521, RFC 7523).

Signing is done by joserfc, in the extra ``jose``. An assertion is made for one try and never kept.
"""

from __future__ import annotations

import base64
import binascii
import json
import secrets
import string
from collections.abc import Callable, Hashable, Mapping
from typing import Any

from requests_cc_token.clock import checked_seconds
from requests_cc_token.exceptions import ConfigurationError, TokenRequestError
from requests_cc_token.keyword_arguments import checked_text
from requests_cc_token.secret_source import SecretLike, SecretSource, fingerprint, importable_name, secret_source
from requests_cc_token.tracebacks import sealed
from requests_cc_token.watched_files import UnusableFileError, WatchedFiles, is_path

from .method import Applicant, ClientAuthentication, TokenRequest, secret_of
from .signing_key import MAC_ALGORITHMS, KeyLike, SigningKey, SigningKeySource, check_algorithm, require_jose, signed

#: ``client_assertion_type`` of a JWT (RFC 7523 section 2.2).
JWT_BEARER = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"
#: That of a SPIFFE JWT-SVID (draft-ietf-oauth-spiffe-client-auth).
JWT_SPIFFE = "urn:ietf:params:oauth:client-assertion-type:jwt-spiffe"

#: Seconds that a signed assertion is valid: the way to the server and a clock that is a little off.
ASSERTION_LIFETIME = 60.0
#: The ``typ`` of an assertion (draft-ietf-oauth-rfc7523bis): no other kind of JWT can be passed off as one.
ASSERTION_HEADER_TYPE = "client-authentication+jwt"

#: What the parts of a JWT consist of (RFC 7515 section 2). The decoder of Python ignores anything else.
_BASE64URL = frozenset(f"{string.ascii_letters}{string.digits}-_")


class _SignedAssertion(ClientAuthentication):
    """What ``client_secret_jwt`` and ``private_key_jwt`` have in common."""

    makes_dated_proofs = True

    def __init__(self, audience: str | None, lifetime: float, header_type: str) -> None:
        what = type(self).__name__
        if audience is not None:
            checked_text(audience, f"{what}: audience")
        checked_text(header_type, f"{what}: header_type")
        #: The ``aud`` claim if it is not the client's issuer or token endpoint, else None.
        self.audience = audience
        #: How many seconds an assertion is valid.
        self.lifetime = checked_seconds(lifetime, f"{what}: lifetime")
        self.header_type = header_type

    @property
    def advice(self) -> str | None:
        """What servers may want otherwise, as far as it is not so already."""
        older = []
        if self.header_type == ASSERTION_HEADER_TYPE:
            older.append('header_type="JWT"')
        if self.audience is None:
            older.append('audience="token_endpoint" of the signing method (in a file assertion_audience)')
        return f"a server that knows older assertions only may want {' or '.join(older)}" if older else None

    def claims(self, request: TokenRequest, client_id: str) -> dict[str, Any]:
        """The claims of an assertion for client authentication (RFC 7523 section 3)."""
        return dated_claims(
            request, issuer=client_id, subject=client_id, audience=self.audience, lifetime=self.lifetime
        )


def dated_claims(
    request: TokenRequest, *, issuer: str, subject: str | None, audience: str | None, lifetime: float
) -> dict[str, Any]:
    """The claims of RFC 7523 section 3, new for each try.

    Without ``audience`` the assertion is for the issuer of the tokens or, where none is known, the token endpoint.
    """
    issued = int(request.now)
    if audience is None:
        audience = request.audience
    elif audience == "token_endpoint":
        audience = request.url
    return {
        "iss": issuer,
        **({} if subject is None else {"sub": subject}),
        "aud": audience,
        "jti": secrets.token_urlsafe(24),
        "iat": issued,
        "nbf": issued,
        # Whole seconds, and one at least.
        "exp": int(request.valid_from) + max(1, int(lifetime)),
    }


def signed_assertion(key: SigningKey, header_type: str, claims: Mapping[str, Any]) -> str:
    """An assertion signed with the key, which the header names as far as it has a name."""
    header = {"typ": header_type}
    if key.key_id is not None:
        header["kid"] = key.key_id
    if key.certificate is not None:
        header["x5t#S256"] = key.certificate
    return key.sign(header, claims)


def _present(request: TokenRequest, client: Applicant, assertion: str, kind: str, proof: bytes) -> None:
    request.secrets.append(assertion)
    request.credential = proof
    request.form["client_id"] = client.client_id
    request.form["client_assertion_type"] = kind
    request.form["client_assertion"] = assertion


class ClientSecretJwt(_SignedAssertion):
    """Authenticates by a JWT with an HMAC of the secret, ``client_secret_jwt`` (OpenID Connect Core section 9).

    - ``algorithm``: ``"HS256"``, ``"HS384"`` or ``"HS512"``; the secret must have at least as many bits (RFC 7518
      section 3.2)
    - ``audience``: the ``aud`` claim; by default the issuer of the token client, or its token endpoint if it has no
      issuer. ``"token_endpoint"`` means the URL of the token endpoint
    - ``lifetime``: how many seconds the JWT is valid; 60 by default
    - ``header_type``: the ``typ`` header; ``"JWT"`` for servers that do not accept the default,
      ``"client-authentication+jwt"``

    A new JWT is made for each try. Raises ``ConfigurationError``, also if joserfc is missing
    (``pip install requests_cc_token[jose]``).
    """

    method = "client_secret_jwt"
    needs_secret = True

    def __init__(
        self,
        algorithm: str = "HS256",
        *,
        audience: str | None = None,
        lifetime: float = ASSERTION_LIFETIME,
        header_type: str = ASSERTION_HEADER_TYPE,
    ) -> None:
        require_jose("ClientSecretJwt")
        check_algorithm(algorithm, "ClientSecretJwt", MAC_ALGORITHMS)
        self._algorithm = algorithm
        super().__init__(audience, lifetime, header_type)

    @property
    def algorithm(self) -> str:
        """The JWS algorithm."""
        return self._algorithm

    def __repr__(self) -> str:
        return f"ClientSecretJwt(algorithm={self._algorithm!r})"

    def authenticate(self, request: TokenRequest, client: Applicant) -> None:
        """Add the assertion to the request. Raises ``TokenRequestError`` if it cannot be made or read."""
        secret = secret_of(client).read()
        request.secrets.append(secret)
        header = {"alg": self.algorithm, "typ": self.header_type}
        assertion = _maced(secret, header, self.claims(request, client.client_id))
        _present(request, client, assertion, JWT_BEARER, fingerprint(secret))


def _maced(secret: str, header: Mapping[str, Any], claims: Mapping[str, Any]) -> str:
    from joserfc.jwk import OctKey

    # As a JWK, so that a secret that looks like PEM is still taken as what it is: bytes.
    octets = base64.urlsafe_b64encode(secret.encode()).rstrip(b"=").decode("ascii")
    key: dict[str, str | list[str]] = {"kty": "oct", "k": octets}
    return signed(OctKey.import_key(key), header, claims)


class PrivateKeyJwt(_SignedAssertion):
    """Authenticates by a JWT that is signed with a private key, ``private_key_jwt`` (RFC 7523 section 2.2).

    - ``key``: PEM as text or bytes, a JWK as a mapping or JSON; or ``{"env": name}`` or ``{"file": path}`` with one of
      these in it. A file is read again when it changes. If the PEM contains the key's certificate too, the JWT's
      header names it (``x5t#S256``), as Entra requires
    - ``algorithm``: ``RS256`` to ``RS512``, ``PS256`` to ``PS512``, ``ES256`` to ``ES512``, ``EdDSA`` or ``Ed25519``;
      by default what fits the key, ``RS256`` for RSA
    - ``key_id``: the ``kid`` header, by which the token service finds the public key; that of a JWK by default
    - ``audience``: the ``aud`` claim; by default the issuer of the token client, or its token endpoint if it has no
      issuer. ``"token_endpoint"`` means the URL of the token endpoint, which older servers require
    - ``password``: for encrypted PEM, given as a ``client_secret`` is
    - ``lifetime``: how many seconds the JWT is valid; 60 by default
    - ``header_type``: the ``typ`` header; ``"JWT"`` for servers that do not accept the default,
      ``"client-authentication+jwt"``

    A new JWT is signed for each try. Raises ``ConfigurationError``, also if joserfc is missing
    (``pip install requests_cc_token[jose]``).
    """

    method = "private_key_jwt"

    @sealed
    def __init__(
        self,
        key: KeyLike,
        algorithm: str | None = None,
        key_id: str | None = None,
        audience: str | None = None,
        *,
        password: SecretLike | None = None,
        lifetime: float = ASSERTION_LIFETIME,
        header_type: str = ASSERTION_HEADER_TYPE,
    ) -> None:
        self._key = SigningKeySource(
            key, algorithm=algorithm, key_id=key_id, password=password, what="PrivateKeyJwt"
        )
        self._names_its_key = True
        super().__init__(audience, lifetime, header_type)

    @property
    def algorithm(self) -> str:
        """The JWS algorithm. Raises ``TokenRequestError`` if it depends on the key, and its file cannot be read."""
        return self._key.algorithm

    @property
    def advice(self) -> str | None:
        """As for all signed assertions, and whether the key's name was missing."""
        naming = (
            "a server that finds keys by a name or certificate wants key_id=..., or the certificate in the key's PEM"
        )
        return "; ".join(filter(None, [None if self._names_its_key else naming, super().advice])) or None

    def __repr__(self) -> str:
        return f"PrivateKeyJwt(algorithm={self._key.told_algorithm!r})"

    def authenticate(self, request: TokenRequest, client: Applicant) -> None:
        """Add the assertion to the request. Raises ``TokenRequestError`` if it cannot be made or read."""
        key = self._key.get()
        self._names_its_key = key.key_id is not None or key.certificate is not None
        assertion = signed_assertion(key, self.header_type, self.claims(request, client.client_id))
        _present(request, client, assertion, JWT_BEARER, key.fingerprint)

    def identity(self, client: Applicant) -> tuple[str, ...]:
        """The method, and the key or where it comes from."""
        return self.method, self._key.identity

    def proof(self, client: Applicant, hashed: Callable[[str], str]) -> tuple[str, ...]:
        """The method and the thumbprint of the key."""
        return self.method, self._key.get().thumbprint

    def stamp(self) -> Hashable:
        """Changes when the key's file changes."""
        return self._key.stamp()


class ClientAssertion(ClientAuthentication):
    """Authenticates by an assertion that something else issues, such as a projected Kubernetes token (RFC 7523).

    - ``source``: a callable that returns the assertion, or ``{"file": path}``. It is called, or the file read, for each
      try. While the file is empty or half written, the last assertion is used until it expires
    - ``type``: the ``client_assertion_type``, a URI; by default that of a JWT (RFC 7523 section 2.2). For a SPIFFE
      JWT-SVID it is ``"urn:ietf:params:oauth:client-assertion-type:jwt-spiffe"``

    Raises ``ConfigurationError``.
    """

    method = "client_assertion"

    def __init__(
        self,
        source: Callable[[], str] | Mapping[str, Any],
        type: str = JWT_BEARER,  # noqa: A002 - what the protocol's own parameter is called
    ) -> None:
        checked_text(type, "ClientAssertion: type")
        if ":" not in type:
            raise ConfigurationError("ClientAssertion: type must be a URI, such as that of RFC 7523 section 2.2")
        self.type = type
        self._function = source
        self._files: WatchedFiles[str] | None = None
        self._source: SecretSource | None = None
        if isinstance(source, Mapping) and set(source) == {"file"} and is_path(source["file"]):
            self._files = WatchedFiles([source["file"]], self._checked_file, "assertion file")
        elif callable(source) or isinstance(source, SecretSource):
            self._source = secret_source(source, "ClientAssertion: source")
        else:
            raise ConfigurationError(
                'ClientAssertion: source must be a callable or {"file": path}; an assertion expires, '
                "so a fixed one is of no use"
            )

    def authenticate(self, request: TokenRequest, client: Applicant) -> None:
        """Add the assertion to the request. Raises ``TokenRequestError`` if it cannot be made or read."""
        assertion = self._read(request.now)
        _present(request, client, assertion, self.type, fingerprint(assertion))

    def _read(self, now: float) -> str:
        if self._source is not None:
            assertion = self._source.read().strip()
            problem = _problem(assertion, self.type)
            where = self._source.description
        else:
            assert self._files is not None
            assertion = self._files.get()
            where = f"the file {str(self._files.paths[0])!r}"
            expiry = _expiry(assertion)
            problem = "has expired and nobody renewed it" if expiry is not None and expiry <= now else None
        if problem is not None:
            raise TokenRequestError(f"the client assertion from {where} {problem}")
        return assertion

    def _checked_file(self, contents: tuple[bytes, ...]) -> str:
        try:
            assertion = contents[0].decode("utf-8").strip()
        except UnicodeError:
            raise UnusableFileError("it is not UTF-8 text") from None
        problem = _problem(assertion, self.type)
        if problem is not None:
            raise UnusableFileError(f"it {problem}")
        return assertion

    def identity(self, client: Applicant) -> tuple[str, ...]:
        """The method, the type, and where the assertions come from: each one is different."""
        if self._source is not None:
            return self.method, self.type, self._source.identity
        assert self._files is not None
        return self.method, self.type, f"file {self._files.paths[0]}"

    def proof(self, client: Applicant, hashed: Callable[[str], str]) -> tuple[str, ...]:
        """As ``identity``: processes share tokens if they read the same path or call the same importable function."""
        name = importable_name(self._function)
        return self.identity(client) if name is None else (self.method, self.type, name)

    def stamp(self) -> Hashable:
        """Changes when the file changes."""
        return self._files.stamp() if self._files is not None else None

    def __repr__(self) -> str:
        return f"ClientAssertion(type={self.type!r})"


def _problem(assertion: str, kind: str) -> str | None:
    """What is wrong with an assertion by the look of it, or None."""
    if not assertion:
        return "is empty"
    if kind in (JWT_BEARER, JWT_SPIFFE) and unverified_claims(assertion) is None:
        return "is no signed JWT"
    return None


def unverified_claims(jwt: str) -> dict[str, Any] | None:
    """The claims of a JWT, without looking whether its signature is right; None for any other text."""
    parts = jwt.split(".")
    if len(parts) != 3 or not all(part and _BASE64URL.issuperset(part) for part in parts):
        return None
    try:
        claims = json.loads(base64.urlsafe_b64decode(parts[1] + "=" * (-len(parts[1]) % 4)))
    except (ValueError, binascii.Error, RecursionError):
        return None
    return claims if isinstance(claims, dict) else None


def _expiry(assertion: str) -> float | None:
    exp = (unverified_claims(assertion) or {}).get("exp")
    # As it is: a number of hundreds of digits is no float, and can be compared all the same.
    return exp if isinstance(exp, (int, float)) and not isinstance(exp, bool) else None

