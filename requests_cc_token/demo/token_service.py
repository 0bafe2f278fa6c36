"""A real OAuth 2.0 token service on loopback: Authlib on Flask, clients and tokens in memory.

It is strict where the RFCs let a server be strict, so that it judges a client rather than flatters it: credentials
in the URL, a parameter sent twice, or two ways of authentication in one request are refused.

    with TokenService(token_lifetime=300) as tokens:
        tokens.add_client("worker", "secret", scopes="api")
        requests.post(tokens.token_endpoint, auth=("worker", "secret"), data={"grant_type": "client_credentials"})
"""

# Authlib has no type hints, and its way is to be subclassed.
# mypy: disallow-subclassing-any=False

from __future__ import annotations

import base64
import binascii
import hmac
import secrets
import threading
import urllib.parse
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

import flask
from authlib.integrations.flask_oauth2 import AuthorizationServer
from authlib.oauth2.rfc6749 import ClientMixin, TokenMixin
from authlib.oauth2.rfc6749.grants import ClientCredentialsGrant
from authlib.oauth2.rfc6750 import BearerTokenGenerator
from authlib.oauth2.rfc7009 import RevocationEndpoint
from authlib.oauth2.rfc7662 import IntrospectionEndpoint
from werkzeug.datastructures import Headers, MultiDict

from requests_cc_token.clock import Clock, SystemClock
from requests_cc_token.testing.steering import SteeredService

from .loopback import LoopbackServer

if TYPE_CHECKING:
    import ssl
    from collections.abc import Iterable

    from _typeshed.wsgi import StartResponse, WSGIEnvironment

#: Seconds that a token lives unless the service or its client says otherwise; what most services do.
DEFAULT_TOKEN_LIFETIME = 3600

#: Client authentication methods, in the order of the metadata document.
AUTH_METHODS = ("client_secret_basic", "client_secret_post")

#: Parameters that are never recorded.
_SECRET_PARAMETERS = frozenset({"client_secret", "client_assertion", "token"})


class RegisteredClient(ClientMixin):
    """A client as the token service knows it. Every attribute may be changed while the service runs."""

    def __init__(
        self,
        client_id: str,
        client_secret: str,
        scopes: Iterable[str],
        auth_methods: Iterable[str],
        token_lifetime: int | None,
        basic_encoding: Literal["form", "raw"],
    ) -> None:
        self.client_id = client_id
        self.client_secret = client_secret
        self.scopes = tuple(scopes)
        self.auth_methods = tuple(auth_methods)
        #: Seconds, or None for the service's own.
        self.token_lifetime = token_lifetime
        #: ``"form"`` as RFC 6749 section 2.3.1 has it, or ``"raw"`` as services do that never read it.
        self.basic_encoding = basic_encoding

    def __repr__(self) -> str:
        return f"RegisteredClient({self.client_id!r}, scopes={self.scopes})"

    # What Authlib asks of a client:

    def check_client_secret(self, client_secret: str) -> bool:
        """Tell whether the secret is right."""
        return hmac.compare_digest(self.client_secret.encode(), client_secret.encode())

    def check_endpoint_auth_method(self, method: str, _endpoint: str) -> bool:
        """Tell whether it may authenticate so."""
        return method in self.auth_methods

    def check_grant_type(self, grant_type: str) -> bool:
        """Tell whether it may use the grant."""
        return grant_type == "client_credentials"

    def get_allowed_scope(self, scope: str | None) -> str | None:
        """All that it may have where it asks for nothing; None, which is refused, where it asks for more."""
        wanted = (scope or "").split()
        if not set(wanted) <= set(self.scopes):
            return None
        return " ".join(wanted or self.scopes)


