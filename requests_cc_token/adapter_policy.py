"""Which token a request carries, and what a refusal leads to: a new token or nonce, and once more.

One policy for the adapter and the auth object, which sends nothing: a generator in the manner of httpx's ``auth_flow``
yields one try after the other, is sent the response of each, and ends when that response is the answer. ``send_tries``
is the one loop around it.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable
from typing import TYPE_CHECKING, Any, NamedTuple, TypedDict, Union
from urllib.parse import urljoin

import requests
import urllib3
from requests.adapters import BaseAdapter, HTTPAdapter

from .authorized_headers import AuthorizedHeaders, carries_token
from .clock import checked_seconds
from .events import logger
from .exceptions import ConfigurationError, TokenRequestError, one_line
from .keyword_arguments import check_whole_number, checked_flag, checked_text
from .mounts import Mount
from .netrc import is_from_netrc
from .parameters import NO_TOKEN, TokenRequestParameters, parameters_of
from .resend import body_position, drain, rewind
from .service import AccessTokenService
from .tokens import AccessToken
from .urls import shown_url
from .www_authenticate import Challenge, parse_challenges

if TYPE_CHECKING:
    from .authentication.dpop import DPoPKey

#: As requests takes it: seconds, (connect, read) seconds, a urllib3 Timeout, or None.
Timeout = Union[float, tuple[Union[float, None], Union[float, None]], urllib3.Timeout, None]

#: The statuses by which an API says that a token is dead, or a function that says it of a response.
RenewOn = Union[Iterable[int], Callable[[requests.Response], bool]]

#: What RFC 6750 section 3.1 has for a token that is expired, revoked or malformed.
RENEW_ON = (401,)

#: Error codes of a challenge that a new token cannot help (RFC 6750 section 3.1, RFC 9449 section 7.1).
_NOT_RENEWABLE = frozenset({"insufficient_scope", "invalid_request", "use_dpop_nonce", "invalid_dpop_proof"})


class PolicyOptions(TypedDict, total=False):
    """The keywords that say when a request carries a token, of sessions and adapters alike."""

    renew_on: RenewOn
    keep_authorization: bool
    token_patience: float | None
    token_parameters: TokenRequestParameters | None


class Try(NamedTuple):
    """One try of a request: with this token, and this nonce of the API in its proof."""

    token: AccessToken
    nonce: str | None = None

    @property
    def dpop(self) -> DPoPKey | None:
        """The key that the try is to prove (RFC 9449 section 7.1), or None."""
        binding = self.token.binding
        return None if binding is None or self.token.token_type != "DPoP" else binding.dpop


#: What a response says of the token in ``WWW-Authenticate``.
Challenges = tuple[Challenge, ...]

#: The tries of one request.
Tries = Generator[Try, requests.Response, None]


class AdapterPolicy:
    """Whose token goes where, and which answers mean that it has to be renewed.

    ``what`` begins the messages about its options. Raises ``ConfigurationError``.
    """

    def __init__(
        self,
        service: AccessTokenService,
        client: str | None,
        mount: Mount,
        *,
        what: str,
        renew_on: RenewOn = RENEW_ON,
        keep_authorization: bool = True,
        token_patience: float | None = None,
        token_parameters: TokenRequestParameters | None = None,
    ) -> None:
        if token_parameters is not None and not isinstance(token_parameters, TokenRequestParameters):
            raise ConfigurationError(f"{what}: token_parameters must be TokenRequestParameters(...)")
        if client is not None:
            checked_text(client, f"{what}: the name of a token client")
        checked_flag(keep_authorization, f"{what}: keep_authorization")
        if token_patience is not None:
            token_patience = checked_seconds(token_patience, f"{what}: token_patience", zero=True)
        self.service = service
        self.client = client
        #: Whose token it is, as lines of the log begin.
        self.about = "the only token client" if client is None else f"token client {client!r}"
        self.mount = mount
        self.renew_on = checked_renew_on(renew_on, what)
        self._keep_authorization = keep_authorization
        self._token_patience = token_patience
        self._token_parameters = token_parameters
        self._accepted: AccessToken | None = None
        self._warned_of_path = False
        self._warned_of_authorization = False
        self._warned_of_mount = False
        self._warned_of_redirect = False

    def __getstate__(self) -> dict[str, Any]:
        return {**vars(self), "_accepted": None}

    def authorizes(self, request: requests.PreparedRequest) -> bool:
        """Whether the token may go with this request, and the caller wants it to."""
        if request.hooks.get("response") and parameters_of(request) is NO_TOKEN:
            return False
        url = request.url or ""
        if not self.mount.covers(url):
            self._warn_of_path(url)
            return False
        authorization = request.headers.get("Authorization")
        return authorization is None or not self._keep_authorization or is_from_netrc(authorization, url)

    def tries(self, request: requests.PreparedRequest, timeout: Timeout, known: AccessToken | None = None) -> Tries:
        """The tries of a request that may carry the token, until a response is the answer.

        With the client's token, or the one that is ``known``; once more with a nonce that the API asked for; once more
        with a new token where the response says that this one is dead. ``timeout`` bounds each wait for a token.
        Raises ``TokenRequestError`` where none can be had for the first try.
        """
        url = request.url or ""
        token = self._token(request, timeout) if known is None else known
        response, challenges = yield from self._with_nonce(token, url)
        if not self.is_refusal(response, challenges):
            self._note_accepted(token, response, challenges)
            return
        self.service.token_rejected(token, said_of(token, challenges))
        try:
            new = self._token(request, timeout)
        except TokenRequestError as error:
            logger.warning(
                "token client %r: the API answered %d and the token could not be renewed: %s",
                error.client,
                response.status_code,
                error,
            )
            return
        if new.value == token.value:
            return
        response, challenges = yield from self._with_nonce(new, url)
        if not self.is_refusal(response, challenges):
            self._note_accepted(new, response, challenges)

    def _with_nonce(
        self, token: AccessToken, url: str
    ) -> Generator[Try, requests.Response, tuple[requests.Response, Challenges]]:
        """Try a token; once more with the nonce where the API wants one in the proof (RFC 9449 section 9).

        Returns the response, and its challenges.
        """
        attempt = Try(token)
        if attempt.dpop is None:
            response = yield attempt
            return response, challenges_of(response)
        nonces = self.service.api_nonces
        response = yield Try(token, nonces.get(url))
        challenges = challenges_of(response)
        nonce = nonces.learn(url, response.headers.get("DPoP-Nonce"))
        if response.status_code == 401 and nonce is not None and "use_dpop_nonce" in _codes(challenges):
            response = yield Try(token, nonce)
            challenges = challenges_of(response)
            nonces.learn(url, response.headers.get("DPoP-Nonce"))
        return response, challenges

    def headers(self, request: requests.PreparedRequest, attempt: Try) -> AuthorizedHeaders:
        """The request's headers with the token, and a new proof each time that they are sent where a key proves it."""
        given, key = request.headers, attempt.dpop
        if isinstance(given, AuthorizedHeaders):
            given = given.without_token()
        if key is None:
            return AuthorizedHeaders(given, attempt.token)
        token, nonce, method, url = attempt.token, attempt.nonce, request.method or "", request.url or ""

        def prove() -> str:
            # By the clock of the token service, which the API shares rather than ours.
            now = self.service.now() + token.clock_offset
            return key.proof(method, url, now=now, nonce=nonce, access_token=token.value)

        return AuthorizedHeaders(given, token, prove)

    def _token(self, request: requests.PreparedRequest, timeout: Timeout) -> AccessToken:
        parameters = parameters_of(request) if request.hooks.get("response") else None
        assert parameters is None or isinstance(parameters, TokenRequestParameters)
        if self._token_parameters is not None:
            parameters = self._token_parameters if parameters is None else parameters.over(self._token_parameters)
        try:
            return self.service.get_access_token(
                self.client, parameters, timeout=read_timeout(timeout), token_patience=self._token_patience
            )
        except TokenRequestError as error:
            error.request = request
            raise

    def is_refusal(self, response: requests.Response, challenges: Challenges) -> bool:
        """Whether the response, which has these challenges, refuses the token, and a new one may help."""
        if callable(self.renew_on):
            return bool(self.renew_on(response))
        if response.status_code not in self.renew_on:
            return False
        codes = _codes(challenges)
        # Several challenges: one that a new token helps is enough. None at all: many APIs just give the status.
        return not codes or bool(codes - _NOT_RENEWABLE)

    def _note_accepted(self, token: AccessToken, response: requests.Response, challenges: Challenges) -> None:
        """Tell the service of a token that the API took. A 401 does not say that, and a 5xx says nothing of it."""
        status = response.status_code
        if 300 <= status < 400 and response.is_redirect:
            self._warn_of_redirect(response, token)
        if status in (401, 403):
            said = said_of(token, challenges)
            if said is not None and said.error == "insufficient_scope":
                self.service.insufficient_scope(token, said)
        if token is self._accepted or status == 401 or status >= 500:
            return
        if not callable(self.renew_on) and status in self.renew_on:
            return
        self._accepted = token
        self.service.token_accepted(token)

    def _warn_of_path(self, url: str) -> None:
        """Say once that a request is sent without a token which somebody may have expected to carry one."""
        if self._warned_of_path or not self.mount.resembles(url):
            return
        self._warned_of_path = True
        logger.warning(
            "%s: a request to %s carries no token, it is not under %s",
            self.about,
            shown_url(url),
            self.mount.prefix,
        )

    def _warn_of_redirect(self, response: requests.Response, token: AccessToken) -> None:
        """Say once that the API leads to a place of its own host where the token does not go."""
        if self._warned_of_redirect:
            return
        url = response.url or ""
        try:
            target = urljoin(url, response.headers["Location"])
            leaves = self.mount.resembles(target) and not self.mount.covers(target)
        except ValueError:
            return  # no URL, as whoever follows it will say
        if not leaves:
            return
        self._warned_of_redirect = True
        logger.warning(
            "%s: the API redirects %s to %s, which is not under %s: the token does not go there, so a 401 of that "
            "address is no refusal of it. Call the address that is meant, or make it part of the base_url or prefix",
            self.about,
            shown_url(url),
            one_line(shown_url(target), hide=(token.value,)),
            self.mount.prefix,
        )

    def warn_of_mount(self, prefix: str, adapter: BaseAdapter) -> None:
        """Say once that another adapter of the session takes requests which would carry the token."""
        if self._warned_of_mount or not self.mount.is_overruled_by(prefix):
            return
        self._warned_of_mount = True
        logger.warning(
            "%s: requests under %s carry no token, since a %s is mounted there, which is a longer prefix "
            "than %s; take that mount away, mount the token there too with inner=..., or give the session "
            "auth=management.auth(...) instead",
            self.about,
            prefix,
            type(adapter).__name__,
            self.mount.prefix,
        )

    def warn_of_authorization(self, request: requests.PreparedRequest) -> None:
        """Say once that the API refused an ``Authorization`` header of the caller's that kept the token out."""
        authorization = request.headers.get("Authorization")
        url = request.url or ""
        is_callers = authorization is not None and not carries_token(request)
        if self._warned_of_authorization or not is_callers or not self.mount.covers(url):
            return
        self._warned_of_authorization = True
        logger.warning(
            "%s: the API refused a request to %s that has an Authorization header of its own, so it "
            "carried no token; delete the line that sets it (%s), or pass keep_authorization=False",
            self.about,
            shown_url(url),
            "session.auth = ... or auth=..."
            if str(authorization).startswith("Basic ")
            else 'session.headers["Authorization"] = ... or headers=...',
        )


