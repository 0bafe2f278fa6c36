"""Where an issuer's endpoints are, and what it supports, by its own metadata (RFC 8414, OpenID Connect Discovery).

Fetched when it is first needed, kept, and refreshed; while a refresh fails the old copy is used.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from requests_cc_token.authentication.by_name import METHODS
from requests_cc_token.clock import Clock
from requests_cc_token.demand import Demand
from requests_cc_token.events import logger
from requests_cc_token.exceptions import ConfigurationError, TokenRequestError, one_line
from requests_cc_token.urls import check_endpoint

from .backchannel import Answer, Backchannel

#: Seconds for which metadata is used before it is asked for again: endpoints move once in years.
METADATA_LIFETIME = 3600.0
#: Seconds after a failed refresh before the next one.
REFRESH_PAUSE = 60.0
#: Seconds that a refresh may take of a fetch that could go on with the old copy.
REFRESH_TIME = 3.0

#: Characters of somebody else's text that a message repeats at most.
_MAX_TEXT = 200

#: The endpoints that this package uses.
_ENDPOINTS = ("token_endpoint", "revocation_endpoint", "introspection_endpoint")


@dataclass(frozen=True)
class Metadata:
    """What this package reads of an issuer's metadata (RFC 8414 section 2)."""

    issuer: str
    #: The endpoints by name, and those for mutual TLS (RFC 8705 section 5).
    endpoints: Mapping[str, str]
    mtls_endpoints: Mapping[str, str]
    #: None where the document does not say.
    auth_methods: tuple[str, ...]
    signing_algorithms: tuple[str, ...] | None
    dpop_algorithms: tuple[str, ...] | None

    def endpoint(self, name: str, demand: Demand) -> str:
        """The URL for a client. Raises ``TokenRequestError`` where the issuer has none."""
        url = (self.mtls_endpoints.get(name) if demand.certificate is not None else None) or self.endpoints.get(name)
        if url is None:
            raise TokenRequestError(f"the issuer {self.issuer} names no {name} in its metadata", transient=False)
        return url

    def check(self, demand: Demand) -> None:
        """Raise ``TokenRequestError`` where the issuer cannot do what the client is registered for.

        Nothing that is secret has been sent by then.
        """
        auth = demand.client.auth
        problem = None
        if _is_listed(auth.method) and auth.method not in self.auth_methods:
            problem = f"client authentication by {auth.method}; it offers {_listed(self.auth_methods)}"
        elif auth.algorithm is not None and not _in(auth.algorithm, self.signing_algorithms):
            offered = _listed(self.signing_algorithms or ())
            problem = f"assertions signed by {auth.algorithm}; it offers {offered}"
        elif demand.dpop is not None and not _in(demand.dpop.algorithm, self.dpop_algorithms):
            offered = _listed(self.dpop_algorithms or ())
            problem = f"DPoP proofs signed by {demand.dpop.algorithm}; it offers {offered}"
        if problem is not None:
            raise TokenRequestError(f"the issuer {self.issuer} does not support {problem}", transient=False)


@dataclass
class _Known:
    metadata: Metadata
    refresh_at: float


def metadata_of(demand: Demand, backchannel: Backchannel, clock: Clock, deadline: float) -> Metadata:
    """The metadata of the client's issuer, checked against the client.

    ``deadline`` is of the monotonic clock. Raises ``TokenRequestError`` where there is none, or it does not fit.
    """
    issuer, allow_http = demand.client.issuer, demand.client.allow_http
    assert issuer is not None
    place = issuer, allow_http
    known: _Known | None = backchannel.issuers.get(place)
    now = clock.monotonic()
    if known is None:
        metadata = _fetched(issuer, allow_http, backchannel, deadline)
        known = backchannel.issuers[place] = _Known(metadata, now + METADATA_LIFETIME)
    elif now >= known.refresh_at:
        known.refresh_at = now + REFRESH_PAUSE
        try:
            known.metadata = _fetched(issuer, allow_http, backchannel, min(deadline, now + REFRESH_TIME))
            known.refresh_at = now + METADATA_LIFETIME
        except TokenRequestError as error:
            logger.warning("token client %r: %s; going on with the copy from before", demand.name, error)
    # Another thread may refresh it at this moment: what was checked is what is used.
    metadata = known.metadata
    metadata.check(demand)
    return metadata


