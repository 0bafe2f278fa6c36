"""An adapter that finds the pool and the TLS context of the request before."""

from __future__ import annotations

import copy
import ssl
import weakref
from typing import Any

import requests.adapters
import urllib3
from requests.adapters import HTTPAdapter
from requests.models import PreparedRequest, Response
from requests.structures import CaseInsensitiveDict
from requests.utils import get_encoding_from_headers

from requests_cc_token.forks import renew_after_fork

from .as_shipped import as_shipped
from .tls import context_for
from .urls import REMEMBERED, canonical

#: Connections kept per host: the threads that share a session, usually. urllib3 keeps 10, so of 32 threads 22 connect
#: anew for each request. None is opened before it is used.
DEFAULT_POOL_SIZE = 64

#: Bytes that are read of a file and sent at a time: as much as a socket takes without waiting. urllib3 takes a quarter
#: of it, which costs an upload 40 % more.
BLOCK_SIZE = 65_536

#: Settings of a pool manager beside which a TLS context of ours is what urllib3 would have made.
WITHOUT_TLS = {"maxsize", "block", "blocksize", "timeout", "retries", "headers", "socket_options", "source_address"}


class SentHeaders(CaseInsensitiveDict[Any]):
    """Headers of a request on its way out, in which urllib3 looks for names and which it walks through.

    Only ``copy_with_header`` makes them, and only where all is as shipped: so they say to this adapter, too, that it
    may leave out what would change nothing.
    """

    def __iter__(self) -> Any:
        return iter([name for name, _ in self._store.values()])

    def items(self) -> Any:
        """Name and value of each header."""
        return list(self._store.values())

    def copy(self) -> SentHeaders:
        """The same headers, to be changed without changing these: urllib3 sends a copy."""
        return SentHeaders.of(self)

    @classmethod
    def of(cls, headers: CaseInsensitiveDict[Any]) -> SentHeaders:
        """Headers that can be changed without changing those given."""
        made = cls.__new__(cls)
        made._store = headers._store.copy()
        return made


class ShortcutAdapter(HTTPAdapter):
    """An ``HTTPAdapter`` that leaves out what would change nothing."""

    #: A pool manager and its settings, and by origin and TLS settings the key of each of its pools with what makes it.
    _pools: tuple[Any, dict[str, Any], dict[Any, tuple[Any, dict[str, Any]]]] = (None, {}, {})

    #: The TLS contexts that this adapter gave to its pools.
    _shared_contexts: weakref.WeakSet[ssl.SSLContext]

    def __init__(
        self,
        pool_connections: int = requests.adapters.DEFAULT_POOLSIZE,
        pool_maxsize: int = DEFAULT_POOL_SIZE,
        max_retries: Any = requests.adapters.DEFAULT_RETRIES,
        pool_block: bool = requests.adapters.DEFAULT_POOLBLOCK,
    ) -> None:
        super().__init__(pool_connections, pool_maxsize, max_retries, pool_block)

    def init_poolmanager(self, connections: int, maxsize: int, block: bool = False, **pool_kwargs: Any) -> None:
        """As ``HTTPAdapter.init_poolmanager``, with larger blocks for files."""
        super().init_poolmanager(connections, maxsize, block, **{"blocksize": BLOCK_SIZE, **pool_kwargs})
        self._shared_contexts = weakref.WeakSet()
        renew_after_fork(self)

    def after_fork_in_child(self) -> None:
        """Leave the parent's connections to the parent."""
        leave_to_parent(self)

    def get_connection_with_tls_context(self, request: Any, verify: Any, proxies: Any = None, cert: Any = None) -> Any:
        """As ``HTTPAdapter.get_connection_with_tls_context``, by a key and with a TLS context that are known."""
        manager = self.poolmanager
        found = canonical(request.url) if type(request.headers) is SentHeaders else None
        if (
            found is None
            or proxies
            or cert is not None
            or type(verify) not in {bool, str}
            or type(manager) is not urllib3.PoolManager
            or type(self).build_connection_pool_key_attributes is not HTTPAdapter.build_connection_pool_key_attributes
        ):
            return super().get_connection_with_tls_context(request, verify, proxies, cert)
        of_manager, settings, pools = self._pools
        if of_manager is not manager or settings != manager.connection_pool_kw or len(pools) >= REMEMBERED:
            settings, pools = dict(manager.connection_pool_kw), {}
            self._pools = manager, settings, pools
        origin = found[0]
        context = None
        if origin.startswith("https:"):
            context = context_for(verify) if settings.keys() <= WITHOUT_TLS else None
            if context is None:
                return super().get_connection_with_tls_context(request, verify, proxies, cert)
        known = pools.get((origin, verify, context))
        if known is None:
            host, tls = self.build_connection_pool_key_attributes(request, verify)
            if context is not None:
                self._shared_contexts.add(context)
                tls = {"cert_reqs": tls["cert_reqs"], "ssl_context": context}
            port = host["port"] or urllib3.connectionpool.port_by_scheme[host["scheme"]]
            made_of = {**settings, **tls, **host, "port": port}
            known = pools[origin, verify, context] = manager.key_fn_by_scheme[host["scheme"]](made_of), made_of
        key, made_of = known
        return manager.pools.get(key) or manager.connection_from_pool_key(key, {**made_of})

    def cert_verify(self, conn: Any, url: str, verify: Any, cert: Any) -> None:
        """As ``HTTPAdapter.cert_verify``; a TLS context that holds its certificates is not given them once more."""
        context = getattr(conn, "conn_kw", {}).get("ssl_context")
        if context is None or context not in self._shared_contexts:
            super().cert_verify(conn, url, verify, cert)

    def request_url(self, request: Any, proxies: Any) -> str:
        """As ``HTTPAdapter.request_url``; a canonical URL is cut, not parsed."""
        if proxies or type(request.headers) is not SentHeaders:
            return super().request_url(request, proxies)
        found = canonical(request.url)
        return super().request_url(request, proxies) if found is None else found[1]

    def build_response(self, req: Any, resp: Any) -> Response:
        """As ``HTTPAdapter.build_response``; cookies are not looked for where there are none."""
        if type(req.headers) is not SentHeaders or brings_cookies(resp):
            return super().build_response(req, resp)
        response = Response()
        response.status_code = resp.status
        response.headers = CaseInsensitiveDict(resp.headers)
        response.encoding = get_encoding_from_headers(response.headers)
        response.raw = resp
        response.reason = resp.reason
        response.url = req.url
        response.request = req
        response.connection = self
        return response


def brings_cookies(raw: Any) -> bool:
    """Whether ``extract_cookies_to_jar`` may find something in this response; without parsing its URL and headers."""
    return type(raw) is not urllib3.HTTPResponse or "set-cookie" in raw.headers or "set-cookie2" in raw.headers


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


def copy_with_header(request: PreparedRequest, name: str, value: str) -> PreparedRequest:
    """A shallow copy of the request with headers of its own, one of them set; for sending, not for keeping."""
    headers = request.headers
    known = type(request) is PreparedRequest and type(request.url) is str and type(headers) is CaseInsensitiveDict
    if known and as_shipped():
        copied = PreparedRequest.__new__(PreparedRequest)
        vars(copied).update(vars(request), headers=SentHeaders.of(headers))
    else:
        copied = copy.copy(request)
        copied.headers = headers.copy()
    copied.headers[name] = value
    return copied
