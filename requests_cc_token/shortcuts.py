"""Short ways through ``requests`` and ``urllib3``, each taken only where the long way provably gives the same.

A plain ``requests.Session`` spends most of a GET on work whose result is known beforehand. This room holds what is
known beforehand. It is also the one room that touches private attributes of requests, urllib3, http.cookiejar and os:
each touch is named in :class:`Ground`, checked when this module is imported, and has the long way as its fallback.

Who replaces a method of requests, in a subclass, on an instance or in the library itself (``responses``,
``requests_mock``, VCR, tracers do), is called as before: a short way first looks whether the function that it stands
in for is still the one that was shipped.

The figures are CPU time per GET on a warm loopback connection, in per cent of a plain ``requests.Session``: what is
lost when this one way is closed, over three runs of ``python -m benchmarks savings`` on a machine with other work,
where differences below three per cent cannot be told from chance. Ways overlap, so they do not add up.
"""

from __future__ import annotations

import copy
import functools
import http.client
import http.cookiejar
import os
import re
import sys
import threading
import time
import types
import urllib.request
from collections import OrderedDict
from datetime import timedelta
from typing import TYPE_CHECKING, Any, NamedTuple

import requests
import requests.adapters
import requests.sessions
import requests.utils
import urllib3
import urllib3.connection
import urllib3.connectionpool
import urllib3.poolmanager
import urllib3.util.ssl_
from requests.adapters import HTTPAdapter
from requests.cookies import RequestsCookieJar, cookiejar_from_dict, extract_cookies_to_jar, merge_cookies
from requests.exceptions import ChunkedEncodingError, ConnectionError, SSLError  # noqa: A004
from requests.hooks import dispatch_hook
from requests.models import REDIRECT_STATI, PreparedRequest, Request, Response
from requests.sessions import Session, merge_hooks, merge_setting
from requests.structures import CaseInsensitiveDict
from requests.utils import check_header_validity, get_encoding_from_headers, select_proxy
from urllib3.exceptions import ProtocolError, ReadTimeoutError
from urllib3.exceptions import SSLError as TransportSSLError

from .forks import renew_after_fork
from .parameters import NoNetrc

if TYPE_CHECKING:
    import ssl
    from collections.abc import Iterator, Mapping

# Names that these modules use but do not declare.
_sessions: Any = requests.sessions
_utils: Any = requests.utils
_urllib_request: Any = urllib.request
_urllib3_ssl: Any = urllib3.util.ssl_

#: Connections kept per host: the threads that share a session, usually. urllib3 keeps 10, so of 32 threads 22 connect
#: anew for each request. None is opened before it is used.
DEFAULT_POOL_SIZE = 64

#: Pools, origins and TLS contexts remembered before a store starts anew: far more than one worker talks to.
REMEMBERED = 64

#: Seconds. A certificate file younger than this is read again at each connection: two writes within the same tick of
#: the file system's clock cannot be told apart.
SETTLED_AFTER = 2.0


# What is private, and whether it is as we know it


class Ground(NamedTuple):
    """What this room relies on beyond the documented interfaces; where one is not so, its short ways stay closed."""

    #: ``CaseInsensitiveDict._store`` is an ordered dict of lower-case name to (name, value), and all there is.
    header_store: bool
    #: A new ``Response`` holds exactly the attributes that we set.
    response_fields: bool
    #: A new ``PreparedRequest`` holds exactly the attributes that we set, ``_cookies`` among them.
    prepared_fields: bool
    #: ``HTTPHeaderDict._container`` is a dict of lower-case name to [name, value, another value ...].
    header_lines: bool
    #: ``RequestsCookieJar._cookies`` is a dict, empty in an empty jar.
    jar_store: bool
    #: ``os.environ._data`` is the dict behind the environment, and proxies come from nowhere else.
    environment_data: bool


def _header_store_is_known(headers: type[CaseInsensitiveDict[Any]]) -> bool:
    fields = vars(headers({"Name": "value"}))
    store = fields.get("_store")
    return (
        fields.keys() == {"_store"} and type(store) is OrderedDict and [*store.items()] == [("name", ("Name", "value"))]
    )


