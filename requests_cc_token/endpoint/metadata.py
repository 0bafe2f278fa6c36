"""An issuer's metadata as a value: where its endpoints are, and what it supports (RFC 8414 section 2)."""

from __future__ import annotations

import ipaddress
import json
import socket
import unicodedata
from collections.abc import Mapping
from typing import Any, NamedTuple
from urllib.parse import unquote, urlsplit

from requests_cc_token.authentication.by_name import is_in_metadata
from requests_cc_token.demand import Demand
from requests_cc_token.exceptions import ConfigurationError, TokenRequestError, one_line
from requests_cc_token.urls import check_endpoint, is_loopback, shown_url

#: Characters of an endpoint's URL at most: servers take no longer ones, and what is kept of an issuer is bounded.
MAX_URL = 2_048
#: Names of methods and algorithms that are kept of a list, and characters of a name: there are some twenty of each.
MAX_NAMES, MAX_NAME = 24, 64

#: IPv6 networks whose addresses end with the IPv4 address that they stand for.
_HOLD_IPV4 = tuple(map(ipaddress.IPv6Network, ("::/96", "::ffff:0:0:0/96", "64:ff9b::/96")))
#: What hosts files call this machine, beside ``localhost`` and names under it.
_OWN_NAMES = frozenset({"localhost.localdomain", "localhost6", "ip6-localhost", "ip6-loopback"})

#: The endpoints that this package uses.
_ENDPOINTS = ("token_endpoint", "revocation_endpoint", "introspection_endpoint")


class Metadata(NamedTuple):
    """What this package keeps of an issuer's metadata; None where the document does not say."""

    issuer: str
    #: The endpoints by name, and those for mutual TLS (RFC 8705 section 5).
    endpoints: Mapping[str, str]
    mtls_endpoints: Mapping[str, str]
    auth_methods: tuple[str, ...] | None
    signing_algorithms: tuple[str, ...] | None
    dpop_algorithms: tuple[str, ...] | None
    grant_types: tuple[str, ...] | None

    @classmethod
    def read(cls, body: bytes, issuer: str, *, allow_http: bool) -> Metadata:
        """The metadata in a document. Raises ``ConfigurationError`` for one that must not be used."""
        document = json_object(body)
        named = document.get("issuer")
        # RFC 8414 section 3.3: identical, code point by code point; anything else may be a mix-up attack.
        if named != issuer:
            shown = one_line(named, 200) if isinstance(named, str) else type(named).__name__
            raise ConfigurationError(
                f"it is of the issuer {shown!r}, which is not identical to the client's, {shown_url(issuer)!r}; "
                "a final slash counts"
            )
        aliases = document.get("mtls_endpoint_aliases")
        return cls(
            issuer,
            _endpoints(document, issuer, allow_http),
            _endpoints(aliases, issuer, allow_http) if isinstance(aliases, dict) else {},
            _names(document.get("token_endpoint_auth_methods_supported")),
            _names(document.get("token_endpoint_auth_signing_alg_values_supported")),
            _names(document.get("dpop_signing_alg_values_supported")),
            _names(document.get("grant_types_supported")),
        )

    def endpoint(self, name: str, demand: Demand) -> str:
        """The URL for what is asked for. Raises ``TokenRequestError`` where the issuer has none."""
        url = (self.mtls_endpoints.get(name) if demand.certificate is not None else None) or self.endpoints.get(name)
        if url is None:
            raise TokenRequestError(
                f"the issuer {shown_url(self.issuer)} names no {name} in its metadata; give {name}=...",
                transient=False,
            )
        return url

    def check(self, demand: Demand) -> None:
        """Raise ``TokenRequestError`` where the issuer cannot do what the client is registered for.

        Nothing that is secret has been sent by then. What the document does not say is not judged: RFC 8414 gives a
        default to those who know no better, and the client's registration does. Grants are not judged either: there are
        token services that do not list the client credentials grant and have it.
        """
        auth = demand.client.auth
        problem = None
        if is_in_metadata(auth.method) and not _in(auth.method, self.auth_methods):
            problem = f"client authentication by {auth.method}; it offers {_listed(self.auth_methods)}"
        elif auth.algorithm is not None and not _in(auth.algorithm, self.signing_algorithms):
            problem = f"assertions signed by {auth.algorithm}; it offers {_listed(self.signing_algorithms)}"
        elif demand.dpop is not None and not _in(demand.dpop.algorithm, self.dpop_algorithms):
            problem = f"DPoP proofs signed by {demand.dpop.algorithm}; it offers {_listed(self.dpop_algorithms)}"
        if problem is not None:
            raise TokenRequestError(
                f"the issuer {shown_url(self.issuer)} does not support {problem}", transient=False
            )


    def unlisted_grant(self, demand: Demand) -> str | None:
        """For a refusal: that the document lists other grants only, and which; else None."""
        grant, listed = demand.client.grant_type, self.grant_types
        # A list, or a name, that was cut to be kept does not say what is not in it.
        if _in(grant, listed) or len(listed or ()) >= MAX_NAMES or len(grant) > MAX_NAME:
            return None
        return f"the issuer's metadata does not list this grant, but {_listed(self.grant_types)}"


