"""The session that ``make_session`` returns."""

from __future__ import annotations

import functools
import inspect
from collections import OrderedDict
from typing import Any, Protocol
from urllib.parse import urljoin

import requests
import requests.sessions
import urllib3
from requests.adapters import BaseAdapter
from requests.cookies import extract_cookies_to_jar
from requests.hooks import default_hooks, dispatch_hook
from requests.utils import resolve_proxies

from .adapter import AccessTokenAdapter
from .clock import is_duration
from .events import logger
from .exceptions import ConfigurationError
from .netrc import NoNetrc, strip_authorization
from .shortcuts.session import ShortcutSession
from .urls import canonical_url, origin_of, shown_url, without_query

#: Seconds (connect, read) of an API call that names none: requests itself would wait for ever.
DEFAULT_TIMEOUT = (5.0, 30.0)


#: Joining parses both addresses, each time the same: 2 % of a GET.
_join = functools.lru_cache(256)(urljoin)


#: The class of ``requests`` itself: another one may go by its name when this is imported, a cache's for example.
_SESSION: Any = next(each for each in ShortcutSession.__mro__ if each.__module__ == requests.sessions.__name__)
#: What its functions see as their globals.
_REQUESTS = vars(requests.sessions)


class Closeable(Protocol):
    """What can be closed."""

    def close(self) -> None:
        """Let go of what it holds."""


class AccessTokenSession(ShortcutSession):
    """A ``requests.Session`` for one API, with a base URL and a default timeout; ``make_session`` creates it.

    Requests to URLs under ``base_url`` carry the access token. Relative URLs are joined to ``base_url`` (RFC 3986
    section 5): ``"test"`` is under it, while ``"/test"`` starts at the root of its host. Threads may share a session.
    ``.netrc`` is not read.
    """

    __attrs__ = [*requests.Session.__attrs__, "base_url", "timeout"]

    #: Those of this session alone, closed with it.
    _managements: tuple[Closeable, ...] = ()

    _warned_of_leaving = False

    def __init__(self, base_url: str, *, timeout: Any = DEFAULT_TIMEOUT) -> None:
        super().__init__()
        #: The address of the API, ending with a slash.
        self.base_url = base_url
        #: The timeout of calls without one of their own, in seconds or (connect, read) seconds; None waits for ever.
        self.timeout = timeout
        self.auth = NoNetrc()

    def request(self, method: str, url: Any, *args: Any, **kwargs: Any) -> requests.Response:
        """Send a request; as ``requests.Session.request``, but ``url`` may be relative to ``base_url``.

        Also raises ``TokenRequestError`` if no token can be obtained; the request is not sent then.
        """
        # timeout is the ninth parameter of requests.Session.request: with seven after method and url it was given.
        if len(args) < 7:
            kwargs.setdefault("timeout", self.timeout)
        response = super().request(method, self._joined(url), *args, **kwargs)
        # A response hook or a test double may return anything.
        if getattr(response, "status_code", None) == 401 and not self._warned_of_leaving:
            self._warn_of_refusal(response)
        return response

    def prepare_request(self, request: requests.Request) -> requests.PreparedRequest:
        """As ``requests.Session.prepare_request``, but the URL may be relative to ``base_url``."""
        joined = self._joined(request.url)
        if joined is not request.url:
            request = _copied(request, joined)
        return super().prepare_request(request)

    def _joined(self, url: Any) -> Any:
        if isinstance(url, bytes):
            url = url.decode("utf-8")
        if url is None:
            return url  # a variable that holds no path; requests says that it is no URL
        if not isinstance(url, str):
            url = str(url)
        if url.startswith(("https://", "http://")):
            return url
        try:
            joined = _join(self.base_url, url)
        except ValueError:
            return url  # "//[" and the like, which requests refuses by an error of its own
        if not joined.startswith(self.base_url) and not self._warned_of_leaving:
            self._warn_of_leaving(joined)
        return joined

    def _warn_of_leaving(self, url: str) -> None:
        """Say once that a relative URL leads to where no token goes, which a slash at its beginning does."""
        if url.startswith(("https://", "http://")) and not isinstance(self.get_adapter(url), AccessTokenAdapter):
            self._warned_of_leaving = True
            logger.warning(
                "a request to %s carries no token: it is relative, and outside of the session's base_url %s; without "
                "a slash at its beginning it would be under it",
                shown_url(url),
                shown_url(self.base_url),
            )

    def _warn_of_refusal(self, response: requests.Response) -> None:
        """Say once that the API refused a request which carried no token, since its URL is not under ``base_url``."""
        url = str(getattr(response, "url", None))
        if not url.startswith(f"{origin_of(self.base_url)}/") or url.startswith(self.base_url):
            return
        if "Authorization" in response.request.headers or isinstance(self.get_adapter(url), AccessTokenAdapter):
            return
        if response.history:
            return  # a redirect is told of by the adapter
        self._warned_of_leaving = True
        logger.warning(
            "a request to %s carries no token, and the answer is 401: it is outside of the session's base_url %s",
            shown_url(url),
            shown_url(self.base_url),
        )

    def send(self, request: requests.PreparedRequest, **kwargs: Any) -> requests.Response:
        """As ``requests.Session.send``, with the default timeout for a call without one."""
        kwargs.setdefault("timeout", self.timeout)
        if not _ends_at_adapters():
            url = str(request.url).lower()
            adapter = next((each for prefix, each in self.adapters.items() if url.startswith(prefix.lower())), None)
            if isinstance(adapter, AccessTokenAdapter) and adapter.authorizes(request):
                return self._send_with_token_of(adapter, request, **kwargs)
        return super().send(request, **kwargs)

    def _send_with_token_of(
        self, adapter: AccessTokenAdapter, request: requests.PreparedRequest, **kwargs: Any
    ) -> requests.Response:
        """Send with the adapter's token by a ``requests.Session.send`` that may never come to the adapter.

        It gets the copies that carry the token, one for each try. What ``requests.Session.send`` does around an adapter
        is done here with the caller's own request: its hooks, and redirects, of which each hop is sent anew.
        """
        follow = kwargs.pop("allow_redirects", True)
        options = {"stream": self.stream, "verify": self.verify, "cert": self.cert, **kwargs}
        if "proxies" not in options:
            options["proxies"] = resolve_proxies(request, self.proxies, self.trust_env)
        send = super().send

        def send_try(authorized: requests.PreparedRequest, options: dict[str, Any]) -> requests.Response:
            authorized.hooks = default_hooks()
            answered = send(authorized, allow_redirects=False, **options)
            # The next hop, made of the copy.
            answered._next = None
            return answered

        r: requests.Response = dispatch_hook(
            "response", request.hooks, adapter.send_by(send_try, request, options), **options
        )
        # A hook may have sent it once more, by its adapter.
        for each in r.history:
            extract_cookies_to_jar(self.cookies, each.request, each.raw)
        extract_cookies_to_jar(self.cookies, request, r.raw)
        r = self._led_to(r, request, follow, options)
        if not options["stream"]:
            r.content  # noqa: B018 - reading it is the point
        return r

    def close_too(self, management: Closeable) -> None:
        """Also close ``management`` when this session is closed."""
        self._managements = (*self._managements, management)

    def close(self) -> None:
        """Close all adapters. A session that ``session_for`` created also stops fetching its token."""
        super().close()
        for management in self._managements:
            management.close()

    def rebuild_auth(self, prepared_request: requests.PreparedRequest, response: requests.Response) -> None:
        """As ``requests.Session.rebuild_auth``, but ``.netrc`` is not read for the target of a redirect."""
        strip_authorization(self, prepared_request, response)

    def mount(self, prefix: str, adapter: BaseAdapter) -> None:
        """As ``requests.Session.mount``, but safe while other threads send requests."""
        adapters = {**self.adapters, prefix: adapter}
        self.adapters = OrderedDict(sorted(adapters.items(), key=lambda item: -len(item[0])))
        for each in adapters.values():
            if isinstance(each, AccessTokenAdapter):
                each.warn_of_mounts({prefix: adapter})


