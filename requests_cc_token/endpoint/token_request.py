"""One fetch of a token: the request built, sent with backoff, its answer read (RFC 6749 sections 4.4 and 4.5)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import TypeVar, Union

from requests import PreparedRequest

from requests_cc_token.authentication.method import TokenRequest
from requests_cc_token.clock import Clock
from requests_cc_token.demand import Demand
from requests_cc_token.events import logger
from requests_cc_token.exceptions import TokenEndpointConnectionError, TokenEndpointError, TokenRequestError
from requests_cc_token.grants.grant import OtherTokens
from requests_cc_token.tokens import AccessToken
from requests_cc_token.tracebacks import sealed
from requests_cc_token.urls import shown_url

from .answer import Answer
from .backchannel import Backchannel
from .deadline import Deadline, OverdueError, by_deadline
from .discovery import doubt, metadata_of, unlisted_grant
from .failures import foreign
from .server import TOLERATED_SKEW
from .token_answer import members_of_error, read_token_answer, stated_lifetime

_T = TypeVar("_T")

#: Tries at one server that were given up and still hang, before no more are begun: each holds a thread.
MAX_UNFINISHED = 16

#: Clients of which it is kept that something was logged.
MAX_NOTED = 10_000

#: Refusals of what the client proved itself by.
_OVER_PROOF = frozenset({"invalid_client", "invalid_dpop_proof"})
#: Refusals of the grant itself.
_OF_GRANT = frozenset({"unsupported_grant_type", "unauthorized_client"})
#: Refusals of what a grant brought (RFC 7523 section 3.1, RFC 8693 section 2.2.2).
_OVER_GRANT = frozenset({"invalid_grant", "invalid_request", "invalid_token"})

#: The fields of a request; several values for one that may be repeated.
Form = dict[str, Union[str, tuple[str, ...]]]


def request_token(
    demand: Demand,
    key: str,
    *,
    backchannel: Backchannel,
    clock: Clock,
    keep_trying: Callable[[], bool],
    on_try: Callable[[TokenRequestError | None, float | None], object],
    on_sent: Callable[[], object],
    others: OtherTokens | None = None,
) -> AccessToken:
    """Ask the token service for a token, with retries. Raises ``TokenRequestError`` and its kinds.

    ``on_try(error, waited)`` is called before each try: with what the one before failed with, and the seconds since.
    ``on_sent()`` is called for each token request that was sent, in the thread that sent it.
    ``others`` are the tokens of the other clients, for a grant that exchanges one of them.
    """
    failed: tuple[TokenRequestError, float] | None = None

    def attempt(deadline: Deadline) -> AccessToken:
        nonlocal failed
        on_try(*((None, None) if failed is None else (failed[0], clock.monotonic() - failed[1])))
        each = Attempt(demand, backchannel, clock, deadline, on_sent=on_sent, others=others)
        try:
            return each.run(lambda: each.token(key))
        except TokenRequestError as error:
            # A copy without the frames, which would otherwise live until the fetch ends.
            failed = error.for_caller(), clock.monotonic()
            raise

    return backchannel.retrying(attempt, keep_trying=keep_trying)


class Attempt:
    """One try: a request for what is demanded, and at most one more where the answer says how to do better.

    Its requests may be sent by a thread for which nobody waits any more. Errors begin with the name of the client.
    """

    def __init__(
        self,
        demand: Demand,
        backchannel: Backchannel,
        clock: Clock,
        deadline: Deadline,
        endpoint: str = "token_endpoint",
        *,
        on_sent: Callable[[], object] | None = None,
        others: OtherTokens | None = None,
    ) -> None:
        self._demand = demand
        self._backchannel = backchannel
        self._clock = clock
        self._deadline = deadline
        self._endpoint = endpoint
        self._on_sent = on_sent
        self._others = others
        #: What is said if the time is over now.
        self._late = "its credentials were not there in time"

    @sealed
    def run(self, work: Callable[[], _T]) -> _T:
        """What ``work()`` returns by the deadline. Raises ``TokenRequestError`` and its kinds.

        Secrets go through the frames below, which are emptied before an error leaves from here.
        """
        client = self._demand.client
        unfinished = self._backchannel.servers.of(client.token_endpoint or client.issuer).unfinished
        failure: TokenRequestError
        try:
            if len(unfinished) >= MAX_UNFINISHED:
                raise TokenEndpointConnectionError(
                    f"{len(unfinished)} tries that were given up have not ended yet; no more are begun until one does"
                )
            bounded = partial(foreign, "the token request", work, client.name)
            return by_deadline(bounded, self._clock, self._deadline, unfinished)
        except OverdueError:
            failure = TokenEndpointConnectionError(f"{self._late}; {self._deadline.limit}")
        except TokenRequestError as error:
            failure = error
        raise self._named(failure)

    def _named(self, error: TokenRequestError) -> TokenRequestError:
        if error.client is None:
            error.client = self._demand.name
            error.reword(f"token client {self._demand.name!r}: {error}")
        return error

    def token(self, key: str) -> AccessToken:
        """The token, by one request or two."""
        request = self.request(self._token_form())
        answer = self._answer(request)
        try:
            return self._read(answer, key)
        except TokenEndpointError as error:
            refusal = error
        over_grant = self._demand.client.grant is not None and refusal.error in _OVER_GRANT
        if not over_grant and not _may_be_outdated(refusal):
            raise refusal
        for borrowed in request.borrowed if over_grant else ():
            assert self._others is not None, "somebody has lent it"
            self._others.token_rejected(borrowed)
        # The secret may have been replaced between our reading it and now (RFC 6749 section 5.2 names no other way to
        # learn that), or proofs are dated by a wrong clock. One more try, where something is different then.
        better = (over_grant or refusal.error in _OVER_PROOF) and self._learn_time(answer)
        again = self.request(self._token_form())
        is_same = (again.credential, again.granted) == (request.credential, request.granted)
        if is_same and not better and self._has_next_secret(refusal, request):
            again = self.request(self._token_form())
        elif is_same and not better:
            self._blame_the_clock(refusal, request)
            raise refusal
        answer = self._answer(again)
        try:
            return self._read(answer, key)
        except TokenEndpointError as error:
            if _may_be_outdated(error):
                self._blame_the_clock(error, again)
            raise

    def _blame_the_clock(self, refusal: TokenEndpointError, request: TokenRequest) -> None:
        """Have the refusal say that this machine's clock is off, where it is: that may be the reason."""
        skew = self._backchannel.servers.of(request.url).skew
        if abs(skew) >= TOLERATED_SKEW:
            refusal.reword(f"{refusal}; this machine's clock is {-skew:.0f} s off: set it (NTP)")

    def _has_next_secret(self, refusal: TokenEndpointError, request: TokenRequest) -> bool:
        """Whether the secret was refused, and there is another one, which is used from now on."""
        secret = self._demand.client.client_secret
        return secret is not None and _is_over_secret(refusal) and secret.pass_over(request.credential)

    def request(self, form: Form) -> TokenRequest:
        """A request with this form in which the client has proved who it is. It holds secrets.

        Raises ``TokenRequestError``.
        """
        demand, backchannel = self._demand, self._backchannel
        client = demand.client
        url: str | None = getattr(client, self._endpoint)
        if url is None:
            if client.issuer is None:
                raise TokenRequestError(
                    f"neither its {self._endpoint} nor its issuer is known; give one of them", transient=False
                )
            self._late = f"the metadata of the issuer {shown_url(client.issuer)} did not come in time"
            url = metadata_of(demand, backchannel, self._clock, self._deadline).endpoint(self._endpoint, demand)
        server = backchannel.servers.of(url)
        request = TokenRequest(
            url,
            form,
            cert=demand.certificate,
            # The issuer as the sole audience (RFC 7523bis section 3); the token endpoint where no issuer is known.
            audience=client.issuer or client.token_endpoint or url,
            now=self._clock.time() + server.clock_offset,
            clock_offset=server.clock_offset,
            customize=None if client.customize_request is None else self._customize,
        )
        request.headers.update(client.headers)
        secret = client.client_secret
        source = "" if secret is None else f" (its secret is from {secret.description})"
        self._late = f"its credentials were not there in time{source}"
        client.auth.authenticate(request, client)
        if self._endpoint == "token_endpoint":
            if client.grant is not None:
                client.grant.add_to(request, client, self._others)
            if demand.dpop is not None:
                request.headers["DPoP"] = demand.dpop.proof("POST", url, now=request.now, nonce=server.nonce)
        return request

    def where(self, request: TokenRequest) -> str:
        """The endpoint, as messages name it."""
        return f"the {self._endpoint.replace('_', ' ')} {shown_url(request.url)}"

    def post(self, request: TokenRequest) -> Answer:
        """The answer to the request. Raises ``TokenEndpointConnectionError``."""
        self._late = f"{self.where(request)}: did not answer in time"
        try:
            answer = self._backchannel.post(request, self._deadline, self.where(request), self._on_sent)
        except TokenEndpointConnectionError:
            doubt(self._demand, self._backchannel)
            raise
        if answer.status_code in (404, 405, 410):
            doubt(self._demand, self._backchannel)
        return answer

    def _customize(self, prepared: PreparedRequest) -> object:
        customize = self._demand.client.customize_request
        assert customize is not None
        return foreign("customize_request", lambda: customize(prepared), self._demand.name)

    def _token_form(self) -> Form:
        """The form of RFC 6749 section 4.4.2, without what proves anything."""
        demand = self._demand
        form: Form = {"grant_type": demand.client.grant_type}
        if demand.scope_text is not None:
            form["scope"] = demand.scope_text
        if demand.resource:
            form["resource"] = demand.resource
        if demand.audience:
            form["audience"] = demand.audience
        if demand.authorization_details:
            form["authorization_details"] = demand.authorization_details
        form.update({name: values[0] for name, values in demand.form_parameters})
        return form

    def _answer(self, request: TokenRequest) -> Answer:
        """The answer; that to the same request with a nonce, where the server wants one (RFC 9449 section 8)."""
        answer = self.post(request)
        if self._demand.dpop is None:
            return answer
        has_nonce = self._backchannel.servers.of(request.url).learn_nonce(answer.headers.get("DPoP-Nonce"))
        wants_nonce = answer.status_code in (400, 401) and members_of_error(answer).get("error") == "use_dpop_nonce"
        if not (has_nonce and wants_nonce):
            return answer
        # A new request altogether: an assertion is good for one request, too (RFC 7521 section 5.1).
        answer = self.post(self.request(self._token_form()))
        self._backchannel.servers.of(request.url).learn_nonce(answer.headers.get("DPoP-Nonce"))
        return answer

    def _read(self, answer: Answer, key: str) -> AccessToken:
        demand = self._demand
        try:
            token = read_token_answer(answer, demand, key)
        except TokenEndpointError as refusal:
            doubt_of_grant = unlisted_grant(demand, self._backchannel) if refusal.error in _OF_GRANT else None
            if doubt_of_grant is not None:
                refusal.reword(f"{refusal}; {doubt_of_grant}")
            raise
        # A success is never old, so its Date is the server's time now.
        self._learn_time(answer)
        name, noted = demand.name, self._backchannel.noted
        if stated_lifetime(token.extra, answer) is None and name not in noted and len(noted) < MAX_NOTED:
            noted.add(name)
            logger.info(
                "token client %r: the answer does not say how long the token lives; %g s are assumed "
                "(default_lifetime=...)",
                name,
                demand.client.default_lifetime,
            )
        return replace(token, clock_offset=self._backchannel.servers.of(answer.request.url).clock_offset)

    def _learn_time(self, answer: Answer) -> bool:
        """Take the token service's time from an answer that it made just now; whether proofs are dated anew then."""
        demand = self._demand
        if not demand.client.makes_dated_proofs or answer.headers.get("Age", "0") != "0":
            return False
        server = self._backchannel.servers.of(answer.request.url)
        before = server.clock_offset
        if server.learn_time(answer.headers.get("Date"), self._clock.time()) and abs(server.skew) >= TOLERATED_SKEW:
            logger.warning(
                "token client %r: this machine's clock is %.0f s off that of the token service; set it (NTP)",
                demand.name,
                -server.skew,
            )
        return server.clock_offset != before


def _is_over_secret(refusal: TokenEndpointError) -> bool:
    # Keycloak answers a wrong secret with 401 and "unauthorized_client".
    return refusal.error == "invalid_client" or (refusal.status_code == 401 and refusal.error not in _OVER_PROOF)


def _may_be_outdated(refusal: TokenEndpointError) -> bool:
    return refusal.error in _OVER_PROOF or refusal.status_code == 401
