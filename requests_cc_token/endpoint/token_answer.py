"""What an answer of the token service means: a token, or an error (RFC 6749 sections 5.1 and 5.2)."""

from __future__ import annotations

import json
import math
from typing import Any, NoReturn
from urllib.parse import quote_plus

from requests_cc_token.authentication.client_secret import form_encode
from requests_cc_token.authentication.method import TokenRequest
from requests_cc_token.demand import Demand
from requests_cc_token.exceptions import InvalidTokenResponseError, TokenEndpointError, TokenRequestError, one_line
from requests_cc_token.expiry import lifetime_bounds
from requests_cc_token.tokens import AccessToken, is_b64token
from requests_cc_token.urls import shown_url

from .backchannel import Answer, parse_retry_after

#: Seconds of lifetime believed at most: a year. More is a unit mistake, and the 401 path catches the rest.
MAX_LIFETIME = 365 * 86_400.0

#: Characters of a text of the token service that a message repeats at most.
MAX_TEXT = 200

_TRANSIENT_STATUS = frozenset({408, 425, 429})
_TRANSIENT_ERRORS = frozenset({"temporarily_unavailable", "server_error", "slow_down"})

_ADVICE = {
    "invalid_client": "check client_id, the secret or key, and the method (auth=...)",
    "unauthorized_client": "allow the client credentials grant for this client at the token service, and check "
    "the secret: some servers say this of a wrong one",
    "unsupported_grant_type": "the token service does not offer the client credentials grant here",
    "invalid_scope": "check scope=... against what the client may ask for",
    "invalid_target": "check resource=... or audience=... against what the token service knows",
    "invalid_request": "check the registration: a parameter is missing, repeated or malformed",
    "invalid_dpop_proof": "check that the server knows the algorithm of dpop=..., and this machine's clock",
    "use_dpop_nonce": "the token service wants a nonce but sent none that can be used (RFC 9449 section 8)",
    "invalid_authorization_details": "check authorization_details=...",
}

_KNOWN_ERRORS = _ADVICE.keys() | _TRANSIENT_ERRORS

_TOKEN_TYPES = {"bearer": "Bearer", "dpop": "DPoP"}


def named_error(error: TokenRequestError, demand: Demand) -> TokenRequestError:
    """The error with the client's name in front, without the frames it came through."""
    named = error.for_caller()
    named.client = demand.name
    named.args = (f"token client {demand.name!r}: {error.args[0]}",)
    named.__cause__ = None
    return named


def never_repeated(request: TokenRequest) -> tuple[str, ...]:
    """The credentials of a request in every form that it carries them in, should the server echo it; longest first."""
    _, _, credentials = request.headers.get("Authorization", "").partition(" ")
    forms = {credentials, *request.secrets, *map(quote_plus, request.secrets), *map(form_encode, request.secrets)}
    return tuple(sorted(filter(None, forms), key=len, reverse=True))


class _Refused(Exception):
    """Why an answer is no token; never leaves this module."""

    transient = True


class _Unwanted(_Refused):
    """Why a token is not the one that was asked for; the next one would not be either."""

    transient = False


def read_token_answer(
    answer: Answer,
    demand: Demand,
    key: str = "",
    *,
    monotonic: float,
    wall: float,
    secrets: tuple[str, ...] = (),
    endpoint: str | None = None,
) -> AccessToken | TokenRequestError:
    """The token of an answer, or the error that it is (RFC 6749 sections 5.1 and 5.2).

    ``monotonic`` and ``wall`` say when the request was sent. Never raises: the frame holds the answer.
    """
    where = shown_url(endpoint or demand.client.token_endpoint or "")
    try:
        members = members_of(answer)
        if answer.status_code == 200 and members.get("error") is None:
            return _token(members, demand, key, monotonic, wall)
        return _error(answer, members, demand, wall, secrets, f"the token endpoint {where}")
    except _Refused as refusal:
        reason, transient = _hidden(str(refusal), secrets), refusal.transient
    return InvalidTokenResponseError(
        f"token client {demand.name!r}: the token endpoint {where} answered 200, but {reason}",
        client=demand.name,
        transient=transient,
    )


def members_of(answer: Answer) -> dict[str, Any]:
    """The members of the JSON object; for an error status anything unreadable is no members."""
    reason = "its body is no JSON object"
    try:
        members = json.loads(
            answer.body, parse_float=_finite, parse_constant=_refuse_constant, object_pairs_hook=_unique
        )
        if isinstance(members, dict):
            return members
    except _Refused as refusal:
        reason = str(refusal)
    except (ValueError, RecursionError):
        pass
    if answer.status_code == 200:
        raise _Refused(reason)
    return {}


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
        raise _Refused("its JSON names a member twice")
    return members


