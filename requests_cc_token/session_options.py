"""What ``make_session`` makes a session of: the options of ``add_session``, said once, checked when they are given."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, NamedTuple, Union

import urllib3
from requests.adapters import BaseAdapter

from .adapter_policy import AdapterPolicy, PolicyOptions, Timeout, check_adapter, check_max_retries, check_retries
from .exceptions import ConfigurationError
from .keyword_arguments import Unpack, check_whole_number, checked_text, refuse_unknown
from .mounts import Mount
from .service import AccessTokenService
from .session import DEFAULT_TIMEOUT, AccessTokenSession, check_base_url, check_timeout
from .shortcuts.adapter import DEFAULT_POOL_SIZE
from .urls import shown_url

#: How often the API calls of a session are tried again, in the manner of requests' own ``max_retries``.
Retries = Union[int, urllib3.Retry]

#: Connections kept per host at most: as many as a host has ports. urllib3 makes a place for each before the first one.
MAX_POOL_SIZE = 65_535


class ApiOptions(PolicyOptions, total=False):
    """The keywords that ``AccessTokenManagement.add_session`` and ``session_for`` have in common."""

    allow_http: bool
    timeout: Timeout
    pool_size: int
    max_retries: Retries
    headers: Mapping[str, str] | None
    adapters: Mapping[str, BaseAdapter] | None
    inner: BaseAdapter | None


class SessionOptions(ApiOptions, total=False):
    """The keywords of ``AccessTokenManagement.add_session`` beside the name and the base URL."""

    client: str | None


class SessionDescription(NamedTuple):
    """What the sessions of one name are like."""

    base_url: str
    client: str | None = None
    allow_http: bool = False
    timeout: Timeout = DEFAULT_TIMEOUT
    #: Headers of each request; they may hold a gateway's key.
    headers: Mapping[str, str] = MappingProxyType({})
    #: Further adapters by their prefixes.
    adapters: Mapping[str, BaseAdapter] = MappingProxyType({})
    #: Keywords of ``AccessTokenAdapter``.
    adapter_options: Mapping[str, Any] = MappingProxyType({})

    def __repr__(self) -> str:
        # Headers, adapters and proxies in them may hold secrets.
        return f"<SessionDescription {shown_url(self.base_url)}>"

    def session(self) -> AccessTokenSession:
        """A new session like that, without the adapter for the token."""
        session = AccessTokenSession(self.base_url, timeout=self.timeout)
        session.headers.update(self.headers)
        for prefix, adapter in self.adapters.items():
            session.mount(prefix, adapter)
        return session


def described_session(
    service: AccessTokenService, name: str, base_url: object, **options: Unpack[SessionOptions]
) -> SessionDescription:
    """The description of these options. Raises ``ConfigurationError``, and ``TypeError`` for an unknown keyword."""
    what = f"session {name!r}:"
    refuse_unknown(options, SessionOptions.__annotations__, what.rstrip(":"))
    url = check_base_url(base_url, f"{what} base_url")
    allow_http = options.get("allow_http", False)
    mount = Mount(url, allow_http=allow_http, what=f"{what} base_url")
    client = options.get("client")
    timeout = options.get("timeout", DEFAULT_TIMEOUT)
    check_timeout(timeout, f"{what} timeout")
    policy: dict[str, Any] = {key: value for key, value in options.items() if key in PolicyOptions.__annotations__}
    # Checked here, where it is described; each session makes its own.
    renew_on = AdapterPolicy(service, client, mount, what=f"session {name!r}", **policy).renew_on
    sender = _sender(options, what)
    check_retries(sender.get("inner", sender.get("max_retries")), renew_on, f"session {name!r}")
    return SessionDescription(
        url,
        client,
        allow_http,
        timeout,
        headers=_texts(options.get("headers"), f"{what} headers"),
        adapters=_adapters(options.get("adapters"), f"{what} adapters"),
        adapter_options={**policy, **sender},
    )


def _sender(options: SessionOptions, what: str) -> dict[str, Any]:
    """The keywords of the adapter that say how requests are sent."""
    pool_size, retries = options.get("pool_size", DEFAULT_POOL_SIZE), options.get("max_retries", 0)
    check_whole_number(pool_size, f"{what} pool_size", 1)
    if pool_size > MAX_POOL_SIZE:
        raise ConfigurationError(f"{what} pool_size must be {MAX_POOL_SIZE} at most")
    check_max_retries(retries, f"{what} max_retries")
    inner = options.get("inner")
    if inner is None:
        return {"pool_maxsize": pool_size, "max_retries": retries}
    check_adapter(inner, f"{what} inner")
    if pool_size != DEFAULT_POOL_SIZE or retries != 0:
        raise ConfigurationError(f"{what} the inner adapter sends, so give pool_size and max_retries to it")
    return {"inner": inner}


def _adapters(given: object, what: str) -> dict[str, BaseAdapter]:
    if given is None:
        return {}
    if not isinstance(given, Mapping) or not all(isinstance(prefix, str) for prefix in given):
        raise ConfigurationError(f"{what} must be a mapping of prefixes to adapters")
    for prefix, adapter in given.items():
        check_adapter(adapter, f"{what}: {prefix!r}")
    return dict(given)


def checked_name(name: object, what: str) -> str:
    """A name that logs and messages can show. Raises ``ConfigurationError``."""
    return checked_text(name, f"the name of a {what}")


def _texts(given: object, what: str) -> dict[str, str]:
    if given is None:
        return {}
    if not isinstance(given, Mapping) or not all(isinstance(text, str) for pair in given.items() for text in pair):
        raise ConfigurationError(f"{what} must be a mapping of names to texts")
    return dict(given)
