"""A session that does not do again what it has done for the request before."""

from __future__ import annotations

import http.cookiejar
from collections import OrderedDict
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import requests
import requests.sessions
from requests.cookies import RequestsCookieJar, cookiejar_from_dict, extract_cookies_to_jar, merge_cookies
from requests.hooks import dispatch_hook
from requests.models import REDIRECT_STATI, PreparedRequest, Request, Response
from requests.sessions import Session, merge_hooks, merge_setting
from requests.structures import CaseInsensitiveDict
from requests.utils import check_header_validity

from requests_cc_token.netrc import NoNetrc

from . import ground
from .bodies import read_at_once
from .environment import current_environment
from .ground import NEW_REQUEST, shipped
from .messages import brought_no_cookies, headers_of, late_jar
from .urls import canonical

if TYPE_CHECKING:
    from collections.abc import Mapping

# Names that this module uses but does not declare.
_sessions: Any = requests.sessions

_PREPARE_REQUEST = shipped(Session, "prepare_request")
_MERGE_ENVIRONMENT_SETTINGS = shipped(Session, "merge_environment_settings")
_SEND = shipped(Session, "send")
_RESOLVE_REDIRECTS = shipped(requests.sessions.SessionRedirectMixin, "resolve_redirects")
_GET_REDIRECT_TARGET = shipped(requests.sessions.SessionRedirectMixin, "get_redirect_target")
_PREPARE = tuple(
    shipped(PreparedRequest, name)
    for name in (
        *("__init__", "prepare", "prepare_url", "prepare_headers", "prepare_cookies", "prepare_body"),
        *("prepare_content_length", "prepare_auth", "prepare_hooks"),
    )
)


def _prepared_as_shipped() -> bool:
    p = PreparedRequest
    return (
        p.__init__,
        p.prepare,
        p.prepare_url,
        p.prepare_headers,
        p.prepare_cookies,
        p.prepare_body,
        p.prepare_content_length,
        p.prepare_auth,
        p.prepare_hooks,
    ) == _PREPARE


def _merged(given: Any, of_session: Any) -> Any:
    """As ``merge_setting``, which asks a runtime protocol what a dict is. Saves 4 % in one run."""
    if type(given) is dict and type(of_session) is dict and not given and not of_session:
        return OrderedDict()
    return merge_setting(given, of_session)


class _HeaderTemplate:
    """The session's headers as they leave ``prepare_headers``, for as long as they stay as they were.

    Part of the 25 % of ``prepare_request``: requests merges, checks by regular expression and copies the same four
    headers for each request.
    """

    __slots__ = ("_prepared", "given")

    def __init__(self, headers: CaseInsensitiveDict[Any]) -> None:
        self.given = list(headers._store.values())
        if any(value is None for _, value in self.given):
            raise ValueError  # a header of the request may take its place, and its position
        p = PreparedRequest()
        # Not of the session's own, which another thread may change and change back meanwhile.
        p.prepare_headers(dict(self.given))
        self._prepared = dict(p.headers._store)

    def headers_with(self, given: Mapping[str, Any]) -> CaseInsensitiveDict[Any]:
        store = self._prepared.copy()
        if given:
            added = {header[0].lower(): header for header in given.items()}
            store.update(added)
            for name, header in store.items():
                if name in added:
                    check_header_validity(header)
        return headers_of(store)


