"""What an answer of the token service means: a token, or an error (RFC 6749 sections 5.1 and 5.2)."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterable, Mapping
from http import HTTPStatus
from typing import Any, NoReturn
from urllib.parse import parse_qsl, urljoin

from requests_cc_token.authentication.method import TokenRequest
from requests_cc_token.demand import Demand
from requests_cc_token.exceptions import MAX_TEXT, InvalidTokenResponseError, TokenEndpointError, one_line
from requests_cc_token.expiry import lifetime_bounds
from requests_cc_token.tokens import AccessToken, is_presentable
from requests_cc_token.urls import shown_url
from requests_cc_token.www_authenticate import parse_challenges

from .advice import advice_for
from .answer import Answer
from .excerpt import MAX_RESPONSE_TEXT, never_repeated, outline, response_text, sentence
from .failures import foreign
from .http_date import parse_http_date
from .retry_after import parse_retry_after

#: Seconds of lifetime believed at most: a year. More is a unit mistake, and the 401 path catches the rest.
MAX_LIFETIME = 365 * 86_400.0
#: Characters of a credential that is looked for in a scope.
MIN_SECRET = 8
#: Fields of an answer that is a form: real ones have three to ten.
MAX_FIELDS = 1_000
#: Bytes of what is kept of an answer beside the token, as JSON: what vendors send along has a few hundred.
MAX_EXTRA = 16_384

_TRANSIENT_STATUS = frozenset({408, 425, 429})
_TRANSIENT_ERRORS = frozenset({"temporarily_unavailable", "server_error", "slow_down"})

_TOKEN_TYPES = {"bearer": "Bearer", "dpop": "DPoP"}
_NUMBER = r"\s*[0-9]{1,400}(\.[0-9]{0,400})?\s*"
#: Members that have a place of their own, and the one that is not kept.
_NOT_EXTRA = frozenset({"access_token", "token_type", "scope", "refresh_token"})
_CODE = r"[\x21\x23-\x5b\x5d-\x7e]+"


#: Seconds after which a token service that gave a token at its end is asked again: it counts in whole seconds.
ANOTHER_TOKEN_AFTER = 1.0


class _Refused(Exception):
    """Why an answer is no token; never leaves this module."""

    transient = True
    #: Seconds after which the next request may bring another answer, or None.
    retry_after: float | None = None


class _Expired(_Refused):
    """A token that has no time left: there are services that give the same one until it expires, the next one then."""

    retry_after = ANOTHER_TOKEN_AFTER


class _Unwanted(_Refused):
    """Why a token is not the one that was asked for; the next one would not be either."""

    transient = False


def read_token_answer(answer: Answer, demand: Demand, key: str = "") -> AccessToken:
    """The token of an answer, to be cached under ``key``.

    Raises ``TokenEndpointError`` for an error, ``InvalidTokenResponseError`` for an answer that is neither.
    """
    what = f"the token endpoint {shown_url(answer.request.url)}"
    if not answer.is_success:
        raise error_of(answer, demand, what, members_of_error(answer))
    try:
        members = members_of(answer, demand)
        if members.get("error"):
            raise error_of(answer, demand, what, members)
        return _token(answer, members, demand, key)
    except _Refused as refusal:
        reason, transient, retry_after = str(refusal), refusal.transient, refusal.retry_after
    raise _invalid(answer, what, reason, transient=transient, retry_after=retry_after)


def _invalid(
    answer: Answer, what: str, reason: str, *, transient: bool, retry_after: float | None
) -> InvalidTokenResponseError:
    """The error that a success without a token is."""
    hide = never_repeated(answer.request)
    return InvalidTokenResponseError(
        f"{what} answered {answer.status_code}, but {one_line(reason, hide=hide)}",
        transient=transient,
        retry_after=retry_after,
        response_text=outline(answer, hide),
    )


def members_of(answer: Answer, demand: Demand) -> Mapping[str, Any]:
    """The members of a success, as RFC 6749 section 5.1 names them. Raises ``_Refused`` where it has none."""
    read_answer = demand.client.read_answer
    if read_answer is not None:
        return foreign("read_answer", lambda: dict(read_answer(answer.as_response())), demand.name)
    if answer.media_type == "application/x-www-form-urlencoded":
        try:
            return _unique(parse_qsl(answer.text, keep_blank_values=True, max_num_fields=MAX_FIELDS))
        except ValueError:
            raise _Refused(f"its form has more than {MAX_FIELDS} fields") from None
    members = _json(answer)
    if not isinstance(members, dict):
        raise _Refused("its body is no JSON object; read_answer=... can read what else it may be")
    return members


def members_of_error(answer: Answer) -> Mapping[str, Any]:
    """The members of an error; anything unreadable has none."""
    try:
        members = _json(answer)
    except _Refused:
        return {}
    return members if isinstance(members, dict) else {}


def _json(answer: Answer) -> Any:
    try:
        return json.loads(answer.text, parse_float=_finite, parse_constant=_refuse_constant, object_pairs_hook=_unique)
    except (ValueError, RecursionError):
        return None


def _refuse_constant(name: str) -> NoReturn:
    raise _Refused(f"its JSON holds {name}, which is no JSON")


def _finite(number: str) -> float:
    value = float(number)
    if math.isinf(value):
        raise _Refused("its JSON holds a number too large to be one")  # no cache could store it
    return value


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    members = dict(pairs)
    if len(members) != len(pairs):
        raise _Refused("it names a member twice")
    return members


def _token(answer: Answer, members: Mapping[str, Any], demand: Demand, key: str) -> AccessToken:
    value = members.get("access_token")
    if not isinstance(value, str) or not value:
        raise _Refused("there is no access_token in it; read_answer=... can say where the token is")
    if not is_presentable(value):
        raise _Refused("its access_token holds blanks or characters that a header cannot carry (RFC 6749 A.12)")
    grant = demand.client.grant
    objection = None if grant is None else grant.objection(members)
    if objection is not None:
        raise _Unwanted(objection)
    token_type = _token_type(members.get("token_type"), demand, answer.request)
    lifetime = stated_lifetime(members, answer)
    if lifetime is None:
        lifetime = demand.client.default_lifetime
    hard, soft = lifetime_bounds(lifetime, _refresh_in(members.get("refresh_in")))
    return AccessToken(
        value,
        token_type,
        _scope(members.get("scope"), demand, answer.request),
        expires_at=answer.sent.wall + lifetime,
        renew_at=answer.sent.wall + soft,
        issued_at=answer.sent.wall,
        extra=_kept(members),
        key=key,
        # Counted from before the request was sent, which errs on the safe side.
        soft_expiry=answer.sent.monotonic + soft,
        hard_expiry=answer.sent.monotonic + hard,
        binding=demand.binding,
    )


def _token_type(given: Any, demand: Demand, request: TokenRequest) -> str:
    """How to present the token: as the answer says, or as the client is registered if that is no known type."""
    said = given.lower() if isinstance(given, str) else ""
    presented = _TOKEN_TYPES.get(said) or demand.client.token_type
    if presented is None:
        what = "there is no token_type in it"
        if isinstance(given, str):
            # Credentials are removed before the text is cut: a part of one would not be recognised.
            shown = one_line(given, 100, hide=never_repeated(request))
            what = f"its token_type {shown!r} is none this package can use"
        raise _Unwanted(f'{what}; token_type="Bearer" takes it for a bearer token')
    if demand.dpop is not None and presented != "DPoP":
        raise _Unwanted("the token is not bound to the DPoP key (RFC 9449 section 5)")
    if demand.dpop is None and presented == "DPoP":
        raise _Unwanted("the token is bound to a DPoP key, but the client has none (dpop=...)")
    return presented


def stated_lifetime(members: Mapping[str, Any], answer: Answer) -> float | None:
    """Seconds that the token lives by the answer, or None where it does not say.

    Numbers, also as text. Without ``expires_in``, the moment of ``expires_on`` or ``expires_at`` in seconds since the
    epoch, which is by the clock of the token service.
    """
    lifetime = _seconds(members.get("expires_in"), "expires_in")
    for name in ("expires_on", "expires_at"):
        if lifetime is None and (moment := _seconds(members.get(name), name)) is not None:
            lifetime = moment - _moment_of(answer)
    if lifetime is None:
        return None
    if not lifetime > 0:
        raise _Expired(f"its lifetime is {lifetime:.3g} s: the token had expired when it was issued")
    return min(lifetime, MAX_LIFETIME)


def _seconds(given: Any, name: str) -> float | None:
    if given is None or (isinstance(given, str) and not given.strip()):
        return None
    is_number = isinstance(given, (int, float)) and not isinstance(given, bool)
    if not is_number and not (isinstance(given, str) and re.fullmatch(_NUMBER, given, re.ASCII)):
        raise _Refused(f"its {name} is no number of seconds")
    # JSON has whole numbers that no float holds.
    return float(given) if not isinstance(given, int) else float(max(-1e300, min(given, 1e300)))


def _moment_of(answer: Answer) -> float:
    """When the answer was made: by the clock of the token service where it says so, else by ours."""
    told = parse_http_date(answer.headers.get("Date"))
    return answer.sent.wall if told is None else told


def _refresh_in(refresh_in: Any) -> float | None:
    """Seconds after which the token service wants a renewal, as Microsoft's sends it; None for anything odd."""
    try:
        seconds = float(refresh_in)
    except (TypeError, ValueError, OverflowError):
        return None
    return seconds if 0 < seconds < MAX_LIFETIME else None


