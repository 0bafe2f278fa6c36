"""One fetch of a token: the request built, sent with backoff, its answer read (RFC 6749 section 4.4)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from typing import Union

from requests_cc_token.authentication.dpop import DPoPKey
from requests_cc_token.authentication.method import TokenRequest
from requests_cc_token.clock import Clock
from requests_cc_token.demand import Demand
from requests_cc_token.events import logger
from requests_cc_token.exceptions import TokenEndpointError, TokenRequestError
from requests_cc_token.tokens import AccessToken

from .backchannel import Answer, Backchannel
from .discovery import doubt, metadata_of
from .token_answer import members_of, named_error, never_repeated, read_token_answer

#: Seconds by which our clock may be off before proofs are dated by the token service's: servers allow for that much.
TOLERATED_SKEW = 10.0

#: The fields of a request; several values for one that may be repeated.
Form = dict[str, Union[str, tuple[str, ...]]]


def request_token(
    demand: Demand,
    key: str,
    *,
    backchannel: Backchannel,
    clock: Clock,
    keep_trying: Callable[[], bool],
    on_try: Callable[[], None],
) -> AccessToken:
    """Ask the token service for a token, with retries. Raises ``TokenRequestError`` and its kinds."""

    def attempt(deadline: float) -> AccessToken:
        on_try()
        tried = _try(demand, key, backchannel, clock, deadline)
        outcome = tried.outcome
        if _may_be_outdated(outcome):
            # The secret may have been replaced between our reading it and now (RFC 6749 section 5.2 names no
            # other way to learn that). One more try, only with another credential, or with the right time.
            unless = None if tried.learnt_time else tried.credential
            again = _try(demand, key, backchannel, clock, deadline, unless=unless)
            if again.outcome is not None:
                outcome = again.outcome
        assert outcome is not None
        if isinstance(outcome, TokenRequestError):
            raise outcome
        return outcome

    return backchannel.retrying(attempt, keep_trying=keep_trying)


def _may_be_outdated(outcome: AccessToken | TokenRequestError | None) -> bool:
    # Keycloak answers a wrong secret with 401 and "unauthorized_client".
    return isinstance(outcome, TokenEndpointError) and (
        outcome.error in ("invalid_client", "invalid_dpop_proof") or outcome.status_code == 401
    )


@dataclass(frozen=True)
class _Tried:
    """One token request: what came of it, and what may be different at the next one."""

    #: None where it was not sent.
    outcome: AccessToken | TokenRequestError | None
    #: The fingerprint of the credential used.
    credential: bytes = b""
    #: Whether the answer told that our clock is wrong.
    learnt_time: bool = False


def _try(
    demand: Demand,
    key: str,
    backchannel: Backchannel,
    clock: Clock,
    deadline: float,
    unless: bytes | None = None,
) -> _Tried:
    """One token request, not sent where its credential would be ``unless``.

    Errors are returned: the frames here hold the secret, and a traceback would show their variables.
    """
    credential = b""
    try:
        place = locate(demand, backchannel, clock, deadline)
        request = build_token_request(demand, clock, place)
        credential = request.credential
        if credential == unless:
            return _Tried(None, credential)
        # The lifetime counts from before the request was sent, which errs on the safe side.
        sent_monotonic, sent_wall = clock.monotonic(), clock.time()
        answer = backchannel.post(request, deadline)
        learnt_time = False
        if isinstance(answer, Answer):
            learnt_time = _learn_time(answer, demand, place, backchannel, clock)
            if demand.dpop is not None and _asks_for_nonce(answer, request, demand.dpop):
                # Everything anew: an assertion is for one request too (RFC 7521 section 5.1).
                request = build_token_request(demand, clock, place)
                sent_monotonic, sent_wall = clock.monotonic(), clock.time()
                answer = backchannel.post(request, deadline)
        if not isinstance(answer, Answer):
            doubt(demand, backchannel)
            return _Tried(named_error(answer, demand), credential)
        if demand.dpop is not None:
            demand.dpop.nonces.learn(request.url, answer.headers.get("DPoP-Nonce"))
        if answer.status_code in (404, 405, 410):
            doubt(demand, backchannel)
        outcome = read_token_answer(
            answer,
            demand,
            key,
            monotonic=sent_monotonic,
            wall=sent_wall,
            secrets=never_repeated(request),
            endpoint=request.url,
        )
        return _Tried(outcome, credential, learnt_time)
    except TokenRequestError as error:
        failure = named_error(error, demand)
    except Exception as error:
        # A bug here, or in somebody's authentication method. The log gets the place, not the values.
        last = error.__traceback__
        while last is not None and last.tb_next is not None:
            last = last.tb_next
        where = f"{last.tb_frame.f_code.co_filename}:{last.tb_lineno}" if last is not None else "?"
        logger.error("token client %r: %s at %s", demand.name, type(error).__name__, where)
        failure = named_error(
            TokenRequestError(f"the token request failed unexpectedly ({type(error).__name__})", transient=False),
            demand,
        )
    return _Tried(failure, credential)


def _asks_for_nonce(answer: Answer, request: TokenRequest, key: DPoPKey) -> bool:
    """Whether the same request with a nonce of the answer is what the server wants (RFC 9449 section 8)."""
    if answer.status_code not in (400, 401) or members_of(answer).get("error") != "use_dpop_nonce":
        return False
    return key.nonces.learn(request.url, answer.headers.get("DPoP-Nonce")) is not None


def _learn_time(
    answer: Answer, demand: Demand, place: Place, backchannel: Backchannel, clock: Clock
) -> bool:
    """Take the time from a refusal where proofs hold it and ours is wrong; whether that is news."""
    dated = demand.client.auth.makes_dated_proofs or demand.dpop is not None
    if not dated or answer.status_code == 200:
        return False
    try:
        moment = parsedate_to_datetime(answer.headers.get("Date", "")).timestamp()
    except (TypeError, ValueError, OverflowError, IndexError):
        return False
    offset = moment - clock.time()
    if abs(offset) < TOLERATED_SKEW:
        offset = 0.0
    known = backchannel.clock_offsets.get(place.url, 0.0)
    if abs(offset - known) < TOLERATED_SKEW:
        return False
    backchannel.clock_offsets[place.url] = offset
    if demand.dpop is not None:
        demand.dpop.clock_offset = offset
    logger.warning(
        "token client %r: this machine's clock is %.0f s off that of the token service; set it (NTP)",
        demand.name,
        -offset,
    )
    return True


@dataclass(frozen=True)
class Place:
    """Where a request goes, and whom an assertion that comes with it is for."""

    url: str
    audience: str
    now: float


def locate(
    demand: Demand,
    backchannel: Backchannel,
    clock: Clock,
    deadline: float,
    endpoint: str = "token_endpoint",
) -> Place:
    """Where the client's requests to an endpoint go: as registered, else as the issuer's metadata says.

    Raises ``TokenRequestError``.
    """
    url: str | None = getattr(demand.client, endpoint)
    if url is None:
        if demand.client.issuer is None:
            raise TokenRequestError(f"neither its {endpoint} nor its issuer is known", transient=False)
        url = metadata_of(demand, backchannel, clock, deadline).endpoint(endpoint, demand)
    return Place(
        url,
        # The issuer as the sole audience (RFC 7523bis section 3); the token endpoint where no issuer is known.
        audience=demand.client.issuer or demand.client.token_endpoint or url,
        now=clock.time() + backchannel.clock_offsets.get(url, 0.0),
    )


def authenticated_request(demand: Demand, place: Place, form: Form) -> TokenRequest:
    """A request with this form in which the client has proved who it is. It holds secrets."""
    request = TokenRequest(place.url, form, cert=demand.certificate, audience=place.audience, now=place.now)
    request.headers.update(demand.client.headers)
    demand.client.auth.authenticate(request, demand.client)
    return request


def build_token_request(demand: Demand, clock: Clock, place: Place) -> TokenRequest:
    """The request of RFC 6749 section 4.4.2, authenticated. It holds secrets."""
    form: Form = {"grant_type": demand.client.grant_type}
    if demand.scope:
        form["scope"] = " ".join(demand.scope)
    if demand.resource:
        form["resource"] = demand.resource
    if demand.audience:
        form["audience"] = demand.audience
    if demand.authorization_details:
        form["authorization_details"] = demand.authorization_details
    form.update({name: values[0] for name, values in demand.form_parameters})
    request = authenticated_request(demand, place, form)
    if demand.dpop is not None:
        nonce = demand.dpop.nonces.get(request.url)
        request.headers["DPoP"] = demand.dpop.proof("POST", request.url, now=clock.time(), nonce=nonce)
    return request
