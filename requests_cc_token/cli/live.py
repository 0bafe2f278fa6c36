"""Token clients against their token services, step by step; then the store of tokens, and the API."""

from __future__ import annotations

import time

import requests

from requests_cc_token.authentication.assertions import unverified_claims
from requests_cc_token.authentication.by_name import is_in_metadata
from requests_cc_token.caches.protocol import TokenCache
from requests_cc_token.caches.store import StoreTokenCache
from requests_cc_token.clients import ClientCredentialsClient
from requests_cc_token.config import Plan
from requests_cc_token.endpoint.http_date import parse_http_date
from requests_cc_token.endpoint.server import MAX_CORRECTION
from requests_cc_token.events import TokenEvent
from requests_cc_token.exceptions import InvalidTokenResponseError, TokenCacheError, TokenRequestError
from requests_cc_token.management import AccessTokenManagement
from requests_cc_token.tokens import AccessToken
from requests_cc_token.urls import shown_url
from requests_cc_token.www_authenticate import parse_challenges

from .connection import Way, asked, steps
from .discover import Published, issuer_metadata
from .outcome import Exit, exit_code, exit_code_of_status
from .report import Finding, Report, Verdict

#: Seconds by which two clocks may differ before it is told: signed assertions live for a minute or so.
MAX_SKEW = 30.0

_CLAIMS = ("iss", "aud", "exp", "scope")


def check_live(plan: Plan, report: Report, clients: tuple[str, ...], session: str | None, path: str) -> None:
    """Tell what each client's token service says, what the store of tokens does, and what the API answers."""
    options = dict(plan.management.options)
    cache: TokenCache | None = options.pop("cache", None)
    options.pop("revoke_on_close", None)
    # Asked without the store, so that it is the token service that answers; and once, since somebody waits.
    with AccessTokenManagement(**options) as management:
        for entry in plan.clients:
            management.add_client(entry.name, **entry.options)
        backchannel = {name: value for name, value in plan.backchannel.options.items() if name != "wait"}
        management.configure_backchannel(**{**backchannel, "max_tries": 1})
        for entry in plan.sessions:
            management.add_session(entry.name, **entry.options)
        if session is not None:
            # An unknown name is an error that lists the names there are.
            management.make_session(session).close()
            clients = clients or tuple(filter(None, [management.sessions[session][1]]))
        chosen = [client for name, client in management.clients.items() if not clients or name in clients]
        for client in chosen:
            _Client(management, report, client, backchannel).check()
        if cache is not None:
            _check_store(report, cache)
        if session is not None and report.worst is Exit.FINE:
            _check_api(management, report, session, path)


class _Client:
    """One token client against its token service."""

    def __init__(
        self,
        management: AccessTokenManagement,
        report: Report,
        client: ClientCredentialsClient,
        backchannel: dict[str, object],
    ) -> None:
        self._management = management
        self._report = report
        self._client = client
        self._backchannel = backchannel
        self._about = f"client {client.name}"

    def check(self) -> None:
        """Go on to the first step that fails."""
        endpoint = self._client.token_endpoint
        if self._client.issuer is not None:
            if not self._reached(self._client.issuer):
                return
            published = self._discovered(self._client.issuer)
            if published is None:
                return
            endpoint = endpoint or published.document.get("token_endpoint")
        if endpoint is None or (self._client.token_endpoint is not None and not self._reached(endpoint)):
            return
        self._compare_clocks(endpoint)
        token = self._obtained()
        if token is not None:
            self._judge(token)

    def _reached(self, url: str) -> bool:
        failed = False
        for step in steps(Way.to(url, self._backchannel)):
            failed = step.failed
            code = Exit.NOT_REACHED if failed else Exit.FINE
            self._tell("problem" if failed else "ok", step.text, step.advice, step.seconds, code)
        return not failed

    def _discovered(self, issuer: str) -> Published | None:
        begun = time.perf_counter()
        published = issuer_metadata(issuer, Way.to(issuer, self._backchannel))
        if published is None:
            self._tell(
                "problem",
                f"{shown_url(issuer)} publishes no metadata",
                "check issuer, or give token_endpoint instead",
                _seconds_since(begun),
                Exit.CONFIGURATION,
            )
            return None
        self._tell("ok", f"metadata of {shown_url(published.url)}", None, _seconds_since(begun))
        methods = published.texts("token_endpoint_auth_methods_supported")
        method = self._client.auth.method
        if methods and is_in_metadata(method) and method not in methods:
            self._tell("warning", f"it does not list {method}; it lists {', '.join(methods)}")
        grants = published.texts("grant_types_supported")
        if grants and self._client.grant_type not in grants:
            self._tell("note", f"it does not list the grant {self._client.grant_type}; it lists {', '.join(grants)}")
        unlisted = set(self._client.scope) - set(published.texts("scopes_supported"))
        if published.texts("scopes_supported") and unlisted:
            self._tell("note", f"it does not list the scope {' '.join(sorted(unlisted))}")
        return published

    def _compare_clocks(self, endpoint: str) -> None:
        """Ask without credentials: any answer has a date."""
        way = Way.to(endpoint, self._backchannel)
        try:
            with asked(way) as answer:
                told, now = parse_http_date(answer.headers.get("Date")), time.time()
        except requests.RequestException:
            return  # the token request itself tells more
        if told is None or abs(now - told) <= MAX_SKEW:
            return
        ahead = now - told
        side = "ahead of" if ahead > 0 else "behind"
        text = f"this machine's clock is {abs(ahead):.0f} s {side} the token service's"
        if self._client.makes_dated_proofs and abs(ahead) > MAX_CORRECTION:
            # Whatever the token service says to it now: it is a fault of this machine, and is to be mended here.
            advice = f"set it, by NTP: this client signs with the time, and {MAX_CORRECTION / 60:.0f} minutes at most"
            self._tell("problem", text, f"{advice} are made up for", code=Exit.CONFIGURATION)
        else:
            advice = "set it, by NTP: signed assertions, DPoP proofs and tokens that hosts share count on it"
            self._tell("warning", text, advice)

    def _obtained(self) -> AccessToken | None:
        begun = time.perf_counter()
        try:
            token = self._management.service.get_access_token(self._client.name)
        except TokenRequestError as error:
            text = str(error).removeprefix(f"token client {self._client.name!r}: ")
            unusable = isinstance(error, InvalidTokenResponseError)
            advice = "check token_endpoint: it answers, but not with a usable token" if unusable else None
            self._tell("problem", text, advice, _seconds_since(begun), exit_code(error))
            return None
        self._tell("ok", "a token came", None, _seconds_since(begun))
        return token

    def _judge(self, token: AccessToken) -> None:
        lifetime = token.expires_at - time.time()
        self._tell("ok", f"{token.token_type} token, usable for {lifetime:.0f} s")
        missing = set(self._client.scope) - set((token.scope or "").split())
        if missing:
            self._tell(
                "warning",
                f"it was granted less than was asked for: {' '.join(sorted(missing))} is missing",
                "have it allowed for this client at the token service",
            )
        elif token.scope:
            self._tell("ok", f"scope {token.scope}")
        claims = unverified_claims(token.value)
        if claims is not None:
            shown = [f"{name} {claims[name]}" for name in _CLAIMS if name in claims]
            self._tell("note", f"it says of itself: {', '.join(shown) or 'nothing of interest'}")

    def _tell(
        self,
        verdict: Verdict,
        text: str,
        advice: str | None = None,
        seconds: float | None = None,
        code: Exit = Exit.FINE,
    ) -> None:
        self._report.add(Finding(verdict, self._about, text, advice, seconds, code))