def _scope(granted: Any, demand: Demand, request: TokenRequest) -> str | None:
    """The scope granted: what the answer says, else what was asked for (RFC 6749 section 5.1)."""
    if granted is None:
        return demand.scope_text
    if isinstance(granted, list) and all(isinstance(each, str) for each in granted):
        granted = " ".join(granted)
    if not isinstance(granted, str):
        raise _Refused("its scope is no text")
    missing = sorted(set(demand.scope) - set(granted.split()))
    if missing and demand.client.strict_scope:
        raise _Unwanted(f"it grants less than was asked for: {' '.join(missing)} is missing (strict_scope)")
    # It is shown with the token. A short credential may be a part of a scope's name by chance.
    hide = [secret for secret in request.secrets if len(secret) >= MIN_SECRET]
    return one_line(granted, len(granted), hide=hide)


def _kept(members: Mapping[str, Any]) -> dict[str, Any]:
    """What is kept beside the token: a flat part of bounded size, and what the grant's details say (RFC 9396).

    No refresh token comes with this grant (RFC 6749 section 4.4.3); one that does is not kept.
    """
    kept: dict[str, Any] = {}
    left = MAX_EXTRA
    for name, value in members.items():
        is_flat = value is None or isinstance(value, (str, int, float))
        if name in _NOT_EXTRA or not (is_flat or name == "authorization_details"):
            continue
        try:
            size = len(name) + len(json.dumps(value))
        except (TypeError, ValueError, RecursionError):
            continue
        if size <= left:
            kept[name] = value
            left -= size
    return kept


