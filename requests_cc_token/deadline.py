"""A deadline for a whole HTTP exchange.

The read timeout of requests counts from byte to byte, so a server that sends one byte every few seconds is waited
for without end. Here a watch shuts the socket down when the time is over, which ends any read on it.
"""

from __future__ import annotations

import contextlib
import socket
import threading
from typing import Any

from urllib3 import HTTPConnectionPool, HTTPSConnectionPool
from urllib3.connection import HTTPConnection, HTTPSConnection

from .client_certificate import CertificateConnections
from .clock import Clock

_here = threading.local()


class Exchange:
    """One request and its answer, in this thread, over by ``deadline`` (of the clock's monotonic time)."""

    def __init__(self, clock: Clock, deadline: float) -> None:
        self._clock = clock
        self._deadline = deadline
        self._over = threading.Event()
        self._expired = False
        self._lock = threading.Lock()
        self._socket: socket.socket | None = None

    def __enter__(self) -> Exchange:
        _here.exchange = self
        threading.Thread(target=self._watch, daemon=True, name="requests_cc_token deadline").start()
        return self

    def __exit__(self, kind: Any, error: BaseException | None, traceback: Any) -> None:
        _here.exchange = None
        with self._lock:
            self._socket = None
        self._over.set()
        if self._expired and isinstance(error, Exception):
            raise TimeoutError("the deadline of the exchange") from None

    def check(self) -> None:
        """Raise ``TimeoutError`` once the time is over; for connections that are not ours to shut down."""
        if self._clock.monotonic() >= self._deadline:
            self._expired = True
            raise TimeoutError("the deadline of the exchange")

    def uses(self, sock: socket.socket | None) -> None:
        """The exchange goes over this socket from now on."""
        with self._lock:
            self._socket = sock
            if self._expired:
                self._shut_down()

    def _watch(self) -> None:
        if self._clock.wait(self._over, self._deadline - self._clock.monotonic()):
            return
        with self._lock:
            self._expired = True
            self._shut_down()

    def _shut_down(self) -> None:
        if self._socket is not None:
            with contextlib.suppress(OSError):
                # The plain socket's method: a TLS socket's own would make the reading thread trip over it.
                socket.socket.shutdown(self._socket, socket.SHUT_RDWR)


class _Watched:
    sock: Any

    def request(self, *args: Any, **kwargs: Any) -> None:
        exchange: Exchange | None = getattr(_here, "exchange", None)
        if exchange is not None:
            exchange.uses(self.sock)
        super().request(*args, **kwargs)  # type: ignore[misc]
        if exchange is not None:
            exchange.uses(self.sock)


class _Connection(_Watched, HTTPConnection):
    pass


class _TLSConnection(_Watched, HTTPSConnection):
    pass


class _Pool(HTTPConnectionPool):
    ConnectionCls = _Connection


class _TLSPool(HTTPSConnectionPool):
    ConnectionCls = _TLSConnection


_POOLS = {"http": _Pool, "https": _TLSPool}


class DeadlineAdapter(CertificateConnections):
    """An ``HTTPAdapter`` whose connections keep to the ``Exchange`` of their thread, through proxies too."""

    def init_poolmanager(self, *args: Any, **kwargs: Any) -> None:
        """Build the pool manager with watched connections."""
        super().init_poolmanager(*args, **kwargs)
        self.poolmanager.pool_classes_by_scheme = _POOLS

    def proxy_manager_for(self, proxy: str, **proxy_kwargs: Any) -> Any:
        """Build the proxy's manager with watched connections; SOCKS brings connections of its own."""
        manager = super().proxy_manager_for(proxy, **proxy_kwargs)
        if not proxy.lower().startswith("socks"):
            manager.pool_classes_by_scheme = _POOLS
        return manager
