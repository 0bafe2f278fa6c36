"""The transport adapter in the place of a delegating handler: authorize a copy, send, renew once on a 401."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Union

import requests
from requests.adapters import BaseAdapter, HTTPAdapter

from .authentication.certificate import CertificateConnections
from .events import logger
from .exceptions import ConfigurationError, TokenRequestError
from .mounts import Mount
from .netrc import is_from_netrc
from .parameters import NO_TOKEN, TokenRequestParameters, parameters_of
from .resend import body_position, drain, rewind
from .service import AccessTokenService
from .shortcuts import ShortcutAdapter, copy_with_header, header_of, leave_to_parent
from .tokens import AccessToken, Binding
from .tracebacks import without_locals
from .urls import proxies_that_see_no_secret, shown_url
from .www_authenticate import parse_challenges

if TYPE_CHECKING:
    from .authentication.dpop import DPoPKey

#: As requests takes it: seconds, (connect, read) seconds, a urllib3 Timeout, or None.
Timeout = Union[float, tuple[Union[float, None], Union[float, None]], Any, None]

#: Error codes of a 401 that a new token cannot help (RFC 6750 section 3.1, RFC 9449 section 7.1).
_NOT_RENEWABLE = frozenset({"insufficient_scope", "invalid_request", "use_dpop_nonce", "invalid_dpop_proof"})


class AccessTokenAdapter(CertificateConnections, ShortcutAdapter):
    """An ``HTTPAdapter`` that gives the requests under its prefix the token of one client.

    ``client`` may be left out while there is one token client. ``prefix`` is where the token may go: origin and path,
    with a final slash. A request to anywhere else is sent without it, wherever the adapter is mounted.

    ``inner`` is an adapter that sends in this one's place (caching, retrying, a unix socket). ``renew_on_401``
    turns the renewal after a refusal off. ``keep_authorization=False`` overwrites an ``Authorization`` header of
    the caller; one that requests took from ``.netrc`` is always overwritten. ``token_patience`` is for how many
    seconds a request waits through failed token requests rather than fail. ``token_parameters`` is what all
    requests ask for instead of what the client is registered with; a request's own go before it.

    Other keywords are those of ``HTTPAdapter``. Raises ``ConfigurationError``.
    """

    __attrs__ = [
        *HTTPAdapter.__attrs__,
        "_service",
        "_client",
        "_prefix",
        "_inner",
        "_allow_http",
        "_renew_on_401",
        "_keep_authorization",
        "_token_patience",
        "_token_parameters",
    ]

    def __init__(
        self,
        service: AccessTokenService,
        client: str | None = None,
        *,
        prefix: str,
        inner: BaseAdapter | None = None,
        allow_http: bool = False,
        renew_on_401: bool = True,
        keep_authorization: bool = True,
        token_patience: float | None = None,
        token_parameters: TokenRequestParameters | None = None,
        **http_adapter_options: Any,
    ) -> None:
        if token_parameters is not None and not isinstance(token_parameters, TokenRequestParameters):
            raise ConfigurationError("token_parameters must be TokenRequestParameters(...)")
        if inner is not None and http_adapter_options:
            raise ConfigurationError(
                f"{', '.join(sorted(http_adapter_options))}: the inner adapter sends, so give these options to it"
            )
        self._service = service
        self._client = client
        self._prefix = prefix
        self._inner = inner
        self._allow_http = allow_http
        self._renew_on_401 = renew_on_401
        self._keep_authorization = keep_authorization
        self._token_patience = token_patience
        self._token_parameters = token_parameters
        self._start()
        super().__init__(**http_adapter_options)

    def _start(self) -> None:
        """What a new adapter and an unpickled one have in common."""
        self._mount = Mount(self._prefix, allow_http=self._allow_http, what="AccessTokenAdapter: the prefix")
        self._accepted: AccessToken | None = None
        self._warned = False

    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__(state)
        self._start()

    def __repr__(self) -> str:
        return f"<AccessTokenAdapter client={self._client!r} {self._mount.prefix}>"

    def send(
        self,
        request: requests.PreparedRequest,
        stream: bool = False,
        timeout: Timeout = None,
        verify: bool | str = True,
        cert: Any = None,
        proxies: Mapping[str, str] | None = None,
    ) -> requests.Response:
        """Send one request with the token.

        1. ``session.get("test")`` has joined ``base_url`` and prepared the request.
        2. ``Session.get_adapter`` has picked this adapter by prefix; origin **and** path are checked here.
        3. The service is asked for the client's token; a cache hit does no I/O.
        4. On a miss one caller's fetch runs and the others wait for it, each up to its own deadline.
        5. The backchannel posts to the token endpoint, retrying; the answer becomes a token or a named error.
        6. The request is **copied**, ``Authorization`` is put on the copy, and the copy is sent.
        7. Not a 401, or one that no renewal helps: that is the answer, with the caller's own request on it.
        8. A 401 for this token: the service renews if it still holds that token; the body is rewound and the
           request sent once more.

        ``timeout`` bounds the wait for a token too, by its read part. Raises what ``HTTPAdapter.send`` raises,
        and ``TokenRequestError`` where no token can be had: the request was not sent then.
        """
        options = {"stream": stream, "timeout": timeout, "verify": verify, "cert": cert, "proxies": proxies}
        parameters = parameters_of(request) if request.hooks.get("response") else None
        if parameters is NO_TOKEN or not self._may_authorize(request):
            return self._forward(request, options)
        assert parameters is None or isinstance(parameters, TokenRequestParameters)
        if self._token_parameters is not None:
            parameters = self._token_parameters if parameters is None else parameters.over(self._token_parameters)
        if proxies:
            options["proxies"] = proxies_that_see_no_secret(request.url or "", proxies)
        token = self._token(request, parameters, timeout)
        position = body_position(request.body)
        response = self._send_with(token, request, options)
        if response.status_code != 401:
            if token is not self._accepted:
                self._note_accepted(token, response)
            return response
        if not self._renewable(response):
            return response
        self._service.token_rejected(token)
        return self._send_again(response, token, parameters, position, request, options)

    def _send_with(
        self, token: AccessToken, request: requests.PreparedRequest, options: dict[str, Any]
    ) -> requests.Response:
        """Send a copy of the request that carries the token; the response gets the caller's own request."""
        if token.binding is not None:
            return self._send_bound(token, token.binding, request, options)
        # A shallow copy keeps whatever else hangs on the request; only the headers become the copy's own.
        return self._send_copy(copy_with_header(request, "Authorization", token.authorization), request, options)

    def _send_bound(
        self, token: AccessToken, binding: Binding, request: requests.PreparedRequest, options: dict[str, Any]
    ) -> requests.Response:
        """Likewise, with what the token is bound to: its certificate (RFC 8705), a proof of its key (RFC 9449)."""
        if binding.certificate is not None and options["cert"] is None:
            # Another adapter takes the files only.
            cert = binding.certificate if self._inner is None else binding.certificate.files
            options = {**options, "cert": cert}
        key = binding.dpop
        if key is None or token.token_type != "DPoP":
            return self._send_copy(copy_with_header(request, "Authorization", token.authorization), request, options)
        from .authentication.dpop import RS

        url = request.url or ""
        position = body_position(request.body)
        response = self._send_copy(self._proven(token, key, request, key.nonces.get(RS, url)), request, options)
        nonce = key.nonces.learn(RS, url, response.headers.get("DPoP-Nonce"))
        if response.status_code != 401 or nonce is None or "use_dpop_nonce" not in _challenged(response):
            return response
        if not rewind(request.body, position):
            return response
        drain(response)
        again = self._send_copy(self._proven(token, key, request, nonce), request, options)
        key.nonces.learn(RS, url, again.headers.get("DPoP-Nonce"))
        again.history.append(response)
        return again

    def _proven(
        self, token: AccessToken, key: DPoPKey, request: requests.PreparedRequest, nonce: str | None
    ) -> requests.PreparedRequest:
        """A copy of the request with the token and a proof for each time that it is sent."""
        from .authentication.dpop import ProvenHeaders

        service, method, url = self._service, request.method or "", request.url or ""
        authorized = copy.copy(request)
        authorized.headers = ProvenHeaders(
            request.headers,
            lambda: key.proof(method, url, now=service.now(), nonce=nonce, access_token=token.value),
        )
        authorized.headers["Authorization"] = token.authorization
        return authorized

    def _send_copy(
        self, authorized: requests.PreparedRequest, request: requests.PreparedRequest, options: dict[str, Any]
    ) -> requests.Response:
        outcome = self._outcome(authorized, options)
        if isinstance(outcome, BaseException):
            # No variable of this frame may show the token to whoever prints the traceback with its locals.
            del authorized
            raise _disclosable(outcome, request)
        outcome.request = request
        outcome.connection = self
        return outcome

    def _send_again(
        self,
        refused: requests.Response,
        token: AccessToken,
        parameters: TokenRequestParameters | None,
        position: int | None,
        request: requests.PreparedRequest,
        options: dict[str, Any],
    ) -> requests.Response:
        """Once more with a new token, where there is one and the body can be sent again; else the refusal."""
        try:
            new = self._token(request, parameters, options["timeout"])
        except TokenRequestError as error:
            logger.warning(
                "token client %r: the API answered 401 and the token could not be renewed: %s", error.client, error
            )
            return refused
        if new.value == token.value or not rewind(request.body, position):
            return refused
        drain(refused)
        response = self._send_with(new, request, options)
        response.history.append(refused)
        self._note_accepted(new, response)
        return response

    def _note_accepted(self, token: AccessToken, response: requests.Response) -> None:
        """Tell the service of a token that the API took; a 5xx says nothing of the token."""
        if response.status_code != 401 and response.status_code < 500:
            self._accepted = token
            self._service.token_accepted(token)

    def _token(
        self, request: requests.PreparedRequest, parameters: TokenRequestParameters | None, timeout: Timeout
    ) -> AccessToken:
        try:
            return self._service.get_access_token(
                self._client, parameters, timeout=_seconds(timeout), token_patience=self._token_patience
            )
        except TokenRequestError as error:
            failure = error
        raise failure.for_caller(request)

    def _outcome(self, request: requests.PreparedRequest, options: dict[str, Any]) -> requests.Response | BaseException:
        try:
            return self._forward(request, options)
        except BaseException as error:
            return error

    def _forward(self, request: requests.PreparedRequest, options: dict[str, Any]) -> requests.Response:
        """Send by the inner adapter or as an ``HTTPAdapter`` does."""
        if self._inner is not None:
            return self._inner.send(request, **options)
        return super().send(request, **options)

    def _may_authorize(self, request: requests.PreparedRequest) -> bool:
        """Whether the token may travel with this request, and the caller wants it to."""
        url = request.url or ""
        if not self._mount.covers(url):
            self._warn_of(url)
            return False
        authorization = header_of(request.headers, "authorization")
        return authorization is None or not self._keep_authorization or is_from_netrc(authorization, url)

    def _warn_of(self, url: str) -> None:
        """Say once that a request is sent without a token which somebody may have expected to carry one."""
        if self._warned or not self._mount.resembles(url):
            return
        self._warned = True
        logger.warning(
            "token client %r: a request to %s carries no token, it is not under %s",
            self._client,
            shown_url(url),
            self._mount.prefix,
        )

    def _renewable(self, response: requests.Response) -> bool:
        if not self._renew_on_401:
            return False
        errors = _challenged(response)
        # Several challenges: one that a new token helps is enough. None at all: many APIs say just 401.
        return not errors or bool(errors - _NOT_RENEWABLE)

    def close(self) -> None:
        """Close the pooled connections, the inner adapter's too."""
        super().close()
        if self._inner is not None:
            self._inner.close()

    def after_fork_in_child(self) -> None:
        """Leave the parent's sockets alone: new pools."""
        super().after_fork_in_child()
        if isinstance(self._inner, HTTPAdapter):
            leave_to_parent(self._inner)