def take_shortcuts(session: Session) -> None:
    """Let a plain ``requests.Session`` take the short ways too, by making it a ``ShortcutSession``.

    A session of any other class is left as it is: its class knows best.
    """
    if type(session) is Session:
        session.__class__ = ShortcutSession


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
    """A ``requests.Session`` that does not do again what it has done for the request before.

    Its behaviour is that of ``requests.Session``; what is known beforehand is taken from there.
    """

    _template: _HeaderTemplate | None = None

    def prepare_request(self, request: Request) -> PreparedRequest:
        """As ``requests.Session.prepare_request``, without what would change nothing. Saves 25 %."""
        given: Any = request.headers
        template = self._header_template()
        if (
            template is None
            or type(given) is not dict
            or not all(map(_is_given, given.items()))
            or type(request.method) is not str
            or Session.prepare_request is not _PREPARE_REQUEST
            or not ground.known.prepared_fields
            or not _prepared_as_shipped()
        ):
            return super().prepare_request(request)
        url: Any = request.url
        is_canonical = type(url) is str and canonical(url) is not None
        jar = self._jar_for(request)
        auth = request.auth
        if self.trust_env and not auth and not self.auth:
            auth = _sessions.get_netrc_auth(url)
        auth = self.auth if auth is None else merge_setting(auth, self.auth)
        hooks = merge_hooks(request.hooks, self.hooks)
        has_body = request.json is not None or not _are_nothing(request.data, request.files)

        p = object.__new__(PreparedRequest)
        p.__dict__.update(NEW_REQUEST, method=request.method.upper(), hooks={"response": []})
        if is_canonical and _are_nothing(request.params, self.params):
            p.url = url  # neither parsed nor quoted again
        else:
            p.prepare_url(url, merge_setting(request.params, self.params))
        p.headers = template.headers_with(given)
        if jar is None:
            p._cookies = late_jar()
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
        jar: Any = self.cookies
        if not cookies and type(jar) is RequestsCookieJar and ground.known.jar_store and not jar.__dict__["_cookies"]:
            return None
        if not isinstance(cookies, http.cookiejar.CookieJar):
            cookies = cookiejar_from_dict(cookies)
        return merge_cookies(merge_cookies(RequestsCookieJar(), self.cookies), cookies)

    def _header_template(self) -> _HeaderTemplate | None:
        headers = self.headers
        if type(headers) is not CaseInsensitiveDict or not ground.known.header_store:
            return None
        template = self._template
        if template is None or template.given != list(headers._store.values()):
            try:
                template = self._template = _HeaderTemplate(headers)
            except (requests.RequestException, TypeError, ValueError, AttributeError):
                return None  # the long way says what is wrong with them, in its own order
        return template

    def merge_environment_settings(self, url: Any, proxies: Any, stream: Any, verify: Any, cert: Any) -> dict[str, Any]:
        """As ``requests.Session.merge_environment_settings``, with what is known of the environment."""
        if Session.merge_environment_settings is not _MERGE_ENVIRONMENT_SETTINGS:
            return super().merge_environment_settings(url, proxies, stream, verify, cert)
        if self.trust_env:
            environment = current_environment()
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
            "stream": self.stream if stream is None else merge_setting(stream, self.stream),
            "verify": self.verify if verify is None else merge_setting(verify, self.verify),
            "cert": self.cert if cert is None else merge_setting(cert, self.cert),
        }

    def send(self, request: PreparedRequest, **kwargs: Any) -> Response:
        """As ``requests.Session.send``; what follows the answer is left out where there is nothing to follow it."""
        if Session.send is not _SEND or "proxies" not in kwargs or not isinstance(request, PreparedRequest):
            return super().send(request, **kwargs)
        kwargs.setdefault("stream", self.stream)
        kwargs.setdefault("verify", self.verify)
        kwargs.setdefault("cert", self.cert)
        allow_redirects = kwargs.pop("allow_redirects", True)
        stream = kwargs["stream"]
        hooks = request.hooks
        adapter = self.get_adapter(request.url)  # type: ignore[arg-type]
        start = _sessions.preferred_clock()
        r = adapter.send(request, **kwargs)
        r.elapsed = timedelta(seconds=_sessions.preferred_clock() - start)
        r = dispatch_hook("response", hooks, r, **kwargs)

        for earlier in r.history:  # made by hooks, as digest authentication does
            extract_cookies_to_jar(self.cookies, earlier.request, earlier.raw)
        if type(self.cookies) is not RequestsCookieJar or not brought_no_cookies(r):
            extract_cookies_to_jar(self.cookies, request, r.raw)
        if not self._ends_with(r):
            r = self._follow(r, request, allow_redirects, kwargs)
        if not stream and read_at_once(r) is None:
            r.content  # noqa: B018 - reading it is the point
        return r

    def _ends_with(self, r: Response) -> bool:
        """Whether requests would follow this answer nowhere."""
        return (
            type(r) is Response
            and r.status_code not in REDIRECT_STATI
            and getattr(self.resolve_redirects, "__func__", None) is _RESOLVE_REDIRECTS
            and getattr(self.get_redirect_target, "__func__", None) is _GET_REDIRECT_TARGET
        )

    def _follow(self, r: Response, request: PreparedRequest, allow_redirects: bool, kwargs: dict[str, Any]) -> Response:
        if not allow_redirects:
            for following in self.resolve_redirects(r, request, yield_requests=True, **kwargs):
                r._next = following  # type: ignore[assignment]
                break
            return r
        followed = [r, *self.resolve_redirects(r, request, **kwargs)]
        r = followed.pop()
        if followed:
            r.history = followed
        return r