_RESPONSE_FIELDS = {
    *("_content", "_content_consumed", "_next", "cookies", "elapsed", "encoding", "headers", "history", "raw"),
    *("reason", "request", "status_code", "url"),
}
_NEW_REQUEST = dict.fromkeys(("method", "url", "headers", "_cookies", "body", "hooks", "_body_position"))


def _prepared_fields_are_known(request: type[PreparedRequest]) -> bool:
    return vars(request()) == {**_NEW_REQUEST, "hooks": {"response": []}}


def _response_fields_are_known(response: type[Response]) -> bool:
    return set(vars(response())) == _RESPONSE_FIELDS


def _header_lines_are_known(headers: type[urllib3.HTTPHeaderDict]) -> bool:
    lines: Any = vars(headers([("Name", "value"), ("name", "another")])).get("_container")
    return type(lines) is dict and lines == {"name": ["Name", "value", "another"]}


def _jar_store_is_known(jar: type[RequestsCookieJar]) -> bool:
    return vars(jar()).get("_cookies") == {}


def _environment_data_is_known(environ: Any) -> bool:
    return (
        type(getattr(environ, "_data", None)) is dict
        and urllib.request.getproxies is urllib.request.getproxies_environment
        and _urllib_request.proxy_bypass is _urllib_request.proxy_bypass_environment
    )


def survey() -> Ground:
    """Look at the installed libraries."""
    return Ground(
        header_store=_header_store_is_known(CaseInsensitiveDict),
        response_fields=_response_fields_are_known(Response),
        prepared_fields=_prepared_fields_are_known(PreparedRequest),
        header_lines=_header_lines_are_known(urllib3.HTTPHeaderDict),
        jar_store=_jar_store_is_known(RequestsCookieJar),
        environment_data=_environment_data_is_known(os.environ),
    )


ground = survey()


def _shipped(owner: Any, name: str) -> object:
    """The function that the library shipped, or an object like nothing else if it has been replaced already."""
    found = getattr(owner, name, None)
    function = found.fget if isinstance(found, property) else found
    module = owner if isinstance(owner, types.ModuleType) else sys.modules[owner.__module__]
    return found if getattr(function, "__globals__", None) is vars(module) else object()


_PREPARE_REQUEST = _shipped(Session, "prepare_request")
_MERGE_ENVIRONMENT_SETTINGS = _shipped(Session, "merge_environment_settings")
_SEND = _shipped(Session, "send")
_RESOLVE_REDIRECTS = _shipped(requests.sessions.SessionRedirectMixin, "resolve_redirects")
_GET_REDIRECT_TARGET = _shipped(requests.sessions.SessionRedirectMixin, "get_redirect_target")
_GET_CONNECTION = _shipped(HTTPAdapter, "get_connection_with_tls_context")
_POOL_KEY_ATTRIBUTES = _shipped(HTTPAdapter, "build_connection_pool_key_attributes")
_REQUEST_URL = _shipped(HTTPAdapter, "request_url")
_BUILD_RESPONSE = _shipped(HTTPAdapter, "build_response")
_RESPONSE_INIT = _shipped(Response, "__init__")
_CONTENT = _shipped(Response, "content")
_ITER_CONTENT = _shipped(Response, "iter_content")
_PREPARE = tuple(
    _shipped(PreparedRequest, name)
    for name in (
        *("__init__", "prepare", "prepare_url", "prepare_headers", "prepare_cookies", "prepare_body"),
        *("prepare_content_length", "prepare_auth", "prepare_hooks"),
    )
)
_ENVIRON_PROXIES = (
    _shipped(requests.utils, "get_environ_proxies"),
    _shipped(requests.utils, "should_bypass_proxies"),
    urllib.request.getproxies_environment,
    _urllib_request.proxy_bypass_environment,
)
_EXTRACT_COOKIES = _shipped(requests.cookies, "extract_cookies_to_jar")


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


# Canonical URLs

_ESCAPE = "%(?:[0189A-F][0-9A-F]|2[0-9ABCF]|3[A-F]|[46]0|5[B-E]|7[BCDF])"