def doubt(demand: Demand, backchannel: Backchannel) -> None:
    """Ask for the metadata again at the next fetch: what it said did not work."""
    known: _Known | None = backchannel.issuers.get((demand.client.issuer, demand.client.allow_http))
    if known is not None:
        known.refresh_at = float("-inf")


def well_known_urls(issuer: str) -> tuple[str, str]:
    """Where the metadata of an issuer may be.

    RFC 8414 section 3.1 puts the well-known part between host and path, OpenID Connect Discovery section 4 behind
    the path.
    """
    split = urlsplit(issuer)
    path = split.path.rstrip("/")
    return (
        split._replace(path=f"/.well-known/oauth-authorization-server{path}").geturl(),
        split._replace(path=f"{path}/.well-known/openid-configuration").geturl(),
    )


def _fetched(issuer: str, allow_http: bool, backchannel: Backchannel, deadline: float) -> Metadata:
    problems: list[str] = []
    transient = False
    for url in well_known_urls(issuer):
        answer = backchannel.get(url, deadline)
        if not isinstance(answer, Answer):
            problems.append(str(answer.args[0]))
            transient = True
        elif answer.status_code != 200:
            problems.append(f"{url} answered {answer.status_code}")
            transient = transient or answer.status_code >= 500 or answer.status_code in (408, 425, 429)
        else:
            try:
                return _read(answer.body, issuer, allow_http)
            except ConfigurationError as error:
                problems.append(f"{url}: {error}")
    raise TokenRequestError(f"the metadata of the issuer cannot be had: {'; '.join(problems)}", transient=transient)


def _read(body: bytes, issuer: str, allow_http: bool) -> Metadata:
    """The metadata in a document. Raises ``ConfigurationError`` for one that must not be used."""
    try:
        document = json.loads(body)
    except (ValueError, RecursionError):
        document = None
    if not isinstance(document, dict):
        raise ConfigurationError("it is no JSON object")
    named = document.get("issuer")
    # RFC 8414 section 3.3: identical, code point by code point; anything else may be a mix-up attack.
    if named != issuer:
        shown = one_line(named, _MAX_TEXT) if isinstance(named, str) else type(named).__name__
        raise ConfigurationError(f"it is of the issuer {shown!r}, which is not identical to the client's, {issuer!r}")
    aliases = document.get("mtls_endpoint_aliases")
    methods = _texts(document.get("token_endpoint_auth_methods_supported"))
    return Metadata(
        issuer,
        _endpoints(document, allow_http),
        _endpoints(aliases, allow_http) if isinstance(aliases, dict) else {},
        # RFC 8414 section 2: where it is left out, it is this one.
        ("client_secret_basic",) if methods is None else methods,
        _texts(document.get("token_endpoint_auth_signing_alg_values_supported")),
        _texts(document.get("dpop_signing_alg_values_supported")),
    )


def _endpoints(document: Mapping[str, Any], allow_http: bool) -> dict[str, str]:
    found = {}
    for name in _ENDPOINTS:
        url = document.get(name)
        if isinstance(url, str):
            found[name] = check_endpoint(url, name, allow_http=allow_http)
    return found


def _texts(given: object) -> tuple[str, ...] | None:
    if not isinstance(given, list):
        return None
    return tuple(one_line(text, _MAX_TEXT) for text in given if isinstance(text, str))


def _in(algorithm: str, offered: tuple[str, ...] | None) -> bool:
    return offered is None or algorithm in offered


def _listed(names: tuple[str, ...]) -> str:
    return one_line(", ".join(names), _MAX_TEXT) or "none"


def _is_listed(method: str) -> bool:
    """Whether servers that support the method say so by its name; a method of somebody's own they may not know."""
    known = METHODS.get(method)
    return known is not None and known.in_metadata
