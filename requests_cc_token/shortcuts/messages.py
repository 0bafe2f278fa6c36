"""Requests and responses put together without doing the same work again: cookie jars, headers."""

from __future__ import annotations

import copy
import functools
import http.client
from typing import TYPE_CHECKING, Any

import requests
import requests.cookies
from requests.cookies import RequestsCookieJar
from requests.models import PreparedRequest, Response
from requests.structures import CaseInsensitiveDict
from requests.utils import get_encoding_from_headers

from . import ground
from .ground import REMEMBERED, shipped

if TYPE_CHECKING:
    from collections.abc import Iterator

_EXTRACT_COOKIES = shipped(requests.cookies, "extract_cookies_to_jar")


# Cookie jars


class LateJar(RequestsCookieJar):
    """An empty jar that is filled in when first looked at, and from then on is a plain ``RequestsCookieJar``.

    Saves 4 to 11 %, with ``build_response``: a request and its response make four jars, each with a lock and a policy,
    and seldom is one looked at.
    """

    def __getattr__(self, name: str) -> Any:
        return getattr(_filled_in(self), name)

    def __reduce_ex__(self, protocol: Any) -> Any:
        return _filled_in(self).__reduce_ex__(protocol)

    def __getstate__(self) -> dict[str, Any]:
        return _filled_in(self).__getstate__()


def _filled_in(jar: LateJar) -> RequestsCookieJar:
    # No method: another thread that looks too may have changed the class just before.
    jar.__dict__.pop("source", None)
    for name, value in vars(RequestsCookieJar()).items():
        jar.__dict__.setdefault(name, value)
    jar.__class__ = RequestsCookieJar  # type: ignore[assignment]
    return jar


def late_jar(source: Any = None) -> LateJar:
    """A late jar; ``source`` is the raw answer that is known to bring no cookies for it."""
    jar = object.__new__(LateJar)  # without __init__: the attributes come with the first look
    if source is not None:
        jar.__dict__["source"] = source
    return jar


def brings_no_cookies(raw: Any) -> bool:
    """Whether ``extract_cookies_to_jar`` would find nothing in this response.

    Saves 7 to 11 %: http.cookiejar parses the URL and searches the headers twice, for the response's jar and for the
    session's.
    """
    message = getattr(getattr(raw, "_original_response", None), "msg", None)
    if type(message) is not http.client.HTTPMessage or requests.cookies.extract_cookies_to_jar is not _EXTRACT_COOKIES:
        return False
    for name in message.keys():  # noqa: SIM110, SIM118 - a generator costs more than the loop
        if name[:10].lower() == "set-cookie":
            return False
    return True


def brought_no_cookies(r: Response) -> bool:
    """The same of a response whose jar may know already."""
    jar: Any = vars(r).get("cookies")
    return (type(jar) is LateJar and vars(jar).get("source", jar) is r.raw) or brings_no_cookies(r.raw)


# Headers


def headers_of(store: dict[str, tuple[str, Any]]) -> CaseInsensitiveDict[Any]:
    """A ``CaseInsensitiveDict`` of headers that are known to be right; over a dict, which is as ordered and quicker."""
    headers: CaseInsensitiveDict[Any] = CaseInsensitiveDict.__new__(CaseInsensitiveDict)
    headers._store = store  # type: ignore[assignment]
    return headers


@functools.lru_cache(REMEMBERED)
def encoding_of(content_type: str | None) -> str | None:
    """The encoding that requests reads from a ``Content-Type`` header."""
    return get_encoding_from_headers(
        CaseInsensitiveDict({} if content_type is None else {"content-type": content_type})
    )


class _SentHeaders(CaseInsensitiveDict[Any]):
    """Headers of a request on its way out, which urllib3 copies and walks through.

    Saves 1 to 4 %: ``CaseInsensitiveDict`` builds a copy name by name and looks each name up again when walked through.
    """

    def copy(self) -> CaseInsensitiveDict[Any]:
        """The same headers, to be changed without changing these."""
        copied = _SentHeaders.__new__(_SentHeaders)
        copied._store = self._store.copy()
        return copied

    def __iter__(self) -> Iterator[str]:
        return iter([name for name, _ in self._store.values()])

    def items(self) -> Any:
        """Name and value of each header."""
        return list(self._store.values())


def header_of(headers: CaseInsensitiveDict[Any], name: str) -> Any:
    """The value of a header, its name given in lower case, or None; without an exception on the way to None."""
    if type(headers) is CaseInsensitiveDict and ground.known.header_store:
        found = headers._store.get(name)
        return None if found is None else found[1]
    return headers.get(name)


def copy_with_header(request: PreparedRequest, name: str, value: str) -> PreparedRequest:
    """A shallow copy of the request with headers of its own, one of them set; for sending, not for keeping."""
    headers = request.headers
    known = type(request) is PreparedRequest and type(headers) is CaseInsensitiveDict and ground.known.header_store
    if not known:
        copied = copy.copy(request)
        copied.headers = headers.copy()
        copied.headers[name] = value
        return copied
    copied = PreparedRequest.__new__(PreparedRequest)
    copied.__dict__.update(request.__dict__)
    sent = _SentHeaders.__new__(_SentHeaders)
    store = sent._store = dict(headers._store)  # type: ignore[assignment]
    store[name.lower()] = (name, value)
    copied.headers = sent
    return copied