def _challenged(response: requests.Response) -> set[str | None]:
    """The error codes of the challenges that are about the token; None for a challenge without one."""
    # requests joins several header lines to one; urllib3's headers still tell them apart.
    getlist = getattr(getattr(response.raw, "headers", None), "getlist", None)
    lines = getlist("WWW-Authenticate") if getlist is not None else []
    if not lines and "WWW-Authenticate" in response.headers:
        lines = [response.headers["WWW-Authenticate"]]
    return {c.error for c in parse_challenges(lines) if c.scheme in ("bearer", "dpop")}


def _seconds(timeout: Timeout) -> float | None:
    """For how long a caller with this timeout waits for a token: as long as for an answer."""
    if timeout is None or isinstance(timeout, (int, float)):
        return timeout
    if isinstance(timeout, tuple):
        return timeout[1] if len(timeout) == 2 else None
    read = getattr(timeout, "_read", None)
    return float(read) if isinstance(read, (int, float)) else None


def _disclosable(error: BaseException, request: requests.PreparedRequest) -> BaseException:
    """The error with the caller's own request on it, and without the variables of the frames it came through.

    Those hold the token, and a traceback with locals would show it. Places, types, messages and causes stay.
    """
    if isinstance(error, requests.RequestException):
        error.request = request
        if error.response is not None:
            error.response.request = request
    return without_locals(error)