def _token(
    members: dict[str, Any], demand: Demand, key: str, monotonic: float, wall: float
) -> AccessToken:
    value, token_type = members.get("access_token"), members.get("token_type")
    if not isinstance(value, str) or not value:
        raise _Refused("there is no access_token in it")
    if not is_b64token(value):
        raise _Refused("its access_token holds characters that a header cannot carry (RFC 6750 section 2.1)")
    if not isinstance(token_type, str):
        raise _Refused("there is no token_type in it")
    presented = _TOKEN_TYPES.get(token_type.lower())
    if presented is None:
        raise _Unwanted(f"its token_type {shown(token_type)!r} is none this package can use")
    if demand.dpop is not None and presented != "DPoP":
        raise _Unwanted("the token is not bound to the DPoP key (RFC 9449 section 5)")
    if demand.dpop is None and presented == "DPoP":
        raise _Unwanted("the token is bound to a DPoP key, but the client has none (dpop=...)")
    lifetime = _lifetime(members.get("expires_in"), demand.client.default_lifetime)
    hard, soft = lifetime_bounds(lifetime, _refresh_in(members.get("refresh_in")))
    return AccessToken(
        value,
        presented,
        _scope(members.get("scope"), demand),
        expires_at=wall + lifetime,
        renew_at=wall + soft,
        # No refresh token comes with this grant (RFC 6749 section 4.4.3); one that does is not kept.
        extra={
            name: value
            for name, value in members.items()
            if name not in ("access_token", "token_type", "scope", "refresh_token")
        },
        key=key,
        soft_expiry=monotonic + soft,
        hard_expiry=monotonic + hard,
        binding=demand.binding,
    )


def _lifetime(expires_in: Any, default: float) -> float:
    """Seconds that the token lives. Missing or null: the default. Whole numbers as text or float: as numbers."""
    if expires_in is None:
        return default
    if isinstance(expires_in, str) and expires_in.isascii() and expires_in.isdigit():
        expires_in = int(expires_in[:20])
    is_number = isinstance(expires_in, (int, float)) and not isinstance(expires_in, bool)
    if not is_number:
        raise _Refused("its expires_in is no number of seconds")
    if expires_in <= 0:
        raise _Refused(f"its expires_in is {shown(str(expires_in))}: the token had expired when it was issued")
    return float(min(expires_in, MAX_LIFETIME))


def _refresh_in(refresh_in: Any) -> float | None:
    """Seconds after which the token service wants a renewal, as Microsoft's sends it; None for anything odd."""
    try:
        seconds = float(refresh_in)
    except (TypeError, ValueError, OverflowError):
        return None
    return seconds if 0 < seconds < MAX_LIFETIME else None


def _scope(granted: Any, demand: Demand) -> str | None:
    """The scope granted: what the answer says, else what was asked for (RFC 6749 section 5.1)."""
    if granted is None:
        return " ".join(demand.scope) or None
    if not isinstance(granted, str):
        raise _Refused("its scope is no text")
    missing = sorted(set(demand.scope) - set(granted.split()))
    if missing and demand.client.strict_scope:
        raise _Unwanted(f"it grants less than was asked for: {' '.join(missing)} is missing (strict_scope)")
    return shown(granted, len(granted))


def refusal_of(
    answer: Answer, demand: Demand, request: TokenRequest, wall: float, what: str
) -> TokenEndpointError:
    """The error that an answer of another endpoint than the token endpoint is; ``what`` names the endpoint."""
    members = members_of(answer) if answer.status_code != 200 else {}
    return _error(answer, members, demand, wall, never_repeated(request), f"{what} {shown_url(request.url)}")


def _error(
    answer: Answer,
    members: dict[str, Any],
    demand: Demand,
    wall: float,
    secrets: tuple[str, ...],
    endpoint: str,
) -> TokenEndpointError:
    status = answer.status_code
    token = members.get("access_token")
    secrets = (*secrets, token) if isinstance(token, str) and token else secrets
    code, description, uri = (
        # A code that is known is no secret, even where somebody's secret is a part of it.
        shown(text, hide=() if text in _KNOWN_ERRORS else secrets)
        if isinstance(text := members.get(name), str) and text
        else None
        for name in ("error", "error_description", "error_uri")
    )
    said = f"{status} {code}" if code else str(status)
    if description:
        said += f" ({description})"
    advice = _ADVICE.get(code or "")
    if advice is None and 300 <= status < 400:
        advice = "redirects are not followed, since the secret would travel with them; register the final URL"
    return TokenEndpointError(
        f"token client {demand.name!r}: {endpoint} answered {said}"
        + (f"; {advice}" if advice else ""),
        status_code=status,
        error=code,
        error_description=description,
        error_uri=uri,
        client=demand.name,
        retry_after=parse_retry_after(answer.headers.get("Retry-After"), wall),
        transient=status >= 500 or status in _TRANSIENT_STATUS or code in _TRANSIENT_ERRORS,
    )


def shown(text: str, limit: int = MAX_TEXT, *, hide: tuple[str, ...] = ()) -> str:
    """Text of the token service, fit for a message, a log line and a terminal.

    No control or format characters, a bounded length, and not our own secret should it be repeated.
    """
    return one_line(_hidden(text, hide), limit)


def _hidden(text: str, secrets: tuple[str, ...]) -> str:
    for secret in secrets:
        text = text.replace(secret, "***")
    return text
