"""The token client: a registration, as a frozen value."""

from __future__ import annotations

import dataclasses
import secrets
from collections.abc import Callable, Mapping
from typing import Any, NoReturn, TypedDict

import requests

from .authentication.by_name import ClientAuthLike, DPoPLike, client_authentication, dpop_key
from .authentication.certificate import CertificateLike, ClientCertificate, client_certificate
from .authentication.dpop import DPoPKey
from .authentication.method import ClientAuthentication
from .authentication.no_authentication import NoClientAuthentication
from .clock import checked_seconds
from .exceptions import ConfigurationError
from .grants.by_name import GrantLike, grant_of
from .grants.grant import Grant
from .keyword_arguments import Unpack, checked_flag, checked_text, refuse_unknown
from .parameters import (
    Audience,
    Texts,
    authorization_details,
    checked_audience,
    checked_headers,
    further_parameters,
    resources,
    scope_tokens,
)
from .secret_source import SecretsLike, SecretSource, client_secret
from .tracebacks import sealed
from .urls import check_endpoint, shown_url

#: Seconds that a token without ``expires_in`` is taken to live: the shortest lifetime in common use.
DEFAULT_LIFETIME = 300.0

#: Called with each token request before it is sent; changes it, or returns another one.
CustomizeRequest = Callable[[requests.PreparedRequest], Any]
#: Called with the answer to a token request; returns its members as RFC 6749 section 5.1 names them.
ReadAnswer = Callable[[requests.Response], Mapping[str, Any]]


class _NeededOptions(TypedDict):
    client_id: str


class ClientOptions(_NeededOptions, total=False):
    """The keywords of ``AccessTokenManagement.add_client`` and of ``ClientCredentialsClient``."""

    token_endpoint: str | None
    issuer: str | None
    client_secret: SecretsLike | None
    scope: Texts | None
    resource: Texts | None
    allow_any_resource: bool
    audience: Texts | None
    parameters: Mapping[str, Texts] | None
    authorization_details: Any
    auth: ClientAuthLike
    dpop: DPoPLike | None
    cert: CertificateLike | None
    allow_http: bool
    default_lifetime: float
    strict_scope: bool
    token_type: str | None
    grant_type: str | None
    grant: GrantLike | None
    headers: Mapping[str, str] | None
    customize_request: CustomizeRequest | None
    read_answer: ReadAnswer | None
    revocation_endpoint: str | None
    introspection_endpoint: str | None


@dataclasses.dataclass(frozen=True, slots=True, eq=False, repr=False, kw_only=True)
class _Registration:
    """The fields of a token client, each in the one form in which it is used."""

    #: The name it is registered by.
    name: str
    #: The URL that token requests go to; None where ``issuer`` is to be asked.
    token_endpoint: str | None = None
    #: The issuer, from whose metadata the token endpoint is taken (RFC 8414).
    issuer: str | None = None
    client_id: str
    client_secret: SecretSource | None = dataclasses.field(default=None, repr=False)
    scope: tuple[str, ...] = ()
    resource: tuple[str, ...] = ()
    #: Whether ``resource`` may be any text, where RFC 8707 wants a URI.
    allow_any_resource: bool = False
    audience: Audience = None
    #: Further form fields, sorted by name.
    parameters: tuple[tuple[str, tuple[str, ...]], ...] = dataclasses.field(default=(), repr=False)
    #: Rich authorization details as canonical JSON (RFC 9396).
    authorization_details: str | None = None
    auth: ClientAuthentication
    #: The key that tokens are bound to (RFC 9449).
    dpop: DPoPKey | None = None
    #: The client certificate of token requests, and of the API calls of tokens bound to it (RFC 8705).
    cert: ClientCertificate | None = None
    allow_http: bool = False
    #: Seconds that a token lives whose answer names no ``expires_in``.
    default_lifetime: float = DEFAULT_LIFETIME
    #: Whether a token with less than the requested scope is an error.
    strict_scope: bool = False
    #: What tokens are whose answer does not say it, or says it in words of its own: ``"Bearer"``, or None.
    token_type: str | None = None
    grant_type: str = "client_credentials"
    #: What tokens are asked for by beside the client's own credentials.
    grant: Grant | None = None
    #: Headers of token requests beside the usual ones.
    headers: tuple[tuple[str, str], ...] = dataclasses.field(default=(), repr=False)
    customize_request: CustomizeRequest | None = None
    read_answer: ReadAnswer | None = None
    #: Where tokens are revoked (RFC 7009) and looked up (RFC 7662), where the issuer's metadata does not say it.
    revocation_endpoint: str | None = None
    introspection_endpoint: str | None = None
    #: What tells this registration from all others, where functions of its own have a say in what comes.
    mark: str = dataclasses.field(init=False, repr=False, default_factory=lambda: secrets.token_hex(16))


_ADDRESSES = ("token_endpoint", "issuer", "revocation_endpoint", "introspection_endpoint")


