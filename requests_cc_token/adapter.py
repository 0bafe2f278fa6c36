"""The transport adapter, the counterpart of .NET's delegating handler: authorize a copy, send, renew once on a 401."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping
from typing import Any, TypedDict

import requests
import urllib3
from requests.adapters import BaseAdapter, HTTPAdapter

from .adapter_policy import (
    RENEW_ON,
    AdapterPolicy,
    PolicyOptions,
    RenewOn,
    Timeout,
    Try,
    check_adapter,
    check_max_retries,
    check_retries,
    send_tries,
)
from .authentication.certificate import CertificateConnections
from .authorized_headers import carries_token
from .exceptions import ConfigurationError
from .keyword_arguments import Unpack, check_whole_number, refuse_unknown
from .mounts import Mount
from .parameters import TokenRequestParameters
from .service import AccessTokenService
from .shortcuts.adapter import ShortcutAdapter, copy_with_header, leave_to_parent
from .tracebacks import sealed
from .urls import proxies_that_see_no_secret

#: Sends a request with the options of ``HTTPAdapter.send``.
Sender = Callable[[requests.PreparedRequest, "dict[str, Any]"], requests.Response]


class HTTPAdapterOptions(TypedDict, total=False):
    """The keywords of ``requests.adapters.HTTPAdapter``."""

    pool_connections: int
    pool_maxsize: int
    max_retries: int | urllib3.Retry
    pool_block: bool


class AdapterOptions(HTTPAdapterOptions, PolicyOptions, total=False):
    """What ``AccessTokenManagement.mount`` takes beside where the token may go."""


class AccessTokenAdapter(CertificateConnections, ShortcutAdapter):
    """A transport adapter that sends a client's access token with the requests to URLs under one prefix.

    ``session.mount(api, AccessTokenAdapter(management.service, "worker", prefix=api))``, or shorter
    ``management.mount(session, api, "worker")``.

    - ``service``: the ``service`` of an ``AccessTokenManagement``
    - ``client``: the name of the token client; may be left out if only one is registered
    - ``prefix``: scheme, host and path, ending with a slash. A request to any other URL is sent without the token,
      wherever the adapter is mounted
    - ``inner``: an adapter that sends the requests, such as a caching one; by default this adapter sends them
    - ``allow_http``: True permits an API on another machine over plain http
    - ``renew_on``: the statuses for which the token is renewed and the request sent once more, ``(401,)`` by default;
      or a function of the response that returns whether to do so. ``()`` never renews a token because of a response
    - ``keep_authorization``: False replaces an ``Authorization`` header that the caller has set; by default such a
      request keeps its own. A header that ``requests`` took from ``.netrc`` is always replaced
    - ``token_patience``: for how many seconds a request goes on waiting for a token while token requests fail; by
      default it fails with the first of them
    - ``token_parameters``: ``TokenRequestParameters`` for all requests; those of a single request take precedence
    - all other keywords: see ``requests.adapters.HTTPAdapter``

    Raises ``ConfigurationError``.
    """

    __attrs__ = [*HTTPAdapter.__attrs__, "_policy", "_inner"]

    def __init__(
        self,
        service: AccessTokenService,
        client: str | None = None,
        *,
        prefix: str,
        inner: BaseAdapter | None = None,
        allow_http: bool = False,
        renew_on: RenewOn = RENEW_ON,
        keep_authorization: bool = True,
        token_patience: float | None = None,
        token_parameters: TokenRequestParameters | None = None,
        **http_adapter_options: Unpack[HTTPAdapterOptions],
    ) -> None:
        what = "AccessTokenAdapter"
        refuse_unknown(http_adapter_options, HTTPAdapterOptions.__annotations__, what)
        _check_numbers(http_adapter_options, what)
        if inner is not None:
            check_adapter(inner, f"{what}: inner")
            if http_adapter_options:
                names = ", ".join(sorted(http_adapter_options))
                raise ConfigurationError(f"{what}: {names}: the inner adapter sends, so give these options to it")
        self._policy = AdapterPolicy(
            service,
            client,
            Mount(prefix, allow_http=allow_http, what=f"{what}: the prefix"),
            what=what,
            renew_on=renew_on,
            keep_authorization=keep_authorization,
            token_patience=token_patience,
            token_parameters=token_parameters,
        )
        self._inner = inner
        super().__init__(**http_adapter_options)
        check_retries(self if inner is None else inner, self._policy.renew_on, what)

    def __repr__(self) -> str:
        return f"<AccessTokenAdapter client={self._policy.client!r} {self._policy.mount.prefix}>"

    def warn_of_mounts(self, adapters: Mapping[str, BaseAdapter]) -> None:
        """Log a warning, once, if one of these adapters receives requests that would carry the token."""
        for prefix, adapter in adapters.items():
            if not isinstance(adapter, AccessTokenAdapter):
                self._policy.warn_of_mount(prefix, adapter)

    @sealed
    def send(
        self,
        request: requests.PreparedRequest,
        stream: bool = False,
        timeout: Timeout = None,
        verify: bool | str = True,
        cert: Any = None,
        proxies: Mapping[str, str] | None = None,
    ) -> requests.Response:
        """Send one request with the token; called by ``requests.Session.send``.

        1. ``session.get("test")`` has joined ``base_url`` and prepared the request.
        2. ``Session.get_adapter`` has picked this adapter by prefix; origin **and** path are checked here.
        3. The service is asked for the client's token; a cache hit does no I/O.
        4. On a miss one caller's fetch runs and the others wait for it, each up to its own deadline.
        5. The backchannel posts to the token endpoint, retrying; the answer becomes a token or a named error.
        6. The request is **copied**, ``Authorization`` is put on the copy, and the copy is sent.
        7. Not a 401, or one that no renewal helps: that is the answer, with the caller's own request on it.
        8. A 401 for this token: the service renews if it still holds that token; the body is rewound and the
           request sent once more.

        The parameters are those of ``HTTPAdapter.send``; the (read) ``timeout`` also limits the wait for a token.
        Raises what ``HTTPAdapter.send`` raises, and ``TokenRequestError`` if no token can be obtained; the request is
        not sent then.
        """
        options = {"stream": stream, "timeout": timeout, "verify": verify, "cert": cert, "proxies": proxies}
        if self.authorizes(request):
            return self._send_authorized(request, options)
        response = self._forward(request, options)
        if response.status_code == 401:
            self._policy.warn_of_authorization(request)
        return response

    def authorizes(self, request: requests.PreparedRequest) -> bool:
        """Whether this adapter gives the request a token: it has none, one may go there, and the caller wants it."""
        return not carries_token(request) and self._policy.authorizes(request)

    @sealed
    def send_by(self, sender: Sender, request: requests.PreparedRequest, options: dict[str, Any]) -> requests.Response:
        """As ``send`` for a request that this adapter ``authorizes``, but the copies are sent by another function.

        ``options`` are all of those that ``send`` takes, by their names. Should the function come back to an adapter of
        this package, that one sees that the copy carries a token and leaves it alone.
        """
        return self._send_authorized(request, options, sender)

    def _send_authorized(
        self, request: requests.PreparedRequest, options: dict[str, Any], sender: Sender | None = None
    ) -> requests.Response:
        if options["proxies"]:
            options = {**options, "proxies": proxies_that_see_no_secret(request.url or "", options["proxies"])}
        tries = self._policy.tries(request, options["timeout"])
        return send_tries(
            tries,
            lambda attempt: self._send_try(attempt, request, options, sender),
            request.body,
            self._policy.about,
        )

    def _send_try(
        self, attempt: Try, request: requests.PreparedRequest, options: dict[str, Any], sender: Sender | None
    ) -> requests.Response:
        """Send a copy of the request that carries the token; the response gets the caller's own request."""
        token = attempt.token
        certificate = None if token.binding is None else token.binding.certificate
        if certificate is not None and options["cert"] is None:
            # A bound token needs a connection with its certificate (RFC 8705). Other adapters take files only.
            options = {**options, "cert": certificate if self._inner is None else certificate.files}
        if attempt.dpop is None and sender is None:
            # A shallow copy keeps whatever else hangs on the request; only the headers become the copy's own.
            authorized = copy_with_header(request, "Authorization", token.authorization)
        else:
            authorized = copy.copy(request)
            authorized.headers = self._policy.headers(request, attempt)
        try:
            response = (sender or self._forward)(authorized, options)
        except requests.RequestException as error:
            error.request = request
            if error.response is not None:
                error.response.request = request
            raise
        response.request = request
        if sender is None:
            response.connection = self
        return response

    def _forward(self, request: requests.PreparedRequest, options: dict[str, Any]) -> requests.Response:
        """Send by the inner adapter or as an ``HTTPAdapter`` does."""
        if self._inner is not None:
            return self._inner.send(request, **options)
        return super().send(request, **options)

    def close(self) -> None:
        """Close all connections, those of the inner adapter too."""
        super().close()
        if self._inner is not None:
            self._inner.close()

    def after_fork_in_child(self) -> None:
        """Start with empty connection pools in a forked child, since the open sockets are the parent's."""
        super().after_fork_in_child()
        if isinstance(self._inner, HTTPAdapter):
            leave_to_parent(self._inner)


def _check_numbers(options: HTTPAdapterOptions, what: str) -> None:
    """Refuse here what ``HTTPAdapter`` would take, and fail with at the first request."""
    check_whole_number(options.get("pool_connections", 1), f"{what}: pool_connections", 1)
    check_whole_number(options.get("pool_maxsize", 1), f"{what}: pool_maxsize", 1)
    check_max_retries(options.get("max_retries", 0), f"{what}: max_retries")
