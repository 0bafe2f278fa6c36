"""Which addresses may see a secret: https or loopback, and exactly the place that a token was mounted for."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Mapping
from urllib.parse import SplitResult, unquote, urlsplit

import requests
from requests.utils import prepend_scheme_if_needed, select_proxy

from .exceptions import ConfigurationError

_SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*:.")

_DEFAULT_PORTS = {"http": 80, "https": 443}

#: Rounds of percent-decoding before a path counts as hostile; honest paths need one, double encoding two.
_DECODING_ROUNDS = 4


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
    split = _split(url, what)
    if "#" in url:
        raise ConfigurationError(f"{what} {shown_url(url)} must not have a fragment")
    _check_http(url, split, what, allow_http)
    return url


def check_identifier(url: object, what: str) -> str:
    """An absolute URI without a fragment, as RFC 8707 section 2 wants ``resource``; returned as given."""
    url = _text(url, what)
    if not _SCHEME.match(url) or "#" in url or any(c <= " " or c > "~" for c in url):
        raise ConfigurationError(f"{what} {url!r} must be an absolute URI without a fragment")
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


def _split(url: str, what: str) -> SplitResult:
    try:
        split = urlsplit(url)
        port_is_fine = split.port is None or split.port > 0
    except ValueError:
        # What the parser says of it may quote a password.
        raise ConfigurationError(f"{what} is no URL that can be parsed") from None
    if split.scheme not in _DEFAULT_PORTS or not split.hostname or not port_is_fine:
        raise ConfigurationError(f"{what} {shown_url(url)!r} must be an absolute https URL")
    if "@" in split.netloc:
        raise ConfigurationError(
            f"{what} {shown_url(url)} must not hold a user name or password; give client_id and client_secret"
        )
    if "\\" in url or any(c <= " " or c == "\x7f" for c in url):
        raise ConfigurationError(f"{what} {shown_url(url)!r} must not hold blanks, backslashes or control characters")
    return split


def _check_http(url: str, split: SplitResult, what: str, allow_http: object) -> None:
    if not isinstance(allow_http, bool):
        raise ConfigurationError(f"{what}: allow_http must be true or false, not {type(allow_http).__name__}")
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


class Mount:
    """The place that a token was mounted for: an origin and a path.

    ``covers`` compares parsed URLs: the prefix match that a ``requests`` session does is not enough, it takes
    ``https://api.example.com.evil.test/`` for ``https://api.example.com`` and ``/v1/%2e%2e/admin`` for ``/v1/``.
    """

    __slots__ = ("_path", "host", "origin", "prefix")

    def __init__(self, prefix: object, *, allow_http: bool = False, what: str = "the prefix") -> None:
        url = without_query(prefix, what)
        split = _split(url, what)
        if not split.path.endswith("/"):
            raise ConfigurationError(
                f"{what} {url!r} has no final slash and would also match lookalike hosts and paths; "
                f"write {url + '/'!r}"
            )
        _check_http(url, split, what, allow_http)
        split = urlsplit(canonical_url(url, what))
        self.origin = _origin(split)
        self.host = self.origin[1]
        self._path = split.path
        scheme, host, port = self.origin
        shown_host = f"[{host}]" if ":" in host else host
        shown_port = "" if port == _DEFAULT_PORTS[scheme] else f":{port}"
        #: The canonical prefix: lower case, no default port, final slash.
        self.prefix = f"{scheme}://{shown_host}{shown_port}{self._path}"

    def __repr__(self) -> str:
        return f"<Mount {self.prefix}>"

    @property
    def prefixes(self) -> tuple[str, ...]:
        """What to mount on a session: the prefix, and the same with its default port written out."""
        scheme, host, port = self.origin
        if port != _DEFAULT_PORTS[scheme]:
            return (self.prefix,)
        shown_host = f"[{host}]" if ":" in host else host
        return (self.prefix, f"{scheme}://{shown_host}:{port}{self._path}")

    def covers(self, url: str) -> bool:
        """Whether a request to ``url`` may carry the token."""
        if url.startswith(self.prefix):
            path = url[len(self.prefix) :].partition("?")[0]
            if "%" not in path and ".." not in path and "\\" not in path:
                return True
        return self._covers_parsed(url)

    def _covers_parsed(self, url: str) -> bool:
        try:
            # The same parser that requests opens the connection by: both see one host.
            split = urlsplit(url)
            if "@" in split.netloc or "\\" in split.netloc or _origin(split) != self.origin:
                return False
        except ValueError:
            return False
        return split.path.startswith(self._path) and _resolved(split.path).startswith(_resolved(self._path))

    def resembles(self, url: str) -> bool:
        """Whether somebody may have expected the token at a URL that is not covered."""
        return self.host in url.lower().partition("?")[0]


def canonical_url(url: str, what: str) -> str:
    """The URL as ``requests`` prepares it: IDNA host, percent-encoded path. Raises ``ConfigurationError``."""
    prepared = requests.PreparedRequest()
    try:
        prepared.prepare_url(url, None)
    except (requests.RequestException, ValueError):
        raise ConfigurationError(f"{what} is no URL that requests can use") from None
    return str(prepared.url)


def _origin(split: SplitResult) -> tuple[str, str, int]:
    return split.scheme, split.hostname or "", split.port or _DEFAULT_PORTS.get(split.scheme, 0)


def _resolved(path: str) -> str:
    """The path that the most lenient server might make of it; empty where it is hostile."""
    for _ in range(_DECODING_ROUNDS):
        decoded = unquote(path, errors="replace")
        if decoded == path:
            break
        path = decoded
    else:
        return ""
    segments: list[str] = []
    parts = path.replace("\\", "/").split("/")
    for part in parts:
        # Some servers drop ";parameters" before they resolve dots.
        bare = part.partition(";")[0]
        if bare == "..":
            if len(segments) > 1:  # the first one is the root, above which there is nothing
                segments.pop()
        elif bare != ".":
            segments.append(part)
    if parts[-1].partition(";")[0] in (".", ".."):
        segments.append("")
    return "/".join(segments)


def origin_of(url: str) -> str:
    """The origin of a URL as ``scheme://host:port/``, lower case."""
    scheme, host, port = _origin(urlsplit(url))
    return f"{scheme}://{f'[{host}]' if ':' in host else host}:{port}/"