#: A URL that ``PreparedRequest.prepare_url`` hands back as it came: lower-case host without user information, a port
#: without leading zeros, a path, only characters that need no quoting, escapes in capitals and only where needed. Dot
#: segments are looked for apart. Groups: origin; path and query.
_CANONICAL_URL = (
    r"(https?://[a-z0-9][a-z0-9.-]*(?::(?:[1-9][0-9]{0,3}|[1-5][0-9]{4}|6[0-4][0-9]{3}))?)"
    rf"(/(?:[A-Za-z0-9._~!$&'()*+,;=:@/-]|{_ESCAPE})*(?:\?(?:[A-Za-z0-9._~!$&'()*+,;=:@/?-]|{_ESCAPE})+)?)"
)


@functools.lru_cache(REMEMBERED)
def _canonical(url: str) -> tuple[str, str] | None:
    """Origin, and path with query, of a URL that ``requests`` would not change; None for any other.

    To be asked about plain strings only: what else equals one may read differently.
    """
    found = re.fullmatch(_CANONICAL_URL, url)  # compiled when first needed, not when imported
    return None if found is None or "/." in url else (found[1], found[2])


# The environment


def _matters(name: bytes) -> bool:
    return name[-6:].lower() == b"_proxy" or name in (b"REQUEST_METHOD", b"REQUESTS_CA_BUNDLE", b"CURL_CA_BUNDLE")


class _Environment:
    """What the environment says about proxies and CA bundles, for as long as it stays as it was.

    Saves 15 to 20 % with ten variables, and more with more: requests reads them all, four times for each request.

    That it stayed as it was is seen without reading it all. A dict keeps the order of insertion: while its last item
    is the same object and its length is the same, no name came or went. (A key and a value of one byte each may be
    shared objects, so an environment that ends with those is not kept.) The values of the few names that matter are
    looked at.
    """

    __slots__ = ("_data", "_last", "_length", "_proxies", "_watched", "ca_bundle", "can_be_told_apart", "has_proxies")

    def __init__(self, data: dict[bytes, bytes], items: list[tuple[bytes, bytes]]) -> None:
        self._data = data
        self._length = len(items)
        self._last = items[-1]
        self.can_be_told_apart = max(map(len, self._last)) > 1
        self._watched = [(name, value) for name, value in items if _matters(name)]
        values = dict(self._watched)
        bundle = values.get(b"REQUESTS_CA_BUNDLE") or values.get(b"CURL_CA_BUNDLE")
        self.ca_bundle = os.fsdecode(bundle) if bundle else None
        self.has_proxies = any(name[-6:].lower() == b"_proxy" for name in values)
        self._proxies: dict[str, dict[str, str]] = {}

    def is_unchanged(self, data: Any) -> bool:
        """Whether nothing that matters has changed since."""
        if data is not self._data or len(data) != self._length:
            return False
        try:
            name, value = next(reversed(data.items()))
        except (StopIteration, RuntimeError):  # emptied, or changed by another thread meanwhile
            return False
        if name is not self._last[0] or value is not self._last[1]:
            return False
        for watched, value in self._watched:  # noqa: SIM110 - a generator costs more than the loop
            if data.get(watched) is not value:
                return False
        return True

    def proxies_for(self, url: str) -> dict[str, str] | None:
        """What ``get_environ_proxies(url)`` says; None if that is not known beforehand. Not to be changed."""
        found = _canonical(url) if type(url) is str else None
        if found is None:
            return None
        if not self.has_proxies:
            return {}
        origin, _ = found
        proxies = self._proxies.get(origin)
        if proxies is None:
            proxies = requests.utils.get_environ_proxies(url)
            if self.is_unchanged(getattr(os.environ, "_data", None)):
                if len(self._proxies) >= REMEMBERED:
                    self._proxies = {}
                self._proxies[origin] = proxies
        return proxies


_environment: _Environment | None = None