def send_tries(
    tries: Tries,
    send: Callable[[Try], requests.Response],
    body: Any,
    about: str,
    first: tuple[requests.Response, int | None] | None = None,
) -> requests.Response:
    """Send each try until the policy has its answer, with the responses before it in ``history``, oldest first.

    Before each further try the body goes back to where it started and the connection is freed; a body that cannot
    be sent again makes the refusal the answer, and a line of the log, which ``about`` begins, says so. ``first`` is the
    response of a first try that was sent already, and where its body started.
    """
    attempt = next(tries)
    if first is None:
        position = body_position(body)
        response = send(attempt)
    else:
        response, position = first
    refused: list[requests.Response] = []
    while True:
        try:
            attempt = tries.send(response)
        except StopIteration:
            break
        if not rewind(body, position):
            tries.close()
            logger.info(
                "%s: the API's %d is the answer, since the body of this request cannot be sent twice; "
                "the next request has the new token or nonce",
                about,
                response.status_code,
            )
            break
        drain(response)
        refused.append(response)
        response = send(attempt)
    response.history[:0] = refused
    return response


def _codes(challenges: Challenges) -> set[str | None]:
    """The error codes of the challenges; None for a challenge without one."""
    return {challenge.error for challenge in challenges}


def said_of(token: AccessToken, challenges: Challenges) -> Challenge | None:
    """What the API says of the token, fit to be told to others; None where it says nothing.

    Of several challenges, one with an error code.
    """
    said = next((each for each in challenges if each.error is not None), next(iter(challenges), None))
    if said is None:
        return None
    return Challenge(said.scheme, {n: one_line(text, hide=(token.value,)) for n, text in said.parameters.items()})


