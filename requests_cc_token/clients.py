"""The token client: a registration, as a frozen value."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, NoReturn

from .authentication.certificate import CertificateLike, ClientCertificate, client_certificate
from .authentication.method import ClientAuthentication, ClientAuthLike, client_authentication
from .clock import is_duration
from .exceptions import ConfigurationError
from .parameters import (
    Texts,
    checked_audience,
    further_parameters,
    resources,
    scope_tokens,
)
from .parameters import authorization_details as canonical_details
from .secret_source import SecretLike, SecretSource, secret_source
from .tracebacks import sealed
from .urls import check_endpoint
from .values import Value

if TYPE_CHECKING:
    from .authentication.dpop import DPoPKey

#: Seconds that a token without ``expires_in`` is taken to live: the shortest lifetime in common use.
DEFAULT_LIFETIME = 300.0


class ClientCredentialsClient(Value, hidden=("client_secret", "parameters")):
    """One token client: who asks, where, how it authenticates, and for what (RFC 6749 section 4.4).

    Raises ``ConfigurationError`` for a registration that cannot work. Never shows its secret, and is not pickled.
    """

    __slots__ = (
        "name",
        "token_endpoint",
        "issuer",
        "client_id",
        "client_secret",
        "scope",
        "resource",
        "audience",
        "parameters",
        "authorization_details",
        "auth",
        "dpop",
        "cert",
        "revocation_endpoint",
        "introspection_endpoint",
        "allow_http",
        "default_lifetime",
        "strict_scope",
    )

    #: The name it is registered by.
    name: str
    #: The URL that token requests go to; None where ``issuer`` is to be asked.
    token_endpoint: str | None
    #: The issuer, from whose metadata the token endpoint is taken (RFC 8414).
    issuer: str | None
    client_id: str
    client_secret: SecretSource | None
    scope: tuple[str, ...]
    resource: tuple[str, ...]
    audience: str | None
    parameters: tuple[tuple[str, tuple[str, ...]], ...]
    authorization_details: str | None
    auth: ClientAuthentication
    #: The key that tokens are bound to (RFC 9449).
    dpop: DPoPKey | None
    #: The client certificate of token requests, and of the API calls of tokens bound to it (RFC 8705).
    cert: ClientCertificate | None
    #: Where tokens are revoked (RFC 7009) and looked up (RFC 7662), where the issuer's metadata does not say it.
    revocation_endpoint: str | None
    introspection_endpoint: str | None
    allow_http: bool
    #: Seconds that a token lives whose answer names no ``expires_in``.
    default_lifetime: float
    #: Whether a token with less than the requested scope is an error.
    strict_scope: bool

    @sealed
    def __init__(
        self,
        name: str = "",
        *,
        token_endpoint: str | None = None,
        issuer: str | None = None,
        client_id: str,
        client_secret: SecretLike | None = None,
        scope: Texts | None = None,
        resource: Texts | None = None,
        audience: str | None = None,
        parameters: Mapping[str, Texts] | None = None,
        authorization_details: Any = None,
        auth: ClientAuthLike = "client_secret_basic",
        dpop: DPoPKey | None = None,
        allow_http: bool = False,
        default_lifetime: float = DEFAULT_LIFETIME,
        strict_scope: bool = False,
        cert: CertificateLike | None = None,
        revocation_endpoint: str | None = None,
        introspection_endpoint: str | None = None,
    ) -> None:
        what = f"token client {name!r}"
        if token_endpoint is None and issuer is None:
            raise ConfigurationError(f"{what}: give its token_endpoint, or its issuer to find it by")
        if token_endpoint is not None:
            check_endpoint(token_endpoint, f"{what}: token_endpoint", allow_http=allow_http)
        if issuer is not None:
            check_endpoint(issuer, f"{what}: issuer", allow_http=allow_http)
        if revocation_endpoint is not None:
            check_endpoint(revocation_endpoint, f"{what}: revocation_endpoint", allow_http=allow_http)
        if introspection_endpoint is not None:
            check_endpoint(introspection_endpoint, f"{what}: introspection_endpoint", allow_http=allow_http)
        if not _is_printable(client_id):
            raise ConfigurationError(f"{what}: client_id must be printable text")
        if not _is_duration(default_lifetime):
            raise ConfigurationError(f"{what}: default_lifetime must be a number of seconds above 0")
        if not isinstance(strict_scope, bool):
            raise ConfigurationError(f"{what}: strict_scope must be true or false")
        put = object.__setattr__
        put(self, "name", name)
        put(self, "token_endpoint", token_endpoint)
        put(self, "issuer", issuer)
        put(self, "client_id", client_id)
        secret = None if client_secret is None else secret_source(client_secret, f"{what}: client_secret")
        put(self, "client_secret", secret)
        put(self, "scope", scope_tokens(scope, what))
        put(self, "resource", resources(resource, what))
        put(self, "audience", checked_audience(audience, what) or None)
        put(self, "parameters", further_parameters(parameters, what))
        put(self, "authorization_details", canonical_details(authorization_details, what))
        put(self, "auth", client_authentication(auth, name))
        put(self, "dpop", _dpop_key(dpop, what))
        put(self, "cert", self._certificate(cert, what))
        put(self, "revocation_endpoint", revocation_endpoint)
        put(self, "introspection_endpoint", introspection_endpoint)
        put(self, "allow_http", allow_http)
        put(self, "default_lifetime", float(default_lifetime))
        put(self, "strict_scope", strict_scope)
        self.auth.check(self)

    def _certificate(self, given: CertificateLike | None, what: str) -> ClientCertificate | None:
        """The certificate given here, else that of the authentication method."""
        of_method: ClientCertificate | None = getattr(self.auth, "certificate", None)
        if given is None:
            return of_method
        if of_method is not None:
            raise ConfigurationError(f"{what}: auth={self.auth!r} has the certificate, so leave cert out")
        return client_certificate(given, what)

    def named(self, name: str) -> ClientCredentialsClient:
        """The same registration under another name."""
        twin = object.__new__(ClientCredentialsClient)
        for attribute in self._fields:
            object.__setattr__(twin, attribute, getattr(self, attribute))
        object.__setattr__(twin, "name", name)
        return twin

    @property
    def is_fixed(self) -> bool:
        """Whether neither key nor certificate can change, so that each ``Demand`` for it is as the one before."""
        return self.cert is None and (self.dpop is None or self.dpop.is_fixed)

    # Each registration is itself: two that look alike may have different secrets.
    __eq__ = object.__eq__
    __hash__ = object.__hash__

    def __reduce__(self) -> NoReturn:
        raise TypeError(
            f"token client {self.name!r} holds a secret and is not pickled; register it on the other side too"
        )


def _dpop_key(given: object, what: str) -> DPoPKey | None:
    if given is None:
        return None
    from .authentication.dpop import DPoPKey

    if isinstance(given, DPoPKey):
        return given
    raise ConfigurationError(f"{what}: dpop must be a DPoPKey, DPoPKey.generate() for example")


def _is_duration(value: object) -> bool:
    return is_duration(value) and value != 0


def _is_printable(value: object) -> bool:
    return isinstance(value, str) and bool(value) and value.isprintable()