def _current_environment() -> _Environment | None:
    """What is known of the environment as it is now; None where only reading it all can tell."""
    global _environment  # noqa: PLW0603 - the environment is one per process, and so is what is known of it
    now = _sessions.get_environ_proxies, _utils.should_bypass_proxies, _utils.getproxies, _utils.proxy_bypass
    if not ground.environment_data or now != _ENVIRON_PROXIES:
        return None
    data = getattr(os.environ, "_data", None)
    known = _environment
    if known is not None and known.is_unchanged(data):
        return known
    if type(data) is not dict:
        return None
    items = list(data.items())
    if not items:
        return None
    known = _Environment(data, items)
    if not known.can_be_told_apart:
        return None
    _environment = known
    return known


def _merged(given: Any, of_session: Any) -> Any:
    """As ``merge_setting``, which asks a runtime protocol what a dict is. Saves 4 % in one run."""
    if type(given) is dict and type(of_session) is dict and not given and not of_session:
        return OrderedDict()
    return merge_setting(given, of_session)


# Cookie jars


class _LateJar(RequestsCookieJar):
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


def _filled_in(jar: _LateJar) -> RequestsCookieJar:
    # No method: another thread that looks too may have changed the class just before.
    jar.__dict__.pop("source", None)
    for name, value in vars(RequestsCookieJar()).items():
        jar.__dict__.setdefault(name, value)
    jar.__class__ = RequestsCookieJar  # type: ignore[assignment]
    return jar


def _late_jar(source: Any = None) -> _LateJar:
    """A late jar; ``source`` is the raw answer that is known to bring no cookies for it."""
    jar = object.__new__(_LateJar)  # without __init__: the attributes come with the first look
    if source is not None:
        jar.__dict__["source"] = source
    return jar


def _brings_no_cookies(raw: Any) -> bool:
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


def _brought_no_cookies(r: Response) -> bool:
    jar: Any = vars(r).get("cookies")
    return (type(jar) is _LateJar and vars(jar).get("source", jar) is r.raw) or _brings_no_cookies(r.raw)


# Headers


def _headers_of(store: dict[str, tuple[str, Any]]) -> CaseInsensitiveDict[Any]:
    """A ``CaseInsensitiveDict`` of headers that are known to be right; over a dict, which is as ordered and quicker."""
    headers: CaseInsensitiveDict[Any] = CaseInsensitiveDict.__new__(CaseInsensitiveDict)
    headers._store = store  # type: ignore[assignment]
    return headers


@functools.lru_cache(REMEMBERED)
def _encoding_of(content_type: str | None) -> str | None:
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
    if type(headers) is CaseInsensitiveDict and ground.header_store:
        found = headers._store.get(name)
        return None if found is None else found[1]
    return headers.get(name)


def copy_with_header(request: PreparedRequest, name: str, value: str) -> PreparedRequest:
    """A shallow copy of the request with headers of its own, one of them set; for sending, not for keeping."""
    headers = request.headers
    if type(request) is not PreparedRequest or type(headers) is not CaseInsensitiveDict or not ground.header_store:
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
        return _headers_of(store)


# Bodies