class NoDocumentError(ConfigurationError):
    """What came is no JSON object: the page of something that stands before the issuer, say."""


def json_object(body: bytes) -> dict[str, Any]:
    """The JSON object in the body. Raises ``NoDocumentError`` for anything else."""
    try:
        document = json.loads(body)
    except (ValueError, RecursionError):
        document = None
    if not isinstance(document, dict):
        raise NoDocumentError("it is no JSON object")
    return document


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


def _endpoints(document: Mapping[str, Any], issuer: str, allow_http: bool) -> dict[str, str]:
    found = {}
    for name in _ENDPOINTS:
        url = document.get(name)
        if isinstance(url, str):
            found[name] = _endpoint(url, name, issuer, allow_http)
    return found


def _endpoint(url: str, name: str, issuer: str, allow_http: bool) -> str:
    """An endpoint that the document names, held to the rule of its issuer.

    A public issuer's document must not be able to send secrets in clear to what listens on this machine, or to an
    address that means something else on each machine, such as that of a cloud's metadata service.
    """
    if len(url) > MAX_URL:
        raise ConfigurationError(f"{name} has more than {MAX_URL} characters")
    check_endpoint(url, name, allow_http=allow_http)
    host, home = (_plain_host(urlsplit(each).hostname or "") for each in (url, issuer))
    if _is_this_machine(host) and not _is_this_machine(home):
        raise ConfigurationError(
            f"{name} {shown_url(url)} is on this machine, and the issuer is not; give {name}=... if you mean it"
        )
    if is_link_local(host) and not is_link_local(home):
        raise ConfigurationError(
            f"{name} {shown_url(url)} is a link-local address, and the issuer is not; give {name}=... if you mean it"
        )
    return url


def _plain_host(host: str) -> str:
    """The host as a resolver reads it: ``127.1``, ``2130706433`` and ``0x7f.0.0.1`` are addresses to it.

    Of an IPv6 literal that stands for an IPv4 address, that one: RFC 4291 section 2.5.5, RFC 6052 section 2.1.
    """
    host = unicodedata.normalize("NFKC", unquote(host)).lower().rstrip(".")
    try:
        address = ipaddress.IPv6Address(host)
    except ValueError:
        try:
            return socket.inet_ntoa(socket.inet_aton(host))
        except (OSError, UnicodeEncodeError):
            return host
    last = ipaddress.IPv4Address(int(address) & 0xFFFF_FFFF)
    stands_for_it = address.ipv4_mapped is not None or any(address in network for network in _HOLD_IPV4)
    return str(last) if stands_for_it and int(address) > 1 else str(address)


def _is_this_machine(host: str) -> bool:
    """Whether it is a name or an address of this machine. A connection to no address at all is one to it, too."""
    return is_loopback(host) or host in _OWN_NAMES or host in ("0.0.0.0", "::")  # noqa: S104 - nothing is bound to it


def is_link_local(host: str) -> bool:
    """Whether it is the literal of an address that holds on one network only (RFC 3927, RFC 4291 section 2.5.6)."""
    try:
        return ipaddress.ip_address(host.partition("%")[0]).is_link_local
    except ValueError:
        return False


def _names(given: object) -> tuple[str, ...] | None:
    if not isinstance(given, list):
        return None
    return tuple(one_line(text, MAX_NAME) for text in given[:MAX_NAMES] if isinstance(text, str))


def _in(name: str, offered: tuple[str, ...] | None) -> bool:
    return offered is None or name in offered


def _listed(names: tuple[str, ...] | None) -> str:
    return one_line(", ".join(names or ()), 200) or "none"
