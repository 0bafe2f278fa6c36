"""An adapter that finds its pool, its TLS context and its response's parts without making them again."""

from __future__ import annotations

import os
import threading
import time
from collections import OrderedDict
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import requests.adapters
import urllib3
import urllib3.connection
import urllib3.connectionpool
import urllib3.poolmanager
import urllib3.util.ssl_
from requests.adapters import HTTPAdapter
from requests.models import PreparedRequest, Response
from requests.utils import select_proxy

from requests_cc_token.forks import renew_after_fork

from . import ground
from .ground import REMEMBERED, shipped
from .messages import brings_no_cookies, encoding_of, headers_of, late_jar
from .urls import canonical

if TYPE_CHECKING:
    import ssl

# Names that this module uses but does not declare.
_urllib3_ssl: Any = urllib3.util.ssl_

#: Connections kept per host: the threads that share a session, usually. urllib3 keeps 10, so of 32 threads 22 connect
#: anew for each request. None is opened before it is used.
DEFAULT_POOL_SIZE = 64

#: Seconds. A certificate file younger than this is read again at each connection: two writes within the same tick of
#: the file system's clock cannot be told apart.
SETTLED_AFTER = 2.0

_GET_CONNECTION = shipped(HTTPAdapter, "get_connection_with_tls_context")
_POOL_KEY_ATTRIBUTES = shipped(HTTPAdapter, "build_connection_pool_key_attributes")
_REQUEST_URL = shipped(HTTPAdapter, "request_url")
_BUILD_RESPONSE = shipped(HTTPAdapter, "build_response")
_RESPONSE_INIT = shipped(Response, "__init__")


# TLS contexts


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
        known = ground.known
        if (
            HTTPAdapter.build_response is not _BUILD_RESPONSE
            or not (known.response_fields and known.header_store and known.jar_store and known.header_lines)
            or type(resp) is not urllib3.HTTPResponse
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