def challenges_of(response: requests.Response) -> Challenges:
    """The challenges of an error that are about the token; only errors have some that count."""
    if response.status_code < 400:
        return ()
    # requests joins several header lines to one; urllib3's headers still tell them apart.
    getlist = getattr(getattr(response.raw, "headers", None), "getlist", None)
    lines = getlist("WWW-Authenticate") if getlist is not None else []
    if not lines and "WWW-Authenticate" in response.headers:
        lines = [response.headers["WWW-Authenticate"]]
    return tuple(challenge for challenge in parse_challenges(lines) if challenge.scheme in ("bearer", "dpop"))


def read_timeout(timeout: Any) -> float | None:
    """For how many seconds a caller with this timeout waits for a token: as long as for an answer."""
    if isinstance(timeout, urllib3.Timeout):
        # urllib3 counts total= from the start of the connection, which is now.
        running = timeout.clone()
        running.start_connect()
        return running.read_timeout
    if isinstance(timeout, tuple):
        # requests raises for a tuple of any other length.
        return timeout[1] if len(timeout) == 2 else None
    return timeout  # type: ignore[no-any-return]


def checked_renew_on(given: Any, what: str) -> frozenset[int] | Callable[[requests.Response], bool]:
    """The statuses, or the predicate. Raises ``ConfigurationError``."""
    if callable(given):
        predicate: Callable[[requests.Response], bool] = given
        return predicate
    if isinstance(given, Iterable) and not isinstance(given, (str, bytes)):
        statuses = list(given)
        if all(isinstance(s, int) and 400 <= s <= 599 for s in statuses):
            return frozenset(statuses)
    raise ConfigurationError(
        f"{what}: renew_on must be several statuses from 400 to 599, (401,) for example, or a function of the response"
    )


