"""The connection to the token endpoint: a session of its own, one retry layer, a time budget.

No netrc, no cookies, no redirects, nothing of the API call's settings. Proxies and CA settings of the environment
count here as anywhere in requests.
"""

from __future__ import annotations

import threading
import zlib
from collections.abc import Callable, Generator, Mapping
from datetime import timezone
from email.utils import parsedate_to_datetime
from typing import Any, NamedTuple, TypeVar

import backoff
import requests
import urllib3
from requests.adapters import HTTPAdapter

from requests_cc_token.authentication.certificate import CertificateConnections
from requests_cc_token.authentication.method import TokenRequest
from requests_cc_token.clock import Clock
from requests_cc_token.exceptions import TokenEndpointConnectionError, TokenRequestError
from requests_cc_token.forks import renew_after_fork
from requests_cc_token.netrc import NoNetrc
from requests_cc_token.shortcuts import leave_to_parent
from requests_cc_token.urls import proxies_that_see_no_secret

from .deadline import DeadlineAdapter, Exchange, TooMuchError, watch
from .options import BackchannelOptions

_T = TypeVar("_T")

#: Seconds of ``Retry-After`` that are obeyed at most: more is a mistake or an attack.
MAX_RETRY_AFTER = 3600.0
#: Bytes of an answer that are read: real ones hold a few KiB.
MAX_ANSWER = 1024 * 1024
#: Bytes that are read of a connection for one answer, with its headers and the frames of its chunks.
MAX_WIRE = 2 * MAX_ANSWER


class Answer(NamedTuple):
    """An HTTP answer of the token service, read within its bounds. It may hold a token, so it shows no body."""

    status_code: int
    headers: Mapping[str, str]
    body: bytes

    def __repr__(self) -> str:
        return f"<Answer {self.status_code}>"


