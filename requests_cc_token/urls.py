"""URLs: which may see a secret (https, or loopback), each in one spelling, and fit for messages."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Mapping
from urllib.parse import SplitResult, urlsplit

import requests
from requests.utils import prepend_scheme_if_needed, select_proxy

from .exceptions import ConfigurationError
from .keyword_arguments import checked_flag

_SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*:.")

#: The ports that a URL need not name.
DEFAULT_PORTS = {"http": 80, "https": 443}


def is_loopback(host: str) -> bool:
    """Whether a host name or address never leaves this machine (RFC 8252 section 8.3 trusts the literals)."""
    if host == "localhost" or host.endswith(".localhost"):
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def check_endpoint(url: object, what: str, *, allow_http: bool) -> str:
    """A URL that secrets are sent to, checked; returned as given.

    Raises ``ConfigurationError`` where it is not absolute, holds user info or a fragment (RFC 6749 section 3.2),
    or is plain http to another machine.
    """
    url = _text(url, what)
    split = parsed(url, what)
    if "#" in url:
        raise ConfigurationError(f"{what} {shown_url(url)} must not have a fragment")
    check_http(url, split, what, allow_http)
    return url


def check_identifier(url: object, what: str) -> str:
    """An absolute URI without a fragment, as RFC 8707 section 2 wants ``resource``; returned as given."""
    url = _text(url, what)
    if not _SCHEME.match(url) or "#" in url or any(c <= " " or c > "~" for c in url):
        raise ConfigurationError(f"{what} must be an absolute URI without a fragment")
    return url


def shown_url(url: str) -> str:
    """A URL for messages: without user information, query and fragment, each of which may hold a secret."""
    head, _, rest = url.rpartition("@")
    if head:
        scheme, slashes, _ = head.partition("://")
        rest = f"{scheme}://***@{rest}" if slashes else f"***@{rest}"
    shown = rest.partition("?")[0].partition("#")[0]
    return "".join(c if c.isprintable() else "?" for c in shown)


def without_query(given: object, what: str) -> str:
    """The text, which must not have a query or a fragment."""
    url = _text(given, what)
    if "?" in url or "#" in url:
        raise ConfigurationError(f"{what} {shown_url(url)} must not have a query or a fragment")
    return url


def _text(given: object, what: str) -> str:
    if not isinstance(given, str):
        raise ConfigurationError(f"{what} must be text, not {type(given).__name__}")
    return given


def parsed(url: str, what: str) -> SplitResult:
    """The parts of an http or https URL. Raises ``ConfigurationError`` for anything else, and for odd characters."""
    try:
        split = urlsplit(url)
        port_is_fine = split.port is None or split.port > 0
    except ValueError:
        # What the parser says of it may quote a password.
        raise ConfigurationError(f"{what} is no URL that can be parsed") from None
    if split.scheme not in DEFAULT_PORTS or not split.hostname or not port_is_fine:
        raise ConfigurationError(f"{what} must be an absolute https URL")
    if "@" in split.netloc:
        raise ConfigurationError(
            f"{what} {shown_url(url)} must not hold a user name or password; give client_id and client_secret"
        )
    if "\\" in url or any(c <= " " or c == "\x7f" for c in url):
        raise ConfigurationError(f"{what} {shown_url(url)!r} must not hold blanks, backslashes or control characters")
    return split


def check_http(url: str, split: SplitResult, what: str, allow_http: object) -> None:
    """Refuse plain http to another machine, unless it is allowed by name. Raises ``ConfigurationError``."""
    checked_flag(allow_http, f"{what}: allow_http")
    if split.scheme == "http" and not allow_http and not is_loopback(split.hostname or ""):
        raise ConfigurationError(
            f"{what} {shown_url(url)} is plain http, so everybody on the way could read the secret; "
            "use https, or pass allow_http=True if you mean it"
        )


def proxies_that_see_no_secret(url: str, proxies: Mapping[str, str]) -> Mapping[str, str]:
    """The proxies for a request that carries a secret.

    None where the URL is plain http on loopback and its proxy is another machine: that URL was let pass because the
    secret would not leave this one.
    """
    split = urlsplit(url)
    if split.scheme != "http" or not is_loopback(split.hostname or ""):
        return proxies
    proxy = select_proxy(url, dict(proxies))
    if proxy is None or is_loopback(urlsplit(prepend_scheme_if_needed(proxy, "http")).hostname or ""):
        return proxies
    return {}


def canonical_url(url: str, what: str) -> str:
    """The URL as ``requests`` prepares it: IDNA host, percent-encoded path. Raises ``ConfigurationError``."""
    prepared = requests.PreparedRequest()
    try:
        prepared.prepare_url(url, None)
    except (requests.RequestException, ValueError):
        raise ConfigurationError(f"{what} is no URL that requests can use") from None
    return str(prepared.url)


def origin_of(url: str) -> str:
    """Scheme, host and port of a URL in one spelling (RFC 6454): lower case, no default port, no final slash.

    Raises ``ValueError`` for what is no URL that can be parsed.
    """
    split = urlsplit(url)
    host = split.hostname or ""
    host = f"[{host}]" if ":" in host else host
    port = "" if split.port in (None, DEFAULT_PORTS.get(split.scheme)) else f":{split.port}"
    return f"{split.scheme}://{host}{port}"
