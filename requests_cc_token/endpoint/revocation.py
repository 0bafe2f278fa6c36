"""What else may be asked about a token: that it be revoked (RFC 7009), whether it is active (RFC 7662).

Neither is needed to use tokens. Both are authenticated as the token request is.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from requests_cc_token.clock import Clock
from requests_cc_token.demand import Demand
from requests_cc_token.exceptions import InvalidTokenResponseError
from requests_cc_token.tokens import AccessToken

from .answer import Answer
from .backchannel import Backchannel
from .deadline import Deadline
from .token_answer import error_of, members_of_error
from .token_request import Attempt

#: Seconds that one of these requests may take: nobody's API call waits for it.
REQUEST_TIME = 5.0


def revoke(demand: Demand, token: AccessToken, backchannel: Backchannel, clock: Clock) -> None:
    """Revoke a token: the server does not hold it valid any more.

    A server answers 200 for a token that it does not know, too (RFC 7009 section 2.2). Raises ``TokenRequestError``
    and its kinds; after a 503 the token is still valid.
    """
    _asked(demand, token, "revocation_endpoint", backchannel, clock)


def introspect(demand: Demand, token: AccessToken, backchannel: Backchannel, clock: Clock) -> Mapping[str, Any]:
    """What the token service says of a token: ``active`` and more (RFC 7662 section 2.2).

    Raises ``TokenRequestError`` and its kinds.
    """
    members = _asked(demand, token, "introspection_endpoint", backchannel, clock)
    if isinstance(members.get("active"), bool):
        return members
    raise InvalidTokenResponseError(
        f"token client {demand.name!r}: the introspection endpoint answered 200, but not whether the token is active "
        "(RFC 7662 section 2.2)",
        client=demand.name,
    )


def _asked(
    demand: Demand, token: AccessToken, endpoint: str, backchannel: Backchannel, clock: Clock
) -> Mapping[str, Any]:
    """The members of the answer 200; none where it has no JSON object."""
    limit = f"the {REQUEST_TIME:g} s of such a request are over"
    attempt = Attempt(demand, backchannel, clock, Deadline(clock.monotonic() + REQUEST_TIME, limit), endpoint)

    def asked() -> Answer:
        request = attempt.request({"token": token.value, "token_type_hint": "access_token"})
        request.secrets.append(token.value)
        answer = attempt.post(request)
        if answer.status_code != 200:
            raise error_of(answer, demand, attempt.where(request), members_of_error(answer))
        return answer

    return members_of_error(attempt.run(asked))
