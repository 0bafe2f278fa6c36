"""A session that does not do again what it has done for the request before."""

from __future__ import annotations

import http.cookiejar
from collections import OrderedDict
from collections.abc import Mapping
from datetime import timedelta
from typing import Any

import requests
import requests.sessions
from requests.cookies import RequestsCookieJar, cookiejar_from_dict, extract_cookies_to_jar, merge_cookies
from requests.models import CONTENT_CHUNK_SIZE, PreparedRequest, Request, Response
from requests.sessions import Session, SessionRedirectMixin, merge_hooks, merge_setting
from requests.structures import CaseInsensitiveDict
from requests.utils import check_header_validity

from requests_cc_token.netrc import NoNetrc

from .adapter import brings_cookies
from .as_shipped import as_shipped
from .environment import current_environment
from .urls import canonical

# Any, because requests.sessions does not export what is read of it, and mypy would refuse that.
_sessions: Any = requests.sessions

#: Bytes that are read at a time at most: what a server says of a body's length is set aside before it comes.
PIECE = 1 << 26


class _PreparedHeaders:
    """The session's headers as they leave ``prepare_headers``, for as long as they stay as they were."""

    __slots__ = ("_prepared", "given")

    def __init__(self, headers: CaseInsensitiveDict[Any]) -> None:
        self.given = list(headers._store.values())
        if any(value is None for _, value in self.given):
            raise ValueError  # a header of the request may take its place, and its position
        p = PreparedRequest()
        # A copy: another thread may change the session's headers, and change them back, while this runs.
        p.prepare_headers(dict(self.given))
        self._prepared = p.headers._store

    def headers_with(self, given: Mapping[str, Any]) -> CaseInsensitiveDict[Any]:
        """A copy of the session's headers with a request's own, as ``prepare_headers`` would have made it."""
        headers: CaseInsensitiveDict[Any] = CaseInsensitiveDict.__new__(CaseInsensitiveDict)
        headers._store = self._prepared.copy()
        if given:
            for name, value in given.items():
                headers[name] = value
            added = {name.lower() for name in given}
            for name, header in headers._store.items():
                if name in added:
                    check_header_validity(header)
        return headers


#: What a body, parameters or files may be given as where there are none.
_PLAIN = (dict, list, tuple, str, bytes, type(None))


def _are_nothing(*given: Any) -> bool:
    for one in given:  # noqa: SIM110 - a generator costs more than the loop
        if one or type(one) not in _PLAIN:
            return False
    return True


def _is_given(header: tuple[Any, Any]) -> bool:
    return type(header[0]) is str and header[1] is not None