@dataclass
class IssuedToken(TokenMixin):
    """A token that was issued, with its claims."""

    value: str = field(repr=False)
    client_id: str
    scope: str
    audience: tuple[str, ...]
    #: Seconds since the epoch.
    issued_at: float
    #: Seconds; None for a token that does not expire.
    lifetime: float | None
    issuer: str
    _clock: Clock = field(repr=False)
    _issued: float = field(repr=False)
    revoked: bool = False

    def claims(self) -> dict[str, Any]:
        """The claims, named as RFC 7662 section 2.2 names them."""
        claims: dict[str, Any] = {
            "iss": self.issuer,
            "iat": int(self.issued_at),
            "nbf": int(self.issued_at),
            "client_id": self.client_id,
            "sub": self.client_id,
            "scope": self.scope,
            "token_type": "Bearer",
        }
        if self.lifetime is not None:
            claims["exp"] = int(self.issued_at + self.lifetime)
        if self.audience:
            claims["aud"] = list(self.audience)
        return claims

    # What Authlib asks of a token:

    def check_client(self, client: RegisteredClient) -> bool:
        """Tell whether it was issued to the client."""
        return client.client_id == self.client_id

    def get_scope(self) -> str:
        """Give the scope, space-separated."""
        return self.scope

    def is_expired(self) -> bool:
        """Tell whether its lifetime is over."""
        return self.lifetime is not None and self._clock.monotonic() - self._issued >= self.lifetime

    def is_revoked(self) -> bool:
        """Tell whether it was revoked."""
        return self.revoked


@dataclass(frozen=True)
class TokenRequest:
    """A token request as it arrived, without its secrets."""

    #: As presented, whether or not it was right; None where there was none.
    client_id: str | None
    #: How the client authenticates by the look of it: an IANA name, ``"none"``, or several with ``+`` between.
    auth_method: str
    #: The form, without secret parameters; ``form["scope"]``, ``form.getlist("resource")``.
    form: MultiDict[str, str]
    #: The query of the token endpoint, likewise.
    query: MultiDict[str, str]
    #: Without ``Authorization``.
    headers: Headers


