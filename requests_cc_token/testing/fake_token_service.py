"""A token service on loopback that a test steers, and asks what came."""

from __future__ import annotations

import base64
import threading
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qsl, unquote_plus

from requests.structures import CaseInsensitiveDict

from requests_cc_token.clock import Clock, SystemClock

from .fake_server import FakeServer, HttpRequest
from .steering import Answer, answer_of

#: Seconds that a token lives unless the test says otherwise; what most services do.
DEFAULT_TOKEN_LIFETIME = 3600

#: Parameters that are never recorded: what proves something in any grant.
_SECRET_PARAMETERS = frozenset(
    "client_secret client_assertion token assertion subject_token actor_token password refresh_token code".split()
)
#: Those that may come more than once (RFC 8707 section 2, RFC 8693 section 2.1).
_REPEATABLE = frozenset({"resource", "audience"})


@dataclass
class FakeToken:
    """A token that was issued."""

    value: str
    scope: str | None
    #: The moment on the service's monotonic clock; None for a token that does not expire.
    expires_at: float | None
    revoked: bool = False


@dataclass
class TokenRequest:
    """A token request as it arrived, without its secrets."""

    #: As presented, whether or not it was right; None where there was none.
    client_id: str | None
    #: How the client authenticates by the look of it: an IANA name, ``"none"``, or several with ``+`` between.
    auth_method: str
    #: The parameters of the form, in order; one that came twice is in it twice.
    form: list[tuple[str, str]]
    headers: CaseInsensitiveDict[str] = field(repr=False)
    #: The status of the answer and, where it was refused, the error code; filled in when it is answered.
    outcome: str = "no answer yet"

    def __str__(self) -> str:
        form = " ".join(f"{name}={value}" for name, value in self.form)
        return f"{self.client_id} ({self.auth_method}) {form}: {self.outcome}"


class _RefusedError(Exception):
    """Why a token request is refused: an error code of RFC 6749 section 5.2, and a description."""

    def __init__(self, error: str, description: str) -> None:
        super().__init__(error)
        self.error, self.description = error, description


class FakeTokenService(FakeServer[TokenRequest]):
    """A token service for tests. It answers from the moment it is made until `close`; a context manager.

    It issues ``fake-token-1``, ``fake-token-2`` and so on to the client ``client_id`` with ``client_secret``
    (``client_secret_basic`` or ``client_secret_post``), and refuses what RFC 6749 lets it refuse: another grant, a
    parameter sent twice or in the URL, two ways of authentication at once, a wrong secret. It knows neither signed
    assertions, client certificates nor DPoP.

    ``token_lifetime`` is in seconds, None for tokens that do not expire; it may be changed at any time. ``scopes``
    are those that may be asked for, as a string or an iterable; None for any. ``clock`` decides when a token has
    expired; give the same one to ``AccessTokenManagement(clock=...)``. ``requests`` holds each token request.

    To steer it: `fail_next`, `fail_always`, `refuse` and `recover`; `delay` (seconds) and `hold`; `revoke_all`; `stop`
    and `start` (nobody listens in between).
    """

    _called = "the token service"

    def __init__(
        self,
        *,
        client_id: str = "worker",
        client_secret: str = "secret",
        token_lifetime: int | None = DEFAULT_TOKEN_LIFETIME,
        scopes: str | Iterable[str] | None = None,
        clock: Clock | None = None,
        port: int = 0,
    ) -> None:
        self.client_id, self.client_secret = client_id, client_secret
        self.token_lifetime = token_lifetime
        #: The scopes that may be asked for; None for any.
        self.scopes = frozenset(scopes.split() if isinstance(scopes, str) else scopes) if scopes is not None else None
        #: What decides when a token has expired.
        self.clock: Clock = clock if clock is not None else SystemClock()
        self._tokens: dict[str, FakeToken] = {}
        self._issuing = threading.Lock()
        super().__init__(port=port)
        #: The issuer identifier (RFC 8414 section 2), for ``add_client(issuer=...)``.
        self.issuer = self.origin
        self.token_endpoint = f"{self.origin}/token"
        self.revocation_endpoint = f"{self.origin}/revoke"

    # What a test does

    def refuse(
        self, error: str = "invalid_client", description: str = "refused by the test", *, times: int = 0
    ) -> None:
        """Refuse token requests with an error code of RFC 6749 section 5.2: the next ``times``, 0 for all.

        `recover` ends it.
        """
        refusal = _refusal(error, description)
        if times:
            self._script.extend([refusal] * times)
        else:
            self._always = refusal

    def revoke_all(self) -> None:
        """Revoke every token issued so far: the API refuses them, and nobody told the worker."""
        for token in self.tokens:
            token.revoked = True

    @property
    def tokens(self) -> list[FakeToken]:
        """Every token issued, oldest first."""
        with self._issuing:
            return list(self._tokens.values())

    def find_token(self, value: str) -> FakeToken | None:
        """The token of that value while it is valid; None for any other."""
        token = self._tokens.get(value)
        expired = token is not None and token.expires_at is not None and self.clock.monotonic() >= token.expires_at
        return None if token is None or token.revoked or expired else token

    # What a worker gets

    def _answer(self, request: HttpRequest) -> Answer:
        if request.path == "/token":
            return self._token(request)
        if request.path == "/revoke":
            return self._revoke(request)
        if request.path == "/.well-known/oauth-authorization-server":
            return answer_of(200, self._metadata())
        return answer_of(404, {"error": "not_found"})

    def _token(self, request: HttpRequest) -> Answer:
        form = _form(request)
        client_id, _, methods = _credentials(request, dict(form))
        kept = [(name, value) for name, value in form if name not in _SECRET_PARAMETERS | {"client_id"}]
        headers = CaseInsensitiveDict(request.headers)
        headers.pop("Authorization", None)
        record = TokenRequest(client_id, "+".join(methods) or "none", kept, headers)
        self._record(record)
        try:
            answer = self._scripted_answer() or self._issued(request, form)
        except _RefusedError as refused:
            answer = _refusal(refused.error, refused.description)
            record.outcome = f"{answer.status} {refused.error}, {refused.description}"
        else:
            record.outcome = str(answer.status)
        return answer

    def _issued(self, request: HttpRequest, form: list[tuple[str, str]]) -> Answer:
        _check_form(request, form)
        self._check_client(request, dict(form))
        if dict(form).get("grant_type") != "client_credentials":
            raise _RefusedError("unsupported_grant_type", "grant_type is not client_credentials")
        scope = dict(form).get("scope")
        if self.scopes is not None and not set((scope or "").split()) <= self.scopes:
            raise _RefusedError("invalid_scope", f"not among {' '.join(sorted(self.scopes))}")
        lifetime = self.token_lifetime
        expires_at = None if lifetime is None else self.clock.monotonic() + lifetime
        with self._issuing:
            value = f"fake-token-{len(self._tokens) + 1}"
            self._tokens[value] = FakeToken(value, scope, expires_at)
        body: dict[str, Any] = {"access_token": value, "token_type": "Bearer"}
        if lifetime is not None:
            body["expires_in"] = lifetime
        if scope is not None:
            body["scope"] = scope
        return answer_of(200, body, {"Cache-Control": "no-store"})

    def _revoke(self, request: HttpRequest) -> Answer:
        """RFC 7009: that a token is not known is no error."""
        form = dict(_form(request))
        try:
            self._check_client(request, form)
        except _RefusedError as refused:
            return _refusal(refused.error, refused.description)
        token = self._tokens.get(form.get("token", ""))
        if token is not None:
            token.revoked = True
        return answer_of(200)

    def _check_client(self, request: HttpRequest, form: dict[str, str]) -> None:
        client_id, secrets, methods = _credentials(request, form)
        if len(methods) > 1:
            raise _RefusedError("invalid_request", f"{' and '.join(methods)} at once (RFC 6749 section 2.3)")
        if not methods:
            raise _RefusedError("invalid_client", "no client authentication")
        if client_id != self.client_id or self.client_secret not in secrets:
            raise _RefusedError("invalid_client", "client_id or client_secret is wrong")

    def _metadata(self) -> dict[str, Any]:
        """RFC 8414 section 2."""
        methods = ["client_secret_basic", "client_secret_post"]
        return {
            "issuer": self.issuer,
            "token_endpoint": self.token_endpoint,
            "token_endpoint_auth_methods_supported": methods,
            "grant_types_supported": ["client_credentials"],
            "response_types_supported": [],
            "revocation_endpoint": self.revocation_endpoint,
            "revocation_endpoint_auth_methods_supported": methods,
        }


