"""The transport adapter, as a delegating handler is in .NET: authorize a copy, send, renew once on a 401."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any, TypedDict

import requests
import urllib3
from requests.adapters import BaseAdapter, HTTPAdapter

from .authentication.certificate import CertificateConnections
from .exceptions import ConfigurationError
from .keywords import Unpack
from .mounts import Mount
from .parameters import TokenRequestParameters
from .refusals import RENEW_ON, PolicyOptions, RenewOn, Timeout, TokenPolicy, Try, check_retries, send_tries
from .service import AccessTokenService
from .shortcuts.adapter import ShortcutAdapter, copy_with_header, leave_to_parent
from .tracebacks import sealed
from .urls import proxies_that_see_no_secret


class HTTPAdapterOptions(TypedDict, total=False):
    """The keywords of ``requests.adapters.HTTPAdapter``."""

    pool_connections: int
    pool_maxsize: int
    max_retries: int | urllib3.Retry
    pool_block: bool


class AdapterOptions(HTTPAdapterOptions, PolicyOptions, total=False):
    """What ``AccessTokenManagement.mount`` takes beside where the token may go."""


class AccessTokenAdapter(CertificateConnections, ShortcutAdapter):
    """An ``HTTPAdapter`` that gives the requests under its prefix the token of one client.

    ``client`` may be left out while there is one token client. ``prefix`` is where the token may go: origin and path,
    with a final slash. A request to anywhere else is sent without it, wherever the adapter is mounted.

    ``inner`` is an adapter that sends in this one's place (caching, retrying, a unix socket). ``renew_on`` is the
    statuses that mean that the token is dead, or a function that says so of a response; with ``()`` no refusal renews
    it. ``keep_authorization=False`` overwrites an ``Authorization`` header of the caller; one that requests took from
    ``.netrc`` is always overwritten. ``token_patience`` is for how many seconds a request waits through failed token
    requests rather than fail. ``token_parameters`` is what all requests ask for instead of what the client is
    registered with; a request's own go before it.

    Other keywords are those of ``HTTPAdapter``. Raises ``ConfigurationError``.
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
        if inner is not None and http_adapter_options:
            raise ConfigurationError(
                f"{', '.join(sorted(http_adapter_options))}: the inner adapter sends, so give these options to it"
            )
        self._policy = TokenPolicy(
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
        """Log once where one of these, by their prefixes, takes requests that would carry the token."""
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
        if not self._policy.authorizes(request):
            response = self._forward(request, options)
            if response.status_code == 401:
                self._policy.warn_of_authorization(request)
            return response
        if proxies:
            options["proxies"] = proxies_that_see_no_secret(request.url or "", proxies)
        tries = self._policy.tries(request, timeout)
        return send_tries(tries, lambda attempt: self._send_try(attempt, request, options), request.body)

    def _send_try(
        self, attempt: Try, request: requests.PreparedRequest, options: dict[str, Any]
    ) -> requests.Response:
        """Send a copy of the request that carries the token; the response gets the caller's own request."""
        token = attempt.token
        certificate = None if token.binding is None else token.binding.certificate
        if certificate is not None and options["cert"] is None:
            # The connection of a token that is bound to a certificate (RFC 8705). Another adapter takes its files only.
            options = {**options, "cert": certificate if self._inner is None else certificate.files}
        if attempt.dpop is None:
            # A shallow copy keeps whatever else hangs on the request; only the headers become the copy's own.
            authorized = copy_with_header(request, "Authorization", token.authorization)
        else:
            authorized = copy.copy(request)
            authorized.headers = self._policy.headers(request, attempt)
        try:
            response = self._forward(authorized, options)
        except requests.RequestException as error:
            error.request = request
            if error.response is not None:
                error.response.request = request
            raise
        response.request = request
        response.connection = self
        return response

    def _forward(self, request: requests.PreparedRequest, options: dict[str, Any]) -> requests.Response:
        """Send by the inner adapter or as an ``HTTPAdapter`` does."""
        if self._inner is not None:
            return self._inner.send(request, **options)
        return super().send(request, **options)

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