class Backchannel:
    """Sends token requests. One per management; safe in threads."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._session: requests.Session | None = None
        self._lock = threading.Lock()
        #: Set once the management is closed; a fetch that waits between tries ends then.
        self.closed = threading.Event()
        #: What is known of issuers; kept here by `discovery`.
        self.issuers: dict[Any, Any] = {}
        #: By how many seconds the clock of each token endpoint is ahead of ours; kept here by `token_endpoint`.
        self.clock_offsets: dict[str, float] = {}
        #: Set by ``configure_backchannel``.
        self.options = BackchannelOptions()
        renew_after_fork(self)

    def configure(self, options: BackchannelOptions) -> None:
        """Use these options from the next fetch on."""
        with self._lock:
            self.options = options
            self._session = None

    def close(self) -> None:
        """End waits between tries and close the built-in session; one of the user's is the user's to close."""
        self.closed.set()
        with self._lock:
            session, self._session = self._session, None
        if session is not None:
            session.close()

    def retrying(self, attempt: Callable[[float], _T], *, keep_trying: Callable[[], bool]) -> _T:
        """What ``attempt(deadline)`` returns, tried again by `backoff` as the options say.

        Permanent errors are raised at once, and so is any error when ``keep_trying()`` is false.
        """
        clock, options = self._clock, self.options
        deadline = clock.monotonic() + options.max_time

        def pauses() -> Generator[float, Any, None]:
            # backoff sleeps with time.sleep, which neither a test's clock nor close() could end. So the wait
            # happens here, where backoff asks for its length, and what is left to sleep is nothing.
            error = yield 0.0
            for seconds_after in options.waits():
                try:
                    seconds = max(seconds_after(error), error.retry_after or 0.0)
                except StopIteration:
                    return  # a wait generator of the user's that ends
                if clock.monotonic() + seconds >= deadline or clock.wait(self.closed, seconds):
                    return
                error = yield 0.0

        def is_final(error: Exception) -> bool:
            return not getattr(error, "transient", False) or self.closed.is_set() or not keep_trying()

        retried = backoff.on_exception(pauses, TokenRequestError, giveup=is_final, jitter=None, logger=None)
        result: _T = retried(attempt)(deadline)
        return result

    def post(
        self, request: TokenRequest, deadline: float, what: str = "the token endpoint"
    ) -> Answer | TokenEndpointConnectionError:
        """Send one token request and read its answer, both by the deadline (of the monotonic clock).

        An error is returned, not raised: the frames here hold the secret, and a traceback would show them.
        """
        return self._answer("POST", request, deadline, what)

    def get(self, url: str, deadline: float) -> Answer | TokenEndpointConnectionError:
        """Read a public document of the token service, likewise."""
        return self._answer("GET", TokenRequest(url), deadline, "the document")

    def _answer(
        self, method: str, request: TokenRequest, deadline: float, what: str
    ) -> Answer | TokenEndpointConnectionError:
        if self.closed.is_set():
            # The secret, or an assertion, came late: nobody waits for the token any more.
            return TokenEndpointConnectionError(f"{what}: the access token management is closed")
        try:
            return self._send(method, request, deadline)
        except Exception as error:
            reason = _reason(error)
        return TokenEndpointConnectionError(f"{what} {_without_query(request.url)}: {reason}")

    def _send(self, method: str, request: TokenRequest, deadline: float) -> Answer:
        session = self.options.session or self._own_session()
        # None keeps an Authorization header of the session out: one client authentication per request.
        headers: dict[str, str | None] = {
            "Authorization": None,
            "Accept": "application/json",
            "Accept-Encoding": "identity",
            **request.headers,
        }
        if method == "POST":
            headers["Content-Type"] = "application/x-www-form-urlencoded"
        prepared = session.prepare_request(
            requests.Request(
                method,
                request.url,
                headers=headers,  # type: ignore[arg-type]
                data=request.form,
                auth=NoNetrc(),
            )
        )
        verify = None if session.verify is True else session.verify
        # Those of the user's session are for somebody else, or of somebody else.
        prepared.headers.pop("Cookie", None)
        url = prepared.url or ""
        settings = session.merge_environment_settings(url, {}, True, verify, _requests_cert(request.cert))
        # Not session.send: that would follow up a redirect, read its body without bound, and keep cookies.
        adapter = session.get_adapter(url)
        settings["proxies"] = proxies_that_see_no_secret(url, settings["proxies"])
        if request.cert is not None and isinstance(adapter, CertificateConnections):
            settings["cert"] = request.cert
        watch(adapter)
        connect, read = self.options.timeout
        with Exchange(self._clock, deadline, MAX_WIRE) as exchange:
            left = exchange.seconds_left()
            # The watch shuts down what is connected; before that, the timeout has to do.
            timeout = (left if connect is None else min(connect, left), read)
            response = adapter.send(prepared, timeout=timeout, **settings)
            try:
                body = _read(response, exchange)
            finally:
                response.close()
        return Answer(response.status_code, response.headers, body)

    def _own_session(self) -> requests.Session:
        with self._lock:
            if self._session is None:
                session = requests.Session()
                session.auth = NoNetrc()
                session.verify = self.options.verify
                session.proxies = dict(self.options.proxies or {})
                for prefix in ("https://", "http://"):
                    session.mount(prefix, DeadlineAdapter())
                self._session = session
            return self._session

    def after_fork_in_child(self) -> None:
        """Forget the built-in session, whose sockets are the parent's, and start the user's with empty pools."""
        self._lock = threading.Lock()
        self._session = None
        closed, self.closed = self.closed, threading.Event()
        if closed.is_set():
            self.closed.set()
        if self.options.session is not None:
            for adapter in self.options.session.adapters.values():
                if isinstance(adapter, HTTPAdapter):
                    leave_to_parent(adapter)


def _requests_cert(files: tuple[str, str | None] | None) -> str | tuple[str, str] | None:
    if files is None:
        return None
    certificate, key = files
    return certificate if key is None else (certificate, key)


def _read(response: requests.Response, exchange: Exchange) -> bytes:
    """The body, at most ``MAX_ANSWER`` bytes of it before and after decoding."""
    body = bytearray()
    for chunk in response.raw.stream(16_384, decode_content=False):
        body += chunk
        if len(body) > MAX_ANSWER:
            raise TooMuchError
        exchange.check()
    # Shut down, a connection without a length just ends.
    exchange.check()
    encoding = response.headers.get("Content-Encoding", "identity").strip().lower()
    if encoding in ("gzip", "x-gzip", "deflate"):
        # Asked not to, the server compressed all the same; a bomb stops at the bound.
        inflated = zlib.decompressobj(zlib.MAX_WBITS | 32).decompress(bytes(body), MAX_ANSWER + 1)
        if len(inflated) > MAX_ANSWER:
            raise TooMuchError
        return inflated
    return bytes(body)


def _reason(error: BaseException) -> str:
    """What went wrong, in words that cannot hold a header or a body."""
    if isinstance(error, TooMuchError):
        return f"the answer is larger than {MAX_ANSWER // 1024} KiB"
    if isinstance(error, zlib.error):
        return "the answer is compressed, and broken"
    if isinstance(error, TimeoutError):
        return "did not answer in time"
    if isinstance(error, requests.exceptions.ConnectTimeout):
        return "could not be connected to in time"
    if isinstance(error, (requests.exceptions.Timeout, urllib3.exceptions.TimeoutError)):
        return "did not answer in time"
    if isinstance(error, requests.exceptions.SSLError):
        said = _innermost(error)
        # An alert is what the other side says (RFC 8446 section 6.2): it means the client's certificate.
        if "alert" in said.lower() and ("certificate" in said.lower() or "unknown ca" in said.lower()):
            return f"the server refused the TLS connection ({said}); check the client certificate (auth=..., cert=...)"
        return f"the TLS connection failed ({said}); check its certificate and your CA settings"
    if isinstance(error, requests.exceptions.ProxyError):
        return f"the proxy failed ({_innermost(error)})"
    if isinstance(error, urllib3.exceptions.HTTPError):
        # Reading goes past requests, so nobody has translated what breaks there.
        return f"the connection broke before the answer was complete ({_innermost(error)})"
    if isinstance(error, requests.exceptions.ConnectionError):
        return f"could not be connected to, or the connection broke ({_innermost(error)})"
    return f"the request failed ({type(error).__name__})"


def _innermost(error: BaseException) -> str:
    seen: set[int] = set()
    text = type(error).__name__
    current: BaseException | None = error
    while current is not None and id(current) not in seen:
        seen.add(id(current))
        if isinstance(current, OSError) and current.strerror:
            text = current.strerror
        following = getattr(current, "reason", None)
        if not isinstance(following, BaseException):
            following = next((a for a in current.args if isinstance(a, BaseException)), None)
        current = following or current.__cause__ or current.__context__
    return text


def _without_query(url: str) -> str:
    return url.partition("?")[0]


def parse_retry_after(value: str | None, now: float) -> float | None:
    """Seconds to stay away, from ``Retry-After`` (RFC 9110 section 10.2.3): a number of seconds or an HTTP-date.

    ``now`` is in seconds since the epoch. A moment in the past is 0; garbage is None; at most ``MAX_RETRY_AFTER``.
    """
    if value is None:
        return None
    value = value.strip()
    if value.isascii() and value.isdigit():
        # As many digits as somebody likes to send are a number too large, not a reason to compute it.
        return min(float(value[:20]), MAX_RETRY_AFTER)
    try:
        moment = parsedate_to_datetime(value)
        # The date without a zone is asctime's form, which is UTC by RFC 9110 section 5.6.7.
        seconds = (moment.timestamp() if moment.tzinfo else moment.replace(tzinfo=timezone.utc).timestamp()) - now
    except (TypeError, ValueError, OverflowError, IndexError):
        return None
    return min(max(seconds, 0.0), MAX_RETRY_AFTER)