def _read_at_once(r: Response) -> bytes | None:
    """The body that ``r.content`` would give, read in one call; None where only requests' own way will do.

    Saves 2 to 6 %, and for large bodies the joining of ten-kilobyte pieces.
    """
    raw = r.raw
    if (
        type(r) is not Response
        or not ground.response_fields
        or r._content is not False
        or r._content_consumed
        or type(raw) is not urllib3.HTTPResponse
        or raw.chunked
        or raw.tell()
        or "content-encoding" in raw.headers
        or Response.content is not _CONTENT
        or Response.iter_content is not _ITER_CONTENT
    ):
        return None
    try:
        content = raw.read(decode_content=True)  # nothing is encoded here, so nothing fails to decode
    except ProtocolError as e:
        raise ChunkedEncodingError(e) from e
    except ReadTimeoutError as e:
        raise ConnectionError(e) from e
    except TransportSSLError as e:
        raise SSLError(e) from e
    r._content = content
    r._content_consumed = True
    return content


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
            or not ground.prepared_fields
            or not _prepared_as_shipped()
        ):
            return super().prepare_request(request)
        url: Any = request.url
        canonical = type(url) is str and _canonical(url) is not None
        jar = self._jar_for(request)
        auth = request.auth
        if self.trust_env and not auth and not self.auth:
            auth = _sessions.get_netrc_auth(url)
        auth = self.auth if auth is None else merge_setting(auth, self.auth)
        hooks = merge_hooks(request.hooks, self.hooks)
        has_body = request.json is not None or not _are_nothing(request.data, request.files)

        p = object.__new__(PreparedRequest)
        p.__dict__.update(_NEW_REQUEST, method=request.method.upper(), hooks={"response": []})
        if canonical and _are_nothing(request.params, self.params):
            p.url = url  # neither parsed nor quoted again
        else:
            p.prepare_url(url, merge_setting(request.params, self.params))
        p.headers = template.headers_with(given)
        if jar is None:
            p._cookies = _late_jar()
        else:
            p.prepare_cookies(jar)
        if has_body:
            p.prepare_body(request.data, request.files, request.json)
        else:
            p.prepare_content_length(None)
        if has_body or not (canonical if auth is None else type(auth) is NoNetrc):
            p.prepare_auth(auth, url)
        if hooks != {"response": []}:
            p.prepare_hooks(hooks)
        return p

    def _jar_for(self, request: Request) -> http.cookiejar.CookieJar | None:
        """The cookies of session and request together; None for none at all."""
        cookies = request.cookies or {}
        jar: Any = self.cookies
        if not cookies and type(jar) is RequestsCookieJar and ground.jar_store and not jar.__dict__["_cookies"]:
            return None
        if not isinstance(cookies, http.cookiejar.CookieJar):
            cookies = cookiejar_from_dict(cookies)
        return merge_cookies(merge_cookies(RequestsCookieJar(), self.cookies), cookies)

    def _header_template(self) -> _HeaderTemplate | None:
        headers = self.headers
        if type(headers) is not CaseInsensitiveDict or not ground.header_store:
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
            environment = _current_environment()
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
        if type(self.cookies) is not RequestsCookieJar or not _brought_no_cookies(r):
            extract_cookies_to_jar(self.cookies, request, r.raw)
        if not self._ends_with(r):
            r = self._follow(r, request, allow_redirects, kwargs)
        if not stream and _read_at_once(r) is None:
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


# Pools and TLS contexts


class _TLSContexts:
    """TLS contexts that urllib3 made for a connection, kept for the next connections with the same settings.

    Saves about 90 % of a new TLS connection: urllib3 loads the CA bundle anew for each. A context is dropped when one
    of its files has changed, and in a forked child, which must not wait for a lock that a thread of its parent held.
    """

    def __init__(self) -> None:
        self._contexts: OrderedDict[tuple[Any, ...], ssl.SSLContext] = OrderedDict()
        self._lock = threading.Lock()
        renew_after_fork(self)

    def after_fork_in_child(self) -> None:
        """Drop what may be locked."""
        self._contexts = OrderedDict()
        self._lock = threading.Lock()

    def get(self, key: tuple[Any, ...]) -> ssl.SSLContext | None:
        with self._lock:
            context = self._contexts.get(key)
            if context is not None:
                self._contexts.move_to_end(key)
            return context

    def keep(self, key: tuple[Any, ...], context: Any) -> None:
        if type(context) is not _urllib3_ssl.SSLContext:
            return  # another kind of TLS, injected
        with self._lock:
            self._contexts[key] = context
            while len(self._contexts) > REMEMBERED:
                self._contexts.popitem(last=False)


_tls_contexts = _TLSContexts()


def _state_of(path: str | None) -> tuple[int, ...] | None:
    """What changes when a file is replaced or written to; None for no file, an error for what is not to be kept."""
    if path is None:
        return None
    found = os.stat(path)  # noqa: PTH116 - urllib3 has a string here
    if os.path.isdir(path) or time.time() - found.st_mtime < SETTLED_AFTER:  # noqa: PTH112
        raise OSError
    return found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns


