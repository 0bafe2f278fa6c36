"""The place that a token was mounted for, and which URLs are in it."""

from __future__ import annotations

import itertools
import re
import unicodedata
from collections.abc import Iterator
from urllib.parse import unquote, urlsplit

from .exceptions import ConfigurationError
from .urls import DEFAULT_PORTS, canonical_url, check_http, origin_of, parsed, without_query

#: Rounds of percent-decoding before a path counts as hostile; honest paths need one, double encoding two.
_DECODING_ROUNDS = 4

#: What some servers read as a dot or a slash though no standard says so: ``%u002e``, overlong UTF-8.
_ODD_ESCAPE = re.compile(r"%u[0-9a-f]{4}|%c0%[ab]|%c1%9|%e0%8[01]%|%f0%80%8", re.IGNORECASE)
_ENCODED_SLASH = re.compile(r"%(?=2f|5c)", re.IGNORECASE)

#: A segment that is dots to the servers that cut something off, at its end or before it, and a name to the others.
_ALMOST_DOTS = re.compile(r"[/\\](?:[\x00-\x20]+\.{1,2}|\.{1,2}[;\x00-\x20])")

#: Two dots with nothing between them that can be seen.
_PARTED_DOTS = re.compile(r"[/\\]\.[\x00-\x20\x7f\xad\u200b-\u200d\ufeff]+\.(?:[/\\;\x00-\x20]|$)")

_SLASHES = re.compile(r"/+")


class Mount:
    """The place that a token was mounted for: an origin and a path.

    ``covers`` compares parsed URLs: the prefix match that a ``requests`` session does is not enough, it takes
    ``https://api.example.com.evil.test/`` for ``https://api.example.com`` and ``/v1/%2e%2e/admin`` for ``/v1/``.
    """

    __slots__ = ("_path", "host", "origin", "prefix", "prefixes")

    def __init__(self, prefix: object, *, allow_http: bool = False, what: str = "the prefix") -> None:
        url = without_query(prefix, what)
        split = parsed(url, what)
        if not split.path.endswith("/"):
            raise ConfigurationError(
                f"{what} {url!r} has no final slash and would also match lookalike hosts and paths; "
                f"write {url + '/'!r}"
            )
        check_http(url, split, what, allow_http)
        url = canonical_url(url, what)
        split = urlsplit(url)
        self.origin = origin_of(url)
        self.host = split.hostname or ""
        self._path = split.path
        #: The canonical prefix: lower case, no default port, final slash.
        self.prefix = self.origin + split.path
        #: What to mount on a session: the prefix, and the same with its default port written out.
        self.prefixes: tuple[str, ...] = (self.prefix,)
        if split.port in (None, DEFAULT_PORTS[split.scheme]):
            self.prefixes += (f"{self.origin}:{DEFAULT_PORTS[split.scheme]}{split.path}",)

    def __repr__(self) -> str:
        return f"<Mount {self.prefix}>"

    def covers(self, url: str) -> bool:
        """Whether a request to ``url`` may carry the token."""
        if url.startswith(self.prefix):
            path = url[len(self.prefix) :].partition("?")[0]
            # Blanks and control characters would have to be looked at: what cuts a URL into pieces drops some of them.
            if "%" not in path and ".." not in path and " " not in path and path.isascii() and path.isprintable():
                return True
        return self._covers_parsed(url)

    def _covers_parsed(self, url: str) -> bool:
        try:
            # The same parser that requests opens the connection by: both see one host.
            split = urlsplit(url)
            if "@" in split.netloc or "\\" in split.netloc or origin_of(url) != self.origin:
                return False
        except ValueError:
            return False
        return split.path.startswith(self._path) and not _could_leave(split.path, self._path)

    def is_overruled_by(self, prefix: str) -> bool:
        """Whether what a session has mounted at another prefix takes requests of this one, as requests compares."""
        return any(len(prefix) > len(mine) and prefix.lower().startswith(mine) for mine in self.prefixes)

    def resembles(self, url: str) -> bool:
        """Whether somebody may have expected the token at a URL that is not covered."""
        return self.host in url.lower().partition("?")[0]


def _could_leave(path: str, mount: str) -> bool:
    """Whether a server, however it reads the path, may find it outside of the mount, which it starts with.

    Servers decode once or twice, before or after they look for slashes; some merge slashes, take backslashes for
    slashes, or drop what follows a semicolon, and all that before they resolve dots or after. A path stays where it
    is if each of these readings leaves it there.
    """
    decoded = _decodings(path)
    if decoded is None:
        return True
    if any(map(_PARTED_DOTS.search, decoded)):
        return True  # a server that drops what stands between them finds two dots
    if not any(".." in text for text in decoded):
        return False  # whatever else is in it, nothing in it leads upward
    if any(map(_ALMOST_DOTS.search, decoded)):
        return True  # how far up it leads depends on the server
    prefixes = _decodings(mount)
    assert prefixes is not None, "the path starts with it"
    # The prefix may need fewer rounds of decoding than the whole path; then it stays as it is.
    pairs = itertools.zip_longest(decoded, prefixes, fillvalue=prefixes[-1])
    return any(
        not read.startswith(root)
        for text, prefix in itertools.islice(pairs, len(decoded))
        for read, root in zip(_readings(text), _readings(prefix), strict=True)
    )


def _decodings(path: str) -> list[str] | None:
    """The path as it is and after each further round of decoding; None where that does not come to an end."""
    texts = [path]
    for _ in range(_DECODING_ROUNDS):
        path = texts[-1]
        if _ODD_ESCAPE.search(path):
            return None
        decoded = unquote(path, errors="replace")
        if decoded == path:
            # Full-width dots and slashes count as such where text is normalized.
            return [*texts, unicodedata.normalize("NFKC", path)]
        # Some servers split at slashes before they decode: to them %2F is a character within a segment.
        texts += [unquote(_ENCODED_SLASH.sub("%25", path), errors="replace"), decoded]
    return None


def _readings(path: str) -> Iterator[str]:
    """The path with its dots resolved, by each kind of server."""
    for backslashes, merge in itertools.product((False, True), repeat=2):
        text = path.replace("\\", "/") if backslashes else path
        yield _resolved(_SLASHES.sub("/", text) if merge else text)


def _resolved(path: str) -> str:
    segments: list[str] = []
    parts = path.split("/")
    for part in parts:
        if part == "..":
            if len(segments) > 1:  # the first one is the root, above which there is nothing
                segments.pop()
        elif part != ".":
            segments.append(part)
    if parts[-1] in (".", ".."):
        segments.append("")
    return "/".join(segments)
