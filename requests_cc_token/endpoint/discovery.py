"""An issuer's metadata, fetched when it is first needed, kept, and refreshed (RFC 8414, OpenID Connect Discovery).

While a refresh fails the old copy is used.
"""

from __future__ import annotations

from requests_cc_token.clock import Clock
from requests_cc_token.demand import Demand
from requests_cc_token.events import logger
from requests_cc_token.exceptions import ConfigurationError, TokenEndpointConnectionError, TokenRequestError
from requests_cc_token.urls import shown_url

from .backchannel import Backchannel
from .deadline import Deadline
from .metadata import Metadata, NoDocumentError, well_known_urls
from .server import KnownServer

#: Seconds for which metadata is used before it is asked for again: endpoints move once in years.
METADATA_LIFETIME = 3600.0
#: Seconds after a failed refresh before the next one.
REFRESH_PAUSE = 60.0
#: Seconds that a refresh may take of a fetch that could go on with the old copy.
REFRESH_TIME = 3.0


def metadata_of(demand: Demand, backchannel: Backchannel, clock: Clock, deadline: Deadline) -> Metadata:
    """The metadata of the client's issuer, checked against what is asked for.

    Raises ``TokenRequestError`` where there is none, or it does not fit.
    """
    server = _issuer(demand, backchannel)
    now = clock.monotonic()
    if server.metadata is None:
        server.metadata = _fetched(demand, backchannel, deadline)
        server.refresh_at = now + METADATA_LIFETIME
    elif now >= server.refresh_at:
        server.refresh_at = now + REFRESH_PAUSE
        try:
            server.metadata = _fetched(demand, backchannel, deadline.no_later_than(now + REFRESH_TIME))
            server.refresh_at = now + METADATA_LIFETIME
        except TokenRequestError as error:
            logger.warning("token client %r: %s; going on with the copy from before", demand.name, error)
    # Another thread may refresh it at this moment: what was checked is what is used.
    metadata = server.metadata
    metadata.check(demand)
    return metadata


def unlisted_grant(demand: Demand, backchannel: Backchannel) -> str | None:
    """For a refusal: that the issuer's metadata, where it is there already, lists other grants only; else None."""
    metadata = None if demand.client.issuer is None else _issuer(demand, backchannel).metadata
    return None if metadata is None else metadata.unlisted_grant(demand)


def doubt(demand: Demand, backchannel: Backchannel) -> None:
    """Ask for the metadata again at the next fetch: what it said did not work."""
    if demand.client.issuer is not None:
        _issuer(demand, backchannel).refresh_at = float("-inf")


def _issuer(demand: Demand, backchannel: Backchannel) -> KnownServer:
    # What an issuer may name depends on what it is trusted with.
    return backchannel.servers.of((demand.client.issuer, demand.client.allow_http))


def _fetched(demand: Demand, backchannel: Backchannel, deadline: Deadline) -> Metadata:
    issuer = demand.client.issuer
    assert issuer is not None
    problems: list[str] = []
    # A document that must not be used will say the same the next time; all else may pass.
    transient = True
    # Nobody answered: what retries on connection errors of requests retries on this one.
    kind: type[TokenRequestError] = TokenEndpointConnectionError
    for url in well_known_urls(issuer):
        try:
            answer = backchannel.get(url, deadline)
            if answer.status_code == 200:
                return Metadata.read(answer.body, issuer, allow_http=demand.client.allow_http)
            problems.append(f"{shown_url(url)} answered {answer.status_code}")
            kind = TokenRequestError
        except ConfigurationError as error:
            problems.append(f"{shown_url(url)}: {error}")
            transient = transient and isinstance(error, NoDocumentError)
            kind = TokenRequestError
        except TokenRequestError as error:
            problems.append(str(error))
    raise kind(
        f"the metadata of the issuer cannot be had: {'; '.join(problems)}; give token_endpoint=... where it has none",
        transient=transient,
    )