def _refusal(error: str, description: str) -> Answer:
    headers = {"Cache-Control": "no-store"}
    if error == "invalid_client":
        headers["WWW-Authenticate"] = 'Basic realm="fake"'
    body = {"error": error, "error_description": description}
    return answer_of(401 if error == "invalid_client" else 400, body, headers)


def _form(request: HttpRequest) -> list[tuple[str, str]]:
    return parse_qsl(request.body.decode("utf-8", "replace"), keep_blank_values=True)


def _check_form(request: HttpRequest, form: list[tuple[str, str]]) -> None:
    """Refuse what no token request may be, whoever sends it."""
    if request.method != "POST":
        raise _RefusedError("invalid_request", f"{request.method}, not POST (RFC 6749 section 3.2)")
    kind = request.headers.get("Content-Type", "").partition(";")[0].strip().lower()
    if kind != "application/x-www-form-urlencoded":
        raise _RefusedError("invalid_request", f"Content-Type is {kind or 'missing'} (RFC 6749 section 4.4.2)")
    if request.query:
        raise _RefusedError("invalid_request", f"in the URL: {', '.join(request.query)} (RFC 6749 section 2.3.1)")
    counts = Counter(name for name, _ in form)
    repeated = sorted(name for name, count in counts.items() if count > 1 and name not in _REPEATABLE)
    if repeated:
        raise _RefusedError("invalid_request", f"sent more than once: {', '.join(repeated)} (RFC 6749 section 3.2)")


def _credentials(request: HttpRequest, form: dict[str, str]) -> tuple[str | None, set[str], list[str]]:
    """The client id, the secret in each way in which it may be read, and the ways of authentication."""
    client_id, secrets, methods = form.get("client_id"), set(), []
    if "Authorization" in request.headers:
        methods.append("client_secret_basic")
        user, password = _basic(request.headers["Authorization"])
        client_id = unquote_plus(user)
        secrets |= {password, unquote_plus(password)}  # RFC 6749 section 2.3.1 encodes it; some clients do not
    if "client_secret" in form:
        methods.append("client_secret_post")
        secrets.add(form["client_secret"])
    if "client_assertion" in form:
        methods.append("client_assertion")
    return client_id, secrets, methods


def _basic(header: str) -> tuple[str, str]:
    """User and password of a Basic header (RFC 7617); two empty ones for anything else."""
    scheme, _, encoded = header.partition(" ")
    try:
        text = base64.b64decode(encoded, validate=True).decode() if scheme.lower() == "basic" else ""
        user, _, password = text.partition(":")
    except ValueError:  # neither base64 nor UTF-8
        return "", ""
    return user, password