class TokenService(SteeredService[TokenRequest], LoopbackServer):
    """The token service. It answers from the moment it is made until `close`.

    ``token_lifetime`` is in seconds, None for tokens that do not expire (``expires_in`` is then left out). It is an
    attribute and may be changed while the service runs, as may each client's own. ``clock`` decides when a token
    has expired. ``requests`` holds each request to the token endpoint. See `testing.steering` for
    `hold` and `fail_next`, `testing.loopback` for `stop` and `start`.

    Raises ``ImportError`` at import where Flask or Authlib is missing: ``pip install requests_cc_token[demo]``.
    """

    def __init__(
        self,
        *,
        token_lifetime: int | None = DEFAULT_TOKEN_LIFETIME,
        clock: Clock | None = None,
        port: int = 0,
        hostname: str = "127.0.0.1",
        ssl_context: ssl.SSLContext | None = None,
    ) -> None:
        SteeredService.__init__(self)
        self.token_lifetime = token_lifetime
        self._clock = clock or SystemClock()
        self._clients: dict[str, RegisteredClient] = {}
        self._tokens: dict[str, IssuedToken] = {}
        self._tokens_lock = threading.Lock()
        self._authorization = self._make_authorization_server()
        LoopbackServer.__init__(self, self._serve, port=port, hostname=hostname, ssl_context=ssl_context)
        #: The issuer identifier (RFC 8414 section 2).
        self.issuer = self.origin
        self.token_endpoint = f"{self.origin}/connect/token"
        self.revocation_endpoint = f"{self.origin}/connect/revocation"
        self.introspection_endpoint = f"{self.origin}/connect/introspect"
        self.metadata_url = f"{self.origin}/.well-known/oauth-authorization-server"

    def close(self) -> None:
        """Stop, and let go whoever waits at the gate."""
        self.leave()
        super().close()

    # Clients

    def add_client(
        self,
        client_id: str,
        client_secret: str,
        *,
        scopes: str | Iterable[str] = (),
        auth_methods: Iterable[str] = AUTH_METHODS,
        token_lifetime: int | None = None,
        basic_encoding: Literal["form", "raw"] = "form",
    ) -> RegisteredClient:
        """Register a client, or replace the one of that id.

        ``scopes`` are those that it may ask for, as a string or an iterable; without a ``scope`` parameter it gets
        all of them. ``token_lifetime`` in seconds goes before the service's own.
        """
        scopes = scopes.split() if isinstance(scopes, str) else scopes
        client = RegisteredClient(client_id, client_secret, scopes, auth_methods, token_lifetime, basic_encoding)
        self._clients[client_id] = client
        return client

    def remove_client(self, client_id: str) -> None:
        """Forget a client; its tokens stay valid."""
        del self._clients[client_id]

    # Tokens

    @property
    def tokens(self) -> list[IssuedToken]:
        """Every token issued, oldest first."""
        with self._tokens_lock:
            return list(self._tokens.values())

    def find_token(self, value: str) -> IssuedToken | None:
        """The token of that value while it is valid, for resource servers in this process."""
        token = self._tokens.get(value)
        return None if token is None or token.is_expired() or token.is_revoked() else token

    def revoke_all(self) -> None:
        """Revoke every token issued so far."""
        for token in self.tokens:
            token.revoked = True

    # The application

    def _serve(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        environ[_SERVICE] = self
        return _app(environ, start_response)

    def _metadata(self) -> dict[str, Any]:
        """RFC 8414 section 2."""
        return {
            "issuer": self.issuer,
            "token_endpoint": self.token_endpoint,
            "token_endpoint_auth_methods_supported": list(AUTH_METHODS),
            "grant_types_supported": ["client_credentials"],
            "response_types_supported": [],
            "scopes_supported": sorted({scope for client in self._clients.values() for scope in client.scopes}),
            "revocation_endpoint": self.revocation_endpoint,
            "revocation_endpoint_auth_methods_supported": list(AUTH_METHODS),
            "introspection_endpoint": self.introspection_endpoint,
            "introspection_endpoint_auth_methods_supported": list(AUTH_METHODS),
        }

    def _token(self) -> flask.Response:
        request = flask.request
        client_id, methods = _presented(request, self._clients)
        self._record(
            TokenRequest(
                client_id=client_id,
                auth_method="+".join(methods) or "none",
                form=MultiDict((k, v) for k, v in request.form.items(multi=True) if k not in _SECRET_PARAMETERS),
                query=MultiDict((k, v) for k, v in request.args.items(multi=True) if k not in _SECRET_PARAMETERS),
                headers=Headers((k, v) for k, v in request.headers.items() if k != "Authorization"),
            )
        )
        scripted = self._scripted_answer()
        if scripted is not None:
            return flask.Response(scripted.body, scripted.status, list(scripted.headers))
        refusal = _refusal(request, methods)
        if refusal is not None:
            answer = flask.jsonify(error="invalid_request", error_description=refusal)
            answer.status_code = 400
            answer.headers["Cache-Control"] = "no-store"
            return answer
        response: flask.Response = self._authorization.create_token_response()
        return response

    # Authlib

    def _make_authorization_server(self) -> Any:
        def query_client(client_id: str) -> RegisteredClient | None:
            return self._clients.get(client_id)

        def save_token(token: dict[str, Any], request: Any) -> None:
            now = self._clock.monotonic()
            form = flask.request.form
            issued = IssuedToken(
                value=token["access_token"],
                client_id=request.client.client_id,
                scope=token.get("scope", ""),
                audience=(*form.getlist("resource"), *form.getlist("audience")),
                issued_at=self._clock.time(),
                lifetime=token.get("expires_in"),
                issuer=self.issuer,
                _clock=self._clock,
                _issued=now,
            )
            with self._tokens_lock:
                self._tokens[issued.value] = issued

        def lifetime(client: RegisteredClient, _grant_type: str) -> int | None:
            return self.token_lifetime if client.token_lifetime is None else client.token_lifetime

        server = AuthorizationServer(_app, query_client, save_token)
        server.register_token_generator(
            "default", BearerTokenGenerator(lambda **_: secrets.token_urlsafe(32), expires_generator=lifetime)
        )
        server.register_client_auth_method("client_secret_basic", _authenticate_basic)
        server.register_grant(_ClientCredentials)
        server.register_endpoint(_revocation_endpoint(self))
        server.register_endpoint(_introspection_endpoint(self))
        return server


# The application: one for all services of the process, for its routes take longer to make than all else of a service.
# Whose request it is, the service's `_serve` has noted in the WSGI environment.

_SERVICE = "requests_cc_token.token_service"

_app = flask.Flask(__name__, static_folder=None)


def _service() -> TokenService:
    service: TokenService = flask.request.environ[_SERVICE]
    return service


@_app.post("/connect/token")
def _token() -> flask.Response:
    return _service()._token()


@_app.post("/connect/revocation")
def _revocation() -> flask.Response:
    response: flask.Response = _service()._authorization.create_endpoint_response("revocation")
    return response


@_app.post("/connect/introspect")
def _introspect() -> flask.Response:
    response: flask.Response = _service()._authorization.create_endpoint_response("introspection")
    return response


@_app.get("/.well-known/oauth-authorization-server")
def _metadata() -> flask.Response:
    return flask.jsonify(_service()._metadata())


class _ClientCredentials(ClientCredentialsGrant):
    TOKEN_ENDPOINT_AUTH_METHODS = AUTH_METHODS


def _revocation_endpoint(service: TokenService) -> type[Any]:
    class Revocation(RevocationEndpoint):
        CLIENT_AUTH_METHODS = AUTH_METHODS

        def query_token(self, token_string: str, _token_type_hint: str | None) -> IssuedToken | None:
            return service._tokens.get(token_string)

        def revoke_token(self, token: IssuedToken, _request: Any) -> None:
            token.revoked = True

    return Revocation


def _introspection_endpoint(service: TokenService) -> type[Any]:
    class Introspection(IntrospectionEndpoint):
        CLIENT_AUTH_METHODS = AUTH_METHODS

        def query_token(self, token_string: str, _token_type_hint: str | None) -> IssuedToken | None:
            return service._tokens.get(token_string)

        def check_permission(self, token: IssuedToken, client: RegisteredClient, _request: Any) -> bool:
            return token.check_client(client)

        def introspect_token(self, token: IssuedToken) -> dict[str, Any]:
            return token.claims()

    return Introspection


# Client authentication


def _authenticate_basic(query_client: Any, request: Any) -> RegisteredClient | None:
    """RFC 6749 section 2.3.1. Authlib's own leaves a ``+`` as it is and fails on what is not UTF-8."""
    credentials = _basic_credentials(request.headers)
    if credentials is None:
        return None
    client = _client_of_basic(credentials[0], query_client)
    if client is None:
        return None
    secret = credentials[1] if client.basic_encoding == "raw" else urllib.parse.unquote_plus(credentials[1])
    return client if client.check_client_secret(secret) else None


def _client_of_basic(user: str, query_client: Any) -> RegisteredClient | None:
    for client_id, encoding in ((urllib.parse.unquote_plus(user), "form"), (user, "raw")):
        client: RegisteredClient | None = query_client(client_id)
        if client is not None and client.basic_encoding == encoding:
            return client
    return None


def _basic_credentials(headers: Any) -> tuple[str, str] | None:
    """User and password of a Basic header as they were sent (RFC 7617), or None."""
    scheme, _, encoded = headers.get("Authorization", "").partition(" ")
    if scheme.lower() != "basic":
        return None
    try:
        user, colon, password = base64.b64decode(encoded.strip(), validate=True).decode().partition(":")
    except (binascii.Error, UnicodeDecodeError):
        return None
    return (user, password) if colon else None


def _presented(request: flask.Request, clients: dict[str, RegisteredClient]) -> tuple[str | None, list[str]]:
    """The client id that the request presents, and every way in which it authenticates."""
    client_id = request.form.get("client_id")
    methods = []
    if "Authorization" in request.headers:
        methods.append("client_secret_basic")
        credentials = _basic_credentials(request.headers)
        if credentials is not None:
            client = _client_of_basic(credentials[0], clients.get)
            client_id = urllib.parse.unquote_plus(credentials[0]) if client is None else client.client_id
    if "client_secret" in request.form:
        methods.append("client_secret_post")
    if "client_assertion" in request.form:
        methods.append("client_assertion")
    return client_id, methods


def _refusal(request: flask.Request, methods: list[str]) -> str | None:
    """What is wrong with the request before anybody looks at its credentials, or None."""
    if len(methods) > 1:
        return "more than one client authentication method (RFC 6749 section 2.3)"
    misplaced = {"client_id", "client_secret", "client_assertion", "grant_type", "scope"} & set(request.args)
    if misplaced:
        return f"in the URI: {', '.join(sorted(misplaced))} (RFC 6749 section 2.3.1)"
    # RFC 8707 section 2 lets resource, and RFC 8693 lets audience, occur more than once.
    repeated = sorted(k for k, v in request.form.lists() if len(v) > 1 and k not in ("resource", "audience"))
    if repeated:
        return f"sent more than once: {', '.join(repeated)} (RFC 6749 section 3.2)"
    return None
