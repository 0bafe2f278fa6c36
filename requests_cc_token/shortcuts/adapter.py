"""An adapter that finds its pool and its response's parts without making them again."""

from __future__ import annotations

import os
from datetime import timedelta
from typing import Any

import requests.adapters
import urllib3
import urllib3.connectionpool
import urllib3.poolmanager
from requests.adapters import HTTPAdapter
from requests.models import PreparedRequest, Response
from requests.utils import select_proxy

from requests_cc_token.forks import renew_after_fork

from . import ground
from .bodies import PlainAnswer, stream_with_less
from .connections import use_our_connections
from .ground import REMEMBERED, shipped
from .messages import brings_no_cookies, encoding_of, headers_of, late_jar
from .urls import canonical

#: Connections kept per host: the threads that share a session, usually. urllib3 keeps 10, so of 32 threads 22 connect
#: anew for each request. None is opened before it is used.
DEFAULT_POOL_SIZE = 64

_GET_CONNECTION = shipped(HTTPAdapter, "get_connection_with_tls_context")
_POOL_KEY_ATTRIBUTES = shipped(HTTPAdapter, "build_connection_pool_key_attributes")
_REQUEST_URL = shipped(HTTPAdapter, "request_url")
_BUILD_RESPONSE = shipped(HTTPAdapter, "build_response")
_RESPONSE_INIT = shipped(Response, "__init__")


# Pools


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
        """As ``HTTPAdapter.init_poolmanager``, with pools of our connections."""
        super().init_poolmanager(connections, maxsize, block, **pool_kwargs)
        use_our_connections(self.poolmanager)
        renew_after_fork(self)

    def after_fork_in_child(self) -> None:
        """Leave the parent's connections to the parent."""
        leave_to_parent(self)

    def get_connection_with_tls_context(self, request: Any, verify: Any, proxies: Any = None, cert: Any = None) -> Any:
        """As ``HTTPAdapter.get_connection_with_tls_context``, by a key that is already known."""
        found = canonical(request.url) if type(request.url) is str else None
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
        found = canonical(request.url)
        return super().request_url(request, proxies) if found is None else found[1]

    def build_response(self, req: Any, resp: Any) -> Response:
        """As ``HTTPAdapter.build_response``; a jar that nobody looks at is not filled in."""
        stream_with_less(resp)
        known = ground.known
        if (
            HTTPAdapter.build_response is not _BUILD_RESPONSE
            or not (known.response_fields and known.header_store and known.jar_store and known.header_lines)
            or type(resp) not in (PlainAnswer, urllib3.HTTPResponse)
            or type(req.url) is not str
            or Response.__init__ is not _RESPONSE_INIT
            or not brings_no_cookies(resp)
        ):
            return super().build_response(req, resp)
        # urllib3 keeps a line as name and values, one where it was not repeated.
        store = {
            key: (line[0], line[1] if len(line) == 2 else ", ".join(line[1:]))
            for key, line in resp.headers._container.items()
        }
        headers = headers_of(store)
        jar = late_jar(resp)
        response = Response.__new__(Response)
        response.__dict__.update(
            _content=False,
            _content_consumed=False,
            _next=None,
            status_code=resp.status,
            headers=headers,
            raw=resp,
            url=req.url,
            encoding=encoding_of(store["content-type"][1] if "content-type" in store else None),
            history=[],
            reason=resp.reason,
            cookies=jar,
            elapsed=timedelta(0),
            request=req,
            connection=self,
        )
        return response