class _Connection(urllib3.connection.HTTPSConnection):
    """A TLS connection that takes its context from the one before it."""

    def connect(self) -> None:
        """Open the connection, with a kept context where one fits."""
        key = self._context_key()
        if key is None:
            super().connect()
            return
        context = _tls_contexts.get(key)
        if context is None:
            super().connect()
            _tls_contexts.keep(key, getattr(self.sock, "context", None))
            return
        files = self.ca_certs, self.cert_file, self.key_file
        self.ssl_context = context
        self.ca_certs = self.cert_file = self.key_file = None  # they are in the context
        try:
            super().connect()
        finally:
            self.ssl_context = None
            self.ca_certs, self.cert_file, self.key_file = files

    def _context_key(self) -> tuple[Any, ...] | None:
        """All that shapes the context; None where it is the user's own, or is changed by the connection."""
        if (
            self.ssl_context is not None
            or self.proxy is not None
            or self.assert_hostname is not None
            or self.assert_fingerprint is not None
            or self.ca_cert_dir is not None
            or self.ca_cert_data is not None
            or self.key_password is not None
            or self.ssl_version is not None
        ):
            return None
        files = self.ca_certs, self.cert_file, self.key_file
        try:
            states = tuple(map(_state_of, files))
        except OSError:
            return None
        return (
            _urllib3_ssl.SSLContext,
            tuple(_urllib3_ssl.ALPN_PROTOCOLS),
            os.environ.get("SSLKEYLOGFILE"),
            self.cert_reqs,
            self.ssl_minimum_version,
            self.ssl_maximum_version,
            files,
            states,
        )


class _Pool(urllib3.HTTPSConnectionPool):
    """A pool whose connections share their TLS context."""

    @property
    def ConnectionCls(self) -> Any:  # type: ignore[override]  # noqa: N802
        shipped = urllib3.HTTPSConnectionPool.ConnectionCls
        return _Connection if shipped is urllib3.connection.HTTPSConnection else shipped


class _PoolKeys:
    """The keys under which a pool manager keeps its pools, by origin and TLS settings.

    Saves 5 to 8 %: urllib3 builds a tuple of 29 fields for each request to find the pool of the request before.
    """

    def __init__(self, manager: urllib3.PoolManager) -> None:
        self._manager = manager
        self._settings = dict(manager.connection_pool_kw)
        self._key_makers = dict(manager.key_fn_by_scheme)
        self._keys: dict[tuple[Any, ...], Any] = {}

    def fits(self, manager: Any) -> bool:
        return (
            manager is self._manager
            and type(manager) is urllib3.PoolManager
            and manager.connection_pool_kw == self._settings
            and manager.key_fn_by_scheme == self._key_makers
        )

    def find(self, known_as: tuple[Any, ...]) -> Any:
        key = self._keys.get(known_as)
        return None if key is None else self._manager.pools.get(key)

    def learn(self, known_as: tuple[Any, ...], parameters: tuple[dict[str, Any], dict[str, Any]], pool: Any) -> None:
        """Remember the key, if it is the one that finds this pool."""
        host, settings = parameters
        context = {**self._settings, **settings, **host}
        if context.get("port") is None:
            context["port"] = urllib3.connectionpool.port_by_scheme[context["scheme"]]
        key = self._key_makers[context["scheme"]]({k: v for k, v in context.items() if v is not None})
        if self._manager.pools.get(key) is pool:
            if len(self._keys) >= REMEMBERED:
                self._keys = {}
            self._keys[known_as] = key


_of_the_parent: list[Any] = []


def leave_to_parent(adapter: HTTPAdapter) -> None:
    """In a forked child: start with empty pools, so that no socket is shared.

    The parent's are kept, unused: closing a pool waits for its lock, which a thread of the parent may have held.
    """
    state = vars(adapter)  # forked while the adapter was made, it has less
    for manager in (state.get("poolmanager"), *state.get("proxy_manager", {}).values()):
        if manager is not None:
            _of_the_parent.append(manager.pools)
            manager.pools = type(manager.pools)(adapter._pool_connections)


