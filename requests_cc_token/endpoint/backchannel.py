"""The way to the token endpoint: a new session for each request or the user's own, one retry layer, a time budget.

No netrc, no cookies, no redirects, nothing of the API call's settings. Proxies and CA settings of the environment
count here as anywhere in requests. A token request is a request of a ``requests.Session`` like any other, so what
records, replays or traces those sees it too.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Generator, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, TypeVar

import backoff
import requests
from requests.adapters import HTTPAdapter

from requests_cc_token.authentication.certificate import CertificateConnections
from requests_cc_token.authentication.method import TokenRequest
from requests_cc_token.clock import Clock, waited_for
from requests_cc_token.exceptions import ConfigurationError, TokenEndpointConnectionError, TokenRequestError
from requests_cc_token.expiry import Moment
from requests_cc_token.forks import renew_after_fork
from requests_cc_token.netrc import NoNetrc
from requests_cc_token.retry_delays import taken
from requests_cc_token.shortcuts.adapter import leave_to_parent
from requests_cc_token.urls import shown_url

from .answer import Answer
from .backchannel_options import BackchannelOptions
from .deadline import Deadline
from .failures import Limits, came_after_sending, explained
from .http_exchange import exchange
from .server import KnownServers

_T = TypeVar("_T")


class Backchannel:
    """Sends token requests. One per management; safe in threads."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        #: Set once the management is closed; a fetch that waits between tries ends then.
        self.closed = threading.Event()
        #: What is known of issuers and endpoints.
        self.servers = KnownServers()
        #: The clients of which it was logged that a token's lifetime was assumed.
        self.noted: set[str] = set()
        #: Set by ``configure_backchannel``.
        self.options = BackchannelOptions()
        renew_after_fork(self)

    def configure(self, options: BackchannelOptions) -> None:
        """Use these options from the next fetch on."""
        self.options = options

    def close(self) -> None:
        """End waits between tries, and send nothing any more. A session of the user's is the user's to close."""
        self.closed.set()

    def retrying(self, attempt: Callable[[Deadline], _T], *, keep_trying: Callable[[], bool]) -> _T:
        """What ``attempt(deadline)`` returns, tried again by `backoff` as the options say.

        Permanent errors are raised at once, and so is any error when ``keep_trying()`` is false.
        """
        clock, options = self._clock, self.options
        started, tries = clock.monotonic(), 0
        limit = f"the {options.max_time:g} s of a fetch are over; configure_backchannel(max_time=...) allows more"
        deadline = Deadline(started + options.max_time, limit)

        def counted() -> _T:
            nonlocal tries
            tries += 1
            return attempt(deadline)

        def pauses() -> Generator[float, Any, None]:
            # backoff sleeps with time.sleep, which neither a test's clock nor close() could end. So the wait
            # happens here, where backoff asks for its length, and what is left to sleep is nothing.
            error = yield 0.0
            try:
                for seconds_after in options.waits():
                    asked = waited_for(seconds_after(error), "backchannel: wait")
                    seconds = taken(max(asked, error.retry_after or 0.0))
                    if seconds >= deadline.seconds_left(clock) or clock.wait(self.closed, seconds):
                        return
                    error = yield 0.0
            except StopIteration:
                return  # a wait generator of the user's that ends
            except Exception as odd:
                # What went wrong before is what the caller is to know; the generator's own text may say anything.
                raised = f"its generator raised {type(odd).__name__}"
                reason = str(odd) if isinstance(odd, ConfigurationError) else raised
                error.reword(f"{error}; not tried again, since the wait cannot be told ({reason})")

        def is_final(error: Exception) -> bool:
            return not getattr(error, "transient", False) or self.closed.is_set() or not keep_trying()

        try:
            retried = backoff.on_exception(pauses, TokenRequestError, giveup=is_final, jitter=None, logger=None)
            result: _T = retried(counted)()
            return result
        except TokenRequestError as error:
            if tries > 1:
                error.reword(f"{error}; tried {tries} times in {clock.monotonic() - started:.1f} s")
            raise

    def post(
        self, request: TokenRequest, deadline: Deadline, what: str, on_sent: Callable[[], object] | None = None
    ) -> Answer:
        """Send one token request to ``what`` and read its answer. Raises ``TokenEndpointConnectionError``.

        ``on_sent()`` is called where the request was sent, whatever became of it.
        """
        return self._exchange("POST", request, deadline, what, on_sent)

    def get(self, url: str, deadline: Deadline) -> Answer:
        """Read a public document of the token service. Raises ``TokenEndpointConnectionError``."""
        return self._exchange("GET", TokenRequest(url), deadline, f"the document {shown_url(url)}")

    def _exchange(
        self,
        method: str,
        request: TokenRequest,
        deadline: Deadline,
        what: str,
        on_sent: Callable[[], object] | None = None,
    ) -> Answer:
        sent = Moment.now(self._clock)
        left = deadline.at - sent.monotonic
        if self.closed.is_set() or left <= 0:
            # The secret, or an assertion, came late: nobody waits for the token any more.
            why = "the access token management is closed" if self.closed.is_set() else deadline.limit
            raise TokenEndpointConnectionError(f"{what}: {why}")
        limits = Limits.of(self.options.timeout, left, deadline.limit)
        proxies: Mapping[str, str] = {}
        was_sent = False
        try:
            with self._session(request) as session:
                proxies = session.merge_environment_settings(request.url, {}, None, None, None)["proxies"]
                answer = exchange(session, method, request, sent=sent, timeout=limits.seconds, proxies=proxies)
                was_sent = True
                return answer
        except TokenRequestError:
            raise
        except Exception as error:
            was_sent = came_after_sending(error)
            reason, hopeless = explained(error, request, limits=limits, proxies=proxies)
        finally:
            if was_sent and on_sent is not None:
                on_sent()
        # Raised here, so that it does not bring the error of requests along, which holds the request.
        raise TokenEndpointConnectionError(f"{what}: {reason}", transient=not hopeless)

    @contextmanager
    def _session(self, request: TokenRequest) -> Iterator[requests.Session]:
        """The user's session, or a new one for this request: a connection is not kept until the next one.

        That comes after most of a token's lifetime, when whatever stands on the way may have forgotten the connection.
        """
        options = self.options
        if options.session is not None:
            yield options.session
            return
        with requests.Session() as session:
            session.auth = NoNetrc()
            session.verify = options.verify
            session.proxies = dict(options.proxies or {})
            if request.cert is not None:
                session.mount("https://", CertificateConnections())
            yield session

    def after_fork_in_child(self) -> None:
        """Start the user's session with empty pools: its sockets are the parent's."""
        closed, self.closed = self.closed, threading.Event()
        if closed.is_set():
            self.closed.set()
        if self.options.session is not None:
            for adapter in self.options.session.adapters.values():
                if isinstance(adapter, HTTPAdapter):
                    leave_to_parent(adapter)
