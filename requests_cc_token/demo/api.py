"""A protected API on loopback: a resource server that takes the tokens of `TokenService` (RFC 6750).

    with TokenService() as tokens, ProtectedApi(tokens) as api:
        requests.get(api.base_url + "test", headers={"Authorization": f"Bearer {token}"})

=====================  ===========================================================================================
path                   answer
=====================  ===========================================================================================
``/api/test``          the caller's claims, as the sample API of .NET's IdentityModel gives them
``/api/echo``          method, path, query, headers without ``Authorization``, and body of the request
``/api/upload``        length and SHA-256 of the body
``/api/redirect``      a redirect to ``?to=URL``, with ``?status=`` (302 unless told)
``/api/scope/<name>``  like ``test``, for tokens of that scope only
``/open``              like ``echo``, for everybody: neither a token nor the path of the API
=====================  ===========================================================================================
"""

# Authlib has no type hints, and its way is to be subclassed.
# mypy: disallow-subclassing-any=False

from __future__ import annotations

import functools
import hashlib
import hmac
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NoReturn

import flask
from authlib.integrations.flask_oauth2 import ResourceProtector, current_token
from authlib.oauth2.rfc6749 import MissingAuthorizationError, UnsupportedTokenTypeError
from authlib.oauth2.rfc6750 import BearerTokenValidator, InsufficientScopeError
from werkzeug.datastructures import Headers, MultiDict

from requests_cc_token.testing.steering import SteeredService

from .loopback import LoopbackServer

if TYPE_CHECKING:
    import ssl
    from collections.abc import Callable, Iterable, Sequence

    from _typeshed.wsgi import StartResponse, WSGIEnvironment

    from requests_cc_token.tokens import AccessToken

    from .token_service import IssuedToken, TokenService

REALM = "demo"

_ANY_METHOD = ["GET", "POST", "PUT", "PATCH", "DELETE"]


@dataclass(frozen=True)
class ApiRequest:
    """A request as it arrived, without its token."""

    method: str
    path: str
    query: MultiDict[str, str]
    #: Without ``Authorization``.
    headers: Headers
    body: bytes = field(repr=False)
    #: The scheme of the ``Authorization`` header, such as ``"Bearer"``; None where there was no header.
    scheme: str | None
    #: What tells two tokens apart without saying them: the start of a SHA-256; None where there was no token.
    fingerprint: str | None
    _credentials: str = field(repr=False)

    def carried(self, token: AccessToken | str) -> bool:
        """Whether the request carried this token."""
        value = token if isinstance(token, str) else token.value
        return hmac.compare_digest(self._credentials.encode(), value.encode())