def error_of(answer: Answer, demand: Demand, what: str, members: Mapping[str, Any]) -> TokenEndpointError:
    """The error that an answer of ``what`` is."""
    hide = never_repeated(answer.request)
    token = members.get("access_token")
    if isinstance(token, str) and token:
        hide = (token, *hide)
    code, description, uri = _said(answer, members)
    is_code = code is not None and _is_oauth_code(code, answer.status_code)
    # A known code is shown as it is, even if it happens to contain the client's secret.
    is_known = code is not None and (code in _TRANSIENT_ERRORS or advice_for(code) is not None)
    code = None if code is None else one_line(code, hide=() if is_known else hide)
    said = f"{answer.status_code} {code}" if code else str(answer.status_code)
    more = one_line(description, MAX_TEXT, hide=hide) if description else None
    if more is None and not code:
        more = sentence(answer, MAX_TEXT, hide)
    retry_after = parse_retry_after(answer.headers.get("Retry-After"), _moment_of(answer))
    parts = [f"{what} answered {said}" + (f" ({more})" if more else "")]
    advice = advice_for(code if is_known else None, answer.status_code, demand)
    parts += filter(None, [advice, _elsewhere(answer, hide)])
    if retry_after:
        parts.append(f"it asks to be left alone (Retry-After), so no request is made for {retry_after:.0f} s")
    return TokenEndpointError(
        "; ".join(parts),
        answer.status_code,
        code,
        None if description is None else one_line(description, MAX_RESPONSE_TEXT, hide=hide),
        None if uri is None else one_line(uri, MAX_RESPONSE_TEXT, hide=hide),
        retry_after=retry_after,
        response_text=response_text(answer, hide),
        transient=answer.status_code >= 500
        or answer.status_code in _TRANSIENT_STATUS
        or code in _TRANSIENT_ERRORS
        # A redirect will lead to the same place the next time; what else has no code may pass.
        or (not is_code and not 300 <= answer.status_code < 400),
    )


def _said(answer: Answer, members: Mapping[str, Any]) -> tuple[str | None, ...]:
    """Code, description and URI: of the body (RFC 6749 section 5.2), else of a challenge (RFC 6750 section 3)."""
    names = ("error", "error_description", "error_uri")
    said = tuple(value if isinstance(value := members.get(name), str) and value else None for name in names)
    if said[0] is None:
        for challenge in parse_challenges([answer.headers.get("WWW-Authenticate") or ""]):
            if any(challenge.parameters.get(name) for name in names):
                return tuple(challenge.parameters.get(name) or said[at] for at, name in enumerate(names))
    return said


def _is_oauth_code(code: str, status: int) -> bool:
    """Whether it is a code, and not the name of the status, which web frameworks put there."""
    phrase = HTTPStatus(status).phrase if status in HTTPStatus._value2member_map_ else ""
    return bool(re.fullmatch(_CODE, code)) and code.lower() != phrase.lower()


def _elsewhere(answer: Answer, hide: Iterable[str]) -> str | None:
    location = answer.headers.get("Location")
    if not 300 <= answer.status_code < 400 or not location:
        return None
    try:
        return f"it points to {one_line(shown_url(urljoin(answer.request.url, location)), hide=hide)}"
    except ValueError:
        return None