class ShortcutAdapter(HTTPAdapter):
    """An ``HTTPAdapter`` that finds its pool and builds its response without doing the same work again."""

    _pool_keys: _PoolKeys | None = None

    def __init__(
        self,
        pool_connections: int = requests.adapters.DEFAULT_POOLSIZE,
        pool_maxsize: int = DEFAULT_POOL_SIZE,
        max_retries: Any = requests.adapters.DEFAULT_RETRIES,
        pool_block: bool = requests.adapters.DEFAULT_POOLBLOCK,
    ) -> None:
        super().__init__(pool_connections, pool_maxsize, max_retries, pool_block)

    def init_poolmanager(self, connections: int, maxsize: int, block: bool = False, **pool_kwargs: Any) -> None:
        """As ``HTTPAdapter.init_poolmanager``, with pools whose connections share their TLS context."""
        super().init_poolmanager(connections, maxsize, block, **pool_kwargs)
        manager = self.poolmanager
        if type(manager) is urllib3.PoolManager:
            pools = manager.pool_classes_by_scheme
            if pools.get("https") is urllib3.HTTPSConnectionPool:
                manager.pool_classes_by_scheme = {**pools, "https": _Pool}
        renew_after_fork(self)

    def after_fork_in_child(self) -> None:
        """Leave the parent's connections to the parent."""
        leave_to_parent(self)

    def get_connection_with_tls_context(self, request: Any, verify: Any, proxies: Any = None, cert: Any = None) -> Any:
        """As ``HTTPAdapter.get_connection_with_tls_context``, by a key that is already known."""
        found = _canonical(request.url) if type(request.url) is str else None
        attributes = getattr(self, "build_connection_pool_key_attributes", None)
        if (
            found is None
            or HTTPAdapter.get_connection_with_tls_context is not _GET_CONNECTION
            or getattr(attributes, "__func__", None) is not _POOL_KEY_ATTRIBUTES
            or type(verify) not in (bool, str)
            or not (cert is None or type(cert) is str or (type(cert) is tuple and all(type(c) is str for c in cert)))
            or (proxies and select_proxy(request.url, proxies))
        ):
            return super().get_connection_with_tls_context(request, verify, proxies, cert)
        keys = self._pool_keys
        if keys is None or not keys.fits(self.poolmanager):
            keys = self._pool_keys = _PoolKeys(self.poolmanager)
        known_as = (found[0], verify, cert, type(verify) is str and os.path.isdir(verify))  # noqa: PTH112
        pool = keys.find(known_as)
        if pool is None:
            pool = super().get_connection_with_tls_context(request, verify, proxies, cert)
            keys.learn(known_as, self.build_connection_pool_key_attributes(request, verify, cert), pool)
        return pool

    def request_url(self, request: Any, proxies: Any) -> str:
        """As ``HTTPAdapter.request_url``; a canonical URL is cut, not parsed. Saves 3 % in one run."""
        if (
            proxies
            or HTTPAdapter.request_url is not _REQUEST_URL
            or type(request) is not PreparedRequest
            or type(request.url) is not str
        ):
            return super().request_url(request, proxies)
        found = _canonical(request.url)
        return super().request_url(request, proxies) if found is None else found[1]

    def build_response(self, req: Any, resp: Any) -> Response:
        """As ``HTTPAdapter.build_response``; a jar that nobody looks at is not filled in."""
        if (
            HTTPAdapter.build_response is not _BUILD_RESPONSE
            or not (ground.response_fields and ground.header_store and ground.jar_store and ground.header_lines)
            or type(resp) is not urllib3.HTTPResponse
            or type(req.url) is not str
            or Response.__init__ is not _RESPONSE_INIT
            or not _brings_no_cookies(resp)
        ):
            return super().build_response(req, resp)
        # urllib3 keeps a line as name and values, one where it was not repeated.
        store = {
            key: (line[0], line[1] if len(line) == 2 else ", ".join(line[1:]))
            for key, line in resp.headers._container.items()
        }
        headers = _headers_of(store)
        jar = _late_jar(resp)
        response = Response.__new__(Response)
        response.__dict__.update(
            _content=False,
            _content_consumed=False,
            _next=None,
            status_code=resp.status,
            headers=headers,
            raw=resp,
            url=req.url,
            encoding=_encoding_of(store["content-type"][1] if "content-type" in store else None),
            history=[],
            reason=resp.reason,
            cookies=jar,
            elapsed=timedelta(0),
            request=req,
            connection=self,
        )
        return response