class ProtectedApi(SteeredService[ApiRequest], LoopbackServer):
    """The API. It answers from the moment it is made until `close`.

    ``requests`` holds every request that came, authorized or not. ``scope`` is what a token must have for anything
    under ``/api/``; None for any token. See `testing.steering` for `hold` and `fail_next`,
    `testing.loopback` for `stop` and `start`.

    Raises ``ImportError`` at import where Flask or Authlib is missing: ``pip install requests_cc_token[demo]``.
    """

    def __init__(
        self,
        token_service: TokenService,
        *,
        scope: str | None = None,
        port: int = 0,
        hostname: str = "127.0.0.1",
        ssl_context: ssl.SSLContext | None = None,
    ) -> None:
        SteeredService.__init__(self)
        self.scope = scope
        self._require = _Protector()
        self._require.register_token_validator(_Validator(token_service))
        LoopbackServer.__init__(self, self._serve, port=port, hostname=hostname, ssl_context=ssl_context)
        #: What goes into ``add_session(base_url=...)``.
        self.base_url = f"{self.origin}/api/"

    def close(self) -> None:
        """Stop, and let go whoever waits at the gate."""
        self.leave()
        super().close()

    def _steer(self) -> flask.Response | None:
        request = flask.request
        scheme, _, credentials = request.headers.get("Authorization", "").partition(" ")
        self._record(
            ApiRequest(
                method=request.method,
                path=request.path,
                query=MultiDict(request.args),
                headers=_without_authorization(request),
                body=request.get_data(),
                scheme=scheme or None,
                fingerprint=hashlib.sha256(credentials.encode()).hexdigest()[:12] if credentials else None,
                _credentials=credentials,
            )
        )
        scripted = self._scripted_answer()
        if scripted is None:
            return None
        return flask.Response(scripted.body, scripted.status, list(scripted.headers))

    def _serve(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        environ[_API] = self
        return _app(environ, start_response)


# The application: one for all APIs of the process, as with `TokenService`.

_API = "requests_cc_token.protected_api"

_app = flask.Flask(__name__, static_folder=None)


def _api() -> ProtectedApi:
    api: ProtectedApi = flask.request.environ[_API]
    return api


@_app.before_request
def _steer() -> flask.Response | None:
    return _api()._steer()


def _route(path: str, methods: list[str]) -> Callable[[Callable[[], flask.Response]], Callable[[], flask.Response]]:
    """Have a view serve a path, for whoever has a token with the scopes of API and path."""

    def register(view: Callable[[], flask.Response]) -> Callable[[], flask.Response]:
        @functools.wraps(view)
        def protected(**values: str) -> flask.Response:
            api = _api()
            scopes = [scope for scope in (values.get("scope"), api.scope) if scope]
            # One string asks for all of its scopes; a list would ask for any of them.
            with api._require.acquire(" ".join(scopes)):
                return view()

        _app.add_url_rule(path, view_func=protected, methods=methods)
        return view

    return register


@_route("/api/test", ["GET"])
def _test() -> flask.Response:
    return flask.jsonify(_claims(current_token))


@_route("/api/scope/<scope>", ["GET"])
def _scoped() -> flask.Response:
    return flask.jsonify(_claims(current_token))


@_route("/api/upload", ["POST", "PUT"])
def _upload() -> flask.Response:
    body = flask.request.get_data()
    return flask.jsonify(length=len(body), sha256=hashlib.sha256(body).hexdigest())


@_route("/api/redirect", _ANY_METHOD)
def _redirect() -> flask.Response:
    status = int(flask.request.args.get("status", 302))
    return flask.Response(status=status, headers={"Location": flask.request.args["to"]})


@_route("/api/echo", _ANY_METHOD)
def _echo() -> flask.Response:
    request = flask.request
    return flask.jsonify(
        method=request.method,
        path=request.path,
        query=request.args.to_dict(flat=False),
        headers=dict(_without_authorization(request)),
        body=request.get_data(as_text=True),
    )


_app.add_url_rule("/open", "open", view_func=_echo, methods=_ANY_METHOD)


def _without_authorization(request: flask.Request) -> Headers:
    return Headers((k, v) for k, v in request.headers.items() if k != "Authorization")


def _claims(token: Any) -> list[dict[str, str]]:
    """Type and value of each claim; one that holds several is said once for each."""
    claims: list[dict[str, str]] = []
    for name, value in token.claims().items():
        values = value if isinstance(value, list) else value.split() if name == "scope" else [value]
        claims.extend({"type": name, "value": str(one)} for one in values)
    return claims


class _Validator(BearerTokenValidator):
    def __init__(self, token_service: TokenService) -> None:
        super().__init__(realm=REALM)
        self._token_service = token_service

    def authenticate_token(self, token_string: str) -> IssuedToken | None:
        return self._token_service.find_token(token_string)

    def validate_token(self, token: IssuedToken | None, scopes: Sequence[str], request: Any) -> None:
        try:
            super().validate_token(token, scopes, request)
        except InsufficientScopeError as error:
            error.scope = " ".join(scopes)
            raise


class _Protector(ResourceProtector):
    def raise_error_response(self, error: Any) -> NoReturn:
        """Answer with the challenge that RFC 6750 section 3 asks for; Authlib's has gaps where scope or token lack."""
        challenge = f'Bearer realm="{REALM}"'
        # Who sent no bearer token is told no error code (RFC 6750 section 3.1).
        if not isinstance(error, (MissingAuthorizationError, UnsupportedTokenTypeError)):
            challenge += f', error="{error.error}", error_description="{error.description}"'
        if isinstance(error, InsufficientScopeError):
            challenge += f', scope="{error.scope}"'
        answer = flask.jsonify(dict(error.get_body()))
        answer.status_code = error.status_code
        answer.headers["WWW-Authenticate"] = challenge
        flask.abort(answer)