class ClientCredentialsClient(_Registration):
    """A token client's registration: its token service, its credentials and what it requests. Immutable.

    ``name`` is the name it is registered by; the keywords are those of ``AccessTokenManagement.add_client``, which
    explains them. Return one from a resolver (``AccessTokenManagement.add_client_resolver``). Its ``repr`` does not
    show the secret, and it cannot be pickled. See RFC 6749 sections 4.4 and 4.5.

    Raises ``ConfigurationError`` for a registration that cannot work, and ``TypeError`` for an unknown keyword.
    """

    __slots__ = ()

    @sealed
    def __init__(self, name: str = "", **options: Unpack[ClientOptions]) -> None:
        what = f"token client {name!r}"
        refuse_unknown(options, OPTIONS, what)
        if "client_id" not in options:
            raise TypeError(f"{what} lacks the keyword 'client_id'")
        given: dict[str, Any] = {"auth": _usual_auth(options), "allow_http": False, **options}
        fields = _checked(given, what)
        auth = fields["auth"] = client_authentication(given["auth"], what)
        fields["cert"] = _certificate(given.get("cert"), auth, what)
        if fields.get("token_type") is not None and fields.get("dpop") is not None:
            raise ConfigurationError(f"{what}: tokens for dpop=... name their type themselves, so leave token_type out")
        super().__init__(name=name, **fields)
        auth.check(self)
        if self.grant is None and isinstance(auth, NoClientAuthentication):
            raise ConfigurationError(
                f"{what}: without a grant of its own a client has to authenticate (RFC 6749 section 4.4)"
            )

    def named(self, name: str) -> ClientCredentialsClient:
        """A copy of this registration with another name."""
        return dataclasses.replace(self, name=name)

    @property
    def is_fixed(self) -> bool:
        """Whether its DPoP key and certificate cannot change while the program runs, as those in files can."""
        return self.cert is None and (self.dpop is None or self.dpop.is_fixed)

    @property
    def makes_dated_proofs(self) -> bool:
        """Whether its token requests contain signed timestamps, so that a wrong clock makes them fail."""
        dated_grant = self.grant is not None and self.grant.makes_dated_proofs
        return self.auth.makes_dated_proofs or dated_grant or self.dpop is not None

    def __repr__(self) -> str:
        shown = {field.name: getattr(self, field.name) for field in dataclasses.fields(self) if field.repr}
        # A query may hold a key.
        shown.update({name: shown_url(shown[name]) for name in _ADDRESSES if shown[name] is not None})
        return f"{type(self).__name__}({', '.join(f'{name}={value!r}' for name, value in shown.items())})"

    def __reduce__(self) -> NoReturn:
        raise TypeError(
            f"token client {self.name!r} holds a secret and is not pickled; register it on the other side too"
        )


#: The names of the keywords.
OPTIONS = frozenset(field.name for field in dataclasses.fields(_Registration) if field.init) - {"name"}


def _usual_auth(options: ClientOptions) -> ClientAuthLike:
    """How a client authenticates that does not say it: by its secret; not at all where a grant needs none."""
    if options.get("grant") is not None and options.get("client_secret") is None:
        return NoClientAuthentication()
    return "client_secret_basic"


def _checked(given: Mapping[str, Any], what: str) -> dict[str, Any]:
    """What was given of most options, checked, each in the form in which it is used."""
    allow_http = given["allow_http"]
    if given.get("token_endpoint") is None and given.get("issuer") is None:
        raise ConfigurationError(f"{what}: give its token_endpoint, or its issuer to find it by")
    for name in _ADDRESSES:
        if given.get(name) is not None:
            check_endpoint(given[name], f"{what}: {name}", allow_http=allow_http)
    for name in ("allow_http", "allow_any_resource", "strict_scope"):
        checked_flag(given.get(name, False), f"{what}: {name}")
    for name in ("customize_request", "read_answer"):
        if given.get(name) is not None and not callable(given[name]):
            raise ConfigurationError(f"{what}: {name} must be a function")
    checked_text(given["client_id"], f"{what}: client_id")
    secret = given.get("client_secret")
    grant = grant_of(given.get("grant"), what)
    parameters = further_parameters(given.get("parameters"), what)
    if grant is not None and (twice := sorted(grant.fields.intersection(dict(parameters)))):
        raise ConfigurationError(f"{what}: the parameter {twice[0]!r} is set by grant=..., not by parameters=")
    return {
        **given,
        "client_secret": None if secret is None else client_secret(secret, f"{what}: client_secret"),
        "scope": scope_tokens(given.get("scope"), what),
        "resource": resources(given.get("resource"), what, any_text=given.get("allow_any_resource", False)),
        "audience": checked_audience(
            given.get("audience"), what, several=grant is not None and grant.takes_several_audiences
        )
        or None,
        "parameters": parameters,
        "authorization_details": authorization_details(given.get("authorization_details"), what),
        "dpop": None if given.get("dpop") is None else dpop_key(given["dpop"], what),
        "default_lifetime": checked_seconds(
            given.get("default_lifetime", DEFAULT_LIFETIME), f"{what}: default_lifetime"
        ),
        "token_type": _token_type(given.get("token_type"), what),
        "grant_type": _grant_type(given.get("grant_type"), grant, what),
        "grant": grant,
        "headers": checked_headers(given.get("headers"), what),
    }


def _certificate(given: Any, auth: ClientAuthentication, what: str) -> ClientCertificate | None:
    """The certificate given for the client, else that of its authentication method."""
    of_method: ClientCertificate | None = getattr(auth, "certificate", None)
    if given is None or given is of_method:
        return of_method
    if of_method is not None:
        raise ConfigurationError(f"{what}: auth={auth!r} has the certificate, so leave cert out")
    return client_certificate(given, what)


def _token_type(given: object, what: str) -> str | None:
    if given is None or (isinstance(given, str) and given.lower() == "bearer"):
        return None if given is None else "Bearer"
    raise ConfigurationError(f'{what}: token_type must be "Bearer" or None; no other type can be assumed')


def _grant_type(given: object, grant: Grant | None, what: str) -> str:
    """The name of the grant: its own, else what a vendor calls the client credentials grant."""
    usual = "client_credentials" if grant is None else grant.grant_type
    if given is None or given == usual:
        return usual
    if not (isinstance(given, str) and given and all("!" <= c <= "~" for c in given)):
        raise ConfigurationError(f"{what}: grant_type must be a name or URI without blanks (RFC 6749 section 4.5)")
    if grant is not None:
        raise ConfigurationError(f"{what}: grant=... names its grant_type itself, so leave grant_type out")
    return given
