"""Connections that share their TLS context, and the pools that make them.

They have the names of urllib3's, which stand in the messages of its errors.
"""

from __future__ import annotations

import os
import threading
from collections import OrderedDict
from typing import TYPE_CHECKING, Any

import urllib3
import urllib3.connection
import urllib3.util.ssl_

from requests_cc_token.forks import renew_after_fork
from requests_cc_token.watched_files import file_stamp, is_settled

from .bodies import LargerBlocks
from .ground import REMEMBERED

if TYPE_CHECKING:
    import ssl

    from requests_cc_token.watched_files import Stamp

# Names that this module uses but does not declare.
_urllib3_ssl: Any = urllib3.util.ssl_


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


def _cannot_be_told(path: str | None, stamp: Stamp | None) -> bool:
    """Whether a later look would not tell that what is in this place has changed."""
    return path is not None and (stamp is None or os.path.isdir(path) or not is_settled(stamp))  # noqa: PTH112


# Connections


class HTTPConnection(LargerBlocks, urllib3.connection.HTTPConnection):
    """A connection without TLS that sends files in larger blocks."""


class HTTPSConnection(LargerBlocks, urllib3.connection.HTTPSConnection):
    """A TLS connection that takes its context from the one before it, and sends files in larger blocks."""

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
        stamps = [None if path is None else file_stamp(path) for path in files]
        if any(map(_cannot_be_told, files, stamps)):
            return None
        return (
            _urllib3_ssl.SSLContext,
            tuple(_urllib3_ssl.ALPN_PROTOCOLS),
            os.environ.get("SSLKEYLOGFILE"),
            self.cert_reqs,
            self.ssl_minimum_version,
            self.ssl_maximum_version,
            files,
            *stamps,
        )


# Pools


class HTTPConnectionPool(urllib3.HTTPConnectionPool):
    """A pool of connections without TLS."""

    @property
    def ConnectionCls(self) -> Any:  # type: ignore[override]  # noqa: N802
        """Our connection class, or another one that was put into urllib3."""
        shipped = urllib3.HTTPConnectionPool.ConnectionCls
        return HTTPConnection if shipped is urllib3.connection.HTTPConnection else shipped


class HTTPSConnectionPool(urllib3.HTTPSConnectionPool):
    """A pool whose connections share their TLS context."""

    @property
    def ConnectionCls(self) -> Any:  # type: ignore[override]  # noqa: N802
        """Our connection class, or another one that was put into urllib3."""
        shipped = urllib3.HTTPSConnectionPool.ConnectionCls
        return HTTPSConnection if shipped is urllib3.connection.HTTPSConnection else shipped


_OURS: dict[Any, Any] = {
    urllib3.HTTPConnectionPool: HTTPConnectionPool,
    urllib3.HTTPSConnectionPool: HTTPSConnectionPool,
}


def use_our_connections(manager: Any) -> None:
    """Let a pool manager make pools of our connections, where it would make urllib3's own."""
    if type(manager) is urllib3.PoolManager:
        pools = manager.pool_classes_by_scheme
        manager.pool_classes_by_scheme = {scheme: _OURS.get(pool, pool) for scheme, pool in pools.items()}