def check_adapter(given: object, what: str) -> None:
    """Raise ``ConfigurationError`` for what is no transport adapter."""
    if callable(getattr(given, "mount", None)):
        # Its ``send`` follows redirects: with the token, and out of the mount.
        raise ConfigurationError(
            f"{what} must be a transport adapter of requests, not a session, which would follow redirects with the "
            "token; give its adapter: session.get_adapter(prefix)"
        )
    if not callable(getattr(given, "send", None)):
        raise ConfigurationError(f"{what} must be a transport adapter of requests, not {type(given).__name__}")


def check_max_retries(given: object, what: str) -> None:
    """Raise ``ConfigurationError`` for what is neither a number of retries nor a ``urllib3.Retry``."""
    if not isinstance(given, urllib3.Retry):
        check_whole_number(given, what, 0)


def check_retries(sender: BaseAdapter | urllib3.Retry | None, renew_on: Any, what: str) -> None:
    """Refuse urllib3 retries on a status that means that the token is dead. Raises ``ConfigurationError``.

    urllib3 would send the dead token again until it gives up, and the status would never be seen here.
    """
    retries = sender.max_retries if isinstance(sender, HTTPAdapter) else sender
    if not isinstance(retries, urllib3.Retry):
        return
    statuses = {401} if callable(renew_on) else set(renew_on)
    twice = sorted(statuses.intersection(retries.status_forcelist or ()))
    if twice:
        raise ConfigurationError(
            f"{what}: urllib3 would retry {', '.join(map(str, twice))} with the same token until it gives up, and the "
            "token would never be renewed; take it out of the Retry's status_forcelist"
        )