def _check_store(report: Report, cache: TokenCache) -> None:
    begun = time.perf_counter()
    said, advice = "", "tokens are asked for without it meanwhile, by each process for itself"
    try:
        cache.get("0" * 64)
        if isinstance(cache, StoreTokenCache):
            said = "it can be read, but not written: "
            cache.try_out()
    except TokenCacheError as error:
        if said:
            advice += "; a folder has to be this user's, with mode 0700, and a Redis the master, with rights to write"
        report.add(Finding("problem", "cache", f"{said}{error}", advice, _seconds_since(begun), Exit.STORE))
    else:
        done = "can be read and written" if said else "answers"
        report.add(Finding("ok", "cache", f"{cache!r} {done}", None, _seconds_since(begun)))


def _check_api(management: AccessTokenManagement, report: Report, name: str, path: str) -> None:
    about = f"session {name}"
    begun = time.perf_counter()
    events: list[TokenEvent] = []
    management.subscribe(events.append)
    with management.make_session(name) as session:
        try:
            answer = session.get(path, allow_redirects=False, stream=True)
        except requests.RequestException as error:
            report.add(Finding("problem", about, str(error), None, _seconds_since(begun), Exit.FAILED))
            return
        answer.close()
    text = f"the API answers {answer.status_code}"
    code = exit_code_of_status(answer.status_code)
    if code is Exit.FINE:
        report.add(Finding("ok", about, text, None, _seconds_since(begun)))
        return
    said, advice = _meaning(answer)
    if any(event.repeated for event in events):
        same = "asked for another token, the token service gave the same: a cache may be on the way to it"
        advice = same if advice is None else f"{advice}; {same}"
    report.add(Finding("problem", about, f"{text}{said}", advice, _seconds_since(begun), code))


def _meaning(answer: requests.Response) -> tuple[str, str | None]:
    """What the API's challenge says (RFC 6750 section 3), and what to do about it."""
    header = answer.headers.get("WWW-Authenticate", "")
    challenges = parse_challenges([header] if header else [])
    challenge = next((c for c in challenges if c.error), None)
    said = ""
    if challenge is not None:
        description = challenge.parameters.get("error_description")
        said = f" {challenge.error}" + (f" ({description})" if description else "")
        if challenge.error == "insufficient_scope":
            scope = challenge.parameters.get("scope")
            wanted = f' with scope = "{scope}"' if scope else ""
            return said, f"ask for more{wanted}, and have the token service grant it"
    if answer.status_code == 401:
        advice = "the API does not take this token: check whom it is for (audience, resource) and who issued it"
        if "Age" in answer.headers:
            advice = "this is a cache's answer, as its Age header says, not the API's: look for it on the way there"
        elif not header:
            advice += "; it does not say why, so it may be that a gateway before the API answers"
        return said, advice
    if answer.status_code == 403:
        return said, "the API knows the token and refuses: check what this client may do there (roles, permissions)"
    return said, None


def _seconds_since(begun: float) -> float:
    return time.perf_counter() - begun