class ShortcutSession(Session):
    """A ``requests.Session`` that leaves out what would change nothing."""

    _prepared_headers: _PreparedHeaders | None = None

    def prepare_request(self, request: Request) -> PreparedRequest:
        """As ``requests.Session.prepare_request``, without the steps of ``PreparedRequest.prepare`` that do nothing."""
        given: Any = request.headers
        if (
            type(given) is not dict
            or not all(map(_is_given, given.items()))
            or type(request.method) is not str
            or not as_shipped()
        ):
            return super().prepare_request(request)
        headers = self._headers_as_prepared()
        if headers is None:
            return super().prepare_request(request)
        url: Any = request.url
        is_canonical = type(url) is str and canonical(url) is not None
        jar = self._jar_for(request)
        auth = request.auth
        if self.trust_env and not auth and not self.auth:
            auth = _sessions.get_netrc_auth(url)
        auth = merge_setting(auth, self.auth)
        hooks = merge_hooks(request.hooks, self.hooks)
        has_body = request.json is not None or not _are_nothing(request.data, request.files)

        p = PreparedRequest()
        p.method = request.method.upper()
        if is_canonical and _are_nothing(request.params, self.params):
            p.url = url  # neither parsed nor quoted again
        else:
            p.prepare_url(url, merge_setting(request.params, self.params))
        p.headers = headers.headers_with(given)
        if jar is None:
            p._cookies = RequestsCookieJar()
        else:
            p.prepare_cookies(jar)
        if has_body:
            p.prepare_body(request.data, request.files, request.json)
        else:
            p.prepare_content_length(None)
        if has_body or not (is_canonical if auth is None else type(auth) is NoNetrc):
            p.prepare_auth(auth, url)
        if hooks != {"response": []}:
            p.prepare_hooks(hooks)
        return p

    def _jar_for(self, request: Request) -> http.cookiejar.CookieJar | None:
        """The cookies of session and request together; None for none at all."""
        cookies = request.cookies or {}
        if not cookies and type(self.cookies) is RequestsCookieJar and len(self.cookies) == 0:
            return None
        if not isinstance(cookies, http.cookiejar.CookieJar):
            cookies = cookiejar_from_dict(cookies)
        return merge_cookies(merge_cookies(RequestsCookieJar(), self.cookies), cookies)

    def _headers_as_prepared(self) -> _PreparedHeaders | None:
        headers = self.headers
        if type(headers) is not CaseInsensitiveDict:
            return None
        known = self._prepared_headers
        if known is None or known.given != list(headers._store.values()):
            try:
                known = self._prepared_headers = _PreparedHeaders(headers)
            except (requests.RequestException, TypeError, ValueError, AttributeError):
                return None  # requests says what is wrong with them, in its own order
        return known

    def merge_environment_settings(self, url: Any, proxies: Any, stream: Any, verify: Any, cert: Any) -> dict[str, Any]:
        """As ``requests.Session.merge_environment_settings``, with what is known of the environment."""
        environment = current_environment() if self.trust_env and as_shipped() else None
        if environment is None or type(proxies) is not dict or "no_proxy" in proxies:
            return super().merge_environment_settings(url, proxies, stream, verify, cert)
        environment_proxies = environment.proxies_for(url)
        if environment_proxies is None:
            return super().merge_environment_settings(url, proxies, stream, verify, cert)
        for key, proxy in environment_proxies.items():
            proxies.setdefault(key, proxy)
        if verify is True or verify is None:
            verify = environment.ca_bundle or verify
        return {
            "proxies": _merged(proxies, self.proxies),
            "stream": merge_setting(stream, self.stream),
            "verify": merge_setting(verify, self.verify),
            "cert": merge_setting(cert, self.cert),
        }

    def send(self, request: PreparedRequest, **kwargs: Any) -> Response:
        """As ``requests.Session.send``; cookies are not looked for where there are none, long bodies read in one go."""
        if (
            type(request) is not PreparedRequest
            or request.hooks != {"response": []}
            or "proxies" not in kwargs
            or not as_shipped()
        ):
            return super().send(request, **kwargs)
        allow_redirects = kwargs.pop("allow_redirects", True)
        kwargs = {"stream": self.stream, "verify": self.verify, "cert": self.cert, **kwargs}
        start = _sessions.preferred_clock()
        r = self.get_adapter(str(request.url)).send(request, **kwargs)
        r.elapsed = timedelta(seconds=_sessions.preferred_clock() - start)
        for each in r.history:
            extract_cookies_to_jar(self.cookies, each.request, each.raw)
        if type(self.cookies) is not RequestsCookieJar or brings_cookies(r.raw):
            extract_cookies_to_jar(self.cookies, request, r.raw)
        if self._may_lead_on(r):
            r = self._led_to(r, request, allow_redirects, kwargs)
        if not kwargs["stream"]:
            read_whole(r)
        return r

    def _may_lead_on(self, r: Response) -> bool:
        """Whether ``resolve_redirects`` may find something to do."""
        return r.is_redirect or not (
            getattr(self.resolve_redirects, "__func__", None) is SessionRedirectMixin.resolve_redirects
            and getattr(self.get_redirect_target, "__func__", None) is SessionRedirectMixin.get_redirect_target
        )

    def _led_to(self, r: Response, request: PreparedRequest, follow: bool, kwargs: dict[str, Any]) -> Response:
        """Where the response leads to; or it, with the request that would follow it."""
        if not follow:
            r._next = next(self.resolve_redirects(r, request, yield_requests=True, **kwargs), None)  # type: ignore[assignment]
            return r
        *history, last = r, *self.resolve_redirects(r, request, **kwargs)
        if history:
            last.history = history
        return last


def read_whole(r: Response) -> None:
    """Read the body as ``r.content`` does; one whose length is known in one piece, not in pieces of 10 KiB."""
    told = getattr(r.raw, "length_remaining", None)
    length = told if type(told) is int and r._content is False else 0
    if length > CONTENT_CHUNK_SIZE or (length > 0 and "Content-Encoding" not in r.headers):
        r._content = b"".join(r.iter_content(min(length, PIECE)))
        r._content_consumed = True
    else:
        r.content  # noqa: B018 - reading it is the point


def _merged(given: Any, of_session: Any) -> Any:
    """As ``merge_setting``, which asks a runtime protocol what a dict is."""
    if type(given) is dict and type(of_session) is dict and not given and not of_session:
        return OrderedDict()
    return merge_setting(given, of_session)
