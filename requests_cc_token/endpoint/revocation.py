"""What else may be asked about a token: that it be revoked (RFC 7009), whether it is active (RFC 7662).

Neither is needed to use tokens. Both are authenticated as the token request is.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from requests_cc_token.clock import Clock
from requests_cc_token.demand import Demand
from requests_cc_token.exceptions import InvalidTokenResponseError, TokenRequestError
from requests_cc_token.tokens import AccessToken

from .backchannel import Answer, Backchannel
from .token_answer import named_error, refusal_of
from .token_request import Form, authenticated_request, locate

#: Seconds that one of these requests may take: nobody's API call waits for it.
REQUEST_TIME = 5.0


def revoke(demand: Demand, token: AccessToken, backchannel: Backchannel, clock: Clock) -> TokenRequestError | None:
    """Revoke a token; the error, or None where the server does not hold it valid any more.

    A server answers 200 for a token that it does not know, too (RFC 7009 section 2.2). After a 503 the token is
    still valid. Errors are returned: the frames here hold the secret.
    """
    answer = _ask(demand, token, "revocation_endpoint", backchannel, clock)
    return answer if isinstance(answer, TokenRequestError) else None


def introspect(
    demand: Demand, token: AccessToken, backchannel: Backchannel, clock: Clock
) -> Mapping[str, Any] | TokenRequestError:
    """What the token service says of a token: ``active`` and more (RFC 7662 section 2.2); or the error."""
    answer = _ask(demand, token, "introspection_endpoint", backchannel, clock)
    if isinstance(answer, TokenRequestError):
        return answer
    try:
        members = json.loads(answer.body)
    except (ValueError, RecursionError):
        members = None
    if isinstance(members, dict) and isinstance(members.get("active"), bool):
        return members
    reason = "the introspection endpoint answered 200, but not whether the token is active (RFC 7662 section 2.2)"
    return named_error(InvalidTokenResponseError(reason), demand)


def _ask(
    demand: Demand, token: AccessToken, endpoint: str, backchannel: Backchannel, clock: Clock
) -> Answer | TokenRequestError:
    """The answer 200, or an error."""
    deadline = clock.monotonic() + REQUEST_TIME
    what = f"the {endpoint.replace('_', ' ')}"
    try:
        place = locate(demand, backchannel, clock, deadline, endpoint)
        form: Form = {"token": token.value, "token_type_hint": "access_token"}
        request = authenticated_request(demand, place, form)
    except TokenRequestError as error:
        return named_error(error, demand)
    request.secrets.append(token.value)
    answer = backchannel.post(request, deadline, what)
    if not isinstance(answer, Answer):
        return named_error(answer, demand)
    return answer if answer.status_code == 200 else refusal_of(answer, demand, request, clock.time(), what)