def _ends_at_adapters() -> bool:
    """Whether a session's requests come to its adapters, as far as can be seen.

    They do while what sends them is from ``requests``, or wraps that and names it in ``__wrapped__``, as tracers do. A
    test double that has taken its place may answer by itself, or by an adapter of its own.
    """
    return _is_of_requests(_SESSION.send) and _is_of_requests(_SESSION.get_adapter)


def _is_of_requests(function: Any) -> bool:
    # Looked at as it is first: to unwrap it costs each request thirty times as much.
    if getattr(function, "__globals__", None) is _REQUESTS:
        return True
    try:
        return getattr(inspect.unwrap(function), "__globals__", None) is _REQUESTS
    except ValueError:
        return False  # wrappers that name each other, or thousands of them


def _copied(request: requests.Request, url: str) -> requests.Request:
    twin = requests.Request.__new__(type(request))
    twin.__dict__.update(request.__dict__)
    twin.url = url
    return twin


def check_timeout(given: object, what: str) -> None:
    """Seconds, (connect, read) seconds, a urllib3 ``Timeout`` or None. Raises ``ConfigurationError``."""
    parts = given if isinstance(given, tuple) and len(given) == 2 else (given,)
    if isinstance(given, urllib3.Timeout) or all(part is None or _is_duration(part) for part in parts):
        return
    raise ConfigurationError(f"{what} must be seconds above 0, or (connect, read) seconds")


def _is_duration(value: object) -> bool:
    return is_duration(value) and value != 0


def check_base_url(url: object, what: str) -> str:
    """The base URL as it is used: as requests prepares it, with a final slash. Raises ``ConfigurationError``."""
    canonical = canonical_url(without_query(url, what), what)
    return canonical if canonical.endswith("/") else canonical + "/"
