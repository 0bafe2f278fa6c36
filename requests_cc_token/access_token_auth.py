"""A ``requests`` auth object that gives what the adapter gives, for code that takes ``auth=`` but no session."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping
from typing import Any
from urllib.parse import urljoin

import requests
from requests.auth import AuthBase
from requests.sessions import SessionRedirectMixin
from requests.utils import get_environ_proxies, requote_uri

from .adapter_policy import RENEW_ON, AdapterPolicy, RenewOn, Try, challenges_of, send_tries
from .authorized_headers import AuthorizedHeaders
from .clock import checked_seconds
from .exceptions import ConfigurationError
from .mounts import Mount
from .parameters import TokenRequestParameters
from .resend import body_position, drain
from .service import AccessTokenService
from .tracebacks import sealed
from .urls import proxies_that_see_no_secret, shown_url

_REDIRECTS = SessionRedirectMixin()


class AccessTokenAuth(AuthBase):
    """What ``management.auth(client, prefix)`` returns: sends the client's token to URLs under the prefix.

    If the API refuses the token, it is renewed and the request sent once more. The token goes along with redirects that
    stay under the prefix; after a redirect that comes back to it from elsewhere, it is sent once the API asks for it
    with a 401. ``response.request`` is the request without the token.

    Two things only the adapter can do: choose the client certificate (pass ``cert=`` to the request if tokens are bound
    to one), and keep the token out of tracebacks of connection errors that are printed with local variables.
    """

    def __init__(
        self,
        service: AccessTokenService,
        client: str | None = None,
        *,
        prefix: str,
        allow_http: bool = False,
        renew_on: RenewOn = RENEW_ON,
        token_timeout: float | None = None,
        token_patience: float | None = None,
        token_parameters: TokenRequestParameters | None = None,
    ) -> None:
        what = "auth"
        if token_timeout is not None:
            token_timeout = checked_seconds(token_timeout, f"{what}: token_timeout")
        self._token_timeout = token_timeout
        self._policy = AdapterPolicy(
            service,
            client,
            Mount(prefix, allow_http=allow_http, what=f"{what}: the prefix"),
            what=what,
            renew_on=renew_on,
            # As with any auth object of requests: it replaces the caller's header.
            keep_authorization=False,
            token_patience=token_patience,
            token_parameters=token_parameters,
        )

    def __repr__(self) -> str:
        return f"<auth client={self._policy.client!r} {self._policy.mount.prefix}>"

    @sealed
    def __call__(self, r: requests.PreparedRequest) -> requests.PreparedRequest:
        """Called by ``requests`` while it prepares a request. Raises ``TokenRequestError`` if there is no token."""
        # Hook in once: some hosts (Singer's taps) call auth twice for one request, and a refusal is to renew once.
        hooks = r.hooks["response"]
        hooks[:] = [hook for hook in hooks if not self._is_like(getattr(hook, "__self__", None))]
        r.register_hook("response", self._look_at)
        if self._policy.authorizes(r):
            _check_proxies(r.url or "")
            attempt = next(self._policy.tries(r, self._token_timeout))
            self._authorize(r, attempt, body_position(r.body))
        return r

    def _is_like(self, other: object) -> bool:
        """Whether this is an auth object of the same client for the same prefix."""
        if not isinstance(other, AccessTokenAuth):
            return False
        mine, its = self._policy, other._policy
        return (its.service, its.client, its.mount.prefix) == (mine.service, mine.client, mine.mount.prefix)

    def _authorize(self, request: requests.PreparedRequest, attempt: Try, position: int | None) -> None:
        headers = self._policy.headers(request, attempt)
        headers.position = position
        request.headers = headers

    @sealed
    def _look_at(self, response: requests.Response, **options: Any) -> requests.Response:
        """The response hook: the request once more where its token was refused, or is asked for after a redirect."""
        request: Any = response.request
        sent = request.headers
        if not isinstance(request, requests.PreparedRequest) or not self._policy.authorizes(request):
            # The response is a cache's, with a stand-in for the request: nothing was sent.
            return response
        if isinstance(sent, AuthorizedHeaders) and sent.carry_the_token:
            tries = self._policy.tries(request, options.get("timeout"), sent.token)
            send = self._sender(response, request, sent.position, options)
            answered = send_tries(tries, send, request.body, self._policy.about, first=(response, sent.position))
        elif isinstance(request.body, (bytes, str, type(None))) and self._policy.is_refusal(
            response, challenges_of(response)
        ):
            # requests has put the body back before this hop, so it starts at its beginning.
            drain(response)
            tries = self._policy.tries(request, options.get("timeout"))
            send = self._sender(response, request, 0, options)
            answered = send_tries(tries, send, request.body, self._policy.about)
            answered.history.insert(0, response)
        else:
            return response
        for each in (*answered.history, answered):
            each.request = self._given(request)
        if not self._goes_on(answered, request):
            request.headers = self._given(request).headers
        return answered

    def _sender(
        self,
        response: requests.Response,
        request: requests.PreparedRequest,
        position: int | None,
        options: Mapping[str, Any],
    ) -> Callable[[Try], requests.Response]:
        """Sends further tries by the connection that the response came from."""

        def send(attempt: Try) -> requests.Response:
            # On the caller's own request, so that sending it once more uses the token that worked.
            self._authorize(request, attempt, position)
            answered: requests.Response = response.connection.send(request, **options)
            return answered

        return send

    def _given(self, request: requests.PreparedRequest) -> requests.PreparedRequest:
        """The request as the caller made it: without the token, and without the hook that knows the token service."""
        given = copy.copy(request)
        assert isinstance(request.headers, AuthorizedHeaders)
        given.headers = request.headers.without_token()
        given.hooks = {event: [h for h in hooks if h != self._look_at] for event, hooks in request.hooks.items()}
        return given

    def _goes_on(self, response: requests.Response, request: requests.PreparedRequest) -> bool:
        """Whether the token may stay on the request: where a redirect leads out of the prefix it may not.

        To another host requests itself does not take it along. A proof is for one address (RFC 9449 section 4.3).
        """
        target = _next_url(response)
        return target is None or ("DPoP" not in request.headers and self._policy.mount.covers(target))


def _next_url(response: requests.Response) -> str | None:
    """Where requests follows the response to, as ``Session.resolve_redirects`` finds it; None for nowhere."""
    target = _REDIRECTS.get_redirect_target(response)
    if target is None:
        return None
    try:
        return urljoin(response.url, requote_uri(target))
    except (requests.RequestException, ValueError):
        return ""  # no URL, so no prefix covers it


def _check_proxies(url: str) -> None:
    """Refuse what would leave this machine by a proxy though it was let pass because it would not."""
    if url.startswith("http:"):
        proxies = get_environ_proxies(url)
        if proxies_that_see_no_secret(url, proxies) is not proxies:
            raise ConfigurationError(
                f"auth: the environment's proxy would carry the token to {shown_url(url)} in clear over the network; "
                "add the host to NO_PROXY"
            )
