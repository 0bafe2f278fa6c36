"""A deadline and a size for a whole HTTP exchange, from the first byte of the TLS handshake on.

The read timeout of requests counts from byte to byte, so a server that sends one byte every few seconds is waited
for without end. Here a watch shuts the connection down when the time is over, which ends any read on it. And what is
read is counted below the HTTP parser, so that no endless line or header fills the memory.
"""

from __future__ import annotations

import contextlib
import http.client
import io
import socket
import threading
from typing import Any

from requests.adapters import BaseAdapter
from urllib3 import HTTPConnectionPool, HTTPSConnectionPool
from urllib3.connection import HTTPConnection, HTTPSConnection

from requests_cc_token.authentication.certificate import CertificateConnections
from requests_cc_token.clock import Clock

_here = threading.local()


class TooMuchError(Exception):
    """The answer is larger than it may be."""


class Exchange:
    """One request and its answer, in this thread.

    Over by ``deadline`` (of the clock's monotonic time), the answer of no more than ``max_bytes`` on the wire.
    ``TimeoutError`` or ``TooMuchError`` takes the place of whatever error these bounds cause.
    """

    def __init__(self, clock: Clock, deadline: float, max_bytes: int) -> None:
        self._clock = clock
        self._deadline = deadline
        self._over = threading.Event()
        self._expired = False
        self._lock = threading.Lock()
        self._socket: socket.socket | None = None
        self._bytes_left = max_bytes

    def __enter__(self) -> Exchange:
        _here.exchange = self
        threading.Thread(target=self._watch, daemon=True, name="requests_cc_token deadline").start()
        return self

    def __exit__(self, kind: Any, error: BaseException | None, traceback: Any) -> None:
        _here.exchange = None
        self.uses(None)
        self._over.set()
        if self._bytes_left < 0 and isinstance(error, Exception):
            raise TooMuchError from None
        if self._expired and isinstance(error, Exception):
            raise TimeoutError("the deadline of the exchange") from None

    def seconds_left(self) -> float:
        """Seconds until the deadline. Raises ``TimeoutError`` once it is over."""
        self.check()
        return self._deadline - self._clock.monotonic()

    def received(self, count: int) -> None:
        """Count the bytes. Raises ``TooMuchError`` where they are too many."""
        self._bytes_left -= count
        if self._bytes_left < 0:
            raise TooMuchError

    def check(self) -> None:
        """Raise ``TimeoutError`` once the time is over; for connections that are not ours to shut down."""
        if self._clock.monotonic() >= self._deadline:
            self._expired = True
            raise TimeoutError("the deadline of the exchange")

    def uses(self, line: socket.socket | None) -> None:
        """The exchange goes over this connection from now on."""
        # A duplicate of our own: the connection may close its socket while its answer is still being read.
        sock = None if line is None else line.dup()
        with self._lock:
            if self._socket is not None:
                self._socket.close()
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
                self._socket.shutdown(socket.SHUT_RDWR)


def _exchange() -> Exchange | None:
    """What this thread is doing."""
    exchange: Exchange | None = getattr(_here, "exchange", None)
    return exchange


class _Counted(io.RawIOBase):
    """What comes in over a connection, counted."""

    def __init__(self, raw: io.RawIOBase) -> None:
        self._raw = raw

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int | None:
        count = self._raw.readinto(buffer)
        exchange = _exchange()
        if exchange is not None and count:
            exchange.received(count)
        return count

    def close(self) -> None:
        self._raw.close()
        super().close()


class _Response(http.client.HTTPResponse):
    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        file: Any = self.fp
        self.fp = io.BufferedReader(_Counted(file.detach()))


class _Watched:
    response_class: Any = _Response

    #: The connection below TLS and tunnel. A duplicate: wrapping a socket in TLS empties the object.
    _line: socket.socket | None = None

    def _new_conn(self) -> socket.socket:
        sock: socket.socket = super()._new_conn()  # type: ignore[misc]
        self._forget_line()
        self._line = sock.dup()
        self._tell()
        return sock

    def request(self, *args: Any, **kwargs: Any) -> None:
        self._tell()
        super().request(*args, **kwargs)  # type: ignore[misc]

    def close(self) -> None:
        self._forget_line()
        super().close()  # type: ignore[misc]

    def _tell(self) -> None:
        exchange = _exchange()
        if exchange is not None and self._line is not None:
            exchange.uses(self._line)

    def _forget_line(self) -> None:
        if self._line is not None:
            self._line.close()
            self._line = None


class _Connection(_Watched, HTTPConnection):
    pass


class _TLSConnection(_Watched, HTTPSConnection):
    pass


class _Pool(HTTPConnectionPool):
    ConnectionCls = _Connection


class _TLSPool(HTTPSConnectionPool):
    ConnectionCls = _TLSConnection


_POOLS = {"http": _Pool, "https": _TLSPool}
_SHIPPED_POOLS = {"http": HTTPConnectionPool, "https": HTTPSConnectionPool}


def watch(adapter: BaseAdapter) -> None:
    """Have an adapter of the user's open watched connections too, where it would open those that urllib3 ships.

    A proxy's and those of other libraries keep their own ways: their answers are bounded from chunk to chunk.
    """
    manager = getattr(adapter, "poolmanager", None)
    if getattr(manager, "pool_classes_by_scheme", None) == _SHIPPED_POOLS:
        manager.pool_classes_by_scheme = _POOLS  # type: ignore[union-attr]


class DeadlineAdapter(CertificateConnections):
    """An ``HTTPAdapter`` whose connections keep to the ``Exchange`` of their thread, through proxies too."""

    def init_poolmanager(self, *args: Any, **kwargs: Any) -> None:
        """Build the pool manager with watched connections."""
        super().init_poolmanager(*args, **kwargs)
        self.poolmanager.pool_classes_by_scheme = _POOLS

    def proxy_manager_for(self, proxy: str, **proxy_kwargs: Any) -> Any:
        """Build the proxy's manager with watched connections; SOCKS brings connections of its own."""
        manager = super().proxy_manager_for(proxy, **proxy_kwargs)
        if not proxy.lower().startswith("socks"):  # pragma: no branch - SOCKS needs PySocks, the tests have none
            manager.pool_classes_by_scheme = _POOLS
        return manager
